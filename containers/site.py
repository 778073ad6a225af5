"""The containers of one scenario: made, prepared as production is before a rollout, and removed without a trace."""

import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import yaml

from containers.distributions import chosen_distribution
from containers.engine import Engine, find_engine, installer
from containers.errors import ContainerError
from containers.images import ROOT, ensure_images, wheelhouse
from sandbox.certificates import ensure_certificates
from sandbox.credentials import ADMIN, OWNER, READER, ensure_passfile
from sandbox.databases import ensure_database
from sandbox.distant import DistantServer
from sandbox.ports import ADDRESS, choose_ports
from sandbox.roles import ensure_roles
from sandbox.service_file import write_service_file

FOLDER = ROOT / ".cache/molecule"
LABEL = "rollout.molecule.scenario"
# Names that are reserved: no resolver knows them.
DATABASE_HOST = "database.example.invalid"
LOGIN = "deploy"
STAND_IN = ("python3", "/opt/stand-in/stand_in.py")
# In each network: .1 is the gateway.
DATABASE_ADDRESS = 10
FIRST_APPLICATION_ADDRESS = 20
NETWORK_ATTEMPTS = 20
START_TIMEOUT_S = 60
APPLICATION_TIMEOUT_S = 180


@dataclass(frozen=True)
class Host:
    """One host of the inventory.

    Attributes: ``container`` of the application, ``database`` on the one server.
    """

    container: str
    database: str


class Site:
    """The containers of one scenario of this checkout.

    :param scenario: its name, a folder in molecule/.
    """

    def __init__(self, scenario: str) -> None:
        self.scenario = scenario
        self.folder = FOLDER / scenario
        self.name = full_name(scenario)
        self._state_file = self.folder / "state.json"

    @property
    def hosts(self) -> dict[str, Host]:
        """Hosts of the inventory, from the scenario's vars/containers.yml; one, named app, where there is none."""
        file = ROOT / "molecule" / self.scenario / "vars/containers.yml"
        if not file.exists():
            return {"app": Host("app", "default_db")}
        return {name: Host(**entry) for name, entry in yaml.safe_load(file.read_text()).items()}

    @property
    def applications(self) -> dict[str, str]:
        """Containers with an application, and the database of each: that of its first host."""
        found: dict[str, str] = {}
        for host in self.hosts.values():
            found.setdefault(host.container, host.database)
        return found

    def up(self) -> None:
        """Make everything anew and wait until the applications are healthy.

        :raises NoContainers: this machine cannot run containers.
        :raises ContainerError: something does not start.
        """
        if not (ROOT / "molecule" / self.scenario / "molecule.yml").is_file():
            raise ContainerError(f"there is no scenario {self.scenario} in {ROOT / 'molecule'}")
        distribution = chosen_distribution()
        engine, images = ensure_images(find_engine(installer()), distribution)
        remove(engine, self.name)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, mode=0o700)
        self._write_credentials()
        subnet = _make_network(engine, self.name)
        containers = ["db", *self.applications]
        ports = dict(zip(containers, choose_ports(len(containers)), strict=True))
        state = {
            "engine": engine.program,
            "settings": str(engine.settings or ""),
            "subnet": subnet,
            "ports": ports,
        }
        self._state_file.write_text(json.dumps(state, indent=2) + "\n")
        self._start_database(images["db"])
        for number, container in enumerate(self.applications):
            self._start_application(images["app"], container, number)
        self._fill_database()
        variables = {container: self._start_stand_in(container) for container in self.applications}
        self._write_inventory(variables, wheelhouse(engine, images["app"]))

    def down(self) -> None:
        """Remove the containers and the network, also those of an attempt that was interrupted."""
        engine = self.engine if self._state_file.exists() else find_engine()
        remove(engine, self.name)
        # The logs and reports stay, what opens a door does not.
        for name in ("id_ed25519", "pgpass", "inventory.json", "state.json"):
            (self.folder / name).unlink(missing_ok=True)

    def restart(self, role: str) -> None:
        """Restart a container, and wait until the database answers."""
        self.engine.run("restart", self.container(role))
        self._until_ready()

    @property
    def engine(self) -> Engine:
        """What runs the containers."""
        state = self._state()
        return Engine(state["engine"], Path(state["settings"]) if state["settings"] else None)

    @property
    def server(self) -> DistantServer:
        """The database's server, as this machine reaches it."""
        return DistantServer(self.folder, DATABASE_HOST, self._state()["ports"]["db"], ADDRESS)

    def container(self, role: str) -> str:
        """Return the full name of a container: ``db``, or one of applications."""
        return f"{self.name}-{role}"

    def execute(self, role: str, *command: str, user: str = "root", stdin: str | None = None) -> str:
        """Run a command in a container and return its output."""
        name = self.container(role)
        return self.engine.run("exec", "--interactive", f"--user={user}", name, *command, stdin=stdin)

    def stand_in(self, container: str, *arguments: str) -> Any:
        """Run a command of molecule/images/stand_in.py and return what it says."""
        place = ["--host", DATABASE_HOST, "--database", self.applications[container]]
        output = self.execute(container, *STAND_IN, *place, *arguments, user=LOGIN)
        lines = output.strip().splitlines()
        return json.loads(lines[-1]) if arguments[0] in ("up", "status") else output

    def address(self, role: str) -> str:
        """Return a container's address in its network."""
        subnet = str(self._state()["subnet"])
        number = DATABASE_ADDRESS
        if role != "db":
            number = FIRST_APPLICATION_ADDRESS + list(self.applications).index(role)
        return f"{subnet}.{number}"

    def hardware_address(self, role: str) -> str:
        """Return the MAC address of a container, which it keeps through a restart.

        With another one its neighbours would go on sending to the old one for some 30 s.
        """
        digest = hashlib.sha256(self.container(role).encode()).digest()
        # 02: administered locally, one receiver.
        return ":".join(f"{octet:02x}" for octet in (0x02, *digest[:5]))

    def _write_credentials(self) -> None:
        ensure_passfile(self.folder / "pgpass")
        ensure_certificates(
            self.folder / "ca.crt", self.folder / "server.crt", self.folder / "server.key", DATABASE_HOST
        )
        for key in ("id_ed25519", "host_key"):
            command = [
                "ssh-keygen",
                "-q",
                "-t",
                "ed25519",
                "-N",
                "",
                "-C",
                self.name,
                "-f",
                str(self.folder / key),
            ]
            subprocess.run(command, stdin=subprocess.DEVNULL, check=True)

    def _start_database(self, image: str) -> None:
        files = {"server.crt": "/etc/rollout/server.crt", "server.key": "/etc/rollout/server.key"}
        self._start("db", image, 5432, files)

    def _start_application(self, image: str, container: str, number: int) -> None:
        files = {
            "host_key": "/etc/ssh/ssh_host_ed25519_key",
            "host_key.pub": "/etc/ssh/ssh_host_ed25519_key.pub",
            "id_ed25519.pub": "/etc/rollout/authorized_keys",
            "pgpass": "/opt/ai-admin/pgpass",
            "ca.crt": "/opt/ai-admin/ca.crt",
        }
        self._start(container, image, 22, files, f"--add-host={DATABASE_HOST}:{self.address('db')}")
        self.execute(container, "chown", f"{LOGIN}:{LOGIN}", "/opt/ai-admin/pgpass", "/opt/ai-admin/ca.crt")
        self.execute(container, "chown", "root:root", "/etc/rollout/authorized_keys", files["host_key"])

    def _start(self, role: str, image: str, port: int, files: dict[str, str], *options: str) -> None:
        name = self.container(role)
        self.engine.run(
            "create",
            f"--name={name}",
            f"--hostname={role}",
            f"--label={LABEL}={self.name}",
            f"--network={self.name}",
            f"--ip={self.address(role)}",
            f"--mac-address={self.hardware_address(role)}",
            f"--publish={ADDRESS}:{self._state()['ports'][role]}:{port}",
            *options,
            image,
        )
        for source, target in files.items():
            self.engine.run("cp", str(self.folder / source), f"{name}:{target}")
        self.engine.run("start", name)

    def _fill_database(self) -> None:
        """Set the administrator's password and make what is there before a rollout, as a client over TLS."""
        literal = ensure_passfile(self.folder / "pgpass")[ADMIN].replace("'", "''")
        # Not into the server's log.
        statement = f"SET log_statement = 'none'; ALTER ROLE {ADMIN} PASSWORD '{literal}';"
        self._until(
            lambda: self.execute("db", "psql", "-qXv", "ON_ERROR_STOP=1", user=ADMIN, stdin=statement)
        )
        self._until_ready()
        server = self.server
        ensure_roles(server)
        for database in dict.fromkeys(host.database for host in self.hosts.values()):
            ensure_database(server, database)
        services = {}
        for host in self.hosts.values():
            services[host.database] = (OWNER, host.database)
            services[f"{host.database}_admin"] = (ADMIN, host.database)
            services[f"{host.database}_readonly"] = (READER, host.database)
        write_service_file(self.folder / "pg_service.conf", server, services)

    def _until_ready(self) -> None:
        """Wait until the database answers over TLS."""
        self._until(lambda: self.server.connect(connect_timeout=2).close())

    def _until(self, act: Callable[[], object]) -> None:
        """Act until the server is there for it."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                act()
            except (ContainerError, psycopg.OperationalError) as error:
                if time.monotonic() > deadline:
                    log = self.engine.attempt("logs", "--tail=15", self.container("db"))[1]
                    raise ContainerError(
                        f"PostgreSQL is not ready after {START_TIMEOUT_S} s: {error}; the end of its log:\n{log}"
                    ) from None
                time.sleep(0.2)
            else:
                return

    def _start_stand_in(self, container: str) -> dict[str, Any]:
        variables: dict[str, Any] = self.stand_in(container, "up")
        return variables

    def _write_inventory(self, variables: dict[str, dict[str, Any]], wheels: Path) -> None:
        """Write what production's vault and hosts hold, in the form that Ansible takes from an inventory script."""
        passwords = ensure_passfile(self.folder / "pgpass")
        ports = self._state()["ports"]
        known_hosts = self.folder / "known_hosts"
        host_key = (self.folder / "host_key.pub").read_text()
        settings = f"  User {LOGIN}\n  IdentityFile {self.folder / 'id_ed25519'}\n  IdentitiesOnly yes\n"
        settings += f"  UserKnownHostsFile {known_hosts}\n  StrictHostKeyChecking yes\n"
        (self.folder / "ssh_config").write_text(
            "".join(
                f"Host {name}\n  HostName {ADDRESS}\n  Port {ports[name]}\n{settings}"
                for name in self.applications
            )
        )
        known_hosts.write_text("".join(f"[{ADDRESS}]:{ports[name]} {host_key}" for name in self.applications))
        described = ("app_dir", "app_port", "baileys_port", "pm2_home", "test_phone")
        hosts = {
            name: {
                "vault_app_host": ADDRESS,
                "vault_app_user": LOGIN,
                "vault_pg_host": DATABASE_HOST,
                "vault_pg_port": 5432,
                "vault_pg_password": passwords[OWNER],
                "pg_dbname": host.database,
                "ansible_host": ADDRESS,
                "ansible_user": LOGIN,
                "ansible_port": ports[host.container],
                "ansible_ssh_private_key_file": str(self.folder / "id_ed25519"),
                "ansible_ssh_common_args": f"-o UserKnownHostsFile={known_hosts} -o IdentitiesOnly=yes",
                "runtime_wheelhouse": str(wheels),
                "report_dir": str(self.folder / "reports"),
                **{variable: variables[host.container][variable] for variable in described},
            }
            for name, host in self.hosts.items()
        }
        inventory = {"application": {"hosts": list(hosts)}, "_meta": {"hostvars": hosts}}
        (self.folder / "inventory.json").write_text(json.dumps(inventory, indent=2) + "\n")
        (self.folder / "inventory.json").chmod(0o600)

    def _state(self) -> dict[str, Any]:
        try:
            state: dict[str, Any] = json.loads(self._state_file.read_text())
        except FileNotFoundError:
            raise ContainerError(
                f"the containers of scenario {self.scenario} do not run: molecule create -s {self.scenario}"
            ) from None
        return state


def full_name(scenario: str) -> str:
    """Return the name of a scenario's network, which its containers' names begin with."""
    # Other checkouts on this machine run the same scenarios.
    mark = hashlib.sha256(os.fsencode(ROOT)).hexdigest()[:8]
    return f"rollout-{mark}-{scenario}".replace("_", "-")


def remove(engine: Engine, name: str) -> None:
    """Remove the containers and networks that carry this name in their label."""
    mark = f"--filter=label={LABEL}={name}"
    containers = engine.run("ps", "--all", "--quiet", mark).split()
    if containers:
        engine.run("rm", "--force", "--volumes", *containers)
    networks = engine.run("network", "ls", "--quiet", mark).split()
    if networks:
        engine.run("network", "rm", *networks)


def _make_network(engine: Engine, name: str) -> str:
    """Make a network whose addresses nobody else has; return the first three numbers of its subnet.

    Addresses are chosen here because Docker pins a container's address only in a subnet that was named.
    """
    begin = int(hashlib.sha256(name.encode()).hexdigest(), 16)
    for attempt in range(NETWORK_ATTEMPTS):
        subnet = f"10.{200 + (begin + attempt) % 50}.{(begin // 50 + attempt) % 250}"
        code, output = engine.attempt(
            "network", "create", f"--subnet={subnet}.0/24", f"--label={LABEL}={name}", name
        )
        if code == 0:
            return subnet
    raise ContainerError(f"no network could be made in {NETWORK_ATTEMPTS} attempts: {output.strip()}")
