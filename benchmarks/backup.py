"""A backup with its proof, against what it is made of: pg_dump and pg_restore, by hand, without any proof.

``python -m benchmarks --only backup``. The backup runs in a process of its own, so that its memory can be told.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ansible.module_utils.rollout import backup
from ansible.module_utils.rollout.options import ConnectionOptions

from benchmarks import ROOT
from benchmarks.bench import Bench
from benchmarks.contest import in_turn
from benchmarks.distance import NEAR, way_to
from benchmarks.programs import timed
from benchmarks.report import Ratio, Section, duration, median
from benchmarks.rollout_run import Run
from sandbox.credentials import OWNER
from sandbox.databases import Database
from sandbox.server import random_name

ROWS = 1_000_000
REPETITIONS = 3
LIMIT = 3.0
MEMORY_MB = 128
_FILL = """
INSERT INTO messages (company_id, phone, message, direction, message_id, status, intent, context_id, created_at)
SELECT 1, '7' || lpad((i % 1300)::text, 10, '0'), repeat(md5(i::text), 3), CASE i % 2 WHEN 0 THEN 'inbound' ELSE
       'outbound' END, 'id-' || i, 'sent', 'booking', i % 21, timestamptz '2025-11-01' + i * interval '15 seconds'
  FROM generate_series(0, {rows} - 1) i
"""


@dataclass(frozen=True)
class Measured:
    """One run.

    :ivar process_mb: the most that the measuring process itself had in memory
    :ivar children_mb: the most that one of its child processes had; 0 where it was not measured
    """

    seconds: float
    process_mb: float = 0.0
    children_mb: float = 0.0


def measure(bench: Bench, say: Callable[[str], None]) -> list[Section]:
    """Compare both proofs with the plain programs."""
    with bench.database() as database:
        say(f"backup: filling {ROWS:,} rows into messages")
        with way_to(bench.server, NEAR) as way:
            Run(database.options, way).apply(bench.migrations, bench.settings)
        with database.connect() as owner:
            owner.execute("INSERT INTO companies (id, name, yclients_company_id) VALUES (1, 'Invented', 1)")
            owner.execute(_FILL.format(rows=ROWS).encode())
        with bench.server.connect(dbname=database.name) as admin:
            admin.execute("VACUUM ANALYZE")
            admin.execute(f"ALTER ROLE {OWNER} CREATEDB")
        bench.settle()
        say(f"backup: {REPETITIONS} repetitions")
        contestants: dict[str, Callable[[], Measured]] = {
            "pg_dump -Fc, then pg_restore into a new database": partial(_plain, bench, database),
            "backup, proven in a scratch database": partial(_proven, bench, database, "database"),
            "backup, proven in a throw-away server": partial(_proven, bench, database, "local"),
        }
        found = in_turn(contestants, REPETITIONS)
    return [_section(found)]


def _plain(bench: Bench, database: Database) -> Measured:
    """What a person types; making and dropping the database is not counted."""
    environment = bench.libpq_environment(database, bench.server.port)
    program = bench.server.binaries.program
    dump = bench.scratch / "plain.dump"
    name = random_name("plain")
    with bench.server.connect() as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 OWNER {OWNER}".encode())
        try:
            bench.settle()
            dumping, _ = timed([program("pg_dump"), "-Fc", f"--file={dump}"], environment, bench.scratch)
            restoring, _ = timed(
                [program("pg_restore"), "--no-owner", "--no-privileges", f"--dbname={name}", str(dump)],
                environment,
                bench.scratch,
            )
        finally:
            admin.execute(f"DROP DATABASE {name}".encode())
    dump.unlink()
    return Measured(dumping + restoring)


def _proven(bench: Bench, database: Database, scratch: str) -> Measured:
    directory = bench.scratch / "backups"
    given = {
        "options": database.options,
        "settings": {"directory": str(directory), "scratch": scratch, "run_id": "benchmark"},
    }
    bench.settle()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.backup"],
        input=json.dumps(given),
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("PG")},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the backup failed:\n{done.stderr[-2000:]}")
    shutil.rmtree(directory)
    return Measured(**json.loads(done.stdout))


def _section(found: dict[str, list[Measured]]) -> Section:
    section = Section(
        title=f"A backup of {ROWS:,} messages",
        columns=("", "time", "of the programs alone", "memory", "of its largest child"),
        samples={label: [asdict(run) for run in runs] for label, runs in found.items()},
    )
    times = {label: median(run.seconds for run in runs) for label, runs in found.items()}
    plain, *ours = found
    for label, runs in found.items():
        own, child = max(run.process_mb for run in runs), max(run.children_mb for run in runs)
        section.rows.append(
            (
                label,
                duration(times[label]),
                f"{times[label] / times[plain]:.2f}",
                f"{own:.0f} MB" if own else "-",
                f"{child:.0f} MB" if child else "-",
            )
        )
    section.ratios = [
        Ratio(f"{label} / pg_dump and pg_restore", times[label] / times[plain], LIMIT) for label in ours
    ]
    largest = max(run.process_mb for label in ours for run in found[label])
    section.ratios.append(Ratio(f"memory of a backup / {MEMORY_MB} MB", largest / MEMORY_MB, 1.0))
    section.notes = ["A largest child of the throw-away server is a server process, with its shared memory."]
    return section


def once(given: dict[str, Any]) -> Measured:
    """Take one backup in this process."""
    began = time.perf_counter()
    outcome = backup.make(ConnectionOptions(**given["options"]), backup.BackupSettings(**given["settings"]))
    seconds = time.perf_counter() - began
    if outcome.backup is None or not outcome.backup.proof.equal or outcome.rows < ROWS:
        raise RuntimeError(f"this is no proven backup of {ROWS} rows: {outcome.summary}")
    return Measured(seconds, _own_memory(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)


def _own_memory() -> float:
    """Megabytes. Not ru_maxrss, which is inherited from the starting process."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmHWM"].split()[0]) / 1024


if __name__ == "__main__":
    print(json.dumps(asdict(once(json.load(sys.stdin)))))
