"""Look at an application again and again until the gate has decided. How it is looked at is the caller's matter."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ansible.module_utils.rollout import gate, log_patterns
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.gate import Before, Counts, Decision, Limits, Sample

#: Makes one look: arguments for application_info that change from look to look -> what it returned.
Look = Callable[[Mapping[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True)
class Watched:
    """What came of it.

    :ivar reference: for a later gate: the same bookmarks, and what is known now
    :ivar seconds: time that it took
    """

    decision: Decision
    history: tuple[Sample, ...]
    reference: dict[str, Any]
    seconds: float


def watch(
    look: Look,
    limits: Limits,
    *,
    label: str,
    interval_s: float,
    say: Callable[[str], None],
    reference: Mapping[str, Any] | None = None,
) -> Watched:
    """Look until the gate is green, red or broken.

    :param label: what the gate is after, for the lines that are said
    :param interval_s: from the beginning of one look to that of the next, seconds
    :param say: called with a line after each look
    :param reference: of an earlier gate; None or empty: this gate is the baseline
    """
    # The clock that nobody sets: a jump of the other one would change what is normal, or make the gate sleep for hours.
    begun = time.monotonic()
    compared = Reference(reference or {}, begun)
    history: list[Sample] = []
    while True:
        asked = time.monotonic()
        seen = look(compared.arguments)
        compared.complete(seen)
        history.append(compared.judged(seen, limits))
        decision = gate.decide(history, limits)
        say(gate.live_line(label, history, limits, (limits.samples - len(history)) * interval_s))
        if decision is not None:
            seconds = round(time.monotonic() - begun, 3)
            return Watched(decision, tuple(history), compared.for_later(), seconds)
        time.sleep(max(0.0, asked + interval_s - time.monotonic()))


def unseen(source: str, reason: str, text: str) -> dict[str, Any]:
    """A look of application_info in which everything is broken: it could not be run."""
    return {
        "services": {},
        "problems": [],
        "changes": [],
        "elsewhere": {},
        "logs": {},
        "files": {},
        "bookmarks": [],
        "reading": {},
        "broken": [{"source": source, "reason": reason, "text": text}],
        "seconds": 0.0,
    }


def require_patterns(budgets: Mapping[str, Any], look: Mapping[str, Any], variable: str) -> None:
    """Refuse a budget for a pattern that does not exist: misspelt, the real one would have another budget.

    :param look: arguments for application_info
    :param variable: of the inventory, that holds the budgets
    :raises RolloutError: naming each
    """
    patterns = [*log_patterns.DEFAULTS, *(look.get("patterns") or ())]
    known = sorted(str(one.get("name")) for one in patterns if one.get("kind") == "problem")
    unknown = sorted(set(budgets) - set(known))
    if unknown:
        raise RolloutError(
            f"there is a budget for {', '.join(unknown)}, but no problem pattern of that name",
            hint=f"Correct {variable}. The patterns are {', '.join(known)}.",
        )


class Reference:
    """What the looks are compared with: the first one, or what an earlier gate handed on.

    :param given: ``reference`` of an earlier gate; empty: this one is the baseline
    :param begun: when this gate began, seconds of this machine's monotonic clock
    """

    def __init__(self, given: Mapping[str, Any], begun: float) -> None:
        self.begun = begun
        self.reading: dict[str, Any] = dict(given.get("reading", {}))
        self.bookmarks: list[dict[str, Any]] | None = given.get("bookmarks")
        self.counts = {path: Counts(**one) for path, one in given.get("counts", {}).items()}
        self.normal = {service: Counts(**one) for service, one in given.get("normal", {}).items()}
        self.baseline_s = float(given.get("baseline_s", 0))
        self.since = float(given.get("completed_at", begun))
        self._last: Mapping[str, Any] = {}

    @property
    def arguments(self) -> dict[str, Any]:
        """For application_info. Always the first bookmarks: a logout that was read once must be read again."""
        return {"bookmarks": self.bookmarks, "baseline": self.reading}

    def complete(self, seen: Mapping[str, Any]) -> None:
        """Take from a look what is not known yet."""
        self._last = seen
        for source, reading in seen["reading"].items():
            known = self.reading.get(source, {})
            self.reading[source] = {
                name: value if known.get(name) in (None, "") else known[name]
                for name, value in reading.items()
            }
        paths = {bookmark["path"] for bookmark in self.bookmarks or ()}
        new = [bookmark for bookmark in seen["bookmarks"] if bookmark["path"] not in paths]
        if new or self.bookmarks is None:
            self.bookmarks = [*(self.bookmarks or ()), *new]

    def judged(self, seen: Mapping[str, Any], limits: Limits) -> Sample:
        """The look as a sample."""
        before = Before(self.counts, self.normal, self.baseline_s, time.monotonic() - self.since)
        return gate.judge(seen, at=time.time(), limits=limits, before=before)

    def for_later(self) -> dict[str, Any]:
        """For a later gate."""
        now = time.monotonic()
        last = self._last
        counted = gate.trouble(last)
        # What is normal is what the baseline saw, whatever was seen since.
        normal = self.normal if self.baseline_s else gate.by_service(last["files"], counted, {})
        # The processes as they are now: a restart that was found already must not be found again.
        reading = {**self.reading, **{name: r for name, r in last["reading"].items() if name == "pm2"}}
        return {
            "reading": reading,
            "bookmarks": self.bookmarks or [],
            "counts": {path: asdict(one) for path, one in {**self.counts, **counted}.items()},
            "normal": {service: asdict(one) for service, one in normal.items()},
            "baseline_s": self.baseline_s or max(0.001, round(now - self.begun, 3)),
            "completed_at": round(now, 3),
        }
