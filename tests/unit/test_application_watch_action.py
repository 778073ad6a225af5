"""The action application_watch: what is asked, what the operator sees, and what is kept and continued."""

import fcntl
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.rollout.record import Record

from action_plugins import application_watch
from tests.action_tasks import make_action
from tests.unit.test_application_gate_action import WELL
from tests.unit.test_watch_figures import CALM, QUIET

SECRET = "geheim"
LOOK = {"logs": {"shop": ["/srv/shop.log"]}, "password": SECRET}
DATABASE = {"service": "shop", "password": SECRET}
HOST = {"paths": ["/"]}
HEALTHY = {
    "application_info": WELL,
    "pg_activity_info": {"activity": QUIET},
    "host_resources_info": {"host": {**CALM, "counters": {"user": 5}}},
}
MODULES = list(HEALTHY)
BUSY = {"host": {**CALM, "cpu_percent": 99.0, "counters": {"user": 9}}}


class Target:
    """Stands for the target host.

    :ivar answers: by number of the look, answers that replace the healthy ones, by module; or what is raised instead
    :ivar sent: each question: module and arguments
    """

    def __init__(self) -> None:
        self.answers: dict[int, dict[str, Any]] = {}
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.looks = -1
        self.resets = 0

    def execute(self, name: str, module_args: dict[str, Any], task_vars: Any) -> dict[str, Any]:
        self.looks += name == MODULES[0]
        self.sent.append((name, module_args))
        answer = self.answers.get(self.looks, {}).get(name, HEALTHY[name])
        if isinstance(answer, BaseException):
            raise answer
        found: dict[str, Any] = answer
        return found

    def reset(self) -> None:
        self.resets += 1

    def asked(self, module: str) -> list[dict[str, Any]]:
        return [arguments for name, arguments in self.sent if name == module]


class Screen:
    """What is displayed, as a terminal of 80 columns and as a log have it."""

    columns = 80

    def __init__(self) -> None:
        self.shown: list[tuple[str, dict[str, bool]]] = []

    def display(self, text: str, **how: bool) -> None:
        self.shown.append((text, how))

    @property
    def lines(self) -> list[str]:
        return [text for text, how in self.shown if not how]

    @property
    def logged(self) -> list[str]:
        return [text for text, how in self.shown if how.get("log_only")]

    @property
    def written(self) -> str:
        """What is left on a terminal when all of it was written."""
        rows = [""]
        for text, how in self.shown:
            if how.get("log_only"):
                continue
            if text.startswith("\r\x1b[K"):
                rows[-1] = text.removeprefix("\r\x1b[K")
            else:
                rows[-1] += text
            if how.get("newline", True):
                rows.append("")
        return "\n".join(rows)


@pytest.fixture(autouse=True)
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    screen = Screen()
    monkeypatch.setattr(application_watch, "Display", lambda: screen)
    monkeypatch.setattr(application_watch, "ON_TERMINAL", False)
    return screen


@pytest.fixture
def target() -> Target:
    return Target()


@pytest.fixture
def record(tmp_path: Path) -> Record:
    record = Record(tmp_path, "run-1")
    record.begin({})
    return record


class Watcher:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, record: Record, target: Target) -> None:
        self._monkeypatch, self._record, self._target = monkeypatch, record, target

    def __call__(self, *hosts: str, check: bool = False, **arguments: Any) -> dict[str, Any]:
        given = {
            "look": LOOK,
            "database": DATABASE,
            "host": HOST,
            "duration": 0.04,
            "interval": 0.02,
            "recheck": 0.01,
            "report_dir": str(self._record.folder.parent),
            "run_id": "run-1",
            **arguments,
        }
        action = make_action(application_watch.ActionModule, given, check=check)
        self._monkeypatch.setattr(action, "_execute_module", self._target.execute)
        action._connection = SimpleNamespace(reset=self._target.reset, _shell=SimpleNamespace(tmpdir="/x"))
        variables = {"inventory_hostname": "app", "ansible_play_hosts_all": list(hosts or ("app",))}
        result: dict[str, Any] = action.run(task_vars=variables)
        return result


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch, record: Record, target: Target) -> Watcher:
    return Watcher(monkeypatch, record, target)


def section(record: Record) -> dict[str, Any]:
    found: dict[str, Any] = record.sections("app")["watch"]
    return found


# --- what is asked


def test_three_modules_are_asked_and_all_of_it_is_kept(
    watch: Watcher, target: Target, record: Record
) -> None:
    result = watch(on_red="roll_back")
    assert (result["state"], result["changed"], result["continued"]) == ("green", False, False)
    assert [name for name, _ in target.sent] == MODULES * 3
    assert target.asked("application_info")[0] == {**LOOK, "bookmarks": None, "baseline": {}}
    assert target.asked("pg_activity_info") == [DATABASE] * 3
    assert [one["since"] for one in target.asked("host_resources_info")] == [{}, {"user": 5}, {"user": 5}]
    kept = section(record)
    assert (kept["state"], kept["on_red"], len(kept["samples"])) == ("green", "roll_back", 3)
    assert SECRET not in json.dumps(kept) + str(result)


@pytest.mark.parametrize("module", MODULES)
def test_what_is_not_given_is_not_asked(watch: Watcher, target: Target, module: str) -> None:
    option = dict(zip(MODULES, ("look", "database", "host"), strict=True))[module]
    if module == MODULES[0]:
        target.looks = 0
    less: dict[str, Any] = {option: {}}
    assert watch(**less)["state"] == "green"
    assert {name for name, _ in target.sent} == set(MODULES) - {module}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"error_lines": -1}, "watch_error_lines"),
        ({"limits": {"growth_mb": float("nan")}}, "watch_growth_mb"),
        ({"red_samples": 0}, "watch_red_samples"),
        ({"problem_budgets": {"databse_error": 0}}, "watch_problem_budgets"),
        ({"look": {}, "database": {}, "host": {}}, "watch_enabled: false"),
    ],
)
def test_what_cannot_be_kept_is_refused_at_the_beginning(
    watch: Watcher, target: Target, given: dict[str, Any], told: str
) -> None:
    for check in (False, True):
        result = watch(check=check, state="begun", **given)
        assert result["failed"]
        assert told in result["msg"]
        assert not watch(check=check, state="begun").get("failed")
    assert target.sent == []


def test_in_check_mode_nothing_is_asked_and_nobody_waits(
    watch: Watcher, target: Target, record: Record
) -> None:
    result = watch(check=True)
    assert (result["skipped"], target.sent, record.sections("app")) == (True, [], {})


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"look": {}, "database": {}, "host": {}}, "there is nothing to watch"),
        ({"problem_budgets": {"refusd": 0}}, "Correct watch_problem_budgets"),
        ({"interval": 99}, "watch_interval_minutes"),
        ({"limits": {"cpu": 5}}, "there is no limit cpu"),
        ({"run_id": "nowhere"}, "run nowhere was not begun"),
        ({"run_id": "../x"}, "run_id"),
    ],
)
def test_what_cannot_be_watched_is_refused_before_anything_is_asked(
    watch: Watcher, target: Target, wrong: dict[str, Any], told: str
) -> None:
    result = watch(**wrong)
    assert result["failed"]
    assert told in result["msg"]
    assert target.sent == []


# --- what cannot be asked

GONE = AnsibleConnectionFailure("ssh: no route to host")


@pytest.mark.parametrize(
    "lost", [GONE, AnsibleError("failed to transfer file"), {"unreachable": True, "msg": "x"}]
)
def test_a_connection_that_breaks_is_made_anew(
    watch: Watcher, target: Target, record: Record, lost: Any
) -> None:
    target.answers[1] = {"application_info": lost}
    result = watch()
    assert result["state"] == "green"
    assert result["reasons"][0].startswith("nobody could look for 0:00: application_info could not be run: ")
    assert target.resets == 1
    # The other two would wait for the same connection.
    assert [name for name, _ in target.sent[3:5]] == ["application_info", "application_info"]
    assert section(record)["samples"][1]["broken"][0]["source"] == "host"
    assert len(section(record)["gaps"]) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [("application_info", "application"), ("pg_activity_info", "database"), ("host_resources_info", "host")],
)
def test_a_source_that_cannot_be_read_leaves_the_others(
    watch: Watcher, target: Target, record: Record, module: str, source: str
) -> None:
    target.answers[1] = {module: {"failed": True, "msg": "it is not there", "details": {"reason": "away"}}}
    assert watch()["state"] == "green"
    lost = section(record)["samples"][1]
    assert lost["broken"] == [
        {"source": source, "reason": "away", "text": f"{module} could not be run: it is not there"}
    ]
    assert [name for name, _ in target.sent[3:6]] == MODULES
    assert target.resets == 0


def test_a_disk_that_cannot_be_measured_is_told(watch: Watcher, target: Target) -> None:
    disk = {"path": "/srv", "free_bytes": None, "error": "Permission denied"}
    target.answers[1] = {"host_resources_info": {"host": {**CALM, "disks": [disk], "counters": {}}}}
    assert "the disk of /srv could not be measured: Permission denied" in watch()["reasons"][0]


def test_nothing_but_losses_is_given_up(watch: Watcher, target: Target) -> None:
    target.answers = {number: {"application_info": GONE} for number in range(9)}
    result = watch(broken_samples=3)
    assert (result["state"], target.looks) == ("broken", 2)
    assert not result.get("failed")
    assert not result.get("unreachable")


# --- what the operator sees


def test_in_a_log_a_line_a_sample_with_what_is_wrong(watch: Watcher, target: Target, screen: Screen) -> None:
    target.answers[1] = {"host_resources_info": BUSY}
    watch()
    assert screen.lines == [
        "watch 1/3 · 0 new errors · 0:00 left",
        "watch 2/3 · 0 new errors · 0:00 left · host: 99 % of the CPUs are busy; up to 90 is allowed (20 in the"
        " baseline)",
        *screen.lines[2:],
    ]
    assert screen.lines[-1] == "watch 3/3 · 0 new errors · 0:00 left"
    assert len(screen.shown) == len(screen.lines)


def test_on_a_terminal_one_line_is_written_anew_and_trouble_stays(
    watch: Watcher, target: Target, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(application_watch, "ON_TERMINAL", True)
    target.answers[1] = {"host_resources_info": BUSY}
    watch()
    rows = screen.written.splitlines()
    assert rows[0].startswith("watch 2/3 · 0 new errors · 0:00 left · host: 99 % of the CPUs are busy")
    assert rows[1:] == ["watch 3/3 · 0 new errors · 0:00 left"]
    # A log file beside the terminal has each look, and no control characters.
    assert len(screen.logged) == target.looks + 1
    assert "\r" not in "".join(screen.logged)


def test_a_line_is_not_longer_than_the_terminal(
    watch: Watcher, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(application_watch, "ON_TERMINAL", True)
    monkeypatch.setattr(screen, "columns", 20, raising=False)
    watch()
    assert max(map(len, screen.written.splitlines())) == 19


def test_in_a_fleet_each_line_names_its_host_and_none_is_written_anew(
    watch: Watcher, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(application_watch, "ON_TERMINAL", True)
    watch("app", "other")
    assert screen.lines[0] == "app: watch 1/3 · 0 new errors · 0:00 left"
    assert len(screen.lines) == len(screen.shown) == 3


# --- ended, and continued


def end_in(target: Target, look: int) -> None:
    """Let the process end in that look."""
    target.answers[look] = {"application_info": SystemExit()}


def test_it_is_continued_from_the_record(watch: Watcher, target: Target, record: Record) -> None:
    end_in(target, look=2)
    with pytest.raises(SystemExit):
        watch()
    assert section(record)["state"] == "running"
    target.answers.clear()
    result = watch(alone=True)
    assert (result["state"], result["continued"]) == ("green", True)
    kept = section(record)["samples"]
    assert [one["continued"] for one in kept][:3] == [False, False, True]
    assert kept[2]["watched_s"] in (0.02, 0.04)


def test_what_changed_something_is_watched_anew(watch: Watcher, target: Target, record: Record) -> None:
    end_in(target, look=2)
    with pytest.raises(SystemExit):
        watch()
    target.answers.clear()
    assert watch()["continued"] is False
    assert len(section(record)["samples"]) == 3


@pytest.mark.parametrize("state", ["green", "red"])
def test_one_that_is_over_is_not_repeated(watch: Watcher, target: Target, record: Record, state: str) -> None:
    if state == "red":
        target.answers = {number: {"host_resources_info": BUSY} for number in range(1, 9)}
    first = watch(alone=True)
    assert first["state"] == state
    asked, kept = len(target.sent), section(record)
    again = watch(alone=True)
    assert (again["state"], again["reasons"], again["over_before"]) == (state, first["reasons"], True)
    assert (len(target.sent), section(record)) == (asked, kept)


def test_a_run_that_did_not_come_to_its_watch_is_refused(
    watch: Watcher, target: Target, record: Record
) -> None:
    record.add("app", "rehearsal", {})
    result = watch(alone=True)
    assert "run run-1 did not come to its watch" in result["msg"]
    assert target.sent == []
    # The controls: within that run itself, and after one that came to its end.
    assert watch()["state"] == "green"
    other = Record(record.folder.parent, "run-2")
    other.begin({})
    other.add("app", "end", {})
    assert watch(alone=True, run_id="run-2")["state"] == "green"


def test_what_was_not_watched_before_can_be_watched_now(watch: Watcher, record: Record) -> None:
    record.add("app", "watch", {"state": "not_tested", "reasons": ["watch_enabled is false"]})
    assert watch(alone=True)["state"] == "green"


def test_two_do_not_watch_the_same_run(
    watch: Watcher, target: Target, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(application_watch, "_STRAGGLER_S", 0)
    with open(record.folder / ".watch-app.lock", "w", encoding="utf-8") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        result = watch()
        assert "still going on in another process" in result["msg"]
        assert target.sent == []
    assert watch()["state"] == "green"


def test_it_ends_with_the_process_that_it_works_for(
    watch: Watcher, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    parents = iter([4711, 4711, 1])
    monkeypatch.setattr(os, "getppid", lambda: next(parents, 1))
    with pytest.raises(AnsibleError, match="ansible-playbook is gone"):
        watch(duration=60, interval=30)
    assert section(record)["state"] == "running"
