"""Items about tables that are partitioned by time: what exists, where rows go, what a dated query reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.rollout import partition_calendar as calendar
from ansible.module_utils.rollout import partition_plan as plans
from ansible.module_utils.rollout import partition_record
from ansible.module_utils.rollout.checklist_demands import Wanted
from ansible.module_utils.rollout.checklist_known import Attempt, Known, Trial, carry_out
from ansible.module_utils.rollout.checklist_probes import Came, Step, ask, do
from ansible.module_utils.rollout.checklist_recorded import differences
from ansible.module_utils.rollout.checklist_verdict import Judgement
from ansible.module_utils.rollout.connection import Session
from ansible.module_utils.rollout.errors import ConnectionFailed, RolloutError
from ansible.module_utils.rollout.findings import Verdict, not_tested
from ansible.module_utils.rollout.partition_plan import Partition, Period, shown
from ansible.module_utils.rollout.partition_reading import Seen, look, quoted
from ansible.module_utils.rollout.partitions import late

_NONE_WANTED = "nothing was tried: the inventory names no table that is partitioned"
_ADD = "Add it to verify_partitions."
_MAINTAIN = "Run playbooks/maintain.yml; docs/partitions.md says what it does."


@dataclass(frozen=True)
class Looked:
    """A look at one of them.

    :ivar error: why there is none
    """

    wanted: Wanted
    seen: Seen | None = None
    last_run: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


def read(session: Session, ledger_schema: str, tables: Sequence[Wanted]) -> list[Looked]:
    """Look at each table; one that cannot be looked at does not hide the others.

    :raises ConnectionFailed: the connection was lost
    """
    found = []
    for one in tables:
        try:
            seen = look(session, one.schema, one.desired, one.zone)
            last = partition_record.last_run(session, ledger_schema, one.schema, one.desired.table)
            found.append(Looked(one, seen, last))
        except ConnectionFailed:
            raise
        except RolloutError as error:
            session.rollback()
            found.append(Looked(one, error=error.message))
    if tables:
        # Maintenance looks at all rows or at none; what is tried out meets the policies that the application meets.
        session.run(["RESET row_security"])
    return found


def partitions(known: Known, looked: Sequence[Looked]) -> Verdict:
    """The periods that the variables ask for exist, meet each other in the pinned zone, and reach far enough ahead."""
    judgement = Judgement(
        "the periods that the variables name and those around now, each with exact bounds, and enough ahead"
    )
    differences(known, judgement, "partitions")
    for one in looked:
        if one.seen is None:
            judgement.fail(one.error)
        else:
            _judge(judgement, one, one.seen)
    named = {one.wanted.desired.table for one in looked if one.wanted.schema == known.schema}
    for table in sorted(set(known.shape.partitioned) - named):
        judgement.warn(
            f"{table} is partitioned, and nothing says which periods it needs", "Add it to verify_partitions."
        )
    if not looked and not known.shape.partitioned:
        return judgement.verdict("no migration made a partitioned table")
    return judgement.verdict(
        "; ".join(_summary(one) for one in looked), tables=[_facts(one) for one in looked]
    )


def _judge(judgement: Judgement, one: Looked, seen: Seen) -> None:
    desired, plan = one.wanted.desired, seen.plan
    must = {period.name for period in required_periods(one.wanted, seen)}
    between = []
    for action in plan.actions:
        bounds = f"{shown(action.lower)} to {shown(action.upper)}"
        if action.kind == plans.FINALIZE:
            judgement.fail(f"{action.name}: its detach was interrupted", _MAINTAIN)
        elif action.kind == plans.DETACH:
            judgement.warn(f"{action.name} is beyond retention and still attached", _MAINTAIN)
        elif action.name in must:
            judgement.fail(f"{action.name} is missing: nothing takes rows from {bounds}", _MAINTAIN)
        else:
            between.append(action.name)
    if between:
        judgement.warn(
            f"no partition takes rows of {', '.join(between)}: neither named by a variable nor ahead of now",
            _MAINTAIN,
        )
    for finding in plan.findings:
        if finding.kind != plans.AHEAD:
            (judgement.fail if finding.alarming else judgement.warn)(finding.text, finding.remedy)
    until, ahead = plan.standing
    if ahead < desired.alarm:
        finding = plans.too_few_ahead(desired, until, ahead)
        judgement.fail(finding.text, finding.remedy)
    for finding in late(f"{one.wanted.schema}.{desired.table}", one.last_run, one.wanted.max_age_days):
        judgement.warn(finding.text, finding.remedy)


def required_periods(one: Wanted, seen: Seen) -> list[Period]:
    """The periods that a variable names, the present one, and those ahead: what may never be missing."""
    desired = one.desired
    present = seen.at[calendar.begin_of(seen.table.today, desired.unit)]
    named: set[str] = set()
    if desired.first and one.count:
        start = calendar.begin_of(desired.first, desired.unit)
        kept = plans.kept_from(desired, seen.table.today)
        days = [calendar.later(start, desired.unit, step) for step in range(one.count)]
        named = {
            f"{desired.table}_{calendar.suffix(day, desired.unit)}" for day in days if not kept or day >= kept
        }
    return [period for period in seen.plan.periods if period.lower >= present or period.name in named]


def _summary(one: Looked) -> str:
    if one.seen is None:
        return f"{one.wanted.desired.table}: {one.error}"
    until, ahead = one.seen.plan.standing
    reach = "nothing" if until is None else shown(until)
    counted = f"{len(one.seen.partitions)} partitions, {ahead} whole periods ahead"
    return f"{one.wanted.desired.table}: {counted}, until {reach}"


def _facts(one: Looked) -> dict[str, Any]:
    if one.seen is None:
        return {"table": one.wanted.desired.table, "error": one.error}
    return {
        "table": one.wanted.desired.table,
        "zone": one.wanted.zone,
        "partitions": {p.name: [shown(p.lower), shown(p.upper)] for p in one.seen.partitions},
        "ahead": one.seen.plan.standing[1],
        "last_run": dict(one.last_run),
    }


def routing(known: Known, attempt: Attempt, looked: Sequence[Looked]) -> Verdict:
    """The first instant of a period and its last microsecond go to that period's partition."""
    expected = "the first instant and the last microsecond of each period, in its own partition"
    if not looked:
        return not_tested(expected, _NONE_WANTED, _ADD)
    judgement = Judgement(expected)
    trials: list[Trial] = []
    for one in looked:
        table = one.wanted.desired.table
        if one.seen is None or one.wanted.schema != known.schema:
            judgement.leave(
                one.error or f"{table} is not in schema {known.schema}; item partitions tells of it"
            )
        elif known.rows.why_not(table):
            trials.append(Trial((table,), (), lambda came: None))
        else:
            for period, instant in _edges(required_periods(one.wanted, one.seen)):
                trials.append(_routed(known, judgement, one.seen, period, instant))
    carry_out(known, judgement, attempt, trials)
    return judgement.verdict(f"{len(trials)} rows at the edges of periods went where they belong")


def _edges(periods: Sequence[Period]) -> Iterator[tuple[Period, int]]:
    for period in periods:
        yield period, period.lower
        yield period, period.upper - 1


def _routed(known: Known, judgement: Judgement, seen: Seen, period: Period, instant: int) -> Trial:
    table = seen.table
    # The edge of a date's period is its last day.
    at = instant if table.key_type != "date" else instant - instant % (24 * 3600 * 1_000_000)
    goal = _partition_for(seen.partitions, period)
    row = {**known.rows.another(table.name), table.key: table.bound(at)}
    steps = [
        do(known.rows.insert(table.name, row)),
        ask(
            f"SELECT c.relname AS went_to FROM {quoted(table.name)} t JOIN pg_class c ON c.oid = t.tableoid"
            f" WHERE {known.rows.where(table.name, row)}"
        ),
    ]

    def judge(came: Came) -> None:
        if came.refusal:
            judgement.fail(f"{table.name}: a row of {shown(instant)} is refused: {came.refusal}")
        elif came.answers[1] != [{"went_to": goal}]:
            # A rule or a trigger may have taken it away.
            found = ", ".join(str(one["went_to"]) for one in came.answers[1]) or "no partition"
            judgement.fail(f"{table.name}: a row of {shown(instant)} goes to {found} instead of {goal}")

    return Trial((table.name,), steps, judge)


def _partition_for(partitions: Sequence[Partition], period: Period) -> str:
    """The partition of that name; without one, the one that takes the whole period."""
    if any(partition.name == period.name for partition in partitions):
        return period.name
    whole = (p.name for p in partitions if p.lower <= period.lower and period.upper <= p.upper)
    return next(whole, period.name)


def pruning(known: Known, attempt: Attempt, looked: Sequence[Looked]) -> Verdict:
    """A query for one period reads the partition of that period and no other."""
    expected = "a query for one period, or for one instant, reads one partition"
    if not looked:
        return not_tested(expected, _NONE_WANTED, _ADD)
    judgement = Judgement(expected)
    probes: list[list[Step]] = []
    judges: list[Callable[[Came], None]] = []
    for one in looked:
        if one.seen is None:
            judgement.leave(f"{one.error}; item partitions tells of it")
            continue
        table, key = one.seen.table, quoted(one.seen.table.key)
        for period in required_periods(one.wanted, one.seen):
            dated = f"{key} >= {table.bound(period.lower)} AND {key} < {table.bound(period.upper)}"
            goal = _partition_for(one.seen.partitions, period)
            probes.append([Step("explain", f"SELECT * FROM {table.sql} WHERE {dated}")])
            judges.append(
                _pruned(judgement, table.name, f"{shown(period.lower)} to {shown(period.upper)}", goal)
            )
        # Known only when the query begins: pruned at its start.
        moment = "now()" if table.key_type == "timestamptz" else "current_date"
        probes.append([Step("explain", f"SELECT * FROM {table.sql} WHERE {key} = {moment}")])
        judges.append(_pruned(judgement, table.name, moment, ""))
    tried = attempt([], probes, True)
    for judge, came in zip(judges, tried.came, strict=True):
        judge(came)
    return judgement.verdict(f"{len(probes)} queries read one partition each")


def _pruned(judgement: Judgement, table: str, told: str, goal: str) -> Callable[[Came], None]:
    def judge(came: Came) -> None:
        if came.refusal:
            judgement.fail(f"{table}: the query for {told} fails: {came.refusal}")
            return
        read_ones = sorted(scanned(came.answers[0]))
        if len(read_ones) > 1 or (goal and read_ones != [goal]):
            judgement.fail(
                f"{table}: the query for {told} reads {', '.join(read_ones) or 'nothing'}"
                f" instead of {goal or 'one partition'}",
                "Look at enable_partition_pruning, and at item partitions.",
            )

    return judge


def scanned(explained: Any) -> set[str]:
    """The relations that a plan reads, from EXPLAIN (FORMAT JSON)."""
    return {str(node["Relation Name"]) for node in nodes(explained) if "Relation Name" in node}


def nodes(explained: Any) -> Iterator[Mapping[str, Any]]:
    """All nodes of a plan."""
    waiting = [part["Plan"] for part in (json.loads(explained) if isinstance(explained, str) else explained)]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += node.get("Plans", [])
