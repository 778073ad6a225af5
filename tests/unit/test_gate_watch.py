"""Looking again and again: what is compared with what, over several looks and several gates."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from ansible.module_utils.rollout import gate_watch
from ansible.module_utils.rollout.gate import GREEN, RED, Decision, Limits
from ansible.module_utils.rollout.gate_watch import Watched, watch

LIMITS = Limits(samples=3, red_samples=2)
API, OUT = "api", "/logs/api-out.log"


class Clock:
    """Both clocks; sleeping moves them, and ``jump`` moves the one that somebody may set."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.jump = 0.0

    def monotonic(self) -> float:
        return 500.0 + self.passed

    def time(self) -> float:
        return 1_000_000.0 + self.passed + self.jump

    def sleep(self, seconds: float) -> None:
        assert 0 <= seconds < 60, "the gate would sleep for ages"
        self.passed += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(gate_watch, "time", clock)
    return clock


class App:
    """An application as application_info would see it; reads its log from the bookmark, as that does.

    :ivar pid: of its one process
    :ivar errors: lines of level error that its log ever held
    :ivar kept: lines that the log still holds; older ones are truncated away
    :ivar asked: arguments of each look
    """

    def __init__(self) -> None:
        self.pid = 7
        self.errors = 0
        self.truncated_at: int | None = None
        self.pm2_hangs = False
        self.asked: list[Mapping[str, Any]] = []
        self.before_look: Callable[[int], None] = lambda number: None

    def __call__(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        self.before_look(len(self.asked))
        self.asked.append({**arguments, "baseline": dict(arguments["baseline"])})
        baseline, bookmarks = arguments["baseline"], arguments["bookmarks"]
        seen: dict[str, Any] = {
            "services": {},
            "problems": [],
            "changes": [],
            "elsewhere": {},
            "logs": {},
            "files": {},
            "bookmarks": list(bookmarks or ()),
            "broken": [],
            "reading": {"whatsapp": {"pids": None, "account": "", "company": "", "store": None}},
            "whatsapp": {"verdict": "connected", "reason": "", "terminal": False},
            "seconds": 0.0,
        }
        if self.pm2_hangs:
            seen["broken"] = [{"source": "pm2", "reason": "timeout", "text": "PM2 did not answer"}]
            return seen
        seen["services"] = {
            API: {"state": "online", "online": True, "pids": [self.pid], "memory": 1, "cpu": 0.0}
        }
        seen["reading"] = {
            "pm2": {"daemon_pid": 1, "services": {API: self.pid}},
            "whatsapp": {"pids": [self.pid], "account": "a683", "company": "100001", "store": {"keys": 10}},
        }
        if "pm2" in baseline and baseline["pm2"]["services"] != {API: self.pid}:
            text = f"pid {baseline['pm2']['services'][API]}, now {self.pid}"
            seen["changes"] = [{"service": API, "code": "pid_changed", "text": text, "expected": False}]
        known = {one["path"]: one["errors"] for one in bookmarks or ()}
        seen["bookmarks"] = [{"path": OUT, "errors": self.errors}]
        if bookmarks is not None:
            begin = known.get(OUT, self.errors)
            lost = self.truncated_at is not None and self.truncated_at >= begin
            if self.truncated_at is not None:
                begin = max(begin, self.truncated_at)
            found = {
                "lines": self.errors - begin,
                "levels": {"error": self.errors - begin},
                "patterns": {},
                "continuity": "broken" if lost else "proven" if OUT in known else "new",
            }
            seen["logs"] = {API: {**found, "samples": []}}
            seen["files"] = {OUT: {"services": [API], **found}}
        return seen


@pytest.fixture
def app() -> App:
    return App()


def gate(app: App, after: Watched | None = None, limits: Limits = LIMITS) -> Watched:
    said: list[str] = []
    found = watch(
        app,
        limits,
        label="after something",
        interval_s=5,
        say=said.append,
        reference=after.reference if after else None,
    )
    assert len(said) == len(found.history)
    return found


def reasons(found: Watched) -> str:
    return "; ".join(found.decision.reasons)


def test_a_healthy_application_is_green_each_time(app: App, clock: Clock) -> None:
    baseline = gate(app)
    later = gate(app, baseline)
    assert (baseline.decision.state, later.decision.state) == (GREEN, GREEN)
    assert [len(baseline.history), len(later.history)] == [3, 3]
    assert (baseline.seconds, baseline.history[1].at) == (10, 1_000_005)
    assert clock.passed == 20


def test_a_gate_begins_with_nothing_and_hands_on_its_first_look(app: App) -> None:
    app.errors = 50
    baseline = gate(app)
    assert app.asked[0] == {"bookmarks": None, "baseline": {}}
    assert app.asked[1]["bookmarks"] == [{"path": OUT, "errors": 50}]
    assert baseline.reference["bookmarks"] == [{"path": OUT, "errors": 50}]
    assert baseline.reference["baseline_s"] == 10


def test_the_first_bookmarks_are_kept(app: App) -> None:
    """What was logged out once must be read again at each gate."""
    first = gate(app)
    app.errors += 3
    second = gate(app, first)
    third = gate(app, second)
    for found in (second, third):
        assert found.reference["bookmarks"] == [{"path": OUT, "errors": 0}]
    assert all(asked["bookmarks"] == [{"path": OUT, "errors": 0}] for asked in app.asked[1:])


def test_sources_that_were_broken_at_first_are_completed_later(app: App) -> None:
    app.pm2_hangs = True
    app.before_look = lambda number: setattr(app, "pm2_hangs", number == 0)
    baseline = gate(app)
    assert baseline.decision == Decision(GREEN, ("tolerated: PM2 did not answer",))
    assert baseline.reference["reading"]["pm2"]["services"] == {API: 7}
    assert baseline.reference["reading"]["whatsapp"] == {
        "pids": [7],
        "account": "a683",
        "company": "100001",
        "store": {"keys": 10},
    }
    assert baseline.reference["bookmarks"] == [{"path": OUT, "errors": 0}]
    app.pid = 8
    assert gate(app, baseline).decision.state == RED


def test_what_is_known_stays_while_a_source_cannot_be_read(app: App) -> None:
    baseline = gate(app)
    seen = len(app.asked)
    app.before_look = lambda number: setattr(app, "pm2_hangs", number == seen)
    later = gate(app, baseline)
    assert later.decision.state == GREEN
    assert later.reference["reading"] == baseline.reference["reading"]
    assert later.reference["bookmarks"] == baseline.reference["bookmarks"]


def test_a_restart_is_red_and_is_not_found_again_after_a_rollback(app: App) -> None:
    baseline = gate(app)
    app.pid = 8
    red = gate(app, baseline)
    assert (red.decision.state, len(red.history)) == (RED, 1)
    assert "pid 7, now 8" in reasons(red)
    assert gate(app, red).decision.state == GREEN
    # The control: compared with the baseline it is there still, and another restart is a new one.
    assert gate(app, baseline).decision.state == RED
    app.pid = 9
    assert "pid 8, now 9" in reasons(gate(app, red))


def test_errors_that_were_found_are_not_found_again_after_a_rollback(app: App) -> None:
    baseline = gate(app)
    app.errors += 20
    red = gate(app, baseline)
    assert "20 new lines of level error" in reasons(red)
    assert gate(app, red).decision.state == GREEN
    assert gate(app, baseline).decision.state == RED


def test_errors_that_go_on_are_not_called_normal_because_they_were_seen(app: App) -> None:
    """What is normal is what the baseline saw, not what the red gate did."""
    baseline = gate(app)
    app.errors += 200
    red = gate(app, baseline)

    def go_on(_: int) -> None:
        app.errors += 4

    app.before_look = go_on
    assert gate(app, red).decision.state == RED


def test_the_rate_of_the_baseline_is_allowed_later(app: App) -> None:
    def one_each_look(_: int) -> None:
        app.errors += 1

    app.before_look = one_each_look
    strict = Limits(samples=3, red_samples=2, error_lines=1, errors_per_minute=60)
    baseline = gate(app, limits=strict)
    assert baseline.reference["normal"][API]["errors"] == 2
    assert gate(app, baseline, strict).decision.state == GREEN
    app.errors += 20
    assert gate(app, baseline, strict).decision.state == RED


def test_a_burst_while_the_baseline_is_taken_is_red(app: App) -> None:
    def burst(number: int) -> None:
        app.errors += 100 if number == 1 else 0

    app.before_look = burst
    assert gate(app).decision.state == RED


def test_a_truncated_log_does_not_hide_what_comes_after(app: App) -> None:
    app.before_look = lambda number: setattr(app, "errors", min(number * 5, 10))
    baseline = gate(app)
    assert baseline.reference["counts"][OUT]["errors"] == 10
    app.before_look = lambda number: None
    app.truncated_at = app.errors
    assert gate(app, baseline).decision.state == GREEN
    strict = Limits(samples=3, red_samples=2, error_lines=5, rate_factor=0)
    app.errors += 6
    assert gate(app, baseline, strict).decision.state == RED


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_a_clock_that_is_set_changes_nothing(app: App, clock: Clock, jump: float) -> None:
    app.before_look = lambda number: setattr(app, "errors", number)
    baseline = gate(app)
    app.before_look = lambda number: setattr(clock, "jump", jump)
    healthy = gate(app, baseline)
    assert (healthy.decision.state, healthy.seconds) == (GREEN, 10)
    app.errors += 30
    assert gate(app, baseline).decision.state == RED
    assert clock.passed < 60


def test_a_slow_look_is_followed_by_the_next_at_once(app: App, clock: Clock) -> None:
    def slow(_: int) -> None:
        clock.passed += 8

    app.before_look = slow
    assert gate(app).seconds == 24
