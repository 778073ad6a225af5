"""What is decided about each migration, from the ledger, the rehearsal and the live catalog."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from ansible.module_utils.rollout import plan
from ansible.module_utils.rollout.catalog import Catalog, Entry
from ansible.module_utils.rollout.diff import Change, as_text
from ansible.module_utils.rollout.errors import DriftFound, SourceError
from ansible.module_utils.rollout.ledger import EMPTY, Ledger, Row
from ansible.module_utils.rollout.migration import Migration, Statement
from ansible.module_utils.rollout.plan import Rehearsed, Verdict
from hypothesis import given, settings
from hypothesis import strategies as st

Objects = Mapping[str, Entry | None]


def statement(
    line: int = 1, creates: tuple[str, ...] = (), kind: str = "CreateStmt", late: bool = False
) -> Statement:
    return Statement("SELECT 1", "x/010.sql.j2", line, kind, creates, not late, "SELECT 1")


def migration(number: int, **parts: Any) -> Migration:
    body = {"name": "x", "description": "x", "checksum": f"sum {number}", "source_sha256": "s", **parts}
    return Migration(id=f"{number:04d}", statements=body.pop("statements", (statement(),)), **body)


def recorded(
    *migrations: tuple[Migration, Objects], unfinished: str = "", made_before: Sequence[str] = ()
) -> Ledger:
    """A ledger in which each migration left its objects as given."""
    rows, expected, owners = {}, {}, {}
    for seq, (one, objects) in enumerate(migrations, 1):
        rows[one.id] = Row(
            seq=seq,
            id=one.id,
            name=one.name,
            state="unfinished" if one.id == unfinished else "applied",
            checksum=one.checksum,
            variables=dict(one.variables),
            server_version=150000,
            applied_at="2025-11-09",
            run_id="run-1",
            grows=list(one.grows),
        )
        for name, entry in objects.items():
            expected[name], owners[name] = entry, one.id
            if entry is None:
                del expected[name], owners[name]
    made = frozenset(name for name in expected if name not in made_before)
    return Ledger(exists=True, rows=rows, expected=expected, owners=owners, made=made)  # type: ignore[arg-type]


def does(before: Objects, after: Objects, late: Sequence[str] = (), **parts: Any) -> Rehearsed:
    """What a migration does that turns ``before`` into ``after``; ``late`` names what runs outside its transaction."""
    found = [
        Change(name, before.get(name), after.get(name))
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]
    return Rehearsed(
        changes=tuple(change for change in found if change.object not in late),
        late_changes=tuple(change for change in found if change.object in late),
        **parts,
    )


def catalog(*parts: Objects) -> Catalog:
    merged = {name: entry for part in parts for name, entry in part.items()}
    return Catalog({name: entry for name, entry in merged.items() if entry is not None})


def told(verdict: Verdict) -> list[tuple[str, str]]:
    return [(difference.object, difference.kind) for difference in verdict.differences]


FIRST, SECOND = migration(1), migration(2)
TABLE: Objects = {
    "table staff": {"owner": "gen_user"},
    "column staff.id": {"position": 1, "type": "integer"},
    "index staff_id": {"table": "staff", "definition": "CREATE INDEX staff_id ON staff (id)"},
    "function f()": {"definition": "one"},
    "comment on table staff": {"text": "people"},
}
COLUMN: Objects = {"column staff.note": {"position": 2, "type": "text"}}
WIDER: Objects = {"function f()": {"definition": "two"}, **COLUMN}


def decide_first(actual: Catalog, ledger: Ledger = EMPTY, rehearsed: Rehearsed | None = None) -> Verdict:
    known = None if ledger.rows else {FIRST.id: rehearsed or does({}, TABLE)}
    (verdict,) = plan.decide([FIRST], ledger, actual, known if known is not None else {})
    return verdict


def decide_both(actual: Catalog, ledger: Ledger = EMPTY) -> list[Verdict]:
    both = {FIRST.id: does({}, TABLE), SECOND.id: does(TABLE, {**TABLE, **WIDER})}
    return plan.decide(
        [FIRST, SECOND], ledger, actual, {k: v for k, v in both.items() if k not in ledger.rows}
    )


# --- history


def test_a_ledger_that_fits_the_folder_passes() -> None:
    plan.check_history([FIRST, SECOND], recorded((FIRST, {})))
    plan.check_history([FIRST, SECOND], recorded((FIRST, {}), (SECOND, {})))
    plan.check_history([FIRST, SECOND], EMPTY)
    plan.check_history(
        [dataclasses.replace(FIRST, name="renamed", source_sha256="other")], recorded((FIRST, {}))
    )


def test_a_migration_that_is_gone_is_told() -> None:
    with pytest.raises(
        SourceError, match="0001_x was applied at 2025-11-09, but its folder is gone"
    ) as caught:
        plan.check_history([SECOND], recorded((FIRST, {}), (SECOND, {})))
    assert "Put the folder back" in caught.value.hint


def test_a_migration_that_was_renumbered_is_recognised_by_its_sql() -> None:
    moved = dataclasses.replace(FIRST, id="0007")
    with pytest.raises(SourceError, match=r"0001_x was applied .* its folder is gone") as caught:
        plan.check_history([moved], recorded((FIRST, {})))
    assert caught.value.hint == "0007_x has the same SQL: give it its old number back."


def test_a_migration_whose_sql_was_changed_is_told() -> None:
    with pytest.raises(
        SourceError, match=r"0001_x was changed .*\(run run-1\): its SQL is another one"
    ) as caught:
        plan.check_history([dataclasses.replace(FIRST, checksum="other")], recorded((FIRST, {})))
    assert caught.value.details == {"id": "0001", "recorded": "sum 1", "now": "other"}


def test_the_variable_that_changed_is_named() -> None:
    applied = migration(1, variables={"months": 6, "zone": "UTC", "gone": 1})
    changed = dataclasses.replace(
        applied, checksum="other", variables={"months": 7, "zone": "UTC", "new": True}
    )
    with pytest.raises(SourceError) as caught:
        plan.check_history([changed], recorded((applied, {})))
    assert (
        "gone was 1 and is now None; months was 6 and is now 7; new was None and is now True"
        in caught.value.message
    )
    assert "zone" not in caught.value.message


def test_a_variable_that_changed_without_a_change_of_the_sql_is_no_change() -> None:
    applied = migration(1, variables={"months": 6})
    plan.check_history([dataclasses.replace(applied, variables={"months": 7})], recorded((applied, {})))


@pytest.mark.parametrize(
    ("applied", "added", "late"),
    [
        ([2], 1, True),
        ([1, 3], 2, True),
        ([1, 2], 3, False),
        ([9999], 10000, False),
        ([9999, 10000], 10001, False),
        ([2000, 10000], 3000, True),
    ],
)
def test_a_migration_that_came_in_between_is_told(applied: list[int], added: int, late: bool) -> None:
    before = [migration(number) for number in applied]
    ledger = recorded(*[(one, {}) for one in before])
    folder = sorted([*before, migration(added)], key=lambda one: int(one.id))
    if late:
        with pytest.raises(SourceError, match=f"out of order: {added:04d}_x came after {applied[-1]:04d}"):
            plan.check_history(folder, ledger)
    else:
        plan.check_history(folder, ledger)


def test_history_is_checked_before_anything_is_decided() -> None:
    with pytest.raises(SourceError, match="gone"):
        plan.decide([SECOND], recorded((FIRST, {})), catalog(), {})


# --- one migration


def test_an_empty_schema_is_absent() -> None:
    verdict = decide_first(catalog())
    assert (verdict.state, verdict.action, verdict.pending) == (plan.ABSENT, "apply", True)
    assert verdict.missing == tuple(sorted(TABLE))
    assert verdict.standing == ()


def test_what_others_have_in_the_schema_does_not_matter() -> None:
    others: Objects = {
        "table whatsapp_auth": {"owner": "gen_user"},
        "column whatsapp_auth.id": {"type": "text"},
        "index whatsapp_i": {"table": "whatsapp_auth"},
        "function g()": {"definition": "x"},
        "trigger whatsapp_auth.g": {"definition": "x"},
        "comment on table whatsapp_auth": {"text": "x"},
        "type mood": {"kind": "enum"},
    }
    assert decide_first(catalog(others)).state == plan.ABSENT
    assert decide_first(catalog(others, TABLE)).state == plan.EQUAL
    assert decide_first(catalog(others, TABLE), recorded((FIRST, TABLE))).state == plan.APPLIED


def test_all_that_a_migration_makes_is_equal() -> None:
    verdict = decide_first(catalog(TABLE))
    assert (verdict.state, verdict.action, verdict.pending) == (plan.EQUAL, "adopt", True)
    assert verdict.standing == tuple(sorted(TABLE))
    assert verdict.missing == ()


@pytest.mark.parametrize("missing", TABLE)
def test_equal_is_not_said_when_anything_is_missing(missing: str) -> None:
    verdict = decide_first(catalog({**TABLE, missing: None}))
    assert (verdict.state, verdict.action) == (plan.PARTIAL, "complete")
    assert verdict.missing == (missing,)


@pytest.mark.parametrize("changed", TABLE)
@pytest.mark.parametrize("also_missing", [None, "function f()", "index staff_id"])
def test_anything_in_another_shape_is_drift(changed: str, also_missing: str | None) -> None:
    live = {**TABLE, changed: {**(TABLE[changed] or {}), "more": 1}}
    if also_missing and also_missing != changed:
        live[also_missing] = None
    verdict = decide_first(catalog(live))
    assert (verdict.state, verdict.action, verdict.pending) == (plan.DRIFTED, "refuse", False)
    assert (changed, "changed") in told(verdict)
    assert verdict.differences[0].attributes == [("more", None, 1)]


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("column staff.more", {"type": "text"}),
        ("index more", {"table": "staff"}),
        ("trigger staff.more", {"definition": "x"}),
        ("constraint staff.more", {"definition": "x"}),
        ("policy staff.more", {"command": "ALL"}),
        ("function f(integer)", {"definition": "x"}),
        ("sequence more", {"owned_by": "staff.id"}),
    ],
)
@pytest.mark.parametrize("in_force", [True, False])
def test_what_was_added_to_its_objects_is_drift(name: str, entry: Entry, in_force: bool) -> None:
    verdict = decide_first(catalog(TABLE, {name: entry}), recorded((FIRST, TABLE)) if in_force else EMPTY)
    assert verdict.state == plan.DRIFTED
    assert told(verdict) == [(name, "extra")]


@pytest.mark.parametrize(
    "occupant", ["view staff", "sequence staff", "index staff", "foreign table staff", "type staff"]
)
@pytest.mark.parametrize("check", [True, False])
def test_a_name_that_something_else_has_is_drift(occupant: str, check: bool) -> None:
    one = migration(1, statements=(statement(creates=("table staff",)),))
    known = None if check else {one.id: does({}, TABLE)}
    (verdict,) = plan.decide([one], EMPTY, catalog({occupant: {"owner": "x"}}), known)
    assert verdict.state == plan.DRIFTED
    assert ("table staff", "occupied") in told(verdict)
    assert f"its name is taken by {occupant}" in as_text(verdict.differences)


def test_a_migration_that_changes_rows_alone_is_absent() -> None:
    """Nothing in the catalog tells that it ran, so it must never be adopted."""
    assert decide_first(catalog(TABLE), rehearsed=does({}, {})).state == plan.ABSENT


def test_a_migration_in_force_is_applied() -> None:
    verdict = decide_first(catalog(TABLE), recorded((FIRST, TABLE)))
    assert (verdict.state, verdict.action, verdict.pending) == (plan.APPLIED, "nothing", False)


@pytest.mark.parametrize("missing", list(TABLE))
def test_applied_is_not_said_when_anything_is_missing(missing: str) -> None:
    verdict = decide_first(catalog({**TABLE, missing: None}), recorded((FIRST, TABLE)))
    assert verdict.state == plan.DRIFTED
    assert (missing, "missing") in told(verdict)


@pytest.mark.parametrize("changed", TABLE)
def test_applied_is_not_said_when_anything_differs(changed: str) -> None:
    live = {**TABLE, changed: {**(TABLE[changed] or {}), "more": 1}}
    verdict = decide_first(catalog(live), recorded((FIRST, TABLE)))
    assert (verdict.state, verdict.action) == (plan.DRIFTED, "refuse")
    assert told(verdict) == [(changed, "changed")]


@pytest.mark.parametrize("described", ["table staff", "column staff.id", "index staff_id", "function f()"])
def test_a_comment_that_nobody_recorded_belongs_to_what_it_describes(described: str) -> None:
    bare = {name: entry for name, entry in TABLE.items() if not name.startswith("comment")}
    verdict = decide_first(catalog(bare, {f"comment on {described}": {"text": "x"}}), recorded((FIRST, bare)))
    assert told(verdict) == [(f"comment on {described}", "extra")]


def test_additions_to_a_table_that_was_only_altered_are_not_ours() -> None:
    altered: Objects = {"table staff": {"owner": "gen_user", "options": ["fillfactor=90"]}}
    ledger = recorded((FIRST, altered), made_before=["table staff"])
    assert (
        decide_first(catalog(altered, COLUMN, {"index i": {"table": "staff"}}), ledger).state == plan.APPLIED
    )


# --- partitions

PARENT: Objects = {
    "table messages": {"partition_key": "RANGE (created_at)"},
    "table messages_2025_11": {"parent": "messages", "bounds": "one"},
}
NEXT: Objects = {
    "table messages_2025_12": {"parent": "messages", "bounds": "two"},
    "column messages_2025_12.id": {"type": "bigint"},
    "index messages_2025_12_pkey": {"table": "messages_2025_12"},
    "constraint messages_2025_12.messages_2025_12_pkey": {"definition": "PRIMARY KEY (id)"},
}


@pytest.mark.parametrize("in_force", [True, False])
def test_a_table_that_grows_may_have_more_partitions(in_force: bool) -> None:
    grows = migration(1, grows=("messages",))
    known = {} if in_force else {grows.id: does({}, PARENT)}
    ledger = recorded((grows, PARENT)) if in_force else EMPTY
    (verdict,) = plan.decide([grows], ledger, catalog(PARENT, NEXT), known)
    assert verdict.state == (plan.APPLIED if in_force else plan.EQUAL)


def test_a_table_that_grows_keeps_its_recorded_partitions() -> None:
    grows = migration(1, grows=("messages",))
    ledger = recorded((grows, PARENT))
    for live in (None, {"bounds": "one"}, {"parent": "messages", "bounds": "other"}):
        (verdict,) = plan.decide([grows], ledger, catalog(PARENT, {"table messages_2025_11": live}), {})
        assert verdict.state == plan.DRIFTED


@pytest.mark.parametrize("in_force", [True, False])
def test_a_table_that_does_not_grow_has_no_more_partitions(in_force: bool) -> None:
    ledger = recorded((FIRST, PARENT)) if in_force else EMPTY
    (verdict,) = plan.decide(
        [FIRST], ledger, catalog(PARENT, NEXT), {} if in_force else {FIRST.id: does({}, PARENT)}
    )
    assert verdict.state == plan.DRIFTED
    assert told(verdict) == [("table messages_2025_12", "extra")]


# --- several migrations


def test_the_chain_is_decided_in_order() -> None:
    assert [verdict.state for verdict in decide_both(catalog())] == [plan.ABSENT, plan.ABSENT]
    assert [verdict.state for verdict in decide_both(catalog(TABLE))] == [plan.EQUAL, plan.ABSENT]
    assert [verdict.state for verdict in decide_both(catalog(TABLE, COLUMN))] == [plan.EQUAL, plan.PARTIAL]
    assert [verdict.state for verdict in decide_both(catalog(TABLE, WIDER))] == [plan.EQUAL, plan.EQUAL]
    halfway = catalog({**TABLE, "index staff_id": None}, WIDER)
    assert [verdict.state for verdict in decide_both(halfway)] == [plan.PARTIAL, plan.EQUAL]


@pytest.mark.parametrize(
    ("live", "states"),
    [
        (TABLE, [plan.APPLIED, plan.ABSENT]),
        ({**TABLE, **COLUMN}, [plan.APPLIED, plan.PARTIAL]),
        ({**TABLE, "function f()": {"definition": "two"}}, [plan.APPLIED, plan.PARTIAL]),
        ({**TABLE, **WIDER}, [plan.APPLIED, plan.EQUAL]),
        # What the pending migration does not foresee is drift, of the migration that recorded it, or of its own.
        ({**TABLE, "function f()": {"definition": "three"}}, [plan.DRIFTED, plan.DRIFTED]),
        ({**TABLE, "function f()": None}, [plan.DRIFTED, plan.DRIFTED]),
        ({**TABLE, "column staff.id": {"type": "bigint"}}, [plan.DRIFTED, plan.ABSENT]),
        ({**TABLE, "column staff.note": {"type": "bytea"}}, [plan.DRIFTED, plan.DRIFTED]),
        ({**TABLE, "column staff.more": {"type": "text"}}, [plan.DRIFTED, plan.ABSENT]),
    ],
)
def test_a_recorded_object_may_be_as_a_pending_migration_will_leave_it(
    live: Objects, states: list[str]
) -> None:
    assert [verdict.state for verdict in decide_both(catalog(live), recorded((FIRST, TABLE)))] == states


def test_drift_belongs_to_the_migration_that_recorded_the_object_last() -> None:
    ledger = recorded((FIRST, TABLE), (SECOND, WIDER))
    first, second = decide_both(catalog({**TABLE, **WIDER, "function f()": {"definition": "one"}}), ledger)
    assert (first.state, second.state) == (plan.APPLIED, plan.DRIFTED)
    first, second = decide_both(catalog({**TABLE, **WIDER, "index staff_id": None}), ledger)
    assert (first.state, second.state) == (plan.DRIFTED, plan.APPLIED)


def test_what_was_dropped_is_not_asked_for_and_not_foreign_either() -> None:
    ledger = recorded((FIRST, TABLE), (SECOND, {"index staff_id": None}))
    gone, back = catalog({**TABLE, "index staff_id": None}), catalog(TABLE)
    assert [v.state for v in plan.decide([FIRST, SECOND], ledger, gone, {})] == [plan.APPLIED, plan.APPLIED]
    (first, _) = plan.decide([FIRST, SECOND], ledger, back, {})
    assert told(first) == [("index staff_id", "extra")]


# --- unfinished

LATE: Objects = {
    "index staff_note": {"table": "staff", "definition": "CREATE INDEX staff_note ON staff (note)"}
}
BUILT = does(TABLE, {**TABLE, **COLUMN, **LATE}, late=["index staff_note"])


def decide_unfinished(live: Objects, check: bool = False) -> list[Verdict]:
    """0002 committed its transaction (a column); its concurrent index is on its way."""
    second = migration(2, statements=(statement(), statement(creates=("index staff_note",), late=True)))
    ledger = recorded((FIRST, TABLE), (second, COLUMN), unfinished="0002")
    return plan.decide([FIRST, second], ledger, catalog(live), None if check else {"0002": BUILT})


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    "index", [None, LATE["index staff_note"], {**(LATE["index staff_note"] or {}), "invalid": True}]
)
def test_an_unfinished_migration_is_finished(index: Entry | None, check: bool) -> None:
    first, second = decide_unfinished({**TABLE, **COLUMN, "index staff_note": index}, check)
    assert first.state == plan.APPLIED
    assert (second.state, second.action, second.pending) == (plan.UNFINISHED, "finish", True)


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("live", "owner"),
    [
        ({"column staff.note": None}, 1),
        ({"column staff.note": {"position": 2, "type": "bytea"}}, 1),
        ({"column staff.id": {"type": "bigint"}}, 0),
        ({"column staff.more": {"type": "text"}}, 0),
    ],
)
def test_drift_of_what_is_unfinished_is_not_passed_over(live: Objects, owner: int, check: bool) -> None:
    verdicts = decide_unfinished({**TABLE, **COLUMN, **live}, check)
    assert verdicts[owner].state == plan.DRIFTED
    assert [name for name, _ in told(verdicts[owner])] == list(live)


def test_an_index_of_another_shape_is_not_taken_for_an_unfinished_one() -> None:
    first, _ = decide_unfinished(
        {**TABLE, **COLUMN, "index staff_note": {"table": "staff", "definition": "other"}}
    )
    assert told(first) == [("index staff_note", "extra")]


def test_an_invalid_index_of_a_migration_that_is_not_in_force_is_drift() -> None:
    """Somebody else's build was interrupted, or is still under way: not ours to drop."""
    invalid = {"index staff_note": {**(LATE["index staff_note"] or {}), "invalid": True}}
    verdicts = plan.decide(
        [FIRST, SECOND], recorded((FIRST, TABLE)), catalog(TABLE, COLUMN, invalid), {"0002": BUILT}
    )
    assert [verdict.state for verdict in verdicts] == [plan.DRIFTED, plan.DRIFTED]


# --- objects that look the same before and after


def test_what_a_later_migration_drops_does_not_stand_on_an_empty_schema() -> None:
    """The first makes two tables, the second drops one of them: on an empty schema neither has begun."""
    both: Objects = {"table staff": {"owner": "a"}, "table old": {"owner": "a"}}
    left: Objects = {"table staff": {"owner": "a"}}
    known = {"0001": does({}, both), "0002": does(both, left)}

    def states(live: Objects) -> list[str]:
        return [verdict.state for verdict in plan.decide([FIRST, SECOND], EMPTY, catalog(live), known)]

    assert states({}) == [plan.ABSENT, plan.ABSENT]
    assert states(both) == [plan.EQUAL, plan.ABSENT]
    # The second does nothing but drop: whether it has is seen once the first is in force.
    assert states(left) == [plan.EQUAL, plan.ABSENT]
    recorded_first = recorded((FIRST, {"table staff": {"owner": "a"}, "table old": None}))
    assert plan.decide([FIRST, SECOND], recorded_first, catalog(left), known)[1].state == plan.EQUAL
    assert states({"table old": {"owner": "a"}}) == [plan.PARTIAL, plan.ABSENT]


def test_what_is_made_and_dropped_later_alone_tells_nothing() -> None:
    old: Objects = {"table old": {"owner": "a"}}
    known = {"0001": does({}, old), "0002": does(old, {})}
    verdicts = plan.decide([FIRST, SECOND], EMPTY, catalog(), known)
    assert [verdict.state for verdict in verdicts] == [plan.ABSENT, plan.ABSENT]


def test_a_default_that_is_changed_and_changed_back_is_not_taken_for_done() -> None:
    one: Objects = {"column staff.id": {"default": "1"}}
    two: Objects = {"column staff.id": {"default": "2"}}
    known = {"0002": does(one, two), "0003": does(two, one)}
    folder, ledger = [FIRST, SECOND, migration(3)], recorded((FIRST, one))
    assert [v.state for v in plan.decide(folder, ledger, catalog(one), known)] == [
        plan.APPLIED,
        plan.ABSENT,
        plan.ABSENT,
    ]
    assert [v.state for v in plan.decide(folder, ledger, catalog(two), known)] == [
        plan.APPLIED,
        plan.EQUAL,
        plan.ABSENT,
    ]


def test_a_view_in_a_tables_place_is_no_intruder_when_a_pending_migration_puts_it_there() -> None:
    table: Objects = {"table staff": {"owner": "a"}}
    view: Objects = {"view staff": {"owner": "a"}}
    known = {"0001": does({}, table), "0002": does(table, view)}

    def states(live: Objects) -> list[str]:
        return [verdict.state for verdict in plan.decide([FIRST, SECOND], EMPTY, catalog(live), known)]

    assert states({}) == [plan.ABSENT, plan.ABSENT]
    assert states(table) == [plan.EQUAL, plan.ABSENT]
    assert states(view) == [plan.EQUAL, plan.EQUAL]
    assert states({"view staff": {"owner": "somebody"}}) == [plan.DRIFTED, plan.DRIFTED]


def test_an_object_is_named_once_also_when_both_halves_of_a_migration_change_it() -> None:
    made, detached = {"table p": {"parent": "t"}}, {"table p": {"owner": "a"}}
    body = Rehearsed(tuple(does({}, made).changes), tuple(does(made, detached).changes))
    assert decide_first(catalog(detached), rehearsed=body).standing == ("table p",)
    assert decide_first(catalog(), rehearsed=body).missing == ("table p",)
    halfway = decide_first(catalog(made), rehearsed=body)
    assert (halfway.state, halfway.missing) == (plan.PARTIAL, ("table p",))


# --- completing what stands in part

A: Entry = {"v": "a"}
B: Entry = {"v": "b"}


def steps(*changes: Sequence[Change], kinds: Sequence[str] = ()) -> tuple[Migration, list[Sequence[Change]]]:
    """A migration with one statement for each list of changes."""
    found = [statement(at + 1, kind=kinds[at] if kinds else "CreateStmt") for at in range(len(changes))]
    return migration(1, statements=tuple(found)), list(changes)


def chosen(live: Objects, *changes: Sequence[Change], kinds: Sequence[str] = ()) -> list[int]:
    one, by_statement = steps(*changes, kinds=kinds)
    found = plan.statements_to_run(one, by_statement, catalog(live))
    assert all(one.statements[at] is picked for at, picked in found)
    return [at for at, _ in found]


THREE = ([Change("x", None, A)], [Change("y", None, A)], [Change("x", A, B)])


@pytest.mark.parametrize(
    ("live", "to_run"),
    [
        ({}, [0, 1, 2]),
        ({"x": A}, [1, 2]),
        ({"x": A, "y": A}, [2]),
        ({"x": B, "y": A}, []),
        ({"x": B}, [1]),
        ({"y": A}, [0, 2]),
    ],
)
def test_only_statements_whose_effect_is_missing_are_run(live: Objects, to_run: list[int]) -> None:
    assert chosen(live, *THREE) == to_run


def test_a_statement_with_several_effects_is_run_or_not_as_a_whole() -> None:
    both = [Change("x", None, A), Change("y", None, A)]
    assert chosen({}, both) == [0]
    assert chosen({"x": A, "y": A}, both) == []
    with pytest.raises(
        DriftFound, match=r"x/010\.sql\.j2:1: its effect stands in part: x there, y missing"
    ) as caught:
        chosen({"x": A}, both)
    assert "by hand" in caught.value.hint


@pytest.mark.parametrize("kind", ["InsertStmt", "UpdateStmt", "DoStmt", "AlterTableStmt"])
def test_a_statement_that_leaves_no_trace_is_not_guessed_at(kind: str) -> None:
    with pytest.raises(DriftFound, match=rf"x/010\.sql\.j2:2: .* cannot be seen in the catalog \({kind}\)"):
        chosen({"x": A}, [Change("x", None, A)], [], kinds=["CreateStmt", kind])


@pytest.mark.parametrize("changes", [[], [Change("y", None, A)]])
@pytest.mark.parametrize("live", [{"x": A}, {"x": A, "y": A}])
def test_a_called_function_is_called_again(changes: list[Change], live: Objects) -> None:
    assert chosen(live, [Change("x", None, A)], changes, kinds=["CreateStmt", "SelectStmt"]) == [1]


def test_a_drop_is_not_run_twice() -> None:
    assert chosen({}, [Change("x", A, None)], [Change("y", None, A)]) == [1]
    assert chosen({"x": A}, [Change("x", A, None)], [Change("y", None, A)]) == [0, 1]


def test_what_a_later_migration_has_altered_already_is_not_made_again() -> None:
    """The whole chain was run by hand but for one index of the first migration."""
    one, by_statement = steps(
        [Change("table t", None, A), Change("column t.a", None, A)], [Change("index i", None, A)]
    )
    live = catalog({"table t": A, "column t.a": B})
    known = {
        "0001": does({}, {"table t": A, "column t.a": A, "index i": A}),
        "0002": does({"column t.a": A}, {"column t.a": B}),
    }
    first, second = plan.decide([one, SECOND], EMPTY, live, known)
    assert (first.state, second.state) == (plan.PARTIAL, plan.EQUAL)
    assert [at for at, _ in plan.statements_to_run(one, by_statement, live, first.standing)] == [1]
    with pytest.raises(DriftFound, match=r"table t there, column t\.a missing"):
        plan.statements_to_run(one, by_statement, live)


def test_shapes_between_are_all_but_the_last_of_each_object() -> None:
    assert plan.shapes_between(THREE) == {"x": [A]}
    assert plan.shapes_between([[Change("x", A, None)], [Change("x", None, B)], [Change("x", B, A)]]) == {
        "x": [None, B]
    }
    assert plan.shapes_between([]) == {}


@pytest.mark.parametrize("in_force", [True, False])
def test_a_migration_cut_between_two_statements_on_one_object_is_partial(in_force: bool) -> None:
    before: Objects = {"x": A} if in_force else {}
    folder, ledger = [FIRST, SECOND], recorded((FIRST, before)) if in_force else EMPTY
    after: Objects = {"x": {"v": "c"}, "y": A}
    live = catalog({"x": B})
    blind = {"0001": does({}, before), "0002": does(before, after)}
    seeing = {**blind, "0002": does(before, after, between={"x": [B]})}
    assert plan.decide(folder, ledger, live, blind)[1].state == plan.DRIFTED
    first, second = plan.decide(folder, ledger, live, seeing)
    assert (second.state, second.missing) == (plan.PARTIAL, ("x", "y"))
    assert first.state in (plan.APPLIED, plan.ABSENT, plan.EQUAL)


# --- check mode, which cannot rehearse


def by_name(live: Objects, ledger: Ledger = EMPTY) -> list[Verdict]:
    first = migration(1, statements=(statement(creates=("table staff",)), statement(creates=("function f",))))
    second = migration(
        2, statements=(statement(creates=("index staff_note",)), statement(creates=("trigger staff.g",)))
    )
    return plan.decide([first, second], ledger, catalog(live), None)


@pytest.mark.parametrize(
    ("live", "states"),
    [
        ({}, [plan.ABSENT, plan.ABSENT]),
        ({"table staff": A}, [plan.BY_NAME, plan.ABSENT]),
        ({"function f(integer)": A}, [plan.BY_NAME, plan.ABSENT]),
        ({"function ff()": A, "table staffs": A}, [plan.ABSENT, plan.ABSENT]),
        ({"table staff": A, "index staff_note": A, "trigger staff.g": A}, [plan.BY_NAME, plan.BY_NAME]),
        ({"view staff": A}, [plan.DRIFTED, plan.ABSENT]),
        ({"table staff_note": A}, [plan.ABSENT, plan.DRIFTED]),
    ],
)
def test_check_mode_compares_by_name(live: Objects, states: list[str]) -> None:
    verdicts = by_name(live)
    assert [verdict.state for verdict in verdicts] == states
    assert all(verdict.action == "complete" for verdict in verdicts if verdict.state == plan.BY_NAME)


def test_check_mode_names_what_stands_and_what_does_not() -> None:
    first, second = by_name({"table staff": A, "index staff_note": {"table": "staff"}})
    assert (first.standing, first.missing) == (("table staff",), ("function f",))
    assert (second.standing, second.missing) == (("index staff_note",), ("trigger staff.g",))


def test_check_mode_takes_nothing_for_drift_that_a_pending_migration_makes() -> None:
    table: Objects = {"table staff": A, "function f()": A}
    first = migration(1, statements=(statement(creates=("table staff",)), statement(creates=("function f",))))
    live = {**table, "index staff_note": {"table": "staff"}, "trigger staff.g": A}
    assert [v.state for v in by_name(live, recorded((first, table)))] == [plan.APPLIED, plan.BY_NAME]
    stranger = {**table, "index more": {"table": "staff"}}
    assert [v.state for v in by_name(stranger, recorded((first, table)))] == [plan.DRIFTED, plan.ABSENT]


# --- any chain, cut anywhere

NAMES = ["table a", "column a.x", "index i", "function f()", "table b", "view v"]
TABLES = {"index i": {"table": "a"}}
effects = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from([None, "1", "2", "3"])),
    min_size=1,
    max_size=3,
    unique_by=lambda e: e[0],
)
chains = st.lists(st.lists(effects, min_size=1, max_size=4), min_size=1, max_size=4)


@dataclasses.dataclass
class World:
    """A chain of migrations and the catalog after each statement."""

    migrations: list[Migration]
    rehearsed: dict[str, Rehearsed]
    by_statement: dict[str, list[list[Change]]]
    states: list[dict[str, Entry]]
    ends: list[int]


def world(chain: Sequence[Sequence[Sequence[tuple[str, str | None]]]]) -> World:
    found = World([], {}, {}, [{}], [0])
    for number, written in enumerate(chain, 1):
        begin = found.states[-1]
        by_statement: list[list[Change]] = []
        for effect in written:
            before, after = found.states[-1], dict(found.states[-1])
            for name, version in effect:
                after.pop(name, None)
                if version is not None:
                    after[name] = {"v": version, **TABLES.get(name, {})}
            changed = [Change(n, before.get(n), after.get(n)) for n in sorted({*before, *after})]
            changed = [change for change in changed if change.before != change.after]
            if changed:
                by_statement.append(changed)
                found.states.append(after)
        one = migration(number, statements=tuple(statement(at + 1) for at in range(len(by_statement))))
        found.migrations.append(one)
        found.by_statement[one.id] = by_statement
        found.rehearsed[one.id] = does(begin, found.states[-1], between=plan.shapes_between(by_statement))
        found.ends.append(len(found.states) - 1)
    return found


@settings(max_examples=300, deadline=None)
@given(chains, st.data())
def test_a_chain_cut_anywhere_is_never_taken_for_more_or_for_something_else(
    chain: Any, data: st.DataObject
) -> None:
    made = world(chain)
    in_force = data.draw(st.integers(0, len(chain)), "recorded migrations")
    cut = data.draw(st.integers(made.ends[in_force], made.ends[-1]), "statements that ran")
    history = []
    for number in range(in_force):
        left = {**dict.fromkeys(NAMES), **made.states[made.ends[number + 1]]}
        touched = {change.object for change in made.rehearsed[made.migrations[number].id].all_changes}
        history.append((made.migrations[number], {name: left[name] for name in touched}))
    ledger = recorded(*history)
    live = made.states[cut]
    pending = {one.id: made.rehearsed[one.id] for one in made.migrations[in_force:]}
    verdicts = plan.decide(made.migrations, ledger, Catalog(live), pending)

    ends = [made.states[end] for end in made.ends[in_force:]]
    shapes = {name: [state.get(name) for state in ends] for name in NAMES}
    for body in pending.values():
        for change in body.all_changes:
            shapes[change.object] += body.between.get(change.object, ())
    if all(live.get(name) in shapes[name] for name in NAMES):
        assert plan.DRIFTED not in [verdict.state for verdict in verdicts], (
            "every object is in a foreseen shape"
        )
    else:
        return  # cut inside a migration that makes something and takes it away again, or the other way round
    assert all(verdict.state == plan.APPLIED for verdict in verdicts[:in_force])
    for number, verdict in enumerate(verdicts[in_force:], in_force + 1):
        later = made.states[made.ends[number] :]
        objects = {change.object for change in made.rehearsed[verdict.migration.id].all_changes}
        if verdict.state == plan.EQUAL:
            for name in objects:
                assert live.get(name) in [state.get(name) for state in later], "something is missing"
        if cut == made.ends[number - 1] == 0:
            assert verdict.state == plan.ABSENT
        assert set(verdict.standing) | set(verdict.missing) == objects


@settings(max_examples=300, deadline=None)
@given(chains, st.data())
def test_a_cut_migration_is_completed_to_what_it_makes(chain: Any, data: st.DataObject) -> None:
    made = world(chain)
    number = data.draw(st.integers(1, len(chain)), "the migration that was cut")
    one = made.migrations[number - 1]
    live = dict(
        made.states[data.draw(st.integers(made.ends[number - 1], made.ends[number]), "statements that ran")]
    )
    try:
        to_run = plan.statements_to_run(one, made.by_statement[one.id], Catalog(live))
    except DriftFound:
        return  # a statement whose effects a later one undoes in part cannot be told
    for at, _ in to_run:
        for change in made.by_statement[one.id][at]:
            live.pop(change.object, None)
            if change.after is not None:
                live[change.object] = change.after
    assert live == made.states[made.ends[number]]


@settings(max_examples=300, deadline=None)
@given(chains, st.sampled_from(NAMES), st.data())
def test_an_object_in_a_shape_that_nobody_foresees_is_always_drift(
    chain: Any, name: str, data: st.DataObject
) -> None:
    made = world(chain)
    in_force = data.draw(st.integers(0, len(chain)), "recorded migrations")
    history = [
        (one, {change.object: change.after for change in made.rehearsed[one.id].all_changes})
        for one in made.migrations[:in_force]
    ]
    ledger = recorded(*history)
    live = {**made.states[made.ends[in_force]], name: {"v": "damaged", **TABLES.get(name, {})}}
    pending = {one.id: made.rehearsed[one.id] for one in made.migrations[in_force:]}
    managed = name in ledger.expected or any(
        name == c.object for body in pending.values() for c in body.all_changes
    )
    verdicts = plan.decide(made.migrations, ledger, Catalog(live), pending)
    if managed:
        found = [difference for verdict in verdicts for difference in verdict.differences]
        assert name in [difference.object for difference in found]
        assert plan.DRIFTED in [verdict.state for verdict in verdicts]
