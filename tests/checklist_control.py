"""Negative controls of the success checklist: what each damages, and what must turn red; see docs/checklist.md."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Control:
    """One thing that is damaged.

    :ivar item: the item that must turn red
    :ivar damage: in words, for the documentation: what is done
    :ivar sql: statements that do it, as the schema's owner
    :ivar act: does it otherwise; takes what the test module prepared
    :ivar given: options of the checklist that differ, where the inventory is what is wrong
    :ivar observed: a part of what the item must then say
    :ivar status: what the item must turn to
    :ivar also: other items that rightly see the same damage
    """

    item: str
    damage: str
    sql: str = ""
    act: Callable[[Any], object] | None = None
    given: Mapping[str, Any] = field(default_factory=dict)
    observed: str = ""
    status: str = "failed"
    also: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.item}: {self.damage}"
