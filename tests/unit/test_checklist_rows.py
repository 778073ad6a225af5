"""Sample rows as SQL: keys, references, literals; and one verdict of many observations."""

from typing import Any

import pytest
from ansible.module_utils.rollout.checklist_behaviour import base_type, same_rows
from ansible.module_utils.rollout.checklist_measures import bounds
from ansible.module_utils.rollout.checklist_rows import Rows, SampleError, text_literal
from ansible.module_utils.rollout.checklist_samples import Samples
from ansible.module_utils.rollout.checklist_shape import Shape, read
from ansible.module_utils.rollout.checklist_verdict import MOST_LINES, Judgement

RECORDED: dict[str, Any] = {
    "table parents": {},
    "column parents.id": {"type": "bigint", "not_null": True, "identity": "always"},
    "column parents.name": {"type": "text"},
    "constraint parents.parents_pkey": {"definition": "PRIMARY KEY (id)"},
    "table children": {},
    "column children.id": {
        "type": "integer",
        "not_null": True,
        "default": "nextval('children_id_seq'::regclass)",
    },
    "column children.parent": {"type": "bigint", "not_null": True},
    "column children.guest": {"type": "text"},
    "column children.tags": {"type": "text[]"},
    "column children.body": {"type": "jsonb"},
    "constraint children.children_pkey": {"definition": "PRIMARY KEY (id)"},
    "constraint children.children_parent_fkey": {"definition": "FOREIGN KEY (parent) REFERENCES parents(id)"},
    "constraint children.children_guest_fkey": {"definition": "FOREIGN KEY (guest) REFERENCES strangers(id)"},
}
SHAPE: Shape = read(RECORDED, set(RECORDED))
SAMPLES = Samples(
    rows={"parents": {"name": "x"}, "children": {"tags": ["a'b", None], "body": {"json": {"ё": 1}}}}
)


def rows(pid: int = 7, **parts: Any) -> Rows:
    return Rows(SHAPE, Samples(**{"rows": SAMPLES.rows, **parts}), pid)


def test_keys_and_references_are_filled_in() -> None:
    found = rows()
    parent = found.row("parents")["id"]
    assert int(parent) < -100_000_000
    assert found.row("children")["parent"] == parent
    # A column that may be NULL does not refer to what nobody made.
    assert "guest" not in found.row("children")
    assert found.row("children")["id"] not in (parent, found.another("children")["id"])
    assert found.row("children")["tags"] == "ARRAY['a''b', NULL]::text[]"
    assert found.row("children")["body"] == """'{"ё": 1}'::jsonb"""
    assert (
        found.insert("parents", {"id": "1"})
        == 'INSERT INTO "parents" ("id") OVERRIDING SYSTEM VALUE VALUES (1)'
    )
    assert found.where("parents") == f'"id" = {parent}'
    assert found.order() == ["parents", "children"]
    assert found.order(["children"]) == ["parents", "children"]


def test_numbers_are_of_this_session_and_of_their_own_kind() -> None:
    one = rows(1)
    numbers = [*(one.free(n) for n in (1, 200, 450)), one.nobody]
    numbers += [int(one.row(table)["id"]) for table in SHAPE.tables]
    numbers += [int(one.another(table)["id"]) for table in SHAPE.tables]
    assert len(set(numbers)) == len(numbers)
    assert all(-(2**31) <= number < -100_000_000 for number in numbers)
    assert all(rows(pid).nobody >= -(2**31) for pid in (199_999, 4_194_304))
    assert rows(2).free(1) not in range(min(numbers), max(numbers) + 1)
    shifted = rows(rows={**SAMPLES.rows, "parents": {"id": {"free": 3}}})
    assert int(shifted.row("parents")["id"]) - int(shifted.another("parents")["id"]) == 250


def test_placeholders() -> None:
    found = rows()
    parent = found.row("parents")["id"]
    text = """SELECT {parents.id}, {free.2}, '{"a": 1}', '{a.b}'::text[]"""
    with pytest.raises(SampleError, match="a has no row in the samples"):
        found.fill(text)
    assert found.fill(text.replace("{a.b}", "{a}")) == (
        f"""SELECT {parent}, {found.free(2)}, '{{"a": 1}}', '{{a}}'::text[]"""
    )
    with pytest.raises(SampleError, match=r"\{children.guest\}, which the row of children does not give"):
        found.fill("{children.guest}")


def test_what_cannot_be_written_says_why() -> None:
    assert rows(rows={"children": {}}).why_not("children") == "parents has no row in the samples"
    assert rows(rows={}).why_not("parents") == "parents has no row in the samples"
    locked = Rows(SHAPE, SAMPLES, 1, {"parents": "parents has a trigger"})
    assert locked.why_not("children") == "parents has a trigger"
    assert locked.order() == []
    # Given on purpose, it need not be filled in.
    assert rows(rows={"children": {"parent": 5}}).why_not("children") == ""


def test_tables_that_refer_to_each_other_in_a_circle() -> None:
    recorded: dict[str, Any] = {}
    for table, other in (("a", "b"), ("b", "a")):
        recorded[f"table {table}"] = {}
        recorded[f"column {table}.id"] = {
            "type": "integer",
            "default": f"nextval('{table}_id_seq'::regclass)",
        }
        recorded[f"column {table}.{other}"] = {"type": "integer"}
        recorded[f"constraint {table}.k"] = {"definition": f"FOREIGN KEY ({other}) REFERENCES {other}(id)"}
    shape = read(recorded, set(recorded))
    found = Rows(shape, Samples(rows={"a": {}, "b": {}}), 1)
    assert found.why_not("a") == found.why_not("b") == ""
    assert found.row("a")["b"] == found.row("b")["id"]
    # One of the two has to go first, without its reference.
    found = Rows(shape, Samples(rows={"a": {}, "b": {"a": None}}), 1)
    assert found.row("b")["a"] == "NULL"
    assert found.order() == ["b", "a"]


@pytest.mark.parametrize(
    ("type_name", "default"),
    [("smallint", "nextval('t_n_seq'::regclass)"), ("text", "('A-'::text || nextval('t_n_seq'::regclass))")],
)
def test_no_default_may_move_a_sequence(type_name: str, default: str) -> None:
    shape = read({"table t": {}, "column t.n": {"type": type_name, "default": default}}, {"table t"})
    assert "t.n takes its value from a sequence" in Rows(shape, Samples(rows={"t": {}}), 1).why_not("t")
    assert Rows(shape, Samples(rows={"t": {"n": "-1"}}), 1).why_not("t") == ""


def test_a_column_that_nobody_made_is_refused_each_time() -> None:
    found = rows(rows={"parents": {"nick": "x"}})
    for _ in range(2):
        with pytest.raises(SampleError, match=r"parents.nick, which no migration in force made"):
            found.row("parents")


def test_a_row_without_key_cannot_be_found() -> None:
    shape = read({"table t": {}, "column t.a": {"type": "text"}}, {"table t"})
    with pytest.raises(SampleError, match="t has no primary key"):
        Rows(shape, Samples(rows={"t": {"a": "x"}}), 1).where("t")


@pytest.mark.parametrize(
    ("text", "literal"), [("a", "'a'"), ("it's", "'it''s'"), ("a\\b'c", "E'a\\\\b''c'"), ("", "''")]
)
def test_texts_are_quoted(text: str, literal: str) -> None:
    assert text_literal(text) == literal


@pytest.mark.parametrize(
    ("printed", "base"),
    [
        ("numeric(5,2)", "numeric"),
        ("character varying(20)", "character varying"),
        ("text[]", "text[]"),
        ("timestamp(3) without time zone", "timestamp without time zone"),
    ],
)
def test_types_without_their_length(printed: str, base: str) -> None:
    assert base_type(printed) == base


def test_rows_are_compared_by_value_and_order() -> None:
    assert same_rows([{"a": 1500.0, "b": None}], [{"a": 1500, "b": None}])
    assert not same_rows([{"a": "1500"}], [{"a": 1500}])
    assert not same_rows([{"a": 1}, {"a": 2}], [{"a": 2}, {"a": 1}])
    assert not same_rows([], [{"a": 1}])


@pytest.mark.parametrize(
    ("demand", "expected"),
    [(12, (12, None)), ({"at_least": 2, "at_most": 3}, (2, 3)), ({"at_most": 3}, (0, 3)), ("5", (5, None))],
)
def test_demands_of_rows(demand: Any, expected: tuple[int, int | None]) -> None:
    assert bounds(demand) == expected


def test_the_worst_counts_and_all_are_told() -> None:
    judgement = Judgement("all is well")
    assert (judgement.verdict("it is").status, judgement.verdict("it is").observed) == ("passed", "it is")
    judgement.leave("not asked", "Ask.")
    assert judgement.verdict("it is").status == "not_tested"
    judgement.warn("odd", "Look.")
    assert judgement.verdict("it is").status == "warning"
    judgement.fail("bad", "Look.")
    verdict = judgement.verdict("it is", number=1)
    assert (verdict.status, verdict.expected, verdict.hint) == ("failed", "all is well", "Ask. Look.")
    assert verdict.observed == "bad\nodd\nnot asked"
    assert verdict.evidence == {
        "number": 1,
        "failed": ["bad"],
        "warning": ["odd"],
        "not_tested": ["not asked"],
    }


def test_what_is_too_long_is_counted() -> None:
    judgement = Judgement("")
    for number in range(MOST_LINES + 3):
        judgement.fail(f"line {number}")
    verdict = judgement.verdict("")
    assert verdict.observed.splitlines()[-1] == "and 3 more"
    assert len(verdict.evidence["failed"]) == MOST_LINES + 3
