"""Action ``run_record``: keep the record of a run on the control node, piece by piece, so that a crash loses nothing.

Each host's sections are kept in a file of its own; ``report.json`` is put together from them after every piece.
"""

from __future__ import annotations

import datetime
import fcntl
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from ansible import context
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.release import __version__ as ansible_version

#: Raised when the shape of report.json changes.
FORMAT = 1
_RUN_ID = re.compile(r"(?!latest$)[A-Za-z0-9][A-Za-z0-9._-]{0,40}")
_SECTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,120}")


def new_run_id(now: datetime.datetime) -> str:
    """A name that sorts by time and is unique, such as ``20251109T183000Z-4f1c``.

    :param now: the present moment, in UTC
    """
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


def assemble(run: Mapping[str, Any], hosts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The whole record: the run, and each host's sections with its outcome.

    :param run: what was written when the run began
    :param hosts: sections by host
    """
    outcomes = {host: outcome(sections) for host, sections in hosts.items()}
    whole = "succeeded"
    if any(result == "failed" for result in outcomes.values()):
        whole = "failed"
    elif not outcomes or any(result == "running" for result in outcomes.values()):
        whole = "running"
    return {
        **run,
        "outcome": whole,
        "hosts": {host: {"outcome": outcomes[host], "sections": dict(hosts[host])} for host in sorted(hosts)},
    }


def outcome(sections: Mapping[str, Any]) -> str:
    """``failed`` as soon as one section failed, ``succeeded`` once the section ``end`` is there, else ``running``."""
    if any(section.get("failed") or section.get("unreachable") for section in sections.values()):
        return "failed"
    return "succeeded" if "end" in sections else "running"


def pruned(value: Any) -> Any:
    """A module's result without what Ansible adds to it (its arguments, its own bookkeeping) and without diffs.

    :raises AnsibleActionFail: a value that JSON has no form for; told by its type alone, it may be a secret
    """
    if isinstance(value, Mapping):
        left_out = (
            "invocation",
            "diff",
            "exception",
            "ansible_facts",
            "warnings",
            "deprecations",
            "rehearsal",
        )
        return {
            str(name): pruned(item)
            for name, item in value.items()
            if name not in left_out and not str(name).startswith("_ansible")
        }
    if isinstance(value, list | tuple):
        return [pruned(item) for item in value]
    if isinstance(value, str):
        return str(value)
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, int | float):
        return value
    raise AnsibleActionFail(f"a value of type {type(value).__name__} cannot be recorded")


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
        if given["run_id"] and not _RUN_ID.fullmatch(given["run_id"]):
            raise AnsibleActionFail(
                f"run_id {given['run_id']!r} must have letters, digits, '.', '_' and '-' only, 41 at most,"
                " and not be 'latest'"
            )
        if given["section"] is not None and not _SECTION.fullmatch(given["section"]):
            raise AnsibleActionFail(
                f"section {given['section']!r} names a file too: letters, digits, ' ', '.', '_' and '-' only"
            )
        if given["state"] == "begun":
            run_id = given["run_id"] or new_run_id(datetime.datetime.now(datetime.UTC))
            folder = Path(given["report_dir"]) / run_id
            if not self._task.check_mode:
                self._begin(folder, task_vars)
            result["ansible_facts"] = {"run_id": run_id, "run_folder": str(folder)}
            return result
        if not given["run_id"]:
            raise AnsibleActionFail("run_id is empty; the task with state: begun sets it")
        if not self._task.check_mode:
            folder = Path(given["report_dir"]) / given["run_id"]
            self._record(
                folder, str(task_vars["inventory_hostname"]), given["section"], pruned(given["data"])
            )
            result["report"] = str(folder / "report.json")
        return result

    def _begin(self, folder: Path, task_vars: Mapping[str, Any]) -> None:
        (folder / "hosts").mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            known = folder / "run.json"
            if not known.exists():
                _write_json(known, self._run_facts(folder.name, task_vars))
            _assemble_file(folder)
        latest = folder.parent / "latest"
        fresh = folder.parent / f".latest-{os.getpid()}"
        fresh.unlink(missing_ok=True)  # of a process of the same number that died here
        fresh.symlink_to(folder.name)
        fresh.replace(latest)

    def _run_facts(self, run_id: str, task_vars: Mapping[str, Any]) -> dict[str, Any]:
        root = Path(__file__).resolve().parent.parent
        return {
            "format": FORMAT,
            "run_id": run_id,
            "began_at": _now(),
            "playbook": [os.path.basename(playbook) for playbook in context.CLIARGS.get("args", ())],
            "inventory": [
                os.path.relpath(source, root) for source in task_vars.get("ansible_inventory_sources") or ()
            ],
            "limit": str(task_vars.get("ansible_limit", "")),
            "tags": [str(tag) for tag in task_vars.get("ansible_run_tags", ())],
            "ansible": ansible_version,
            "repository": _commit(root),
        }

    def _record(self, folder: Path, host: str, section: str, data: Any) -> None:
        if not (folder / "run.json").is_file():
            raise AnsibleActionFail(f"run {folder.name} was not begun: {folder} has no run.json")
        host_file = quote(host, safe=":")  # a host may be called anything
        body = dict(data) if isinstance(data, Mapping) else {"value": data}
        sql = body.pop("sql", "")
        if sql:
            path = folder / "sql" / f"{host_file}.{section.replace(' ', '_')}.sql"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(sql, encoding="utf-8")
            body["sql"] = {
                "file": str(path.relative_to(folder)),
                "sha256": hashlib.sha256(sql.encode()).hexdigest(),
            }
        body["recorded_at"] = _now()
        with _locked(folder):
            path = folder / "hosts" / f"{host_file}.json"
            sections = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            sections[section] = body
            _write_json(path, sections)
            _assemble_file(folder)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Several hosts' tasks run at once, each in a process of its own."""
    with open(folder / ".lock", "w", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _assemble_file(folder: Path) -> None:
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    hosts = {
        unquote(path.name.removesuffix(".json")): json.loads(path.read_text(encoding="utf-8"))
        for path in (folder / "hosts").glob("*.json")
    }
    _write_json(folder / "report.json", assemble(run, hosts))


def _write_json(path: Path, value: Any) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    fresh.replace(path)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def _commit(root: Path) -> dict[str, Any]:
    """Commit of this repository, and whether something in it is not committed; empty without git."""
    if shutil.which("git") is None:
        return {}
    answer = subprocess.run(
        ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty=+"],
        capture_output=True,
        text=True,
        check=False,
    )
    text = answer.stdout.strip()
    return {"commit": text.rstrip("+"), "clean": not text.endswith("+")} if answer.returncode == 0 else {}
