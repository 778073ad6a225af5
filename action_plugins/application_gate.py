"""Action ``application_gate``: look at the application again and again, say each time what is seen, and decide.

The looks are made on the target by module application_info; module_utils/rollout/gate.py judges them here. Nothing is
changed, in check mode neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ansible.module_utils
from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

# The module finds module_utils/ through ansible.cfg; on the control node nothing adds it to the import path.
_MODULE_UTILS = str(Path(__file__).resolve().parent.parent / "module_utils")
if _MODULE_UTILS not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(_MODULE_UTILS)

from ansible.module_utils.rollout.errors import RolloutError  # noqa: E402
from ansible.module_utils.rollout.gate import Limits  # noqa: E402
from ansible.module_utils.rollout.gate_watch import require_patterns, unseen, watch  # noqa: E402

_OPTIONS = {
    "label": {"type": "str", "required": True},
    "look": {"type": "dict", "required": True},
    "reference": {"type": "dict", "default": {}},
    "samples": {"type": "int", "default": 6},
    "interval": {"type": "float", "default": 5},
    "red_samples": {"type": "int", "default": 3},
    "error_lines": {"type": "int", "default": 5},
    "problem_lines": {"type": "int", "default": 5},
    "problem_budgets": {"type": "dict", "default": {}},
    "rate_factor": {"type": "float", "default": 2},
    "errors_per_minute": {"type": "float", "default": 30},
}
_LIMITS = (
    "samples",
    "red_samples",
    "error_lines",
    "problem_lines",
    "problem_budgets",
    "rate_factor",
    "errors_per_minute",
)


class ActionModule(ActionBase):  # type: ignore[misc]
    """Entry point for Ansible; the arguments are documented in library/application_gate.py."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Look until the gate is green, red or broken; never fails for what it sees."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        task_vars = task_vars or {}
        _validation, given = self.validate_argument_spec(argument_spec=_OPTIONS)
        try:
            require_patterns(given["problem_budgets"], given["look"], "gate_problem_budgets")
            limits = Limits(**{name: given[name] for name in _LIMITS})
        except RolloutError as error:
            result.update(failed=True, msg=str(error), details=error.details)
            return result
        watched = watch(
            lambda arguments: self._look({**given["look"], **arguments}, task_vars),
            limits,
            label=given["label"],
            interval_s=given["interval"],
            say=lambda line: self._say(line, task_vars),
            reference=given["reference"],
        )
        result.update(
            changed=False,
            state=watched.decision.state,
            reasons=list(watched.decision.reasons),
            label=given["label"],
            samples=[sample.as_result() for sample in watched.history],
            reference=watched.reference,
            seconds=watched.seconds,
        )
        return result

    def _look(self, arguments: Mapping[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """What application_info sees, or a look in which everything is broken when it cannot be run."""
        try:
            answer = self._execute_module(
                "application_info", module_args=dict(arguments), task_vars=task_vars
            )
        except AnsibleError as error:
            # No connection, no room for the module on the target, an interpreter that is gone: it may come back, and
            # says nothing about the application.
            answer = {"unreachable": True, "msg": str(error)}
        if not answer.get("failed") and not answer.get("unreachable"):
            return dict(answer)
        unreachable = "unreachable" if answer.get("unreachable") else ""
        reason = str(answer.get("details", {}).get("reason", unreachable))
        return unseen("host", reason, f"application_info could not be run: {answer.get('msg', 'no answer')}")

    def _say(self, line: str, task_vars: Mapping[str, Any]) -> None:
        # Ansible prints a task's result when it is over; who waits for minutes wants to see that something goes on.
        several = len(task_vars.get("ansible_play_hosts_all", ())) > 1
        Display().display(f"{task_vars['inventory_hostname']}: {line}" if several else line)
