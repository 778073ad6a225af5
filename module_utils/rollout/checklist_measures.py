"""Items about what is measured: rows, sizes, the server's counters, the tables beside ours; and the reference.

A *reference* is what one look noted, so that a later one can compare: sizes, counters, and the protected tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible.module_utils.rollout import catalog, diff
from ansible.module_utils.rollout.catalog import Catalog, table_of
from ansible.module_utils.rollout.checklist_known import Attempt, Known
from ansible.module_utils.rollout.checklist_probes import ask
from ansible.module_utils.rollout.checklist_shape import index_parts
from ansible.module_utils.rollout.checklist_verdict import Judgement
from ansible.module_utils.rollout.connection import Command, Session
from ansible.module_utils.rollout.diff import Difference
from ansible.module_utils.rollout.findings import Verdict, not_tested
from ansible.module_utils.rollout.fingerprint import fingerprint
from ansible.module_utils.rollout.partition_reading import quoted
from ansible.module_utils.rollout.script import Script

#: Raised when the reference changes its shape.
FORMAT = 1
_MEBIBYTE = 1024 * 1024
_NO_REFERENCE = "no earlier look was given to compare with"
_GIVE_REFERENCE = "A run notes one before it begins; of an earlier moment it cannot be had afterwards."

_PROTECTED = """
SELECT w.given, c.oid::bigint, n.nspname, c.relname
  FROM unnest(%s::text[]) AS w(given)
  LEFT JOIN (pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname !~ '^(pg_|information_schema$)')
         ON c.relkind IN ('r', 'p') AND w.given IN (c.relname, n.nspname || '.' || c.relname)
"""
# Whether a table was ever written to does not show in its size: a vacuum takes empty pages away, but none of an index.
# Not even the size of a protected table is asked for: that would lock it, if only in ACCESS SHARE.
_SIZES = """
SELECT c.relname, CASE WHEN c.relkind = 'i' THEN pg_relation_size(c.oid) ELSE pg_table_size(c.oid) END,
       c.relkind <> 'i' AND (pg_relation_size(c.oid) > 0 OR pg_stat_get_tuples_inserted(c.oid) > 0
           OR pg_stat_get_vacuum_count(c.oid) > 0 OR pg_stat_get_autovacuum_count(c.oid) > 0),
       c.reltoastrelid <> 0, c.reltuples::float8
  FROM pg_class c LEFT JOIN pg_index x ON x.indexrelid = c.oid
  LEFT JOIN pg_depend d ON d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
                       AND d.refclassid = 'pg_class'::regclass AND c.relkind = 'S'
 WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = %s) AND c.relkind IN ('r', 'm', 'S', 'i')
   AND NOT coalesce(x.indrelid, d.refobjid, c.oid)::bigint = ANY (%s)
"""
_SERVER = """
SELECT current_timestamp::text, extract(epoch FROM pg_postmaster_start_time())::bigint, stats_reset::text,
       xact_commit, xact_rollback, deadlocks, conflicts, coalesce(checksum_failures, 0), sessions_fatal,
       sessions_killed, sessions_abandoned, pg_database_size(current_database()),
       current_setting('block_size')::integer
  FROM pg_stat_database WHERE datname = current_database()
"""
_SERVER_COLUMNS = (
    "at", "started", "stats_reset", "xact_commit", "xact_rollback", "deadlocks", "conflicts", "checksum_failures",
    "sessions_fatal", "sessions_killed", "sessions_abandoned", "database_bytes", "block_size",
)  # fmt: skip
_MAY_WRITE = """
SELECT string_agg(c.relname, ', ' ORDER BY c.relname) FROM pg_class c
 WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = %s) AND c.relname = ANY (%s)
   AND NOT (has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
            AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE'))
"""


def read(
    session: Session, schema: str, protected: Sequence[str], seen: Catalog, tables: Sequence[str]
) -> dict[str, Any]:
    """Measure, in two round trips; one more where a protected table is in another schema.

    :param protected: as the inventory names them
    :param seen: the target schema's catalog
    :param tables: to which an item may want to write
    :return: ``server`` counters; ``sizes`` and ``rows`` by relation, which are ``written`` and ``toasted``;
        ``neighbours``, the catalog entries of protected tables by schema; ``missing`` ones; ``protected`` oids;
        ``unwritable`` tables
    """
    ((*found,), (server,), ((unwritable,),)) = session.run(
        [
            Command(_PROTECTED, (list(protected),)),
            Command(_SERVER),
            Command(_MAY_WRITE, (schema, list(tables))),
        ]
    )
    others = sorted({where for _, _, where, _ in found if where not in (None, schema)})
    oids = [oid for _, oid, _, _ in found if oid is not None]
    script = Script()
    script.add(Command("BEGIN READ ONLY"))
    script.add(Command(_SIZES, (schema, oids)), name="sizes")
    for other in others:
        script.add(catalog.search_path(other))
        script.add_catalog(other, other)
    script.add(Command("COMMIT"))
    script.run(session)
    catalogs = {schema: seen, **{other: script.catalog(other) for other in others}}
    sizes = script.rows("sizes")
    return {
        "server": dict(zip(_SERVER_COLUMNS, server, strict=True)),
        "sizes": {name: total for name, total, _, _, _ in sizes},
        "written": [name for name, _, written, _, _ in sizes if written],
        "toasted": [name for name, _, _, toasted, _ in sizes if toasted],
        "rows": {name: rows for name, _, _, _, rows in sizes},
        "neighbours": {
            where: _entries_of(catalogs[where], [name for _, _, place, name in found if place == where])
            for where in sorted({where for _, _, where, _ in found if where is not None})
        },
        "missing": [given for given, oid, _, _ in found if oid is None],
        "protected": oids,
        "unwritable": unwritable or "",
    }


def _entries_of(seen: Catalog, tables: Sequence[str]) -> dict[str, Any]:
    found = {}
    for name, entry in seen.entries.items():
        about = name.removeprefix("comment on ")
        if table_of(about, seen.entries.get(about, entry)) in tables:
            found[name] = entry
    return found


def reference(schema: str, measured: Mapping[str, Any]) -> dict[str, Any]:
    """What a later look compares with."""
    return {
        "format": FORMAT,
        "schema": schema,
        "server": measured["server"],
        "sizes": measured["sizes"],
        "neighbours": measured["neighbours"],
    }


def row_counts(known: Known, attempt: Attempt) -> Verdict:
    """Tables hold at least the rows that are known to belong there, once they hold any."""
    demanded: Mapping[str, Any] = known.demands.get("rows", {})
    if not demanded:
        return not_tested("", "the inventory demands no rows")
    ranges = {table: bounds(demand) for table, demand in demanded.items()}
    judgement = Judgement(
        "rows, once a table holds any: " + ", ".join(f"{table} {_range(*it)}" for table, it in ranges.items())
    )
    probes = []
    for table, (least, most) in ranges.items():
        limit = max(least, -1 if most is None else most) + 1
        probes.append(
            [ask(f"SELECT count(*) AS found FROM (SELECT FROM {quoted(table)} LIMIT {limit}) AS first")]
        )
    counts = {}
    for (table, (least, most)), came in zip(ranges.items(), attempt([], probes, True).came, strict=True):
        if came.refusal:
            judgement.fail(f"{table} cannot be counted: {came.refusal}")
            continue
        limit = max(least, -1 if most is None else most) + 1
        found = counts[table] = came.answers[0][0]["found"]
        told = f"more than {limit - 1}" if found == limit else str(found)
        if found == 0 and least > 0:
            judgement.leave(f"{table} is empty")
        elif found < least or (most is not None and found > most):
            judgement.fail(f"{table} holds {told} rows instead of {_range(least, most)}")
    return judgement.verdict("enough rows in " + ", ".join(ranges), counted=counts)


def bounds(demand: Any) -> tuple[int, int | None]:
    """The fewest and the most rows that are demanded; None where there is no most."""
    if isinstance(demand, Mapping):
        most = demand.get("at_most")
        return int(demand.get("at_least", 0)), None if most is None else int(most)
    return int(demand), None


def _range(least: int, most: int | None) -> str:
    if most is None:
        return f"{least} or more"
    return f"exactly {least}" if least == most else f"{least} to {most}"


def server_errors(known: Known) -> Verdict:
    """What the server counted against this database since the reference."""
    expected = "no deadlock, conflict, checksum failure, crash or restart since the reference"
    before = known.reference.get("server")
    if not before:
        return not_tested(expected, _NO_REFERENCE, _GIVE_REFERENCE)
    now = known.measured["server"]
    judgement = Judgement(expected)
    since = f"since {before['at']}"
    if now["started"] != before["started"]:
        judgement.fail(f"the server was restarted {since}", "Ask who did it, and why; its log says when.")
    # Who resets counters leaves the time of it. Crash recovery throws them away, that time with them.
    forgotten = now["stats_reset"] is None and before["stats_reset"] is not None
    if now["stats_reset"] != before["stats_reset"] and not forgotten:
        judgement.leave("the server's counters were reset meanwhile")
        return judgement.verdict("")
    counters = _SERVER_COLUMNS[3:11]
    back = [name for name in counters if now[name] < before[name]]
    if back or forgotten:
        judgement.fail(
            f"the server recovered from a crash {since}: its counters went back",
            "Its log says which process ended, and by what.",
        )
        before = {**before, **dict.fromkeys(counters, 0)}
    grown = {name: now[name] - before[name] for name in counters}
    for name, told in (
        ("deadlocks", "deadlocks"),
        ("conflicts", "queries cancelled by recovery"),
        ("checksum_failures", "pages with a wrong checksum"),
    ):
        if grown[name] > 0:
            judgement.fail(f"{grown[name]} {told} {since}", "The server's log names the statements.")
    for name, told in (
        ("sessions_fatal", "sessions ended by a fatal error or a timeout"),
        ("sessions_killed", "sessions ended by somebody"),
    ):
        if grown[name] > 0:
            judgement.warn(f"{grown[name]} {told} {since}", "The server's log says which.")
    return judgement.verdict(
        f"none {since}; {grown['xact_rollback']} transactions were rolled back, by whom is not to be seen",
        **grown,
    )


#: Pages of an index without rows, by access method; measured on PostgreSQL 15 to 18 (tests/integration).
EMPTY_INDEX_PAGES = {"btree": 1, "brin": 3, "gin": 2, "gist": 1, "spgist": 3}
#: Pages that come with a table's first rows: the heap's first, its free space map (3) and visibility map (1); the same
#: for its TOAST table, and a root page there. An index gets its root page.
_FIRST_ROWS, _FIRST_TOAST, _FIRST_OF_INDEX = 5, 6, 1


@dataclass(frozen=True)
class Range:
    """How many bytes a relation may have grown."""

    least: int
    most: int


def size_growth(known: Known) -> Verdict:
    """The relations of the migrations grew as an empty schema does, and by their first rows where they hold any."""
    expected = "the growth of an empty schema, and a table's first pages where it was written to"
    before = known.reference.get("sizes")
    if before is None or known.reference.get("schema") != known.schema:
        return not_tested(expected, _NO_REFERENCE, _GIVE_REFERENCE)
    allowance = int(float(known.setting("size_growth", "allowance_mb", 0)) * _MEBIBYTE)
    now: Mapping[str, int] = known.measured["sizes"]
    ranges, unknown = expected_growth(known, before)
    growth = {name: now[name] - before.get(name, 0) for name in ranges}
    least = sum(allowed.least for allowed in ranges.values())
    most = sum(allowed.most for allowed in ranges.values()) + allowance
    told = f"{size(least)} to {size(most)}" if least != most else f"exactly {size(least)}"
    judgement = Judgement(f"growth of the migrations' tables since the reference: {told}")
    excess = {
        name: growth[name] - allowed.most for name, allowed in ranges.items() if growth[name] > allowed.most
    }
    if sum(excess.values()) > allowance:
        biggest = sorted(excess, key=lambda name: -excess[name])
        judgement.fail(
            "beyond what an empty schema and first rows take: "
            + ", ".join(f"{name} {size(excess[name])}" for name in biggest),
            "If the application writes there already, set allowance_mb of size_growth in verify_checks.",
        )
    for name, allowed in ranges.items():
        if growth[name] < allowed.least and name not in before:
            judgement.fail(
                f"{name} takes {now[name]} bytes, less than the {allowed.least} that it takes when empty"
            )
    for name in unknown:
        judgement.warn(f"{name}: how large an empty index of this kind is, is not known")
    grown = sum(growth.values())
    server, then = known.measured["server"], known.reference["server"]
    whole = server["database_bytes"] - then["database_bytes"]
    verdict = judgement.verdict(
        f"{size(grown)}; the whole database {size(whole)}, the rest being the catalog's and the application's",
        grown_bytes=grown,
        least_bytes=least,
        most_bytes=most,
        database_grown_bytes=whole,
        database_bytes=server["database_bytes"],
    )
    if verdict.status != "passed":
        return replace(verdict, observed=f"{size(grown)}\n{verdict.observed}")
    return verdict


def expected_growth(known: Known, before: Mapping[str, int]) -> tuple[dict[str, Range], list[str]]:
    """How much every relation of the migrations may have grown since the reference.

    Derived, not guessed: an empty index has a known number of pages, a sequence one, an empty table none but the one of
    its TOAST index. That much is the growth of what is new. A table that was ever written to may have its first pages
    beside, and its indexes theirs; an index that was built over rows is as large as it is.

    What is there counts, as far as it belongs to the migrations: whether all of it is there, other items say.

    :param before: bytes by relation at the reference
    :return: by relation; and indexes of a kind whose empty size is not known
    """
    entries, measured = known.catalog.entries, known.measured
    page = int(measured["server"]["block_size"])
    ours = set(known.shape.tables) | known.shape.partitions | known.catalog.partitions_of(known.ledger.grows)
    found: dict[str, Range] = {}
    unknown = []
    for name, size_now in measured["sizes"].items():
        new = name not in before
        if name in ours:
            toasted = name in measured["toasted"]
            first = (_FIRST_ROWS + _FIRST_TOAST * toasted) if name in measured["written"] else 0
            found[name] = _range_of(page, 1 if toasted and new else 0, first)
        elif f"sequence {name}" in known.ledger.made:
            found[name] = _range_of(page, 1 if new else 0, 0)
        elif f"index {name}" in entries and entries[f"index {name}"]["table"] in ours:
            entry = entries[f"index {name}"]
            method = index_parts(str(entry["definition"])).method
            written = entry["table"] in measured["written"]
            empty = EMPTY_INDEX_PAGES.get(method, 0) if new else 0
            found[name] = _range_of(page, empty, _FIRST_OF_INDEX if written else 0)
            if method not in EMPTY_INDEX_PAGES:
                unknown.append(name)
            if method not in EMPTY_INDEX_PAGES or (new and written and entry["table"] in before):
                found[name] = Range(found[name].least, max(found[name].most, size_now))
    return found, unknown


def _range_of(page: int, empty: int, first: int) -> Range:
    return Range(empty * page, (empty + first) * page)


def size(count: int) -> str:
    """Bytes for people."""
    return f"{count / _MEBIBYTE:+.2f} MB" if abs(count) >= _MEBIBYTE / 10 else f"{count / 1024:+.0f} kB"


def unchanged_neighbours(known: Known, protected: Sequence[str]) -> Verdict:
    """The application's own tables are as they were: columns, indexes, constraints, triggers, grants."""
    expected = "the protected tables exactly as at the reference"
    if not protected:
        return not_tested(expected, "no table is protected", "Set schema_protected_tables.")
    judgement = Judgement(f"{expected}: {', '.join(protected)}")
    for given in known.measured["missing"]:
        judgement.fail(f"there is no table {given}", "Restore it from the backup, or correct the inventory.")
    before = known.reference.get("neighbours")
    if before is None:
        judgement.leave(_NO_REFERENCE, _GIVE_REFERENCE)
        return judgement.verdict("")
    counted = 0
    for where in sorted({*before, *known.measured["neighbours"]}):
        then, now = before.get(where, {}), known.measured["neighbours"].get(where, {})
        counted += len(now)
        for difference in _changes(then, now):
            ours = (
                where == known.schema and known.ledger.expected.get(difference.object) == difference.observed
            )
            if not (ours and difference.object in known.ledger.owners):
                judgement.fail(
                    diff.as_text([difference]).replace(
                        "is not part of any migration", "was not there before"
                    ),
                    "Find out who changed it: the rollout did not.",
                )
    return judgement.verdict(
        f"{counted} objects unchanged", fingerprint=fingerprint(known.measured["neighbours"])
    )


def _changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    found = []
    for name in sorted({*then, *now}):
        if then.get(name) == now.get(name):
            continue
        kind = "missing" if name not in now else "extra" if name not in then else "changed"
        found.append(Difference(name, kind, then.get(name), now.get(name)))
    return found
