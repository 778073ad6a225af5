"""The first apply on a fresh database, near and far: the rollout with all its proofs, psql, and Sqitch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial

from benchmarks import programs, sqitch
from benchmarks.bench import Bench
from benchmarks.contest import in_turn
from benchmarks.distance import FAR, NEAR, Way, way_to
from benchmarks.report import Ratio, Section, duration, median
from benchmarks.rollout_run import COMPARISON, Phase, Run
from sandbox.databases import Database

REPETITIONS = {NEAR: 9, FAR: 5}
#: Round trip in milliseconds -> highest ratio of the rollout's database time to psql's.
LIMITS = {NEAR: 2.5, FAR: 0.35}

ROLLOUT = "rollout: database time, rehearsal and proofs included"
ROLLOUT_AND_VERIFY = "the same, with the comparison of role verify afterwards"
PSQL = "psql -f, one call a migration"
PSQL_ONE_TRANSACTION = "psql -1 -f, each migration one transaction"
PSQL_EMPTY = "psql -f with empty files: starting and connecting"
SQITCH = "sqitch deploy"
SQITCH_NOTHING = "sqitch deploy, nothing to do"


@dataclass(frozen=True)
class Outcome:
    """One measurement.

    :ivar seconds: database time of the rollout, wall time of programs
    :ivar phases: of the rollout only
    """

    seconds: float
    round_trips: int
    phases: tuple[Phase, ...] = ()


def measure(bench: Bench, say: Callable[[str], None]) -> list[Section]:
    """Measure, and return the comparison and the rollout's phases."""
    missing = sqitch.unavailable()
    scripts = bench.scratch / "psql"
    scripts.mkdir()
    (scripts / "empty.sql").touch()
    for migration in bench.migrations:
        (scripts / f"{migration.label}.sql").write_text(
            migration.sql(bench.settings.schema), encoding="utf-8"
        )
    psql = bench.server.binaries.program("psql")
    if not missing:
        sqitch.write_project(bench.scratch / "sqitch", bench.migrations, bench.settings.schema, psql)
    found = {}
    for round_trip_ms in (NEAR, FAR):
        say(f"first apply at {round_trip_ms} ms: {REPETITIONS[round_trip_ms]} repetitions")
        with way_to(bench.server, round_trip_ms) as way:
            found[round_trip_ms] = in_turn(
                _contestants(bench, way, bool(missing)), REPETITIONS[round_trip_ms]
            )
    return [_comparison(found, missing), _phases(found)]


def _contestants(bench: Bench, way: Way, without_sqitch: bool) -> dict[str, Callable[[], Outcome]]:
    labels = [migration.label for migration in bench.migrations]
    contestants: dict[str, Callable[[], Outcome]] = {
        ROLLOUT: partial(_rollout, bench, way),
        PSQL: partial(_psql, bench, way, labels),
        PSQL_ONE_TRANSACTION: partial(_psql, bench, way, labels, "-1"),
        PSQL_EMPTY: partial(_psql, bench, way, ["empty"] * len(labels)),
    }
    if not without_sqitch:
        contestants[SQITCH] = partial(_sqitch, bench, way, nothing=False)
        contestants[SQITCH_NOTHING] = partial(_sqitch, bench, way, nothing=True)
    return contestants


def _rollout(bench: Bench, way: Way) -> Outcome:
    with bench.database() as database:
        run = Run(database.options, way)
        run.apply(bench.migrations, bench.settings)
    return Outcome(run.seconds, run.round_trips, tuple(run.phases))


def _psql(bench: Bench, way: Way, scripts: list[str], *arguments: str) -> Outcome:
    psql = bench.server.binaries.program("psql")
    with _fresh(bench, way) as (_database, environment):
        before = way.round_trips
        seconds = 0.0
        for script in scripts:
            command = [psql, "-X", "-v", "ON_ERROR_STOP=1", *arguments, "-f", f"{script}.sql"]
            seconds += programs.timed(command, environment, bench.scratch / "psql")[0]
        return Outcome(seconds, way.round_trips - before)


def _sqitch(bench: Bench, way: Way, nothing: bool) -> Outcome:
    project = bench.scratch / "sqitch"
    with _fresh(bench, way) as (database, environment):
        if nothing:
            sqitch.deploy(project, bench.libpq_environment(database, bench.server.port))
            bench.settle()
        before = way.round_trips
        seconds = (sqitch.deploy_nothing if nothing else sqitch.deploy)(project, environment)
        return Outcome(seconds, way.round_trips - before)


@contextmanager
def _fresh(bench: Bench, way: Way) -> Iterator[tuple[Database, dict[str, str]]]:
    with bench.database() as database:
        yield database, bench.libpq_environment(database, way.port)


def _comparison(found: Mapping[int, Mapping[str, list[Outcome]]], missing: str) -> Section:
    section = Section(
        title="First apply on an empty database",
        columns=("", "at 0 ms", "of psql -f", "at 30 ms", "of psql -f", "round trips"),
        samples={
            f"{round_trip_ms} ms": {
                name: [asdict(outcome) for outcome in outcomes] for name, outcomes in runs.items()
            }
            for round_trip_ms, runs in found.items()
        },
    )
    found = {round_trip_ms: _with_verify(runs) for round_trip_ms, runs in found.items()}
    seconds = {
        ms: {name: median(o.seconds for o in outcomes) for name, outcomes in runs.items()}
        for ms, runs in found.items()
    }
    for name in found[NEAR]:
        row = [name]
        for round_trip_ms in (NEAR, FAR):
            taken = seconds[round_trip_ms][name]
            row += [duration(taken), f"{taken / seconds[round_trip_ms][PSQL]:.2f}"]
        section.rows.append([*row, f"{median(outcome.round_trips for outcome in found[FAR][name]):.0f}"])
    if missing:
        section.rows.append([SQITCH, *["-"] * 5])
        section.notes.append(f"Sqitch was not measured: {missing}.")
    else:
        section.notes.append(f"Sqitch is {sqitch.version()}.")
    section.ratios = [
        Ratio(
            f"first apply at {round_trip_ms} ms: database time / psql -f",
            seconds[round_trip_ms][ROLLOUT] / seconds[round_trip_ms][PSQL],
            limit,
        )
        for round_trip_ms, limit in LIMITS.items()
    ]
    return section


def _with_verify(runs: Mapping[str, list[Outcome]]) -> dict[str, list[Outcome]]:
    """The rollout's outcomes once more, all phases counted, next to those that count the apply alone."""
    whole = [
        Outcome(sum(phase.seconds for phase in run.phases), sum(phase.round_trips for phase in run.phases))
        for run in runs[ROLLOUT]
    ]
    others = {name: outcomes for name, outcomes in runs.items() if name != ROLLOUT}
    return {ROLLOUT: runs[ROLLOUT], ROLLOUT_AND_VERIFY: whole, **others}


def _phases(found: Mapping[int, Mapping[str, list[Outcome]]]) -> Section:
    section = Section(
        title="Where the rollout's database time goes",
        columns=("Task", "at 0 ms", "of the apply", "at 30 ms", "of the apply", "round trips"),
    )
    runs = {round_trip_ms: outcomes[ROLLOUT] for round_trip_ms, outcomes in found.items()}
    whole = {
        round_trip_ms: median(outcome.seconds for outcome in outcomes)
        for round_trip_ms, outcomes in runs.items()
    }
    for at, phase in enumerate(runs[NEAR][0].phases):
        row = [phase.name]
        for round_trip_ms in (NEAR, FAR):
            taken = median(outcome.phases[at].seconds for outcome in runs[round_trip_ms])
            share = "-" if phase.name == COMPARISON else f"{taken / whole[round_trip_ms]:.0%}"
            row += [duration(taken), share]
        section.rows.append([*row, f"{median(outcome.phases[at].round_trips for outcome in runs[FAR]):.0f}"])
    rehearsal = section.rows[0]
    section.notes.append(
        f"The rehearsal's share of the apply is {rehearsal[2]} at 0 ms and {rehearsal[4]} at 30 ms."
    )
    return section
