"""What every migration's transaction has around its statements: the role it acts as, the proof of its locks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ansible.module_utils.rollout.connection import Command
from ansible.module_utils.rollout.locks import TableLock, mode_from_catalog

# One text instead of a row each: with many partitions there are ten thousands of them.
_KNOWN = """
SELECT coalesce(string_agg(c.oid::text, ' '), '') FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.oid >= 16384 AND n.nspname !~ '^pg_(toast|temp)'
"""
# Relation locks are kept until the transaction ends, so what was taken at any time is still here.
_HELD = """
SELECT l.relation::bigint, CASE WHEN n.nspname = %s THEN c.relname ELSE n.nspname || '.' || c.relname END, l.mode
  FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.granted AND l.relation >= 16384
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
 ORDER BY 2, 3
"""


def as_role(owner_role: str) -> list[Command]:
    """Act as the role that is to own what is created, until the transaction ends; empty for the login role."""
    return [Command(f'SET LOCAL ROLE "{owner_role}"')] if owner_role else []


def known_relations() -> Command:
    """Oids of all relations of users; to be asked at the beginning of a transaction."""
    return Command(_KNOWN)


def held_locks(schema: str) -> Command:
    """Which relations this transaction has locked, and how; :func:`locks_from_rows` takes the answer.

    :param schema: tables of this schema are named without it
    """
    return Command(_HELD, (schema,))


def locks_from_rows(
    held: Iterable[tuple[Any, ...]], known: Iterable[tuple[Any, ...]] | None = None
) -> list[TableLock]:
    """The locks on relations that existed before the transaction.

    :param held: answer to :func:`held_locks`
    :param known: answer to :func:`known_relations`; None for a transaction that creates nothing
    """
    existing = None if known is None else {int(oid) for (oids,) in known for oid in oids.split()}
    return [
        TableLock(name, mode_from_catalog(mode))
        for oid, name, mode in held
        if existing is None or oid in existing
    ]
