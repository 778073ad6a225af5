"""What each index of ``messages`` costs an insert, beside the original shape and beside indexes that are not there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import psycopg

from benchmarks.bench import Bench
from benchmarks.partition_run import prepared
from benchmarks.report import Ratio, Section, duration, median

INSERTS = 20_000
#: Whatever else the machine does adds to a time and never takes from it, so the least of many is compared.
REPETITIONS = 15
#: Between two measurements of the same thing there are one or two per cent.
LIMIT = 1.02

_ORIGINAL = "the original shape"
#: Indexes that the original shape did not have.
_ADDED = ("idx_messages_failed",)
#: Indexes that were thought of, and what they would cost.
_NOT_TAKEN = {
    "with one on context_id": "CREATE INDEX ON messages (context_id) WHERE context_id IS NOT NULL",
    "with a BRIN on created_at": "CREATE INDEX ON messages USING brin (created_at)",
}
_INSERT = f"""
INSERT INTO messages (company_id, phone, message, direction, message_id, status, intent, context_id, created_at)
SELECT 1, '7' || lpad((i % 1300)::text, 10, '0'), repeat(md5(i::text), 3),
       CASE i % 2 WHEN 0 THEN 'inbound' ELSE 'outbound' END, 'id-' || i, 'sent', 'booking', i % 21, now()
  FROM generate_series(1, {INSERTS}) i
"""


class _Cost(NamedTuple):
    """Seconds on the processor, and bytes of WAL, which a busy machine does not change."""

    seconds: float
    wal: float


def measure(bench: Bench, say: Callable[[str], None]) -> Section:
    """Insert with some indexes away, in turn, and compare with the original shape."""
    section = Section(
        f"{INSERTS:,} inserts into messages, by the indexes it has",
        ("", "time", "of the original shape", "WAL a row", "of the original shape"),
    )
    say(f"partitions: inserts, {REPETITIONS} repetitions")
    with prepared(bench) as database, database.connect() as owner:
        names = [
            row[0]
            for row in owner.execute(
                "SELECT relname FROM pg_index JOIN pg_class c ON c.oid = indexrelid"
                " WHERE indrelid = 'messages'::regclass AND NOT indisprimary ORDER BY 1"
            ).fetchall()
        ]
        before = {
            _ORIGINAL: _without(_ADDED),
            "the same once more": _without(_ADDED),
            "as it is": "",
            **_NOT_TAKEN,
            **{f"without {name}": _without([name]) for name in names},
            "its key alone": _without(names),
        }
        costs: dict[str, list[_Cost]] = {label: [] for label in before}
        for turn in range(REPETITIONS):
            labels = list(before)
            # Each turn begins with another one.
            for label in labels[turn % len(labels) :] + labels[: turn % len(labels)]:
                costs[label].append(_insert_all(owner, before[label]))
    _tell(section, costs)
    return section


def _tell(section: Section, costs: Mapping[str, list[_Cost]]) -> None:
    least = {label: min(cost.seconds for cost in found) for label, found in costs.items()}
    wal = {label: median(cost.wal for cost in found) / INSERTS for label, found in costs.items()}
    for label in costs:
        section.rows.append(
            (
                label,
                duration(least[label]),
                f"{least[label] / least[_ORIGINAL]:.3f}",
                f"{wal[label]:.0f} B",
                f"{wal[label] / wal[_ORIGINAL]:.3f}",
            )
        )
    section.samples.update({label: [list(cost) for cost in found] for label, found in costs.items()})
    section.notes.append(
        f"The original shape lacks {', '.join(_ADDED)}. One statement each, in a transaction that is rolled back; the"
        f" least of {REPETITIONS}, as time on the processor where the system tells it. 'The same once more' says how"
        " far two measurements of one thing are apart."
    )
    share = least["as it is"] / least[_ORIGINAL]
    section.ratios.append(Ratio("inserts into messages, as it is / the original shape", share, LIMIT))


def _without(names: tuple[str, ...] | list[str]) -> str:
    return f"DROP INDEX {', '.join(names)}"


def _insert_all(owner: psycopg.Connection, before: str) -> _Cost:
    """Insert after a statement that changes the indexes."""
    with owner.transaction(force_rollback=True):
        if before:
            owner.execute(before.encode())
        began, written = _busy(owner), _written(owner)
        owner.execute(_INSERT.encode())
        return _Cost(_busy(owner) - began, _written(owner) - written)


def _busy(owner: psycopg.Connection) -> float:
    """Seconds that the session's process was on a processor (Linux), else the time of day."""
    accounted = Path(f"/proc/{owner.info.backend_pid}/schedstat")
    if accounted.exists():
        return int(accounted.read_text().split()[0]) / 1e9
    row = owner.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
    assert row is not None
    return float(row[0])


def _written(owner: psycopg.Connection) -> float:
    row = owner.execute("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8").fetchone()
    assert row is not None
    return float(row[0])
