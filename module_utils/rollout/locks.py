"""Table locks: their order of strength, and whether a transaction stayed within its budget.

The proof is ``pg_locks`` read inside the migration's own transaction, before COMMIT: PostgreSQL keeps every relation
lock until the transaction ends. The one exception: a PL/pgSQL block that catches an exception gives back what it had
locked before it failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

#: From weakest to strongest (https://www.postgresql.org/docs/current/explicit-locking.html#LOCKING-TABLES).
MODES = (
    "ACCESS SHARE",
    "ROW SHARE",
    "ROW EXCLUSIVE",
    "SHARE UPDATE EXCLUSIVE",
    "SHARE",
    "SHARE ROW EXCLUSIVE",
    "EXCLUSIVE",
    "ACCESS EXCLUSIVE",
)
DEFAULT_BUDGET = "ACCESS SHARE"
_STRENGTH = {mode: strength for strength, mode in enumerate(MODES)}
#: ``pg_locks.mode`` is written without spaces and with a suffix: AccessShareLock.
_BY_CATALOG_NAME = {mode.title().replace(" ", "") + "Lock": mode for mode in MODES}


@dataclass(frozen=True, order=True)
class TableLock:
    """A lock that a transaction holds on a relation which existed before it.

    :ivar table: name as ``regclass`` prints it, with the schema where search_path does not cover it
    :ivar mode: one of :data:`MODES`
    """

    table: str
    mode: str


def mode_from_catalog(name: str) -> str:
    """``AccessShareLock`` -> ``ACCESS SHARE``.

    :raises KeyError: not a table lock mode of PostgreSQL
    """
    return _BY_CATALOG_NAME[name]


def strongest(held: Iterable[TableLock]) -> dict[str, str]:
    """The strongest mode held on each table."""
    found: dict[str, str] = {}
    for lock in held:
        if lock.table not in found or _STRENGTH[lock.mode] > _STRENGTH[found[lock.table]]:
            found[lock.table] = lock.mode
    return found


def over_budget(held: Iterable[TableLock], budget: Mapping[str, str]) -> list[TableLock]:
    """Locks on protected tables that are stronger than allowed.

    :param held: what the transaction holds
    :param budget: protected table -> strongest mode that it may see
    """
    return sorted(
        TableLock(table, mode)
        for table, mode in strongest(held).items()
        if table in budget and _STRENGTH[mode] > _STRENGTH[budget[table]]
    )


def budget_for(protected: Iterable[str], allowed: Mapping[str, str]) -> dict[str, str]:
    """The budget of one migration: ACCESS SHARE for every protected table, or what the migration itself declares.

    :param protected: tables as ``pg_locks`` names them: with their schema, unless it is the target schema
    :param allowed: declared modes, by table name with or without its schema
    """
    return {
        table: allowed.get(table, allowed.get(table.rpartition(".")[2], DEFAULT_BUDGET))
        for table in protected
    }
