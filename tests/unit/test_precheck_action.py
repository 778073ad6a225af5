"""The action precheck when the host or one of its modules fails: a finding, and the others are asked all the same."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.module_utils.rollout import precheck

from action_plugins.precheck import RUNTIME_FILES, ActionModule, python_facts
from tests.action_tasks import make_action
from tests.migration_folders import write_migration

PYTHON = json.dumps({"python": "3.12", "can_make_environment": True, "folder": "environment"})
HOST: dict[str, Any] = {
    "disks": [],
    "backup_disk": None,
    "checkout": None,
    "client_tools": [],
    "ca": None,
    "flags": [],
}
UNREACHED = {"reached": False, "asked": False, "reason": "refused", "error": "Connection refused"}
ANSWERS: dict[str, Any] = {
    "host_precheck_info": {"facts": HOST},
    "pg_precheck_info": {"facts": UNREACHED},
    "pm2_info": {"healthy": True, "daemon": {"home": "/x"}},
    "baileys_info": {"verdict": "connected", "reason": "x", "store": {}},
}
LOST = AnsibleConnectionFailure("Connection reset by peer\nmore lines")


class Host:
    """Stands for the host: answers commands and modules, or fails."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {**ANSWERS, **answers}
        self.interpreters: set[str] = set()
        self.asked: list[str] = []
        self.environment: dict[str, Any] = {
            "rc": 0,
            "stdout": (RUNTIME_FILES / "requirements.txt").read_text(),
        }

    def command(self, command: str) -> dict[str, Any]:
        if isinstance(self.environment, Exception):
            raise self.environment
        return self.environment if "importlib.metadata" in command else {"rc": 0, "stdout": PYTHON}

    def module(self, *, module_name: str, task_vars: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        self.asked.append(module_name)
        self.interpreters.add(task_vars["ansible_python_interpreter"])
        answer = self.answers[module_name]
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_migration(tmp_path / "migrations", "0001", "one", "CREATE TABLE {{ schema }}.one (id integer);\n")
    return tmp_path / "migrations"


def judged(folder: Path, host: Host, monkeypatch: pytest.MonkeyPatch, **arguments: Any) -> dict[str, Any]:
    given = {
        "connection": {"host": "db.example.invalid", "sslmode": "verify-full"},
        "migrations_path": str(folder),
        "runtime_venv": "/opt/venv",
        "pm2": {"home": "/x", "services": ["api"]},
        "baileys": {"health_url": "http://127.0.0.1:3003/health"},
        **arguments,
    }
    action = make_action(ActionModule, given)
    monkeypatch.setattr(action, "_low_level_execute_command", host.command)
    monkeypatch.setattr(action, "_execute_module", host.module)
    monkeypatch.setattr(action, "_missing_variables", lambda: {"checked": 1, "missing": {}})
    result: dict[str, Any] = action.run(task_vars={"inventory_hostname": "app"})
    assert not result.get("failed"), "what was found is no failure of the action"
    assert {one["id"] for one in result["findings"]} == {item.id for item in precheck.ITEMS}
    return {one["id"]: one for one in result["findings"]}


def red(findings: Mapping[str, Any]) -> set[str]:
    # The tests' own configuration is not what this is about.
    return {name for name, one in findings.items() if one["status"] == "failed"} - {"ansible_cfg"}


def test_everybody_is_asked_with_the_environments_python(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control; the database is down in it, which hinders nothing else."""
    host = Host()
    findings = judged(folder, host, monkeypatch)
    assert red(findings) == {"database"}
    assert host.asked == ["host_precheck_info", "pg_precheck_info", "pm2_info", "baileys_info"]
    assert host.interpreters == {"/opt/venv/bin/python"}
    assert findings["services"]["status"] == findings["whatsapp"]["status"] == "passed"


def test_a_host_that_is_lost_on_the_way_keeps_what_it_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    findings = judged(folder, Host(pg_precheck_info=LOST), monkeypatch)
    assert red(findings) == {"host"}
    assert findings["host"]["observed"] == "Connection reset by peer"
    assert findings["python"]["status"] == "passed"
    assert (
        findings["primary"]["observed"]
        == findings["services"]["observed"]
        == "the host does not answer: see host"
    )


def test_a_host_that_never_answers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host()
    monkeypatch.setattr(host, "environment", LOST)
    findings = judged(folder, host, monkeypatch)
    assert red(findings) == {"host"}
    assert host.asked == []


@pytest.mark.parametrize(
    ("module", "item"),
    [("host_precheck_info", "host"), ("pg_precheck_info", "database"), ("pm2_info", "services")],
)
def test_a_module_that_fails_is_red_and_the_others_are_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, module: str, item: str
) -> None:
    host = Host(**{module: {"failed": True, "msg": "No space left on device"}})
    findings = judged(folder, host, monkeypatch)
    assert red(findings) == {item, "database"}
    assert "No space left on device" in findings[item]["observed"]
    assert len(host.asked) == 4


def test_what_is_not_configured_is_not_asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host()
    findings = judged(folder, host, monkeypatch, pm2={}, baileys={})
    assert host.asked == ["host_precheck_info", "pg_precheck_info"]
    assert findings["services"]["status"] == findings["whatsapp"]["status"] == "not_tested"
    assert "not configured" in findings["services"]["observed"]


def test_an_outdated_environment_is_red_and_no_database_is_asked_with_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host()
    host.environment = {"rc": 0, "stdout": "psycopg==3.1.0\n"}
    findings = judged(folder, host, monkeypatch)
    assert red(findings) == {"runtime"}
    assert "pg_precheck_info" not in host.asked
    assert findings["database"]["observed"] == "the modules' environment is not installed: see runtime"


@pytest.mark.parametrize("start", ["3:00", "24:00", "03:60", "10800", "03:00 UTC"])
def test_an_hour_that_is_none_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch, start: str) -> None:
    """YAML makes 10800 of 03:00 without quotes."""
    with pytest.raises(AnsibleActionFail, match=f"backup starts at '{start}', which is not HH:MM"):
        judged(folder, Host(), monkeypatch, jobs=[{"name": "backup", "start": start}])
    judged(folder, Host(), monkeypatch, jobs=[{"name": "backup", "start": "03:00"}])


@pytest.mark.parametrize("stdout", ["", "[]", '{"python": "3.12"}', "Python 2.7"])
def test_something_that_is_no_python_is_said_to_be_none(stdout: str) -> None:
    facts = python_facts("/bin/cat", False, {"rc": 0, "stdout": stdout})
    assert "is no Python" in facts["error"]
    assert "exit code 127" in python_facts("/x", False, {"rc": 127, "stdout": ""})["error"]
