"""Keys, foreign keys, checks and triggers as read from recorded definitions; redundant indexes."""

from typing import Any

import pytest
from ansible.module_utils.rollout.checklist_shape import (
    Check,
    ForeignKey,
    Shape,
    Trigger,
    UniqueKey,
    index_parts,
    names,
    read,
    redundant_indexes,
)


def shape(*constraints: str, **entries: Any) -> Shape:
    """What is recorded of table t with columns a, b and "c d", and these constraints."""
    recorded: dict[str, Any] = {
        "table t": {},
        "column t.a": {"type": "integer"},
        "column t.b": {"type": "text"},
        "column t.c d": {"type": "text"},
        **{f"constraint t.k{number}": {"definition": text} for number, text in enumerate(constraints)},
        **entries,
    }
    return read(recorded, set(recorded))


@pytest.mark.parametrize(
    ("columns", "refers", "expected"),
    [
        ("a", "p(id)", (("a",), "p", ("id",), "NO ACTION")),
        ("a", "p(id) ON DELETE CASCADE", (("a",), "p", ("id",), "CASCADE")),
        ("a", "p(id) ON UPDATE CASCADE ON DELETE RESTRICT NOT VALID", (("a",), "p", ("id",), "RESTRICT")),
        ('a, "c d"', '"P x"(x, y) ON DELETE SET NULL (a)', (("a", "c d"), "P x", ("x", "y"), "SET NULL")),
        ("a", "s.p(id) ON DELETE SET DEFAULT DEFERRABLE", (("a",), "s.p", ("id",), "SET DEFAULT")),
    ],
)
def test_foreign_keys(columns: str, refers: str, expected: tuple[Any, ...]) -> None:
    found = shape(f"FOREIGN KEY ({columns}) REFERENCES {refers}").foreign_keys
    assert found == (ForeignKey("k0", "t", *expected),)


def test_keys() -> None:
    found = shape(
        "PRIMARY KEY (a)",
        'UNIQUE (b, "c d")',
        "UNIQUE NULLS NOT DISTINCT (b)",
        "EXCLUDE USING gist (b WITH &&)",
        **{
            "index k0": {"table": "t", "definition": "CREATE UNIQUE INDEX k0 ON s.t USING btree (a)"},
            "index own": {
                "table": "t",
                "definition": 'CREATE UNIQUE INDEX own ON s.t USING btree (lower(b), "c d") WHERE (a > 0)',
            },
            "index plain": {"table": "t", "definition": "CREATE INDEX plain ON s.t USING btree (b)"},
        },
    )
    assert found.unique_keys == (
        UniqueKey("k0", "t", ("a",), primary=True),
        UniqueKey("k1", "t", ("b", "c d")),
        UniqueKey("k2", "t", ("b",)),
        UniqueKey("k3", "t", ("b", "c d"), sqlstate="23P01"),
        UniqueKey("own", "t", ("b", "c d")),
    )
    assert found.primary_key("t") == ("a",)
    assert found.primary_key("u") == ()


def test_the_columns_of_a_check_are_those_that_stand_outside_quotes() -> None:
    text = "CHECK ((((a > 0) AND (\"c d\" <> 'b'::text)) OR (ab IS NULL)))"
    assert shape(text).checks == (Check("k0", "t", text, ("a", "c d")),)


def test_triggers_and_functions() -> None:
    found = shape(
        **{
            "trigger t.touch": {
                "definition": "CREATE TRIGGER touch BEFORE UPDATE ON s.t FOR EACH ROW EXECUTE FUNCTION f()"
            },
            "trigger t.odd": {
                "definition": "CREATE TRIGGER odd BEFORE UPDATE ON s.t FOR EACH ROW EXECUTE FUNCTION \"F g\"('x')"
            },
            "function f()": {"returns": "trigger"},
            "function g(integer)": {"returns": "bigint"},
        }
    )
    assert found.triggers == (Trigger("odd", "t", "F g()"), Trigger("touch", "t", "f()"))
    assert found.functions == ("f()", "g(integer)")
    assert found.trigger_functions == {"f()"}


def test_partitions_and_what_others_made_are_set_aside() -> None:
    recorded: dict[str, Any] = {
        "table t": {"partition_key": "RANGE (a)"},
        "table t_1": {"parent": "t"},
        "column t_1.a": {"type": "integer"},
        "constraint t_1.c": {"definition": "CHECK ((a > 0))"},
        "constraint old.c": {"definition": "CHECK ((a > 0))"},
    }
    found = read(recorded, {"table t", "table t_1", "constraint t_1.c", "constraint old.c"})
    assert set(found.tables) == {"t"}
    assert found.partitions == {"t_1"}
    assert found.partitioned == {"t": "RANGE (a)"}
    assert found.checks == ()
    assert found.elsewhere == ("constraint old.c",)


def test_names_are_split_outside_quotes() -> None:
    assert names('a, "b, ""c""", d') == ("a", 'b, "c"', "d")


def test_an_index_is_taken_apart() -> None:
    found = index_parts(
        "CREATE UNIQUE INDEX \"i (x\" ON ONLY s.t USING btree (a DESC, coalesce(b, ')'::text)) INCLUDE (c)"
        " WITH (fillfactor='70') WHERE (a > 1)"
    )
    assert (found.unique, found.method) == (True, "btree")
    assert found.keys == ("a DESC", "coalesce(b, ')'::text)")
    assert found.rest == "INCLUDE (c) WITH (fillfactor='70')"
    assert found.where == "(a > 1)"


@pytest.mark.parametrize(
    ("indexes", "expected"),
    [
        ({"i": "btree (a)", "u": "UNIQUE btree (a, b)"}, {"i": "u"}),
        ({"i": "btree (a, b)", "u": "UNIQUE btree (a, b)"}, {"i": "u"}),
        ({"i": "btree (a)", "j": "btree (a)"}, {"j": "i"}),
        ({"i": "btree (a)", "j": "btree (a, b)"}, {"i": "j"}),
        # Each of these serves something that the other does not.
        ({"i": "btree (b)", "u": "UNIQUE btree (a, b)"}, {}),
        ({"u": "UNIQUE btree (a)", "v": "UNIQUE btree (a, b)"}, {}),
        ({"i": "btree (a) WHERE (b > 1)", "j": "btree (a)"}, {}),
        ({"i": "btree (a)", "j": "btree (a) WHERE (b > 1)"}, {}),
        ({"i": "btree (a)", "j": "btree (a DESC, b)"}, {}),
        ({"i": "brin (a)", "j": "btree (a)"}, {}),
        ({"i": "btree (a) INCLUDE (c)", "j": "btree (a, b)"}, {}),
        ({"i": "btree (a)", "other.j": "btree (a)"}, {}),
    ],
)
def test_redundant_indexes(indexes: dict[str, str], expected: dict[str, str]) -> None:
    entries = {}
    for label, text in indexes.items():
        table, _, name = label.rpartition(".")
        unique, bare = ("UNIQUE ", text.removeprefix("UNIQUE ")) if text.startswith("UNIQUE") else ("", text)
        definition = f"CREATE {unique}INDEX {name} ON s.{table or 't'} USING {bare}"
        entries[f"index {name}"] = {"table": table or "t", "definition": definition}
    assert redundant_indexes(entries, {"t", "other"}) == expected
    assert redundant_indexes(entries, set()) == {}
