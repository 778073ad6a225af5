"""The outcome of a run in one sentence, and what to do next. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.rollout.report.changes import Migration, Undone
from ansible.module_utils.rollout.report.checks import FAILED, WARNING, Check, counts, reason, told
from ansible.module_utils.rollout.report.reading import mapping, text, texts
from ansible.module_utils.rollout.report.sections import Section, of_kind
from ansible.module_utils.rollout.report.wording import counted, duration, first_line, listed


@dataclass(frozen=True)
class Host:
    """What is known of a host's part of the run."""

    outcome: str
    sections: list[Section]
    checks: Sequence[Check]
    migrations: Sequence[Migration]
    undone: Undone | None

    @property
    def applied(self) -> list[str]:
        """Labels of the migrations that this run brought into force, taken back or not."""
        return [migration.label for migration in self.migrations if migration.applied]


def sentence(host: Host) -> str:
    """What became of a host, beginning with the outcome."""
    if host.outcome == "failed":
        return f"Failed: {_failure(host)}{_consequence(host)}."
    if host.outcome == "succeeded":
        return f"{_success(host)}."
    last = host.sections[-1].title if host.sections else ""
    return f"Not ended: {f'what was recorded last is “{last}”' if last else 'nothing was recorded yet'}."


def _failure(host: Host) -> str:
    stopped = [section.data for section in of_kind(host.sections, "stopped") if section.failed]
    own = [
        section for section in host.sections if section.failed and section.kind not in ("stopped", "rollback")
    ]
    if stopped and stopped[0].get("interrupted"):
        return f"the run was interrupted{_at(stopped[0])}"
    if stopped and stopped[0].get("unreachable"):
        return f"the host could not be reached{_at(stopped[0])}"
    if own:
        return _cause(own[0], host)
    return first_line(reason(host.sections)).rstrip(".") or "no section says why"


def _at(stopped: Mapping[str, Any]) -> str:
    return f" in the task “{text(stopped.get('task'))}”" if text(stopped.get("task")) else ""


def _cause(section: Section, host: Host) -> str:
    items = [check for check in host.checks if check.status == FAILED and check.group == section.kind]
    named = [check.id.partition(".")[2] for check in items if "." in check.id]
    if section.kind in ("precheck", "verify") and named:
        every = sum(check.group == section.kind for check in host.checks)
        shown = ", ".join(named[:4]) + (" …" if len(named) > 4 else "")
        what = "the precheck" if section.kind == "precheck" else "the checklist"
        return f"{len(named)} of {counted(every, 'item')} of {what} failed ({shown})"
    reasons = texts(section.data.get("reasons"))
    why = text(section.data.get("msg")) or next(iter(reasons), "") or text(section.data.get("reason"))
    why = first_line(why, 160).rstrip(".") + (f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else "")
    because = f": {why}" if why else ""
    if section.kind == "gate":
        broken = section.data.get("state") == "broken"
        return f"the application {'could not be looked at' if broken else 'was not well'} {section.about}{because}"
    what = {
        "rehearsal": "the rehearsal was refused",
        "backup": "there is no proven backup",
        "migration": f"migration {section.about} failed",
        "message": f"the bot did not answer {section.about}",
        "verify": "the schema is not what the ledger recorded",
        "watch": "the application did not stay well while it was watched",
        "audit": "the code's queries do not all run on the schema",
        "restore": "the restore was refused",
        "maintain": "the partitions are not as they must be",
    }.get(section.kind, f"{section.title} failed")
    return f"{what}{because}"


def _consequence(host: Host) -> str:
    """What stands now."""
    parts = []
    if host.undone and host.undone.labels:
        same = {
            True: ", and the schema is exactly as it was before",
            False: ", and the schema is NOT as before",
        }
        was = "were" if len(host.undone.labels) > 1 else "was"
        told_same = same.get(host.undone.as_before, "") if host.undone.as_before is not None else ""
        parts.append(f"{listed(host.undone.labels)} {was} taken back{told_same}")
    back = host.undone.labels if host.undone else ()
    stays = [label for label in host.applied if label not in back]
    stays = stays or list(host.undone.stays if host.undone else ())
    if stays:
        parts.append(f"{listed(stays)} {'stay' if len(stays) > 1 else 'stays'} in force")
    if (
        not parts
        and _changes_schema(host)
        and not any(section.data.get("changed") for section in host.sections)
    ):
        parts.append("nothing was changed")
    return "".join(f"; {part}" for part in parts)


def _changes_schema(host: Host) -> bool:
    """Whether the run is one that would say what it changed, and was refused nothing half-way."""
    kinds = {section.kind for section in host.sections}
    return bool(kinds & {"precheck", "rehearsal"}) and not kinds & {"migration", "restore", "maintain", ""}


def _success(host: Host) -> str:
    by_kind = {section.kind: section.data for section in host.sections}
    checked = told(counts(host.checks))
    if host.applied:
        known = len(host.applied)
        return (
            f"Rolled out: {listed(host.applied)} {'are' if known > 1 else 'is'} in force since this run;"
            f" checks: {checked}"
        )
    if host.undone:
        stays = f"; {listed(host.undone.stays)} stays" if host.undone.stays else ""
        return f"Taken back: {listed(host.undone.labels) or 'nothing'}{stays}; checks: {checked}"
    if "restore" in by_kind:
        return f"Restored: {first_line(text(by_kind['restore'].get('summary'))).rstrip('.')}"
    if "maintain" in by_kind:
        return f"The partitions are as they must be; checks: {checked}"
    mended = [migration.message for migration in host.migrations if migration.state == "repaired"]
    if mended:
        return f"Mended: {first_line('; '.join(mended))}; checks: {checked}"
    if "rehearsal" in by_kind:
        said = text(by_kind["rehearsal"].get("summary"))
        if said.startswith("nothing to do"):
            what = said.partition(";")[0]
            return f"{what[:1].upper()}{first_line(what[1:])}; checks: {checked}"
        return f"Rehearsed, and nothing was changed: {first_line(said).rstrip('.')}"
    if "watch" in by_kind:
        watched = by_kind["watch"].get("watched_s")
        span = f" for {duration(float(watched))}" if isinstance(watched, int | float) else ""
        return f"The application stayed well{span}; checks: {checked}"
    for kind, what in (
        ("verify", "The schema is what the ledger recorded"),
        ("precheck", "Nothing that is known beforehand would stop a run"),
        ("backup", "The backup is taken and proven"),
        ("audit", "The code's queries were audited"),
    ):
        if kind in by_kind:
            return f"{what}; checks: {checked}"
    return f"Every step ended well; checks: {checked}"


def next_steps(host: Host, run: Mapping[str, Any]) -> list[str]:
    """What to do next, the most urgent first."""
    inventory = " -i ".join(texts(run.get("inventory"))) or "<inventory>"
    steps = []
    for check in host.checks:
        if check.status == FAILED and check.hint and check.group != "rollback":
            steps.append(f"{check.id}: {check.hint}")
    if host.outcome == "failed":
        if host.undone and host.undone.stays and host.undone.why:
            steps.append(
                f"{listed(host.undone.stays)} could not be taken back: {host.undone.why} Decide, then:"
                f" ansible-playbook playbooks/rollback.yml -i {inventory} --check"
            )
        steps.append(
            "What each red line means: docs/operations.md. When the reason is mended, run the same again: it goes on"
            " from what stands."
        )
    elif host.outcome == "running":
        steps.append(
            f"If it runs no more: ansible-playbook playbooks/report.yml -i {inventory}"
            f" -e run_id={text(run.get('run_id'))}"
        )
    warned = [check for check in host.checks if check.status == WARNING]
    if warned:
        steps.append(f"Look at the warnings: {', '.join(check.id for check in warned)}.")
    if host.outcome == "succeeded" and host.applied and not of_kind(host.sections, "watch"):
        steps.append(f"Watch the application: ansible-playbook playbooks/watch.yml -i {inventory}")
    audit = of_kind(host.sections, "audit")
    if audit and mapping(audit[-1].data.get("counts")).get("fails"):
        steps.append("audit.sql of this folder proposes what the code's queries lack.")
    return steps
