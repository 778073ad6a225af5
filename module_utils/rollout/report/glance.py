"""A host's part of a run at a glance. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ansible.module_utils.rollout.report.checks import FAILED, PASSED, WARNING, counts, told
from ansible.module_utils.rollout.report.sections import of_kind
from ansible.module_utils.rollout.report.sentence import Host
from ansible.module_utils.rollout.report.sizes import sizes_of
from ansible.module_utils.rollout.report.wording import listed, size


def tiles(host: Host) -> list[tuple[str, str, str]]:
    """The run at a glance: label, value, status."""
    every = counts(host.checks)
    worst = FAILED if every[FAILED] else WARNING if every[WARNING] else PASSED
    found = [("Checks", told(every), worst)]
    if host.applied:
        found.append(("Brought into force", _short(host.applied), PASSED))
    if host.undone and host.undone.labels:
        found.append(("Taken back", _short(host.undone.labels), WARNING))
    locked = [held for migration in host.migrations for _, held, _ in migration.locks]
    if locked:
        held = sorted({mode for mode in locked if mode != "none"})
        found.append(("Locks on protected tables", ", ".join(held) or "none", WARNING if held else PASSED))
    for section in of_kind(host.sections, "backup"):
        check = next((one for one in host.checks if one.id == section.name), None)
        if check:
            found.append(
                (
                    section.title,
                    "proven by a restore" if check.status == PASSED else check.observed,
                    check.status,
                )
            )
    gates = [check for check in host.checks if check.group == "gate"]
    if gates:
        well = sum(check.status == PASSED for check in gates)
        status = (
            FAILED if any(check.status == FAILED for check in gates) else PASSED if well else "not_tested"
        )
        found.append(("Gates", f"{well} of {len(gates)} green", status))
    sizes = sizes_of(host.sections)
    if len(sizes) > 1:
        found.append(("Database", f"{size(sizes[0].size)} → {size(sizes[-1].size)}", PASSED))
    return found


def _short(labels: Sequence[str]) -> str:
    """The numbers of migrations: a tile has no room for their names."""
    return listed(label.partition("_")[0] for label in labels)
