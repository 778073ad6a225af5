"""The record of a run on the control node: a folder a run, a file a host, and report.json put together from them.

Every piece is on disk as soon as it is recorded, so that a crash loses nothing.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.masking import masked

#: Section in which a run that ends without a last word of its own says what it ended with.
STOPPED = "stopped"
#: Raised when the shape of report.json changes: docs/report.schema.json.
FORMAT = 2
#: What Ansible adds to a module's result, and what is for the next task only.
_ADDED = frozenset(
    ("invocation", "diff", "exception", "ansible_facts", "warnings", "deprecations", "rehearsal")
)
_RUN_ID = re.compile(r"(?!latest$)[A-Za-z0-9][A-Za-z0-9._-]{0,40}")
_SECTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,120}")


def now() -> str:
    """This moment, in UTC, to the millisecond."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")


def new_run_id(moment: datetime.datetime) -> str:
    """A name that sorts by time and is unique, such as ``20251109T183000Z-4f1c``.

    :param moment: the present one, in UTC
    """
    return f"{moment:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


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

    Those are taken out of the result itself, and of those of a loop. Further down the same names are somebody else's: a
    pattern of the log is called ``exception``, and a table may be called ``warnings``.

    Texts are masked, but for SQL, which has to be what was sent.

    :raises RolloutError: a value that JSON has no form for; told by its type alone, it may be a secret
    """
    if isinstance(value, Mapping):
        value = {
            name: _each(item) if isinstance(item, list | tuple) else item for name, item in value.items()
        }
    return _as_json(_without_added(value))


def _each(items: Sequence[Any]) -> list[Any]:
    return [_without_added(item) for item in items]


def _without_added(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {name: item for name, item in value.items() if name not in _ADDED}


def _as_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            masked(str(name)): str(item) if name == "sql" and isinstance(item, str) else _as_json(item)
            for name, item in value.items()
            if not str(name).startswith("_ansible")
        }
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, int | float):
        return value
    raise RolloutError(f"a value of type {type(value).__name__} cannot be recorded")


class Record:
    """The record of one run.

    :ivar folder: of the run, on the control node
    """

    def __init__(self, report_dir: str | Path, run_id: str) -> None:
        """Name the run.

        :param report_dir: folder that holds one folder a run
        :raises RolloutError: the name could not be a folder's
        """
        if not _RUN_ID.fullmatch(run_id):
            raise RolloutError(
                f"run_id {run_id!r} must have letters, digits, '.', '_' and '-' only, 41 at most, and not be 'latest'"
            )
        self.folder = Path(report_dir) / run_id

    def begin(self, facts: Mapping[str, Any]) -> None:
        """Make the folder, and let ``latest`` point to it. What a run of that name recorded before stays.

        A run that was stopped while it watched the application can be continued, so that is no longer how it ended.

        :param facts: what is known of the run as a whole; ignored for a run that was begun before
        """
        (self.folder / "hosts").mkdir(parents=True, exist_ok=True)
        with _locked(self.folder):
            known = self.folder / "run.json"
            if not known.exists():
                run = {"format": FORMAT, "run_id": self.folder.name, "began_at": now(), **facts}
                _write_json(known, run)
            for path in (self.folder / "hosts").glob("*.json"):
                sections = json.loads(path.read_text(encoding="utf-8"))
                if STOPPED in sections and sections.get("watch", {}).get("state") == "running":
                    ended = {**sections.pop(STOPPED), "failed": False, "unreachable": False}
                    _write_json(path, {**sections, f"{STOPPED} before": ended})
            self._assemble()
        latest = self.folder.parent / "latest"
        fresh = self.folder.parent / f".latest-{os.getpid()}"
        fresh.unlink(missing_ok=True)  # of a process of the same number that died here
        fresh.symlink_to(self.folder.name)
        fresh.replace(latest)

    def add(self, host: str, section: str, data: Any) -> Path:
        """Record a section; one of the same name is replaced. A text ``sql`` in it becomes a file of its own.

        :param data: JSON-compatible after :func:`pruned`
        :returns: report.json
        :raises RolloutError: the run was not begun, or the section's name could not be a file's
        """
        if not _SECTION.fullmatch(section):
            raise RolloutError(
                f"section {section!r} names a file too: letters, digits, ' ', '.', '_' and '-' only"
            )
        self._require_begun()
        body: dict[str, Any] = pruned(data if isinstance(data, Mapping) else {"value": data})
        sql = body.pop("sql", "")
        if sql:
            path = self.folder / "sql" / f"{_file_name(host)}.{section.replace(' ', '_')}.sql"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(sql, encoding="utf-8")
            body["sql"] = {
                "file": str(path.relative_to(self.folder)),
                "sha256": hashlib.sha256(sql.encode()).hexdigest(),
            }
        body["recorded_at"] = now()
        with _locked(self.folder):
            path = self.folder / "hosts" / f"{_file_name(host)}.json"
            _write_json(path, {**self.sections(host), section: body})
            self._assemble()
        return self.folder / "report.json"

    def conclude(self, summary: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> dict[str, Any]:
        """Put report.json together once more, with a summary of it. The next section that is added takes it out again.

        :param summary: makes it of the whole record
        :returns: what report.json holds now
        :raises RolloutError: the run was not begun
        """
        self._require_begun()
        with _locked(self.folder):
            whole = self._assembled()
            whole["summary"] = pruned(summary(whole))
            _write_json(self.folder / "report.json", whole)
        return whole

    def read(self) -> dict[str, Any]:
        """Everything that was recorded so far.

        :raises RolloutError: the run was not begun
        """
        self._require_begun()
        with _locked(self.folder):
            return self._assembled()

    def sections(self, host: str) -> dict[str, Any]:
        """What was recorded of a host so far.

        :raises RolloutError: the run was not begun
        """
        self._require_begun()
        path = self.folder / "hosts" / f"{_file_name(host)}.json"
        read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return read

    def _require_begun(self) -> None:
        if not (self.folder / "run.json").is_file():
            raise RolloutError(f"run {self.folder.name} was not begun: {self.folder} has no run.json")

    def _assemble(self) -> None:
        _write_json(self.folder / "report.json", self._assembled())

    def _assembled(self) -> dict[str, Any]:
        run = json.loads((self.folder / "run.json").read_text(encoding="utf-8"))
        hosts = {
            unquote(path.name.removesuffix(".json")): json.loads(path.read_text(encoding="utf-8"))
            for path in (self.folder / "hosts").glob("*.json")
        }
        return assemble(run, hosts)


def _file_name(host: str) -> str:
    """A host may be called anything."""
    return quote(host, safe=":")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Several hosts' tasks run at once, each in a process of its own."""
    with open(folder / ".lock", "w", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _write_json(path: Path, value: Any) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    fresh.replace(path)
