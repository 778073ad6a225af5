"""What many partitions and many rows cost: maintenance, planning, pruning; on ``messages`` as it is, by day."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from ansible.module_utils.rollout.partition_plan import Desired

from benchmarks.bench import Bench
from benchmarks.partition_run import maintained, prepared
from benchmarks.report import Ratio, Section, duration, median
from sandbox.databases import Database

PARTITIONS = (10, 100, 1000)
ROWS = 200_000
#: Days long before the months that the migration makes, so that both are in one table.
FIRST = datetime.date(2020, 1, 1)
REPETITIONS = 5
FILLERS = 2
#: A hundred times the partitions may cost so many times the time.
GROWTH_LIMIT = 4.0

_PHONE = "company_id = 1 AND phone = '70000000007'"
_DAY = "created_at >= '2020-01-05 00:00:00+00' AND created_at < '2020-01-06 00:00:00+00'"
_NEWEST = "ORDER BY created_at DESC, id DESC LIMIT 50"
#: What the application asks most, as get_recent_messages() does, and what reports ask.
QUERIES = {
    "newest of a phone": f"SELECT id, message FROM messages WHERE {_PHONE} {_NEWEST}",
    "the same, one day": f"SELECT id, message FROM messages WHERE {_PHONE} AND {_DAY} {_NEWEST}",
    "not processed": "SELECT id FROM messages WHERE processed = false ORDER BY created_at LIMIT 100",
    "one day": f"SELECT count(*) FROM messages WHERE {_DAY}",
}
#: The columns that must be there; the partial indexes stay empty, the other six hold every row.
_FILL = """
INSERT INTO {partition} (company_id, phone, direction, processed, created_at)
SELECT 1 + i % 7, '7' || lpad((i % 1300)::text, 10, '0'), CASE i % 2 WHEN 0 THEN 'inbound' ELSE 'outbound' END, true,
       timestamptz '{day} 00:00:00+00' + i * interval '86400 seconds' / {rows}
  FROM generate_series(0, {rows} - 1) i
"""


@dataclass(frozen=True)
class _Planned:
    """A query, explained: times of the server in milliseconds, and the partitions that it read."""

    planning: float
    execution: float
    read: frozenset[str]


def measure(
    bench: Bench,
    say: Callable[[str], None],
    counts: Sequence[int] = PARTITIONS,
    rows: int = ROWS,
) -> Section:
    """Maintenance and planning with few and with many partitions.

    :param rows: in all partitions together
    """
    section = Section(
        f"Many partitions of messages (by day, ten indexes each, {rows:,} rows)",
        (
            "partitions",
            "made in",
            "size",
            "nothing to do",
            "one more",
            *(f"{name}: planned" for name in QUERIES),
            "run",
            "read by one day",
        ),
    )
    idle, one_more = {}, {}
    for count in counts:
        say(f"partitions: {count} of them, {rows:,} rows")
        with prepared(bench) as database, database.connect() as owner:
            days = Desired("messages", "day", FIRST, ahead=0)
            today = FIRST + datetime.timedelta(days=count - 1)
            made = maintained(database, days, today)
            assert len(made.actions) == count
            filled = _fill(database, count, rows // count)
            say(f"partitions: filled in {duration(filled)}")
            owner.execute("VACUUM (ANALYZE, TRUNCATE off) messages")
            bench.settle()
            again = [maintained(database, days, today) for _ in range(REPETITIONS)]
            assert not any(outcome.changed for outcome in again)
            planned = {name: _planned(owner, query) for name, query in QUERIES.items()}
            size = owner.execute(
                "SELECT pg_size_pretty(sum(pg_total_relation_size(inhrelid))) FROM pg_inherits"
                " WHERE inhparent = 'messages'::regclass"
            ).fetchone()
            # Each adds the next day, and does not take it back.
            later = [
                maintained(database, days, today + datetime.timedelta(days=1 + turn))
                for turn in range(REPETITIONS)
            ]
            assert all(len(outcome.actions) == 1 for outcome in later)
        assert size is not None
        idle[count] = median(outcome.seconds for outcome in again)
        one_more[count] = median(outcome.seconds for outcome in later)
        read = len(planned["one day"].read)
        section.rows.append(
            (
                str(count),
                duration(made.seconds),
                str(size[0]),
                duration(idle[count]),
                duration(one_more[count]),
                *(f"{planned[name].planning:.1f} ms" for name in QUERIES),
                f"{planned['newest of a phone'].execution:.1f} ms",
                str(read),
            )
        )
        section.samples[str(count)] = {
            "made": made.seconds,
            "filled": filled,
            "idle": [outcome.seconds for outcome in again],
            "one_more": [outcome.seconds for outcome in later],
            "queries": {
                name: {"planning_ms": one.planning, "execution_ms": one.execution, "read": len(one.read)}
                for name, one in planned.items()
            },
        }
        section.ratios.append(Ratio(f"partitions that one day reads, of {count}", float(read), 1.0))
    few, many = min(counts), max(counts)
    for label, found in (("nothing to do", idle), ("one more", one_more)):
        if few < many:
            name = f"maintenance with {many} partitions / with {few}, {label}"
            section.ratios.append(Ratio(name, found[many] / found[few], GROWTH_LIMIT))
    section.notes.append(
        "'nothing to do' and 'one more' are whole runs with connecting. 'run' is how long the newest of a phone take;"
        " 'read by one day' counts the partitions scanned."
    )
    return section


def _fill(database: Database, partitions: int, rows: int) -> float:
    """Fill the first days, a transaction each, and return the seconds that it took."""
    began = time.perf_counter()
    days = iter([FIRST + datetime.timedelta(days=number) for number in range(partitions)])
    taking = threading.Lock()
    failed: list[Exception] = []

    def work() -> None:
        try:
            with psycopg.connect(**database.options, autocommit=True) as connection:
                connection.execute("SET synchronous_commit = off")
                while not failed:
                    with taking:
                        day = next(days, None)
                    if day is None:
                        return
                    partition = f"messages_{day:%Y_%m_%d}"
                    connection.execute(_FILL.format(partition=partition, day=day, rows=rows).encode())
        except psycopg.Error as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(FILLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return time.perf_counter() - began


def _planned(owner: psycopg.Connection, query: str) -> _Planned:
    """A query's times, with warm caches, and what it read."""
    plans: list[dict[str, Any]] = []
    for _ in range(REPETITIONS + 1):
        row = owner.execute(f"EXPLAIN (ANALYZE, TIMING off, FORMAT JSON) {query}".encode()).fetchone()
        assert row is not None
        plans.append(row[0][0])
    read = set()
    waiting = [plans[0]["Plan"]]
    while waiting:
        node = waiting.pop()
        if "Relation Name" in node and node["Actual Loops"]:
            read.add(node["Relation Name"])
        waiting += node.get("Plans", [])
    return _Planned(
        median(float(plan["Planning Time"]) for plan in plans[1:]),
        median(float(plan["Execution Time"]) for plan in plans[1:]),
        frozenset(read),
    )
