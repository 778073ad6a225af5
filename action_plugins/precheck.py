"""Action ``precheck``: ask the control node, the host, the database and the application everything, and judge it all.

What cannot be reached is a finding beside the others, so that one run tells everything that there is to tell.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ansible.constants as constants
import ansible.module_utils
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

ROOT = Path(__file__).resolve().parent.parent
# The logic is in module_utils/; on the control node nothing adds it to the import path.
_MODULE_UTILS = str(ROOT / "module_utils")
if _MODULE_UTILS not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(_MODULE_UTILS)

from ansible.module_utils.rollout import findings as checklists  # noqa: E402
from ansible.module_utils.rollout import precheck  # noqa: E402
from ansible.module_utils.rollout.errors import RolloutError  # noqa: E402
from ansible.module_utils.rollout.precheck_database import SSLMODES  # noqa: E402
from ansible.module_utils.rollout.precheck_demands import (  # noqa: E402
    Demands,
    FlagDemand,
    Job,
    Known,
)
from ansible.module_utils.rollout.precheck_host import OLDEST_PYTHON  # noqa: E402
from ansible.module_utils.rollout.source import load_migrations  # noqa: E402

#: Scripts of role runtime, which makes the environment that the modules run with.
RUNTIME_FILES = ROOT / "roles/runtime/files"
#: Settings of ansible.cfg without which a run is not what it seems, and the values that they have there.
SETTINGS = {
    "DEFAULT_NO_TARGET_SYSLOG": True,
    "HOST_KEY_CHECKING": True,
    "INVENTORY_ANY_UNPARSED_IS_FAILED": True,
}
_HOUR = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
_FLAG = {
    "name": {"type": "str", "required": True},
    "file": {"type": "str", "default": ""},
    "service": {"type": "str", "default": ""},
    "expected": {"type": "str", "default": ""},
    "unset": {"type": "str", "default": ""},
}
_JOB = {
    "name": {"type": "str", "required": True},
    "start": {"type": "str", "required": True},
    "minutes": {"type": "int", "default": 10},
}
SPECIFICATION: dict[str, dict[str, Any]] = {
    "connection": {"type": "dict", "required": True, "no_log": True},
    "application_name": {"type": "str", "default": "rollout"},
    "required_variables": {"type": "list", "elements": "dict", "default": []},
    "migrations_path": {"type": "path", "required": True},
    "migration_variables": {"type": "dict", "default": {}},
    "runtime_venv": {"type": "str", "required": True},
    "base_python": {"type": "str", "default": "/usr/bin/python3"},
    "disk_paths": {"type": "list", "elements": "str", "default": []},
    "app_dir": {"type": "str", "default": ""},
    "bin_dir": {"type": "str", "default": ""},
    "flags": {"type": "list", "elements": "dict", "default": [], "options": _FLAG},
    "jobs": {"type": "list", "elements": "dict", "default": [], "options": _JOB},
    "maintained": {"type": "list", "elements": "dict", "default": []},
    "max_age_days": {"type": "int", "default": 3},
    "owner_role": {"type": "str", "default": ""},
    "pm2_home": {"type": "str", "default": ""},
    "pm2": {"type": "dict", "default": {}},
    "baileys": {"type": "dict", "default": {}},
}
#: Of a maintained table, what says how far it has to reach; how it is archived is not asked.
MAINTAINED = ("table", "schema", "unit", "zone", "first", "ahead", "alarm", "retention")
#: Arguments that are handed to the judgement as they are, with their types.
DEMANDS: dict[str, dict[str, Any]] = {
    **{
        name: {"type": "int"}
        for name in (
            "disk_free_mb",
            "backup_free_mb",
            "window_minutes",
            "connections_needed",
            "application_connections",
            "shortest_timeout_s",
            "long_transaction_s",
            "idle_in_transaction_s",
        )
    },
    **{
        name: {"type": "str"}
        for name in ("backup_dir", "commit", "schema", "ledger", "time_zone", "encoding")
    },
    "sslmode": {"type": "str", "choices": list(SSLMODES)},
    **{name: {"type": "list", "elements": "str"} for name in ("protected", "tools")},
    **{name: {"type": "bool"} for name in ("checkout", "writes")},
}


class Unreachable(Exception):
    """The host does not answer any more; what it was is in the text."""


class ActionModule(ActionBase):  # type: ignore[misc]
    """Entry point for Ansible; the arguments are documented in library/precheck.py."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask everything; never fails because of what was found."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        self._variables: dict[str, Any] = dict(task_vars or {})
        _validation, given = self.validate_argument_spec(argument_spec={**SPECIFICATION, **DEMANDS})
        self._given: dict[str, Any] = given
        self._unasked: dict[str, str] = {}
        self._seconds: dict[str, float] = {}
        demands = self._demands()
        known = self._ask()
        findings = checklists.ordered(precheck.judge(known, demands, self._unasked, self._seconds))
        result.update(
            changed=False,
            findings=[finding.as_result() for finding in findings],
            counts=checklists.counts(findings),
            summary=checklists.summary(findings),
            seconds=round(sum(self._seconds.values()), 3),
        )
        return result

    def _demands(self) -> Demands:
        given = self._given
        for job in given["jobs"]:
            if not _HOUR.fullmatch(job["start"]):
                raise AnsibleActionFail(
                    f"precheck_other_jobs: {job['name']} starts at {job['start']!r}, which is not HH:MM in UTC, quoted"
                )
        chosen = {name: given[name] for name in DEMANDS if given[name] is not None}
        return Demands(
            **chosen,
            configured_sslmode=str(given["connection"].get("sslmode") or ""),
            flags=[
                FlagDemand(name=flag["name"], expected=flag["expected"], unset=flag["unset"])
                for flag in given["flags"]
            ],
            jobs=[Job(**job) for job in given["jobs"]],
            services=[str(name) for name in given["pm2"].get("services", [])],
            detaches=any(int(table.get("retention") or 0) for table in given["maintained"]),
        )

    def _ask(self) -> Known:
        control = self._timed("control", self._ask_control)
        host: dict[str, Any] = {}
        database: dict[str, Any] = {}
        application: dict[str, Any] = {}
        try:
            interpreter = self._timed("host", self._ask_python, host)
            if interpreter is not None:
                self._timed("host", self._ask_host, host, interpreter)
                self._timed("database", self._ask_database, database, host, interpreter)
                self._timed("application", self._ask_application, application, interpreter)
        except Unreachable as error:
            host["reach"] = {"error": str(error)}
            for group in ("host", "database", "application"):
                self._unasked[group] = "the host does not answer: see host"
        return Known(control=control, host=host, database=database, application=application)

    def _timed(self, group: str, ask: Any, *arguments: Any) -> Any:
        begun = time.monotonic()
        try:
            return ask(*arguments)
        finally:
            self._seconds[group] = self._seconds.get(group, 0.0) + time.monotonic() - begun

    # --- the control node

    def _ask_control(self) -> dict[str, Any]:
        return {
            "now": time.time(),
            "inventory": self._missing_variables(),
            "ansible_cfg": ansible_configuration(),
            "migrations": self._migrations(),
        }

    def _missing_variables(self) -> dict[str, Any]:
        plugin = self._shared_loader_obj.action_loader.get("required_variables", class_only=True)
        source = sys.modules[plugin.__module__]
        variables = self._variables["hostvars"].raw_get(self._variables["inventory_hostname"])
        templar = self._templar.copy_with_new_env(available_variables=variables)
        missing = {}
        for entry in self._given["required_variables"]:
            finding = source.inspect(source.Requirement(**entry), variables, templar)
            if finding is not None:
                missing[str(entry["name"])] = finding.problem
        return {"checked": len(self._given["required_variables"]), "missing": missing}

    def _migrations(self) -> dict[str, Any]:
        folder = Path(self._given["migrations_path"])
        facts: dict[str, Any] = {"folder": str(folder), "found": [], "error": "", "hint": ""}
        try:
            loaded = load_migrations(folder, self._given["migration_variables"])
        except RolloutError as error:
            return {**facts, "error": error.message, "hint": error.hint}
        facts["found"] = [
            {"label": one.label, "checksum": one.checksum, "source_sha256": one.source_sha256}
            for one in loaded
        ]
        return facts

    # --- the application host

    def _ask_python(self, host: dict[str, Any]) -> str | None:
        """Which interpreter the modules can run with: the environment's, else the host's own; None for neither."""
        folder = self._given["runtime_venv"]
        wanted = [
            line
            for line in (RUNTIME_FILES / "requirements.txt").read_text().splitlines()
            if line.strip() and not line.startswith("#")
        ]
        environment = f"{folder}/bin/python"
        listed = self._script(environment, "-I", script="installed_versions.py")
        host["reach"] = {"error": ""}
        there = listed["rc"] == 0
        missing = sorted(set(wanted) - set(listed["stdout"].split())) if there else wanted
        host["runtime"] = {"folder": folder, "wanted": wanted, "missing": missing}
        interpreter = environment if there else str(self._given["base_python"])
        host["python"] = python_facts(
            interpreter, there, self._script(interpreter, script="inspect_host.py", argument=folder)
        )
        if missing:
            self._unasked["database"] = "the modules' environment is not installed: see runtime"
        version = host["python"]["version"]
        if not version or tuple(int(part) for part in version.split(".")) < OLDEST_PYTHON:
            # What an environment would lack cannot be told before there is a Python to make one with.
            if not there:
                del host["runtime"]
                self._unasked["host.runtime"] = "there is no Python to make it with: see python"
            for group in ("host", "database", "application"):
                self._unasked[group] = "no module runs on the host: see python"
            return None
        return interpreter

    def _script(self, interpreter: str, *options: str, script: str, argument: str = "") -> dict[str, Any]:
        """Run one of role runtime's scripts on the host, which needs no Python there to say that there is none."""
        words = [interpreter, *options, "-c", (RUNTIME_FILES / script).read_text()]
        command = shlex.join([*words, argument] if argument else words)
        try:
            answer: dict[str, Any] = self._low_level_execute_command(command)
        except AnsibleConnectionFailure as error:
            raise Unreachable(_first_line(error)) from None
        return answer

    def _module(self, name: str, arguments: Mapping[str, Any], interpreter: str) -> dict[str, Any]:
        variables = {**self._variables, "ansible_python_interpreter": interpreter}
        try:
            answer: dict[str, Any] = self._execute_module(
                module_name=name, module_args=dict(arguments), task_vars=variables
            )
        except AnsibleConnectionFailure as error:
            raise Unreachable(_first_line(error)) from None
        return answer

    def _ask_host(self, host: dict[str, Any], interpreter: str) -> None:
        given = self._given
        connection = given["connection"]
        answer = self._module(
            "host_precheck_info",
            {
                "disk_paths": given["disk_paths"],
                "backup_dir": given["backup_dir"] or "",
                "checkout": given["app_dir"] if given["checkout"] is not False else "",
                "client_tools": Demands.tools if given["tools"] is None else given["tools"],
                "bin_dir": given["bin_dir"],
                "sslrootcert": str(connection.get("sslrootcert") or ""),
                "service": str(connection.get("service") or ""),
                "service_file": str(connection.get("service_file") or ""),
                "flags": [
                    {name: flag[name] for name in ("name", "file", "service")} for flag in given["flags"]
                ],
                "pm2_home": given["pm2_home"],
            },
            interpreter,
        )
        if answer.get("failed"):
            host["reach"] = {"error": f"its questions cannot be asked: {answer.get('msg')}"}
            self._unasked["host"] = "its questions cannot be asked: see host"
        else:
            host.update(answer["facts"])

    # --- the database

    def _ask_database(self, database: dict[str, Any], host: Mapping[str, Any], interpreter: str) -> None:
        if host["runtime"]["missing"]:
            return
        given = self._given
        answer = self._module(
            "pg_precheck_info",
            {
                **given["connection"],
                "application_name": given["application_name"],
                "schema": given["schema"] or Demands.schema,
                "ledger": given["ledger"] or Demands.ledger,
                "owner_role": given["owner_role"],
                "protected_tables": given["protected"] or [],
                "maintained_tables": [
                    {name: value for name, value in table.items() if name in MAINTAINED}
                    for table in given["maintained"]
                ],
                "max_age_days": given["max_age_days"],
            },
            interpreter,
        )
        if answer.get("failed"):
            database.update(reached=False, asked=False, reason="module", error=str(answer.get("msg")))
        else:
            database.update(answer["facts"])
        if not database["asked"]:
            self._unasked["database"] = "the database did not answer: see database, tls, tls_ca and pooler"

    # --- the application

    def _ask_application(self, application: dict[str, Any], interpreter: str) -> None:
        for answer, module, arguments in (
            ("services", "pm2_info", self._given["pm2"]),
            ("whatsapp", "baileys_info", self._given["baileys"]),
        ):
            if arguments.get("services" if answer == "services" else "health_url"):
                application[answer] = self._module(module, arguments, interpreter)
            else:
                self._unasked[f"application.{answer}"] = "it is not configured, or asked by the gate instead"
        if not application:
            self._unasked["application"] = "it is not configured, or asked by the gate instead"


def ansible_configuration() -> dict[str, Any]:
    """Which file Ansible read, which it ought to have, and the settings that matter as they came out."""
    used = constants.CONFIG_FILE
    return {
        "wanted": str(ROOT / "ansible.cfg"),
        "used": str(Path(used).resolve()) if used else "",
        "settings": {
            name: [wanted, constants.config.get_config_value(name)] for name, wanted in SETTINGS.items()
        },
    }


def python_facts(path: str, is_environment: bool, answer: Mapping[str, Any]) -> dict[str, Any]:
    """What the script inspect_host.py said of an interpreter.

    :param answer: exit code and output of the command
    """
    facts = {"path": path, "is_environment": is_environment, "version": "", "can_make_environment": False}
    if answer["rc"] != 0:
        return {**facts, "error": f"does not run (exit code {answer['rc']})"}
    try:
        said = json.loads(answer["stdout"])
        return {
            **facts,
            "version": str(said["python"]),
            "can_make_environment": bool(said["can_make_environment"]),
            "error": "",
        }
    except (ValueError, KeyError, TypeError):
        return {**facts, "error": "is no Python: it did not answer what it was asked"}


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no answer"])[0]
