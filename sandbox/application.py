"""The application on top of the database: PM2, seven services, a real WhatsApp client and the world it talks to."""

import json
import shutil
import subprocess
import time
import urllib.request
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from sandbox.certificates import write_private
from sandbox.credentials import OWNER
from sandbox.errors import SandboxError
from sandbox.lock import locked
from sandbox.node import find_node
from sandbox.outside import Outside
from sandbox.packages import SOURCE, ensure_packages
from sandbox.pm2 import Pm2, pm2_home
from sandbox.ports import ADDRESS, choose_ports
from sandbox.processes import VARIABLE, end_processes, processes_of
from sandbox.server import PostgresServer
from sandbox.services import (
    BAILEYS,
    COMPANY,
    NAMES,
    SALON_PHONE,
    TEST_PHONE,
    Timing,
    ecosystem,
    ensure_secrets,
)

CODE_FOLDERS = ("services", "baileys", "outside")
HEALTHY_TIMEOUT_S = 90
PAIRING_TIMEOUT_S = 60
LOOK_EVERY_S = 0.3


class Application:
    """The application of the sandbox whose database a server runs.

    :param server: the database's server; must run before the application is started.
    :param database: name of the database with the session store.
    """

    def __init__(self, server: PostgresServer, database: str) -> None:
        self.server = server
        self.database = database
        self.home = server.home
        self.folder = self.home / "application"
        self.variables_file = self.home / "application.json"
        self.faults = self.folder / "faults"
        self._state_file = self.folder / "state.json"

    def start(self, timing: Timing) -> bool:
        """Start it (installing and pairing where needed) and wait until it is healthy.

        What is left of one that crashed is ended first. One that runs is left as it is, also when it is not healthy:
        it may have been broken on purpose.

        :return: False when it was running already.
        :raises SandboxError: something does not start; says what.
        """
        with self._locked():
            if self._is_complete():
                # The database may have got another port.
                self.outside.database(target=self.server.port)
                return False
            self._end_remains()
            installed = self._install()
            ports = dict(zip(("api", "baileys", "outside", "database"), choose_ports(4), strict=True))
            _replace(self._state_file, {**installed, "ports": ports})
            self.outside.start(self._node, self._port("database"), self.server.address, self.server.port)
            environment = self._environment(timing)
            self._ensure_paired(environment)
            _replace(self.variables_file, self.variables)
            definition = self.folder / "ecosystem.json"
            write_private(definition, json.dumps(ecosystem(self.folder, environment), indent=2).encode())
            self.pm2.start(definition)
        self.wait_until_healthy(HEALTHY_TIMEOUT_S)
        return True

    def stop(self) -> bool:
        """Stop it all; the WhatsApp session stays in the database, and the logs stay.

        :return: False when nothing of it was running.
        """
        if not self.folder.exists():
            return False
        with self._locked():
            was_running = bool(processes_of(self.home))
            self._end_remains()
            self.variables_file.unlink(missing_ok=True)
            return was_running

    def is_running(self) -> bool:
        """Whether PM2 and the outside world run; the services may still be broken."""
        return self._state_file.exists() and self.pm2.pid is not None and self.outside.pid is not None

    def problems(self) -> list[str]:
        """Return what is not as it should be, one line each; empty when the application is healthy."""
        if not self.is_running():
            return ["the application does not run"]
        found = []
        processes = self.pm2.processes()
        for name in NAMES:
            states = [process["pm2_env"]["status"] for process in processes if process["name"] == name]
            if states != ["online"]:
                found.append(f"{name} is {', '.join(states) or 'unknown to PM2'}")
        outside = self.outside.state()
        clients = [client["phone"] for client in outside["clients"]]
        if clients != [SALON_PHONE]:
            found.append(f"WhatsApp knows {len(clients)} clients that are logged in, not 1")
        try:
            health = self.health()
        except OSError as error:
            found.append(f"{BAILEYS} does not answer: {error}")
        else:
            if not health["connected"]:
                found.append(f"{BAILEYS} says {health['status']}")
        found += [
            f"{fault.read_text()} of {fault.name} is switched on" for fault in sorted(self.faults.iterdir())
        ]
        for switch in ("logins", "database"):
            on = [f"{name} {value}" for name, value in outside[switch].items() if value]
            if on:
                found.append(f"the outside world's switch for {switch} stands at {', '.join(on)}")
        return found

    def wait_until_healthy(self, timeout_s: float) -> None:
        """Wait; prints what it waits for when that changes.

        :raises SandboxError: it did not become healthy in time; holds the last observation.
        """
        deadline = time.monotonic() + timeout_s
        before: list[str] = []
        while found := self.problems():
            if time.monotonic() > deadline:
                raise SandboxError(
                    f"the application is not healthy after {timeout_s:.0f} s: {'; '.join(found)}. "
                    f"Logs: {self.pm2.home}/logs"
                )
            if found != before:
                print(
                    f"  waiting: {found[0]}" + (f" (and {len(found) - 1} more)" if found[1:] else ""),
                    flush=True,
                )
                before = found
            time.sleep(LOOK_EVERY_S)

    def health(self) -> dict[str, Any]:
        """Return what the WhatsApp service says of itself; raises OSError when it does not answer."""
        answer: dict[str, Any] = self._request(self.health_url)
        return answer

    def send(self, url: str, body: dict[str, Any]) -> dict[str, Any]:
        """POST JSON to one of the services and return the answer; raises OSError when it is not a success."""
        answer: dict[str, Any] = self._request(url, body)
        return answer

    @property
    def health_url(self) -> str:
        """``GET`` tells how the WhatsApp service is."""
        return f"http://{ADDRESS}:{self._port('baileys')}/health"

    @property
    def send_url(self) -> str:
        """``POST {phone, message}`` sends a WhatsApp message."""
        return f"http://{ADDRESS}:{self._port('baileys')}/send"

    @property
    def webhook_url(self) -> str:
        """``POST {from, message, messageId, timestamp}`` is a message that came in."""
        return f"http://{ADDRESS}:{self._port('api')}/webhook/whatsapp/batched"

    @property
    def node_label(self) -> str:
        """Which Node.js runs it, for people."""
        state = self._state()
        return f"Node.js {state['node_version']} ({state['node_source']})"

    @property
    def pm2(self) -> Pm2:
        """The PM2 of the last start."""
        return Pm2(self.home, self._node, Path(self._state()["modules"]))

    @property
    def outside(self) -> Outside:
        """The outside world of the last start."""
        return Outside(self.home, self.folder, self._port("outside"))

    @property
    def secrets(self) -> dict[str, str]:
        """The secrets in the services' environment, by name: nothing may ever show one."""
        return ensure_secrets(self.folder / "secrets.json")

    @property
    def variables(self) -> dict[str, Any]:
        """The inventory variables that describe the running application."""
        return {
            "app_dir": str(self.folder),
            "app_port": self._port("api"),
            "api_webhook_url": self.webhook_url,
            "baileys_service": BAILEYS,
            "baileys_port": self._port("baileys"),
            "baileys_health_url": self.health_url,
            "pm2_home": str(pm2_home(self.home)),
            "pm2_services": list(NAMES),
            "pm2_logs": str(pm2_home(self.home) / "logs"),
            "test_phone": TEST_PHONE,
        }

    def log_files(self, service: str) -> tuple[Path, Path]:
        """Return the paths of a service's two logs: standard output, standard error."""
        folder = pm2_home(self.home) / "logs"
        return folder / f"{service}-out.log", folder / f"{service}-error.log"

    def _is_complete(self) -> bool:
        """Whether it runs and PM2 knows every service: a start may have been interrupted."""
        if not self.is_running():
            return False
        return set(NAMES) <= {process["name"] for process in self.pm2.processes()}

    def _install(self) -> dict[str, str]:
        """Lay down the code and the packages; return what the state file says of them."""
        node = find_node()
        modules = ensure_packages(node)
        self.folder.mkdir(exist_ok=True)
        for name in CODE_FOLDERS:
            shutil.rmtree(self.folder / name, ignore_errors=True)
            shutil.copytree(SOURCE / name, self.folder / name)
        shutil.copyfile(SOURCE / "package.json", self.folder / "package.json")
        # Node.js looks for packages beside the code, whose folder may be any.
        link = self.folder / "node_modules"
        link.unlink(missing_ok=True)
        link.symlink_to(modules)
        # Faults of an earlier life would break this one.
        shutil.rmtree(self.faults, ignore_errors=True)
        self.faults.mkdir()
        return {
            "node": str(node.program),
            "node_version": node.version,
            "node_source": node.source,
            "modules": str(modules),
        }

    def _environment(self, timing: Timing) -> dict[str, str]:
        options = self.server.options(OWNER, self.database)
        api, baileys = (f"http://{ADDRESS}:{self._port(name)}" for name in ("api", "baileys"))
        environment = {
            **self.secrets,
            VARIABLE: str(self.home),
            "NODE_ENV": "production",
            # Counts as true unless it is literally false.
            "USE_LEGACY_SUPABASE": "false",
            "POSTGRES_HOST": ADDRESS,
            "POSTGRES_PORT": str(self._port("database")),
            "POSTGRES_DATABASE": self.database,
            "POSTGRES_USER": options["user"],
            "POSTGRES_PASSWORD": options["password"],
            "POSTGRES_CA": options.get("sslrootcert", ""),
            "POSTGRES_SERVER_NAME": options["host"],
            "COMPANY_ID": COMPANY,
            "SALON_PHONE": SALON_PHONE,
            "TEST_PHONE": TEST_PHONE,
            "API_PORT": str(self._port("api")),
            "API_URL": api,
            "BAILEYS_PORT": str(self._port("baileys")),
            "BAILEYS_URL": baileys,
            "OUTSIDE_PORT": str(self._port("outside")),
            "QUEUE_DIR": str(self.folder / "queue"),
            "FAULTS_DIR": str(self.faults),
            "RECONNECT_MS": str(timing.reconnect_ms),
            "BATCH_IDLE_MS": str(timing.batch_idle_ms),
            "ANSWER_MS": str(timing.answer_ms),
        }
        lines = [f"{name}={json.dumps(value, ensure_ascii=False)}\n" for name, value in environment.items()]
        write_private(self.folder / ".env", "".join(lines).encode())
        return environment

    def _ensure_paired(self, environment: dict[str, str]) -> None:
        """Pair the WhatsApp client, unless the session in the database is the one that WhatsApp knows.

        The session that a new database has is invented: nothing can log in with it.
        """
        with self.server.connect(OWNER, self.database) as owner:
            row = owner.execute(
                "SELECT creds #>> '{signedIdentityKey,public,data}' FROM whatsapp_auth WHERE company_id = %s",
                [COMPANY],
            ).fetchone()
            if row is not None and row[0] == self.outside.identity(SALON_PHONE):
                return
            self.outside.forget(SALON_PHONE)
            with owner.transaction():
                owner.execute("DELETE FROM whatsapp_keys WHERE company_id = %s", [COMPANY])
                owner.execute("DELETE FROM whatsapp_auth WHERE company_id = %s", [COMPANY])
        command = [str(self._node), "--import", "./baileys/trust-stand-in.mjs", "baileys/pair.mjs"]
        try:
            answer = subprocess.run(
                command,
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=PAIRING_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise SandboxError(
                f"pairing the WhatsApp client did not end within {PAIRING_TIMEOUT_S} s; log of the other side: "
                f"{self.outside.log}"
            ) from None
        if answer.returncode != 0:
            end = (answer.stdout + answer.stderr).splitlines()[-15:]
            raise SandboxError("\n".join(["pairing the WhatsApp client failed:", *end]))

    def _end_remains(self) -> None:
        """End whatever runs of this application, the orderly way where there still is one."""
        if self._state_file.exists():
            self.pm2.kill()
            self.outside.stop()
        # When the daemon was killed, its services live on.
        end_processes(processes_of(self.home), self.home)

    def _locked(self) -> AbstractContextManager[int]:
        return locked(self.home / "application.lock", f"starting or stopping the application in {self.home}")

    @property
    def _node(self) -> Path:
        return Path(self._state()["node"])

    def _port(self, name: str) -> int:
        return int(self._state()["ports"][name])

    def _state(self) -> dict[str, Any]:
        try:
            state: dict[str, Any] = json.loads(self._state_file.read_text())
        except FileNotFoundError:
            raise SandboxError(
                f"{self.home} holds no application that was ever started: python -m sandbox up --application"
            ) from None
        return state

    @staticmethod
    def _request(url: str, body: dict[str, Any] | None = None) -> Any:
        request = urllib.request.Request(
            url,
            data=None if body is None else json.dumps(body).encode(),
            headers={"content-type": "application/json"},
        )
        # Without the proxies that the environment may name.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as answer:
            return json.load(answer)


def _replace(file: Path, content: dict[str, Any]) -> None:
    complete = file.with_name(f"{file.name}.new")
    complete.write_text(json.dumps(content, indent=2) + "\n")
    complete.rename(file)
