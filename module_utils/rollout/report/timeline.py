"""The phases of a run one after the other. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.rollout.findings import STATUSES
from ansible.module_utils.rollout.report.checks import FAILED, NOT_TESTED, PASSED, Check
from ansible.module_utils.rollout.report.reading import moment, seconds_of
from ansible.module_utils.rollout.report.sections import Section
from ansible.module_utils.rollout.report.wording import duration


@dataclass(frozen=True)
class Phase:
    """One bar of the timeline.

    :ivar left: where it begins, percent of the time until the watch
    :ivar width: how long it is, percent of the same
    :ivar beyond: the watch, beside which nothing else could be seen
    """

    title: str
    status: str
    clock: str
    took: str
    left: float
    width: float
    beyond: bool = False


def phases(sections: Sequence[Section], checks: Sequence[Check], record: Mapping[str, Any]) -> list[Phase]:
    """The timeline: each section from when it began to when it was recorded."""
    begin = moment(record.get("began_at"))
    spans = [
        (section, at, min(seconds_of(section.data), (at - begin).total_seconds()))
        for section in sections
        if begin and (at := moment(section.data.get("recorded_at"))) and at >= begin
    ]
    if not begin or not spans:
        return []
    whole = max(
        ((at - begin).total_seconds() for one, at, _ in spans if one.kind not in ("watch", "end")), default=0
    )
    found = []
    for section, at, seconds in spans:
        if section.kind == "end":
            continue
        beyond = section.kind == "watch" or not whole
        left = 0.0 if beyond else max(0.0, (at - begin).total_seconds() - seconds)
        found.append(
            Phase(
                title=section.title,
                status=_status(section, checks),
                clock=f"{at:%H:%M:%S}",
                took=duration(seconds) if seconds else "",
                left=0.0 if beyond else round(100 * left / whole, 2),
                width=100.0 if beyond else round(100 * seconds / whole, 2),
                beyond=beyond,
            )
        )
    return found


def _status(section: Section, checks: Sequence[Check]) -> str:
    """The worst of the section's checks."""
    if section.failed and "cause" not in section.data:
        return FAILED
    found = [check.status for check in checks if check.section == section.name]
    worst = min(found, key=STATUSES.index, default=PASSED)
    # Of dozens of items one or the other is never tested.
    return PASSED if worst == NOT_TESTED and PASSED in found else worst
