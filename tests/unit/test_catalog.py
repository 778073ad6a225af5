"""The catalog as data, without a database: names, what belongs to what, another schema's name put in."""

import re
from typing import Any

import pytest
from ansible.module_utils.rollout import catalog
from ansible.module_utils.rollout.catalog import Catalog, from_rows, table_of
from ansible.module_utils.rollout.fingerprint import fingerprint
from pglast import parse_sql


@pytest.mark.parametrize(
    ("name", "entry", "table"),
    [
        ("table staff", {}, "staff"),
        ("column staff.id", {}, "staff"),
        ("column staff.a.b", {}, "staff"),
        ("constraint staff.staff_pkey", {}, "staff"),
        ("trigger staff.touch", {}, "staff"),
        ("policy staff.own rows", {}, "staff"),
        ("rule staff.r", {}, "staff"),
        ("column my staff.id", {}, "my staff"),
        ("index staff_id", {"table": "staff"}, "staff"),
        ("statistics s", {"table": "staff"}, "staff"),
        ("sequence staff_id_seq", {"owned_by": "staff.id"}, "staff"),
        ("sequence free", {}, None),
        ("index staff_id", None, None),
        ("view v", {}, None),
        ("function f()", {}, None),
        ("type mood", {}, None),
        ("comment on table staff", {"text": "x"}, "staff"),
        ("comment on column staff.id", {"text": "x"}, "staff"),
        ("comment on function f()", {"text": "x"}, None),
    ],
)
def test_what_belongs_to_a_table(name: str, entry: Any, table: str | None) -> None:
    assert table_of(name, entry) == table
    assert Catalog({name: entry} if entry is not None else {}).table_of(name) == table


def test_partitions_are_found_by_their_parent() -> None:
    found = Catalog(
        {
            "table messages": {"partition_key": "RANGE (created_at)"},
            "table messages_2025_11": {"parent": "messages"},
            "table events_1": {"parent": "events"},
            "index messages_2025_11_pkey": {"parent": "messages"},
        }
    )
    assert found.partitions_of(("messages",)) == {"messages_2025_11"}
    assert found.partitions_of(("messages", "events")) == {"messages_2025_11", "events_1"}
    assert found.partitions_of(()) == set()


def test_another_schemas_name_goes_everywhere_and_nowhere_else() -> None:
    scratch = Catalog(
        {
            "function f(scratch_1.mood)": {
                "definition": 'CREATE FUNCTION scratch_1.f() AS $$ SELECT * FROM "scratch_1".t $$',
                "settings": ["search_path=scratch_1, pg_temp"],
                "nested": {"scratch_1": 1},
            },
            "column t.a": {"position": 1, "not_null": True, "default": "nextval('scratch_1.s'::regclass)"},
        }
    )
    assert scratch.renamed("scratch_1", "public").entries == {
        "function f(public.mood)": {
            "definition": 'CREATE FUNCTION public.f() AS $$ SELECT * FROM "public".t $$',
            "settings": ["search_path=public, pg_temp"],
            "nested": {"scratch_1": 1},
        },
        "column t.a": {"position": 1, "not_null": True, "default": "nextval('public.s'::regclass)"},
    }
    assert scratch.renamed("absent", "public").entries == scratch.entries


@pytest.mark.parametrize("at", range(len(catalog.commands("public"))))
def test_every_query_is_one_statement_about_one_schema(at: int) -> None:
    command = catalog.commands("Salon One")[at]
    assert list(command.parameters or ()) == ["Salon One"] * command.sql.count("%s")
    assert command.sql.count("%s") >= 1
    (statement,) = parse_sql(re.sub("%s", "$1", command.sql))
    assert type(statement.stmt).__name__ == "SelectStmt"
    assert "ORDER BY" in command.sql, "two readings of one schema must come out alike"


def test_an_empty_schema_is_an_empty_catalog() -> None:
    assert from_rows([[] for _ in catalog.commands("public")]).entries == {}


def test_answers_that_do_not_fit_the_questions_are_an_error() -> None:
    nothing: list[list[tuple[Any, ...]]] = [[] for _ in catalog.commands("public")]
    with pytest.raises(ValueError, match="zip"):
        from_rows(nothing[1:])


def answers(**rows: list[tuple[Any, ...]]) -> Catalog:
    """A catalog from rows by the name of their reader, such as ``trigger``."""
    return from_rows([rows.get(reader.__name__.removeprefix("_"), []) for _, reader in catalog._READERS])


@pytest.mark.parametrize(
    ("letter", "state"), [("O", "enabled"), ("D", "disabled"), ("R", "replica only"), ("A", "always")]
)
def test_a_triggers_state_is_seen(letter: str, state: str) -> None:
    found = answers(trigger=[("staff", "touch", "CREATE TRIGGER touch", letter, "why")])
    assert found.entries == {
        "trigger staff.touch": {"definition": "CREATE TRIGGER touch", "state": state},
        "comment on trigger staff.touch": {"text": "why"},
    }


def test_a_letter_that_postgresql_does_not_have_yet_is_an_error() -> None:
    with pytest.raises(KeyError):
        answers(trigger=[("staff", "touch", "CREATE TRIGGER touch", "X", None)])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            {"constraint": [("t", "c", "CHECK (a > 0)", True, None)]},
            {"constraint": [("t", "c", "CHECK (a > 0)", False, None)]},
        ),
        (
            {"index": [("i", "t", "d", True, False, None, None)]},
            {"index": [("i", "t", "d", False, False, None, None)]},
        ),
        (
            {"index": [("i", "t", "d", True, False, None, None)]},
            {"index": [("i", "u", "d", True, False, None, None)]},
        ),
        (
            {"index": [("i", "t", "d", True, False, None, None)]},
            {"index": [("i", "t", "d", True, True, None, None)]},
        ),
        (
            {"index": [("i", "t", "d", True, False, None, None)]},
            {"index": [("i", "t", "d", True, False, None, "")]},
        ),
    ],
)
def test_what_could_be_passed_over_is_seen(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert fingerprint(answers(**one).entries) != fingerprint(answers(**other).entries)


def test_numbers_are_no_empty_values() -> None:
    """0 equals False in Python; a sequence that starts at 0 is another one than a sequence that does not say."""
    assert catalog._compact(a=0, b=False, c=None, d="", e=[], f=0.0, g=[0]) == {"a": 0, "f": 0.0, "g": [0]}
