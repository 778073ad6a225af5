"""The summary of a record: what report.json gains when it is rendered, and what the other files show of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.rollout.report.changes import created, migrations_of, undone
from ansible.module_utils.rollout.report.checks import checks_of, counts
from ansible.module_utils.rollout.report.checks import told as told_counts
from ansible.module_utils.rollout.report.reading import mapping, text
from ansible.module_utils.rollout.report.sections import sections_of
from ansible.module_utils.rollout.report.sentence import Host, next_steps, sentence


def host_of(recorded: Mapping[str, Any]) -> Host:
    """What is known of a host.

    :param recorded: the host's part of report.json
    """
    sections = sections_of(recorded)
    return Host(
        outcome=text(recorded.get("outcome")),
        sections=sections,
        checks=checks_of(sections),
        migrations=migrations_of(sections),
        undone=undone(sections),
    )


def summarize(record: Mapping[str, Any]) -> dict[str, Any]:
    """The summary of the whole record.

    :param record: report.json, with or without an earlier summary
    """
    hosts = {name: host_of(mapping(part)) for name, part in mapping(record.get("hosts")).items()}
    every = [check for host in hosts.values() for check in host.checks]
    return {
        "sentence": _together(hosts),
        "ended_at": max(
            (text(section.data.get("recorded_at")) for host in hosts.values() for section in host.sections),
            default="",
        ),
        "counts": counts(every),
        "hosts": {name: _host(host, record) for name, host in hosts.items()},
    }


def _host(host: Host, record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "sentence": sentence(host),
        "next": next_steps(host, record),
        "counts": counts(host.checks),
        "checks": [
            {"id": check.id, "group": check.group, "title": check.title, "status": check.status}
            for check in host.checks
        ],
        "applied": host.applied,
        "taken_back": list(host.undone.labels) if host.undone else [],
        "created": created(host.migrations),
    }


def _together(hosts: Mapping[str, Host]) -> str:
    if not hosts:
        return "Not ended: nothing was recorded yet."
    told = {name: sentence(host) for name, host in hosts.items()}
    if len(told) == 1:
        return next(iter(told.values()))
    if len(set(told.values())) == 1:
        return f"On {len(told)} hosts: {next(iter(told.values()))}"
    for outcome, word in (("failed", "Failed"), ("running", "Not ended")):
        affected = [name for name, host in hosts.items() if host.outcome == outcome]
        if affected:
            what = told[affected[0]].partition(": ")[2]
            return f"{word} on {len(affected)} of {len(hosts)} hosts, {affected[0]}: {what}"
    checks = told_counts(counts([check for host in hosts.values() for check in host.checks]))
    return f"{len(hosts)} hosts ended well; checks: {checks}."
