"""report.md: what somebody pastes into a ticket. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible.module_utils.rollout.report.checks import FAILED, PASSED, Check, counts, told
from ansible.module_utils.rollout.report.reading import mapping, moment, text, texts
from ansible.module_utils.rollout.report.sections import EXPECTED, TITLES
from ansible.module_utils.rollout.report.sentence import Host, next_steps, sentence
from ansible.module_utils.rollout.report.summary import host_of
from ansible.module_utils.rollout.report.wording import day, duration, first_line, objects

#: Characters that Markdown or HTML would take for something else; an underscore inside a name is none.
_SPECIAL = re.compile(r"([\\`*\[\]<|~&]|(?<![^\W_])_|_(?![^\W_]))")


def report_text(record: Mapping[str, Any]) -> str:
    """The Markdown of a run.

    :param record: report.json with its summary
    """
    summary = mapping(record.get("summary"))
    hosts = {name: host_of(mapping(part)) for name, part in mapping(record.get("hosts")).items()}
    begin, end = moment(record.get("began_at")), moment(summary.get("ended_at"))
    about = [
        _plain(", ".join(texts(record.get("playbook")))),
        _plain(", ".join(texts(record.get("inventory")))),
        f"hosts {_plain(', '.join(hosts) or 'none yet')}",
        day(begin) if begin else "",
        f"took {duration((end - begin).total_seconds())}" if begin and end else "",
    ]
    lines = [
        f"# {_plain(text(summary.get('sentence')))}",
        "",
        f"Outcome: **{_plain(text(record.get('outcome')))}**. Run `{text(record.get('run_id'))}`: "
        + ", ".join(part for part in about if part)
        + f". Checks: {told(mapping(summary.get('counts')))}.",
    ]
    for name, host in hosts.items():
        if len(hosts) > 1:
            lines += ["", f"## {_plain(name)}", "", _plain(sentence(host))]
            lines += ["", f"Checks: {told(counts(host.checks))}."]
        lines += _host(host, record)
    return "\n".join(lines) + "\n"


def _host(host: Host, record: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    steps = next_steps(host, record)
    if steps:
        lines += ["", "What to do next:", "", *(f"- {_plain(step)}" for step in steps)]
    if host.migrations:
        rows = [
            (
                migration.label,
                migration.state,
                ", ".join(objects(len(names), kind) for kind, names in migration.created.items()),
                ", ".join(f"{table}: {held}" for table, held, _ in migration.locks),
                duration(migration.seconds),
            )
            for migration in host.migrations
        ]
        lines += ["", *_table(("Migration", "State", "Created", "Locks on protected tables", "Time"), rows)]
    if host.undone:
        lines += ["", f"Taken back: {_plain(', '.join(host.undone.labels) or 'nothing')}."]
        if host.undone.stays:
            why = f" {_plain(first_line(host.undone.why))}" if host.undone.why else ""
            lines += ["", f"Stays in force: {_plain(', '.join(host.undone.stays))}.{why}"]
    lines += [
        "",
        *_table(("Status", "Check", "Observed", "Id"), (_row(check) for check in _shown(host.checks))),
    ]
    folded = len(host.checks) - len(_shown(host.checks))
    if folded:
        items = [
            check.id.partition(".")[2]
            for check in host.checks
            if check.group == "precheck" and _folded(check)
        ]
        lines += ["", f"Of the precheck, {folded} passed: {_plain(', '.join(items))}."]
    absent = [
        TITLES[kind].lower() for kind in EXPECTED if kind not in {section.kind for section in host.sections}
    ]
    if absent:
        lines += ["", f"Not part of this run: {', '.join(absent)}."]
    return lines


def _folded(check: Check) -> bool:
    """Dozens of items that passed would hide the others in a ticket."""
    return check.group == "precheck" and check.status == PASSED


def _shown(checks: Sequence[Check]) -> list[Check]:
    return [check for check in checks if not _folded(check)]


def _row(check: Check) -> tuple[str, str, str, str]:
    status = check.status.replace("_", " ")
    return (
        status.upper() if check.status == FAILED else status,
        check.title,
        first_line(check.observed),
        check.id,
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(_plain(" ".join(cell.split())) for cell in row) + " |" for row in rows]


def _plain(told_: str) -> str:
    """Text that stays text."""
    return _SPECIAL.sub(r"\\\1", told_)
