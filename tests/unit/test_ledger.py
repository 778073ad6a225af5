"""The ledger's commands and what is made of their answers; that they do what they say is tested with a database."""

import json
import re
from typing import Any

import pytest
from ansible.module_utils.rollout import ledger
from ansible.module_utils.rollout.connection import Command
from ansible.module_utils.rollout.diff import Change
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.ledger import Entered, Row
from ansible.module_utils.rollout.migration import Migration, Statement
from pglast import parse_sql

TEXT = "CREATE TABLE \"@schema@\".t (a text DEFAULT '100%; я')"
MIGRATION = Migration(
    id="0001",
    name="x",
    description="x",
    checksum="c" * 64,
    source_sha256="s" * 64,
    statements=(Statement(TEXT, "x:1", 1, "CreateStmt", ("table t",), True, TEXT),),
    grows=("messages",),
    variables={"n": 1, "name": "я"},
)
CHANGES = [
    Change("table t", None, {"owner": "gen_user"}),
    Change("function f()", {"definition": "one"}, {"definition": "two"}),
    Change("index i", {"table": "t"}, None),
]


def entered(**parts: Any) -> Entered:
    body: dict[str, Any] = {
        "migration": MIGRATION,
        "schema": "public",
        "state": "applied",
        "catalog_fingerprint": "f" * 64,
        "run_id": "run-1",
        "applied_from": "app",
        "statements": 1,
        "duration_ms": 12.345,
        "changes": CHANGES,
    }
    return Entered(**{**body, **parts})


def row(number: str, seq: int, **parts: Any) -> tuple[Any, ...]:
    body: dict[str, Any] = {
        "seq": seq,
        "id": number,
        "name": "x",
        "state": "applied",
        "checksum": "c",
        "variables": {},
        "server_version": 150000,
        "applied_at": "2025-11-09",
        "run_id": "run-1",
        "grows": [],
    }
    return tuple({**body, **parts}.values())


EVERY_COMMAND: list[Command] = [
    ledger.exists_command("Roll out"),
    *ledger.read_commands("Roll out", "public"),
    *ledger.create_commands("Roll out"),
    *ledger.write_commands("Roll out", entered()),
    *ledger.finish_commands("Roll out", "public", "0001", "applied", CHANGES),
    ledger.changes_command("Roll out", 7),
    ledger.roll_back_command("Roll out", 7, "run-2"),
]


@pytest.mark.parametrize("command", EVERY_COMMAND, ids=lambda command: " ".join(command.sql.split())[:40])
def test_every_command_is_one_statement_with_a_place_for_each_value(command: Command) -> None:
    values = list(command.parameters or ())
    places = iter(range(1, 100))
    text, count = re.subn("%s", lambda _: f"${next(places)}", command.sql)
    assert count == len(values)
    assert "%" not in text
    (statement,) = parse_sql(text)
    assert statement.stmt is not None


def test_every_table_is_named_in_the_ledgers_own_schema() -> None:
    for command in EVERY_COMMAND[1:]:
        for name in re.findall(r"(\S+)\.(?:migration|change)\b", command.sql):
            assert name.endswith('out"'), command.sql


# --- what is written


def test_a_migration_is_recorded_with_what_it_was_and_who_ran_it() -> None:
    insert, _ = ledger.write_commands("rollout", entered())
    columns = re.search(r"\((.*?)\) VALUES \((.*)\)", insert.sql)
    assert columns is not None
    names = [name.strip() for name in columns[1].split(",")]
    places = [place.strip() for place in columns[2].split(", ")]
    assert places[names.index("xid")] == "pg_current_xact_id()"
    values = iter(insert.parameters or ())
    written = {name: next(values) for name, place in zip(names, places, strict=True) if place == "%s"}
    assert written == {
        "target_schema": "public",
        "id": "0001",
        "name": "x",
        "state": "applied",
        "checksum": "c" * 64,
        "source_sha256": "s" * 64,
        "variables": json.dumps({"n": 1, "name": "я"}),
        "sql": "CREATE TABLE \"public\".t (a text DEFAULT '100%; я');\n\n",
        "grows": ["messages"],
        "catalog_fingerprint": "f" * 64,
        "run_id": "run-1",
        "applied_from": "app",
        "statements": 1,
        "duration_ms": 12.3,
    }


def changes_in(command: Command) -> dict[str, Any]:
    (text,) = [value for value in command.parameters or () if str(value).startswith("[")]
    return {change.pop("object"): change for change in json.loads(text)}


def test_every_change_is_recorded_with_both_shapes() -> None:
    _, insert = ledger.write_commands("rollout", entered())
    assert changes_in(insert) == {
        "table t": {"action": "created", "before": None, "after": {"owner": "gen_user"}},
        "function f()": {
            "action": "altered",
            "before": {"definition": "one"},
            "after": {"definition": "two"},
        },
        "index i": {"action": "dropped", "before": {"table": "t"}, "after": None},
    }
    assert next(iter(insert.parameters or ())) == '"rollout".migration'


def test_what_stood_before_is_recorded_as_adopted() -> None:
    _, insert = ledger.write_commands("rollout", entered(adopted=frozenset(["table t", "not among them"])))
    assert {name: change["action"] for name, change in changes_in(insert).items()} == {
        "table t": "adopted",
        "function f()": "altered",
        "index i": "dropped",
    }


def test_finishing_adds_the_late_changes_and_ends_the_state() -> None:
    insert, update = ledger.finish_commands("rollout", "public", "0001", "completed", CHANGES[:1])
    assert list(changes_in(insert)) == ["table t"]
    assert list(update.parameters or ()) == ["completed", "public", "0001"]
    # An index that the transaction made and a late statement dropped must not be expected.
    assert insert.sql.endswith("ON CONFLICT (seq, object) DO UPDATE SET after = excluded.after")
    assert "rolled_back_at IS NULL" in insert.sql
    assert "rolled_back_at IS NULL" in update.sql


def test_rolling_back_marks_one_row_and_deletes_none() -> None:
    command = ledger.roll_back_command("rollout", 7, "run-2")
    assert list(command.parameters or ()) == ["run-2", 7]
    assert not any("DELETE" in other.sql for other in EVERY_COMMAND)


def test_no_format_but_this_one_is_written() -> None:
    comments = [command.sql for command in ledger.create_commands("rollout") if "format" in command.sql]
    assert len(comments) == 1
    assert f"format {ledger.FORMAT}." in comments[0]


# --- what is read


def test_an_empty_ledger_expects_nothing() -> None:
    found = ledger.from_rows([[], []])
    assert (found.exists, found.rows, found.expected, found.owners, found.grows) == (True, {}, {}, {}, ())
    assert not ledger.EMPTY.exists


def test_rows_are_found_by_number_and_changes_by_object() -> None:
    found = ledger.from_rows(
        [
            [
                row("0001", 1, grows=["messages"]),
                row("0002", 4, state="unfinished", grows=["events", "logs"]),
            ],
            [
                ("table t", "0001", {"owner": "gen_user"}, True),
                ("function f()", "0002", {"definition": "two"}, True),
                ("table prices", "0002", {"options": ["fillfactor=90"]}, False),
                ("index i", "0002", None, True),
            ],
        ]
    )
    assert found.rows["0002"] == Row(
        4, "0002", "x", "unfinished", "c", {}, 150000, "2025-11-09", "run-1", ["events", "logs"]
    )
    assert found.expected == {
        "table t": {"owner": "gen_user"},
        "function f()": {"definition": "two"},
        "table prices": {"options": ["fillfactor=90"]},
    }
    assert found.owners == {"table t": "0001", "function f()": "0002", "table prices": "0002"}
    assert found.made == {"table t", "function f()"}
    assert found.grows == ("messages", "events", "logs")


OURS = f"Ledger of schema rollouts, format {ledger.FORMAT}. Written by the rollout only."


@pytest.mark.parametrize(
    ("answer", "exists"),
    [
        ((False, False, None), False),
        ((True, True, OURS), True),
        ((True, False, OURS), False),  # made, and its tables are not: a first run that is under way elsewhere
    ],
)
def test_a_ledger_is_recognised_by_its_comment(answer: tuple[Any, ...], exists: bool) -> None:
    assert ledger.check_format(answer, "rollout") is exists


@pytest.mark.parametrize(
    "answer",
    [
        (True, True, None),
        (True, False, None),
        (True, False, "Somebody's."),
        (True, True, OURS.replace(f"format {ledger.FORMAT}.", f"format {ledger.FORMAT + 1}.")),
        (True, True, OURS.replace(f"format {ledger.FORMAT}.", f"format {ledger.FORMAT}1.")),
    ],
)
def test_a_schema_of_somebody_else_is_never_taken_for_a_ledger(answer: tuple[Any, ...]) -> None:
    with pytest.raises(RolloutError, match="schema rollout is not a ledger of format") as caught:
        ledger.check_format(answer, "rollout")
    assert "schema_ledger" in caught.value.hint
