"""Item access_paths: the planner finds the indexes for the application's main queries. Pure, but for ``attempt``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ansible.module_utils.rollout.checklist_known import Attempt, Known
from ansible.module_utils.rollout.checklist_partitions import nodes, scanned
from ansible.module_utils.rollout.checklist_probes import Came, Step, ask
from ansible.module_utils.rollout.checklist_rows import SampleError
from ansible.module_utils.rollout.checklist_verdict import Judgement
from ansible.module_utils.rollout.findings import Verdict

#: Below this a sequential scan is the right plan, and proves nothing about the indexes.
FEW_ROWS = 1000


def access_paths(known: Known, attempt: Attempt) -> Verdict:
    """Each query of the samples finds one of its indexes: as the planner stands, or, where there are few rows, any
    index without sequential scans.

    Among few rows all indexes of a table cost the same, and the planner may take another of them.
    """
    few = known.setting("access_paths", "few_rows", FEW_ROWS)
    judgement = Judgement(
        f"each main query finds one of its indexes; with fewer than {few} rows, it is there, and once sequential scans"
        " are off, the query finds it or another"
    )
    if not known.samples.access_paths:
        judgement.warn("the samples name no access path", "Add access_paths to samples.yml.")
    probes: list[list[Step]] = []
    paths = []
    for path in known.samples.access_paths:
        try:
            query = known.rows.fill(path["query"], hidden=True)
        except SampleError as error:
            judgement.warn(f"{path['title']}: {error.message}", error.hint)
            continue
        explain = Step("explain", query)
        paths.append(path)
        probes += [[explain], [ask("SELECT set_config('enable_seqscan', 'off', true)"), explain]]
    came = attempt([], probes, True).came
    forced = []
    for at, path in enumerate(paths):
        if _judge(known, judgement, path, came[2 * at], came[2 * at + 1], few):
            forced.append(path["title"])
    honest = (
        f"; {len(forced)} of them with sequential scans off, their tables have few rows" if forced else ""
    )
    return judgement.verdict(
        f"{len(paths)} queries found their index{honest}", without_sequential_scans=forced
    )


def _judge(
    known: Known, judgement: Judgement, path: Mapping[str, Any], plain: Came, forced: Came, few: int
) -> bool:
    """Judge one path.

    :return: whether only the plan without sequential scans shows the index
    """
    refusal = plain.refusal or forced.refusal
    if refusal:
        judgement.fail(f"{path['title']}: the query fails: {refusal}")
        return False
    goal = ", ".join(path["index"])
    if _finds(known, plain.answers[0], path["index"]):
        return False
    tables = scanned(plain.answers[0])
    rows = sum(max(known.measured["rows"].get(table, 0), 0) for table in tables)
    if rows >= few:
        used = ", ".join(sorted(_used(known, plain.answers[0]))) or "no index"
        judgement.fail(
            f"{path['title']}: reads {', '.join(sorted(tables))} with {rows:.0f} rows by {used} instead of {goal}",
            "ANALYZE the table; if it stays so, the index is not used.",
        )
        return False
    used = _used(known, forced.answers[1])
    if not used or not _usable(known, path["index"]):
        named = ", ".join(sorted(used)) or "none"
        judgement.fail(
            f"{path['title']}: the planner uses {named} instead of {goal}, sequential scans being off"
        )
        return False
    return True


def _finds(known: Known, explained: Any, wanted: Collection[str]) -> bool:
    return bool(_used(known, explained).intersection(wanted))


def _usable(known: Known, wanted: Collection[str]) -> bool:
    entries = (known.catalog.entries.get(f"index {name}") for name in wanted)
    return any(entry is not None and not entry.get("invalid") for entry in entries)


def _used(known: Known, explained: Any) -> set[str]:
    """The indexes that a plan uses; a partition's counts as the one that it belongs to."""
    found = {str(node["Index Name"]) for node in nodes(explained) if "Index Name" in node}
    return {str(known.catalog.entries.get(f"index {name}", {}).get("parent") or name) for name in found}
