"""What the items of the database's checklist judge, and how an item tries something out. Pure, but for ``attempt``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.rollout.catalog import Catalog, table_of
from ansible.module_utils.rollout.checklist_probes import Came, Step, Tried
from ansible.module_utils.rollout.checklist_rows import Rows
from ansible.module_utils.rollout.checklist_samples import Samples
from ansible.module_utils.rollout.checklist_shape import Shape
from ansible.module_utils.rollout.checklist_verdict import Judgement
from ansible.module_utils.rollout.diff import Difference, kind_of
from ansible.module_utils.rollout.ledger import Ledger

#: What lock_timeout ends with.
LOCK_NOT_AVAILABLE = "55P03"
#: Tries probes out: setting, probes, whether the server is to refuse every write.
Attempt = Callable[[Sequence[tuple[str, str]], Sequence[Sequence[Step]], bool], Tried]


@dataclass(frozen=True)
class Known:
    """Everything that was read before the items are judged.

    :ivar read_only: why nothing may be written; empty where it may
    :ivar demands: what the inventory demands whatever the ledger says
    :ivar settings: by item
    :ivar reference: what an earlier look noted; empty where there was none
    :ivar measured: sizes, counters and neighbours now, as :func:`checklist_measures.read` gives them
    """

    schema: str
    ledger_schema: str
    catalog: Catalog
    ledger: Ledger
    differences: Sequence[Difference]
    shape: Shape
    samples: Samples
    rows: Rows
    read_only: str = ""
    demands: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reference: Mapping[str, Any] = field(default_factory=dict)
    measured: Mapping[str, Any] = field(default_factory=dict)

    def setting(self, item: str, name: str, default: Any) -> Any:
        """A setting of an item."""
        return self.settings.get(item, {}).get(name, default)

    def differences_of(self, item: str) -> list[Difference]:
        """Differences from the ledger that are an item's to tell."""
        gone = {d.object.removeprefix("table ") for d in self.differences if d.object.startswith("table ")}
        gone = {table for table in gone if f"table {table}" not in self.catalog.entries}
        return [d for d in self.differences if self._concern(d, gone) == item]

    def _concern(self, difference: Difference, gone: Collection[str]) -> str:
        """The item that tells a difference: what belongs to a table that is gone is told by the table alone."""
        entry = difference.expected or difference.observed
        name = difference.object.removeprefix("comment on ")
        table = table_of(name, entry if name == difference.object else self.catalog.entries.get(name))
        if name.startswith("table ") or table in gone:
            if difference.object != f"table {table}" and table in gone:
                return ""
            parent = (entry or {}).get("parent")
            partition = table in self.shape.partitions or parent in self.shape.partitioned
            return "partitions" if partition else "tables"
        kind = kind_of(name)
        if kind == "constraint":
            definition = str((entry or {}).get("definition", ""))
            return {"C": "checks", "F": "foreign_keys"}.get(definition[:1], "unique_keys")
        if kind.endswith("function") or kind in ("procedure", "aggregate"):
            return "functions"
        return {"index": "indexes", "trigger": "triggers"}.get(kind, "tables")


@dataclass(frozen=True)
class Trial:
    """A probe, the tables whose good row it stands on, and what to make of what came of it."""

    tables: tuple[str, ...]
    steps: Sequence[Step]
    judge: Callable[[Came], None]


def carry_out(
    known: Known,
    judgement: Judgement,
    attempt: Attempt,
    trials: Sequence[Trial],
    standing: Collection[str] = (),
) -> Tried | None:
    """Try everything out in one round trip, and have each trial judged whose tables have their good row.

    :param standing: tables whose good row is to stand there beside those of the trials
    :return: what came of it; None where nothing may be written
    """
    if known.read_only:
        judgement.leave(known.read_only)
        return None
    needed = {table for trial in trials for table in trial.tables}
    wanted = sorted(needed.union(standing))
    for table in wanted:
        if why := known.rows.why_not(table):
            (judgement.leave if why in known.rows.untouchable.values() else judgement.warn)(why)
    able = [trial for trial in trials if not any(known.rows.why_not(table) for table in trial.tables)]
    tried = attempt(known.rows.setting(wanted), [trial.steps for trial in able], False)
    blocked = needed.intersection(tried.refused)
    if blocked:
        told = ", ".join(f"{table} ({tried.refused[table].sqlstate})" for table in sorted(blocked))
        judgement.leave(f"the good row is refused of {told}; sample_story says why")
    for trial, came in zip(able, tried.came, strict=True):
        if came.protected:
            judgement.fail(f"a protected table was locked: {', '.join(came.protected)}")
        if blocked.intersection(trial.tables):
            continue
        if came.refusal and came.refusal.sqlstate == LOCK_NOT_AVAILABLE:
            judgement.leave(
                f"{' and '.join(trial.tables)}: somebody holds a lock: {came.refusal}", "Run again."
            )
        else:
            trial.judge(came)
    return tried
