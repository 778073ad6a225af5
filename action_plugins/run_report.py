"""Action ``run_report``: write the page, the ticket's text and the JUnit file of a run from its record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ansible.module_utils
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

# The logic is in module_utils/; on the control node nothing adds it to the import path.
_MODULE_UTILS = str(Path(__file__).resolve().parent.parent / "module_utils")
if _MODULE_UTILS not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(_MODULE_UTILS)

from ansible.module_utils.rollout.errors import RolloutError  # noqa: E402
from ansible.module_utils.rollout.report.files import NAMES, render  # noqa: E402


class ActionModule(ActionBase):  # type: ignore[misc]
    """Entry point for Ansible; the arguments are documented in library/run_report.py."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Write the files. Check mode writes nothing.

        :raises AnsibleActionFail: there is no such run, or it cannot be shown
        """
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, given = self.validate_argument_spec(
            argument_spec={
                "report_dir": {"type": "path", "required": True},
                "run_id": {"type": "str", "required": True},
            }
        )
        result["changed"] = False
        if self._task.check_mode:
            return result
        try:
            record = render(given["report_dir"], given["run_id"])
        except RolloutError as error:
            raise AnsibleActionFail(str(error)) from error
        folder = Path(given["report_dir"], given["run_id"])
        result.update(
            files=[str(folder / name) for name in NAMES],
            page=str(folder / "report.html"),
            outcome=record["outcome"],
            sentence=record["summary"]["sentence"],
            counts=record["summary"]["counts"],
        )
        return result
