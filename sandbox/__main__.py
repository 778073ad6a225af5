"""``python -m sandbox up|down|status|break|mend``: run the embedded database, and the application on top of it."""

import argparse
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from sandbox.application import Application
from sandbox.breakage import BREAKS, break_application, mend
from sandbox.credentials import ADMIN, OWNER, READER
from sandbox.databases import ensure_database
from sandbox.errors import SandboxError
from sandbox.ports import ADDRESS
from sandbox.roles import ensure_roles
from sandbox.server import PostgresServer
from sandbox.service_file import write_service_file
from sandbox.services import BAILEYS, TEST_PHONE, Timing

DEFAULT_HOME = Path(__file__).resolve().with_name("run")
DATABASE = "default_db"
SERVICES = {
    "sandbox": (OWNER, "owns the database, no superuser: the rollout's login"),
    "sandbox_admin": (ADMIN, "superuser"),
    "sandbox_readonly": (READER, "may only read"),
}
# As "service … status" answers (LSB): 0 running, 3 not running.
EXIT_NOT_RUNNING = 3
EXIT_NOT_HEALTHY = 1


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return the exit code."""
    chosen = _parser().parse_args(arguments)
    commands: dict[str, Callable[[PostgresServer, argparse.Namespace], int]] = {
        "up": _up,
        "down": _down,
        "status": _status,
        "break": _break,
        "mend": _mend,
    }
    try:
        return commands[chosen.command](PostgresServer(chosen.home), chosen)
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


def _parser() -> argparse.ArgumentParser:
    home = argparse.ArgumentParser(add_help=False)
    home.add_argument(
        "--home", type=Path, default=DEFAULT_HOME, help="folder of the sandbox (default: %(default)s)"
    )
    parser = argparse.ArgumentParser(
        prog="python -m sandbox",
        description="A private PostgreSQL server and an application like production's.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    up = commands.add_parser("up", parents=[home], help="start the database, or the application, too")
    up.add_argument(
        "--application", action="store_true", help="PM2 with its services and the WhatsApp client, too"
    )
    timing = Timing()
    for option, default, what in (
        (
            "--reconnect-ms",
            timing.reconnect_ms,
            "until the WhatsApp client tries to reconnect (production: 5000)",
        ),
        (
            "--batch-idle-ms",
            timing.batch_idle_ms,
            "until a batch of messages counts as complete (production: 9000)",
        ),
        (
            "--answer-ms",
            timing.answer_ms,
            "that the worker thinks about an answer (production: 5000 to 24000)",
        ),
    ):
        up.add_argument(option, type=int, default=default, help=f"milliseconds {what}; here %(default)s")
    commands.add_parser("down", parents=[home], help="stop everything; the data stay")
    commands.add_parser("status", parents=[home], help="say what runs, and how it is")
    breaks = commands.add_parser(
        "break",
        parents=[home],
        help="break the application on purpose",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(f"  {name:<16} {way.description}" for name, way in BREAKS.items()),
    )
    breaks.add_argument("what", choices=list(BREAKS), metavar="what", help="one of the ways below")
    breaks.add_argument("detail", nargs="?", help="which service, or how the logs are rotated")
    commands.add_parser(
        "mend", parents=[home], help="undo every break and wait until the application is healthy"
    )
    return parser


def _up(server: PostgresServer, chosen: argparse.Namespace) -> int:
    started = server.start()
    # Also when it was running: the call that started it may have been interrupted before this.
    ensure_roles(server)
    ensure_database(server, DATABASE)
    write_service_file(
        _service_file(server), server, {service: (role, DATABASE) for service, (role, _) in SERVICES.items()}
    )
    application = Application(server, DATABASE)
    if chosen.application:
        timing = Timing(chosen.reconnect_ms, chosen.batch_idle_ms, chosen.answer_ms)
        started = application.start(timing) or started
    elif application.is_running():
        # The database may have got another port.
        application.outside.database(target=server.port)
    verdict = "Sandbox: started." if started else "Sandbox: already running, nothing changed."
    print(f"{verdict}\n{_description(server)}")
    if application.is_running():
        print(_application_description(application, application.problems()))
    return 0


def _down(server: PostgresServer, _: argparse.Namespace) -> int:
    application_stopped = Application(server, DATABASE).stop()
    if server.stop() or application_stopped:
        print(f"Sandbox: stopped. Its data stay in {server.home}; remove that folder to begin anew.")
    else:
        print("Sandbox: was not running.")
    return 0


def _status(server: PostgresServer, _: argparse.Namespace) -> int:
    application = Application(server, DATABASE)
    if server.is_running():
        print(f"Sandbox: running.\n{_description(server)}")
    else:
        print(f"Sandbox: not running (folder {server.home}). Start it with: python -m sandbox up")
    problems: list[str] = []
    if application.is_running():
        problems = application.problems()
        print(_application_description(application, problems))
    else:
        print("Application: not running. Start it with: python -m sandbox up --application")
    if not server.is_running():
        return EXIT_NOT_RUNNING
    return EXIT_NOT_HEALTHY if problems else 0


def _break(server: PostgresServer, chosen: argparse.Namespace) -> int:
    taken = break_application(Application(server, DATABASE), chosen.what, chosen.detail)
    print(f"Broken: {chosen.what} {taken}".rstrip() + f" ({BREAKS[chosen.what].description}).")
    print("Mend it with: python -m sandbox mend")
    return 0


def _mend(server: PostgresServer, _: argparse.Namespace) -> int:
    done = mend(Application(server, DATABASE))
    for line in done:
        print(f"  {line}")
    print("Application: healthy.")
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


def _application_description(application: Application, problems: list[str]) -> str:
    pm2, outside = application.pm2, application.outside
    lines = [
        "Application: healthy."
        if not problems
        else "Application: NOT healthy. Mend it with: python -m sandbox mend",
        *(f"  problem   {problem}" for problem in problems),
        f"  PM2       process {pm2.pid}, PM2_HOME={pm2.home}, logs in {pm2.home}/logs",
        f"  runs on   {application.node_label}",
        f"  WhatsApp  {BAILEYS}, {application.health_url}",
        f"  webhook   {application.webhook_url}, test phone {TEST_PHONE}",
        f"  outside   process {outside.pid}, port {outside.port}, log {outside.log}",
        f"  variables {application.variables_file}",
    ]
    return "\n".join(lines)


def _service_file(server: PostgresServer) -> Path:
    return server.home / "pg_service.conf"


if __name__ == "__main__":
    sys.exit(main())
