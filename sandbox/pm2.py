"""The sandbox's own PM2: started, asked and stopped by its command line.

Only the sandbox does this, and only to the daemon in its own folder. The rollout never runs ``pm2``: every call of it
starts a daemon where none runs.
"""

import hashlib
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from sandbox.errors import SandboxError
from sandbox.processes import VARIABLE, is_process_of
from sandbox.services import ZONE

COMMAND_TIMEOUT_S = 90
# A unix socket's path may have 107 bytes; the longest name that PM2 puts behind its home is /interactor.sock.
LONGEST_HOME = 107 - len("/interactor.sock")


def pm2_home(home: Path) -> Path:
    """Return PM2's folder for the sandbox in this folder: inside it, unless its path is too long for a socket."""
    inside = home / "pm2"
    if len(os.fsencode(inside)) <= LONGEST_HOME:
        return inside
    name = f"sandbox-pm2-{hashlib.sha256(os.fsencode(home)).hexdigest()[:12]}"
    return Path(tempfile.gettempdir(), name)


class Pm2:
    """One daemon and its processes.

    :param sandbox: the sandbox's folder.
    :param node: path of node.
    :param modules: folder node_modules with the pm2 package.
    """

    def __init__(self, sandbox: Path, node: Path, modules: Path) -> None:
        self.sandbox = sandbox
        self.home = pm2_home(sandbox)
        self._node = node
        self._cli = modules / "pm2/bin/pm2"

    @property
    def pid(self) -> int | None:
        """Process id of the daemon, or None. A left pid file is not believed."""
        try:
            recorded = (self.home / "pm2.pid").read_text().strip()
        except FileNotFoundError:
            return None
        if not recorded.isdigit() or not is_process_of(int(recorded), self.sandbox):
            return None
        return int(recorded)

    def start(self, ecosystem: Path) -> None:
        """Start the daemon and the processes of an ecosystem file.

        :raises SandboxError: PM2 failed, or its folder belongs to somebody else.
        """
        self.home.mkdir(mode=0o700, exist_ok=True)
        if self.home.stat().st_uid != os.geteuid():
            raise SandboxError(f"{self.home} belongs to uid {self.home.stat().st_uid}: remove it")
        self._run("start", str(ecosystem))

    def run(self, *arguments: str) -> str:
        """Run a PM2 command on the running daemon and return its output.

        :raises SandboxError: no daemon runs (the command would start one), or the command failed.
        """
        if self.pid is None:
            raise SandboxError(
                f"no PM2 runs in {self.home}: start it with python -m sandbox up --application"
            )
        return self._run(*arguments)

    def processes(self) -> list[dict[str, Any]]:
        """Return PM2's own list (``pm2 jlist``): name, pid, pm2_env and more of each process. Holds environments."""
        output = self.run("jlist")
        # Banners may come first.
        found: list[dict[str, Any]] = json.loads(output[output.index("[{") :] if "[{" in output else "[]")
        return found

    def kill(self) -> None:
        """Stop all processes, then the daemon; nothing when none runs."""
        if self.pid is not None:
            self._run("kill")
            while self.pid is not None:
                time.sleep(0.05)

    def _run(self, *arguments: str) -> str:
        # Not the caller's environment: PM2 hands it on to every process.
        environment = {
            VARIABLE: str(self.sandbox),
            "PATH": f"{self._node.parent}{os.pathsep}{os.defpath}",
            "HOME": str(self.sandbox),
            "LANG": "C.UTF-8",
            "TZ": ZONE,
            "PM2_HOME": str(self.home),
            "PM2_DISABLE_VERSION_CHECK": "1",
            "PM2_DISCRETE_MODE": "1",
            "PM2_NO_INTERACTION": "true",
        }
        # Files, not pipes: a daemon that is started inherits them, and a reader would wait for its end.
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
            try:
                code = subprocess.run(
                    [str(self._node), str(self._cli), *arguments],
                    cwd=self.sandbox,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=errors,
                    timeout=COMMAND_TIMEOUT_S,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                raise SandboxError(
                    f"pm2 {arguments[0]} in {self.home} did not end within {COMMAND_TIMEOUT_S} s"
                ) from None
            output.seek(0)
            errors.seek(0)
            if code != 0:
                said = errors.read().strip() or output.read().strip()
                raise SandboxError(f"pm2 {' '.join(arguments)} failed with code {code}: {said}")
            return output.read()
