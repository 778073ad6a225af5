"""Contestants run in turn, so that whatever else the machine does meets all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

T = TypeVar("T")


def in_turn(contestants: Mapping[str, Callable[[], T]], repetitions: int) -> dict[str, list[T]]:
    """Run every contestant, again and again, beginning with another one each time.

    :param contestants: name -> what to run
    :param repetitions: how often each runs
    :return: name -> what its runs returned, in order
    """
    names = list(contestants)
    found: dict[str, list[T]] = {name: [] for name in names}
    for repetition in range(repetitions):
        at = repetition % len(names)
        for name in names[at:] + names[:at]:
            found[name].append(contestants[name]())
    return found
