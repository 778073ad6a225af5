"""Everything that a run checked, as one list: what all files of a report count and name. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible.module_utils.rollout.findings import STATUSES
from ansible.module_utils.rollout.report.reading import (
    listing,
    mapping,
    mappings,
    number,
    seconds_of,
    text,
    texts,
)
from ansible.module_utils.rollout.report.sections import Section
from ansible.module_utils.rollout.report.wording import counted, first_line, objects, size, tally

FAILED, WARNING, NOT_TESTED, PASSED = STATUSES


@dataclass(frozen=True)
class Check:
    """One thing that was checked.

    :ivar id: unique on its host: the section, and for an item of a checklist its own id
    :ivar group: the section's kind, or its name where nobody here knows the kind
    :ivar section: its name
    :ivar status: one of the checklist's
    """

    id: str
    group: str
    title: str
    status: str
    observed: str = ""
    expected: str = ""
    hint: str = ""
    evidence: Any = field(default_factory=dict)
    seconds: float = 0.0
    section: str = ""


def checks_of(sections: Sequence[Section]) -> list[Check]:
    """The checks of a host, in the order of the run; the last is that the run came to its end."""
    found: list[Check] = []
    for section in sections:
        items = list(_items(section))
        found += items
        if not items or (section.failed and not any(item.status == FAILED for item in items)):
            found += _whole(section)
    return [*found, _run(sections, found)]


def counts(checks: Iterable[Check]) -> dict[str, int]:
    """How many checks each status has."""
    told = [check.status for check in checks]
    return {status: told.count(status) for status in STATUSES}


def told(counted_: Mapping[str, int]) -> str:
    """Such as ``1 failed, 40 passed, 2 warnings, 3 not tested``."""
    warnings = "warning" if counted_[WARNING] == 1 else "warnings"
    words = ((FAILED, "failed"), (PASSED, "passed"), (WARNING, warnings), (NOT_TESTED, "not tested"))
    return tally([(counted_[status], word) for status, word in words])


def _items(section: Section) -> Iterator[Check]:
    """The items of a checklist. Two of one id would be counted as two and found as one, so they are numbered."""
    seen: dict[str, int] = {}
    for item in mappings(section.data.get("findings")):
        status, own = text(item.get("status")), text(item.get("id"))
        if status not in STATUSES or not own:
            continue
        seen[own] = seen.get(own, 0) + 1
        again = f"#{seen[own]}" if seen[own] > 1 else ""
        yield Check(
            id=f"{section.name}.{own}{again}",
            group=section.kind or section.name,
            title=text(item.get("title")) or own,
            status=status,
            observed=text(item.get("observed")),
            expected=text(item.get("expected")),
            hint=text(item.get("hint")),
            evidence=item.get("evidence") or {},
            seconds=number(item.get("seconds")) or 0.0,
            section=section.name,
        )


def _whole(section: Section) -> list[Check]:
    """The section as one check; of some there is nothing to say."""
    judge = _JUDGES.get(section.kind, _any)
    judged = judge(section)
    if judged is None:
        return []
    if judged.status == FAILED and not judged.observed:
        judged = replace(judged, observed=text(section.data.get("msg")) or "failed")
    return [replace(judged, seconds=seconds_of(section.data))]


def _check(section: Section, title: str, status: str, observed: str = "", **more: Any) -> Check:
    return Check(
        section.name, section.kind or section.name, title, status, observed, section=section.name, **more
    )


def _any(section: Section) -> Check:
    said = text(section.data.get("summary"))
    return _check(section, section.title, FAILED if section.failed else PASSED, said)


def _rehearsal(section: Section) -> Check:
    title = "What is pending was rehearsed on this server"
    if section.failed:
        return _check(section, title, FAILED)
    pending = [
        text(one.get("label")) for one in mappings(section.data.get("migrations")) if one.get("pending")
    ]
    said = f"pending: {', '.join(pending)}" if pending else text(section.data.get("summary"))
    return _check(section, title, PASSED, said)


def _backup(section: Section) -> Check:
    title = "The backup was restored and equals the source"
    data, backup = section.data, mapping(section.data.get("backup"))
    if data.get("overridden"):
        why = f"{text(data.get('by'))} went without: {text(data.get('reason'))}"
        return _check(section, title, FAILED if section.failed else WARNING, why)
    if section.failed:
        return _check(section, title, FAILED)
    if not backup:
        return _check(section, title, NOT_TESTED, text(data.get("summary")) or "no backup was taken")
    rows, where = number(backup.get("rows")), text(mapping(backup.get("proof")).get("where"))
    tables = len(mapping(backup.get("tables")))
    seen = f"{counted(int(rows or 0), 'row')} of {counted(tables, 'table')}, {size(number(backup.get('bytes')) or 0)}"
    proven = bool(backup.get("proven"))
    seen += f"; restored into {where}" if proven and where else "" if proven else "; not proven"
    return _check(section, title, PASSED if proven else FAILED, seen)


_GATE = {"green": PASSED, "red": FAILED, "broken": FAILED, "not_tested": NOT_TESTED}


def _gate(section: Section) -> Check:
    return _looked(section, f"The application is well {section.about}")


def _watch(section: Section) -> Check:
    return _looked(section, "The application stays well while it is watched")


def _looked(section: Section, title: str) -> Check:
    state, reasons = text(section.data.get("state")), "; ".join(texts(section.data.get("reasons")))
    status = FAILED if section.failed else _GATE.get(state, NOT_TESTED)
    if status == FAILED and not section.failed:
        # Somebody takes a migration back because the application is not well: known, and no reason to stop.
        status = WARNING
    samples = mappings(section.data.get("samples"))
    seen = f"{looked(samples[-1])}, {counted(len(samples), 'look')}" if samples else ""
    observed = "; ".join(part for part in (reasons, seen) if part)
    return _check(
        section, title, status, observed if state in _GATE else f"{state or 'no state'}; {observed}"
    )


def looked(sample: Mapping[str, Any]) -> str:
    """What one look at the application saw, in a line."""
    parts = []
    if number(sample.get("services")):
        parts.append(f"{text(sample.get('online'))} of {counted(int(sample['services']), 'service')} online")
    if text(sample.get("whatsapp")):
        parts.append(f"WhatsApp {text(sample.get('whatsapp'))}")
    errors = number(sample.get("new_errors"))
    if errors is not None:
        parts.append(counted(int(errors), "new error"))
    return ", ".join(parts)


def _migration(section: Section) -> Check:
    executed = mapping(section.data.get("executed"))
    title = f"Migration {section.about} is in force"
    if section.failed:
        return _check(section, title, FAILED)
    sent = len(listing(executed.get("statements")))
    return _check(
        section,
        title,
        PASSED,
        f"{text(executed.get('state'))}, {counted(sent, 'statement')}"
        if executed
        else text(section.data.get("summary")),
    )


def _message(section: Section) -> Check:
    status = text(section.data.get("status"))
    return _check(
        section,
        f"The bot answers the test phone, {section.about}",
        status if status in (PASSED, FAILED, NOT_TESTED) else FAILED if section.failed else NOT_TESTED,
        text(section.data.get("reason")),
    )


def _verify(section: Section) -> Check:
    title = "The catalog is what the ledger recorded"
    differences = mappings(section.data.get("differences"))
    if section.failed:
        named = [text(one.get("object")) for one in differences]
        shown = ", ".join(named[:5]) + (" …" if len(named) > 5 else "")
        return _check(
            section, title, FAILED, f"{counted(len(named), 'difference')}: {shown}" if named else ""
        )
    kinds = mapping(section.data.get("counts"))
    seen = ", ".join(objects(int(number(count) or 0), kind) for kind, count in kinds.items())
    return _check(section, title, WARNING if differences else PASSED, seen)


def _audit(section: Section) -> Check:
    failing = number(mapping(section.data.get("counts")).get("fails")) or 0
    said = text(section.data.get("sentence")) or "not proven: no database was asked"
    proven = bool(text(section.data.get("sentence")))
    status = FAILED if section.failed else WARNING if failing else PASSED if proven else NOT_TESTED
    return _check(
        section,
        "The code's queries run on the schema",
        status,
        first_line(text(section.data.get("msg"))) or said,
    )


def _rollback(section: Section) -> Check | None:
    data = section.data
    if section.about:
        said = "" if section.failed else text(data.get("summary"))
        return _check(
            section, f"Migration {section.about} was taken back", FAILED if section.failed else PASSED, said
        )
    automatic = "cause" in data
    taken, stays = texts(data.get("taken_back")), texts(data.get("stays"))
    if automatic and not taken and not stays:
        return None
    title = "What the run applied was taken back" if automatic else "What was asked for was taken back"
    seen = f"taken back: {', '.join(taken) or 'nothing'}"
    seen += f"; stays: {', '.join(stays)}" if stays else ""
    why = text(data.get("refused")) if automatic else text(data.get("reason"))
    if not automatic:
        return _check(section, title, FAILED if section.failed else PASSED, seen, hint=why)
    if stays:
        return _check(section, title, FAILED if why else WARNING, seen, hint=why)
    same = bool(data.get("as_before"))
    seen += "; the schema is as it was before" if same else "; the schema is not as it was before"
    return _check(section, title, PASSED if same else FAILED, seen)


def _stopped(section: Section) -> Check | None:
    return None


_JUDGES: dict[str, Callable[[Section], Check | None]] = {
    "rehearsal": _rehearsal,
    "backup": _backup,
    "gate": _gate,
    "watch": _watch,
    "migration": _migration,
    "message": _message,
    "verify": _verify,
    "audit": _audit,
    "rollback": _rollback,
    "stopped": _stopped,
    "end": _stopped,
}


def _run(sections: Sequence[Section], found: Sequence[Check]) -> Check:
    """That the run came to its end; fails with the run, so that no failed run is without a failed check."""
    title = "Every step of the run ended well"
    failed = [section for section in sections if section.failed]
    if failed:
        return Check("run", "run", title, FAILED, reason(sections))
    if any(section.kind == "end" for section in sections):
        return Check("run", "run", title, PASSED)
    last = sections[-1].title if sections else "nothing"
    return Check("run", "run", title, NOT_TESTED, f"it has not ended; recorded last: {last}")


def reason(sections: Sequence[Section]) -> str:
    """Why the run failed: what the rescue noted, or the first section that failed; empty when nothing did."""
    failed = [section for section in sections if section.failed]
    for section in failed:
        if section.name == "rollback" and text(section.data.get("reason")):
            return text(section.data["reason"])
    for section in sorted(failed, key=lambda one: one.kind == "stopped"):
        said = text(section.data.get("msg")) or "; ".join(texts(section.data.get("reasons")))
        said = said or text(section.data.get("reason"))
        if said:
            return said
    return f"{failed[0].title} failed" if failed else ""
