"""In which order objects can be dropped without CASCADE: whatever depends on another goes first. Pure."""

from __future__ import annotations

import graphlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Dependant:
    """An object that depends on one of ours, as ``pg_depend`` has it.

    :ivar kind: ``trigger``, ``constraint``, ``policy``, ``column``, ``function``, ``relation`` or empty
    :ivar relation: the relation that it is or belongs to; None for functions and types
    :ivar name: its name beside the relation's
    :ivar is_partition: whether the relation is a partition
    :ivar description: PostgreSQL's own words for it
    :ivar on: name of the object that it depends on
    """

    kind: str
    relation: str | None
    name: str
    is_partition: bool
    description: str
    on: str

    @property
    def as_function(self) -> str:
        """Its entry name, when it is a function."""
        return f"{self.kind} {self.name}"

    @property
    def as_part(self) -> str:
        """Its entry name, when it is a part of a relation."""
        return f"{self.kind} {self.relation}.{self.name}"


def in_order(
    drops: Sequence[str], hanging: Sequence[Dependant], tables_of_parts: Mapping[str, str]
) -> list[list[str]]:
    """Groups of entries to drop, one group after the other; those in a group depend on each other in a circle.

    :param drops: what is to be dropped; where nothing depends on anything, this order stays
    :param hanging: what depends on what
    :param tables_of_parts: name of an index or sequence -> entry of the table that it goes along with
    """
    units: list[list[str]] = [[name] for name in drops]
    while True:
        place = {name: at for at, group in enumerate(units) for name in group}
        after: dict[int, set[int]] = {at: set() for at in range(len(units))}
        for dependant in hanging:
            first = _place(dependant, place, tables_of_parts)
            then = _place_of(dependant.on, place, tables_of_parts)
            if first is not None and then is not None and first != then:
                after[then].add(first)
        sorter = graphlib.TopologicalSorter(after)
        try:
            sorter.prepare()
        except graphlib.CycleError as error:
            circle = sorted(set(error.args[1]))
            joined = [name for at in circle for name in units[at]]
            units = [group for at, group in enumerate(units) if at not in circle]
            units.insert(circle[0], joined)
            continue
        return [units[at] for at in _stable(sorter)]


def _stable(sorter: graphlib.TopologicalSorter[int]) -> list[int]:
    """The order of the sorter, and among equals the given one."""
    ordered: list[int] = []
    ready: set[int] = set()
    while sorter.is_active():
        ready |= set(sorter.get_ready())
        chosen = min(ready)
        ready.remove(chosen)
        ordered.append(chosen)
        sorter.done(chosen)
    return ordered


def _place(dependant: Dependant, place: Mapping[str, int], tables_of_parts: Mapping[str, str]) -> int | None:
    for name in (dependant.as_part, dependant.as_function):
        if name in place:
            return place[name]
    return None if dependant.relation is None else _place_of(dependant.relation, place, tables_of_parts)


def _place_of(name: str, place: Mapping[str, int], tables_of_parts: Mapping[str, str]) -> int | None:
    kinds = ("table", "foreign table", "view", "sequence", "index", "function", "type")
    entries = [*(f"{kind} {name}" for kind in kinds), tables_of_parts.get(name, "")]
    return next((place[entry] for entry in entries if entry in place), None)
