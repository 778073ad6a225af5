"""The states of ``pg_partitions``: look, plan, do, and write down what was done."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ansible.module_utils.rollout import partition_changes, partition_record
from ansible.module_utils.rollout.connection import Session
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.observation import Observation, observe
from ansible.module_utils.rollout.partition_changes import Done, Terms
from ansible.module_utils.rollout.partition_plan import CREATE, Desired, Partition, Plan, make_plan, shown
from ansible.module_utils.rollout.partition_reading import Seen, look


@dataclass(frozen=True)
class Order:
    """What is asked for.

    :ivar schema: of the partitioned table
    :ivar zone: in which a period begins
    :ivar today: instead of the server's day, for tests
    """

    schema: str
    desired: Desired
    zone: str
    terms: Terms
    ran_from: str
    today: datetime.date | None = None


@dataclass
class Outcome:
    """What was found and done.

    :ivar healthy: whether no finding is alarming
    :ivar covered_until: first instant from now on that no partition takes, in UTC; empty when now is not covered
    :ivar before: partitions before, as text for ``--diff``
    """

    changed: bool = False
    healthy: bool = True
    actions: list[dict[str, str]] = field(default_factory=list)
    findings: list[dict[str, Any]] = field(default_factory=list)
    covered_until: str = ""
    ahead: int = 0
    partitions: int = 0
    locks: dict[str, str] = field(default_factory=dict)
    attempts: int = 0
    before: str = ""
    after: str = ""
    round_trips: int = 0
    seconds: float = 0.0


def maintain(open_session: Callable[[], Session], order: Order, *, check: bool) -> Outcome:
    """Bring a table's partitions to what they must be, as far as that stops nobody; tell the rest.

    :param open_session: opens a session; a read-only one in check mode
    :param check: change nothing, and say what would be done
    :raises RolloutError: the table cannot be maintained, a lock cannot be had, another runner is at work
    """
    with open_session() as session:
        observed = observe(session, order.schema, order.terms.ledger, order.terms.protected, alone=not check)
        order = replace(order, terms=replace(order.terms, protected=observed.protected))
        if check:
            return _foretold(session, order)
        _prepare(session, order, observed)
        done = Done()
        try:
            outcome = _carry_out(session, order, observed, done)
        except RolloutError as error:
            if not session.lost:
                session.rollback()
                _write(session, order, "failed", done, None, error.message)
            raise
        return outcome


def _foretold(session: Session, order: Order) -> Outcome:
    seen = look(session, order.schema, order.desired, order.zone, order.today)
    plan = plan_of(seen, order.desired)
    actions = [
        {"action": a.kind, "partition": a.name, "lower": shown(a.lower), "upper": shown(a.upper)}
        for a in plan.actions
    ]
    return _outcome(session, plan, Done(actions), seen.partitions, foreseen(seen.partitions, plan))


def _carry_out(session: Session, order: Order, observed: Observation, done: Done) -> Outcome:
    desired, terms = order.desired, order.terms
    before = look(session, order.schema, desired, order.zone, order.today)
    partition_changes.take_turns(session, before.table, terms, done)
    partition_changes.resume(session, before, observed.ledger, terms, done)
    seen = look(session, order.schema, desired, order.zone, order.today)
    for action in plan_of(seen, desired).actions:
        if action.kind == CREATE:
            partition_changes.create(session, seen.table, action, terms, done)
        else:
            partition_changes.detach(session, seen, action, observed.ledger, terms, done)
    if done.actions:
        seen = look(session, order.schema, desired, order.zone, order.today)
    plan = plan_of(seen, desired)
    if plan.actions:
        left = ", ".join(f"{action.kind} {action.name}" for action in plan.actions)
        raise RolloutError(
            f"afterwards there is still something to do: {left}",
            hint="A new period began meanwhile, or somebody else changes the partitions. Run again.",
        )
    _write(session, order, "red" if plan.alarming else "done", done, plan)
    return _outcome(session, plan, done, before.partitions, seen.partitions)


def _prepare(session: Session, order: Order, observed: Observation) -> None:
    """Make the record's tables, once."""
    ledger_schema = order.terms.ledger
    if partition_record.exists(session, ledger_schema):
        return
    commands = partition_record.create_commands(ledger_schema, with_ledger=not observed.ledger.exists)
    try:
        session.run(["BEGIN", *commands, "COMMIT"])
    except RolloutError:
        session.rollback()
        raise


def plan_of(seen: Seen, desired: Desired) -> Plan:
    """The plan for what was seen."""
    return make_plan(desired, seen.table.today, seen.at, seen.partitions, seen.occupied, seen.in_default)


def foreseen(partitions: Sequence[Partition], plan: Plan) -> list[Partition]:
    """The partitions as they will be after a plan."""
    gone = {action.name for action in plan.actions if action.kind != CREATE}
    new = [Partition(a.name, a.lower, a.upper) for a in plan.actions if a.kind == CREATE]
    return sorted([*(p for p in partitions if p.name not in gone), *new], key=lambda p: (p.lower, p.name))


def listing(partitions: Sequence[Partition]) -> str:
    """Partitions as text, for Ansible's ``--diff``."""
    return "".join(
        f"{p.name}: {'DEFAULT' if p.default else f'{shown(p.lower)} to {shown(p.upper)}'}"
        f"{' (detach pending)' if p.pending else ''}\n"
        for p in partitions
    )


def _outcome(
    session: Session, plan: Plan, done: Done, before: Sequence[Partition], after: Sequence[Partition]
) -> Outcome:
    return Outcome(
        changed=bool(done.actions),
        healthy=not plan.alarming,
        actions=done.actions,
        findings=[asdict(found) for found in plan.findings],
        covered_until="" if plan.covered_until is None else shown(plan.covered_until),
        ahead=plan.ahead,
        partitions=len(after),
        locks=done.locks,
        attempts=done.attempts,
        before=listing(before),
        after=listing(after),
        round_trips=session.round_trips,
        seconds=round(session.seconds, 4),
    )


def _write(
    session: Session, order: Order, outcome: str, done: Done, plan: Plan | None, message: str = ""
) -> None:
    until = None if plan is None or plan.covered_until is None else shown(plan.covered_until)
    row = {
        "target_schema": order.schema,
        "target_table": order.desired.table,
        "run_id": order.terms.run_id,
        "outcome": outcome,
        "unit": order.desired.unit,
        "ahead": None if plan is None else plan.ahead,
        "covered_until": until,
        "actions": done.actions,
        "findings": [] if plan is None else [asdict(found) for found in plan.findings],
        "message": message,
        "ran_from": order.ran_from,
    }
    session.run([partition_record.run_command(order.terms.ledger, row)])
