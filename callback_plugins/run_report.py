"""Callback ``run_report``: a run that fails, or is interrupted, leaves its report too."""

from __future__ import annotations

import atexit
import os
from pathlib import Path
from typing import Any

import ansible.module_utils
from ansible import context
from ansible.plugins.callback import CallbackBase

# The logic is in module_utils/; on the control node nothing adds it to the import path.
_MODULE_UTILS = str(Path(__file__).resolve().parent.parent / "module_utils")
if _MODULE_UTILS not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(_MODULE_UTILS)

from ansible.module_utils.rollout.record import STOPPED, Record  # noqa: E402
from ansible.module_utils.rollout.report.closing import Stop, closing  # noqa: E402

DOCUMENTATION = r"""
name: run_report
type: aggregate
short_description: Closes the record of a run that did not end well, and writes its report
description:
  - Tasks write the record and, at the end of a run that went well, the report. Where no task can run any more, because
    a host is gone, every host failed or somebody pressed Ctrl-C, this plugin notes in the record what the run ended
    with and writes the report.
  - Prints nothing but an error of its own.
requirements:
  - enabled in ansible.cfg (callbacks_enabled)
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Entry point for Ansible."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "run_report"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._process = os.getpid()
        self._folder: Path | None = None
        self._hosts: set[str] = set()
        self._stops: dict[str, Stop] = {}
        self._task = ""

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """Remember what goes on, should it be interrupted."""
        self._task = task.get_name().strip()

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """Remember who takes part, since the record was begun."""
        if self._folder is not None:
            self._hosts.add(host.get_name())

    def v2_runner_on_ok(self, result: Any) -> None:
        """Learn where the record lies."""
        folder = result.result.get("ansible_facts", {}).get("run_folder")
        if folder and self._folder is None and not context.CLIARGS.get("check"):
            self._folder = Path(folder)
            atexit.register(self._interrupted)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Remember the last failure of each host; whether it was rescued is known at the end."""
        if not ignore_errors:
            self._stop(result, unreachable=False)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Remember that the host is gone."""
        if not result.task.ignore_unreachable:
            self._stop(result, unreachable=True)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """The playbook is over: close the record, and write what nobody has written."""
        bad = {host for counts in (stats.failures, stats.dark) for host, number in counts.items() if number}
        self._close({host: stop for host, stop in self._stops.items() if host in bad})

    def _stop(self, result: Any, *, unreachable: bool) -> None:
        said = str(result.result.get("censored") or result.result.get("msg") or "")
        self._stops[result.host.get_name()] = Stop(result.task.get_name().strip(), said, unreachable)

    def _interrupted(self) -> None:
        """The process ends, and the playbook was not over."""
        if os.getpid() == self._process:
            self._close({}, interrupted_in=self._task)

    def _close(self, stops: dict[str, Stop], interrupted_in: str | None = None) -> None:
        folder, self._folder = self._folder, None
        if folder is None or not (folder / "run.json").is_file():
            return
        try:
            # Here, because most runs write their report themselves, and every one loads this plugin.
            from ansible.module_utils.rollout.report.files import is_rendered, render

            record = Record(folder.parent, folder.name)
            for host, section in closing(record.read(), self._hosts, stops, interrupted_in).items():
                record.add(host, STOPPED, section)
            if not is_rendered(folder):
                render(folder.parent, folder.name)
        except Exception as error:  # whatever it is: it must be seen, and must not hide how the run ended
            self._display.error(
                f"The report of run {folder.name} could not be written: {type(error).__name__}: {error}\n"
                f"What was recorded lies in {folder}. Once the reason is mended:"
                f" ansible-playbook playbooks/report.yml -i <inventory> -e run_id={folder.name}"
            )
