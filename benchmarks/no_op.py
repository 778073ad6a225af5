"""A whole run with nothing to do: apply.yml, and playbooks that ask for the same objects with community.postgresql."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from ansible.module_utils.rollout import catalog
from ansible.module_utils.rollout.connection import Session
from ansible.module_utils.rollout.options import ConnectionOptions

from benchmarks import community_postgresql
from benchmarks.bench import MIGRATIONS, Bench
from benchmarks.contest import in_turn
from benchmarks.playbooks import PlaybookRun, Playbooks
from benchmarks.report import Ratio, Section, duration, median
from sandbox.databases import Database

REPETITIONS = 3
LIMIT = 1 / 8
PLAYBOOKS = Path(__file__).with_name("community")

ROLLOUT = "apply.yml: runtime, schema, verify, record"
ITEMS = "community.postgresql, an item an object"
SCRIPTS = "community.postgresql, one postgresql_script a migration"
NAME = "whole run with nothing to do: apply.yml / community.postgresql"


def measure(bench: Bench, say: Callable[[str], None]) -> list[Section]:
    """Measure first and second runs."""
    section = Section(
        title="A whole run of ansible-playbook",
        columns=("", "first run", "nothing to do", "of an item an object", "changed="),
    )
    try:
        community_postgresql.ensure_collection()
    except RuntimeError as error:
        section.notes.append(f"Not measured: {error}")
        section.ratios.append(Ratio(NAME, None, LIMIT, str(error)))
        return [section]
    schema = bench.settings.schema
    objects = community_postgresql.objects(bench.migrations, schema)
    items = {"community_objects": objects}
    scripts = {"community_scripts": community_postgresql.scripts(bench.migrations, schema, bench.scratch)}
    playbooks = Playbooks(bench)
    with bench.database() as ours, bench.database() as theirs, bench.database() as scripted:
        contestants: dict[str, Callable[[], PlaybookRun]] = {
            ROLLOUT: lambda: playbooks.rollout(ours, MIGRATIONS),
            ITEMS: lambda: playbooks.community(PLAYBOOKS / "items.playbook", theirs, items),
            SCRIPTS: lambda: playbooks.community(PLAYBOOKS / "scripts.playbook", scripted, scripts),
        }
        say("whole runs: making the modules' Python environment")
        _make_environment(bench, playbooks)
        say("whole runs: first run of each contestant")
        first = in_turn(contestants, 1)
        _same_objects(ours, theirs, schema)
        _same_objects(ours, scripted, schema)
        say(f"whole runs: nothing to do, {REPETITIONS} repetitions")
        second = in_turn(contestants, REPETITIONS)
    seconds = {name: median(run.seconds for run in runs) for name, runs in second.items()}
    changed = {name: runs[0].changed for name, runs in second.items()}
    if changed[ROLLOUT]:
        raise RuntimeError(f"apply.yml was to find nothing to do, and changed {changed[ROLLOUT]}")
    for name in contestants:
        share = f"{seconds[name] / seconds[ITEMS]:.3f}"
        section.rows.append(
            (name, duration(first[name][0].seconds), duration(seconds[name]), share, str(changed[name]))
        )
    count = sum(len(listed) for listed in objects.values())
    per_item = duration(seconds[ITEMS] / count)
    section.notes += [
        f"The {count} items are "
        + ", ".join(f"{len(listed)} {kind.replace('_', ' ')}" for kind, listed in objects.items())
        + f": {per_item} each.",
        f"Database time, as the modules report it: {duration(first[ROLLOUT][0].database_seconds)} in the first run,"
        f" {duration(median(run.database_seconds for run in second[ROLLOUT]))} with nothing to do.",
    ]
    section.ratios.append(Ratio(NAME, seconds[ROLLOUT] / seconds[ITEMS], LIMIT))
    section.samples = {
        "first": {name: [asdict(run) for run in runs] for name, runs in first.items()},
        "second": {name: [asdict(run) for run in runs] for name, runs in second.items()},
    }
    return [section]


def _make_environment(bench: Bench, playbooks: Playbooks) -> None:
    with bench.database() as database:
        playbooks.rollout(database, MIGRATIONS)


def _same_objects(ours: Database, theirs: Database, schema: str) -> None:
    """The comparison is only fair if both playbooks made the same.

    :raises RuntimeError: naming the objects that differ
    """
    readings = []
    for database in (ours, theirs):
        with Session(ConnectionOptions(**database.options), "rollout benchmark", read_only=True) as session:
            readings.append(catalog.read(session, schema).entries)
    names = set(readings[0]) | set(readings[1])
    different = sorted(name for name in names if readings[0].get(name) != readings[1].get(name))
    if different:
        raise RuntimeError(f"the contestants did not make the same objects: {', '.join(different)}")
