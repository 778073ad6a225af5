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
from ansible.module_utils.rollout.partition_plan import HIGHEST, LOWEST, Desired, Partition, Plan
from ansible.module_utils.rollout.partition_repair import names_to_give
from ansible.module_utils.rollout.script import Script

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
# The session's zone is UTC, so that the text of a bound is read as it was printed. Printing one takes the server ten
# times as long as finding it; without MATERIALIZED it would print each of them anew in every place that mentions it.
_PARTITIONS = """
WITH child AS MATERIALIZED (
    SELECT c.oid, n.nspname, c.relname, c.relkind, h.inhdetachpending, pg_get_expr(c.relpartbound, c.oid) AS bound
      FROM pg_namespace tn JOIN pg_class t ON t.relnamespace = tn.oid
      JOIN pg_partitioned_table p ON p.partrelid = t.oid AND p.partstrat = 'r' AND p.partnatts = 1
      JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = p.partattrs[0]
           AND a.atttypid IN ('timestamptz'::regtype, 'date'::regtype)
      JOIN pg_inherits h ON h.inhparent = t.oid
      JOIN pg_class c ON c.oid = h.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE tn.nspname = %(schema)s AND t.relname = %(table)s
), bounded AS MATERIALIZED (
    SELECT *, nullif(split_part(split_part(bound, ' TO ', 1), $$'$$, 2), '')::timestamptz AS lower,
           nullif(split_part(split_part(bound, ' TO ', 2), $$'$$, 2), '')::timestamptz AS upper
      FROM child
)
SELECT oid::bigint, nspname, relname, relkind::text, inhdetachpending, bound = 'DEFAULT',
       CASE WHEN isfinite(lower) THEN (extract(epoch FROM lower) * 1000000)::bigint END,
       CASE WHEN isfinite(upper) THEN (extract(epoch FROM upper) * 1000000)::bigint END
  FROM bounded
 ORDER BY 7 NULLS FIRST, 3
"""
# PostgreSQL keeps an index of the table valid only as long as each partition has it, so that those of a thousand
# partitions need not be looked at. A partition's own can become invalid without the table's noticing.
_LACKING = """
WITH doubtful AS MATERIALIZED (
    SELECT p.indexrelid, p.indrelid, i.relname
      FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace
      JOIN pg_index p ON p.indrelid = t.oid JOIN pg_class i ON i.oid = p.indexrelid
     WHERE n.nspname = %(schema)s AND t.relname = %(table)s
       AND (NOT p.indisvalid OR p.indexrelid IN (
            SELECT xi.inhparent FROM pg_index x JOIN pg_inherits xi ON xi.inhrelid = x.indexrelid
             WHERE NOT (x.indisvalid AND x.indisready)))
)
SELECT h.inhrelid::bigint, d.relname
  FROM doubtful d
  JOIN pg_inherits h ON h.inhparent = d.indrelid AND NOT h.inhdetachpending
  JOIN pg_class c ON c.oid = h.inhrelid AND c.relkind IN ('r', 'p')
  LEFT JOIN (pg_index x JOIN pg_inherits xi ON xi.inhrelid = x.indexrelid)
         ON xi.inhparent = d.indexrelid AND x.indrelid = h.inhrelid AND x.indisvalid AND x.indisready
 WHERE x.indexrelid IS NULL
 ORDER BY 1, 2
"""
# For the rest of the session: what is counted, copied and archived are all rows. Where a policy of row security would
# hide some, PostgreSQL refuses.
_WHOLE = Command("SET row_security = off")
_BEGINS = """
SELECT d::text, (extract(epoch FROM (d::timestamp AT TIME ZONE %(zone)s)) * 1000000)::bigint
  FROM unnest(%(days)s::date[]) d
"""
_OCCUPIED = """
SELECT w.name FROM unnest(%(names)s::text[]) AS w(name)
  CROSS JOIN (SELECT oid FROM pg_namespace WHERE nspname = %(schema)s) n
 WHERE EXISTS (SELECT FROM pg_class c WHERE c.relname = w.name AND c.relnamespace = n.oid
                  AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = c.oid AND inhparent = %(oid)s::oid))
    OR EXISTS (SELECT FROM pg_type t WHERE t.typname = w.name AND t.typnamespace = n.oid
                  AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = t.typrelid AND inhparent = %(oid)s::oid))
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
    :ivar occupied: relations and types that have the name of a partition to be made, and are none
    :ivar in_default: rows in the DEFAULT partition by period; rows of no wanted period under ""
    :ivar plan: what to do about it
    """

    table: Table
    partitions: tuple[Partition, ...]
    where: Mapping[str, tuple[str, str]]
    oids: Mapping[str, int]
    at: Mapping[datetime.date, int]
    occupied: frozenset[str]
    in_default: Mapping[str, int]
    plan: Plan

    def sql(self, partition: str) -> str:
        """A partition's name for use in SQL."""
        return quoted(*self.where[partition])


def look(
    session: Session, schema: str, desired: Desired, zone: str, today: datetime.date | None = None
) -> Seen:
    """Read everything that a plan needs, and make it: two round trips; one more where something is to be done.

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
    _, found, children, lacking = session.run(
        [_WHOLE, Command(_TABLE, names), Command(_PARTITIONS, names), Command(_LACKING, names)]
    )
    table = _table(schema, desired.table, found, today)
    days = plans.days_to_ask(desired, table.today)
    zone_of_bounds = "UTC" if table.key_type == "date" else zone
    asked = {"zone": zone_of_bounds, "days": [day.isoformat() for day in days]}
    begins = session.run([Command(_BEGINS, asked)])[0]
    at = {datetime.date.fromisoformat(day): instant for day, instant in begins}
    lacks: dict[int, list[str]] = {}
    for oid, index in lacking:
        lacks.setdefault(oid, []).append(index)
    partitions = tuple(_partition(row, schema, tuple(lacks.get(row[0], ()))) for row in children)
    seen = Seen(
        table,
        partitions,
        {partition.name: (row[1], row[2]) for partition, row in zip(partitions, children, strict=True)},
        {partition.name: row[0] for partition, row in zip(partitions, children, strict=True)},
        at,
        frozenset(),
        {},
        plans.make_plan(desired, table.today, at, partitions),
    )
    return _looked_closer(session, seen, desired)


def _looked_closer(session: Session, seen: Seen, desired: Desired) -> Seen:
    """Ask which names are taken, which partitions with odd bounds are empty, what is in DEFAULT; mostly nothing."""
    table, first = seen.table, seen.plan
    script = Script()
    names = names_to_give(table.name, first, seen.partitions)
    if names:
        values = {"names": names, "schema": table.schema, "oid": table.oid}
        script.add(Command(_OCCUPIED, values), name="occupied")
    odd = [f.name for f in first.findings if f.kind in (plans.WRONG_ZONE, plans.OFF_GRID)]
    for name in odd:
        script.add(Command(f"SELECT NOT EXISTS (SELECT FROM {seen.sql(name)})"), name=name)
    default = next((p.name for p in seen.partitions if p.default and not p.pending), None)
    if default:
        bounds = [table.bound(period.lower) for period in first.periods]
        bounds.append(table.bound(first.periods[-1].upper))
        counted = (
            f"SELECT width_bucket({quoted(table.key)}, ARRAY[{', '.join(bounds)}]), count(*)"
            f" FROM {seen.sql(default)} GROUP BY 1"
        )
        script.add(Command(counted), name=default)
    if not names and not odd and not default:
        return seen
    script.run(session)
    occupied = frozenset(name for (name,) in script.rows("occupied")) if names else seen.occupied
    empty = {name: script.rows(name)[0][0] for name in odd}
    in_default: dict[str, int] = {}
    if default:
        for bucket, count in script.rows(default):
            name = first.periods[bucket - 1].name if 1 <= bucket <= len(first.periods) else ""
            in_default[name] = in_default.get(name, 0) + count
        empty[default] = not in_default
    partitions = tuple(replace(p, empty=empty.get(p.name, p.empty)) for p in seen.partitions)
    plan = plans.make_plan(desired, table.today, seen.at, partitions, occupied, in_default)
    return replace(seen, partitions=partitions, occupied=occupied, in_default=in_default, plan=plan)


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
        divided=kind == "p",
        lacks=lacks,
    )


def quoted(*names: str) -> str:
    """Names as SQL identifiers, joined by a dot."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)
