"""Partitions beside a writing application: how long a writer waits, what many partitions cost, what indexes cost.

``python -m benchmarks.partitions`` prints the tables. The naive way is what people type: CREATE TABLE ... PARTITION OF,
and DROP TABLE of an old month.
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
from ansible.module_utils.rollout import partitions
from ansible.module_utils.rollout.options import ConnectionOptions
from ansible.module_utils.rollout.partition_changes import Terms
from ansible.module_utils.rollout.partition_plan import Desired
from ansible.module_utils.rollout.partition_transfer import FileSession
from ansible.module_utils.rollout.partitions import Order, Outcome

from benchmarks.bench import Bench
from benchmarks.distance import NEAR, way_to
from benchmarks.report import Ratio, Section, as_text, duration, median
from benchmarks.rollout_run import Run
from sandbox.databases import Database

WRITERS = 2
#: A report that reads messages while partitions come and go; everything that queues behind it is seen by the writers.
READER_S = 0.6
REPETITIONS = 3
#: Times of inserts scatter more than others.
INSERT_REPETITIONS = 7
WAIT_LIMIT_S = 0.1
MANY = (10, 100, 1000)
ROWS = 200_000
INSERTS = 20_000
FIRST = datetime.date(2020, 1, 1)

_INSERT = (
    "INSERT INTO messages (company_id, phone, direction, message, status, message_id, intent, context_id)"
    " VALUES (1, '70000000000', 'inbound', %s, 'sent', 'id', 'booking', 1)"
)
#: Indexes that the original shape did not have.
_ADDED = ("idx_messages_context_id", "idx_messages_created_at")
_MANY_INSERTS = f"""
INSERT INTO messages (company_id, phone, message, direction, message_id, status, intent, context_id, created_at)
SELECT 1, '7' || lpad((i %% 1300)::text, 10, '0'), repeat(md5(i::text), 3),
       CASE i %% 2 WHEN 0 THEN 'inbound' ELSE 'outbound' END, 'id-' || i, 'sent', 'booking', i %% 21, now()
  FROM generate_series(1, {INSERTS}) i
"""


def measure(bench: Bench, say: Callable[[str], None]) -> list[Section]:
    """Waits of writers, many partitions, inserts."""
    return [_waits(bench, say), _many(bench, say), _inserts(bench, say)]


def _maintained(database: Database, desired: Desired, today: datetime.date | None = None) -> Outcome:
    order = Order("public", desired, "UTC", Terms("rollout", "benchmark"), "benchmark", today=today)
    return partitions.maintain(
        lambda: FileSession(ConnectionOptions(**database.options), "benchmark"), order, check=False
    )


@contextlib.contextmanager
def _prepared(bench: Bench) -> Iterator[Database]:
    with bench.database() as database:
        with way_to(bench.server, NEAR) as way:
            Run(database.options, way).apply(bench.migrations, bench.settings)
        yield database


@dataclass
class _Writers:
    """Writers that insert all the time, each row in a transaction of its own.

    :ivar waits: time of each insert, seconds
    """

    database: Database
    waits: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def _write(self) -> None:
        with psycopg.connect(**self.database.options, autocommit=True) as connection:
            for number in itertools.count():
                if self._stopping.is_set():
                    return
                began = time.perf_counter()
                try:
                    connection.execute(_INSERT, [f"message {number}"])
                except psycopg.Error as error:
                    self.failed.append(str(error))
                self.waits.append(time.perf_counter() - began)
                time.sleep(0.002)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._write) for _ in range(WRITERS)]
        for thread in threads:
            thread.start()
        try:
            time.sleep(0.2)
            yield
            time.sleep(0.2)
        finally:
            self._stopping.set()
            for thread in threads:
                thread.join()


def _beside_writers(database: Database, action: Callable[[], Any]) -> _Writers:
    """Do something while writers write and a report reads."""
    writers = _Writers(database)
    begun = threading.Event()

    def read() -> None:
        with psycopg.connect(**database.options) as reader:
            reader.execute("SELECT count(*) FROM messages")
            begun.set()
            time.sleep(READER_S)

    with writers.at_work():
        report = threading.Thread(target=read)
        report.start()
        begun.wait(30)
        action()
        report.join()
    return writers


def _waits(bench: Bench, say: Callable[[str], None]) -> Section:
    section = Section(
        f"The longest wait of a writer: {WRITERS} writers, and a report that reads the table for {READER_S} s",
        ("", "longest insert", "median insert", "inserts", "failed"),
    )
    found: dict[str, list[_Writers]] = {}
    ratios: dict[str, float] = {}
    with _prepared(bench) as database, database.connect() as owner:
        say(f"partitions: waits of writers, {REPETITIONS} repetitions")
        ours = Desired("messages", "month", datetime.date(2025, 11, 1), ahead=3)
        _maintained(database, ours)

        def months(offset: int) -> tuple[str, str, str]:
            row = owner.execute(
                "SELECT to_char(m, 'YYYY_MM'), m::text, (m + interval '1 month')::text"
                " FROM (SELECT date_trunc('month', now()) + %s * interval '1 month') AS d(m)",
                [offset],
            ).fetchone()
            assert row is not None
            return row

        for turn in range(REPETITIONS):
            ahead = 4 + 2 * turn
            name, lower, upper = months(ahead + 1)
            naive = f"CREATE TABLE messages_{name} PARTITION OF messages FOR VALUES FROM ('{lower}') TO ('{upper}')"
            old = [row[0] for row in owner.execute(
                "SELECT relname FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid"
                " WHERE inhparent = 'messages'::regclass ORDER BY 1"
            ).fetchall()]  # fmt: skip
            keep = _months_since(owner, old[1])
            first = Desired("messages", "month", None, ahead=ahead, retention=keep)
            contestants: dict[str, Callable[[], Any]] = {
                "nothing is done": lambda: None,
                "a month ahead, pg_partitions": lambda a=ahead: _maintained(  # type: ignore[misc]
                    database, Desired("messages", "month", datetime.date(2025, 11, 1), ahead=a)
                ),
                "a month ahead, PARTITION OF": lambda s=naive: owner.execute(s.encode()),  # type: ignore[misc]
                "an old month goes, pg_partitions": lambda d=first: _maintained(database, d),  # type: ignore[misc]
                "an old month goes, DROP TABLE": lambda o=old[1]: owner.execute(  # type: ignore[misc]
                    f"DROP TABLE {o}".encode()
                ),
            }
            for label, action in contestants.items():
                found.setdefault(label, []).append(_beside_writers(database, action))
    for label, runs in found.items():
        longest = max(wait for run in runs for wait in run.waits)
        ratios[label] = longest
        section.rows.append(
            (
                label,
                duration(longest),
                f"{median(wait for run in runs for wait in run.waits) * 1000:.1f} ms",
                str(sum(len(run.waits) for run in runs)),
                str(sum(len(run.failed) for run in runs)),
            )
        )
        section.samples[label] = [{"longest": max(run.waits), "failed": run.failed} for run in runs]
    section.notes.append(
        f"The worst of {REPETITIONS} repetitions. The naive statements queue behind the report, and every writer behind"
        " them."
    )
    for label in ("a month ahead, pg_partitions", "an old month goes, pg_partitions"):
        section.ratios.append(Ratio(f"longest insert, {label} / 100 ms", ratios[label] / WAIT_LIMIT_S, 1.0))
    return section


def _months_since(owner: psycopg.Connection, partition: str) -> int:
    """How many months before the present one that partition's is."""
    row = owner.execute(
        "SELECT (extract(year FROM age) * 12 + extract(month FROM age))::int"
        " FROM (SELECT age(date_trunc('month', now()), to_date(right(%s, 7), 'YYYY_MM')) AS age) a",
        [partition],
    ).fetchone()
    assert row is not None
    return int(row[0])


_EVENTS = """
CREATE TABLE events (id bigint GENERATED BY DEFAULT AS IDENTITY, company_id int NOT NULL, phone text NOT NULL,
                     message text, at timestamptz NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE INDEX ON events (company_id, phone, at DESC);
"""
_QUERIES = {
    "one day": "SELECT count(*) FROM events WHERE at >= '2020-01-05+00' AND at < '2020-01-06+00'",
    "newest of a phone, one day": "SELECT * FROM events WHERE company_id = 1 AND phone = '7' AND at >= '2020-01-05+00'"
    " AND at < '2020-01-06+00' ORDER BY at DESC LIMIT 50",
    "newest of a phone, all": "SELECT * FROM events WHERE company_id = 1 AND phone = '7' ORDER BY at DESC LIMIT 50",
}


def _many(bench: Bench, say: Callable[[str], None]) -> Section:
    section = Section(
        f"Many partitions (by day, {ROWS:,} rows)",
        (
            "partitions",
            "made in",
            "nothing to do",
            *(f"plan: {name}" for name in _QUERIES),
            "read by one day",
        ),
    )
    for count in MANY:
        say(f"partitions: {count} partitions")
        with bench.database() as database, database.connect() as owner:
            owner.execute(_EVENTS.encode())
            desired = Desired("events", "day", FIRST, ahead=0)
            today = FIRST + datetime.timedelta(days=count - 1)
            made = _maintained(database, desired, today)
            assert made.partitions == count
            owner.execute(
                "INSERT INTO events (company_id, phone, message, at) SELECT 1, (i % 100)::text, 'x',"
                f" timestamptz '2020-01-01+00' + (i % {count * 86400}) * interval '1 second'"
                f" FROM generate_series(1, {ROWS}) i".encode()
            )
            owner.execute("ANALYZE events")
            again = [_maintained(database, desired, today) for _ in range(REPETITIONS)]
            assert not any(outcome.changed for outcome in again)
            planned = {name: _planning(owner, query) for name, query in _QUERIES.items()}
            read = len(_scanned(owner, _QUERIES["one day"]))
            idle = median(outcome.seconds for outcome in again)
            section.rows.append(
                (
                    str(count),
                    duration(made.seconds),
                    duration(idle),
                    *(f"{planned[name]:.1f} ms" for name in _QUERIES),
                    str(read),
                )
            )
            section.samples[str(count)] = {
                "made": made.seconds,
                "idle": idle,
                "planning_ms": planned,
                "read": read,
            }
            if count >= 5:
                section.ratios.append(Ratio(f"partitions that one day reads, of {count}", float(read), 1.0))
    section.notes.append(
        "'nothing to do' is a whole run without connecting; 'read by one day' counts the partitions scanned."
    )
    return section


def _planning(owner: psycopg.Connection, query: str) -> float:
    """Planning time of the server, milliseconds, with a warm catalog cache."""
    times = []
    for _ in range(REPETITIONS + 1):
        row = owner.execute(f"EXPLAIN (FORMAT JSON, SUMMARY) {query}".encode()).fetchone()
        assert row is not None
        times.append(float(row[0][0]["Planning Time"]))
    return median(times[1:])


def _scanned(owner: psycopg.Connection, query: str) -> set[str]:
    row = owner.execute(f"EXPLAIN (FORMAT JSON) {query}".encode()).fetchone()
    assert row is not None
    found = set()
    waiting = [row[0][0]["Plan"]]
    while waiting:
        node = waiting.pop()
        found |= {node["Relation Name"]} if "Relation Name" in node else set()
        waiting += node.get("Plans", [])
    return found


def _inserts(bench: Bench, say: Callable[[str], None]) -> Section:
    section = Section(
        f"{INSERTS:,} inserts into messages, by the indexes it has",
        ("", "time", "of the original shape", "WAL a row", "of the original shape"),
    )
    say(f"partitions: inserts, {INSERT_REPETITIONS} repetitions")
    with _prepared(bench) as database, database.connect() as owner:
        names = [
            row[0]
            for row in owner.execute(
                "SELECT relname FROM pg_index JOIN pg_class c ON c.oid = indexrelid"
                " WHERE indrelid = 'messages'::regclass AND NOT indisprimary ORDER BY 1"
            ).fetchall()
        ]
        without: dict[str, list[str]] = {
            "the original shape": list(_ADDED),
            "as it is": [],
            **{f"without {name}": [name] for name in names},
            "its key alone": names,
        }
        samples: dict[str, list[float]] = {label: [] for label in without}
        logged: dict[str, list[float]] = {label: [] for label in without}
        for _ in range(INSERT_REPETITIONS):
            for label, dropped in without.items():
                seconds, wal = _insert_all(owner, dropped)
                samples[label].append(seconds)
                logged[label].append(wal / INSERTS)
    base, base_wal = median(samples["the original shape"]), median(logged["the original shape"])
    for label, times in samples.items():
        wal = median(logged[label])
        section.rows.append(
            (
                label,
                duration(median(times)),
                f"{median(times) / base:.2f}",
                f"{wal:.0f} B",
                f"{wal / base_wal:.2f}",
            )
        )
    section.samples.update({"seconds": samples, "wal": logged})
    section.notes.append(
        f"The original shape lacks {' and '.join(_ADDED)}. One statement each, in a transaction that is rolled back."
    )
    return section


def _insert_all(owner: psycopg.Connection, dropped: list[str]) -> tuple[float, float]:
    """Insert with some indexes away; returns seconds, and the bytes of WAL, which a busy machine does not change."""
    with owner.transaction(force_rollback=True):
        for name in dropped:
            owner.execute(f"DROP INDEX {name}".encode())
        start = _written(owner)
        began = time.perf_counter()
        owner.execute(_MANY_INSERTS.replace("%%", "%").encode())
        return time.perf_counter() - began, _written(owner) - start


def _written(owner: psycopg.Connection) -> float:
    row = owner.execute("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8").fetchone()
    assert row is not None
    return float(row[0])


if __name__ == "__main__":
    with Bench() as opened:
        print(opened.machine(), flush=True)
        for one in measure(opened, lambda text: print(text, flush=True)):
            print(f"\n{as_text(one)}", flush=True)
            for ratio in one.ratios:
                print(
                    f"  {ratio.name}: {ratio.value:.2f}, allowed {ratio.limit:.2f}: {ratio.verdict}",
                    flush=True,
                )
            print(json.dumps(one.samples), flush=True)
