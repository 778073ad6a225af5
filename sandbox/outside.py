"""The world outside the application: a process with a stand-in WhatsApp server and the way to the database."""

import json
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from sandbox.errors import SandboxError
from sandbox.ports import ADDRESS
from sandbox.processes import VARIABLE, end_processes, is_process_of

START_TIMEOUT_S = 30
ANSWER_TIMEOUT_S = 10


class Outside:
    """The process and its switches, which application/outside/control.mjs describes.

    :param sandbox: the sandbox's folder.
    :param folder: the application's folder.
    :param port: port of its switches and of WhatsApp.
    """

    def __init__(self, sandbox: Path, folder: Path, port: int) -> None:
        self.port = port
        self.log = folder / "outside.log"
        self._sandbox = sandbox
        self._folder = folder
        self._pid_file = folder / "outside.pid"

    @property
    def pid(self) -> int | None:
        """Process id, or None when it does not run."""
        try:
            recorded = int(self._pid_file.read_text())
        except FileNotFoundError:
            return None
        return recorded if is_process_of(recorded, self._sandbox) else None

    def start(self, node: Path, database_path_port: int, database_host: str, database_port: int) -> None:
        """Start it and wait until it answers.

        :param node: path of node.
        :param database_path_port: where the application finds its database.
        :param database_host: where the database really is: an address or a name.
        :param database_port: its port there.
        :raises SandboxError: it ended, or does not answer; holds the end of its log.
        """
        environment = {
            VARIABLE: str(self._sandbox),
            "OUTSIDE_PORT": str(self.port),
            "OUTSIDE_STATE": str(self._folder / "outside.json"),
            "DATABASE_PATH_PORT": str(database_path_port),
            "DATABASE_HOST": database_host,
            "DATABASE_PORT": str(database_port),
        }
        with self.log.open("a") as log:
            process = subprocess.Popen(
                [str(node), "outside/main.mjs"],
                cwd=self._folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._pid_file.write_text(str(process.pid))
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                self.state()
            except SandboxError:
                if process.poll() is not None or time.monotonic() > deadline:
                    end = self.log.read_text(errors="replace").splitlines()[-15:]
                    raise SandboxError(
                        "\n".join([f"the outside world did not start; the end of {self.log}:", *end])
                    ) from None
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        """Stop it; it keeps what WhatsApp knows of its users."""
        pid = self.pid
        if pid is not None:
            end_processes([pid], self._sandbox)

    def state(self) -> dict[str, Any]:
        """Return how it stands.

        ``clients``: phone, device and identity of each that is logged in; ``logins``: refuse, dropAfterMs;
        ``database``: cut, delayMs.
        """
        answer: dict[str, Any] = self._ask("GET", "state")
        return answer

    def messages(self, phone: str) -> list[dict[str, Any]]:
        """Return the messages that reached a phone, oldest first: id, to, text, reaction, at."""
        answer: list[dict[str, Any]] = self._ask("GET", f"messages/{phone}")
        return answer

    def identity(self, phone: str) -> str | None:
        """Return the public identity key (base64) of the client that is paired with a phone."""
        answer: str | None = self._ask("GET", f"identity/{phone}")["identity"]
        return answer

    def forget(self, phone: str) -> None:
        """Let a phone remove its linked client."""
        self._ask("POST", "forget", {"phone": phone})

    def write(self, sender: str, text: str) -> str:
        """Let a phone write to the salon; returns the message's id."""
        answer: str = self._ask("POST", "message", {"from": sender, "text": text})["id"]
        return answer

    def end_connections(self, how: str) -> None:
        """End the client's connection: ``drop``, ``logout``, ``replaced``, ``unavailable`` or ``restart``."""
        self._ask("POST", "end", {"how": how})

    def answer_logins(self, refuse: int | None = None, drop_after_ms: int | None = None) -> None:
        """Decide about the next logins: refuse them with a code, or drop them after a time; else they succeed."""
        self._ask("POST", "logins", {"refuse": refuse, "dropAfterMs": drop_after_ms})

    def database(self, target: int | None = None, delay_ms: int = 0, cut: bool = False) -> None:
        """Set the way to the database: where it leads, by how much replies are delayed, or that it is cut."""
        self._ask("POST", "database", {"target": target, "delayMs": delay_ms, "cut": cut})

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        request = urllib.request.Request(
            f"http://{ADDRESS}:{self.port}/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
        )
        # Without the proxies that the environment may name.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=ANSWER_TIMEOUT_S) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise SandboxError(f"{method} /{path}: {json.load(error)['error']}") from error
        except OSError as error:
            raise SandboxError(f"the outside world does not answer on port {self.port}: {error}") from error
