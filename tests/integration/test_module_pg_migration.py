"""pg_migration as a module: arguments in, documented values out."""

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.rollout.migration import dump
from ansible.module_utils.rollout.source import load_migrations

from sandbox.databases import Database
from tests.integration.command_runs import spellings
from tests.integration.module_run import documented, run
from tests.migration_folders import write_migration

BOOKKEEPING = {"changed", "invocation", "diff"}
#: Added by the action plugin, on the control node.
BY_THE_ACTION = {"sql"}


class Module:
    """pg_migration with the arguments that its action plugin would send for a small folder."""

    def __init__(self, database: Database, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_migration(folder, "0001", "one", "CREATE TABLE {{ schema }}.one (id integer);\n")
        self._arguments = {
            **database.options,
            "path": str(folder),
            "migrations": dump(load_migrations(folder, {})),
            "run_id": "run-7",
            "protected_tables": ["whatsapp_auth", "whatsapp_keys"],
        }
        self._capsys = capsys

    def __call__(self, state: str, check: bool = False, **arguments: Any) -> dict[str, Any]:
        return run("pg_migration", self._capsys, check, **{**self._arguments, "state": state, **arguments})


@pytest.fixture
def module(database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Module:
    return Module(database, tmp_path / "migrations", capsys)


def test_a_migration_comes_and_goes(database: Database, module: Module) -> None:
    foretold = module("rehearsed")
    assert not foretold["changed"]
    assert [m["action"] for m in foretold["migrations"]] == ["apply"]

    told = module("present", check=True, id="0001")
    assert told["changed"]
    assert told["diff"] == {"before": "", "after": "table one\n"}
    applied = module("present", id="0001", rehearsal=foretold["rehearsal"])
    assert applied["changed"]
    assert "column one.id\n    type: integer\n" in applied["diff"]["after"]
    assert applied["executed"]["state"] == "applied"
    again = module("present", id="0001")
    assert not again["changed"]
    assert again["diff"] == {"before": "", "after": ""}

    would_go = module("absent", check=True, id="0001")
    assert would_go["changed"]
    gone = module("absent", id="0001")
    assert gone["changed"]
    assert gone["diff"] == {"before": "table one\n", "after": ""}
    assert not module("absent", id="0001")["changed"]
    with database.connect() as connection:
        assert connection.execute("SELECT run_id, rolled_back_run FROM rollout.migration").fetchall() == [
            ("run-7", "run-7")
        ]
    for result in (foretold, told, applied, again, would_go, gone):
        assert set(result) - BOOKKEEPING <= documented("pg_migration")
        assert not [s for s in spellings(str(database.options["password"])) if s in json.dumps(result)]


def test_every_documented_value_is_returned(module: Module) -> None:
    rehearsed, applied = module("rehearsed"), module("present", id="0001")
    failed = module("rehearsed", schema="nowhere")
    assert set(rehearsed) | set(applied) | set(failed) | BY_THE_ACTION >= documented("pg_migration")


def test_a_failure_has_a_message_a_remedy_and_details(database: Database, module: Module) -> None:
    with database.connect() as owner:
        owner.execute("CREATE TABLE one (id bigint)")
    result = module("present", id="0001")
    assert result["failed"]
    assert "column one.id: differs" in result["msg"]
    assert "Nothing was changed." in result["msg"]
    assert result["details"]["differences"][0]["object"] == "column one.id"


@pytest.mark.parametrize("state", ["present", "absent"])
def test_a_number_is_needed(module: Module, state: str) -> None:
    assert f"state is {state} but all of the following are missing: id" in module(state)["msg"]


def test_without_its_action_plugin_it_says_what_is_missing(module: Module) -> None:
    assert "ansible.cfg names action_plugins/" in module("rehearsed", migrations="")["msg"]


def test_the_session_is_named_after_the_run(
    database: Database, module: Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that an operator who looks at pg_stat_activity, or is told who holds a lock, knows whom to ask."""
    from ansible.module_utils.rollout import migrate

    names: list[str] = []
    real = migrate.rehearsed

    def spying(open_session: Any, *arguments: Any, **options: Any) -> Any:
        with open_session() as session, database.connect_admin() as admin:
            (name,) = admin.execute(
                "SELECT application_name FROM pg_stat_activity WHERE pid = %s", [session.backend_pid]
            ).fetchone() or ("",)
            names.append(name)
        return real(open_session, *arguments, **options)

    monkeypatch.setattr(migrate, "rehearsed", spying)
    module("rehearsed")
    module("rehearsed", application_name="x" * 100)
    assert names[0] == "rollout run-7"
    assert len(names[1]) == 63
