"""Does the application go on well? How long is watched, when it is decided, and what is told on the way. Pure.

The looks are judged as those of a gate, with the database's and the host's figures besides. Time counts only between
two looks that could be made: what nobody saw is a gap, is named, and prolongs the watch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from ansible.module_utils.rollout import gate
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.gate import BROKEN, GREEN, RED, Decision, Finding, Sample

RUNNING = "running"
#: Reasons that another look will not change, as a gate has them; and a host that is not Linux.
_MISCONFIGURED = gate.MISCONFIGURED | {"no_proc"}
#: A watch that was continued has a gap when its looks are further apart than so many intervals.
_LATE = 1.5
_INTERRUPTED = "the watch was interrupted"
#: Rounding of times, seconds.
_EPSILON = 1e-3


@dataclass(frozen=True)
class Plan:
    """How long is watched, and how often is looked.

    :ivar duration_s: time that has to be watched
    :ivar interval_s: from one sample to the next
    :ivar recheck_s: the same after a sample that was bad, or could not be made
    :ivar red_samples: bad looks that make the watch red, not necessarily in a row
    :ivar broken_samples: looks in a row that cannot be made, after which the watch is given up
    """

    duration_s: float = 1800
    interval_s: float = 300
    recheck_s: float = 60
    red_samples: int = 3
    broken_samples: int = 10

    def __post_init__(self) -> None:
        problem, names = "", ""
        if not 0 < self.interval_s <= self.duration_s:
            problem = f"the watch lasts {self.duration_s:g} s with a sample every {self.interval_s:g} s"
            names = (
                "watch_minutes, watch_interval_minutes: more than 0, and no interval longer than the watch"
            )
        elif self.recheck_s <= 0:
            problem, names = (
                f"the watch looks again after {self.recheck_s:g} s",
                "watch_recheck_seconds: more than 0",
            )
        elif self.red_samples < 1 or self.broken_samples < 1:
            problem = f"the watch has red_samples {self.red_samples} and broken_samples {self.broken_samples}"
            names = "watch_red_samples, watch_broken_samples: 1 or more"
        if problem:
            raise RolloutError(problem, hint=f"Correct {names}.")

    @property
    def planned(self) -> int:
        """Samples from the beginning to the end, both included."""
        return math.ceil(self.duration_s / self.interval_s - _EPSILON) + 1

    def number(self, watched_s: float) -> int:
        """Which of the planned samples a look is, or comes after."""
        if watched_s >= self.duration_s - _EPSILON:
            return self.planned
        return math.floor((watched_s + _EPSILON) / self.interval_s) + 1


@dataclass(frozen=True)
class Gap:
    """Time in which nobody could look.

    :ivar begin: the last look before it, seconds since 1970
    :ivar end: the first look after it; of a gap that goes on, the last attempt
    :ivar reason: for people
    """

    begin: float
    end: float
    reason: str

    def as_result(self) -> dict[str, Any]:
        """For the record of the run."""
        seconds = round(self.end - self.begin, 3)
        return {"begin": self.begin, "end": self.end, "seconds": seconds, "reason": self.reason}

    def __str__(self) -> str:
        return f"nobody could look for {clock(self.end - self.begin)}: {self.reason}"


def sample(value: Mapping[str, Any]) -> Sample:
    """Read back what :meth:`Sample.as_result` returned."""
    observed = {name: one for name, one in value.items() if name not in ("at", "findings", "broken")}
    findings = tuple(Finding(**finding) for finding in value["findings"])
    return Sample(float(value["at"]), findings, tuple(value["broken"]), observed)


def gaps(history: Sequence[Sample], plan: Plan) -> list[Gap]:
    """The gaps between the looks that could be made, and the one that goes on after the last of them."""
    found: list[Gap] = []
    seen: Sample | None = None
    lost: list[Sample] = []
    for one in history:
        if one.broken:
            lost.append(one)
            continue
        if lost:
            found.append(Gap((seen or lost[0]).at, one.at, _why(lost)))
        elif seen and one.observed["continued"] and one.at - seen.at > _LATE * plan.interval_s:
            found.append(Gap(seen.at, one.at, _INTERRUPTED))
        seen, lost = one, []
    if lost:
        found.append(Gap((seen or lost[0]).at, lost[-1].at, _why(lost)))
    return found


def _why(looks: Sequence[Sample]) -> str:
    interrupted = [_INTERRUPTED] if any(look.observed["continued"] for look in looks) else []
    return "; ".join(
        dict.fromkeys([*interrupted, *(str(one["text"]) for look in looks for one in look.broken)])
    )


def watched(history: Sequence[Sample], plan: Plan) -> float:
    """Seconds that were watched until the last look, gaps left out. All looks but the last say it of themselves.

    Two looks never count for more than an interval: where looking itself takes long, the watch does.
    """
    if len(history) < 2:
        return 0.0
    before, last = history[-2:]
    known = float(before.observed["watched_s"])
    within_gap = any(gap.end == last.at for gap in gaps(history, plan))
    return known if within_gap else round(known + min(last.at - before.at, plan.interval_s), 3)


def decide(history: Sequence[Sample], plan: Plan, *, tried: int) -> Decision | None:
    """Decide over the looks so far; None: look again.

    :param tried: looks that this process made; those before a watch was continued do not make it give up
    """
    last = history[-1]
    bad = [one for one in history if one.bad]
    lasting = [finding for finding in last.findings if finding.lasting]
    if lasting:
        return Decision(RED, gate.texts(lasting))
    if len(bad) >= plan.red_samples:
        return Decision(RED, (*gate.texts(bad[-1].findings), f"{len(bad)} of {len(history)} looks were bad"))
    lost = list(takewhile(lambda one: one.broken, reversed(history[-tried:])))
    if len(lost) >= plan.broken_samples or any(one["reason"] in _MISCONFIGURED for one in last.broken):
        return Decision(BROKEN, tuple(dict.fromkeys(one["text"] for look in lost for one in look.broken)))
    if left(history, plan) <= _EPSILON and not last.bad and not last.broken:
        tolerated = [f"tolerated: {text}" for one in bad for text in gate.texts(one.findings)]
        return Decision(GREEN, tuple(dict.fromkeys([*tolerated, *map(str, gaps(history, plan))])))
    return None


def left(history: Sequence[Sample], plan: Plan) -> float:
    """Seconds that are still to be watched after the last look."""
    return max(0.0, plan.duration_s - float(history[-1].observed["watched_s"]))


def pause(history: Sequence[Sample], plan: Plan) -> float:
    """Seconds from the last look to the next one: the next sample, or sooner to see whether it was only a moment."""
    last, until_now = history[-1], float(history[-1].observed["watched_s"])
    following = min(plan.number(until_now) * plan.interval_s, plan.duration_s) - until_now
    if last.broken:
        return min(plan.recheck_s, plan.interval_s)
    if following <= _EPSILON:
        return plan.recheck_s
    return min(plan.recheck_s, following) if last.bad else following


def live_line(history: Sequence[Sample], plan: Plan, left_s: float) -> str:
    """One line for the operator who waits.

    :param left_s: seconds that are still to be watched
    """
    last = history[-1]
    seen = last.observed
    parts = [f"watch {seen['number']}/{plan.planned}"]
    if seen["services"]:
        parts.append(f"{seen['online']}/{seen['services']} online")
    if seen["whatsapp"] is not None:
        parts.append(str(seen["whatsapp"]))
    if seen["new_errors"] is not None:
        parts.append(f"{seen['new_errors']} new error{'' if seen['new_errors'] == 1 else 's'}")
    if last.broken:
        parts.append("could not read " + ", ".join(dict.fromkeys(one["source"] for one in last.broken)))
    parts.append(f"{clock(left_s)} left")
    return " · ".join(parts)


def remarks(last: Sample) -> list[str]:
    """What is wrong in a look, for the lines below it."""
    return [*gate.texts(last.findings), *dict.fromkeys(one["text"] for one in last.broken)]


def clock(seconds: float) -> str:
    """A time as people read it: ``9:59``, ``1:02:03``."""
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
