"""Action ``required_variables``: every value that the inventory lacks, for every host, in one message.

It runs on the control node, once for all hosts, and opens no connection. A value is never printed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible.errors import AnsibleAction, AnsibleError, AnsibleUndefinedVariable
from ansible.plugins.action import ActionBase

#: Part of every value in the example files that somebody has to replace.
PLACEHOLDER = "change-me"

#: The words of libpq's sslmode (PostgreSQL documentation, "SSL Mode Descriptions").
SSLMODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")

TYPES = ("any", "port", "sslmode", "file")

_UNDEFINED_NAME = re.compile(r"^'(\w+)' is undefined")


@dataclass(frozen=True)
class Requirement:
    """One variable that must have a value.

    :param name: the variable
    :param description: what the value is for
    :param where: the file that the value belongs in
    :param type: one of :data:`TYPES`
    """

    name: str
    description: str
    where: str
    type: str = "any"


@dataclass(frozen=True)
class Finding:
    """What is wrong with one variable.

    :param problem: what was observed, without the value
    :param cause: the undefined variable that the value refers to, where that is the reason
    """

    problem: str
    cause: str | None = None


def judge(value: Any, kind: str) -> Finding | None:
    """Say what is wrong with a value, or None.

    :param value: the variable's value, templates resolved
    :param kind: one of :data:`TYPES`
    """
    if value is None:
        return Finding("is null")
    if isinstance(value, str) and not value.strip():
        return Finding("is empty")
    if isinstance(value, (Mapping, list, tuple)) and not value:
        return Finding("is empty")
    if isinstance(value, str) and PLACEHOLDER in value.lower():
        return Finding(f"still holds the example's {PLACEHOLDER}")
    if kind == "port" and not _is_port(value):
        return Finding("is not a port: a whole number from 1 to 65535")
    if kind == "sslmode" and value not in SSLMODES:
        return Finding(f"is not an sslmode: one of {', '.join(SSLMODES)}")
    if kind == "file" and not (isinstance(value, str) and os.path.isfile(value)):
        return Finding("does not name an existing file on the control node")
    return None


def _is_port(value: Any) -> bool:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,5}", value):
        value = int(value)
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65535


def inspect(requirement: Requirement, variables: Mapping[str, Any], templar: Any) -> Finding | None:
    """Say what is wrong with one variable of one host, or None.

    :param variables: the host's variables, templates not resolved
    :param templar: a templar over the same variables
    """
    if requirement.name not in variables:
        return Finding("is not defined")
    try:
        value = templar.template(variables[requirement.name])
    except AnsibleUndefinedVariable as error:
        found = _UNDEFINED_NAME.match(str(error))
        cause = found[1] if found else None
        return Finding(f"refers to {cause or 'a variable'}, which is not defined", cause)
    except AnsibleError as error:
        # Only the kind of error: its text may hold a part of the value.
        return Finding(
            f"cannot be evaluated ({type(error).__name__}); if it is encrypted, give --ask-vault-pass or"
            " --vault-password-file"
        )
    return judge(value, requirement.type)


def describe(
    requirements: Sequence[Requirement], findings: Mapping[str, Mapping[str, Finding]], hint: str
) -> str | None:
    """Put all findings into one message, or return None where there are none.

    :param findings: for each host, the findings by the variable's name
    :param hint: how the files are made, printed last; may be empty
    """
    reported = {name for of_host in findings.values() for name in of_host}
    blocks = []
    for requirement in requirements:
        # Hosts with the same problem share a line. What a missing variable on this list causes is not told twice.
        hosts: dict[str, list[str]] = {}
        for host, of_host in findings.items():
            finding = of_host.get(requirement.name)
            if finding and (finding.cause is None or finding.cause not in reported):
                hosts.setdefault(finding.problem, []).append(host)
        for problem, names in hosts.items():
            on = "" if len(names) == len(findings) else f" (on {', '.join(names)})"
            blocks.append(
                f"  {requirement.name} {problem}{on}\n"
                f"      what for: {requirement.description}\n"
                f"      put it in: {requirement.where}"
            )
    if not blocks:
        return None
    count = f"{len(blocks)} required value{'s are' if len(blocks) > 1 else ' is'} missing or unusable"
    text = f"{count}; nothing was connected to, nothing was changed:\n\n" + "\n".join(blocks)
    return f"{text}\n\n{hint.strip()}" if hint.strip() else text


class ActionModule(ActionBase):  # type: ignore[misc]
    """Entry point for Ansible; the arguments are documented in library/required_variables.py."""

    # One run for all hosts of the play: one message.
    BYPASS_HOST_LOOP = True
    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Check all hosts of the play that belong to the group.

        :raises AnsibleAction: something is missing; the message lists all of it
        """
        result: dict[str, Any] = super().run(tmp, task_vars)
        task_vars = task_vars or {}
        _validation, arguments = self.validate_argument_spec(
            argument_spec={
                "group": {"type": "str", "required": True},
                "hint": {"type": "str", "default": ""},
                "variables": {
                    "type": "list",
                    "elements": "dict",
                    "required": True,
                    "options": {
                        "name": {"type": "str", "required": True},
                        "description": {"type": "str", "required": True},
                        "where": {"type": "str", "required": True},
                        "type": {"type": "str", "default": "any", "choices": list(TYPES)},
                    },
                },
            }
        )
        hosts = self._hosts(arguments["group"], task_vars)
        requirements = [Requirement(**entry) for entry in arguments["variables"]]
        if not requirements:
            self._fail(
                "The inventory defines no required_variables, so nothing would be checked: see inventory/prod."
            )
        findings = {host: self._inspect_host(host, requirements, task_vars) for host in hosts}
        message = describe(requirements, findings, arguments["hint"])
        if message:
            self._fail(message)
        result.update(changed=False, hosts=hosts, checked=[requirement.name for requirement in requirements])
        return result

    def _hosts(self, group: str, task_vars: Mapping[str, Any]) -> list[str]:
        """The group's hosts that this run is for; none at all would be a green run of nothing."""
        in_group = task_vars["groups"].get(group, [])
        if not in_group:
            self._fail(
                f"The inventory has no host in group {group!r}: nothing would be done. Name an inventory that has one,"
                " for example: ansible-playbook apply.yml -i prod"
            )
        hosts = [host for host in task_vars["ansible_play_hosts_all"] if host in in_group]
        if not hosts:
            self._fail(
                f"--limit {task_vars.get('ansible_limit')!r} leaves no host of group {group!r}, which has"
                f" {', '.join(in_group)}: nothing would be done. Correct --limit, or leave it out."
            )
        return hosts

    def _inspect_host(
        self, host: str, requirements: Sequence[Requirement], task_vars: Mapping[str, Any]
    ) -> dict[str, Finding]:
        variables = task_vars["hostvars"].raw_get(host)
        templar = self._templar.copy_with_new_env(available_variables=variables)
        inspected = {
            requirement.name: inspect(requirement, variables, templar) for requirement in requirements
        }
        return {name: finding for name, finding in inspected.items() if finding}

    @staticmethod
    def _fail(message: str) -> None:
        # ansible-core prints the error and, below it, the result's msg: the whole text would stand there twice.
        raise AnsibleAction(
            message, result={"failed": True, "msg": "The inventory is not complete: see the error above."}
        )
