"""The action pg_migration: what fails on the control node, before any connection, and what travels."""

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.rollout.migration import parse

from action_plugins.pg_migration import ActionModule
from tests.action_tasks import make_action
from tests.migration_folders import write_migration

TABLE = "CREATE TABLE {{ schema }}.t (a int DEFAULT {{ n }});\n"
VARIABLES = {"n": {"type": "integer", "default": 1}}


class Target:
    """Stands for the target host: keeps what it was sent, and answers as a module does."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def execute(self, name: str, module_args: dict[str, Any], task_vars: Any) -> dict[str, Any]:
        assert name == "pg_migration"
        self.sent.append(module_args)
        return {"changed": True, "invocation": {"module_args": dict(module_args)}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_migration(tmp_path, "0001", "first", TABLE, variables=VARIABLES)
    write_migration(tmp_path, "0002", "second", "CREATE INDEX i ON {{ schema }}.t (a); -- why\n")
    return tmp_path


def act(target: Target, monkeypatch: pytest.MonkeyPatch, **arguments: Any) -> dict[str, Any]:
    action = make_action(ActionModule, arguments)
    monkeypatch.setattr(action, "_execute_module", target.execute)
    result: dict[str, Any] = action.run(task_vars={})
    return result


def test_statements_travel_and_the_migrations_sql_comes_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Target()
    result = act(
        target, monkeypatch, path=str(folder), id="0002", schema="Salon", variables={"n": "5"}, rehearsal="{}"
    )
    assert result["changed"] is True
    assert result["sql"] == 'CREATE INDEX i ON "Salon".t (a);\n\n'
    (sent,) = target.sent
    first, second = parse(sent["migrations"])
    assert first.statements[0].text == 'CREATE TABLE "@schema@".t (a int DEFAULT 5)'
    assert second.label == "0002_second"
    assert sent["id"] == "0002"
    # The same text in every failure's output would hide the failure.
    assert set(result["invocation"]["module_args"]) == {"path", "id", "schema", "variables"}


def test_the_rehearsal_needs_no_number(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target()
    assert act(target, monkeypatch, path=str(folder), state="rehearsed")["sql"] == ""
    assert len(parse(target.sent[0]["migrations"])) == 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"path": None}, "path is missing"),
        ({"path": "/nowhere"}, "/nowhere is not a folder"),
        ({"id": None}, "there is no migration None"),
        ({"id": "0003"}, "there is no migration '0003'"),
        ({"id": 1}, "Quote the number"),
        ({"id": "0003", "state": "absent"}, "Known are: 0001, 0002"),
        ({"variables": {"n": "many"}}, "n: 'many' must be a whole number"),
        ({"variables": {"m": 1}}, "no migration declares these variables: m"),
        ({"variables": "n=1"}, "must map names to values"),
        ({"schema": ""}, "schema: '' must be a name"),
        ({"schema": 'a"; DROP SCHEMA b; --'}, "schema: 'a\"; DROP SCHEMA b; --' may hold"),
        ({"schema": "a$$b"}, "schema: 'a$$b' may hold"),
        ({"schema": "x" * 64}, "64 bytes"),
        ({"schema": "pg_catalog"}, "must not begin with pg_"),
        ({"schema": ["a"]}, "must be a name"),
        ({"ledger": "a.b"}, "ledger: 'a.b' may hold"),
        ({"owner_role": "a'b"}, 'owner_role: "a\'b" may hold'),
        ({"owner_role": 7}, "owner_role: 7 must be a name"),
        ({"schema": "rollout"}, "ledger: must be another schema"),
        ({"schema": "rollout", "ledger": None}, "ledger: must be another schema"),
        ({"schema": None, "ledger": "public"}, "ledger: must be another schema"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_sent(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], told: str
) -> None:
    target = Target()
    result = act(target, monkeypatch, **{"path": str(folder), "id": "0001", **arguments})
    assert result["failed"] is True
    assert told in result["msg"]
    assert "details" in result
    assert target.sent == []


def test_every_wrong_name_is_told_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = act(Target(), monkeypatch, path=str(folder), id="0001", schema="a b;", ledger="", owner_role="$")
    assert [option in result["msg"] for option in ("schema: 'a b;'", "ledger: ''", "owner_role: '$'")] == [
        True
    ] * 3
    assert "group_vars" in result["msg"]


@pytest.mark.parametrize("sql", ["SELEC 1;", "COMMIT;", "SELECT {{ nope }};", "DROP TABLE {{ schema }}.t;"])
def test_wrong_sql_is_told_before_anything_is_sent(
    folder: Path, monkeypatch: pytest.MonkeyPatch, sql: str
) -> None:
    write_migration(folder, "0003", "third", sql)
    target = Target()
    result = act(target, monkeypatch, path=str(folder), id="0001")
    assert result["failed"] is True
    assert result["msg"].startswith("0003_third/010_all.sql.j2:1: ")
    assert target.sent == []


def test_an_answer_without_an_invocation_is_fine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    action = make_action(ActionModule, {"path": str(folder), "id": "0001", "owner_role": ""})
    monkeypatch.setattr(action, "_execute_module", lambda *_, **__: {"failed": True, "msg": "no python"})
    result = action.run(task_vars={})
    assert result["msg"] == "no python"
    assert json.dumps(result)
