"""pg_server_info and pg_catalog_info as modules: what they return, what they refuse, and that they only read."""

from functools import partial
from typing import Any

import pytest
import yaml

from sandbox.databases import Database
from tests import traces
from tests.integration.command_runs import spellings
from tests.integration.module_run import documented, load, run
from tests.runner import PROTECTED

BOOKKEEPING = {"changed", "invocation"}


@pytest.mark.parametrize("name", ["pg_server_info", "pg_catalog_info"])
def test_it_returns_what_its_documentation_says_and_changes_nothing(
    finished: Database, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    call = partial(run, name, capsys, **finished.options)
    result = call()
    assert set(result) - BOOKKEEPING == documented(name)
    assert result["changed"] is False
    assert call(check=True).keys() == result.keys()
    with traces.without_autovacuum(finished.server):
        assert traces.left_by(finished, call) == set()


def test_the_server_is_described(finished: Database, capsys: pytest.CaptureFixture[str]) -> None:
    server = run("pg_server_info", capsys, **finished.options)["server"]
    explained = yaml.safe_load(load("pg_server_info").RETURN)["server"]["contains"]
    assert set(explained) <= set(server)
    with finished.connect() as connection:
        version = connection.info.server_version
    assert server["version_num"] == version
    assert server["database"] == finished.name
    assert server["role"] == server["session_role"] == "gen_user"
    assert server["standby"] is False
    assert server["tls"]["in_use"] == finished.server.has_tls
    assert server["schema"] == {
        "exists": True,
        "owner": "pg_database_owner",
        "may_use": True,
        "may_create": True,
    }
    assert server["may_create_schema"] is True
    assert server["settings"]["max_connections"].isdigit()
    assert 1 <= server["connections"]["database"] <= server["connections"]["server"]


def test_the_connections_of_other_logins_count_too(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    def of_the_server(options: dict[str, Any]) -> int:
        return int(run("pg_server_info", capsys, **options)["server"]["connections"]["database"])

    alone = of_the_server(database.readonly_options)
    with database.connect(), database.connect():
        assert of_the_server(database.readonly_options) == alone + 2


def test_what_a_reader_may_not_do_is_a_fact_and_no_failure(
    finished: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    server = run("pg_server_info", capsys, **finished.readonly_options)["server"]
    assert server["may_create_schema"] is False
    assert server["schema"]["may_create"] is False
    missing = run("pg_server_info", capsys, schema="nowhere", **finished.options)["server"]
    assert missing["schema"] == {"exists": False, "owner": "", "may_use": False, "may_create": False}


def test_some_tables_alone_have_a_fingerprint_of_their_own(
    finished: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    """How a gate sees that the session store was not touched, whatever happens beside it."""

    def protected() -> Any:
        return run("pg_catalog_info", capsys, tables=list(PROTECTED), **finished.options)

    before = protected()
    kinds = {name.removeprefix("comment on ").split(" ")[0] for name in before["entries"]}
    assert kinds == {"table", "column", "constraint", "index", "trigger", "policy"}
    assert all("whatsapp" in name for name in before["entries"])
    with finished.connect() as owner:
        owner.execute("CREATE TABLE beside (id integer)")
        owner.execute("INSERT INTO whatsapp_auth (company_id, creds) VALUES ('100002', '{}')")
        assert protected()["fingerprint"] == before["fingerprint"]
        owner.execute("CREATE INDEX more ON whatsapp_auth (created_at)")
    assert protected()["fingerprint"] != before["fingerprint"]


def test_drift_is_returned_for_people_and_machines(
    finished: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    with finished.connect() as owner:
        owner.execute("ALTER TABLE bookings ALTER cost TYPE numeric(8, 2)")
    result = run("pg_catalog_info", capsys, **finished.readonly_options)
    assert result["drift"] == (
        "column bookings.cost: differs\n  - type: numeric(8,2)\n  + type: numeric(10,2)"
    )
    (difference,) = result["differences"]
    assert (difference["object"], difference["kind"]) == ("column bookings.cost", "changed")
    assert result["recorded"] == ["0001_business_tables", "0002_messages"]


@pytest.mark.parametrize("name", ["pg_server_info", "pg_catalog_info"])
def test_a_failure_says_why_and_no_password(
    finished: Database, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    password = str(finished.options["password"])
    wrong = run(name, capsys, **{**finished.options, "password": password + "x"})
    assert wrong["failed"]
    assert "Look at the user and the password" in wrong["msg"]
    assert not [secret for secret in spellings(password) if secret in str(wrong)]
    closed = run(name, capsys, **{**finished.options, "port": 1})
    assert "Look at pg_host, pg_port" in closed["msg"] or "nothing listens" in closed["msg"].lower()


@pytest.mark.parametrize("name", ["pg_server_info", "pg_catalog_info", "pg_migration"])
def test_without_psycopg_the_playbook_that_installs_it_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    module = load(name)
    monkeypatch.setattr(module, "PSYCOPG_MISSING", ImportError("No module named 'psycopg'"))
    monkeypatch.setattr("tests.integration.module_run.load", lambda _: module)
    arguments: dict[str, Any] = {}
    if name == "pg_migration":
        arguments.update(state="rehearsed", path="/nowhere", migrations="[]")
    result = run(name, capsys, **arguments)
    assert result["failed"]
    assert "playbooks/runtime.yml" in result["msg"]


def test_a_service_file_names_the_database(finished: Database, capsys: pytest.CaptureFixture[str]) -> None:
    """As the sandbox's inventory does it: no password anywhere but in the passfile."""
    result = run("pg_server_info", capsys, service=finished.service, service_file=str(finished.service_file))
    assert result["server"]["database"] == finished.name
    wrong = run("pg_server_info", capsys, service="unknown", service_file=str(finished.service_file))
    assert wrong["failed"]
    assert "pg_service" in wrong["msg"]
