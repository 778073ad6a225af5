"""``python -m sandbox up|down|status``: run the embedded PostgreSQL server."""

import argparse
import shlex
import sys
from pathlib import Path

from sandbox.credentials import ADMIN, OWNER, READER
from sandbox.databases import ensure_database
from sandbox.errors import SandboxError
from sandbox.roles import ensure_roles
from sandbox.server import ADDRESS, PostgresServer
from sandbox.service_file import write_service_file

DEFAULT_HOME = Path(__file__).resolve().with_name("run")
DATABASE = "default_db"
SERVICES = {
    "sandbox": (OWNER, "owns the database, no superuser: the rollout's login"),
    "sandbox_admin": (ADMIN, "superuser"),
    "sandbox_readonly": (READER, "may only read"),
}
# As "service … status" answers (LSB): 0 running, 3 not running.
EXIT_NOT_RUNNING = 3


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m sandbox", description="A private PostgreSQL server that looks like production's."
    )
    parser.add_argument("command", choices=["up", "down", "status"])
    parser.add_argument(
        "--home", type=Path, default=DEFAULT_HOME, help="folder of the sandbox (default: %(default)s)"
    )
    chosen = parser.parse_args(arguments)
    server = PostgresServer(chosen.home)
    commands = {"up": _up, "down": _down, "status": _status}
    try:
        return commands[chosen.command](server)
    except SandboxError as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 1


def _up(server: PostgresServer) -> int:
    started = server.start()
    # Also when it was running: the call that started it may have been interrupted before this.
    ensure_roles(server)
    ensure_database(server, DATABASE)
    write_service_file(
        _service_file(server), server, {service: (role, DATABASE) for service, (role, _) in SERVICES.items()}
    )
    print("Sandbox: started." if started else "Sandbox: already running, nothing changed.")
    _describe(server)
    return 0


def _down(server: PostgresServer) -> int:
    if server.stop():
        print(f"Sandbox: stopped. Its data stay in {server.home}; remove that folder to begin anew.")
    else:
        print("Sandbox: was not running.")
    return 0


def _status(server: PostgresServer) -> int:
    if not server.is_running():
        print(f"Sandbox: not running (folder {server.home}). Start it with: python -m sandbox up")
        return EXIT_NOT_RUNNING
    print("Sandbox: running.")
    _describe(server)
    return 0


def _describe(server: PostgresServer) -> None:
    binaries = server.binaries
    if server.has_tls:
        transport = "TLS only, own certificate authority (sslmode=verify-full)"
    else:
        transport = "WITHOUT TLS: this build of PostgreSQL has none (sslmode=disable)"
    print(f"  server    PostgreSQL {binaries.version}, process {server.pid}, as {server.account_label}")
    print(f"  programs  {binaries.bindir} ({binaries.source})")
    print(f"  listens   {ADDRESS}:{server.port}, {transport}")
    print(f"  password  always asked (scram-sha-256), in {server.passfile}")
    print(f"  database  {DATABASE}, with the WhatsApp session store that exists before a rollout")
    print(f"  log       {server.log}")
    print("Connect:")
    setting = f"PGSERVICEFILE={shlex.quote(str(_service_file(server)))}"
    psql = shlex.quote(binaries.program("psql"))
    for service, (role, description) in SERVICES.items():
        print(f"  {setting} {psql} service={service:<16}  # {role}: {description}")


def _service_file(server: PostgresServer) -> Path:
    return server.home / "pg_service.conf"


if __name__ == "__main__":
    sys.exit(main())
