"""Look at an application for half an hour. How it is looked at, told and recorded is the caller's matter.

Everything that a watch knows is in the section that it hands on after each look: whoever has that section can go on
where another process was ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import ModuleType
from typing import Any, Protocol

from ansible.module_utils.rollout import gate, watch, watch_figures
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.gate import BROKEN, GREEN, RED, Before, Decision, Sample
from ansible.module_utils.rollout.gate_watch import Reference, unseen
from ansible.module_utils.rollout.watch import Plan
from ansible.module_utils.rollout.watch_figures import FigureLimits, Reading

#: How long a reference can be compared with, seconds: session_store.py reads the keys that expire within a day of it.
REFERENCE_S = 24 * 3600
#: How often the time that is left is told between two looks, seconds.
TICK_S = 1.0
BEFORE, FIRST = "before the run", "the first sample"


@dataclass(frozen=True)
class Seen:
    """One look; a source that was not asked, or could not be, is None.

    :ivar application: as application_info returns it
    :ivar database: as pg_activity_info returns it
    :ivar host: as host_resources_info returns it
    :ivar broken: what could not be asked at all: source, reason and text
    """

    application: Mapping[str, Any] | None = None
    database: Mapping[str, Any] | None = None
    host: Mapping[str, Any] | None = None
    broken: Sequence[Mapping[str, str]] = ()


#: Makes one look: what changes of application_info's arguments, and the counters that CPU is measured since.
Look = Callable[[Mapping[str, Any], Mapping[str, Any]], Seen]


class Screen(Protocol):
    """What the operator sees."""

    def sample(self, line: str, remarks: Sequence[str]) -> None:
        """A look was made; remarks say what is wrong."""

    def tick(self, line: str) -> None:
        """The same line with less time left."""


@dataclass(frozen=True)
class Limits:
    """What is tolerated, of the application and of the figures."""

    application: gate.Limits = field(default_factory=gate.Limits)
    figures: FigureLimits = field(default_factory=FigureLimits)

    def as_result(self) -> dict[str, Any]:
        """For the record, flat; how often is looked is the plan's matter."""
        lines = asdict(self.application)
        return {**{name: lines[name] for name in lines if "samples" not in name}, **asdict(self.figures)}


def is_over(section: Mapping[str, Any]) -> bool:
    """Whether a recorded watch has come to a decision. One that could not be read to the end may be continued."""
    return section.get("state") in (GREEN, RED)


def _require_young(age_s: float) -> None:
    """Refuse to compare with what is too old: the session's keys that expired since would count as lost.

    :raises RolloutError: the reference is older than what it knows of the keys reaches
    """
    if age_s > REFERENCE_S:
        raise RolloutError(
            f"the watch cannot be continued: its baseline is {age_s / 3600:.0f} hours old, and holds for"
            f" {REFERENCE_S / 3600:.0f}",
            hint="Begin a new one: ansible-playbook playbooks/watch.yml without run_id.",
        )


class Watch:
    """A watch, begun or continued.

    :param plan: how long, how often
    :param clock: has ``time``, ``monotonic`` and ``sleep``, as the module of that name
    :param reference: of an earlier gate, in this process; empty: the first look is the baseline
    :param baseline: ``Reading`` of before the run as a dict; empty: the first look is the baseline
    :param known: section that an earlier process left; empty: nothing
    :raises RolloutError: what it was compared with is too old to go on with
    """

    def __init__(
        self,
        plan: Plan,
        limits: Limits,
        *,
        clock: ModuleType | Any,
        reference: Mapping[str, Any] | None = None,
        baseline: Mapping[str, Any] | None = None,
        known: Mapping[str, Any] | None = None,
    ) -> None:
        self.plan, self.limits, self._clock = plan, limits, clock
        self._started = clock.monotonic()
        self._wall = clock.time()
        self.history: list[Sample] = []
        self._tried = 0
        self._seen = False
        self._previous: Reading | None = None
        given = dict(reference or {})
        since = self._wall - (self._started - float(given["completed_at"])) if given else self._wall
        first = dict(baseline or {})
        if known:
            self.history = [watch.sample(one) for one in known["samples"]]
            # A clock that was set back meanwhile must not let a look be older than the one before it.
            self._wall = max(self._wall, self.history[-1].at)
            kept = known["reference"]
            given, first, since = kept["application"], kept["baseline"], float(kept["since"])
            _require_young(self._wall - since)
        self._since = since
        self._compared = Reference(given, self._started)
        self._given = given
        self._of = str(first.get("of", BEFORE)) if first else FIRST
        self._baseline = Reading(float(first["at"]), first["database"], first["host"]) if first else None

    def run(self, look: Look, screen: Screen, record: Callable[[dict[str, Any]], None]) -> Decision:
        """Look until it is decided.

        :param record: called with the section after each look
        """
        while True:
            sample = self._sample(look)
            decision = watch.decide(self.history, self.plan, tried=self._tried)
            record(self.section(decision))
            screen.sample(self._line(0), watch.remarks(sample))
            if decision is not None:
                return decision
            self._wait(sample.at + watch.pause(self.history, self.plan), screen)

    def _now(self) -> float:
        """Seconds since 1970, by the clock that nobody sets while this process runs."""
        return float(self._wall + self._clock.monotonic() - self._started)

    def _wait(self, until: float, screen: Screen) -> None:
        while (rest := until - self._now()) > 0:
            self._clock.sleep(min(rest, TICK_S))
            screen.tick(self._line(self._now() - self.history[-1].at))

    def _line(self, passed_s: float) -> str:
        # While nobody can look, no time is watched.
        passed_s = 0 if self.history[-1].broken else passed_s
        return watch.live_line(self.history, self.plan, watch.left(self.history, self.plan) - passed_s)

    def _sample(self, look: Look) -> Sample:
        at = round(self._now(), 3)
        counters = (self._previous.host or {}).get("counters", {}) if self._previous else {}
        seen = look(self._compared.arguments, counters)
        judged = self._judged(at, seen)
        observed = {
            "continued": not self._tried and bool(self.history),
            **judged.observed,
        }
        draft = Sample(at, judged.findings, judged.broken, observed)
        watched = watch.watched([*self.history, draft], self.plan)
        observed.update(watched_s=watched, number=self.plan.number(watched))
        self.history.append(draft)
        self._tried += 1
        return draft

    def _judged(self, at: float, seen: Seen) -> Sample:
        application = seen.application
        if application is not None:
            self._compared.complete(application)
            self._seen = True
            before = Before(
                self._compared.counts,
                self._compared.normal,
                self._compared.baseline_s,
                self._now() - self._since,
            )
            judged = gate.judge(application, at=at, limits=self.limits.application, before=before)
        else:
            judged = gate.judge(
                {**unseen("", "", ""), "broken": []}, at=at, limits=self.limits.application, before=Before()
            )
        now = Reading(at, seen.database, seen.host)
        self._complete_baseline(now)
        baseline = self._baseline or now
        findings = watch_figures.judge(now, baseline, self._previous, self.limits.figures)
        figures = watch_figures.figures(now, baseline, self._previous)
        observed = {**judged.observed, **figures}
        if not observed["services"]:
            observed.update(online=None, services=None, memory=None, cpu=None)
        if application is None or any(one["source"] == "logs" for one in application["broken"]):
            observed["new_errors"] = None
        self._previous = now
        return Sample(at, (*judged.findings, *findings), (*judged.broken, *seen.broken), observed)

    def _complete_baseline(self, now: Reading) -> None:
        """Take from a look what is not known yet."""
        known = self._baseline or Reading(now.at, None, None)
        self._baseline = Reading(
            known.at,
            now.database if known.database is None else known.database,
            now.host if known.host is None else known.host,
        )

    def section(self, decision: Decision | None) -> dict[str, Any]:
        """For the record of the run: docs/watch.md."""
        first, last = self.history[0], self.history[-1]
        baseline = self._baseline or Reading(first.at, None, None)
        state = watch.RUNNING if decision is None else decision.state
        return {
            "failed": state in (RED, BROKEN),
            "state": state,
            "reasons": list(decision.reasons) if decision else [],
            "began_at": first.at,
            "seconds": round(last.at - first.at, 3),
            "watched_s": last.observed["watched_s"],
            "duration_s": self.plan.duration_s,
            "interval_s": self.plan.interval_s,
            "planned": self.plan.planned,
            "limits": {
                "red_samples": self.plan.red_samples,
                "broken_samples": self.plan.broken_samples,
                "recheck_s": self.plan.recheck_s,
                **self.limits.as_result(),
            },
            "baseline": {
                "of": self._of,
                "at": baseline.at,
                **watch_figures.known(baseline),
            },
            "gaps": [gap.as_result() for gap in watch.gaps(self.history, self.plan)],
            "samples": [sample.as_result() for sample in self.history],
            "reference": {
                "application": {
                    **self._given,
                    "reading": self._compared.reading,
                    "bookmarks": self._compared.bookmarks,
                    "completed_at": 0,
                },
                "since": self._since,
                "baseline": {"of": self._of, **asdict(baseline)},
            },
        }

    def reference(self) -> dict[str, Any]:
        """For a gate after this watch, in this process; empty when no look at the application could be made."""
        return self._compared.for_later() if self._seen else {}
