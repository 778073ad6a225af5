"""Item access_paths: the planner finds the indexes for the application's main queries. Pure, but for ``attempt``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.rollout.checklist_known import Attempt, Known
from ansible.module_utils.rollout.checklist_partitions import nodes, scanned
from ansible.module_utils.rollout.checklist_probes import Came, Step, ask
from ansible.module_utils.rollout.checklist_rows import SampleError
from ansible.module_utils.rollout.checklist_verdict import Judgement
from ansible.module_utils.rollout.findings import Verdict

#: Below this a sequential scan is the right plan, and proves nothing about the indexes.
FEW_ROWS = 1000


@dataclass
class Found:
    """How the queries found their way, where it is not the one that was meant.

    :ivar forced: titles of those that read the few rows, and use an index once sequential scans are off
    :ivar others: by title: the indexes that are used instead of the ones that are meant
    """

    forced: list[str] = field(default_factory=list)
    others: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        told = ""
        if self.forced:
            told += f"; {len(self.forced)} of them with sequential scans off, their tables have few rows"
        if self.others:
            others = (f"{title} by {used}" for title, used in self.others.items())
            told += f"; by another index than meant, which costs the planner as little: {', '.join(others)}"
        return told


def access_paths(known: Known, attempt: Attempt) -> Verdict:
    """Each query of the samples finds an index, as the planner stands or, where there are few rows, without sequential
    scans; and an index that is meant for it is there.

    Where a column has one value in all rows, as a single salon's number, indexes with it and without it cost the same,
    and which of them the planner takes depends on the order in which they were made.
    """
    few = known.setting("access_paths", "few_rows", FEW_ROWS)
    judgement = Judgement(
        f"an index that is meant for each main query is there, and the query finds it or another; with fewer than {few}"
        " rows, once sequential scans are off"
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
    found = Found()
    for at, path in enumerate(paths):
        _judge(known, judgement, path, came[2 * at], came[2 * at + 1], few, found)
    return judgement.verdict(
        f"{len(paths)} queries found an index{found}",
        without_sequential_scans=found.forced,
        by_other_indexes=found.others,
    )


def _judge(
    known: Known,
    judgement: Judgement,
    path: Mapping[str, Any],
    plain: Came,
    forced: Came,
    few: int,
    found: Found,
) -> None:
    """Judge one path."""
    title, goal = path["title"], ", ".join(path["index"])
    refusal = plain.refusal or forced.refusal
    if refusal:
        judgement.fail(f"{title}: the query fails: {refusal}")
        return
    explained = plain.answers[0]
    used = _used(known, explained)
    if used.intersection(path["index"]):
        return
    is_few = _rows(known, scanned(explained)) < few
    if is_few:
        used = _used(known, forced.answers[1])
    named = ", ".join(sorted(used))
    if is_few and (not used or not _usable(known, path["index"])):
        judgement.fail(
            f"{title}: the planner uses {named or 'none'} instead of {goal}, sequential scans being off"
        )
    elif not is_few and (
        not used or _rows(known, _sequential(explained)) >= few or not _usable(known, path["index"])
    ):
        tables = scanned(explained)
        judgement.fail(
            f"{title}: reads {', '.join(sorted(tables))} with {_rows(known, tables):.0f} rows by"
            f" {named or 'no index'} instead of {goal}",
            "ANALYZE the table; if it stays so, the index is not used.",
        )
    else:
        if is_few:
            found.forced.append(title)
        if not used.intersection(path["index"]):
            found.others[title] = named


def _rows(known: Known, tables: Collection[str]) -> float:
    return sum(max(float(known.measured["rows"].get(table, 0)), 0.0) for table in tables)


def _sequential(explained: Any) -> set[str]:
    """The relations that a plan reads from end to end."""
    return {str(node["Relation Name"]) for node in nodes(explained) if node["Node Type"] == "Seq Scan"}


def _usable(known: Known, wanted: Collection[str]) -> bool:
    entries = (known.catalog.entries.get(f"index {name}") for name in wanted)
    return any(entry is not None and not entry.get("invalid") for entry in entries)


def _used(known: Known, explained: Any) -> set[str]:
    """The indexes that a plan uses; a partition's counts as the one that it belongs to."""
    found = {str(node["Index Name"]) for node in nodes(explained) if "Index Name" in node}
    return {str(known.catalog.entries.get(f"index {name}", {}).get("parent") or name) for name in found}
