"""Thirty minutes of watching in no time: the loop with a clock of its own, ended and continued."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from ansible.module_utils.rollout import gate
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.gate import BROKEN, GREEN, RED, Decision
from ansible.module_utils.rollout.log_patterns import DEFAULTS
from ansible.module_utils.rollout.record import pruned
from ansible.module_utils.rollout.watch import RUNNING, Plan
from ansible.module_utils.rollout.watch_figures import FigureLimits
from ansible.module_utils.rollout.watch_loop import Limits, Seen, Watch, is_over

from tests.unit.test_gate_watch import API, App
from tests.unit.test_watch_figures import CALM, QUIET

PLAN = Plan(broken_samples=3)
NO_HOST = {"source": "host", "reason": "unreachable", "text": "no route to host"}
START = 1_000_000.0


class Clock:
    """Both clocks; sleeping moves them, ``jump`` the one that somebody may set."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.jump = 0.0

    def monotonic(self) -> float:
        return 500.0 + self.passed

    def time(self) -> float:
        return START + self.passed + self.jump

    def sleep(self, seconds: float) -> None:
        assert 0 < seconds <= 1, "nobody would see the time pass"
        self.passed += seconds


class Killed(Exception):
    """What ends a process in the middle."""


class Place:
    """An application with a database and a host, watched by somebody who keeps the record.

    :ivar events: by minute of the clock, what happens then, before the look
    :ivar lost: minutes in which nobody can look
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.app = App()
        self.database: dict[str, Any] = dict(QUIET)
        self.host: dict[str, Any] = {**CALM, "counters": {"user": 1}}
        self.events: dict[float, Callable[[], object]] = {}
        self.lost: set[float] = set()
        self.section: dict[str, Any] = {}
        self.sections: list[dict[str, Any]] = []
        self.lines: list[str] = []
        self.remarks: list[str] = []
        self.ticks: list[str] = []
        self.since: list[Mapping[str, Any]] = []

    @property
    def minute(self) -> float:
        return round(self.clock.passed / 60, 2)

    def look(self, arguments: Mapping[str, Any], since: Mapping[str, Any]) -> Seen:
        for minute in sorted(self.events):
            if minute <= self.minute:
                self.events.pop(minute)()
        self.since.append(since)
        if self.minute in self.lost:
            return Seen(broken=[NO_HOST])
        return Seen(self.app(arguments), dict(self.database), dict(self.host))

    def sample(self, line: str, remarks: Sequence[str]) -> None:
        self.lines.append(line)
        self.remarks += remarks

    def tick(self, line: str) -> None:
        self.ticks.append(line)

    def record(self, section: Mapping[str, Any]) -> None:
        # As the record's file holds it.
        self.section = json.loads(json.dumps(pruned(section)))
        self.sections.append(self.section)

    def watch(self, plan: Plan = PLAN, limits: Limits | None = None, **known: Any) -> Decision:
        limits = limits or Limits(gate.Limits(error_lines=5, errors_per_minute=0))
        return Watch(plan, limits, clock=self.clock, **known).run(self.look, self, self.record)

    def go_on(self, plan: Plan = PLAN) -> Decision:
        """What another process does later, with nothing but the record."""
        return self.watch(plan, known=self.section)

    @property
    def minutes(self) -> list[float]:
        """When the looks were made, counted from the first."""
        begin = self.section["samples"][0]["at"]
        return [round((one["at"] - begin) / 60, 2) for one in self.section["samples"]]

    def kill(self) -> None:
        raise Killed


@pytest.fixture
def place() -> Place:
    return Place()


def stop(place: Place) -> None:
    """Stop the service; started again, it is another process."""
    place.app.pid += 1


# --- one process


def test_half_an_hour_every_five_minutes(place: Place) -> None:
    assert place.watch() == Decision(GREEN, ())
    assert place.minutes == [0, 5, 10, 15, 20, 25, 30]
    assert place.lines[0] == "watch 1/7 · 1/1 online · connected · 0 new errors · 30:00 left"
    assert place.lines[2] == "watch 3/7 · 1/1 online · connected · 0 new errors · 20:00 left"
    assert place.lines[-1] == "watch 7/7 · 1/1 online · connected · 0 new errors · 0:00 left"
    # The time left counts down between two samples.
    assert place.ticks[0] == "watch 1/7 · 1/1 online · connected · 0 new errors · 29:59 left"
    assert len(place.ticks) == 1800
    assert place.remarks == []


def test_each_sample_is_in_the_record_before_the_next_one(place: Place) -> None:
    place.watch()
    assert [len(one["samples"]) for one in place.sections] == [1, 2, 3, 4, 5, 6, 7]
    assert [one["state"] for one in place.sections] == [RUNNING] * 6 + [GREEN]
    assert not any(one["failed"] for one in place.sections)


def test_what_the_record_holds(place: Place) -> None:
    place.watch(limits=Limits(gate.Limits(error_lines=7), FigureLimits(growth_mb=9)))
    section = place.section
    assert (section["began_at"], section["seconds"], section["watched_s"]) == (START, 1800, 1800)
    assert (section["duration_s"], section["interval_s"], section["planned"]) == (1800, 300, 7)
    assert (section["limits"]["error_lines"], section["limits"]["growth_mb"]) == (7, 9)
    assert section["limits"]["red_samples"] == 3
    assert section["baseline"]["of"] == "the first sample"
    assert section["baseline"]["database"]["size"] == section["samples"][0]["database"]["size"]
    last = section["samples"][-1]
    assert (last["number"], last["watched_s"], last["online"], last["services"]) == (7, 1800, 1, 1)
    assert (last["memory"], last["cpu"], last["whatsapp"], last["new_errors"]) == (1, 0.0, "connected", 0)
    assert (last["host"]["cpu_percent"], last["database"]["connections"]) == (20, 20)
    assert last["database"]["rollbacks_per_minute"] == 0


def test_cpu_is_measured_since_the_look_before(place: Place) -> None:
    place.watch()
    assert place.since == [{}, *[{"user": 1}] * 6]


def test_compared_with_the_gate_and_the_figures_before_the_run(place: Place) -> None:
    """What got worse with the run is seen, though the watch's own first sample has it already."""
    before = {"at": START - 600, "database": {**QUIET, "size": 0}, "host": CALM}
    place.database["size"] = 600 * 1024 * 1024
    found = place.watch(baseline=before)
    assert found == Decision(RED, ("database: grown by 600 MB since the baseline; up to 500 MB is allowed",))
    assert place.section["baseline"]["of"] == "before the run"
    place = Place()
    reference = {
        "reading": {"pm2": {"daemon_pid": 1, "services": {API: 7}}},
        "bookmarks": [],
        "counts": {},
        "normal": {},
        "baseline_s": 60.0,
        "completed_at": 500.0 - 120,
    }
    stop(place)
    assert place.watch(reference=reference).state == RED
    assert "pid 7, now 8" in place.remarks[0]
    # The control: without a reference the same is where the watch begins.
    place = Place()
    stop(place)
    assert place.watch().state == GREEN


def test_the_time_since_the_gate_counts_for_what_is_normal(place: Place) -> None:
    """Ten errors in the minute of the baseline; so are up to 100 in the ten minutes since, and five besides."""
    place.app.errors = 90
    reference = {
        "reading": {},
        "bookmarks": [{"path": "/logs/api-out.log", "errors": 0}],
        "counts": {},
        "normal": {API: {"errors": 10}},
        "baseline_s": 60.0,
        "completed_at": 500.0 - 600,
    }
    limits = Limits(gate.Limits(error_lines=5, rate_factor=1))
    place.events[5] = lambda: setattr(place.app, "errors", 156)
    assert place.watch(limits=limits, reference=reference).state == RED
    assert "156 new lines of level error in 900 s; up to 155 would be normal" in place.remarks[0]


def test_a_service_that_was_restarted_is_red_at_once(place: Place) -> None:
    place.events[12] = lambda: stop(place)
    found = place.watch()
    assert found.state == RED
    assert place.minutes == [0, 5, 10, 15]
    assert place.section["failed"] is True
    assert place.section["samples"][-1]["findings"][0]["code"] == "restarted"


def test_a_moments_trouble_is_looked_at_again_soon_and_tolerated(place: Place) -> None:
    place.events[10] = lambda: place.host.update(cpu_percent=99)
    place.events[10.5] = lambda: place.host.update(cpu_percent=20)
    found = place.watch()
    assert found.state == GREEN
    assert found.reasons == (
        "tolerated: host: 99 % of the CPUs are busy; up to 90 is allowed (20 in the baseline)",
    )
    assert place.minutes == [0, 5, 10, 11, 15, 20, 25, 30]
    assert [one["number"] for one in place.section["samples"]] == [1, 2, 3, 3, 4, 5, 6, 7]
    assert place.remarks == ["host: 99 % of the CPUs are busy; up to 90 is allowed (20 in the baseline)"]


def test_trouble_that_stays_is_red_after_three_looks(place: Place) -> None:
    place.events[10] = lambda: place.host.update(cpu_percent=99)
    found = place.watch()
    assert found.state == RED
    assert found.reasons[-1] == "3 of 5 looks were bad"
    assert place.minutes == [0, 5, 10, 11, 12]


def test_a_connection_that_breaks_is_a_gap_and_the_watch_goes_on(place: Place) -> None:
    place.lost = {10.0, 11.0}
    found = place.watch()
    assert found == Decision(GREEN, ("nobody could look for 7:00: no route to host",))
    assert place.minutes == [0, 5, 10, 11, 12, 17, 22, 27, 32, 37]
    (gap,) = place.section["gaps"]
    assert (gap["begin"], gap["end"], gap["seconds"]) == (START + 300, START + 720, 420)
    lost = place.section["samples"][2]
    nothing = {"online", "services", "memory", "cpu", "whatsapp", "new_errors", "database", "host"}
    assert {name for name in lost if lost[name] is None} == nothing | {"store"}
    # While nobody can look, no time passes on the line.
    assert "watch 2/7 · could not read host · 25:00 left" in place.ticks
    assert "watch 2/7 · could not read host · 24:59 left" not in place.ticks
    # What is counted a minute is not counted over a gap, nor is CPU.
    assert place.section["samples"][4]["database"]["rollbacks_per_minute"] is None
    assert place.since[4] == {}


def test_a_host_that_stays_away_ends_the_watch(place: Place) -> None:
    place.lost = {10.0, 11.0, 12.0}
    assert place.watch() == Decision(BROKEN, ("no route to host",))
    assert (place.section["failed"], place.minutes[-1]) == (True, 12)
    assert place.section["gaps"][0]["seconds"] == 420


def test_a_source_that_is_broken_at_first_has_its_baseline_later(place: Place) -> None:
    place.lost = {0.0}
    place.database["connections"] = 90
    assert place.watch().state == GREEN
    assert place.section["baseline"]["database"]["connections"] == 90


def test_without_an_application_the_database_and_the_host_are_watched(place: Place) -> None:
    def look(_: Mapping[str, Any], __: Mapping[str, Any]) -> Seen:
        return Seen(None, dict(place.database), None)

    limits = Limits()
    found = Watch(PLAN, limits, clock=place.clock).run(look, place, place.record)
    assert found.state == GREEN
    assert place.lines[0] == "watch 1/7 · 30:00 left"
    assert place.section["samples"][0]["host"] is None


@pytest.mark.parametrize("jump", [7200.0, -7200.0])
def test_a_clock_that_is_set_changes_nothing(place: Place, jump: float) -> None:
    place.events[10] = lambda: setattr(place.clock, "jump", jump)
    assert place.watch() == Decision(GREEN, ())
    assert place.minutes[-1] == 30


# --- ended, and continued by another process


def interrupted(place: Place, minute: float) -> None:
    """Watch until the process is killed in its look."""
    place.events[minute] = place.kill
    with pytest.raises(Killed):
        place.watch()


def test_it_goes_on_where_it_was_interrupted(place: Place) -> None:
    interrupted(place, 15)
    assert place.minutes == [0, 5, 10]
    place.clock.passed += 600
    found = place.go_on()
    assert found == Decision(GREEN, ("nobody could look for 15:00: the watch was interrupted",))
    assert place.minutes == [0, 5, 10, 25, 30, 35, 40, 45]
    assert place.section["began_at"] == START
    assert place.section["watched_s"] == 1800
    assert [one["continued"] for one in place.section["samples"]] == [*[False] * 3, True, *[False] * 4]
    assert place.lines[-5] == "watch 3/7 · 1/1 online · connected · 0 new errors · 20:00 left"


def test_continued_at_once_nothing_was_missed(place: Place) -> None:
    interrupted(place, 15)
    assert place.go_on() == Decision(GREEN, ())
    assert place.minutes == [0, 5, 10, 15, 20, 25, 30]


def test_the_baseline_is_that_of_the_first_process(place: Place) -> None:
    interrupted(place, 15)
    stop(place)
    place.clock.passed += 600
    found = place.go_on()
    assert found.state == RED
    assert "pid 7, now 8" in place.remarks[0]
    # The control: a watch that begins anew knows nothing of it.
    assert place.watch().state == GREEN


def test_what_was_normal_is_known_of_each_pattern(place: Place) -> None:
    normal = {"read": 9, "errors": 1, "problems": {one["name"]: 9 for one in DEFAULTS}, "fatal": {}}
    reference = {"normal": {API: normal}, "baseline_s": 30, "completed_at": 500.0}
    place.events[15] = place.kill
    with pytest.raises(Killed):
        place.watch(reference=reference)
    assert place.go_on().state == GREEN
    assert place.section["reference"]["application"]["normal"] == {API: normal}


@pytest.mark.parametrize("passed", [600.0, 36_000.0])
def test_time_that_nobody_watched_is_no_reason_for_more_errors(place: Place, passed: float) -> None:
    limits = Limits(gate.Limits(error_lines=5, errors_per_minute=1))
    place.events[15] = place.kill
    with pytest.raises(Killed):
        place.watch(limits=limits)
    place.clock.passed += passed
    # As many as are normal in all this time; no more.
    place.app.errors = 5 + int((900 + passed) / 60)
    assert place.watch(limits=limits, known=place.section).state == GREEN
    assert is_over(place.section)


def test_after_a_day_it_does_not_go_on(place: Place) -> None:
    """The session's keys that expire later are not known; those that did would count as lost."""
    interrupted(place, 15)
    section = place.section
    place.clock.passed = 24 * 3600 + 1
    with pytest.raises(
        RolloutError, match=r"its baseline is 24 hours old, and holds for 24\n.*without run_id"
    ):
        place.go_on()
    assert place.section is section
    place.clock.passed = 24 * 3600 - 1
    assert place.go_on().state == GREEN


def test_errors_that_came_meanwhile_are_found(place: Place) -> None:
    interrupted(place, 15)
    place.app.errors += 6
    assert place.go_on().state == RED


def test_bad_looks_before_and_after_are_counted_together(place: Place) -> None:
    place.events[10] = lambda: place.host.update(cpu_percent=99)
    interrupted(place, 12)
    assert len(place.section["samples"]) == 4
    found = place.go_on()
    assert found.reasons[-1] == "3 of 5 looks were bad"


def test_one_that_was_given_up_can_be_continued(place: Place) -> None:
    place.lost = {10.0, 11.0, 12.0}
    assert place.watch().state == BROKEN
    assert not is_over(place.section)
    place.clock.passed += 600
    found = place.go_on()
    assert found.state == GREEN
    (reason,) = found.reasons
    assert reason == "nobody could look for 17:00: no route to host"
    assert len(place.section["gaps"]) == 1


def test_a_clock_that_was_set_back_meanwhile_does_not_turn_time_round(place: Place) -> None:
    interrupted(place, 15)
    place.clock.jump = -7200.0
    assert place.go_on().state == GREEN
    assert place.minutes == sorted(place.minutes)


@pytest.mark.parametrize(
    ("section", "over"),
    [
        ({}, False),
        ({"state": RUNNING}, False),
        ({"state": BROKEN}, False),
        ({"state": RED}, True),
        ({"state": GREEN}, True),
    ],
)
def test_what_is_over(section: dict[str, Any], over: bool) -> None:
    assert is_over(section) is over


def test_the_gate_after_it_finds_only_what_is_new(place: Place) -> None:
    """As after a red gate: the rollback's own gate compares with what the watch knew at its end."""
    place.events[5] = lambda: stop(place)
    watch = Watch(PLAN, Limits(), clock=place.clock)
    assert watch.run(place.look, place, place.record).state == RED
    assert watch.reference()["reading"]["pm2"]["services"] == {API: 8}
