"""Lock modes, budgets, and what goes beyond them."""

from itertools import pairwise, product

import pytest
from ansible.module_utils.rollout.locks import (
    DEFAULT_BUDGET,
    MODES,
    TableLock,
    budget_for,
    mode_from_catalog,
    over_budget,
    strongest,
)

#: https://www.postgresql.org/docs/current/explicit-locking.html#LOCKING-TABLES: which modes conflict with each.
CONFLICTS = {
    "ACCESS SHARE": 1,
    "ROW SHARE": 2,
    "ROW EXCLUSIVE": 4,
    "SHARE UPDATE EXCLUSIVE": 5,
    "SHARE": 5,
    "SHARE ROW EXCLUSIVE": 6,
    "EXCLUSIVE": 7,
    "ACCESS EXCLUSIVE": 8,
}


def test_the_modes_are_all_of_postgresqls_from_weakest_to_strongest() -> None:
    assert list(CONFLICTS) == list(MODES)
    assert all(CONFLICTS[weaker] <= CONFLICTS[stronger] for weaker, stronger in pairwise(MODES))
    assert MODES[0] == DEFAULT_BUDGET == "ACCESS SHARE"


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("AccessShareLock", "ACCESS SHARE"),
        ("RowShareLock", "ROW SHARE"),
        ("RowExclusiveLock", "ROW EXCLUSIVE"),
        ("ShareUpdateExclusiveLock", "SHARE UPDATE EXCLUSIVE"),
        ("ShareLock", "SHARE"),
        ("ShareRowExclusiveLock", "SHARE ROW EXCLUSIVE"),
        ("ExclusiveLock", "EXCLUSIVE"),
        ("AccessExclusiveLock", "ACCESS EXCLUSIVE"),
    ],
)
def test_modes_are_recognised_as_pg_locks_writes_them(name: str, mode: str) -> None:
    assert mode_from_catalog(name) == mode


def test_an_unknown_mode_is_an_error_and_not_a_weak_lock() -> None:
    with pytest.raises(KeyError):
        mode_from_catalog("SIReadLock")


@pytest.mark.parametrize(("held", "allowed"), list(product(MODES, MODES)))
def test_only_a_stronger_mode_is_over_budget(held: str, allowed: str) -> None:
    over = over_budget([TableLock("whatsapp_auth", held)], {"whatsapp_auth": allowed})
    assert bool(over) == (MODES.index(held) > MODES.index(allowed))
    assert over in ([], [TableLock("whatsapp_auth", held)])


def test_the_strongest_of_several_modes_counts_in_any_order() -> None:
    held = [
        TableLock("t", "ACCESS SHARE"),
        TableLock("t", "SHARE"),
        TableLock("t", "ROW SHARE"),
        TableLock("u", "SHARE"),
    ]
    assert strongest(held) == strongest(reversed(held)) == {"t": "SHARE", "u": "SHARE"}
    assert over_budget(held, {"t": "ROW EXCLUSIVE"}) == [TableLock("t", "SHARE")]
    assert strongest([]) == {}


def test_tables_without_a_budget_are_free() -> None:
    assert over_budget([TableLock("bookings", "ACCESS EXCLUSIVE")], {"whatsapp_auth": "ACCESS SHARE"}) == []


def test_all_that_are_over_are_told_in_order() -> None:
    held = [TableLock("b", "SHARE"), TableLock("a", "EXCLUSIVE"), TableLock("c", "ACCESS SHARE")]
    budget = budget_for(["c", "b", "a"], {})
    assert [lock.table for lock in over_budget(held, budget)] == ["a", "b"]


def test_a_budget_is_access_share_unless_the_migration_declares_more() -> None:
    assert budget_for(
        ["whatsapp_auth", "whatsapp_keys"], {"whatsapp_auth": "SHARE", "bookings": "EXCLUSIVE"}
    ) == {
        "whatsapp_auth": "SHARE",
        "whatsapp_keys": "ACCESS SHARE",
    }
    assert budget_for([], {"whatsapp_auth": "SHARE"}) == {}


def test_a_protected_table_in_another_schema_has_its_budget_with_and_without_the_schema() -> None:
    protected = ["app.whatsapp_auth"]
    assert budget_for(protected, {"app.whatsapp_auth": "SHARE"}) == {"app.whatsapp_auth": "SHARE"}
    assert budget_for(protected, {"whatsapp_auth": "SHARE"}) == {"app.whatsapp_auth": "SHARE"}
    both = {"whatsapp_auth": "EXCLUSIVE", "app.whatsapp_auth": "SHARE"}
    assert budget_for(protected, both) == {"app.whatsapp_auth": "SHARE"}, "the exact name wins"
    assert budget_for(protected, {"auth": "SHARE", "other.whatsapp_auth": "SHARE"}) == {
        "app.whatsapp_auth": "ACCESS SHARE"
    }
