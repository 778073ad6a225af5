"""Action ``application_watch``: go on looking at an application, its database and its host for half an hour.

The looks are made on the target by application_info, pg_activity_info and host_resources_info; module_utils/rollout
judges them here. Every look is in the run's record before it is told, so that a watch whose process was ended can be
continued. Nothing is changed on the target.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import ansible.module_utils
from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

# The module finds module_utils/ through ansible.cfg; on the control node nothing adds it to the import path.
_MODULE_UTILS = str(Path(__file__).resolve().parent.parent / "module_utils")
if _MODULE_UTILS not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(_MODULE_UTILS)

from ansible.module_utils.rollout import gate  # noqa: E402
from ansible.module_utils.rollout.errors import RolloutError  # noqa: E402
from ansible.module_utils.rollout.gate_watch import require_patterns  # noqa: E402
from ansible.module_utils.rollout.record import Record  # noqa: E402
from ansible.module_utils.rollout.watch import Plan  # noqa: E402
from ansible.module_utils.rollout.watch_figures import figure_limits  # noqa: E402
from ansible.module_utils.rollout.watch_loop import Limits, Seen, Watch, is_over  # noqa: E402

SECTION = "watch"
#: Asked here, in ansible-playbook's own process: those that run tasks have no terminal.
ON_TERMINAL = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
#: How long the process of an ansible-playbook that was killed may go on with the look that it was at, seconds.
_STRAGGLER_S = 30
_OPTIONS = {
    "state": {"type": "str", "choices": ["begun", "watched"], "default": "watched"},
    "look": {"type": "dict", "default": {}},
    "database": {"type": "dict", "default": {}},
    "host": {"type": "dict", "default": {}},
    "reference": {"type": "dict", "default": {}},
    "baseline": {"type": "dict", "default": {}},
    "duration": {"type": "float", "default": 1800},
    "interval": {"type": "float", "default": 300},
    "recheck": {"type": "float", "default": 60},
    "red_samples": {"type": "int", "default": 3},
    "broken_samples": {"type": "int", "default": 10},
    "error_lines": {"type": "int", "default": 20},
    "problem_lines": {"type": "int", "default": 20},
    "problem_budgets": {"type": "dict", "default": {}},
    "rate_factor": {"type": "float", "default": 2},
    "errors_per_minute": {"type": "float", "default": 1},
    "limits": {"type": "dict", "default": {}},
    "on_red": {"type": "str", "choices": ["fail", "roll_back"], "default": "fail"},
    "alone": {"type": "bool", "default": False},
    "report_dir": {"type": "path", "required": True},
    "run_id": {"type": "str", "required": True},
}
_LINES = ("error_lines", "problem_lines", "problem_budgets", "rate_factor", "errors_per_minute")


class Screen:
    """What the operator sees: in a log a line each look, on a terminal one line that is written anew.

    :param prefix: of each line
    :param in_place: whether there is a terminal, and nobody else who writes to it meanwhile
    """

    def __init__(self, prefix: str, *, in_place: bool) -> None:
        self._prefix, self._in_place = prefix, in_place
        self._open = False
        self._parent = os.getppid()

    def sample(self, line: str, remarks: Sequence[str]) -> None:
        """A look was made. What is wrong stays to be read."""
        self._require_somebody()
        whole = self._prefix + " · ".join([line, *remarks])
        if not self._in_place:
            Display().display(whole)
            return
        Display().display(whole, log_only=True)
        if remarks:
            self._write(whole)
            self.close()
        else:
            self._write(self._prefix + line, cut=True)

    def tick(self, line: str) -> None:
        """The same with less time left."""
        self._require_somebody()
        if self._in_place:
            self._write(self._prefix + line, cut=True)

    def close(self) -> None:
        """End the line that is being written anew."""
        if self._open:
            Display().display("", screen_only=True)
        self._open = False

    def _write(self, text: str, *, cut: bool = False) -> None:
        # A line that is longer than the terminal cannot be written anew.
        if cut:
            text = text[: Display().columns - 1]
        Display().display(f"\r\x1b[K{text}", screen_only=True, newline=False)
        self._open = True

    def _require_somebody(self) -> None:
        """End with ansible-playbook: killed, it leaves this process alone, and whoever continues the watch is to be
        the only one."""
        if os.getppid() != self._parent:
            raise AnsibleError("ansible-playbook is gone; the watch can be continued")


class ActionModule(ActionBase):  # type: ignore[misc]
    """Entry point for Ansible; the arguments are documented in library/application_watch.py."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Watch until it is over; never fails for what it sees."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        task_vars = task_vars or {}
        _validation, given = self.validate_argument_spec(argument_spec=_OPTIONS)
        host = str(task_vars["inventory_hostname"])
        result["changed"] = False
        try:
            require_patterns(given["problem_budgets"], given["look"], "watch_problem_budgets")
            plan = Plan(
                given["duration"],
                given["interval"],
                given["recheck"],
                given["red_samples"],
                given["broken_samples"],
            )
            limits = Limits(
                gate.Limits(**{name: given[name] for name in _LINES}), figure_limits(given["limits"])
            )
            _require_sources(given)
            if given["state"] == "begun":
                return result
            if self._task.check_mode:
                result.update(skipped=True, msg="Check mode: nothing is watched.")
                return result
            record = Record(given["report_dir"], given["run_id"])
            record.sections(host)  # refuses a run that was not begun
            with _alone(record.folder, host):
                result.update(self._watch(record, host, plan, limits, given, task_vars))
        except RolloutError as error:
            result.update(failed=True, msg=str(error), details=error.details)
        return result

    def _watch(
        self,
        record: Record,
        host: str,
        plan: Plan,
        limits: Limits,
        given: Mapping[str, Any],
        task_vars: Mapping[str, Any],
    ) -> dict[str, Any]:
        known = _known(record.sections(host), given["run_id"], alone=given["alone"])
        if is_over(known):
            told = {name: known[name] for name in ("state", "reasons", "gaps", "watched_s")}
            return {**told, "continued": False, "over_before": True, "reference": {}}
        watch = Watch(
            plan,
            limits,
            clock=time,
            reference=given["reference"],
            baseline=given["baseline"],
            known=known,
        )
        several = len(task_vars.get("ansible_play_hosts_all", ())) > 1
        screen = Screen(f"{host}: " if several else "", in_place=ON_TERMINAL and not several)

        def keep(section: Mapping[str, Any]) -> None:
            record.add(host, SECTION, {**section, "on_red": given["on_red"]})

        try:
            decision = watch.run(
                lambda arguments, counters: self._look(given, arguments, counters, task_vars), screen, keep
            )
        finally:
            screen.close()
        section = watch.section(decision)
        return {
            **{name: section[name] for name in ("state", "reasons", "gaps", "watched_s")},
            "continued": bool(known),
            "over_before": False,
            "reference": watch.reference(),
        }

    def _look(
        self,
        given: Mapping[str, Any],
        arguments: Mapping[str, Any],
        counters: Mapping[str, Any],
        task_vars: Mapping[str, Any],
    ) -> Seen:
        """One look with all that is asked for; what cannot be asked is broken, and says nothing."""
        seen: dict[str, Any] = {}
        broken: list[dict[str, str]] = []
        asked: tuple[tuple[str, str, Mapping[str, Any], Mapping[str, Any], str | None], ...] = (
            ("application", "application_info", given["look"], arguments, None),
            ("database", "pg_activity_info", given["database"], {}, "activity"),
            ("host", "host_resources_info", given["host"], {"since": counters}, "host"),
        )
        for source, module, fixed, changing, key in asked:
            if not fixed:
                continue
            answer = self._ask(module, {**fixed, **changing}, task_vars)
            if not answer.get("failed") and not answer.get("unreachable"):
                seen[source] = answer if key is None else answer[key]
                continue
            text = f"{module} could not be run: {answer.get('msg', 'no answer')}"
            if answer.get("unreachable"):
                broken.append({"source": "host", "reason": "unreachable", "text": text})
                self._reconnect()
                break
            broken.append(
                {
                    "source": source,
                    "reason": str(answer.get("details", {}).get("reason", "")),
                    "text": text,
                }
            )
        for disk in seen.get("host", {}).get("disks", ()):
            if disk["error"]:
                text = f"the disk of {disk['path']} could not be measured: {disk['error']}"
                broken.append({"source": "host", "reason": "disk", "text": text})
        return Seen(broken=broken, **seen)

    def _ask(self, module: str, arguments: Mapping[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        try:
            answer = self._execute_module(module, module_args=dict(arguments), task_vars=task_vars)
        except AnsibleError as error:
            # No connection, no room for the module on the target, an interpreter that is gone: it may come back.
            return {"unreachable": True, "msg": str(error)}
        return dict(answer)

    def _reconnect(self) -> None:
        """Let the next look begin with a connection, and a folder on the target, of its own."""
        with suppress(AnsibleError):
            self._connection.reset()
        self._connection._shell.tmpdir = None


def _require_sources(given: Mapping[str, Any]) -> None:
    """Refuse what would look well whatever happens."""
    if not any(given[source] for source in ("look", "database", "host")):
        raise RolloutError(
            "there is nothing to watch: neither an application, nor a database, nor a host",
            hint="gate_enabled, watch_database, watch_host; or watch_enabled: false.",
        )


def _known(sections: Mapping[str, Any], run_id: str, *, alone: bool) -> Mapping[str, Any]:
    """What an earlier process left of this run's watch, to go on with.

    :param alone: nothing but the watch is done now; else something was changed, and the watch of that begins anew
    :raises RolloutError: that run did not come to its watch: to go on with it would call it well
    """
    if not alone:
        return {}
    known: Mapping[str, Any] = sections.get(SECTION, {})
    if sections and not known and "end" not in sections:
        raise RolloutError(
            f"run {run_id} did not come to its watch, so there is nothing to continue",
            hint="Run apply.yml again: it goes on after what was applied. To watch the application now, leave out"
            " run_id.",
        )
    return known if "samples" in known else {}


@contextmanager
def _alone(folder: Path, host: str) -> Iterator[None]:
    """Nobody else watches the same host in the same run: each would record over the other.

    :raises RolloutError: somebody does
    """
    deadline = time.monotonic() + _STRAGGLER_S
    with open(folder / f".watch-{quote(host, safe=':')}.lock", "w", encoding="utf-8") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise RolloutError(
                        f"the watch of run {folder.name} is still going on in another process",
                        hint="Look for it in another terminal. To watch beside it, leave out run_id.",
                    ) from None
                time.sleep(0.2)
        yield
