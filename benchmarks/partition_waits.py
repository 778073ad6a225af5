"""How long a writing application waits while partitions are made and detached.

The naive way is what people type: CREATE TABLE ... PARTITION OF, and DROP TABLE of an old month.
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
from ansible.module_utils.rollout.partition_plan import Desired

from benchmarks.bench import Bench
from benchmarks.partition_run import maintained, prepared
from benchmarks.report import Ratio, Section, duration, median
from sandbox.databases import Database

WRITERS = 2
#: A report that reads messages while partitions come and go; everything that queues behind it is seen by the writers.
READER_S = 0.6
REPETITIONS = 3
WAIT_LIMIT_S = 0.1

_INSERT = (
    "INSERT INTO messages (company_id, phone, direction, message, status, message_id, intent, context_id)"
    " VALUES (1, '70000000000', 'inbound', %s, 'sent', 'id', 'booking', 1)"
)


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


def measure(bench: Bench, say: Callable[[str], None]) -> Section:
    """How long a writer waits while months come and go, here and in the naive way."""
    section = Section(
        f"The longest wait of a writer: {WRITERS} writers, and a report that reads the table for {READER_S} s",
        ("", "longest insert", "median insert", "inserts", "failed"),
    )
    found: dict[str, list[_Writers]] = {}
    ratios: dict[str, float] = {}
    with prepared(bench) as database, database.connect() as owner:
        say(f"partitions: waits of writers, {REPETITIONS} repetitions")
        ours = Desired("messages", "month", datetime.date(2025, 11, 1), ahead=3)
        maintained(database, ours)

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
                "a month ahead, pg_partitions": lambda a=ahead: maintained(  # type: ignore[misc]
                    database, Desired("messages", "month", datetime.date(2025, 11, 1), ahead=a)
                ),
                "a month ahead, PARTITION OF": lambda s=naive: owner.execute(s.encode()),  # type: ignore[misc]
                "an old month goes, pg_partitions": lambda d=first: maintained(database, d),  # type: ignore[misc]
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
