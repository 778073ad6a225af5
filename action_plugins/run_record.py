"""Action ``run_record``: keep the record of a run on the control node, piece by piece."""

from __future__ import annotations

import datetime
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ansible.module_utils
from ansible import context
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.release import __version__ as ansible_version

ROOT = Path(__file__).resolve().parent.parent
# The logic is in module_utils/; on the control node nothing adds it to the import path.
_MODULE_UTILS = str(ROOT / "module_utils")
if _MODULE_UTILS not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(_MODULE_UTILS)

from ansible.module_utils.rollout.errors import RolloutError  # noqa: E402
from ansible.module_utils.rollout.record import Record, new_run_id  # noqa: E402


class ActionModule(ActionBase):  # type: ignore[misc]
    """Entry point for Ansible; the arguments are documented in library/run_record.py."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Begin a run, or add a section to it. Check mode writes nothing."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        task_vars = task_vars or {}
        _validation, given = self.validate_argument_spec(
            argument_spec={
                "state": {"type": "str", "choices": ["begun", "recorded"], "default": "recorded"},
                "report_dir": {"type": "path", "required": True},
                "run_id": {"type": "str", "default": ""},
                "section": {"type": "str"},
                "data": {"type": "raw"},
            },
            required_if=[("state", "recorded", ["run_id", "section", "data"])],
        )
        result["changed"] = False
        try:
            if given["state"] == "begun":
                run_id = given["run_id"] or new_run_id(datetime.datetime.now(datetime.UTC))
                record = Record(given["report_dir"], run_id)
                if not self._task.check_mode:
                    record.begin(_facts(task_vars))
                result["ansible_facts"] = {"run_id": run_id, "run_folder": str(record.folder)}
                return result
            if not given["run_id"]:
                raise RolloutError("run_id is empty; the task with state: begun sets it")
            record = Record(given["report_dir"], given["run_id"])
            if not self._task.check_mode:
                host = str(task_vars["inventory_hostname"])
                result["report"] = str(record.add(host, given["section"], given["data"]))
            return result
        except RolloutError as error:
            raise AnsibleActionFail(str(error)) from error


def _facts(task_vars: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "playbook": [os.path.basename(playbook) for playbook in context.CLIARGS.get("args", ())],
        "inventory": [
            os.path.relpath(source, ROOT) for source in task_vars.get("ansible_inventory_sources") or ()
        ],
        "limit": str(task_vars.get("ansible_limit", "")),
        "tags": [str(tag) for tag in task_vars.get("ansible_run_tags", ())],
        "ansible": ansible_version,
        "repository": _commit(),
    }


def _commit() -> dict[str, Any]:
    """Commit of this repository, and whether something in it is not committed; empty without git."""
    if shutil.which("git") is None:
        return {}
    answer = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=40", "--dirty=+"],
        capture_output=True,
        text=True,
        check=False,
    )
    text = answer.stdout.strip()
    return {"commit": text.rstrip("+"), "clean": not text.endswith("+")} if answer.returncode == 0 else {}
