"""Precheck, the control node: judgement on the inventory, Ansible's settings, the migrations and the hour. Pure."""

from __future__ import annotations

import datetime

from ansible.module_utils.rollout.findings import Verdict, failed, not_tested, passed, warning
from ansible.module_utils.rollout.precheck_demands import Demands, Known


def inventory(known: Known, demands: Demands) -> Verdict:
    """Every value that the inventory demands of itself has one."""
    missing = known.control["inventory"]["missing"]
    expected = "every variable on the inventory's list has a value"
    if not known.control["inventory"]["checked"]:
        return failed(
            expected,
            "the inventory has no list (required_variables)",
            "Copy inventory/prod/group_vars/all/required.yml into the inventory and adapt it.",
        )
    if missing:
        return failed(
            expected,
            "; ".join(f"{name} {problem}" for name, problem in missing.items()),
            "ansible-playbook playbooks/inventory_check.yml -i <inventory> says what each is for and where it belongs.",
            missing=missing,
        )
    return passed(expected, f"{known.control['inventory']['checked']} variables have values")


def ansible_cfg(known: Known, demands: Demands) -> Verdict:
    """Ansible read the repository's own configuration, and nothing outranks the settings that matter."""
    facts = known.control["ansible_cfg"]
    expected = f"{facts['wanted']} is in force"
    if facts["used"] != facts["wanted"]:
        return failed(
            expected,
            f"Ansible read {facts['used'] or 'no configuration at all'}",
            "Start from the repository's folder. Ansible ignores the file where everybody may write to that folder"
            f" (chmod o-w), unless it is named: export ANSIBLE_CONFIG={facts['wanted']}",
            **facts,
        )
    other = {name: seen for name, (want, seen) in facts["settings"].items() if want != seen}
    if other:
        return failed(
            expected,
            "outranked by the environment: "
            + ", ".join(f"{name} is {value}" for name, value in sorted(other.items())),
            "Unset the ANSIBLE_* variables of these names.",
            **facts,
        )
    return passed(expected, f"{facts['used']} was read", **facts)


def migrations(known: Known, demands: Demands) -> Verdict:
    """The migrations are there, render and parse."""
    facts = known.control["migrations"]
    expected = f"{facts['folder']} holds migrations that render and parse"
    if facts["error"]:
        return failed(expected, facts["error"], facts["hint"], folder=facts["folder"])
    found = facts["found"]
    told = ", ".join(f"{one['label']} ({one['source_sha256'][:12]})" for one in found)
    return passed(expected, told, migrations=found)


def other_jobs(known: Known, demands: Demands) -> Verdict:
    """Nothing else is due while the rollout lasts."""
    if not demands.jobs:
        return not_tested("", "no other jobs are configured (precheck_other_jobs)")
    now = datetime.datetime.fromtimestamp(known.control["now"], datetime.timezone.utc)
    end = now + datetime.timedelta(minutes=demands.window_minutes)
    expected = f"nothing else acts between {now:%H:%M} and {end:%H:%M} UTC"
    due = []
    for job in demands.jobs:
        hour, minute = (int(part) for part in job.start.split(":"))
        start = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
        for begins in (start + datetime.timedelta(days=day) for day in (-1, 0, 1, 2)):
            if begins < end and begins + datetime.timedelta(minutes=job.minutes) > now:
                due.append(f"{job.name} at {begins:%H:%M}")
                break
    if due:
        return warning(
            expected,
            f"due: {', '.join(due)}",
            "Begin later, or know that what they do is not the rollout's doing.",
            due=due,
        )
    return passed(expected, f"none of {', '.join(job.name for job in demands.jobs)} is due")
