"""Verdicts, the sentence and the gate, without a database; the catalog's part of the proof."""

import pytest
from ansible.module_utils.rollout.audit.chain import Chain, Known, Literal, Parameter, Payload, PayloadColumn
from ansible.module_utils.rollout.audit.live_schema import Check, ColumnFacts, LiveSchema, TableFacts
from ansible.module_utils.rollout.audit.proof import prepare_case
from ansible.module_utils.rollout.audit.proof_catalog import check_queries, empty_columns, missing
from ansible.module_utils.rollout.audit.proof_result import (
    FAILS,
    RUNS,
    UNKNOWN,
    CallsWouldFail,
    Lack,
    Problem,
    Proof,
    gate,
    verdict,
)
from ansible.module_utils.rollout.audit.translate import translate
from ansible.module_utils.rollout.audit.translate_draft import Use
from ansible.module_utils.rollout.audit.translate_result import Translation

PROBLEM = Problem("42703", "table t has no column c", "t", "c")
SCHEMA = LiveSchema(
    "public",
    {
        "t": TableFacts(
            {
                "id": ColumnFacts("integer", not_null=True, filled=True),
                "kind": ColumnFacts("text", not_null=True),
                "size": ColumnFacts("integer"),
                "list": ColumnFacts("text[]"),
                "data": ColumnFacts("jsonb"),
            },
            checks=(
                Check("sizes", ("size",), "(size > 0)"),
                Check("both", ("size", "kind"), "((size > 0) OR (kind = 'x'::text))"),
            ),
        )
    },
)


def written(operation: str, *columns: PayloadColumn) -> Translation:
    chain = Chain("a.js", 1, 1, Known("t"), operation, "exact", payload=Payload(columns))
    (translation,) = translate(chain, SCHEMA)
    return translation


def column(name: str, value: object = None, conditional: bool = False) -> PayloadColumn:
    shown = Parameter(name) if value is None else Literal(None if value == "null" else value)
    return PayloadColumn(name, shown, conditional)


@pytest.mark.parametrize(
    ("problems", "unknown", "outcome"),
    [([], [], RUNS), ([], ["x"], UNKNOWN), ([PROBLEM], [], FAILS), ([PROBLEM], ["x"], FAILS)],
)
def test_one_problem_is_enough(problems: list[Problem], unknown: list[str], outcome: str) -> None:
    assert verdict(problems, unknown).outcome == outcome


def test_what_is_said_twice_is_said_once() -> None:
    found = verdict([PROBLEM, PROBLEM], ["x", "x"])
    assert (found.problems, found.unknown) == ((PROBLEM,), ("x",))


def test_the_sentence_counts_what_counts() -> None:
    verdicts = (verdict([PROBLEM], []), verdict([], []), verdict([], ["x"]), verdict([PROBLEM], []))
    proof = Proof("public", verdicts, (True, True, True, False))
    assert proof.sentence == "1 of 3 calls of the code would fail on this schema; of 1 it is not known."
    assert proof.as_json()["counts"] == {RUNS: 1, FAILS: 1, UNKNOWN: 1}


def test_the_gate_names_the_first_lacks_and_how_many_more_there_are() -> None:
    lacks = tuple(Lack("t", "column", f"c{at}", "42703", f"no c{at}", (f"a.js:{at}",)) for at in range(32))
    proof = Proof("public", (verdict([PROBLEM], []),), (True,), lacks)
    with pytest.raises(CallsWouldFail) as stopped:
        gate(proof, "missing")
    assert "42703 no c29: a.js:29" in str(stopped.value)
    assert "no c30" not in str(stopped.value)
    assert "and 2 more" in str(stopped.value)
    assert "audit.sql" in stopped.value.hint


def test_a_missing_name_is_a_problem_and_a_present_one_is_none() -> None:
    uses = [Use("t", "id", "select"), Use("t", "*", "select"), Use("t", "", "table"), Use("t", "c", "filter")]
    assert missing(SCHEMA, uses) == [Problem("42703", "table t has no column c", "t", "c", "filter")]
    assert [
        problem.code for problem in missing(SCHEMA, [Use("u", "a", "select"), Use("u", "b", "select")])
    ] == ["42P01"]


@pytest.mark.parametrize(
    ("operation", "columns", "problems", "unknown"),
    [
        ("insert", (column("kind"),), 0, 0),
        ("insert", (column("size"),), 1, 0),
        ("upsert", (column("size"),), 1, 0),
        ("update", (column("size"),), 0, 0),
        ("insert", (column("kind", "null"),), 1, 0),
        ("update", (column("kind", "null"),), 1, 0),
        ("insert", (column("kind", conditional=True),), 0, 1),
    ],
)
def test_what_an_insert_leaves_empty(
    operation: str, columns: tuple[PayloadColumn, ...], problems: int, unknown: int
) -> None:
    found = empty_columns(SCHEMA, written(operation, *columns))
    assert (len(found.problems), len(found.unknown)) == (problems, unknown)
    assert all(problem.code == "23502" for problem in found.problems)


def test_a_check_is_looked_at_when_all_its_columns_are_literals() -> None:
    assert check_queries(SCHEMA, written("insert", column("kind", "a"), column("size"))) == []
    (only,) = check_queries(SCHEMA, written("update", column("size", 5)))
    assert only[0].name == "sizes"
    assert only[1] == """SELECT ((size > 0)) FROM (SELECT CAST('5' AS integer) AS "size") AS row"""
    assert len(check_queries(SCHEMA, written("insert", column("kind", "it's"), column("size", 5)))) == 2


def test_a_list_is_an_array_or_json_by_its_column() -> None:
    (statement,) = prepare_case(SCHEMA, written("update", column("list", ("a", 'b"')))).statements
    assert """SET "list" = '{"a","b\\""}'""" in statement.sql


@pytest.mark.parametrize(
    ("name", "type_name", "shown"),
    [
        ("data", "timestamp", """'"2024-01-01T00:00:00.000Z"'"""),
        ("kind", "Date", "'2024-01-01T00:00:00.000Z'"),
        ("size", "number", "'1'"),
        ("size", "boolean", "'true'"),
        ("size", "string", "$1"),
        ("size", "", "$1"),
    ],
)
def test_a_value_of_the_running_code_is_tried_by_its_kind(name: str, type_name: str, shown: str) -> None:
    translation = written("update", PayloadColumn(name, Parameter("value", type_name)))
    (statement,) = prepare_case(SCHEMA, translation).statements
    assert f'SET "{name}" = {shown}' in statement.sql


def test_what_names_are_missing_from_is_not_prepared() -> None:
    assert prepare_case(SCHEMA, written("insert", column("kind"), column("nowhere"))).statements == []
    assert len(prepare_case(SCHEMA, written("insert", column("kind"))).statements) == 1
