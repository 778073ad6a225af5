"""The states of ``pg_partitions``: look, plan, do, and write down what was done."""

from __future__ import annotations

import datetime
import functools
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ansible.module_utils.rollout import (
    options,
    partition_archive,
    partition_changes,
    partition_mending,
    partition_record,
)
from ansible.module_utils.rollout.connection import Session
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.observation import Observation, observe
from ansible.module_utils.rollout.partition_calendar import as_day
from ansible.module_utils.rollout.partition_changes import Done, Terms
from ansible.module_utils.rollout.partition_plan import (
    AHEAD,
    ARCHIVING,
    CREATE,
    LATE,
    Desired,
    Finding,
    Partition,
    Plan,
    free_periods,
    make_plan,
    shown,
    too_few_ahead,
)
from ansible.module_utils.rollout.partition_reading import Seen, look
from ansible.module_utils.rollout.partition_record import Detached
from ansible.module_utils.rollout.partition_repair import Repair, plan_repair
from ansible.module_utils.rollout.partition_transfer import FileSession


@dataclass(frozen=True)
class Order:
    """What is asked for.

    :ivar schema: of the partitioned table
    :ivar zone: in which a period begins
    :ivar today: instead of the server's day, for tests
    :ivar archive_dir: where detached partitions are archived, on this host; None archives nothing
    :ivar drop_archived: whether they are dropped once the archive is proven
    :ivar repair: mend first what an ordinary run does not touch
    :ivar confirmed: whether the repair may begin
    :ivar batch_rows: rows that a repair copies in one transaction
    :ivar max_age_days: an older last run is an alarming finding when it is looked for
    """

    schema: str
    desired: Desired
    zone: str
    terms: Terms
    ran_from: str
    today: datetime.date | None = None
    archive_dir: Path | None = None
    drop_archived: bool = False
    repair: bool = False
    confirmed: bool = False
    batch_rows: int = 10_000
    max_age_days: int = 3


class Rest:
    """What keeps nothing else from being done when it cannot be.

    :ivar errors: why it could not
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.errors: list[RolloutError] = []

    def attempt(self, task: Callable[[], object]) -> bool:
        """Do something; returns whether it could be done.

        :raises RolloutError: the connection was lost: nothing else can be done
        """
        try:
            task()
        except RolloutError as error:
            if self.session.lost:
                raise
            self.session.rollback()
            self.errors.append(error)
            return False
        return True

    def tell(self) -> None:
        """Raise what was kept back: the error itself when it is the only one."""
        if len(self.errors) == 1:
            raise self.errors[0]
        if self.errors:
            raise RolloutError(
                "\n".join(error.message for error in self.errors),
                hint="\n".join(dict.fromkeys(error.hint for error in self.errors if error.hint)),
                details={"errors": [{"message": e.message, **e.details} for e in self.errors]},
            )


@dataclass
class Outcome:
    """What was found and done.

    :ivar healthy: whether no finding is alarming
    :ivar covered_until: first instant from now on that no partition takes, in UTC; empty when now is not covered
    :ivar summary: one line for people
    :ivar last_run: what the newest run recorded; filled by :func:`checked`
    :ivar before: partitions before, as text for ``--diff``
    """

    changed: bool = False
    healthy: bool = True
    actions: list[dict[str, str]] = field(default_factory=list)
    findings: list[dict[str, Any]] = field(default_factory=list)
    covered_until: str = ""
    ahead: int = 0
    partitions: int = 0
    summary: str = ""
    last_run: dict[str, Any] = field(default_factory=dict)
    locks: dict[str, str] = field(default_factory=dict)
    attempts: int = 0
    before: str = ""
    after: str = ""
    round_trips: int = 0
    seconds: float = 0.0


def run(given: Mapping[str, Any], *, check: bool) -> Outcome:
    """Do what the options of ``pg_partitions`` say.

    :param given: the module's options, connection included
    :raises RolloutError: options that do not fit together, or see :func:`maintain`
    """
    order = order_from(given)

    def open_session() -> FileSession:
        return FileSession(
            options.connection_options(given),
            f"{given['application_name']} {given['run_id']}",
            read_only=check or given["state"] == "checked",
            lock_timeout_ms=given["lock_timeout_ms"],
            statement_timeout_ms=given["statement_timeout_ms"],
        )

    if given["state"] == "checked":
        return checked(open_session, order)
    return maintain(open_session, order, check=check)


def order_from(given: Mapping[str, Any]) -> Order:
    """The options of ``pg_partitions``, checked before anything is connected to.

    :raises RolloutError: a number out of range, a drop without an archive, or a folder that is relative
    """
    for name, least in (
        ("ahead", 0),
        ("alarm", 0),
        ("retention", 0),
        ("batch_rows", 1),
        ("lock_attempts", 1),
        # 0 is PostgreSQL's word for waiting for ever.
        ("lock_timeout_ms", 1),
        ("statement_timeout_ms", 1),
        ("max_age_days", 0),
    ):
        if given[name] < least:
            raise RolloutError(f"{name} is {given[name]}; it must be {least} or more", hint="Correct it.")
    if given["alarm"] > given["ahead"]:
        raise RolloutError(
            f"the alarm is {given['alarm']} periods ahead, but only {given['ahead']} are made",
            hint="Lower alarm, or raise ahead.",
        )
    if given["drop_archived"] and not given["archive_dir"]:
        raise RolloutError(
            "drop_archived is set without archive_dir", hint="Nothing is dropped without a proven archive."
        )
    archive_dir = Path(given["archive_dir"]).expanduser() if given["archive_dir"] else None
    if archive_dir and not archive_dir.is_absolute():
        raise RolloutError(
            f"archive_dir is {given['archive_dir']}; it must be absolute",
            hint="Which folder is meant would depend on where the run is started from.",
        )
    desired = Desired(
        given["table"],
        given["unit"],
        as_day(given["first"]) if given["first"] else None,
        given["ahead"],
        given["retention"],
        given["alarm"],
    )
    return Order(
        given["schema"],
        desired,
        given["zone"],
        Terms(given["ledger"], given["run_id"], tuple(given["protected_tables"]), given["lock_attempts"]),
        platform.node(),
        archive_dir=archive_dir,
        drop_archived=given["drop_archived"],
        repair=given["state"] == "repaired",
        confirmed=given["confirmed"],
        batch_rows=given["batch_rows"],
        max_age_days=given["max_age_days"],
    )


def maintain(open_session: Callable[[], FileSession], order: Order, *, check: bool) -> Outcome:
    """Bring a table's partitions to what they must be, as far as that stops nobody; tell the rest.

    :param open_session: opens a session; a read-only one in check mode
    :param check: change nothing, and say what would be done
    :raises RolloutError: the table cannot be maintained, a lock cannot be had, another runner is at work
    """
    with open_session() as session:
        observed = observe(
            session,
            order.schema,
            order.terms.ledger,
            order.terms.protected,
            alone=not check,
            catalogued=False,
        )
        order = replace(order, terms=replace(order.terms, protected=observed.protected))
        if check:
            return _foretold(session, order)
        if order.repair and not order.confirmed:
            _refuse_unconfirmed(session, order)
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


def checked(open_session: Callable[[], FileSession], order: Order) -> Outcome:
    """The alarm: is enough ahead, as things stand, and did maintenance run of late? Reads only.

    :param open_session: opens a read-only session
    :raises RolloutError: the table cannot be looked at
    """
    desired, ledger_schema = order.desired, order.terms.ledger
    with open_session() as session:
        observe(session, order.schema, ledger_schema, order.terms.protected, catalogued=False)
        seen = look(session, order.schema, desired, order.zone, order.today)
        last = partition_record.last_run(session, ledger_schema, order.schema, desired.table)
        plan = seen.plan
        until, ahead = plan.standing
        found = [one for one in plan.findings if one.kind != AHEAD]
        if ahead < desired.alarm:
            found.append(too_few_ahead(desired, until, ahead))
        found += late(f"{order.schema}.{desired.table}", last, order.max_age_days)
        as_it_stands = replace(plan, findings=tuple(found), covered_until=until, ahead=ahead)
        outcome = _outcome(session, as_it_stands, Done(), seen.partitions, seen.partitions)
    outcome.last_run = last
    ran = f"last maintenance {last['days']} days ago ({last['outcome']})" if last else "maintenance never ran"
    outcome.summary = f"{ran}, {outcome.summary}"
    return outcome


def late(table: str, last: Mapping[str, Any], max_age_days: int) -> list[Finding]:
    """Whether maintenance of a table ran of late, and ended well.

    :param table: with its schema
    :param last: what :func:`partition_record.last_run` gives
    """
    name = table.partition(".")[2]
    remedy = (
        "Run playbooks/maintain.yml, and see why the schedule did not: systemctl list-timers"
        " 'rollout-maintain-*' and journalctl, or"
        " cron.job_run_details where pg_cron does it."
    )
    if not last:
        return [Finding(LATE, name, f"no maintenance of {table} was ever recorded", remedy)]
    if last["days"] > max_age_days:
        text = f"the last maintenance of {table} was {last['days']} days ago, at {last['ended_at']}"
        return [Finding(LATE, name, text, remedy)]
    if last["outcome"] == "failed":
        text = f"the last maintenance of {table}, at {last['ended_at']}, failed: {last['message']}"
        return [Finding(LATE, name, text, "Mend what it says, then run playbooks/maintain.yml.")]
    return []


def _foretold(session: Session, order: Order) -> Outcome:
    seen = look(session, order.schema, order.desired, order.zone, order.today)
    ledger, table = order.terms.ledger, seen.table
    standing = (
        partition_record.detached(session, ledger, order.schema, table.name)
        if partition_record.exists(session, ledger)
        else []
    )
    unfinished = [one for one in standing if one.unfinished]
    # Finishing a detach gives its partition's name free.
    occupied = seen.occupied - {one.partition for one in unfinished if one.kept_schema == order.schema}
    plan = make_plan(order.desired, table.today, seen.at, seen.partitions, occupied, seen.in_default)
    seen = replace(seen, occupied=occupied, plan=plan)
    told = partition_mending.told(seen, _repair_of(seen)) if order.repair else []
    actions = [{"action": "finish", "partition": one.partition, "kept": one.kept} for one in unfinished]
    actions += told + [
        {"action": a.kind, "partition": a.name, "lower": shown(a.lower), "upper": shown(a.upper)}
        for a in plan.actions
        if not told or a.kind != CREATE
    ]
    if order.archive_dir:
        actions += _foretold_archives(session, order, seen, standing, told)
    return _outcome(session, plan, Done(actions), seen.partitions, foreseen(seen.partitions, plan))


def _foretold_archives(
    session: Session,
    order: Order,
    seen: Seen,
    standing: Sequence[Detached],
    told: Sequence[Mapping[str, str]],
) -> list[dict[str, str]]:
    """What is archived and dropped of what is detached, and of what this run is about to detach.

    :param standing: what the record says was detached
    :param told: the repair
    """
    begun = {one.relation: one.kept for one in standing if one.state == "detaching"}
    coming = [kept for one in told if "kept" in one for kept in one["kept"].split(", ")]
    for action in seen.plan.actions:
        if action.kind != CREATE:
            schema, name = seen.where[action.name]
            begun_as = begun.get(seen.oids[action.name])
            coming.append(begun_as or partition_changes.free_name(session, schema, f"{name}_detached"))
    kept = [one for one in standing if one.standing and (one.unfinished or one.state != "detaching")]
    waiting = [one.kept for one in kept if one.state != "archived"] + coming
    found = [{"action": "archive", "partition": name, "folder": str(order.archive_dir)} for name in waiting]
    if order.drop_archived:
        archived = [one.kept for one in kept if one.state == "archived"]
        found += [{"action": "drop", "partition": name} for name in [*archived, *waiting]]
    return found


def _carry_out(session: FileSession, order: Order, observed: Observation, done: Done) -> Outcome:
    desired, terms = order.desired, order.terms
    partition_changes.take_turns(session, order.schema, desired.table, terms, done)
    before = _look(session, order)
    seen = _created(session, order, before, done)
    # The months ahead are there. What stands still from here on, such as a detach that an open report holds up, keeps
    # nothing else from being done, and is told at the end.
    rest = Rest(session)
    tasks: list[Callable[[Seen], object]] = [
        lambda seen: partition_changes.resume(session, seen, observed.ledger, terms, done)
    ]
    if order.repair:
        tasks.append(lambda seen: _mend(session, order, seen, observed, done))
    tasks.append(lambda seen: _detach(session, seen, observed, terms, done))
    for task in tasks:
        count = len(done.actions)
        if not rest.attempt(functools.partial(task, seen)) or len(done.actions) > count:
            seen = _look(session, order)
    seen = _created(session, order, seen, done)
    plan = seen.plan
    if plan.actions and not rest.errors:
        left = ", ".join(f"{action.kind} {action.name}" for action in plan.actions)
        raise RolloutError(
            f"afterwards there is still something to do: {left}",
            hint="A new period began meanwhile, or somebody else changes the partitions. Run again.",
        )
    notes: list[Finding] = []
    if order.archive_dir:
        partition_changes.end_turn(session)
        rest.attempt(functools.partial(_archive, session, order, order.archive_dir, seen, done, notes))
    rest.tell()
    plan = replace(plan, findings=(*plan.findings, *notes))
    _write(session, order, "red" if plan.alarming else "done", done, plan)
    return _outcome(session, plan, done, before.partitions, seen.partitions)


def _look(session: Session, order: Order) -> Seen:
    return look(session, order.schema, order.desired, order.zone, order.today)


def _created(session: Session, order: Order, seen: Seen, done: Done) -> Seen:
    """Create what can be created now; returns the table as it is then."""
    free = free_periods(seen.plan, seen.partitions)
    for action in free:
        partition_changes.create(session, seen.table, action, order.terms, done)
    return _look(session, order) if free else seen


def _mend(session: Session, order: Order, seen: Seen, observed: Observation, done: Done) -> None:
    repair = _repair_of(seen)
    partition_mending.mend(session, seen, repair, observed.ledger, order.terms, done, order.batch_rows)


def _detach(session: Session, seen: Seen, observed: Observation, terms: Terms, done: Done) -> None:
    """Detach what is beyond retention, up to the first that cannot be: PostgreSQL lets one at a time be pending."""
    for action in seen.plan.actions:
        if action.kind != CREATE:
            partition_changes.detach(session, seen, action, observed.ledger, terms, done)


def _archive(
    session: FileSession, order: Order, folder: Path, seen: Seen, done: Done, notes: list[Finding]
) -> None:
    """Archive, and drop what may be; a note when another run is at it."""
    if partition_archive.archive_all(
        session, seen.table, folder, order.terms, done, drop=order.drop_archived
    ):
        return
    name = seen.table.name
    notes.append(
        Finding(
            ARCHIVING,
            name,
            f"another run is archiving what was detached from {order.schema}.{name}",
            "Nothing needs to be done: what it leaves, the next run archives.",
            alarming=False,
        )
    )


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


def _refuse_unconfirmed(session: Session, order: Order) -> None:
    seen = look(session, order.schema, order.desired, order.zone, order.today)
    repair = _repair_of(seen)
    if repair.needed:
        raise partition_mending.unconfirmed(seen, repair)


def _repair_of(seen: Seen) -> Repair:
    return plan_repair(seen.table.name, seen.plan, seen.partitions, seen.occupied, seen.in_default)


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
    listed = listing(before)
    return Outcome(
        changed=bool(done.actions),
        healthy=not plan.alarming,
        actions=done.actions,
        findings=[asdict(found) for found in plan.findings],
        covered_until="" if plan.covered_until is None else shown(plan.covered_until),
        ahead=plan.ahead,
        partitions=len(after),
        summary=f"{plan.ahead} whole periods ahead, covers until"
        f" {'nothing' if plan.covered_until is None else shown(plan.covered_until)}",
        locks=done.locks,
        attempts=done.attempts,
        before=listed,
        after=listed if after is before else listing(after),
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
