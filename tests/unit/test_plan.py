"""What is decided about each migration, from the ledger, the rehearsal and the live catalog."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from ansible.module_utils.rollout import plan
from ansible.module_utils.rollout.catalog import Catalog, Entry
from ansible.module_utils.rollout.diff import Change, as_text
from ansible.module_utils.rollout.errors import SourceError
from ansible.module_utils.rollout.ledger import EMPTY, Ledger, Row
from ansible.module_utils.rollout.migration import Migration, Statement
from ansible.module_utils.rollout.plan import Rehearsed, Verdict

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
