"""One look at the whole application: its services, what they logged, the WhatsApp client and its session store.

Each source is read by itself. One that cannot be read is listed as broken, and says nothing about the application;
the others are read all the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ansible.module_utils.rollout import (
    baileys_reading,
    baileys_verdict,
    log_window,
    pm2_daemon,
    pm2_services,
    session_store,
)
from ansible.module_utils.rollout.connection import Session
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.log_patterns import Pattern
from ansible.module_utils.rollout.options import ConnectionOptions
from ansible.module_utils.rollout.pm2_services import Service

PM2, LOGS, WHATSAPP, STORE = "pm2", "logs", "whatsapp", "store"

_NO_CLIENT: dict[str, Any] = {"pids": None, "account": "", "company": "", "store": None}


@dataclass(frozen=True)
class WhatsApp:
    """The WhatsApp client of the application.

    :ivar service: its name in PM2, and among ``logs``
    :ivar health_url: of its own endpoint
    :ivar never_port: the API's, which must never be asked
    :ivar count: how often the endpoint is asked
    :ivar interval: pause between two questions, seconds
    :ivar timeout: longest wait for one answer, seconds
    :ivar company_id: empty: the one that the endpoint names
    :ivar loss_tolerance: share of key rows that may vanish, see session_store.compare
    """

    service: str
    health_url: str
    never_port: int = 3000
    count: int = 1
    interval: float = 0.0
    timeout: float = 3.0
    company_id: str = ""
    schema: str = "public"
    auth_table: str = "whatsapp_auth"
    keys_table: str = "whatsapp_keys"
    loss_tolerance: float = 0.1


@dataclass(frozen=True)
class Request:
    """What to look at, and what an earlier look saw.

    :ivar pm2_home: empty: there is no PM2
    :ivar services: names to judge
    :ivar user: that PM2 has to run as; None: the owner of the home
    :ivar logs: files by service, beside those that PM2 names
    :ivar whatsapp: None: the application has no such client
    :ivar store: where the session store is; None: it is not looked at
    :ivar bookmarks: of an earlier look; None: the logs count from now on
    :ivar baseline: ``reading`` of an earlier look
    """

    pm2_home: str
    services: Sequence[str]
    user: str | None
    logs: Mapping[str, Sequence[str]]
    patterns: tuple[Pattern, ...]
    whatsapp: WhatsApp | None
    store: ConnectionOptions | None
    application_name: str = "rollout"
    samples: int = 3
    timeout: float = 5.0
    bookmarks: Sequence[Mapping[str, Any]] | None = None
    baseline: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class _Seen:
    """What is gathered on the way."""

    services: dict[str, Service] = field(default_factory=dict)
    reading: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    broken: list[dict[str, str]] = field(default_factory=list)
    company: str = ""

    def attempt(self, source: str, read: Callable[[], None]) -> None:
        """Read a source; what cannot be read is noted and the reading goes on."""
        try:
            read()
        except RolloutError as error:
            reason = str(error.details.get("reason", "unreadable"))
            self.broken.append({"source": source, "reason": reason, "text": str(error)})


def look(request: Request) -> dict[str, Any]:
    """Look at everything once.

    :returns: as the module application_info returns it
    :raises RolloutError: there is nothing to look at, or too little to judge by
    """
    begun = time.monotonic()
    _require_sources(request)
    seen = _Seen()
    if request.pm2_home:
        seen.attempt(PM2, lambda: _look_at_services(request, seen))
    seen.attempt(LOGS, lambda: _look_at_logs(request, seen))
    if request.whatsapp is not None:
        client = request.whatsapp
        seen.attempt(WHATSAPP, lambda: _look_at_client(request, client, seen))
        if request.store is not None:
            options = request.store
            seen.attempt(STORE, lambda: _look_at_store(request, client, options, seen))
    return {
        "services": {},
        "problems": [],
        "changes": [],
        "elsewhere": {},
        "logs": {},
        "files": {},
        "bookmarks": list(request.bookmarks or ()),
        **seen.result,
        "broken": seen.broken,
        "reading": seen.reading,
        "seconds": round(time.monotonic() - begun, 3),
    }


def _require_sources(request: Request) -> None:
    """Refuse what would look well whatever happens."""
    problem = ""
    client = request.whatsapp
    if request.services and not request.pm2_home:
        problem = f"services {', '.join(request.services)} are named, but no pm2_home"
    elif request.pm2_home and not request.services:
        problem = "pm2_home is named, but no services"
    elif not request.services and not request.logs and client is None:
        problem = "neither services nor logs nor a WhatsApp client are named: there is nothing to look at"
    elif client is not None and client.service not in {*request.services, *request.logs}:
        problem = (
            f"the WhatsApp client {client.service!r} is neither among the services nor among the logs, and what its"
            " endpoint alone says may be a minute old"
        )
    if problem:
        raise RolloutError(
            f"The application cannot be judged: {problem}",
            hint="pm2_home, pm2_services and baileys_service in the inventory; gate_services, gate_logs of role gate.",
            details={"reason": "bad_argument"},
        )


def _look_at_services(request: Request, seen: _Seen) -> None:
    daemon, processes = pm2_daemon.read(request.pm2_home, user=request.user, timeout=request.timeout)
    owner = (pm2_daemon.user_id(request.user), request.user) if request.user else None
    services = pm2_services.judge(processes, request.services, now_ms=int(time.time() * 1000), user=owner)
    reading = pm2_services.reading(processes, daemon.pid)
    before = request.baseline.get(PM2)
    changes = [] if before is None else pm2_services.compare(before, reading, request.services)
    missing = [name for name, service in services.items() if service.state == "missing"]
    seen.services = services
    seen.reading[PM2] = reading
    seen.result["services"] = {name: _told(service) for name, service in services.items()}
    seen.result["problems"] = [asdict(problem) for one in services.values() for problem in one.problems]
    seen.result["changes"] = [asdict(change) for change in changes]
    seen.result["elsewhere"] = pm2_daemon.elsewhere(missing, request.pm2_home)


def _told(service: Service) -> dict[str, Any]:
    return {
        "state": service.state,
        "online": service.online,
        "pids": list(service.pids),
        "restarts": service.restarts,
        "uptime": service.uptime,
        "memory": service.memory,
        "cpu": service.cpu,
    }


def _logs_of(request: Request, seen: _Seen) -> dict[str, list[str]]:
    found = {name: [str(log["path"]) for log in service.logs] for name, service in seen.services.items()}
    for name, paths in request.logs.items():
        found[name] = list(dict.fromkeys([*found.get(name, []), *paths]))
    return found


def _look_at_logs(request: Request, seen: _Seen) -> None:
    logs = _logs_of(request, seen)
    # Each log by its own name besides: a rotation loses lines of one log, not of a service.
    alone = {path: [path] for paths in logs.values() for path in paths}
    found = log_window.read_services({**alone, **logs}, request.bookmarks, request.patterns, request.samples)
    told = found["services"]
    seen.result["logs"] = {name: told[name] for name in logs if name in told}
    seen.result["files"] = {
        path: {
            "services": [name for name, paths in logs.items() if path in paths],
            **{key: told[path][key] for key in ("lines", "levels", "patterns", "continuity")},
        }
        for path in alone
        if path in told
    }
    # A log that could not be listed now, because PM2 was not there, keeps its bookmark.
    listed = {bookmark["path"] for bookmark in found["bookmarks"]}
    kept = [bookmark for bookmark in request.bookmarks or () if bookmark["path"] not in listed]
    seen.result["bookmarks"] = [*found["bookmarks"], *kept]
    _require_named_logs(request, found["bookmarks"])


def _require_named_logs(request: Request, bookmarks: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a log of the inventory that is not there: a misspelt name would look well for ever."""
    named = {path for paths in request.logs.values() for path in paths}
    for bookmark in bookmarks:
        gone = not (bookmark["live"] or bookmark["rotated"] or bookmark["copies"])
        if bookmark["path"] in named and gone:
            raise RolloutError(
                f"There is no log {bookmark['path']}, nor a rotated one beside it",
                hint="Correct its name in the inventory (gate_logs), or leave out what the application never writes.",
                details={"reason": "no_log"},
            )


def _look_at_client(request: Request, client: WhatsApp, seen: _Seen) -> None:
    service = seen.services.get(client.service)
    source = baileys_reading.Source(
        health_url=client.health_url,
        never_port=client.never_port,
        count=client.count,
        interval=client.interval,
        timeout=client.timeout,
        pids=None if service is None else service.pids,
        logs=_logs_of(request, seen).get(client.service, []),
    )
    before = request.baseline.get(WHATSAPP)
    found = baileys_reading.look(
        source, request.bookmarks, request.patterns, baileys_reading.Baseline.from_result(before)
    )
    pids = found.evidence.pids
    seen.company = found.company
    seen.reading[WHATSAPP] = {
        **_NO_CLIENT,
        "pids": None if pids is None else list(pids),
        "account": found.account,
        "company": found.company,
    }
    seen.result["whatsapp"] = {
        **asdict(found.verdict),
        "company": client.company_id or found.company,
        "evidence": baileys_verdict.as_result(found.evidence),
    }


def _look_at_store(request: Request, client: WhatsApp, options: ConnectionOptions, seen: _Seen) -> None:
    known = request.baseline.get(WHATSAPP) or {}
    before = known.get("store")
    # A client that does not answer now has said before whose session it uses.
    company = client.company_id or seen.company or str(known.get("company", ""))
    with Session(
        options, request.application_name, read_only=True, statement_timeout_ms=session_store.TIMEOUT_MS
    ) as session:
        state, now = session_store.look(
            session,
            None if before is None else session_store.from_result(before),
            company,
            schema=client.schema,
            auth_table=client.auth_table,
            keys_table=client.keys_table,
            loss_tolerance=client.loss_tolerance,
        )
    seen.result["store"] = state
    seen.reading.setdefault(WHATSAPP, dict(_NO_CLIENT))["store"] = now.as_result()
    if not company and seen.result.get("whatsapp", {}).get("verdict") == baileys_verdict.CONNECTED:
        # Otherwise the verdict on the client says what is wrong.
        raise RolloutError(
            "Nobody says which company's WhatsApp session is in use: the health endpoint names none",
            hint="Set gate_whatsapp_company_id in the inventory.",
            details={"reason": "unknown_company"},
        )
