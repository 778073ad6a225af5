"""Compare a schema with what the ledger says it must hold. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible.module_utils.rollout import diff
from ansible.module_utils.rollout.catalog import Entry, table_of
from ansible.module_utils.rollout.connection import Session
from ansible.module_utils.rollout.diff import Difference
from ansible.module_utils.rollout.fingerprint import fingerprint
from ansible.module_utils.rollout.observation import Observation, observe


@dataclass(frozen=True)
class Inspection:
    """What was found.

    :ivar counts: objects by kind, of all objects or of the chosen tables
    :ivar recorded: migrations in force, as ``id_name``
    """

    entries: dict[str, Entry]
    fingerprint: str
    counts: dict[str, int]
    recorded: list[str]
    differences: list[Difference]
    locks: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        return {
            "entries": self.entries,
            "fingerprint": self.fingerprint,
            "counts": self.counts,
            "recorded": self.recorded,
            "differences": [difference.as_json() for difference in self.differences],
            "drift": diff.as_text(self.differences),
            "locks": self.locks,
        }


def inspect(session: Session, schema: str, ledger_schema: str, tables: tuple[str, ...] = ()) -> Inspection:
    """Read a schema and its ledger, and compare them.

    :param tables: report these tables and what belongs to them only; empty reports everything. The comparison with the
        ledger always covers everything that is recorded.
    """
    return inspection_of(observe(session, schema, ledger_schema), tables)


def inspection_of(seen: Observation, tables: tuple[str, ...] = ()) -> Inspection:
    """What a look at a schema and its ledger says; see :func:`inspect`."""
    chosen = {
        name: entry
        for name, entry in seen.catalog.entries.items()
        if not tables
        or table_of(name, seen.catalog.entries.get(name.removeprefix("comment on "), entry)) in tables
    }
    counts: dict[str, int] = {}
    for name in chosen:
        kind = "comment" if name.startswith("comment on ") else name.partition(" ")[0]
        counts[kind] = counts.get(kind, 0) + 1
    return Inspection(
        entries=chosen,
        fingerprint=fingerprint(chosen),
        counts=dict(sorted(counts.items())),
        recorded=[f"{row.id}_{row.name}" for row in seen.ledger.rows.values()],
        differences=diff.compare(seen.ledger.expected, seen.ledger.made, seen.catalog, seen.ledger.grows),
        locks=dict(seen.locks),
    )
