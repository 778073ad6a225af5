"""Processes of the sandbox, recognized by a variable in their environment."""

import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from sandbox.errors import SandboxError

# A process id may be reused, a command line may be rewritten (PM2 and its services do); the environment that a process
# was started with stays, and its children have it, too.
VARIABLE = "SANDBOX_APPLICATION"
TERMINATE_S = 5
KILL_S = 5
LOOK_EVERY_S = 0.05


def processes_of(home: Path) -> set[int]:
    """Return the ids of the processes that were started for the sandbox in this folder, except this one.

    Processes of other users are not looked at, unless by root; zombies do not count.
    """
    mark = f"{VARIABLE}={home}".encode()
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                environment = (entry / "environ").read_bytes()
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
            if mark in environment.split(b"\0"):
                found.add(int(entry.name))
    return found


def is_process_of(pid: int, home: Path) -> bool:
    """Whether this process lives and was started for the sandbox in this folder."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
    return f"{VARIABLE}={home}".encode() in environment.split(b"\0")


def end_processes(pids: Iterable[int], home: Path) -> None:
    """Ask processes of the sandbox to end, and kill those that do not.

    :raises SandboxError: one lives on.
    """
    remaining = set(pids)
    for number, patience_s in ((signal.SIGTERM, TERMINATE_S), (signal.SIGKILL, KILL_S)):
        for pid in remaining:
            _send(pid, number)
        deadline = time.monotonic() + patience_s
        while remaining and time.monotonic() < deadline:
            remaining = {pid for pid in remaining if is_process_of(pid, home)}
            if remaining:
                time.sleep(LOOK_EVERY_S)
    if remaining:
        raise SandboxError(f"processes {sorted(remaining)} of {home} do not end, not even by SIGKILL")


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # it ended by itself, which is what was wanted
