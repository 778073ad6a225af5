"""Precheck, the control node: judgement on the inventory, Ansible's configuration and the migrations. Pure."""

from __future__ import annotations

from ansible.module_utils.rollout.findings import Verdict, failed, passed
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
