"""Does the application suffer? Findings of each look, and a decision over several of them. Pure.

A single bad look is normal life: WhatsApp closes connections by itself. So looks are repeated, and the gate is red
when enough of them were bad, or when one found what time does not heal. A source that could not be read is no finding:
it makes the gate broken, which stops a run and takes nothing back.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ansible.module_utils.rollout.errors import RolloutError

GREEN, RED, BROKEN = "green", "red", "broken"

#: Problems in the log that tell of the connection: the verdict on the WhatsApp client weighs them, in their order.
CONNECTION_PATTERNS = frozenset(("connection_closed", "disconnected", "reconnecting", "reconnection_failed"))
_ERROR_LEVELS = ("error", "fatal")
_CONNECTED = "connected"
_STORE_GOOD = ("sound", "untouched")
#: Reasons for which a source cannot be read that another look will not change: somebody has to correct the inventory.
_MISCONFIGURED = frozenset(
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
    """Lines of one service that speak of trouble.

    :ivar errors: lines of level error or fatal
    :ivar problems: lines by pattern that is a problem
    :ivar fatal: lines by pattern that is fatal
    """

    errors: int = 0
    problems: Mapping[str, int] = field(default_factory=dict)
    fatal: Mapping[str, int] = field(default_factory=dict)


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


def counts(logs: Mapping[str, Any]) -> dict[str, Counts]:
    """The lines that speak of trouble, by service.

    :param logs: as application_info returns them
    """

    def of_kind(found: Mapping[str, Any], kind: str) -> dict[str, int]:
        patterns = found["patterns"].items()
        return {name: int(pattern["count"]) for name, pattern in patterns if pattern["kind"] == kind}

    return {
        service: Counts(
            errors=sum(found["levels"].get(level, 0) for level in _ERROR_LEVELS),
            problems={
                name: count
                for name, count in of_kind(found, "problem").items()
                if name not in CONNECTION_PATTERNS
            },
            fatal=of_kind(found, "fatal"),
        )
        for service, found in logs.items()
    }


def judge(
    seen: Mapping[str, Any],
    *,
    at: float,
    limits: Limits,
    before: Mapping[str, Counts],
    baseline_s: float,
    since_s: float,
) -> Sample:
    """Judge one look at the application.

    :param seen: what application_info returned
    :param at: now, seconds since 1970
    :param before: lines that the bookmarks' span already held when the baseline was complete
    :param baseline_s: length of the baseline, seconds; 0 while it is being taken
    :param since_s: time since the baseline was complete, or since it began while it is being taken, seconds
    """
    now = counts(seen["logs"])
    findings = (
        *_services(seen),
        *_client(seen),
        *_store(seen),
        *_fatal_lines(seen["logs"], now, before),
        *_trouble(now, before, limits, baseline_s, since_s),
    )
    return Sample(at, findings, tuple(seen["broken"]), _observed(seen, now, before))


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
        yield Finding("pm2", service, "restarted", f"is not the process that it was: {'; '.join(texts)}", True)


def _client(seen: Mapping[str, Any]) -> Iterator[Finding]:
    client = seen.get("whatsapp")
    if client is not None and client["verdict"] != _CONNECTED:
        yield Finding("whatsapp", "WhatsApp", client["verdict"], client["reason"], bool(client["terminal"]))


def _store(seen: Mapping[str, Any]) -> Iterator[Finding]:
    store = seen.get("store")
    if store is None or store["state"] in _STORE_GOOD:
        return
    if store["state"] == "unknown_company":
        # It depends on the client's answer: the verdict on the client says what is wrong.
        yield Finding(
            "store", "WhatsApp session", "unknown_company", "nobody says which company's session is in use"
        )
    for one in store["findings"]:
        text = f"{one['what']}: expected {one['expected']}, observed {one['observed']}"
        yield Finding("store", "WhatsApp session", "touched", text, lasting=True)


def _fatal_lines(
    logs: Mapping[str, Any], now: Mapping[str, Counts], before: Mapping[str, Counts]
) -> Iterator[Finding]:
    for service, seen in now.items():
        earlier = before.get(service, Counts())
        for name, count in seen.fatal.items():
            new = count - earlier.fatal.get(name, 0)
            if new > 0:
                text = f"{new} new lines of {name}{_quoted(logs[service], name)}"
                yield Finding("logs", service, name, text, lasting=True)


def _trouble(
    now: Mapping[str, Counts],
    before: Mapping[str, Counts],
    limits: Limits,
    baseline_s: float,
    since_s: float,
) -> Iterator[Finding]:
    for service, seen in now.items():
        earlier = before.get(service, Counts())
        kinds = {"errors": (seen.errors, earlier.errors, limits.error_lines)}
        for name, count in seen.problems.items():
            budget = limits.problem_budgets.get(name, limits.problem_lines)
            kinds[name] = (count, earlier.problems.get(name, 0), budget)
        for kind, (count, count_before, budget) in kinds.items():
            allowed = budget + _normal(count_before, limits, baseline_s, since_s)
            if count - count_before > allowed:
                what = "lines of level error" if kind == "errors" else f"lines of {kind}"
                text = (
                    f"{count - count_before} new {what} in {since_s:.0f} s; {allowed} would be normal"
                    f" ({count_before} in the {baseline_s:.0f} s of the baseline)"
                )
                yield Finding("logs", service, kind, text, lasting=True)


def _normal(count_before: int, limits: Limits, baseline_s: float, since_s: float) -> int:
    if not baseline_s:
        return math.floor(limits.errors_per_minute * since_s / 60)
    return math.floor(limits.rate_factor * count_before * since_s / baseline_s)


def _quoted(found: Mapping[str, Any], pattern: str) -> str:
    texts = [sample["text"] for sample in found["samples"] if sample["pattern"] == pattern]
    return f", such as {texts[0]!r}" if texts else ""


def _observed(
    seen: Mapping[str, Any], now: Mapping[str, Counts], before: Mapping[str, Counts]
) -> dict[str, Any]:
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
        "new_errors": sum(_lines(one) - _lines(before.get(name, Counts())) for name, one in now.items()),
        "continuity": {name: found["continuity"] for name, found in seen["logs"].items()},
        "reading_seconds": seen["seconds"],
    }


def _lines(one: Counts) -> int:
    """Most lines of a pattern are of level error too: the larger of both counts each of those once."""
    return max(one.errors, sum(one.problems.values()) + sum(one.fatal.values()))


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
        return Decision(RED, _texts(lasting))
    if len(bad) >= limits.red_samples:
        reasons = _texts(bad[-1].findings)
        return Decision(RED, (*reasons, f"{len(bad)} of {len(history)} looks were bad"))
    if len(broken) >= limits.red_samples or any(one["reason"] in _MISCONFIGURED for one in last.broken):
        return Decision(
            BROKEN, tuple(dict.fromkeys(one["text"] for sample in broken for one in sample.broken))
        )
    if len(history) >= limits.samples and not last.bad and not last.broken:
        tolerated = [f"tolerated: {text}" for sample in bad for text in _texts(sample.findings)]
        missed = [f"tolerated: {one['text']}" for sample in broken for one in sample.broken]
        return Decision(GREEN, tuple(dict.fromkeys([*tolerated, *missed])))
    return None


def _texts(findings: Sequence[Finding]) -> tuple[str, ...]:
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
