"""Callback ``rollout``: a run as its operator sees it. docs/console.md shows it.

Without ``-v``: a line a phase, what the playbook says, every warning and every failure with its whole message, once.
With ``-v`` or more: what the default callback prints, and the phases.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import ansible.module_utils
from ansible import constants as C
from ansible import context
from ansible.playbook.task_include import TaskInclude
from ansible.plugins.callback.default import CallbackModule as Default
from ansible.utils import color

# The logic is in module_utils/; on the control node nothing adds it to the import path.
_MODULE_UTILS = str(Path(__file__).resolve().parent.parent / "module_utils")
if _MODULE_UTILS not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(_MODULE_UTILS)

from ansible.module_utils.rollout import console_checklist, console_failure, console_phases  # noqa: E402
from ansible.module_utils.rollout.console_outcome import Failure, sentence  # noqa: E402
from ansible.module_utils.rollout.findings import Finding, counts, summary, text  # noqa: E402

DOCUMENTATION = r"""
name: rollout
type: stdout
short_description: A line a phase, and the outcome at the end
description:
  - Names and times the phases of a playbook, shows what it says, and every warning and failure with its whole message.
  - Ends with the checklist as a table, the outcome in one sentence and the path of the report, after Ansible's recap.
  - With C(-v) or more, everything that the default callback prints is there too.
extends_documentation_fragment:
  - default_callback
  - result_format_callback
requirements:
  - set as stdout in configuration
  - rich
"""

_INDENT = " " * 4


class CallbackModule(Default):  # type: ignore[misc]
    """Entry point for Ansible."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "rollout"

    def __init__(self) -> None:
        super().__init__()
        self._progress = console_phases.Progress([], time.monotonic)
        self._failures: list[Failure] = []
        self._checklist: tuple[str, dict[str, list[Finding]]] = ("", {})
        self._run_folder = ""
        self._recap: dict[str, dict[str, int]] | None = None
        self._process = os.getpid()
        self._quiet = self._display.verbosity == 0
        self._terminal = sys.stdout.isatty()
        self._several_hosts = False
        self._line_is_open = False
        if self._terminal:
            self._close_line_before_others()
        else:
            # Who follows a log wants to see the line that was written, not the last full block.
            sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]

    def get_option(self, k: str, hostvars: Any = None) -> Any:
        """An option; without -v the default callback's own lines for tasks that went well are left out."""
        if self._quiet and k in ("display_ok_hosts", "display_skipped_hosts"):
            return False
        return super().get_option(k, hostvars)

    # The playbook and its phases

    def v2_playbook_on_start(self, playbook: Any) -> None:
        super().v2_playbook_on_start(playbook)
        phases = console_phases.of_playbook(playbook.get_plays())
        self._progress = console_phases.Progress(phases, time.monotonic)
        atexit.unregister(self._end)  # there may be several playbooks
        atexit.register(self._end)

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._end_phase()
        hosts = play.get_variable_manager().get_vars(play=play)["ansible_play_hosts_all"]
        self._several_hosts = len(hosts) > 1
        if self._quiet:
            self._play = play
        else:
            super().v2_playbook_on_play_start(play)

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        phase = self._progress.begins(task._uuid)
        if phase is not None:
            self._end_phase()
            self._progress.begin(phase)
            self._begin_line(self._progress.label(phase))
        super().v2_playbook_on_task_start(task, is_conditional)

    def v2_playbook_on_include(self, included_file: Any) -> None:
        if not self._quiet:
            super().v2_playbook_on_include(included_file)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._end_phase()
        super().v2_playbook_on_stats(stats)
        self._recap = {host: stats.summarize(host) for host in stats.processed}

    def _end(self) -> None:
        """After everybody else: a run that failed has its report only then."""
        if os.getpid() != self._process:
            return
        where = f" in {self._progress.label(self._progress.current)}" if self._progress.current else ""
        self._end_phase()
        recap = self._recap or {}
        red = {host for host, one in recap.items() if one["failures"] or one["unreachable"]}
        self._show_checklist(red)
        took = self._progress.seconds
        record = self._record()
        if record:
            told = f"{record['summary']['sentence']} It took {console_phases.duration(took)}."
        elif self._recap is None:
            told = f"The run ended before its end, after {console_phases.duration(took)}{where}."
        else:
            check = bool(context.CLIARGS.get("check"))
            told = sentence(recap, self._failures, seconds=took, check=check)
        well = recap and not red and record.get("outcome", "succeeded") == "succeeded"
        self._display.display(told, color=C.COLOR_OK if well else C.COLOR_ERROR)
        page = Path(self._run_folder, "report.html")
        if record and page.is_file():
            self._display.display(f"Report: {_relative(str(page))}")

    def _record(self) -> dict[str, Any]:
        """The record of the run with its summary; empty when there is none, as in a dry run."""
        path = Path(self._run_folder, "report.json")
        if not self._run_folder or not path.is_file():
            return {}
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return record if "summary" in record else {}

    # Results

    def v2_runner_on_ok(self, result: Any) -> None:
        self._progress.note(result.host.get_name(), "ran", changed=bool(result.result.get("changed")))
        self._remember(result)
        if not self._quiet:
            super().v2_runner_on_ok(result)
        elif not isinstance(result.task, TaskInclude):
            self._handle_warnings_and_exception(result)
            if not (result.task.loop and "results" in result.result):
                self._say(result)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        if not self._quiet:
            super().v2_runner_item_on_ok(result)
        elif not isinstance(result.task, TaskInclude):
            self._handle_warnings_and_exception(result)
            self._say(result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._progress.note(result.host.get_name(), "skipped")
        if not self._quiet:
            super().v2_runner_on_skipped(result)
        else:
            self._handle_warnings_and_exception(result)

    def v2_runner_item_on_skipped(self, result: Any) -> None:
        if not self._quiet:
            super().v2_runner_item_on_skipped(result)
        else:
            self._handle_warnings_and_exception(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        loop = bool(result.task.loop and "results" in result.result)
        message = self._message(result)
        if ignore_errors:
            self._progress.note(result.host.get_name(), "ran")
        if not self._quiet:
            super().v2_runner_on_failed(result, ignore_errors)
        elif loop:
            # Each item has said what failed.
            self._handle_warnings(result.result)
        else:
            self._show_failure(result, "failed" if ignore_errors else "fatal", "FAILED!", message)
        if self._quiet and ignore_errors:
            self._display.display("...ignoring", color=C.COLOR_SKIP)
        if not ignore_errors:
            self._fail(result, message)

    def v2_runner_item_on_failed(self, result: Any) -> None:
        if self._quiet:
            item = f" (item={self._get_item_label(result.result)})"
            self._show_failure(result, "failed", f"FAILED!{item}", self._message(result))
        else:
            super().v2_runner_item_on_failed(result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        message = self._message(result)
        if self._quiet:
            self._show_failure(result, "fatal", "UNREACHABLE!", message)
            if result.task.ignore_unreachable:
                self._display.display("...ignoring", color=C.COLOR_SKIP)
        else:
            super().v2_runner_on_unreachable(result)
        if result.task.ignore_unreachable:
            self._progress.note(result.host.get_name(), "ran")
        else:
            self._fail(result, message, may_be_rescued=False)

    def _handle_exception(self, result: Any, use_stderr: bool = False) -> None:
        # The default callback shows the error of a no_log task: its text is what was to be hidden.
        if "censored" in result:
            result.pop("exception", None)
        super()._handle_exception(result, use_stderr)

    # What is kept for the end

    def _remember(self, result: Any) -> None:
        self._run_folder = result.result.get("ansible_facts", {}).get("run_folder", self._run_folder)
        if result.task.action == "checklist" and "invocation" in result.result:
            given = result.result["invocation"]["module_args"]
            findings = [Finding(**one) for one in given["findings"]]
            name, known = self._checklist
            if given["name"] != name:
                known = {}
            self._checklist = (given["name"], {**known, result.host.get_name(): findings})

    def _fail(self, result: Any, message: str, *, may_be_rescued: bool = True) -> None:
        host = result.host.get_name()
        self._progress.note(host, "failed")
        self._remember(result)
        phase = self._progress.current
        label = self._progress.label(phase) if phase else ""
        handled = console_phases.rescue_of(result.task) if may_be_rescued else None
        self._failures.append(Failure(host, label, message))
        if handled is not None:
            self._display.display(
                f"{_INDENT}[{host}] is rescued: the playbook handles this failure; next comes: {handled}",
                color=C.COLOR_WARN,
            )

    # What is shown

    def _say(self, result: Any) -> None:
        """What a task shows without -v: debug's message, a checklist's summary."""
        self._clean_results(result.result, result.task.action)
        if not self._run_is_verbose(result):
            return
        said = result.result.get("msg")
        if result.task.action == "checklist" and "invocation" in result.result:
            said = self._attention(result.result["invocation"]["module_args"])
        shown = said.splitlines() if isinstance(said, str) else said
        only_message = not [
            k for k in result.result if k not in ("msg", "changed", "invocation") and k[0] != "_"
        ]
        if not (only_message and isinstance(shown, list) and all(isinstance(line, str) for line in shown)):
            shown = self._dump_results(result.result).strip("\n").splitlines()
        who = f"[{self.host_label(result)}] " if self._several_hosts else ""
        for line in shown:
            self._display.display(f"{_INDENT}{who}{line}".rstrip())

    def _message(self, result: Any) -> str:
        """Everything that a failure says, once; without what no_log hides."""
        if "censored" in result.result:
            return str(result.result["censored"])
        if result.task.action == "checklist" and "invocation" in result.result:
            return self._attention(result.result["invocation"]["module_args"])
        said = str(result.result.get("msg", ""))
        return console_failure.message(said, result.exception.event if result.exception else None)

    def _attention(self, checklist: Any) -> str:
        """A checklist's summary, and a paragraph for each item that needs attention; the others are in the table."""
        findings = [Finding(**one) for one in checklist["findings"]]
        needs = text([one for one in findings if one.status in ("failed", "warning")])
        return "\n\n".join(part for part in (f"{checklist['name']}: {summary(findings)}", needs) if part)

    def _show_failure(self, result: Any, word: str, what: str, message: str) -> None:
        self._handle_warnings(result.result)
        event = result.exception.event if result.exception and "censored" not in result.result else None
        told = [textwrap.indent(message, _INDENT)] if message else []
        rest = {k: v for k, v in result.result.items() if k not in ("msg", "exception", "censored")}
        if result.task.action == "checklist":
            rest.pop("invocation", None)
        if rest.get("changed") is False:
            del rest["changed"]
        if any(not k.startswith("_") and k != "invocation" for k in rest):
            told.append(self._dump_results(rest).strip("\n"))
        told += [textwrap.indent(one, _INDENT) for one in console_failure.tracebacks(event)]
        at = [_relative(origin) for origin in console_failure.origins(event)] or [
            _relative(result.task.get_path() or "")
        ]
        told.append(f"{_INDENT}Origin: {', '.join(at)}")
        head = f"{word}: [{self.host_label(result)}]: {what} {result.task.get_name()}"
        self._display.display(
            "\n".join([head, *told]), color=C.COLOR_ERROR, stderr=self.get_option("display_failed_stderr")
        )

    def _show_checklist(self, red: set[str]) -> None:
        name, findings = self._checklist
        # Where something else failed later, a green checklist speaks of what was before.
        findings = {
            host: items for host, items in findings.items() if host not in red or counts(items)["failed"]
        }
        if not findings:
            return
        rows = console_checklist.rows(findings)
        everything = [one for items in findings.values() for one in items]
        title = f"{name}: {summary(everything)}"
        plain = console_checklist.lines(title, rows)
        if not self._terminal:
            self._display.display(f"{plain}\n\n")
            return
        width = self._display.columns
        drawn = console_checklist.table(title, rows, width=width, colour=color.ANSIBLE_COLOR)
        self._display.display(f"{drawn}\n\n", screen_only=True)
        self._display.display(plain, log_only=True)

    # Lines

    def _begin_line(self, label: str) -> None:
        if self._terminal and self._quiet:
            self._display.display(f"{label} …", newline=False)
            sys.stdout.flush()
            self._line_is_open = True
        else:
            self._display.display(label)

    def _end_phase(self) -> None:
        phase = self._progress.current
        if phase is None:
            return
        told = self._progress.end()
        shade = C.COLOR_ERROR if "FAILED" in told else C.COLOR_CHANGED if "changed" in told else C.COLOR_OK
        if self._line_is_open:
            self._line_is_open = False
            self._display.display(f" {told}", color=shade)
        else:
            self._display.display(f"{_INDENT}… {told}", color=shade)

    def _close_line_before_others(self) -> None:
        """A phase's time is to stand in its own line; who shows something before it ended gets a line of his own."""
        show = self._display.display

        def display(*args: Any, **kwargs: Any) -> None:
            # Workers hand what they show to this process.
            if self._line_is_open and os.getpid() == self._process:
                self._line_is_open = False
                show("")
            show(*args, **kwargs)

        self._display.display = display


def _relative(path: str) -> str:
    """As short as it can be typed from here."""
    here = f"{os.getcwd()}/"
    return path.removeprefix(here)
