"""Real PM2 daemons for tests: installed once into .cache/pm2, each with a short home of its own, none left behind.

    with Pm2Daemon("7.0.4") as pm2:
        pm2.start({"name": "api", "script": str(SCRIPTS / "ticking.js")})
        pm2.home  # PM2_HOME

Skips where Node is missing.
"""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pytest
from ansible.module_utils.rollout import pm2_daemon

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache/pm2"
SCRIPTS = ROOT / "tests/fixtures/pm2"

#: The newest of each generation that production may run.
VERSIONS = ("5.4.3", "6.0.14", "7.0.4")
NEWEST = VERSIONS[-1]

INSTALL_TIMEOUT_S = 100
CLI_TIMEOUT_S = 40


def program(version: str) -> Path:
    """The pm2 command of a version; installs it with npm the first time.

    Several test runs may ask at once: a lock lets one of them install, into a folder that gets its name when complete.

    :raises subprocess.CalledProcessError: npm failed; its output is in the exception
    """
    for needed in ("node", "npm"):
        if shutil.which(needed) is None:
            pytest.skip(f"PM2 needs {needed}, which is not installed")
    folder = CACHE / version
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "node_modules/.bin/pm2").exists():
            unfinished = Path(tempfile.mkdtemp(prefix="installing-", dir=CACHE))
            try:
                subprocess.run(
                    ["npm", "install", "--no-audit", "--no-fund", "--silent", f"pm2@{version}"],
                    cwd=unfinished,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    timeout=INSTALL_TIMEOUT_S,
                    check=True,
                )
                shutil.rmtree(folder, ignore_errors=True)
                unfinished.rename(folder)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    return folder / "node_modules/.bin/pm2"


class Pm2Daemon:
    """A daemon and its services; leaving the context ends all of them and removes the home.

    :ivar home: PM2_HOME; short, because a socket's path must be
    """

    def __init__(self, version: str = NEWEST) -> None:
        self.version = version
        self.program = program(version)
        self.folder = Path(tempfile.mkdtemp(prefix="pm2-"))
        self.folder.chmod(0o755)
        self.home = self.folder / "home"
        self.pids: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def cli(self, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
        """Run pm2 with this home and return its standard output. Starts the daemon if it does not run."""
        done = subprocess.run(
            [str(self.program), *arguments],
            cwd=self.folder,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.folder),
                "PM2_HOME": str(self.home),
                "LC_ALL": "C.UTF-8",
                **(environment or {}),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=CLI_TIMEOUT_S,
            check=False,
        )
        self._remember()
        assert done.returncode == 0, f"pm2 {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def start(self, *services: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> None:
        """Start services, each described as in PM2's ecosystem file, by one call of pm2."""
        # vizion asks git about the scripts, pmx injects metrics: neither is wanted here, both cost time.
        apps = [{"pmx": False, "vizion": False, **service} for service in services]
        file = self.folder / "ecosystem.json"
        file.write_text(json.dumps({"apps": apps}))
        self.cli("start", str(file), environment=environment)

    @property
    def pid(self) -> int:
        """The daemon's process id."""
        return int((self.home / "pm2.pid").read_text())

    def signal(self, number: signal.Signals) -> None:
        """Send the daemon a signal."""
        os.kill(self.pid, number)
        if number == signal.SIGKILL:
            wait_until(self._nobody_listens, "the daemon is gone")

    def _nobody_listens(self) -> bool:
        # Surer than the process's end: a dying process closes its sockets after it has left /proc.
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            return client.connect_ex(str(self.home / "rpc.sock")) == errno.ECONNREFUSED

    def _remember(self) -> None:
        """Note the daemon and its processes, to be able to end them when the daemon no longer can."""
        pid_file = self.home / "pm2.pid"
        if not pid_file.exists() or not pid_file.read_text().strip():
            return
        daemon = self.pid
        if _title(daemon).startswith("PM2 v"):
            self.pids |= {daemon, *_descendants(daemon)}

    def end(self) -> None:
        """End the daemon and its services, whatever state they are in, and remove the home."""
        try:
            self._remember()
            # The daemon first: it would start its services anew.
            for pid in sorted(self.pids, key=lambda pid: not _title(pid).startswith("PM2 v")):
                self._kill(pid)
            # A service in a crash loop may have been started anew before the daemon was gone.
            for pid in _processes():
                self._kill(pid)
            wait_until(
                lambda: not any(map(self._is_ours, _processes())), "all processes of this PM2 are gone"
            )
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _kill(self, pid: int) -> None:
        """Kill a process of ours; not one that has been given the number since."""
        if self._is_ours(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _is_ours(self, pid: int) -> bool:
        """Whether a process carries our home in its environment or its title, and still runs."""
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return False
        return f"PM2_HOME={self.home}".encode() in environment or str(self.home) in _title(pid)


def wait_until(condition: Any, what: str, timeout: float = 20.0) -> None:
    """Ask a condition until it holds.

    :param condition: called without arguments
    :param timeout: seconds
    """
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout:g} s in vain: {what}"
        time.sleep(0.05)


def daemons_of(home: Path) -> list[int]:
    """Process ids of the daemons that serve a home."""
    return [daemon.pid for daemon in pm2_daemon.running_daemons() if daemon.home == str(home)]


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _descendants(pid: int) -> Sequence[int]:
    try:
        text = " ".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children"))
    except (FileNotFoundError, ProcessLookupError):
        return []
    children = [int(word) for word in text.split()]
    return [*children, *(below for child in children for below in _descendants(child))]


if __name__ == "__main__":
    # Installs what the tests need, for a machine that will have no network later.
    for wanted in sys.argv[1:] or VERSIONS:
        print(program(wanted))
