"""Action ``message_probe``: compare the number with the inventory's own, then run the module.

A task's arguments are templated with everything that may override the inventory: ``-e``, ``set_fact``, a play's or a
task's ``vars``. So the configured number is looked up once more with nothing but the inventory, and whatever is asked
for has to be that one. Who may change the inventory's files decides which number it is, and nobody else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ansible.module_utils
from ansible.plugins.action import ActionBase
from ansible.vars.hostvars import HostVars  # type: ignore[import-untyped]
from ansible.vars.manager import VariableManager  # type: ignore[import-untyped]

# The module finds module_utils/ through ansible.cfg; on the control node nothing adds it to the import path.
_MODULE_UTILS = str(Path(__file__).resolve().parent.parent / "module_utils")
if _MODULE_UTILS not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(_MODULE_UTILS)

from ansible.module_utils.rollout.errors import RolloutError  # noqa: E402
from ansible.module_utils.rollout.phone_number import require_configured  # noqa: E402

#: The inventory's variable that names the one phone which may be written to. No option: that could be given by -e, too.
VARIABLE = "test_phone"


class ActionModule(ActionBase):  # type: ignore[misc]
    """Entry point for Ansible; the arguments are documented in library/message_probe.py."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Refuse a number that is not the inventory's, then execute the module on the target host."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        task_vars = task_vars or {}
        arguments = dict(self._task.args)
        manager = self._task.get_variable_manager()
        try:
            if manager is None:
                raise RolloutError(
                    "The inventory cannot be asked for test_phone; nothing was sent",
                    hint="Run the probe as a task of a playbook.",
                    details={"reason": "inventory_unknown"},
                )
            configured = self._from_inventory(manager, str(task_vars["inventory_hostname"]))
            overriding = self._templar.template(manager.extra_vars.get(VARIABLE))
            require_configured(configured, overriding, f"{VARIABLE}, as given by -e,")
            for name in ("phone", VARIABLE):
                require_configured(configured, arguments.get(name), name)
        except RolloutError as error:
            result.update(failed=True, msg=str(error), details=error.details)
            return result
        result.update(self._execute_module("message_probe", module_args=arguments, task_vars=task_vars))
        return result

    def _from_inventory(self, manager: Any, host: str) -> Any:
        """The variable as the inventory's files give it; what it refers to is theirs, too."""
        fresh = VariableManager(loader=self._loader, inventory=manager._inventory)
        # A new one knows no set_fact and no include_vars, but reads the command line and the cache of facts again.
        fresh._extra_vars = {}
        fresh._fact_cache = {host: {}}
        variables = HostVars(manager._inventory, fresh, self._loader)[host]
        return variables.get(VARIABLE, "")
