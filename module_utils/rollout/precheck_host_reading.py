"""What the precheck asks the application host: facts, no judgement. Writes nothing and starts nothing that stays.

Each question answers for itself: what cannot be read is told in its ``error``, and the others are asked all the same.
"""

from __future__ import annotations

import configparser
import os
import re
import shutil
import ssl
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible.module_utils.rollout import pm2_daemon
from ansible.module_utils.rollout.errors import RolloutError

#: Longest run of a program that is asked something, seconds.
PROGRAM_TIMEOUT_S = 20
#: Names of changed files that are kept, for people.
LONGEST_LIST = 20
_MAJOR = re.compile(r"\(PostgreSQL\) (?P<version>(?P<major>\d+)[.\w]*)")
_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?(?P<name>[A-Za-z_]\w*)\s*=\s*(?P<value>.*)")

#: Where distributions put each major version (Debian and Ubuntu; the PostgreSQL project's RPMs; built from source).
SERVER_FOLDERS = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "usr/local/pgsql/bin")


@dataclass(frozen=True)
class Flag:
    """A variable of the application's environment.

    :ivar file: that the application reads its environment from; empty: not asked
    :ivar service: whose processes are looked at, by its name in PM2; empty: not asked
    """

    name: str
    file: str = ""
    service: str = ""


@dataclass(frozen=True)
class Questions:
    """What is asked; an empty value is not asked.

    :ivar disk_paths: whose file systems must have room
    :ivar backup_dir: need not exist yet
    :ivar checkout: folder of the application
    :ivar tools: names of PostgreSQL's client programs
    :ivar bin_dir: their folder; empty: those on PATH
    :ivar sslrootcert: the authority's certificate as the connection options name it
    :ivar service: entry of the service file that may name it instead
    """

    disk_paths: Sequence[str] = ()
    backup_dir: str = ""
    checkout: str = ""
    tools: Sequence[str] = ()
    bin_dir: str = ""
    sslrootcert: str = ""
    service: str = ""
    service_file: str = ""
    flags: Sequence[Flag] = field(default=())
    pm2_home: str = ""


def read(questions: Questions) -> dict[str, Any]:
    """Everything that the judgement rests on, JSON-compatible."""
    return {
        "disks": [free_space(path) for path in questions.disk_paths],
        "backup_disk": free_space(questions.backup_dir) if questions.backup_dir else None,
        "checkout": checkout(questions.checkout) if questions.checkout else None,
        "client_tools": [client_tool(name, questions.bin_dir) for name in questions.tools],
        "server_programs": server_programs(questions.bin_dir),
        "ca": authority(questions),
        "flags": [flag_values(flag, questions.pm2_home) for flag in questions.flags],
    }


def free_space(path: str) -> dict[str, Any]:
    """Bytes that an ordinary user may still write to the file system of a path, or of its nearest existing parent."""
    existing = Path(path)
    try:
        while not existing.exists() and existing != existing.parent:
            existing = existing.parent
        found = os.statvfs(existing)
    except OSError as error:
        return {"path": path, "measured": str(existing), "free_bytes": None, "error": _said(error)}
    return {
        "path": path,
        "measured": str(existing),
        "free_bytes": found.f_bavail * found.f_frsize,
        "error": "",
    }


def checkout(folder: str) -> dict[str, Any]:
    """Commit of a checkout, and which of its files are not as committed. Git writes nothing, not even its index."""
    real = os.path.realpath(folder)
    facts: dict[str, Any] = {"folder": folder, "commit": "", "changes": [], "changed": 0, "untracked": 0}
    try:
        top, commit = _git(real, "rev-parse", "--show-toplevel", "HEAD").splitlines()
        if os.path.realpath(top) != real:
            return {**facts, "error": f"{folder} is no checkout itself; it lies in {top}"}
        lines = _git(real, "status", "--porcelain=v1", "--untracked-files=normal").splitlines()
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return {**facts, "error": _said(error)}
    changes = [line for line in lines if not line.startswith("??")]
    return {
        "folder": folder,
        "commit": commit,
        "changes": changes[:LONGEST_LIST],
        "changed": len(changes),
        "untracked": len(lines) - len(changes),
        "error": "",
    }


def _git(folder: str, *arguments: str) -> str:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(
        [
            "git",
            "--no-optional-locks",
            "-C",
            folder,
            # Git refuses a checkout that belongs to somebody else, and this only reads it.
            "-c",
            f"safe.directory={folder}",
            # It would start a program that stays.
            "-c",
            "core.fsmonitor=false",
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=PROGRAM_TIMEOUT_S,
        env={**inherited, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        check=True,
    ).stdout


def client_tool(name: str, bin_dir: str) -> dict[str, Any]:
    """Where one of PostgreSQL's client programs is, and its major version."""
    facts: dict[str, Any] = {"name": name, "path": "", "version": "", "major": None}
    path = shutil.which(name, path=bin_dir or None)
    if path is None:
        return {**facts, "error": f"there is no {name} in {bin_dir or 'PATH'}"}
    facts["path"] = path
    try:
        answer = subprocess.run(
            [path, "--version"],
            capture_output=True,
            text=True,
            timeout=PROGRAM_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        return {**facts, "error": _said(error)}
    found = _MAJOR.search(answer)
    if found is None:
        return {**facts, "error": f"{path} --version does not name a version of PostgreSQL"}
    return {**facts, "version": found["version"], "major": int(found["major"]), "error": ""}


def server_programs(bin_dir: str) -> list[dict[str, Any]]:
    """Where PostgreSQL's server programs are, and which major version: a backup may be proven with them."""
    folders = [Path(bin_dir)] if bin_dir else []
    folders += [folder for pattern in SERVER_FOLDERS for folder in sorted(Path("/").glob(pattern))]
    on_path = shutil.which("initdb")
    folders += [Path(on_path).parent] if on_path else []
    found = []
    for folder in dict.fromkeys(folders):
        if all(os.access(folder / name, os.X_OK) for name in ("initdb", "postgres")):
            server = client_tool("postgres", str(folder))
            if not server["error"]:
                found.append({"folder": str(folder), "version": server["version"], "major": server["major"]})
    return found


def authority(questions: Questions) -> dict[str, Any] | None:
    """The authority's certificate that the server's is checked with: whether it can be read, and when it ends.

    None when none is named: libpq then looks in the home of whoever runs the modules, or does not check at all.
    """
    path = questions.sslrootcert
    try:
        if not path and questions.service and questions.service_file:
            path = _service_entry(questions.service_file, questions.service).get("sslrootcert", "")
        if not path or path == "system":
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # Read here: the error of load_verify_locations(path) does not name the file.
        context.load_verify_locations(cadata=Path(path).read_text(encoding="ascii", errors="replace"))
    except (OSError, configparser.Error) as error:  # ssl.SSLError is an OSError: no certificate in that file
        return {"path": path, "certificates": 0, "expires": None, "error": _said(error)}
    ends = [ssl.cert_time_to_seconds(str(one["notAfter"])) for one in context.get_ca_certs()]
    return {
        "path": path,
        "certificates": len(ends),
        "expires": max(ends) if ends else None,
        "error": "" if ends else "there is no authority's certificate in it",
    }


def _service_entry(file: str, service: str) -> Mapping[str, str]:
    parser = configparser.ConfigParser(
        interpolation=None, strict=False, delimiters=("=",), comment_prefixes=("#",)
    )
    with open(file, encoding="utf-8") as opened:
        parser.read_file(opened)
    return parser[service] if parser.has_section(service) else {}


def flag_values(flag: Flag, pm2_home: str) -> dict[str, Any]:
    """A variable's value in the file and in the running processes. Of both, nothing but this one variable is kept."""
    facts: dict[str, Any] = {"name": flag.name, "file": None, "processes": None}
    if flag.file:
        try:
            content = Path(flag.file).read_text(encoding="utf-8", errors="replace")
            facts["file"] = {"path": flag.file, "value": value_in_file(content, flag.name), "error": ""}
        except OSError as error:
            facts["file"] = {"path": flag.file, "value": None, "error": _said(error)}
    if flag.service:
        facts["processes"] = _running_values(flag, pm2_home)
    return facts


def value_in_file(content: str, name: str) -> str | None:
    """The value that a file of assignments gives a variable, read as dotenv does; None when it gives none."""
    found = None
    for line in content.splitlines():
        assignment = _ASSIGNMENT.fullmatch(line)
        if assignment is None or assignment["name"] != name:
            continue
        value = assignment["value"].strip()
        quote = value[:1]
        if quote in ("'", '"', "`") and value.find(quote, 1) > 0:
            found = value[1 : value.find(quote, 1)]
        else:
            found = value.partition("#")[0].strip()
    return found


def _running_values(flag: Flag, pm2_home: str) -> dict[str, Any]:
    facts: dict[str, Any] = {"service": flag.service, "values": {}, "error": ""}
    if not pm2_home:
        return {**facts, "error": "where PM2 is, is not configured"}
    try:
        _, processes = pm2_daemon.read(pm2_home)
        pids = [process.pid for process in processes if process.name == flag.service and process.pid]
        if not pids:
            facts["error"] = f"PM2 runs no process of {flag.service}"
        for pid in pids:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
            facts["values"][str(pid)] = _value_in_environment(environment, flag.name)
    except RolloutError as error:
        facts["error"] = error.message
    except OSError as error:
        facts["error"] = _said(error)
    return facts


def _value_in_environment(environment: bytes, name: str) -> str | None:
    prefix = f"{name}=".encode()
    for entry in environment.split(b"\0"):
        if entry.startswith(prefix):
            return entry[len(prefix) :].decode(errors="replace")
    return None


def _said(error: Exception) -> str:
    """An error in words: of a program what it wrote, not how it was called."""
    if isinstance(error, subprocess.CalledProcessError):
        return f"{Path(error.cmd[0]).name}: {(error.stderr or '').strip() or f'exit code {error.returncode}'}"
    if isinstance(error, subprocess.TimeoutExpired):
        return f"{Path(error.cmd[0]).name} did not answer within {error.timeout:g} s"
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)
