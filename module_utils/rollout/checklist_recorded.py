"""Items that compare with what the ledger recorded: tables, indexes; and the shapes of functions and triggers. Pure."""

from __future__ import annotations

from ansible.module_utils.rollout import diff
from ansible.module_utils.rollout.checklist_known import Known
from ansible.module_utils.rollout.checklist_shape import redundant_indexes
from ansible.module_utils.rollout.checklist_verdict import Judgement
from ansible.module_utils.rollout.findings import Verdict

_DRIFT = (
    "'-' is as it is, '+' as it must be. schema_drift: repair mends functions, triggers, indexes and comments; for the"
    " rest, see docs/operations.md."
)


def differences(known: Known, judgement: Judgement, item: str) -> None:
    """Tell the differences that are an item's."""
    for difference in known.differences_of(item):
        judgement.fail(diff.as_text([difference]), _DRIFT)


def tables(known: Known) -> Verdict:
    """Every recorded table in its exact shape, and those that the inventory demands."""
    demanded = known.demands.get("tables", [])
    also = f"; among them the {len(demanded)} that the inventory demands" if demanded else ""
    judgement = Judgement(
        f"the {len(known.shape.tables)} tables of the migrations in force, exactly as recorded{also}"
    )
    if not known.ledger.rows:
        judgement.fail(
            f"the ledger {known.ledger_schema} has no migration for schema {known.schema}, so there is nothing to"
            " compare with",
            "Apply the migrations: ansible-playbook apply.yml -i <inventory>.",
        )
    differences(known, judgement, "tables")
    for table in demanded:
        if f"table {table}" not in known.catalog.entries:
            judgement.fail(f"{table}, which the inventory demands, does not exist")
        elif table not in known.shape.tables:
            judgement.fail(f"{table}, which the inventory demands, was made by no migration that is in force")
    columns = sum(len(columns) for columns in known.shape.tables.values())
    return judgement.verdict(
        f"{len(known.shape.tables)} tables with {columns} columns", tables=sorted(known.shape.tables)
    )


def indexes(known: Known) -> Verdict:
    """The exact set of indexes, all valid; those that cost writes and serve nothing are named."""
    least = known.demands.get("indexes", 0)
    judgement = Judgement(
        "exactly the indexes that were recorded, all valid, none redundant"
        + (f"; {least} or more" if least else "")
    )
    differences(known, judgement, "indexes")
    partitions = known.catalog.partitions_of(tuple(known.shape.partitioned))
    standing = {
        name.removeprefix("index "): entry
        for name, entry in known.catalog.entries.items()
        if name.startswith("index ")
        and (entry["table"] in known.shape.tables or entry["table"] in partitions)
    }
    recorded = {name.removeprefix("index ") for name in known.ledger.expected if name.startswith("index ")}
    for name, entry in standing.items():
        # One that was recorded is told above, with its definition.
        if entry.get("invalid") and name not in recorded:
            judgement.fail(
                f"{name} on {entry['table']} is not valid", f"REINDEX INDEX CONCURRENTLY {name}, or drop it."
            )
    if len(standing) < least:
        judgement.fail(f"{len(standing)} indexes, fewer than the {least} that the inventory demands")
    redundant = redundant_indexes(known.catalog.entries, set(known.shape.tables))
    if redundant:
        told = ", ".join(f"{one} (served by {other})" for one, other in redundant.items())
        judgement.warn(
            f"{len(redundant)} redundant: {told}",
            "They cost writes and serve no query that the other does not; docs/schema.md says why they are there.",
        )
    return judgement.verdict(f"{len(standing)} indexes", indexes=len(standing), redundant=redundant)
