"""Findings of a checklist: each item is judged, all of them are told, the worst first. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

#: From worst to best.
STATUSES = ("failed", "warning", "not_tested", "passed")
#: Characters in a line of the text for people.
WIDTH = 100


@dataclass(frozen=True)
class Verdict:
    """What was found out about one item.

    :ivar status: one of :data:`STATUSES`
    :ivar expected: what has to be, for people
    :ivar observed: what was seen, or why nothing was, for people; never a secret
    :ivar hint: what to do about it; empty when there is nothing to do
    :ivar evidence: the same facts for a machine, JSON-compatible; never a secret
    """

    status: str
    expected: str
    observed: str
    hint: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"{self.status!r} is none of {', '.join(STATUSES)}")


def passed(expected: str, observed: str, **evidence: Any) -> Verdict:
    """All is as it has to be."""
    return Verdict("passed", expected, observed, evidence=evidence)


def failed(expected: str, observed: str, hint: str, **evidence: Any) -> Verdict:
    """The run must not go on."""
    return Verdict("failed", expected, observed, hint, evidence)


def warning(expected: str, observed: str, hint: str, **evidence: Any) -> Verdict:
    """Worth knowing; the run may go on."""
    return Verdict("warning", expected, observed, hint, evidence)


def not_tested(expected: str, why: str, hint: str = "", **evidence: Any) -> Verdict:
    """It was not asked, or could not be. Never the same as passed."""
    return Verdict("not_tested", expected, why, hint, evidence)


@dataclass(frozen=True)
class Finding:
    """One item of a checklist with its verdict.

    :ivar id: short and stable, such as ``tls``
    :ivar title: what has to be true
    :ivar status: one of :data:`STATUSES`
    :ivar seconds: that the reading took which answered it, shared with the other items of that reading
    """

    id: str
    title: str
    status: str
    expected: str
    observed: str
    hint: str
    evidence: Mapping[str, Any]
    seconds: float

    @classmethod
    def of(cls, id: str, title: str, verdict: Verdict, seconds: float) -> Finding:
        """The finding of an item."""
        return cls(
            id=id,
            title=title,
            status=verdict.status,
            expected=verdict.expected,
            observed=verdict.observed,
            hint=verdict.hint,
            evidence=verdict.evidence,
            seconds=round(seconds, 3),
        )

    def as_result(self) -> dict[str, Any]:
        """For a module's result and for the record."""
        return asdict(self)


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """The worst first; findings of one status stay in the order of the checklist."""
    return sorted(findings, key=lambda finding: STATUSES.index(finding.status))


def counts(findings: Sequence[Finding]) -> dict[str, int]:
    """How many findings each status has."""
    return {status: sum(finding.status == status for finding in findings) for status in STATUSES}


def summary(findings: Sequence[Finding]) -> str:
    """Such as ``2 failed, 30 passed, 3 not tested``: one line, nothing that is zero."""
    told = [
        f"{number} {status.replace('_', ' ')}{'s' if status == 'warning' and number > 1 else ''}"
        for status, number in counts(findings).items()
        if number
    ]
    return ", ".join(told) or "nothing was asked"


def text(findings: Sequence[Finding]) -> str:
    """All findings for a terminal: a paragraph for each that needs attention, the others in short."""
    blocks = []
    number = 0
    for finding in ordered(findings):
        if finding.status in ("failed", "warning"):
            number += 1
            blocks.append(_paragraph(number, finding))
    # Many items may have one reason, such as a host that does not answer.
    untested: dict[str, list[str]] = {}
    for finding in findings:
        if finding.status == "not_tested":
            untested.setdefault(f"{finding.observed} {finding.hint}".rstrip(), []).append(finding.id)
    if untested:
        lines = [_wrapped(f"  {', '.join(ids)}: {why}", " " * 6) for why, ids in untested.items()]
        blocks.append("\n".join(["Not tested:", *lines]))
    good = [finding.id for finding in findings if finding.status == "passed"]
    if good:
        blocks.append(_wrapped(f"Passed: {', '.join(good)}", "  "))
    return "\n\n".join(blocks)


def _paragraph(number: int, finding: Finding) -> str:
    lines = [f"{number}. {finding.status.upper()}  {finding.id}: {finding.title}"]
    for label, value in (
        ("expected", finding.expected),
        ("observed", finding.observed),
        ("what to do", finding.hint),
    ):
        if value:
            lines.append(_wrapped(f"   {label}: {value}", " " * 6))
    return "\n".join(lines)


def _wrapped(line: str, indent: str) -> str:
    """Break at spaces; a path or a command that is longer than a line stays whole."""
    parts = line.splitlines() or [""]
    return "\n".join(
        textwrap.fill(
            part,
            WIDTH,
            initial_indent="" if at == 0 else indent,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for at, part in enumerate(parts)
    )
