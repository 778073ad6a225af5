"""The action success_checklist when the host or one of its modules fails: a finding, and the others are asked too."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.module_utils.rollout.checklist_entries import DATABASE_OPTIONS
from ansible.module_utils.rollout.findings import Finding, passed
from ansible.module_utils.rollout.success_checklist import OPTIONS

from action_plugins.success_checklist import MEASUREMENTS, ActionModule
from tests.action_tasks import make_action
from tests.migration_folders import write_migration
from tests.unit.test_success_checklist import CATALOG
from tests.unit.test_success_checklist_application import HOST, gate, red

DATABASE: dict[str, Any] = {
    "findings": [
        Finding.of(item, item, passed("a", "b"), 0.0).as_result() for item in (*DATABASE_OPTIONS, "one_salon")
    ],
    "catalog": CATALOG,
    "locks": {"bookings": "ROW EXCLUSIVE"},
    "round_trips": 7,
    "seconds": 0.4,
}
LOST = AnsibleConnectionFailure("Connection reset by peer\nmore lines")
OWN = {"id": "one_salon", "title": "There is one salon", "query": "SELECT 1", "expected": 1}


class Target:
    """Stands for the host: answers modules, or fails.

    :param busy: CPU of each measurement, the last one for ever
    """

    def __init__(self, *busy: float, **answers: Any) -> None:
        self.busy = list(busy or (10.0,))
        self.answers = {"pg_checklist_info": DATABASE, **answers}
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def module(self, *, module_name: str, module_args: dict[str, Any], **_: Any) -> dict[str, Any]:
        self.asked.append((module_name, module_args))
        answer = self.answers.get(module_name)
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            percent = self.busy.pop(0) if len(self.busy) > 1 else self.busy[0]
            answer = {"host": {**HOST, "cpu_percent": percent}}
        return dict(answer)

    def arguments(self, module: str) -> list[dict[str, Any]]:
        return [arguments for name, arguments in self.asked if name == module]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_migration(tmp_path / "migrations", "0001", "one", "CREATE TABLE {{ schema }}.one (id integer);\n")
    return tmp_path / "migrations"


def act(folder: Path, target: Target, monkeypatch: pytest.MonkeyPatch, **arguments: Any) -> dict[str, Any]:
    given = {
        "migrations_path": str(folder),
        "database": {"service": "sandbox", "schema": "public"},
        "gate": gate(),
        "message": {"status": "passed", "reason": "answered", "seconds": 2.1},
        "services": ["api", "worker"],
        "checks": [OWN],
        **arguments,
    }
    action = make_action(ActionModule, given)
    monkeypatch.setattr(action, "_execute_module", target.module)
    result: dict[str, Any] = action.run(task_vars={"inventory_hostname": "app"})
    assert not result.get("failed"), "what was found is no failure of the action"
    return result


def red_items(result: Mapping[str, Any]) -> set[str]:
    return {one["id"] for one in result["findings"] if one["status"] == "failed"}


def test_everybody_is_asked_and_all_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control."""
    target = Target()
    checks = [
        OWN,
        {"id": "size_growth", "allowance_mb": 5},
        {"id": "pruning", "enabled": False, "reason": "slow"},
    ]
    result = act(folder, target, monkeypatch, checks=checks)
    assert [one["id"] for one in result["findings"]] == ["database", *OPTIONS, "one_salon"]
    assert red_items(result) == set()
    assert (result["state"], result["reasons"], result["changed"]) == ("green", [], False)
    assert result["counts"]["failed"] == 0
    assert (result["catalog"], result["locks"]) == (CATALOG, DATABASE["locks"])
    [asked] = target.arguments("pg_checklist_info")
    assert asked["service"] == "sandbox"
    assert asked["checks"] == [OWN]
    assert asked["items"] == {
        "size_growth": {"enabled": True, "reason": "", "allowance_mb": 5},
        "pruning": {"enabled": False, "reason": "slow"},
    }
    seconds = {one["id"]: one["seconds"] for one in result["findings"]}
    assert (seconds["services"], seconds["test_message"]) == (4.2, 2.1)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(LOST, id="lost"),
        pytest.param({"failed": True, "msg": "Connection reset by peer"}, id="failed"),
        pytest.param({"unreachable": True, "msg": "Connection reset by peer"}, id="unreachable"),
    ],
)
def test_a_module_that_fails_is_red_and_the_others_are_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    result = act(folder, Target(pg_checklist_info=answer), monkeypatch)
    assert red_items(result) == {"database"}
    assert result["findings"][0]["observed"] == "Connection reset by peer"
    assert result["catalog"] == {}
    result = act(folder, Target(host_resources_info=answer), monkeypatch)
    assert red_items(result) == {"host_cpu", "memory"}
    # The database and the host say nothing about the application.
    assert result["state"] == "green"


def test_a_red_application_is_told_to_who_decides(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = act(folder, Target(), monkeypatch, gate=red("pm2"))
    assert (result["state"], result["reasons"]) == ("red", ["services: api: is stopped"])
    result = act(folder, Target(), monkeypatch, gate=red("pm2"), application_items=["whatsapp"])
    assert (result["state"], red_items(result)) == ("green", {"services"})


def test_a_busy_host_is_measured_again_and_a_quiet_one_is_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = [{"id": "host_cpu", "percent": 40, "window": 0.5}]
    for busy, measured, found in (
        ((10.0,), 1, set()),
        ((70.0, 30.0), 2, set()),
        ((70.0,), MEASUREMENTS, {"host_cpu"}),
    ):
        target = Target(*busy)
        assert red_items(act(folder, target, monkeypatch, checks=checks)) == found
        assert target.arguments("host_resources_info") == [{"window": 0.5}] * measured


def test_what_is_switched_off_is_not_measured(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, memory = ({"id": item, "enabled": False, "reason": "x"} for item in ("host_cpu", "memory"))
    target = Target(99.0)
    assert red_items(act(folder, target, monkeypatch, checks=[cpu])) == set()
    assert target.arguments("host_resources_info") == [{"window": 0.1}]
    act(folder, target, monkeypatch, checks=[cpu, memory])
    assert len(target.arguments("host_resources_info")) == 1


def test_what_cannot_be_kept_is_refused_before_anybody_is_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Target()
    for state in ("begun", "judged"):
        with pytest.raises(AnsibleActionFail, match=r"verify_checks\[0\] \(memroy\).*did you mean memory"):
            act(folder, target, monkeypatch, state=state, checks=[{"id": "memroy"}])
        with pytest.raises(AnsibleActionFail, match="verify_application_items names whatsap"):
            act(folder, target, monkeypatch, state=state, application_items=["whatsap"])
        (folder / "0001_one/samples.yml").write_text("rowz: {}\n")
        with pytest.raises(AnsibleActionFail, match=r"0001_one/samples\.yml"):
            act(folder, target, monkeypatch, state=state)
        (folder / "0001_one/samples.yml").unlink()
    assert target.asked == []


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"demands": {"rows": {"one": "viele"}}}, "verify_demands: rows: one is 'viele'"),
        ({"partitions": [{"table": "one", "count": True}]}, "verify_partitions: one: count is True"),
        ({"reference_max_age_minutes": 1441}, "verify_reference_max_age_minutes is 1441"),
        ({"reference_max_age_minutes": -1}, "verify_reference_max_age_minutes is -1"),
        ({"reference_max_age_minutes": float("nan")}, "verify_reference_max_age_minutes is nan"),
    ],
)
def test_the_beginning_refuses_what_the_inventory_cannot_mean(
    folder: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], told: str
) -> None:
    target = Target()
    with pytest.raises(AnsibleActionFail, match=told):
        act(folder, target, monkeypatch, state="begun", **given)
    assert target.asked == []
    act(folder, target, monkeypatch, state="begun", reference_max_age_minutes=1440)


def test_the_beginning_finds_nothing_where_nothing_was_recorded(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    target = Target()
    result = act(
        folder, target, monkeypatch, state="begun", report_dir=str(tmp_path), reference_max_age_minutes=60
    )
    assert (result["reference"], result["since"]) == ({}, "the first look")
    assert target.asked == []
