"""The action application_gate: what becomes of a look that could not be made, and what the operator sees."""

from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure, AnsibleError

from action_plugins import application_gate
from tests.action_tasks import make_action

WELL: dict[str, Any] = {
    "services": {},
    "problems": [],
    "changes": [],
    "elsewhere": {},
    "logs": {},
    "files": {},
    "bookmarks": [],
    "broken": [],
    "reading": {},
    "seconds": 0.02,
    "invocation": {"module_args": {"password": "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"}},
}
LOOK = {"logs": {"shop": ["/srv/shop.log"]}, "password": "geheim"}


class Target:
    """Stands for the target host.

    :param answers: results of the module, or what is raised instead; the last one goes on for ever
    """

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.sent: list[dict[str, Any]] = []

    def execute(self, name: str, module_args: dict[str, Any], task_vars: Any) -> dict[str, Any]:
        assert name == "application_info"
        self.sent.append(module_args)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        found: dict[str, Any] = answer
        return found


class Screen:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def display(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture(autouse=True)
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    screen = Screen()
    monkeypatch.setattr(application_gate, "Display", lambda: screen)
    return screen


def act(monkeypatch: pytest.MonkeyPatch, target: Target, *hosts: str, **arguments: Any) -> dict[str, Any]:
    given = {"label": "before", "look": LOOK, "samples": 3, "red_samples": 2, "interval": 0, **arguments}
    action = make_action(application_gate.ActionModule, given)
    monkeypatch.setattr(action, "_execute_module", target.execute)
    result: dict[str, Any] = action.run(
        task_vars={"inventory_hostname": "app", "ansible_play_hosts_all": list(hosts or ("app",))}
    )
    return result


def test_looks_are_made_on_the_target_and_judged_here(
    monkeypatch: pytest.MonkeyPatch, screen: Screen
) -> None:
    target = Target(WELL)
    result = act(monkeypatch, target)
    assert (result["state"], result["changed"], len(result["samples"])) == ("green", False, 3)
    assert [sent["logs"] for sent in target.sent] == [LOOK["logs"]] * 3
    assert [sent["bookmarks"] for sent in target.sent] == [None, [], []]
    assert screen.lines[0] == "gate before 1/3 · 0 new errors · 0 s left"
    assert "geheim" not in str(result)


def test_in_a_fleet_each_line_names_its_host(monkeypatch: pytest.MonkeyPatch, screen: Screen) -> None:
    act(monkeypatch, Target(WELL), "app", "other")
    assert screen.lines[0].startswith("app: gate before 1/3")


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        pytest.param(AnsibleConnectionFailure("ssh: no route to host"), "no route to host", id="unreachable"),
        pytest.param(AnsibleError("failed to transfer file"), "failed to transfer file", id="no room"),
        pytest.param({"unreachable": True, "msg": "timed out"}, "timed out", id="lost meanwhile"),
        pytest.param({"failed": True, "msg": "MODULE FAILURE"}, "MODULE FAILURE", id="a crash"),
        pytest.param({"failed": True, "msg": "no psycopg", "details": {}}, "no psycopg", id="no runtime"),
        pytest.param({"failed": True}, "no answer", id="nothing at all"),
    ],
)
def test_a_look_that_cannot_be_made_is_broken_when_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, answer: Any, text: str
) -> None:
    result = act(monkeypatch, Target(WELL, answer))
    assert (result["state"], len(result["samples"])) == ("broken", 3)
    assert text in result["reasons"][0]
    assert not result.get("failed")
    assert not result.get("unreachable")
    # Once is tolerated, and told.
    once = act(monkeypatch, Target(WELL, answer, WELL))
    assert (once["state"], len(once["samples"])) == ("green", 3)
    assert once["reasons"][0].startswith("tolerated: application_info could not be run: ")


def test_what_another_look_will_not_change_is_broken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {
        "failed": True,
        "msg": "services are named, but no pm2_home",
        "details": {"reason": "bad_argument"},
    }
    result = act(monkeypatch, Target(wrong))
    assert (result["state"], len(result["samples"])) == ("broken", 1)


def test_what_was_known_survives_a_look_that_could_not_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {**WELL, "bookmarks": [{"path": "/srv/shop.log"}], "reading": {"pm2": {"services": {}}}}
    result = act(monkeypatch, Target(known, AnsibleConnectionFailure("gone")))
    assert result["state"] == "broken"
    assert result["reference"]["bookmarks"] == [{"path": "/srv/shop.log"}]
    assert result["reference"]["reading"] == {"pm2": {"services": {}}}


def test_a_budget_for_a_pattern_that_does_not_exist_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Misspelt, it would be no budget at all."""
    target = Target(WELL)
    own = {**LOOK, "patterns": [{"name": "refused", "kind": "problem", "regex": "Refused"}]}
    assert act(monkeypatch, target, look=own, problem_budgets={"refused": 0, "database_error": 0})["state"]
    asked = len(target.sent)
    result = act(monkeypatch, target, look=own, problem_budgets={"refusd": 0, "database_error": 0})
    assert result["failed"]
    assert "there is a budget for refusd, but no problem pattern of that name" in result["msg"]
    assert "database_error" in result["msg"]
    assert len(target.sent) == asked


def test_limits_that_cannot_be_kept_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target(WELL)
    result = act(monkeypatch, target, red_samples=4)
    assert result["failed"]
    assert "gate_red_samples" in result["msg"]
    assert target.sent == []
