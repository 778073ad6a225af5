"""A partitioned table, read from the server: its key, its partitions, the server's day, when days begin."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible.module_utils.rollout import partition_plan as plans
from ansible.module_utils.rollout.connection import Command, Session
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.partition_plan import HIGHEST, LOWEST, Desired, Partition

# A name such as Europe/Moscow or Etc/GMT+3. PostgreSQL also takes POSIX' "X+3", whose sign means the opposite.
_ZONE = re.compile(r"(?:[A-Za-z_]+|[A-Za-z_]+(?:/[A-Za-z0-9_+-]+)+)\Z")
_KEY_TYPES = {"timestamptz": "timestamptz", "date": "date"}

_TABLE = """
SELECT c.oid::bigint, c.relkind::text, pg_get_userbyid(c.relowner), p.partstrat::text, p.partnatts,
       a.attname, y.typname, (clock_timestamp() AT TIME ZONE %(zone)s)::date::text,
       pg_get_userbyid(c.relowner) = current_user, current_database()
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_partitioned_table p ON p.partrelid = c.oid
  LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = p.partattrs[0]
  LEFT JOIN pg_type y ON y.oid = a.atttypid
 WHERE n.nspname = %(schema)s AND c.relname = %(table)s
"""
# The session's zone is UTC, so that the text of a bound is read as it was printed.
_PARTITIONS = r"""
SELECT c.oid::bigint, n.nspname, c.relname, c.relkind::text, h.inhdetachpending, b.text = 'DEFAULT',
       CASE WHEN isfinite(b.lower::timestamptz) THEN (extract(epoch FROM b.lower::timestamptz) * 1000000)::bigint END,
       CASE WHEN isfinite(b.upper::timestamptz) THEN (extract(epoch FROM b.upper::timestamptz) * 1000000)::bigint END
  FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_class t ON t.oid = h.inhparent JOIN pg_namespace tn ON tn.oid = t.relnamespace
  CROSS JOIN LATERAL (SELECT pg_get_expr(c.relpartbound, c.oid) AS text) e
  CROSS JOIN LATERAL (SELECT e.text, substring(e.text FROM 'FROM \(''(.*)''\) TO') AS lower,
                             substring(e.text FROM 'TO \(''(.*)''\)') AS upper) b
 WHERE tn.nspname = %(schema)s AND t.relname = %(table)s
 ORDER BY 7 NULLS FIRST, 3
"""
_LACKING = """
SELECT h.inhrelid::bigint, i.relname
  FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace
  JOIN pg_index p ON p.indrelid = t.oid JOIN pg_class i ON i.oid = p.indexrelid
  JOIN pg_inherits h ON h.inhparent = t.oid AND NOT h.inhdetachpending
  JOIN pg_class c ON c.oid = h.inhrelid AND c.relkind IN ('r', 'p')
  LEFT JOIN (pg_index x JOIN pg_inherits xi ON xi.inhrelid = x.indexrelid)
         ON xi.inhparent = p.indexrelid AND x.indrelid = h.inhrelid AND x.indisvalid AND x.indisready
 WHERE n.nspname = %(schema)s AND t.relname = %(table)s AND x.indexrelid IS NULL
 ORDER BY 1, 2
"""
_BEGINS = """
SELECT d::text, (extract(epoch FROM (d::timestamp AT TIME ZONE %(zone)s)) * 1000000)::bigint
  FROM unnest(%(days)s::date[]) d
"""
_OCCUPIED = """
SELECT r.name FROM (
    SELECT c.relname, c.relnamespace, c.oid FROM pg_class c
    UNION ALL SELECT t.typname, t.typnamespace, t.typrelid FROM pg_type t
) r(name, namespace, oid)
 WHERE r.namespace = (SELECT oid FROM pg_namespace WHERE nspname = %(schema)s)
   AND r.name LIKE %(like)s
   AND NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = r.oid AND h.inhparent = %(oid)s::oid)
"""


@dataclass(frozen=True)
class Table:
    """The partitioned table.

    :ivar key: name of the partition key's column
    :ivar key_type: ``timestamptz`` or ``date``
    :ivar owner: role that owns it, and is to own its partitions
    :ivar owned: whether the session acts as that role already
    :ivar today: the server's day in the pinned zone
    """

    schema: str
    name: str
    oid: int
    owner: str
    owned: bool
    key: str
    key_type: str
    today: datetime.date
    database: str

    @property
    def sql(self) -> str:
        return quoted(self.schema, self.name)

    def bound(self, instant: int) -> str:
        """An instant as a literal that no session's TimeZone or DateStyle reads otherwise."""
        text = plans.shown(instant)
        if instant in (LOWEST, HIGHEST):
            return text
        return f"date '{text[:10]}'" if self.key_type == "date" else f"timestamptz '{text}'"


@dataclass(frozen=True)
class Seen:
    """A look at the table.

    :ivar partitions: in order of their bounds
    :ivar where: partition -> its schema and bare name
    :ivar oids: partition -> oid
    :ivar at: when each day that matters begins
    :ivar occupied: relations and types with names like a partition's that are none
    :ivar in_default: rows in the DEFAULT partition by period; rows of no wanted period under ""
    """

    table: Table
    partitions: tuple[Partition, ...]
    where: Mapping[str, tuple[str, str]]
    oids: Mapping[str, int]
    at: Mapping[datetime.date, int]
    occupied: frozenset[str]
    in_default: Mapping[str, int]

    def sql(self, partition: str) -> str:
        """A partition's name for use in SQL."""
        return quoted(*self.where[partition])


def look(
    session: Session, schema: str, desired: Desired, zone: str, today: datetime.date | None = None
) -> Seen:
    """Read everything that a plan needs: two round trips; one more for a DEFAULT partition or odd bounds.

    :param zone: name of the zone in which a period begins; for a key of type ``date`` it decides which day it is now
    :param today: instead of the server's day, for tests
    :raises RolloutError: no such table, or one that is not partitioned as this module can
    """
    if not _ZONE.match(zone):
        raise RolloutError(
            f"{zone!r} is not the name of a time zone",
            hint="Write it as UTC or Europe/Moscow. The sign of a POSIX zone such as UTC+3 means the opposite.",
        )
    names = {"schema": schema, "table": desired.table, "zone": zone}
    found, children, lacking = session.run(
        [Command(_TABLE, names), Command(_PARTITIONS, names), Command(_LACKING, names)]
    )
    table = _table(schema, desired.table, found, today)
    days = plans.days_to_ask(desired, table.today)
    zone_of_bounds = "UTC" if table.key_type == "date" else zone
    like = desired.table.replace("\\", "\\\\").replace("_", "\\_").replace("%", "\\%") + "\\_%"
    begins, occupied = session.run(
        [
            Command(_BEGINS, {"zone": zone_of_bounds, "days": [day.isoformat() for day in days]}),
            Command(_OCCUPIED, {"schema": schema, "like": like, "oid": table.oid}),
        ]
    )
    lacks: dict[int, list[str]] = {}
    for oid, index in lacking:
        lacks.setdefault(oid, []).append(index)
    where = {_label(row, schema): (row[1], row[2]) for row in children}
    oids = {_label(row, schema): row[0] for row in children}
    seen = Seen(
        table,
        tuple(_partition(row, schema, tuple(lacks.get(row[0], ()))) for row in children),
        where,
        oids,
        {datetime.date.fromisoformat(day): instant for day, instant in begins},
        frozenset(name for (name,) in occupied),
        {},
    )
    return _rows(session, seen, desired)


def _rows(session: Session, seen: Seen, desired: Desired) -> Seen:
    """Count the rows in DEFAULT, and ask which partitions with odd bounds are empty; nothing where there are none."""
    first = plans.make_plan(desired, seen.table.today, seen.at, seen.partitions, seen.occupied)
    odd = [f.name for f in first.findings if f.kind in (plans.WRONG_ZONE, plans.OFF_GRID)]
    default = next((p.name for p in seen.partitions if p.default and not p.pending), None)
    commands = [Command(f"SELECT NOT EXISTS (SELECT FROM {seen.sql(name)})") for name in odd]
    if default:
        bounds = [seen.table.bound(period.lower) for period in first.periods]
        bounds.append(seen.table.bound(first.periods[-1].upper))
        commands.append(
            Command(
                f"SELECT width_bucket({quoted(seen.table.key)}, ARRAY[{', '.join(bounds)}]), count(*)"
                f" FROM ONLY {seen.sql(default)} GROUP BY 1"
            )
        )
    if not commands:
        return seen
    answers = session.run(commands)
    empty = {name: rows[0][0] for name, rows in zip(odd, answers, strict=False)}
    in_default: dict[str, int] = {}
    if default:
        periods = first.periods
        for bucket, count in answers[-1]:
            name = periods[bucket - 1].name if 1 <= bucket <= len(periods) else ""
            in_default[name] = in_default.get(name, 0) + count
        empty[default] = not answers[-1]
    partitions = tuple(replace(p, empty=empty.get(p.name, p.empty)) for p in seen.partitions)
    return replace(seen, partitions=partitions, in_default=in_default)


def _table(schema: str, name: str, found: Sequence[tuple[Any, ...]], today: datetime.date | None) -> Table:
    if not found:
        raise RolloutError(
            f"there is no table {schema}.{name}, or it may not be seen", hint="Correct the name."
        )
    oid, kind, owner, strategy, columns, key, key_type, day, owned, database = found[0]
    if kind != "p" or strategy != "r":
        raise RolloutError(
            f"{schema}.{name} is not partitioned by RANGE", hint="Only such tables are maintained."
        )
    if columns != 1 or key_type not in _KEY_TYPES:
        told = (
            "more than one column or an expression"
            if columns != 1 or key is None
            else f"{key} of type {key_type}"
        )
        raise RolloutError(
            f"{schema}.{name} is partitioned by {told}; a single column of type timestamptz or date is needed",
            hint="A timestamp without time zone has no instant: its partitions would move with the session's zone.",
        )
    day_of_server = today or datetime.date.fromisoformat(day)
    return Table(schema, name, oid, owner, owned, key, key_type, day_of_server, database)


def _label(row: Sequence[Any], schema: str) -> str:
    """A partition's name; with its schema when that is not the table's."""
    return str(row[2] if row[1] == schema else f"{row[1]}.{row[2]}")


def _partition(row: Sequence[Any], schema: str, lacks: tuple[str, ...]) -> Partition:
    _oid, _schema, _name, kind, pending, default, lower, upper = row
    return Partition(
        _label(row, schema),
        LOWEST if lower is None else lower,
        HIGHEST if upper is None else upper,
        default=default,
        pending=pending,
        foreign=kind == "f",
        lacks=lacks,
    )


def quoted(*names: str) -> str:
    """Names as SQL identifiers, joined by a dot."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)
