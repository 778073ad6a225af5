"""Action ``checklist``: show all findings, the worst first, and fail once where one of them failed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ansible.module_utils
from ansible.errors import AnsibleAction
from ansible.plugins.action import ActionBase

# The logic is in module_utils/; on the control node nothing adds it to the import path.
_MODULE_UTILS = str(Path(__file__).resolve().parent.parent / "module_utils")
if _MODULE_UTILS not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(_MODULE_UTILS)

from ansible.module_utils.rollout import findings as checklists  # noqa: E402


class ActionModule(ActionBase):  # type: ignore[misc]
    """Entry point for Ansible; the arguments are documented in library/checklist.py."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Show the findings.

        :raises AnsibleAction: one of them failed, or there are none; the message holds all of them
        """
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, given = self.validate_argument_spec(
            argument_spec={
                "name": {"type": "str", "required": True},
                "findings": {"type": "list", "elements": "dict", "required": True},
            }
        )
        findings = [checklists.Finding(**finding) for finding in given["findings"]]
        told = f"{given['name']}: {checklists.summary(findings)}"
        # For the callback that draws the table; others leave it out below -vvv.
        result["invocation"] = {"module_args": given}
        if not findings or checklists.counts(findings)["failed"]:
            red = [finding.id for finding in findings if finding.status == "failed"]
            named = f"; failed: {', '.join(red)}" if red else ""
            # ansible-core prints the error and, below it, the result's msg: the whole text would stand there twice.
            raise AnsibleAction(
                f"{told}\n\n{checklists.text(findings)}\n",
                result={**result, "failed": True, "msg": f"{told}{named}; see the error above."},
            )
        result.update(changed=False, msg=f"{told}\n\n{checklists.text(findings)}")
        # As the debug action does: people are to see it without -v.
        result["_ansible_verbose_always"] = True
        return result
