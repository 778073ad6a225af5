"""Which partitions a table must have, which it has, and what to do about the difference. Pure, no database.

Instants are microseconds since 1970-01-01 00:00 UTC. For a key of type ``date`` they are those of the day's midnight in
UTC, so that both kinds of key are compared alike.
"""

from __future__ import annotations

import bisect
import datetime
import functools
import itertools
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ansible.module_utils.rollout import partition_calendar as calendar
from ansible.module_utils.rollout.errors import RolloutError

#: Bounds of MINVALUE and MAXVALUE.
LOWEST, HIGHEST = -(2**63), 2**63 - 1
_SECOND = 1_000_000
_HOUR = 3600 * _SECOND
#: Zones lie between UTC-12 and UTC+14, so two of them are at most so far apart.
_FURTHEST_ZONES = 26 * _HOUR
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)

# Kinds of findings.
GAP = "gap"
OFF_GRID = "off grid"
WRONG_ZONE = "wrong zone"
PENDING = "pending detach"
OCCUPIED = "occupied"
DEFAULT_ROWS = "rows in default"
DEFAULT_BLOCKS = "default blocks detach"
FOREIGN = "foreign table"
INDEX = "index"
AHEAD = "not enough ahead"
LATE = "no recent maintenance"
ARCHIVING = "archiving elsewhere"

#: What to do about a partition that is partitioned itself.
BY_HAND = "Mend it by hand: it has partitions of its own, and no repair touches such a one."

# Kinds of actions.
FINALIZE = "finalize"
CREATE = "create"
DETACH = "detach"


@dataclass(frozen=True)
class Desired:
    """What the table must be able to take.

    :ivar table: bare name
    :ivar unit: see :data:`partition_calendar.UNITS`
    :ivar first: a day in the first period; None begins at the present one
    :ivar ahead: how many periods after the present one exist
    :ivar retention: how many whole periods before the present one stay attached; 0 keeps all
    :ivar alarm: fewer whole periods ahead than this are a finding
    """

    table: str
    unit: str
    first: datetime.date | None
    ahead: int
    retention: int = 0
    alarm: int = 1


@dataclass(frozen=True)
class Partition:
    """A partition as it is.

    :ivar lower: instant, inclusive; :data:`LOWEST` for MINVALUE
    :ivar upper: instant, exclusive; :data:`HIGHEST` for MAXVALUE
    :ivar pending: its concurrent detach was interrupted
    :ivar foreign: a foreign table: its rows are on another server
    :ivar divided: partitioned itself: its rows are in partitions of its own
    :ivar empty: whether it holds no row; None where nobody asked
    :ivar lacks: indexes of the table that it has not, or has INVALID
    """

    name: str
    lower: int = LOWEST
    upper: int = HIGHEST
    default: bool = False
    pending: bool = False
    foreign: bool = False
    divided: bool = False
    empty: bool | None = None
    lacks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Period:
    """A period that the table must cover, with the name its partition is to have."""

    name: str
    lower: int
    upper: int


@dataclass(frozen=True)
class Action:
    """One thing to do, in a transaction of its own; DETACH and FINALIZE outside any."""

    kind: str
    name: str
    lower: int
    upper: int


@dataclass(frozen=True)
class Finding:
    """Something that is not as it must be, and that an ordinary run does not touch.

    :ivar kind: one of the constants above
    :ivar name: the partition or index concerned
    :ivar text: what was seen
    :ivar remedy: what to do
    :ivar alarming: whether it is red; the others are worth knowing
    """

    kind: str
    name: str
    text: str
    remedy: str
    alarming: bool = True


@dataclass(frozen=True)
class Plan:
    """What to do and what to know.

    :ivar covered_until: the first instant from now on that no partition takes, once the actions are done; None when
        not even the present is covered
    :ivar ahead: whole periods after the present one that are covered then
    :ivar standing: the same two before anything is done
    :ivar present: when the present period begins
    """

    actions: tuple[Action, ...]
    findings: tuple[Finding, ...]
    covered_until: int | None
    ahead: int
    standing: tuple[int | None, int]
    periods: tuple[Period, ...] = field(default=())
    present: int = LOWEST

    @property
    def alarming(self) -> tuple[Finding, ...]:
        return tuple(found for found in self.findings if found.alarming)


def window(desired: Desired, today: datetime.date) -> list[datetime.date]:
    """First days of the periods that must exist, and of the one after the last: their boundaries.

    :param today: the server's day in the pinned zone
    :raises RolloutError: too many, or beyond the calendar
    """
    present = calendar.begin_of(today, desired.unit)
    first = calendar.begin_of(desired.first or today, desired.unit)
    begin = min(first, present)
    kept = kept_from(desired, today)
    if kept:
        begin = max(begin, kept)
    last = calendar.later(max(first, present), desired.unit, desired.ahead)
    found = calendar.periods(begin, last, desired.unit)
    return [*found, calendar.later(found[-1], desired.unit, 1)]


def kept_from(desired: Desired, today: datetime.date) -> datetime.date | None:
    """First day that retention keeps; None when everything is kept."""
    if not desired.retention:
        return None
    return calendar.later(calendar.begin_of(today, desired.unit), desired.unit, -desired.retention)


def days_to_ask(desired: Desired, today: datetime.date) -> list[datetime.date]:
    """Every day of which the server must say when it begins."""
    kept = kept_from(desired, today)
    return sorted({*window(desired, today), *([kept] if kept else [])})


def required(
    desired: Desired, days: Sequence[datetime.date], at: Mapping[datetime.date, int]
) -> list[Period]:
    """The periods that must exist.

    A period can be empty: a zone that crossed the date line has no such day.

    :param days: from :func:`window`
    :param at: when each of those days begins, as the server says
    :raises RolloutError: a name that PostgreSQL would cut off
    """
    found = []
    for start, end in itertools.pairwise(days):
        name = f"{desired.table}_{calendar.suffix(start, desired.unit)}"
        if len(name.encode()) > 63:
            raise RolloutError(
                f"the partition name {name} has more than 63 bytes; PostgreSQL would cut it off",
                hint="Rename the table.",
            )
        if at[start] < at[end]:
            found.append(Period(name, at[start], at[end]))
    return found


def make_plan(
    desired: Desired,
    today: datetime.date,
    at: Mapping[datetime.date, int],
    seen: Sequence[Partition],
    occupied: Collection[str] = (),
    in_default: Mapping[str, int] | None = None,
) -> Plan:
    """Compare what must be with what is.

    :param today: the server's day in the pinned zone
    :param at: when each day of :func:`days_to_ask` begins
    :param seen: the table's partitions
    :param occupied: relations of the schema that are no partitions of the table
    :param in_default: rows in the DEFAULT partition, by name of the period they belong to
    """
    days = window(desired, today)
    wanted = required(desired, days, at)
    present = at[calendar.begin_of(today, desired.unit)]
    findings: list[Finding] = []
    actions = [Action(FINALIZE, p.name, p.lower, p.upper) for p in seen if p.pending]
    attached = sorted((p for p in seen if not p.pending and not p.default), key=lambda p: p.lower)
    default = next((p for p in seen if p.default and not p.pending), None)
    kept = kept_from(desired, today)
    # By bounds, never by name: one that ends with MAXVALUE never expires.
    expired = [p for p in attached if p.upper <= at[kept] and not p.foreign] if kept else []
    if expired and default:
        findings.append(
            Finding(
                DEFAULT_BLOCKS,
                default.name,
                f"{len(expired)} partitions are beyond retention, and cannot be detached without a strong lock while"
                f" there is a DEFAULT partition, {default.name}",
                "Move its rows out (state: repaired), then detach it by hand; docs/partitions.md says why.",
            )
        )
        expired = []
    # A pending one gives its name up first.
    taken = set(occupied) | {p.name for p in seen if not p.pending}
    created: list[Partition] = []
    exact = {(p.lower, p.upper) for p in attached}
    for period in wanted:
        if (period.lower, period.upper) in exact:
            continue
        pieces = uncovered(period.lower, period.upper, attached)
        if not pieces:
            continue
        if pieces != [(period.lower, period.upper)]:
            findings += [_gap(period, lower, upper) for lower, upper in pieces]
        elif (in_default or {}).get(period.name):
            findings.append(_default_rows(default, period, (in_default or {})[period.name]))
        elif period.name in taken:
            findings.append(_occupied(desired, period))
        else:
            actions.append(Action(CREATE, period.name, period.lower, period.upper))
            created.append(Partition(period.name, period.lower, period.upper))
    actions += [Action(DETACH, p.name, p.lower, p.upper) for p in expired]
    findings += _odd_bounds([p for p in attached if p not in expired], wanted)
    findings += [found for p in attached for found in _of_partition(p)]
    until, ahead = _coverage(present, wanted, [*attached, *created])
    if ahead < desired.alarm:
        findings.append(too_few_ahead(desired, until, ahead))
    standing = _coverage(present, wanted, attached)
    return Plan(tuple(actions), tuple(findings), until, ahead, standing, tuple(wanted), present)


def free_periods(plan: Plan, seen: Sequence[Partition]) -> list[Action]:
    """What can be created now: all but what waits for the end of a detach, which has its name or its bounds."""
    pending = [p for p in seen if p.pending]
    return [
        action
        for action in plan.actions
        if action.kind == CREATE
        and not any(
            p.name == action.name or (p.lower < action.upper and action.lower < p.upper) for p in pending
        )
    ]


def uncovered(lower: int, upper: int, partitions: Sequence[Partition]) -> list[tuple[int, int]]:
    """The parts of an interval that no partition takes, in order.

    :param partitions: in order of their lower bounds; PostgreSQL lets none overlap
    """
    found = []
    # In their order also by upper bounds, so that most of a thousand are not looked at.
    for partition in partitions[bisect.bisect_right(partitions, lower, key=lambda p: p.upper) :]:
        if partition.lower >= upper:
            break
        if partition.lower > lower:
            found.append((lower, partition.lower))
        lower = max(lower, partition.upper)
    if lower < upper:
        found.append((lower, upper))
    return found


def _coverage(
    present: int, wanted: Sequence[Period], attached: Sequence[Partition]
) -> tuple[int | None, int]:
    ordered = sorted(attached, key=lambda p: p.lower)
    until: int | None = None
    ahead = 0
    for period in (p for p in wanted if p.lower >= present):
        missing = uncovered(period.lower, period.upper, ordered)
        if missing:
            return (missing[0][0] if missing[0][0] > present else until), ahead
        until = period.upper
        ahead += period.lower > present
    return until, ahead


def _odd_bounds(attached: Sequence[Partition], wanted: Sequence[Period]) -> list[Finding]:
    """Partitions with a bound between two periods, but for those that only fill what others leave of one period."""
    regular = {instant for period in wanted for instant in (period.lower, period.upper)}
    grid = sorted(regular)
    shared = Counter(bound for p in attached for bound in (p.lower, p.upper))
    found = []
    for partition in attached:
        both = (partition.lower, partition.upper)
        astray = [bound for bound in both if grid[0] <= bound <= grid[-1] and bound not in regular]
        within_one = bisect.bisect_right(grid, partition.lower) == bisect.bisect_left(grid, partition.upper)
        if astray and not (within_one and all(shared[bound] > 1 for bound in astray)):
            found.append(_off_grid(partition, grid, astray))
    return found


def _of_partition(partition: Partition) -> list[Finding]:
    found = []
    if partition.foreign:
        found.append(
            Finding(
                FOREIGN,
                partition.name,
                f"{partition.name} is a foreign table: its rows are on another server",
                "Nothing needs to be done; it is neither indexed, archived nor detached here.",
                alarming=False,
            )
        )
    found += [
        Finding(
            INDEX,
            partition.name,
            f"{partition.name} has no valid index for {index} of the table",
            BY_HAND if partition.divided else "state: repaired builds it concurrently and attaches it.",
        )
        for index in partition.lacks
    ]
    return found


def _off_grid(partition: Partition, grid: Sequence[int], astray: Sequence[int]) -> Finding:
    """Bounds between two periods. When both are off by the same, somebody wrote them in another zone."""
    off = [_from_nearest(bound, grid) for bound in astray]
    bounds = f"{shown(partition.lower)} to {shown(partition.upper)}"
    note = "Rows in it are found all the same; only its bounds are odd."
    remedy = (
        "state: repaired replaces it if it is empty, rebuilds it if its time is over, and fills the gaps beside it."
        + ("" if partition.empty else f" {note}")
    )
    if partition.divided:
        remedy = f"{BY_HAND} {note}"
    # Summer time moves one of two bounds by an hour, so a small set of distances is one zone as well.
    # All zones are whole quarters of an hour from UTC.
    plausible = all(abs(distance) <= _FURTHEST_ZONES and distance % (_HOUR // 4) == 0 for distance in off)
    if plausible and max(off) - min(off) <= _HOUR:
        hours = ", ".join(f"{distance / _HOUR:+g} h" for distance in sorted(set(off)))
        return Finding(
            WRONG_ZONE,
            partition.name,
            f"{partition.name} goes from {bounds}: {hours} off, as if its bounds were written in another time zone",
            remedy,
            alarming=partition.empty is not False,
        )
    return Finding(
        OFF_GRID,
        partition.name,
        f"{partition.name} goes from {bounds}, which is not where a period begins or ends",
        remedy,
        alarming=partition.empty is not False,
    )


def _from_nearest(bound: int, grid: Sequence[int]) -> int:
    return min((bound - instant for instant in grid), key=abs)


def _gap(period: Period, lower: int, upper: int) -> Finding:
    return Finding(
        GAP,
        period.name,
        f"nothing takes rows from {shown(lower)} to {shown(upper)}, a part of {period.name}: other partitions"
        " reach into it",
        "state: repaired fills it.",
    )


def _default_rows(default: Partition | None, period: Period, rows: int) -> Finding:
    name = default.name if default else "the DEFAULT partition"
    divided = default is not None and default.divided
    return Finding(
        DEFAULT_ROWS,
        name,
        f"{name} holds {rows} rows of {period.name}, which can therefore not be attached",
        BY_HAND if divided else "state: repaired copies them batch by batch, then exchanges them.",
    )


def _occupied(desired: Desired, period: Period) -> Finding:
    return Finding(
        OCCUPIED,
        period.name,
        f"the name {period.name} is taken by something that is not the partition from {shown(period.lower)} to"
        f" {shown(period.upper)} of {desired.table}",
        "If it is a partition with other bounds, state: repaired finds another name. Otherwise rename it, or attach it"
        " with these bounds if it holds the period's rows.",
    )


def too_few_ahead(desired: Desired, until: int | None, ahead: int) -> Finding:
    """The alarm."""
    reach = (
        f"rows are taken until {shown(until)} only"
        if until is not None
        else "not even the present is covered"
    )
    return Finding(
        AHEAD,
        desired.table,
        f"{reach}: {ahead} whole periods ({desired.unit}) ahead, fewer than {desired.alarm}",
        "Run playbooks/maintain.yml, and see why the schedule did not.",
    )


def moment(instant: int) -> datetime.datetime:
    """An instant as a time in UTC."""
    return _EPOCH + datetime.timedelta(microseconds=instant)


@functools.lru_cache(maxsize=4096)
def shown(instant: int) -> str:
    """An instant for people and for SQL: ``2025-11-01 00:00:00+00``."""
    if instant in (LOWEST, HIGHEST):
        return "MINVALUE" if instant == LOWEST else "MAXVALUE"
    try:
        return moment(instant).isoformat(sep=" ").replace("+00:00", "+00")
    except OverflowError:
        return f"{instant} µs"
