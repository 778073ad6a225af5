"""Differences between catalogs: what counts as one, and how a person reads it."""

import time
from typing import Any

import pytest
from ansible.module_utils.rollout.catalog import Catalog, Entry
from ansible.module_utils.rollout.diff import (
    Change,
    Difference,
    as_text,
    changes,
    compare,
    extras,
    listing,
    occupied_by,
    summary,
)

MANAGED: dict[str, Entry] = {
    "table bookings": {"owner": "gen_user"},
    "column bookings.cost": {"position": 1, "type": "numeric(10,2)"},
    "index bookings_cost": {
        "table": "bookings",
        "definition": "CREATE INDEX bookings_cost ON bookings (cost)",
    },
    "function f(integer)": {"definition": "one"},
}


def found(live: dict[str, Entry], grows: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    return [(d.object, d.kind) for d in compare(MANAGED, MANAGED, Catalog(live), grows)]


# --- what counts


def test_equal_catalogs_do_not_differ() -> None:
    assert found(dict(reversed(MANAGED.items()))) == []
    assert (
        found(
            {**MANAGED, "table other": {}, "column other.x": {}, "index i": {"table": "other"}, "view v": {}}
        )
        == []
    )


def test_differences_come_sorted_with_what_is_too_many_last() -> None:
    live = {
        "table bookings": {"owner": "postgres"},
        "view bookings_cost": {"definition": "x"},
        "function f(integer)": {"definition": "two"},
        "trigger bookings.more": {},
        "comment on function f(integer)": {"text": "x"},
    }
    assert found(live) == [
        ("column bookings.cost", "missing"),
        ("function f(integer)", "changed"),
        ("index bookings_cost", "occupied"),
        ("table bookings", "changed"),
        ("comment on function f(integer)", "extra"),
        ("trigger bookings.more", "extra"),
    ]


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("column bookings.more", {}),
        ("constraint bookings.more", {}),
        ("trigger bookings.more", {}),
        ("policy bookings.more", {}),
        ("index more", {"table": "bookings"}),
        ("sequence more", {"owned_by": "bookings.cost"}),
        ("statistics more", {"table": "bookings"}),
        ("function f()", {}),
        ("function f(integer, text)", {}),
        ("comment on table bookings", {}),
        ("comment on column bookings.cost", {}),
        ("comment on index bookings_cost", {}),
        ("comment on function f(integer)", {}),
        ("table bookings_2025", {"parent": "bookings"}),
    ],
)
def test_what_was_added_to_managed_objects_counts(name: str, entry: Entry) -> None:
    assert found({**MANAGED, name: entry}) == [(name, "extra")]
    # Of what migrations only altered, additions do not count.
    assert extras(MANAGED, (), Catalog({**MANAGED, name: entry})) == []


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("column bookings2.more", {}),
        ("index more", {"table": "bookings2"}),
        ("index more", {"table": "bookings", "parent": "more_of_all"}),  # told with the partitioned index
        ("sequence more", {}),
        ("function ff(integer)", {}),
        ("comment on table bookings2", {}),
        ("table bookings2", {}),
        ("table bookings_2025", {"parent": "bookings2"}),
        ("type bookings2", {}),
        ("view more", {}),
    ],
)
def test_what_stands_beside_them_does_not(name: str, entry: Entry) -> None:
    assert found({**MANAGED, name: entry}) == []


def test_partitions_of_a_table_that_grows_do_not_count() -> None:
    live = {
        **MANAGED,
        "table p": {"parent": "bookings"},
        "column p.x": {},
        "index p_x": {"table": "p", "parent": "bookings_cost"},
        "constraint p.c": {},
    }
    assert found(live, ("bookings",)) == []
    assert found(live, ("messages",)) == [("table p", "extra")]


@pytest.mark.parametrize(
    ("name", "occupant"),
    [
        ("table t", "view t"),
        ("table t", "sequence t"),
        ("table t", "index t"),
        ("table t", "foreign table t"),
        ("table t", "type t"),
        ("view t", "table t"),
        ("view t", "type t"),
        ("foreign table t", "table t"),
        ("foreign table t", "type t"),
        ("index t", "table t"),
        ("index t", "sequence t"),
        ("sequence t", "index t"),
        ("type t", "table t"),
        ("type t", "view t"),
        ("type t", "foreign table t"),
    ],
)
def test_relations_share_their_names(name: str, occupant: str) -> None:
    assert occupied_by(name, Catalog({occupant: {}})) == occupant


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("table t", "table t"),
        ("table t", "table tt"),
        ("table t", "function t()"),
        ("table t", "column t.t"),
        ("index t", "type t"),  # an enum's name is no relation's
        ("sequence t", "type t"),
        ("type t", "index t"),
        ("function t()", "table t"),
        ("column t.t", "table t"),
        ("trigger t.t", "table t"),
        ("statistics t", "table t"),
        ("comment on table t", "view t"),
    ],
)
def test_other_things_do_not(name: str, other: str) -> None:
    assert occupied_by(name, Catalog({other: {}})) is None


# --- how it reads


def test_a_person_reads_it_column_by_column() -> None:
    expected: dict[str, Entry] = {
        "table bookings": {"owner": "gen_user"},
        "column bookings.cost": {"position": 3, "type": "numeric(10,2)", "not_null": True},
        "column bookings.note": {"position": 4, "type": "text"},
        "index idx_cost": {"table": "bookings", "definition": "CREATE INDEX idx_cost ON bookings (cost)"},
        "table messages_2025_11": {
            "parent": "messages",
            "bounds": "FOR VALUES FROM ('2025-11-01') TO ('2025-12-01')",
        },
        "trigger bookings.touch": {"definition": "CREATE TRIGGER touch", "state": "enabled"},
    }
    live: dict[str, Entry] = {
        "table bookings": {"owner": "gen_user"},
        "column bookings.cost": {"position": 3, "type": "integer", "default": "0"},
        "sequence idx_cost": {"type": "bigint"},
        "table messages_2025_11": {
            "parent": "messages",
            "bounds": "FOR VALUES FROM ('2025-11-01') TO ('2026-01-01')",
        },
        "trigger bookings.touch": {"definition": "CREATE TRIGGER touch", "state": "disabled"},
        "index more": {"table": "bookings"},
    }
    assert as_text(compare(expected, expected, Catalog(live))) == (
        "column bookings.cost: differs\n"
        "  - default: 0\n"
        "  + default: (none)\n"
        "  - not_null: (none)\n"
        "  + not_null: True\n"
        "  - type: integer\n"
        "  + type: numeric(10,2)\n"
        "column bookings.note: missing\n"
        "index idx_cost: its name is taken by sequence idx_cost\n"
        "table messages_2025_11: differs\n"
        "  - bounds: FOR VALUES FROM ('2025-11-01') TO ('2026-01-01')\n"
        "  + bounds: FOR VALUES FROM ('2025-11-01') TO ('2025-12-01')\n"
        "trigger bookings.touch: differs\n"
        "  - state: disabled\n"
        "  + state: enabled\n"
        "index more: is not part of any migration"
    )


BODY = (
    "CREATE OR REPLACE FUNCTION f()\n RETURNS trigger\nAS $$\nBEGIN\n"
    "    NEW.updated_at = now();\n    RETURN NEW;\nEND;\n$$\n"
)


def body_text(observed: str | None, expected: str | None = BODY) -> list[str]:
    expected_entry = {} if expected is None else {"definition": expected}
    observed_entry = {} if observed is None else {"definition": observed}
    return as_text([Difference("function f()", "changed", expected_entry, observed_entry)]).split("\n")


def test_of_a_long_text_only_the_lines_that_differ_are_shown() -> None:
    assert body_text(BODY.replace("now()", "'2000-01-01'").replace("    RETURN NEW;\n", "")) == [
        "function f(): differs",
        "    definition:",
        "      -     NEW.updated_at = '2000-01-01';",
        "      +     NEW.updated_at = now();",
        "      +     RETURN NEW;",
    ]


def test_a_text_that_is_gone_or_new_is_shown_whole() -> None:
    assert [line[:7] for line in body_text(None)[2:]] == ["      +"] * BODY.count("\n") + ["      +"]
    assert [line[:7] for line in body_text(BODY, None)[2:]] == ["      -"] * BODY.count("\n") + ["      -"]
    assert body_text("one line")[2] == "      - one line"


@pytest.mark.parametrize(
    ("observed", "shown"),
    [
        (BODY.replace("BEGIN\n", "BEGIN\r\n"), ["      - BEGIN\\r", "      + BEGIN"]),
        (BODY.removesuffix("\n"), ["      + "]),
        (BODY.replace("BEGIN", "BEGIN "), ["      - BEGIN ", "      + BEGIN"]),
        (BODY.replace("    RETURN", "\tRETURN"), ["      - \tRETURN NEW;", "      +     RETURN NEW;"]),
    ],
)
def test_white_space_that_differs_is_shown(observed: str, shown: list[str]) -> None:
    assert body_text(observed)[2:] == shown


def test_lines_that_look_like_a_diffs_own_are_shown() -> None:
    """-- begins a comment in SQL, @@ is an operator."""
    shown = body_text("a\n-- one\n@@ two\n+++ three\nz", "a\n--- four\nz")[2:]
    assert shown == ["      - -- one", "      - @@ two", "      - +++ three", "      + --- four"]


def test_a_body_that_was_replaced_altogether_is_told_in_no_time() -> None:
    one, other = (
        "".join(f"  line {n} of {word} {n * n}\n" for n in range(2000)) for word in ("this", "that")
    )
    began = time.perf_counter()
    assert len(body_text(one, other)) == 4002
    assert time.perf_counter() - began < 1


def test_nothing_reads_as_nothing() -> None:
    assert as_text([]) == ""


def test_a_machine_reads_what_differs_and_not_the_rest() -> None:
    difference = Difference(
        "column t.a", "changed", {"type": "text", "position": 1}, {"type": "bytea", "position": 1}
    )
    assert difference.as_json() == {
        "object": "column t.a",
        "kind": "changed",
        "attributes": {"type": {"expected": "text", "observed": "bytea"}},
    }
    assert Difference("table t", "missing", {"owner": "a"}, None).as_json()["attributes"] == {}


def test_a_listing_shows_what_would_be_created() -> None:
    entries: dict[str, Entry] = {
        "function f()": {"definition": "BEGIN\nEND", "owner": "gen_user", "grants": ["x"]},
        "column t.a": {"position": 1, "type": "text", "not_null": True},
        "comment on table t": {"text": "why"},
    }
    assert listing(entries) == (
        "column t.a\n"
        "    not_null: True\n"
        "    type: text\n"
        "comment on table t\n"
        "    text: why\n"
        "function f()\n"
        "    definition: BEGIN\n"
        "      END\n"
    )
    assert listing({}) == ""


# --- changes


def test_changes_are_whatever_differs_between_two_readings() -> None:
    before = Catalog({"table a": {"owner": "x"}, "table b": {"owner": "x"}, "table c": {"owner": "x"}})
    after = Catalog({"table a": {"owner": "x"}, "table b": {"owner": "y"}, "table d": {"owner": "x"}})
    assert changes(before, after) == [
        Change("table b", {"owner": "x"}, {"owner": "y"}),
        Change("table c", {"owner": "x"}, None),
        Change("table d", None, {"owner": "x"}),
    ]
    assert [change.action for change in changes(before, after)] == ["altered", "dropped", "created"]
    assert changes(after, after) == []


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ([], "nothing"),
        (["table a"], "created 1 table"),
        (["table a", "table b", "index i", "index j"], "created 2 indexes, 2 tables"),
        (["policy a.x", "policy a.y", "statistics s", "statistics r"], "created 2 policies, 2 statistics"),
        (["comment on table a", "comment on index i"], "created 2 comments"),
        (["foreign table a", "foreign table b", "table c"], "created 2 foreign tables, 1 table"),
    ],
)
def test_a_summary_counts_kinds(names: list[str], told: str) -> None:
    assert summary([Change(name, None, {}) for name in names]) == told


def test_a_summary_tells_created_altered_and_dropped_apart() -> None:
    some: list[Any] = [
        Change("table a", {}, None),
        Change("function f()", {}, {"x": 1}),
        Change("table b", None, {}),
    ]
    assert summary(some) == "created 1 table; altered 1 function; dropped 1 table"
