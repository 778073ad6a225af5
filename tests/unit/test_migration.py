"""A migration on its way: what is packed comes out again, and the schema's name goes in."""

import dataclasses
import json

import pytest
from ansible.module_utils.rollout.migration import (
    SCHEMA_PLACEHOLDER,
    Migration,
    Statement,
    dump,
    in_schema,
    parse,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from pglast import parse_sql

TEXT = f'CREATE TABLE "{SCHEMA_PLACEHOLDER}".t (a text DEFAULT \'я; "{SCHEMA_PLACEHOLDER}"\')'
STATEMENT = Statement(
    text=TEXT,
    template="0001_x/010.sql.j2",
    line=3,
    kind="CreateStmt",
    creates=("table t",),
    transactional=True,
    rehearsal_text=TEXT,
)
MIGRATION = Migration(
    id="0001",
    name="x",
    description="Invented.",
    checksum="c" * 64,
    source_sha256="s" * 64,
    statements=(STATEMENT, dataclasses.replace(STATEMENT, text="SELECT 1", line=9, creates=())),
    depends=("0000",),
    existing_tables=("whatsapp_auth",),
    locks={"whatsapp_auth": "SHARE"},
    grows=("messages",),
    creates={"tables": ["t"]},
    variables={"n": 1, "zone": "UTC"},
)


def test_what_is_packed_comes_out_again() -> None:
    bare = Migration("0002", "y", "", "c", "s", (STATEMENT,))
    assert parse(dump([MIGRATION, bare])) == [MIGRATION, bare]
    assert parse(dump([])) == []


@settings(max_examples=50, deadline=None)
@given(st.text(), st.text())
def test_any_text_survives_the_journey(text: str, name: str) -> None:
    packed = dataclasses.replace(
        MIGRATION,
        statements=(dataclasses.replace(STATEMENT, text=text, creates=(name,)),),
        variables={name: text},
    )
    assert parse(json.loads(json.dumps(dump([packed])))) == [packed]


def test_names_for_people() -> None:
    assert MIGRATION.label == "0001_x"
    assert STATEMENT.place == "0001_x/010.sql.j2:3"


@pytest.mark.parametrize("schema", ["public", "Salon One", "салон"])
def test_the_schema_goes_wherever_the_placeholder_stands(schema: str) -> None:
    assert in_schema(TEXT, schema) == f'CREATE TABLE "{schema}".t (a text DEFAULT \'я; "{schema}"\')'
    assert in_schema("SELECT '@schema'", schema) == "SELECT '@schema'"


def test_the_whole_is_a_script_that_a_person_can_run() -> None:
    script = MIGRATION.sql("public")
    assert SCHEMA_PLACEHOLDER not in script
    assert len(parse_sql(script)) == 2
    assert script.endswith("SELECT 1;\n\n")
