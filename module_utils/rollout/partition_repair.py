"""What would mend a partitioned table that went wrong. Pure; an ordinary run never does this.

Rows are taken out of a DEFAULT partition, and of partitions with odd bounds whose time is over. One that still takes
rows keeps its bounds: every one of its rows is found, and the gaps beside it are filled. One that is partitioned itself
is never rebuilt, replaced or emptied: its rows are in partitions of its own, which a copy of it would lack.
"""

from __future__ import annotations

import bisect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.partition_plan import (
    LOWEST,
    OFF_GRID,
    WRONG_ZONE,
    Finding,
    Partition,
    Period,
    Plan,
    moment,
    uncovered,
)


@dataclass(frozen=True)
class Rebuild:
    """Partitions with odd bounds and rows, and those that take their place in one transaction.

    :ivar sources: partitions that are detached and kept under another name
    :ivar targets: what they and the gaps between them become
    """

    sources: tuple[str, ...]
    targets: tuple[Period, ...]


@dataclass(frozen=True)
class Repair:
    """What to do, in this order.

    :ivar rebuilt: partitions with rows and odd bounds whose time is over
    :ivar replaced: empty partitions with odd bounds, to be detached and kept under another name; needs ACCESS EXCLUSIVE
        on the table for a moment
    :ivar filled: partitions to make for what nothing takes; in the same transaction when something is replaced
    :ivar emptied: periods whose rows lie in the DEFAULT partition
    :ivar indexed: partition and index of the table that it lacks
    :ivar beyond: findings that stay
    """

    rebuilt: tuple[Rebuild, ...]
    replaced: tuple[str, ...]
    filled: tuple[Period, ...]
    emptied: tuple[Period, ...]
    indexed: tuple[tuple[str, str], ...]
    beyond: tuple[Finding, ...]

    @property
    def needed(self) -> bool:
        return bool(self.rebuilt or self.replaced or self.filled or self.emptied or self.indexed)


def plan_repair(
    table: str,
    plan: Plan,
    seen: Sequence[Partition],
    occupied: Collection[str] = (),
    in_default: Mapping[str, int] | None = None,
) -> Repair:
    """Decide how to mend what a plan found.

    :param table: bare name of the partitioned table
    :param plan: of an ordinary run
    :param seen: the table's partitions
    :param occupied: relations of the schema that are no partitions of the table
    :param in_default: rows in the DEFAULT partition, by name of the period they belong to
    """
    odd = {found.name for found in plan.findings if found.kind in (WRONG_ZONE, OFF_GRID)}
    rebuilt = _rebuilt(table, plan, seen, odd, occupied)
    gone = {name for group in rebuilt for name in group.sources}
    made = [Partition(p.name, p.lower, p.upper) for group in rebuilt for p in group.targets]
    after = [*(p for p in seen if p.name not in gone), *made]
    replaced = tuple(p.name for p in after if p.name in odd and p.empty and not p.divided)
    staying = sorted(
        (p for p in after if not p.default and not p.pending and p.name not in replaced),
        key=lambda p: p.lower,
    )
    partitions = {p.name for p in after if p.name not in replaced}
    out_of_reach = any(p.default and p.divided for p in seen)
    filled, emptied, solved = [], [], {*gone, *replaced}
    for period in plan.periods:
        pieces = uncovered(period.lower, period.upper, staying)
        if (in_default or {}).get(period.name) and out_of_reach:
            continue
        if (in_default or {}).get(period.name):
            # Pieces of a period cannot be told from one another in the count, so each of them is emptied.
            emptied += _named(table, period, pieces, partitions, occupied)
            solved |= {p.name for p in seen if p.default}
        else:
            filled += _named(table, period, pieces, partitions, occupied)
        if (pieces or _overlaps(period, made)) and period.name not in occupied:
            solved.add(period.name)
    mendable = [p for p in staying if not p.foreign and not p.divided]
    indexed = tuple((p.name, index) for p in mendable for index in p.lacks)
    solved |= {name for name, _ in indexed}
    beyond = tuple(found for found in plan.findings if found.name not in solved)
    return Repair(rebuilt, replaced, tuple(filled), tuple(emptied), indexed, beyond)


def _rebuilt(
    table: str, plan: Plan, seen: Sequence[Partition], odd: Collection[str], occupied: Collection[str]
) -> tuple[Rebuild, ...]:
    """Groups of partitions that reach into the same periods.

    Only those whose time is over: what still takes rows would have to be locked while all of it is compared. None where
    there is a DEFAULT partition, which would have to be read for each that is attached.
    """
    if any(p.default for p in seen):
        return ()
    movable = sorted(
        (
            p
            for p in seen
            if p.name in odd and p.empty is False and p.lower > LOWEST and p.upper <= plan.present
        ),
        key=lambda p: p.lower,
    )
    movable = [p for p in movable if not p.foreign and not p.divided and not p.pending]
    names = {p.name for p in movable}
    staying = sorted((p for p in seen if p.name not in names and not p.pending), key=lambda p: p.lower)
    # What begins before the first period is a period of its own for this.
    first = plan.periods[0].lower
    before = [Period("", p.lower, first) for p in movable if p.lower < first]
    groups: list[tuple[list[Partition], list[Period]]] = []
    for partition in movable:
        reached = [p for p in (*before, *plan.periods) if _overlaps(p, [partition])]
        if groups and groups[-1][1][-1].upper > reached[0].lower:
            groups[-1][0].append(partition)
            groups[-1][1].extend(p for p in reached if p not in groups[-1][1])
        else:
            groups.append(([partition], reached))
    found = []
    for sources, reached in groups:
        cut = [(p, uncovered(p.lower, p.upper, staying)) for p in reached]
        others = {p.name for p in seen} - names
        targets = [piece for p, pieces in cut for piece in _named(table, p, pieces, others, occupied)]
        # A name that is taken leaves everything as it is.
        if len(targets) == sum(len(pieces) for _, pieces in cut):
            found.append(Rebuild(tuple(p.name for p in sources), tuple(targets)))
    return tuple(found)


def _overlaps(period: Period, partitions: Sequence[Partition]) -> bool:
    return any(p.lower < period.upper and period.lower < p.upper for p in partitions)


def names_to_give(table: str, plan: Plan, seen: Sequence[Partition]) -> list[str]:
    """Every name that a new partition may get, whatever is made or mended: of it, it matters whether it is taken.

    :param table: bare name of the partitioned table
    :param plan: whose periods are wanted
    """
    exact = {(p.lower, p.upper) for p in seen if not p.pending}
    bounds = sorted({bound for p in seen for bound in (p.lower, p.upper)})
    first = plan.periods[0].lower
    found = [_piece_name(table, p.lower) for p in seen if LOWEST < p.lower < first < p.upper]
    for period in plan.periods:
        if (period.lower, period.upper) not in exact:
            within = bounds[
                bisect.bisect_right(bounds, period.lower) : bisect.bisect_left(bounds, period.upper)
            ]
            found += [period.name, *(_piece_name(table, begin) for begin in (period.lower, *within))]
    return found


def _named(
    table: str,
    period: Period,
    pieces: Sequence[tuple[int, int]],
    partitions: Collection[str],
    others: Collection[str],
) -> list[Period]:
    """The period itself, or its pieces, named after where they begin.

    :param partitions: names of the table's other partitions: one of them may have the period's name and other bounds
    :param others: names of other relations. One with the period's name may hold its rows, and stays a finding.
    """
    if period.name and list(pieces) == [(period.lower, period.upper)]:
        if period.name in others:
            return []
        if period.name not in partitions:
            return [period]
    named = [_piece(table, lower, upper) for lower, upper in pieces]
    return [piece for piece in named if piece.name not in partitions and piece.name not in others]


def _piece(table: str, lower: int, upper: int) -> Period:
    name = _piece_name(table, lower)
    if len(name.encode()) > 63:
        raise RolloutError(f"the partition name {name} has more than 63 bytes", hint="Rename the table.")
    return Period(name, lower, upper)


def _piece_name(table: str, lower: int) -> str:
    return f"{table}_{moment(lower):%Y_%m_%dt%H%M%S}"
