"""Nothing to do after 10, 100 and 1,000 recorded migrations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from ansible.module_utils.rollout import catalog
from ansible.module_utils.rollout.connection import Session
from ansible.module_utils.rollout.options import ConnectionOptions

from benchmarks.bench import MIGRATIONS, Bench
from benchmarks.contest import in_turn
from benchmarks.distance import NEAR, way_to
from benchmarks.history import record_history, revisions, write_history
from benchmarks.playbooks import PlaybookRun, Playbooks
from benchmarks.report import Ratio, Section, duration, median
from benchmarks.rollout_run import Run
from sandbox.databases import Database

REPETITIONS = 5
LENGTHS = (10, 100, 1000)
LIMIT = 1.5


@dataclass(frozen=True)
class Past:
    """A database with a past, and the folder that it came from.

    :ivar objects: entries in the schema's catalog
    """

    label: str
    database: Database
    folder: Path
    objects: int


def measure(bench: Bench, say: Callable[[str], None]) -> list[Section]:
    """Measure whole runs; the database time is what their modules report."""
    playbooks = Playbooks(bench)
    with ExitStack() as stack:
        pasts = []
        for length in LENGTHS:
            say(f"past: recording {length} migrations")
            pasts.append(stack.enter_context(_recorded(bench, f"{length:,}", length)))
        say(f"past: recording {LENGTHS[-1]} migrations whose schema grows along")
        label = f"{LENGTHS[-1]:,}, schema grown along"
        pasts.append(stack.enter_context(_recorded(bench, label, LENGTHS[-1], growing=True)))
        bench.settle()
        playbooks.rollout(pasts[0].database, pasts[0].folder)
        say(f"past: nothing to do, {REPETITIONS} repetitions")
        contestants = {past.label: partial(playbooks.rollout, past.database, past.folder) for past in pasts}
        found = in_turn(contestants, REPETITIONS)
    return [_section(pasts, found)]


@contextmanager
def _recorded(bench: Bench, label: str, length: int, *, growing: bool = False) -> Iterator[Past]:
    revised = revisions(length - len(bench.migrations), growing=growing)
    folder = bench.scratch / f"past-{length}{'-growing' if growing else ''}"
    write_history(MIGRATIONS, folder, revised)
    migrations = bench.load(folder)
    with bench.database() as database:
        with way_to(bench.server, NEAR) as way:
            Run(database.options, way).apply(migrations[: len(bench.migrations)], bench.settings)
        with Session(ConnectionOptions(**database.options), "rollout benchmark") as session:
            record_history(session, migrations, revised, bench.settings)
            objects = len(catalog.read(session, bench.settings.schema).entries)
        with database.connect() as owner:
            # What autovacuum does on a server that has had its thousand migrations for more than a minute.
            owner.execute("ANALYZE")
        yield Past(label, database, folder, objects)


def _section(pasts: list[Past], found: dict[str, list[PlaybookRun]]) -> Section:
    section = Section(
        title="Nothing to do, after many migrations",
        columns=("Recorded migrations", "objects", "database time", "of 10", "whole run", "of 10"),
        samples={label: [asdict(run) for run in runs] for label, runs in found.items()},
    )
    database = {label: median(run.database_seconds for run in runs) for label, runs in found.items()}
    whole = {label: median(run.seconds for run in runs) for label, runs in found.items()}
    base, last = pasts[0].label, f"{LENGTHS[-1]:,}"
    for past in pasts:
        if any(run.changed for run in found[past.label]):
            raise RuntimeError(f"{past.label} migrations: apply.yml was to find nothing to do")
        section.rows.append(
            (
                past.label,
                str(past.objects),
                duration(database[past.label]),
                f"{database[past.label] / database[base]:.2f}",
                duration(whole[past.label]),
                f"{whole[past.label] / whole[base]:.2f}",
            )
        )
    section.ratios = [
        Ratio(
            f"nothing to do, {last} / {base} migrations: database time",
            database[last] / database[base],
            LIMIT,
        ),
        Ratio(f"nothing to do, {last} / {base} migrations: whole run", whole[last] / whole[base], LIMIT),
    ]
    return section
