"""What the page shows of a host, put together for its template. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.rollout.report.changes import created
from ansible.module_utils.rollout.report.charts import Chart, charts_of
from ansible.module_utils.rollout.report.checks import (
    Check,
    counts,
    looked,
    told,
)
from ansible.module_utils.rollout.report.glance import tiles
from ansible.module_utils.rollout.report.reading import (
    mapping,
    mappings,
    moment,
    number,
    seconds_of,
    text,
    texts,
)
from ansible.module_utils.rollout.report.sections import EXPECTED, TITLES, Section, of_kind
from ansible.module_utils.rollout.report.sentence import Host, next_steps, sentence
from ansible.module_utils.rollout.report.sizes import sizes_of
from ansible.module_utils.rollout.report.timeline import phases
from ansible.module_utils.rollout.report.wording import counted, day, duration, size

#: A name and its value, both for people.
Fact = tuple[str, str]
#: Checks by the name of their section; the run's own has none.
BySection = Mapping[str, "list[Check]"]
#: Characters of evidence that stand in one line.
_LINE = 100


@dataclass(frozen=True)
class Looks:
    """What several looks at the application saw.

    :ivar rows: of a table whose head is ``head``
    """

    check: Check
    title: str
    state: str
    reasons: Sequence[str]
    observed: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def host_view(name: str, host: Host, record: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that the template needs of a host."""
    sections = host.sections
    kinds = {section.kind for section in sections}
    by_section: dict[str, list[Check]] = {}
    for check in host.checks:
        by_section.setdefault(check.section, []).append(check)
    return {
        "name": name,
        "outcome": host.outcome,
        "sentence": sentence(host),
        "next": next_steps(host, record),
        "tiles": tiles(host),
        "phases": phases(sections, host.checks, record),
        "absent": [TITLES[kind].lower() for kind in EXPECTED if kind not in kinds],
        "checklist": _checklist(host, "verify"),
        "precheck": _checklist(host, "precheck"),
        "rehearsal": [_rehearsed(one, by_section) for one in of_kind(sections, "rehearsal")],
        "migrations": [(migration, by_section[migration.section]) for migration in host.migrations],
        "created": created(host.migrations),
        "locks": [
            (table, held, allowed, migration.label)
            for migration in host.migrations
            for table, held, allowed in migration.locks
        ],
        "other_locks": [migration for migration in host.migrations if migration.other_locks],
        "sizes": _sizes(sections),
        "backups": [_backup(section, by_section) for section in of_kind(sections, "backup")],
        "gates": [_looks(section, by_section) for section in of_kind(sections, "gate")],
        "messages": [_message(section, by_section) for section in of_kind(sections, "message")],
        "watches": [_watch(section, by_section) for section in of_kind(sections, "watch")],
        "undone": host.undone,
        "undone_checks": [check for check in host.checks if check.group == "rollback"],
        "audit": [_audit(section, by_section) for section in of_kind(sections, "audit")],
        "others": [
            _other(section, by_section) for section in sections if section.kind in ("", "restore", "maintain")
        ],
        "run": by_section[""][0],
    }


def pretty(value: Any) -> str:
    """Evidence as people read JSON: what is short, in a line."""
    line = json.dumps(value, ensure_ascii=False, default=str)
    return line if len(line) <= _LINE else json.dumps(value, ensure_ascii=False, indent=1, default=str)


def _checklist(host: Host, kind: str) -> dict[str, Any] | None:
    checks = [check for check in host.checks if check.group == kind]
    if not of_kind(host.sections, kind):
        return None
    facts: list[Fact] = []
    for section in of_kind(host.sections, kind):
        if text(section.data.get("fingerprint")):
            facts.append(("Fingerprint of the catalog", text(section.data.get("fingerprint"))))
        if texts(section.data.get("recorded")):
            facts.append(("In force", ", ".join(texts(section.data.get("recorded")))))
    return {
        "checks": checks,
        "told": told(counts(checks)),
        "facts": facts,
        "differences": [
            (text(difference.get("kind")), text(difference.get("object")), pretty(difference))
            for section in of_kind(host.sections, kind)
            for difference in mappings(section.data.get("differences"))
        ],
    }


def _rehearsed(section: Section, by_section: BySection) -> dict[str, Any]:
    rows = [
        (
            text(one.get("label")) or text(one.get("id")),
            text(one.get("state")),
            text(one.get("action")),
            text(one.get("does")),
            f"{number(one.get('rehearsal_ms')):.0f} ms"
            if number(one.get("rehearsal_ms")) is not None
            else "",
        )
        for one in mappings(section.data.get("migrations"))
    ]
    return {
        "checks": by_section.get(section.name, []),
        "rows": rows,
        "server": text(section.data.get("server_version")),
        "took": duration(seconds_of(section.data)),
    }


def _sizes(sections: list[Section]) -> list[Fact]:
    """Of one size alone nothing follows; the backup names it."""
    found = sizes_of(sections)
    if len(found) < 2:
        return []
    grown = found[-1].size - found[0].size
    sign = "+" if grown >= 0 else "\N{MINUS SIGN}"
    return [*((one.when, size(one.size)) for one in found), ("difference", f"{sign}{size(abs(grown))}")]


def _backup(section: Section, by_section: BySection) -> dict[str, Any]:
    data, backup = section.data, mapping(section.data.get("backup"))
    proof = mapping(backup.get("proof"))
    taken = moment(backup.get("snapshot_at"))
    facts = [
        ("Folder on the host", text(backup.get("folder"))),
        ("Database", size(whole) if (whole := number(data.get("database_bytes"))) is not None else ""),
        ("Snapshot", day(taken) if taken else ""),
        ("Dump", size(number(backup.get("bytes")) or 0) if backup else ""),
        ("SHA-256", text(backup.get("sha256"))),
        ("Restored into", text(proof.get("where"))),
        ("Compared", "every object, row count and checksum is equal" if proof.get("equal") else ""),
        ("Proof took", duration(number(proof.get("seconds")) or 0) if proof else ""),
        ("Made by", text(data.get("programs"))),
        ("Decided by", text(data.get("by"))),
        ("Reason", text(data.get("reason"))),
    ]
    tables = [
        (name, f"{number(mapping(one).get('rows')) or 0:,.0f}", size(number(mapping(one).get("bytes")) or 0))
        for name, one in mapping(backup.get("tables")).items()
    ]
    return {
        "checks": by_section.get(section.name, []),
        "facts": [(label, value) for label, value in facts if value],
        "tables": tables,
    }


_HEAD = ("Time", "Services", "WhatsApp", "New errors", "Memory", "CPU", "Found")


def _looks(section: Section, by_section: BySection) -> Looks:
    samples = mappings(section.data.get("samples"))
    return Looks(
        check=by_section[section.name][0],
        title=section.about or section.title,
        state=text(section.data.get("state")),
        reasons=texts(section.data.get("reasons")),
        observed=f"{looked(samples[-1])} · {counted(len(samples), 'look')} in {duration(seconds_of(section.data))}"
        if samples
        else "",
        head=_HEAD,
        rows=[_look(sample) for sample in samples],
    )


def _look(sample: Mapping[str, Any]) -> list[str]:
    at, memory, cpu = moment(sample.get("at")), number(sample.get("memory")), number(sample.get("cpu"))
    seen = [
        f"{text(one.get('subject')) or text(one.get('source'))}: {text(one.get('text')) or text(one.get('reason'))}"
        for one in (*mappings(sample.get("findings")), *mappings(sample.get("broken")))
    ]
    return [
        f"{at:%H:%M:%S}" if at else "",
        f"{text(sample.get('online'))} of {text(sample.get('services'))}",
        text(sample.get("whatsapp")),
        text(sample.get("new_errors")),
        size(memory) if memory is not None else "",
        f"{cpu:.0f} %" if cpu is not None else "",
        "; ".join(seen),
    ]


def _message(section: Section, by_section: BySection) -> dict[str, Any]:
    asked = number(section.data.get("asked_at"))
    steps = []
    for step in mappings(section.data.get("steps")):
        at = number(step.get("at"))
        after = f"{at - asked:.1f} s" if asked is not None and at is not None else ""
        steps.append(
            (text(step.get("name")), text(step.get("service")), after if step.get("seen") else "not seen")
        )
    return {
        "checks": by_section.get(section.name, []),
        "when": section.about,
        "phone": text(section.data.get("phone")),
        "steps": steps,
    }


def _watch(section: Section, by_section: BySection) -> dict[str, Any]:
    data = section.data
    samples = mappings(data.get("samples"))
    charts: list[Chart] = charts_of(samples) if samples else []
    gaps = [
        (
            f"{begin:%H:%M:%S}" if (begin := moment(gap.get("begin"))) else "",
            duration(number(gap.get("seconds")) or 0),
            text(gap.get("reason")),
        )
        for gap in mappings(data.get("gaps"))
    ]
    watched = number(data.get("watched_s"))
    planned = number(data.get("duration_s"))
    span = (
        f"{duration(watched)} of {duration(planned)}" if watched is not None and planned is not None else ""
    )
    return {
        "checks": by_section.get(section.name, []),
        "span": span,
        "number": f"{len(samples)} looks, {text(data.get('planned'))} planned" if samples else "",
        "on_red": {"fail": "fail", "roll_back": "roll back"}.get(text(data.get("on_red")), ""),
        "baseline": text(mapping(data.get("baseline")).get("of")),
        "charts": charts,
        "gaps": gaps,
        "head": _HEAD,
        "rows": [_look(sample) for sample in samples],
    }


def _audit(section: Section, by_section: BySection) -> dict[str, Any]:
    data = section.data
    return {
        "checks": by_section.get(section.name, []),
        "calls": text(mapping(data.get("totals")).get("calls")),
        "lacks": [
            (
                text(lack.get("code")),
                text(lack.get("reason")),
                ", ".join(texts(lack.get("calls"))),
            )
            for lack in mappings(data.get("lacks"))
        ],
        "page": "audit.html" if "audit.html" in texts(data.get("files")) else "",
    }


def _other(section: Section, by_section: BySection) -> dict[str, Any]:
    data = {name: value for name, value in section.data.items() if name not in ("recorded_at", "changed")}
    return {
        "title": section.title,
        "checks": by_section.get(section.name, []),
        "raw": pretty(data),
    }
