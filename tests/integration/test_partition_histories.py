"""Any first day, zone, day and history of interrupted runs, on a real server: each instant once, every row kept."""

import contextlib
import datetime
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest
from ansible.module_utils.rollout import partition_changes
from ansible.module_utils.rollout.connection import Session
from ansible.module_utils.rollout.partition_calendar import UNITS, begin_of, later
from ansible.module_utils.rollout.partition_plan import Desired, kept_from
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from sandbox.databases import Database
from tests.partitioned import Maintenance, make_events, one

# Summer time, both ends of the world, a day that an island skipped, and a midnight that a clock skips.
ZONES = ("UTC", "Europe/Moscow", "America/Sao_Paulo", "Pacific/Tongatapu", "Pacific/Apia", "Africa/Cairo")
DAYS = st.one_of(
    st.dates(datetime.date(2011, 12, 1), datetime.date(2031, 1, 1)),
    st.sampled_from([datetime.date(2024, 2, 28), datetime.date(2024, 2, 29), datetime.date(2025, 12, 31)]),
)


class Killed(Exception):
    """The run ends here, and its session with it."""


@dataclass
class Scene:
    """One table at a time in one database."""

    database: Database
    owner: psycopg.Connection

    def rows(self) -> int:
        """In the table, and in everything that was detached from it."""
        kept = self.owner.execute("SELECT kept FROM rollout.detached WHERE state = 'detached'").fetchall()
        tables = ["events", *(name for (name,) in kept)]
        return sum(int(one(self.owner, f"SELECT count(*) FROM public.{table}")) for table in tables)

    def insert_everywhere(self) -> int:
        """A row at both edges of each partition; returns how many."""
        edges = self.owner.execute(
            "INSERT INTO public.events (at) SELECT edge FROM ("
            " SELECT string_to_array(pg_get_expr(c.relpartbound, c.oid), '''') AS bound FROM pg_inherits"
            "   JOIN pg_class c ON c.oid = inhrelid"
            "  WHERE inhparent = 'public.events'::regclass AND NOT inhdetachpending"
            ") b, LATERAL (VALUES (bound[2]::timestamptz), (bound[4]::timestamptz - interval '1 microsecond')) e(edge)"
        )
        return edges.rowcount

    def clean(self) -> None:
        kept = self.owner.execute("SELECT kept FROM rollout.detached").fetchall()
        for name in ("events", *(name for (name,) in kept)):
            self.owner.execute(sql.SQL("DROP TABLE IF EXISTS public.{}").format(sql.Identifier(name)))
        self.owner.execute("TRUNCATE rollout.detached, rollout.maintenance")


@pytest.fixture(scope="module")
def scene(server: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    database = Database.create(server, tmp_path_factory.mktemp("histories"))  # type: ignore[arg-type]
    try:
        with database.connect() as owner:
            make_events(owner)
            Maintenance(database).run(ahead=0)
            scene = Scene(database, owner)
            scene.clean()
            yield scene
    finally:
        database.drop()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    unit=st.sampled_from(UNITS),
    zone=st.sampled_from(ZONES),
    today=DAYS,
    before=st.integers(0, 5),
    ahead=st.integers(0, 3),
    retention=st.integers(0, 3),
    # How many periods ago, and how many of its round trips a run survived.
    history=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 40)), max_size=3),
)
def test_each_instant_has_one_partition_and_no_row_is_lost(
    scene: Scene,
    unit: str,
    zone: str,
    today: datetime.date,
    before: int,
    ahead: int,
    retention: int,
    history: list[tuple[int, int]],
) -> None:
    make_events(scene.owner)
    try:
        first = later(begin_of(today, unit), unit, -before)
        job = Maintenance(scene.database, Desired("events", unit, first, ahead, retention, 0), zone, today)
        written = 0
        for periods, survived in sorted(history, reverse=True):
            job.today = later(begin_of(today, unit), unit, -periods)
            interrupted(job, survived)
            written += scene.insert_everywhere()
        job.today = today
        done = job.run()
        assert done.healthy, done.findings
        written += scene.insert_everywhere()
        assert scene.rows() == written

        bounds = scene.owner.execute(
            "SELECT bound[2]::timestamptz, bound[4]::timestamptz FROM ("
            " SELECT string_to_array(pg_get_expr(c.relpartbound, c.oid), '''') AS bound FROM pg_inherits"
            "   JOIN pg_class c ON c.oid = inhrelid WHERE inhparent = 'public.events'::regclass) b ORDER BY 1"
        ).fetchall()
        begin, end = scene.owner.execute(
            "SELECT %s::timestamp AT TIME ZONE %s, %s::timestamp AT TIME ZONE %s",
            [
                max(first, kept_from(job.desired, today) or first),
                zone,
                later(begin_of(today, unit), unit, ahead + 1),
                zone,
            ],
        ).fetchone() or (None, None)
        # A run of an earlier day may have made what lies before the first one.
        wanted = [bound for bound in bounds if bound[1] > begin]
        assert (wanted[0][0], wanted[-1][1]) == (begin, end)
        assert all(upper == lower for (_, upper), (lower, _) in itertools.pairwise(wanted))

        scene.database.mark_log()
        again = job.run()
        assert (again.changed, again.actions) == (False, [])
        assert scene.database.ddl_log() == []
    finally:
        scene.clean()


def interrupted(job: Maintenance, survived: int) -> None:
    """A run that ends before one of its round trips; whole when it has fewer."""
    left = iter(range(survived))
    run, run_alone = Session.run, Session.run_alone

    def counted(method: object) -> object:
        def call(session: Session, *arguments: object) -> object:
            if next(left, None) is None:
                raise Killed
            return method(session, *arguments)  # type: ignore[operator]

        return call

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Session, "run", counted(run))
        patched.setattr(Session, "run_alone", counted(run_alone))
        with contextlib.suppress(Killed):
            job.run()


def test_a_history_that_lost_a_row_is_noticed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: a detach that drops."""
    monkeypatch.setattr(partition_changes, "free_name", lambda *_: "events_gone")
    make_events(scene.owner)
    job = Maintenance(
        scene.database, Desired("events", "month", None, 0, 1, 0), today=datetime.date(2026, 2, 10)
    )
    job.run()
    written = scene.insert_everywhere()
    job.today = datetime.date(2026, 5, 10)
    job.run()
    assert scene.rows() == written
    scene.owner.execute("DELETE FROM public.events_gone")
    assert scene.rows() < written
    scene.clean()
