"""Does the application suffer? Findings of each look, and a decision over several of them. Pure.

A single bad look is normal life: WhatsApp closes connections by itself. So looks are repeated, and the gate is red
when enough of them were bad, or when one found what time does not heal. A source that could not be read is no finding:
it makes the gate broken, which stops a run and takes nothing back.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ansible.module_utils.rollout.errors import RolloutError

GREEN, RED, BROKEN = "green", "red", "broken"

#: Problems in the log that tell of the connection. Where there is a verdict on the WhatsApp client, it weighs them, in
#: their order; elsewhere they are counted as any other.
CONNECTION_PATTERNS = frozenset(("connection_closed", "disconnected", "reconnecting", "reconnection_failed"))
_ERROR_LEVELS = ("error", "fatal")
_CONNECTED = "connected"
_LOST_CONTINUITY = "broken"
#: Reasons for which a source cannot be read that another look will not change: somebody has to correct the inventory.
MISCONFIGURED = frozenset(
    (
        "bad_argument",
        "bad_baseline",
        "bad_bookmark",
        "bad_logs",
        "bad_pattern",
        "bad_url",
        "forbidden_port",
        "no_home",
        "no_permission",
        "no_such_user",
        "other_user",
        "unknown_company",
    )
)


@dataclass(frozen=True)
class Limits:
    """What is tolerated.

    :ivar samples: looks that a green gate takes at least
    :ivar red_samples: bad looks that make a gate red, broken ones that make it broken
    :ivar error_lines: new lines of level error or fatal that a service may log
    :ivar problem_lines: new lines of one problem pattern that a service may log
    :ivar problem_budgets: the same for single patterns, by name
    :ivar rate_factor: how many times the baseline's rate of such lines is normal and allowed besides
    :ivar errors_per_minute: rate of such lines at which an application is unhealthy before anything was done to it
    """

    samples: int = 6
    red_samples: int = 3
    error_lines: int = 5
    problem_lines: int = 5
    problem_budgets: Mapping[str, int] = field(default_factory=dict)
    rate_factor: float = 2.0
    errors_per_minute: float = 30.0

    def __post_init__(self) -> None:
        if self.samples < 1 or not 1 <= self.red_samples <= self.samples:
            raise RolloutError(
                f"the gate has samples {self.samples} and red_samples {self.red_samples}",
                hint="Take at least one sample, and let between 1 and all of them make the gate red: gate_samples,"
                " gate_red_samples.",
            )
        for name in ("error_lines", "problem_lines", "rate_factor", "errors_per_minute"):
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0:
                raise RolloutError(
                    f"the limit {name} is {value}",
                    hint=f"A number of 0 or more: gate_{name}, or watch_{name} for a watch.",
                )
        for name, lines in self.problem_budgets.items():
            if isinstance(lines, bool) or not isinstance(lines, int) or lines < 0:
                raise RolloutError(
                    f"the budget of {name} is {lines!r}",
                    hint="A number of lines, 0 or more: gate_problem_budgets.",
                )


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with the application.

    :ivar source: pm2, whatsapp, logs or store
    :ivar subject: the service, or what else it is about
    :ivar code: for a machine
    :ivar text: for a person
    :ivar lasting: whether it cannot go away by itself while the gate looks
    """

    source: str
    subject: str
    code: str
    text: str
    lasting: bool = False

    def __str__(self) -> str:
        return f"{self.subject}: {self.text}"


@dataclass(frozen=True)
class Counts:
    """Lines that speak of trouble, of one log or of one service.

    :ivar read: lines of any kind, noise included
    :ivar errors: lines of level error or fatal
    :ivar problems: lines by pattern that is a problem
    :ivar fatal: lines by pattern that is fatal
    :ivar continuity: of the log, as log_window says it
    """

    read: int = 0
    errors: int = 0
    problems: Mapping[str, int] = field(default_factory=dict)
    fatal: Mapping[str, int] = field(default_factory=dict)
    continuity: str = "proven"

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.read + other.read,
            self.errors + other.errors,
            dict(Counter(self.problems) + Counter(other.problems)),
            dict(Counter(self.fatal) + Counter(other.fatal)),
        )

    def since(self, earlier: Counts) -> Counts:
        """The lines that came after an earlier count of the same log.

        What is fatal is never old: a service does not recover from it by itself.
        """
        if self.continuity == _LOST_CONTINUITY != earlier.continuity or self.read < earlier.read:
            # What was counted then is no longer in the log: all that is there came later. A log that was empty when it
            # was bookmarked is not "broken" by that; its number of lines tells.
            return self
        return Counts(
            self.read - earlier.read,
            max(0, self.errors - earlier.errors),
            dict(Counter(self.problems) - Counter(earlier.problems)),
            self.fatal,
        )

    @property
    def lines(self) -> int:
        """Most lines of a pattern are of level error too: the larger of both counts each of those once."""
        return max(self.errors, sum(self.problems.values()) + sum(self.fatal.values()))


@dataclass(frozen=True)
class Before:
    """What a look is compared with.

    :ivar counts: lines that were there already, by log
    :ivar normal: lines of the baseline, by service
    :ivar baseline_s: length of the baseline, seconds; 0 while it is being taken
    :ivar since_s: time since ``counts`` were taken, or since the baseline was begun while it is being taken, seconds
    """

    counts: Mapping[str, Counts] = field(default_factory=dict)
    normal: Mapping[str, Counts] = field(default_factory=dict)
    baseline_s: float = 0.0
    since_s: float = 0.0


@dataclass(frozen=True)
class Sample:
    """One look, judged.

    :ivar at: when it was made, seconds since 1970
    :ivar findings: what is wrong
    :ivar broken: sources that could not be read; source, reason and text
    :ivar observed: what was seen, in figures, for the record
    """

    at: float
    findings: tuple[Finding, ...]
    broken: tuple[Mapping[str, str], ...]
    observed: Mapping[str, Any]

    @property
    def bad(self) -> bool:
        return bool(self.findings)

    def as_result(self) -> dict[str, Any]:
        """For the record of the run."""
        return {
            "at": round(self.at, 3),
            "findings": [asdict(finding) for finding in self.findings],
            "broken": [dict(one) for one in self.broken],
            **self.observed,
        }


@dataclass(frozen=True)
class Decision:
    """What the gate says.

    :ivar state: green, red or broken
    :ivar reasons: why it is not green; on green, what was tolerated
    """

    state: str
    reasons: tuple[str, ...]


def counts(files: Mapping[str, Any], *, connection: bool) -> dict[str, Counts]:
    """The lines that speak of trouble, by log.

    :param files: as application_info returns them
    :param connection: whether the patterns that tell of the WhatsApp connection count
    """

    def of_kind(found: Mapping[str, Any], kind: str) -> dict[str, int]:
        return {
            name: int(pattern["count"])
            for name, pattern in found["patterns"].items()
            if pattern["kind"] == kind and (connection or name not in CONNECTION_PATTERNS)
        }

    return {
        path: Counts(
            read=found["lines"],
            errors=sum(found["levels"].get(level, 0) for level in _ERROR_LEVELS),
            problems=of_kind(found, "problem"),
            fatal=of_kind(found, "fatal"),
            continuity=found["continuity"],
        )
        for path, found in files.items()
    }


def trouble(seen: Mapping[str, Any]) -> dict[str, Counts]:
    """:func:`counts` of a look."""
    return counts(seen["files"], connection="whatsapp" not in seen)


def by_service(
    files: Mapping[str, Any], now: Mapping[str, Counts], earlier: Mapping[str, Counts]
) -> dict[str, Counts]:
    """The lines that came since, by service; those of a shared log count for each of its services.

    :param files: as application_info returns them
    :param now: by log
    :param earlier: by log
    """
    new: dict[str, Counts] = {}
    for path, found in files.items():
        for service in found["services"]:
            came = now[path].since(earlier.get(path, Counts()))
            new[service] = new.get(service, Counts()) + came
    return new


def judge(seen: Mapping[str, Any], *, at: float, limits: Limits, before: Before) -> Sample:
    """Judge one look at the application.

    :param seen: what application_info returned
    :param at: now, seconds since 1970
    """
    new = by_service(seen["files"], trouble(seen), before.counts)
    findings = (
        *_services(seen),
        *_client(seen),
        *_store(seen),
        *_fatal_lines(seen["logs"], new),
        *_too_many(seen["logs"], new, limits, before),
    )
    return Sample(at, findings, tuple(seen["broken"]), _observed(seen, new))


def _services(seen: Mapping[str, Any]) -> Iterator[Finding]:
    for problem in seen["problems"]:
        known = seen["elsewhere"].get(problem["service"]) if problem["code"] == "missing" else None
        text = problem["text"] + (f"; known to {', '.join(known)}" if known else "")
        yield Finding("pm2", problem["service"], problem["code"], text)
    changed: dict[str, list[str]] = {}
    for change in seen["changes"]:
        if not change["expected"]:
            changed.setdefault(change["service"] or "PM2", []).append(change["text"])
    for service, texts in changed.items():
        yield Finding(
            "pm2", service, "restarted", f"is not the process that it was: {'; '.join(texts)}", True
        )


def _client(seen: Mapping[str, Any]) -> Iterator[Finding]:
    client = seen.get("whatsapp")
    if client is not None and client["verdict"] != _CONNECTED:
        yield Finding("whatsapp", "WhatsApp", client["verdict"], client["reason"], bool(client["terminal"]))


def _store(seen: Mapping[str, Any]) -> Iterator[Finding]:
    for one in seen.get("store", {}).get("findings", ()):
        text = f"{one['what']}: expected {one['expected']}, observed {one['observed']}"
        yield Finding("store", "WhatsApp session", "touched", text, lasting=True)


def _fatal_lines(logs: Mapping[str, Any], new: Mapping[str, Counts]) -> Iterator[Finding]:
    for service, came in new.items():
        for name, count in came.fatal.items():
            text = (
                f"{_lines(count, name)} since the baseline, which a service does not recover from by itself"
                f"{_quoted(logs[service], name)}"
            )
            yield Finding("logs", service, name, text, lasting=True)


def _too_many(
    logs: Mapping[str, Any], new: Mapping[str, Counts], limits: Limits, before: Before
) -> Iterator[Finding]:
    for service, came in new.items():
        normal = before.normal.get(service, Counts())
        kinds = [("level error", came.errors, normal.errors, limits.error_lines)]
        for name, count in came.problems.items():
            budget = limits.problem_budgets.get(name, limits.problem_lines)
            kinds.append((name, count, normal.problems.get(name, 0), budget))
        for kind, count, count_normal, budget in kinds:
            allowed = budget + _normal(count_normal, limits, before)
            if count > allowed:
                known = (
                    f" ({count_normal} in the {before.baseline_s:.0f} s of the baseline)"
                    if before.baseline_s
                    else ""
                )
                text = (
                    f"{_lines(count, kind)} in {before.since_s:.0f} s; up to {allowed} would be normal{known}"
                    f"{_quoted(logs[service], None if kind == 'level error' else kind)}"
                )
                yield Finding("logs", service, kind.replace("level ", ""), text, lasting=True)


def _normal(count_normal: int, limits: Limits, before: Before) -> int:
    if not before.baseline_s:
        return math.floor(limits.errors_per_minute * before.since_s / 60)
    return math.floor(limits.rate_factor * count_normal * before.since_s / before.baseline_s)


def _lines(count: int, kind: str) -> str:
    return f"{count} new {'line' if count == 1 else 'lines'} of {kind}"


def _quoted(found: Mapping[str, Any], pattern: str | None) -> str:
    """The last sample of a pattern, or of the lines of level error that are of none."""
    texts = [
        sample["text"]
        for sample in found["samples"]
        if sample["pattern"] == pattern and (pattern is not None or sample["level"] in _ERROR_LEVELS)
    ]
    return f", such as {texts[-1]!r}" if texts else ""


def _observed(seen: Mapping[str, Any], new: Mapping[str, Counts]) -> dict[str, Any]:
    services = seen["services"]
    client = seen.get("whatsapp")
    return {
        "online": sum(bool(one["online"] or one["state"] == "idle") for one in services.values()),
        "services": len(services),
        "pids": {name: list(one["pids"]) for name, one in services.items()},
        "memory": sum(one["memory"] for one in services.values()),
        "cpu": round(sum(one["cpu"] for one in services.values()), 1),
        "whatsapp": None if client is None else client["verdict"],
        "store": seen["store"]["state"] if "store" in seen else None,
        "new_errors": sum(came.lines for came in new.values()),
        "continuity": {name: found["continuity"] for name, found in seen["logs"].items()},
        "reading_seconds": seen["seconds"],
    }


def decide(history: Sequence[Sample], limits: Limits) -> Decision | None:
    """Decide over the looks so far; None: look again.

    Ends after at most ``samples + 2 * (red_samples - 1)`` looks: each one beyond ``samples`` is bad, broken, or the
    last.
    """
    last = history[-1]
    bad = [sample for sample in history if sample.bad]
    broken = [sample for sample in history if sample.broken]
    lasting = [finding for finding in last.findings if finding.lasting]
    if lasting:
        return Decision(RED, texts(lasting))
    if len(bad) >= limits.red_samples:
        reasons = texts(bad[-1].findings)
        return Decision(RED, (*reasons, f"{len(bad)} of {len(history)} looks were bad"))
    if len(broken) >= limits.red_samples or any(one["reason"] in MISCONFIGURED for one in last.broken):
        return Decision(
            BROKEN, tuple(dict.fromkeys(one["text"] for sample in broken for one in sample.broken))
        )
    if len(history) >= limits.samples and not last.bad and not last.broken:
        tolerated = [f"tolerated: {text}" for sample in bad for text in texts(sample.findings)]
        missed = [f"tolerated: {one['text']}" for sample in broken for one in sample.broken]
        return Decision(GREEN, tuple(dict.fromkeys([*tolerated, *missed])))
    return None


def texts(findings: Sequence[Finding]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(finding) for finding in findings))


def live_line(label: str, history: Sequence[Sample], limits: Limits, left_s: float) -> str:
    """One line for the operator who waits.

    :param label: what the gate is after
    :param left_s: seconds until the gate can be green
    """
    last = history[-1]
    seen = last.observed
    parts = [f"gate {label} {len(history)}/{max(limits.samples, len(history))}"]
    if seen["services"]:
        parts.append(f"{seen['online']}/{seen['services']} online")
    if seen["whatsapp"] is not None:
        parts.append(str(seen["whatsapp"]))
    parts.append(f"{seen['new_errors']} new errors")
    if last.broken:
        parts.append("could not read " + ", ".join(one["source"] for one in last.broken))
    parts.append(f"{max(0, round(left_s))} s left")
    return " · ".join(parts)
