"""The database's half of the success checklist: every item evaluated, each on its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Outcome:
    """What ``pg_checklist_info`` returns.

    :ivar findings: one for each item, as :meth:`findings.Finding.as_result` gives them
    :ivar reference: what a later look compares with
    :ivar catalog: the comparison with the ledger
    :ivar locks: strongest lock that the items took on each relation of users
    """

    findings: list[dict[str, Any]] = field(default_factory=list)
    reference: dict[str, Any] = field(default_factory=dict)
    catalog: dict[str, Any] = field(default_factory=dict)
    locks: dict[str, str] = field(default_factory=dict)
    round_trips: int = 0
    seconds: float = 0.0


def run(given: Mapping[str, Any], *, check: bool) -> Outcome:
    """Evaluate the checklist.

    :param given: the options of ``pg_checklist_info``
    :param check: write nothing
    """
    raise NotImplementedError
