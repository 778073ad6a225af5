"""The action query_audit and the command: what is found travels to the proof, and the report is written here."""

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.rollout.audit.chain import from_json
from ansible.module_utils.rollout.audit.live_schema import LiveSchema

from action_plugins.query_audit import ActionModule
from audit.__main__ import main
from tests.action_tasks import make_action

CODE = "const f = async (db) => { await db.from('t').select('a').eq('b', 1); };\n"


class Target:
    """Stands for the target host: keeps what it was sent, and answers as query_proof does."""

    def __init__(self, outcome: str = "runs", **more: Any) -> None:
        self.sent: list[dict[str, Any]] = []
        self.outcome = outcome
        self.more = more

    def execute(self, name: str, module_args: dict[str, Any], task_vars: Any) -> dict[str, Any]:
        assert name == "query_proof"
        self.sent.append(module_args)
        verdict = {"outcome": self.outcome, "problems": [], "unknown": []}
        return {
            "changed": False,
            "sentence": "a sentence",
            "counts": {"runs": 1, "fails": 0, "unknown": 0},
            "verdicts": [verdict] * len(module_args["chains"]),
            "lacks": [],
            "live_schema": LiveSchema("public", {}, (), ()).as_json(),
            "proposal": "-- nothing\n",
            "round_trips": 2,
            "seconds": 0.1,
            "invocation": {"module_args": dict(module_args)},
            **self.more,
        }


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "a.js").write_text(CODE)
    return folder


def act(
    target: Any, monkeypatch: pytest.MonkeyPatch, *, check: bool = False, **arguments: Any
) -> dict[str, Any]:
    action = make_action(ActionModule, arguments, check=check)
    monkeypatch.setattr(action, "_execute_module", target.execute)
    result: dict[str, Any] = action.run(task_vars={})
    return result


def test_the_calls_travel_and_the_report_is_written_here(
    code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Target()
    result = act(
        target,
        monkeypatch,
        source=str(code),
        destination=str(tmp_path / "report"),
        schema="s",
        service="sandbox",
    )
    (sent,) = target.sent
    (chain,) = from_json(sent["chains"])
    assert (chain.file, chain.line, chain.tables) == ("a.js", 1, ("t",))
    assert (sent["schema"], sent["service"]) == ("s", "sandbox")
    assert not {"source", "destination"} & set(sent)
    assert (result["changed"], result["sentence"]) == (False, "a sentence")
    written = json.loads((tmp_path / "report" / "audit.json").read_text())
    assert [row["verdict"] for row in written["chains"]] == ["runs"]
    assert sorted(result["files"]) == sorted(file.name for file in (tmp_path / "report").iterdir())
    assert {"audit.sql", "queries.cjs"} <= set(result["files"])
    assert "chains" not in json.dumps(result.get("invocation", {}))


def test_a_failing_gate_fails_after_the_report(
    code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Target("fails", failed=True, msg="1 of 1 calls would fail")
    result = act(
        target, monkeypatch, source=str(code), destination=str(tmp_path / "report"), fail_on="missing"
    )
    assert result["failed"] is True
    assert result["msg"] == "1 of 1 calls would fail"
    assert json.loads((tmp_path / "report" / "audit.json").read_text())["chains"][0]["verdict"] == "fails"


def test_a_database_that_cannot_be_asked_leaves_a_report_without_a_proof(
    code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Gone:
        def execute(self, name: str, module_args: dict[str, Any], task_vars: Any) -> dict[str, Any]:
            return {"failed": True, "msg": "not reached"}

    result = act(Gone(), monkeypatch, source=str(code), destination=str(tmp_path / "report"))
    assert (result["failed"], result["msg"]) == (True, "not reached")
    written = json.loads((tmp_path / "report" / "audit.json").read_text())
    assert written["proof"] is None
    assert written["chains"][0]["verdict"] == "not proven"


def test_check_mode_writes_no_report(code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = act(Target(), monkeypatch, check=True, source=str(code), destination=str(tmp_path / "report"))
    assert result["files"] == []
    assert not (tmp_path / "report").exists()
    assert result["totals"]["calls"] == 1


def test_a_relative_source_is_relative_to_where_the_operator_stands(
    code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(code.parent)
    assert act(Target(), monkeypatch, source="code", prove=False)["totals"]["calls"] == 1


def test_without_a_proof_the_calls_come_back(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target()
    result = act(target, monkeypatch, source=str(code), prove=False)
    assert target.sent == []
    assert len(from_json(result["chains"])) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "source is missing"),
        ({"source": "/nowhere/at/all"}, "is not a folder"),
        ({"source": ".", "fali_on": "missing"}, "fali_on is no option"),
        ({"source": ".", "exclude": "dist"}, "exclude must be a list"),
    ],
)
def test_wrong_options_are_refused_before_anything(
    arguments: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Target()
    result = act(target, monkeypatch, **arguments)
    assert result["failed"] is True
    assert message in result["msg"]
    assert target.sent == []


def test_the_command_writes_the_report(
    code: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(code), "--output", str(tmp_path / "report")]) == 0
    assert "1 calls in 1 files" in capsys.readouterr().out
    assert json.loads((tmp_path / "report" / "audit.json").read_text())["totals"]["calls"] == 1


def test_the_command_says_what_is_wrong(
    code: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "gone"), "--output", str(tmp_path / "report")]) == 1
    assert "is not a folder" in capsys.readouterr().err
    assert main([str(code), "--fail-on", "missing", "--output", str(tmp_path / "report")]) == 1
    assert "needs a database" in capsys.readouterr().err
