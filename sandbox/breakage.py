"""Break the application on purpose, and mend it: what a rollout's gates have to see as red, and then as green."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sandbox.application import Application
from sandbox.errors import SandboxError
from sandbox.services import BAILEYS, NAMES

SLOW_DATABASE_MS = 1500
# Long enough for the client to say that it is connected, short enough for nothing to be relied on.
FLAP_MS = 700
LOGGED_OUT = 401
UNAVAILABLE = 503
# How long a client that has lost its connection may go on trying by itself before its service is restarted.
PATIENCE_S = 20
MEND_TIMEOUT_S = 60


@dataclass(frozen=True)
class Break:
    """One way to break the application.

    Attributes: ``description`` for people; ``apply`` does it; ``details`` the values that the command's second word may
    have (empty: it takes none), ``default`` the one that is taken without it.
    """

    description: str
    apply: Callable[[Application, str], None]
    details: tuple[str, ...] = ()
    default: str = ""


def _drop_connection(application: Application, _: str) -> None:
    application.outside.end_connections("drop")


def _log_out(application: Application, _: str) -> None:
    application.outside.answer_logins(refuse=LOGGED_OUT)
    application.outside.end_connections("logout")


def _replace(application: Application, _: str) -> None:
    application.outside.end_connections("replaced")


def _reconnect_loop(application: Application, _: str) -> None:
    application.outside.answer_logins(drop_after_ms=FLAP_MS)
    application.outside.end_connections("drop")


def _refuse_logins(application: Application, _: str) -> None:
    application.outside.answer_logins(refuse=UNAVAILABLE)
    application.outside.end_connections("unavailable")


def _switch_on(fault: str) -> Callable[[Application, str], None]:
    def apply(application: Application, service: str) -> None:
        (application.faults / service).write_text(fault)

    return apply


def _rotate_logs(application: Application, how: str) -> None:
    for service in NAMES:
        for log in application.log_files(service):
            if log.exists():
                _rotate(log, how)


def _rotate(log: Path, how: str) -> None:
    if how == "rename":
        # As logrotate without copytruncate: PM2 goes on writing into the renamed file until it is told to reopen.
        log.rename(log.with_name(f"{log.name}.1"))
        return
    # As pm2-logrotate does and names it. What is written in between is lost, there as here.
    shutil.copyfile(log, log.with_name(f"{log.stem}__{datetime.now():%Y-%m-%d_%H-%M-%S}.log"))
    with log.open("r+") as file:
        file.truncate(0)


def _stop(application: Application, service: str) -> None:
    application.pm2.run("stop", service)


def _slow_database(application: Application, _: str) -> None:
    application.outside.database(delay_ms=SLOW_DATABASE_MS)


def _dead_database(application: Application, _: str) -> None:
    application.outside.database(cut=True)


BREAKS: dict[str, Break] = {
    "drop-connection": Break(
        "WhatsApp's connection is lost once; the client connects again", _drop_connection
    ),
    "logout": Break("the phone removes the linked client: 401, for good", _log_out),
    "replace": Break("somebody else connects with the same session: 440, for good", _replace),
    "reconnect-loop": Break(
        "WhatsApp lets the client in and drops it at once, again and again", _reconnect_loop
    ),
    "refuse-logins": Break("WhatsApp refuses every login (503) until the client gives up", _refuse_logins),
    "crash-loop": Break(
        "a service ends 1.5 s after each start; PM2 mostly says online",
        _switch_on("crash-loop"),
        NAMES,
        NAMES[1],
    ),
    "error-lines": Break(
        "a service writes four error lines a second", _switch_on("error-lines"), NAMES, NAMES[1]
    ),
    "rotate-logs": Break(
        "the services' logs are rotated; harmless, only their readers suffer",
        _rotate_logs,
        ("copytruncate", "rename"),
        "copytruncate",
    ),
    "stop": Break("a service is stopped", _stop, NAMES, NAMES[1]),
    "slow-database": Break(
        f"replies of the database reach the application {SLOW_DATABASE_MS} ms later", _slow_database
    ),
    "dead-database": Break("the application (and nobody else) loses its way to the database", _dead_database),
}


def break_application(application: Application, what: str, detail: str | None = None) -> str:
    """Break it in one way; returns the detail that was taken.

    :param what: a key of BREAKS.
    :param detail: the service, or how; None takes the default.
    :raises SandboxError: the application does not run, or the detail does not fit.
    """
    chosen = BREAKS[what]
    if detail is not None and detail not in chosen.details:
        allowed = ", ".join(chosen.details) or "nothing"
        raise SandboxError(f"break {what} cannot be followed by {detail}, only by: {allowed}")
    _require_running(application)
    taken = detail or chosen.default
    chosen.apply(application, taken)
    return taken


def mend(application: Application) -> list[str]:
    """Undo every break and wait until the application is healthy; what is healthy is not restarted.

    :return: what was done, one line each.
    :raises SandboxError: the application does not run, or does not become healthy.
    """
    _require_running(application)
    application.outside.answer_logins()
    application.outside.database(target=application.server.port)
    done = []
    for fault in sorted(application.faults.iterdir()):
        done.append(f"switched off {fault.read_text()} of {fault.name}")
        fault.unlink()
    if not all(log.exists() for service in NAMES for log in application.log_files(service)):
        application.pm2.run("reloadLogs")
        done.append("let PM2 reopen its logs")
    for process in application.pm2.processes():
        if process["name"] in NAMES and process["pm2_env"]["status"] in ("stopped", "errored"):
            application.pm2.run("restart", process["name"])
            done.append(f"started {process['name']}")
    done += _reconnect(application)
    application.wait_until_healthy(MEND_TIMEOUT_S)
    return done


def _reconnect(application: Application) -> list[str]:
    """Wait for the WhatsApp client to connect by itself; restart its service when it has given up or takes too long."""
    deadline = time.monotonic() + PATIENCE_S
    while not application.outside.state()["clients"]:
        if _has_given_up(application) or time.monotonic() > deadline:
            application.pm2.run("restart", BAILEYS)
            return [f"restarted {BAILEYS}"]
        time.sleep(0.2)
    return []


def _has_given_up(application: Application) -> bool:
    try:
        health: dict[str, Any] = application.health()
    except OSError:
        return False  # it is just starting: it listens only when its session was made
    return not health["connected"]


def _require_running(application: Application) -> None:
    if not application.is_running():
        raise SandboxError(
            f"the application of {application.home} does not run: python -m sandbox up --application"
        )
