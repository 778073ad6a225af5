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
    except PermissionError as error:
        print(
            f"sandbox: {error.filename} belongs to another user: run this as that user, or name a folder of your own "
            "with --home",
            file=sys.stderr,
        )
        return 1


def _up(server: PostgresServer) -> int:
    started = server.start()
    # Also when it was running: the call that started it may have been interrupted before this.
    ensure_roles(server)
    ensure_database(server, DATABASE)
    write_service_file(
        _service_file(server), server, {service: (role, DATABASE) for service, (role, _) in SERVICES.items()}
    )
    verdict = "Sandbox: started." if started else "Sandbox: already running, nothing changed."
    print(f"{verdict}\n{_description(server)}")
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
    print(f"Sandbox: running.\n{_description(server)}")
    return 0


def _description(server: PostgresServer) -> str:
    binaries = server.binaries
    if server.has_tls:
        transport = "TLS only, own certificate authority (sslmode=verify-full)"
    else:
        transport = "WITHOUT TLS: this build of PostgreSQL has none (sslmode=disable)"
    setting = f"PGSERVICEFILE={shlex.quote(str(_service_file(server)))}"
    psql = shlex.quote(binaries.program("psql"))
    lines = [
        f"  server    PostgreSQL {binaries.version}, process {server.pid}, as {server.account_label}",
        f"  programs  {binaries.bindir} ({binaries.source})",
        f"  listens   {ADDRESS}:{server.port}, {transport}",
        f"  password  always asked (scram-sha-256), in {server.passfile}",
        f"  database  {DATABASE}, with the WhatsApp session store that exists before a rollout",
        f"  log       {server.log}",
        "Connect:",
    ]
    for service, (role, purpose) in SERVICES.items():
        lines.append(f"  {setting} {psql} service={service:<16}  # {role}: {purpose}")
    return "\n".join(lines)


def _service_file(server: PostgresServer) -> Path:
    return server.home / "pg_service.conf"


if __name__ == "__main__":
    sys.exit(main())
