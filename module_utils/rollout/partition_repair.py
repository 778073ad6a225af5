"""What would mend a partitioned table that went wrong. Pure; an ordinary run never does this.

Rows are moved out of a DEFAULT partition only. A partition that holds rows and has odd bounds keeps both: every one of
its rows is found, and the gaps beside it are filled.
"""

from __future__ import annotations

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
class Repair:
    """What to do, in this order.

    :ivar replaced: empty partitions with odd bounds, to be detached and kept under another name; needs ACCESS EXCLUSIVE
        on the table for a moment
    :ivar filled: partitions to make for what nothing takes; in the same transaction when something is replaced
    :ivar emptied: periods whose rows lie in the DEFAULT partition
    :ivar indexed: partition and index of the table that it lacks
    :ivar beyond: findings that stay
    """

    replaced: tuple[str, ...]
    filled: tuple[Period, ...]
    emptied: tuple[Period, ...]
    indexed: tuple[tuple[str, str], ...]
    beyond: tuple[Finding, ...]

    @property
    def needed(self) -> bool:
        return bool(self.replaced or self.filled or self.emptied or self.indexed)


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
    replaced = tuple(p.name for p in seen if p.name in odd and p.empty)
    staying = sorted(
        (p for p in seen if not p.default and not p.pending and p.name not in replaced), key=lambda p: p.lower
    )
    partitions = {p.name for p in seen if p.name not in replaced}
    filled, emptied, solved = [], [], set(replaced)
    for period in plan.periods:
        pieces = uncovered(period.lower, period.upper, staying)
        if (in_default or {}).get(period.name):
            # Pieces of a period cannot be told from one another in the count, so each of them is emptied.
            emptied += _named(table, period, pieces, partitions, occupied)
            solved |= {p.name for p in seen if p.default}
        else:
            filled += _named(table, period, pieces, partitions, occupied)
        if pieces and period.name not in occupied:
            solved.add(period.name)
    indexed = tuple((p.name, index) for p in staying if not p.foreign for index in p.lacks)
    solved |= {name for name, _ in indexed}
    beyond = tuple(found for found in plan.findings if found.name not in solved)
    return Repair(replaced, tuple(filled), tuple(emptied), indexed, beyond)


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
    if list(pieces) == [(period.lower, period.upper)]:
        if period.name in others:
            return []
        if period.name not in partitions:
            return [period]
    named = [_piece(table, lower, upper) for lower, upper in pieces]
    return [piece for piece in named if piece.name not in partitions and piece.name not in others]


def _piece(table: str, lower: int, upper: int) -> Period:
    if lower == LOWEST:
        raise ValueError("a piece of a period has a lower bound")
    name = f"{table}_{moment(lower):%Y_%m_%dt%H%M%S}"
    if len(name.encode()) > 63:
        raise RolloutError(f"the partition name {name} has more than 63 bytes", hint="Rename the table.")
    return Period(name, lower, upper)
