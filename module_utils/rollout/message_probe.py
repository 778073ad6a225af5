"""Let one message of the test phone come in, and watch the logs for the bot's reply: not asked, red or green.

Red is a result: the message was taken, and no reply was proven. What could not be asked or read is an error, and says
nothing about the bot.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ansible.module_utils.rollout import log_patterns, pm2_daemon, pm2_services, probe_request
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.log_bookmark import Bookmark, take
from ansible.module_utils.rollout.log_window import CONTINUITIES, read_since
from ansible.module_utils.rollout.phone_number import masked
from ansible.module_utils.rollout.probe_chain import Chain, Progress, Sighting, judge
from ansible.module_utils.rollout.probe_request import Request

#: Pause between two looks at the logs, seconds.
LOOK_EVERY_S = 0.3
#: Longest wait for PM2's answer, seconds.
PM2_TIMEOUT_S = 5.0


def not_tested(reason: str, why: str, phone: str = "") -> dict[str, Any]:
    """The result of a probe that sent nothing: neither passed nor failed.

    :param reason: for a machine
    :param why: for a person
    :param phone: canonical
    """
    return {
        "status": "not_tested",
        "reason": f"Not tested: {why}. Nothing was sent",
        "phone": masked(phone),
        "details": {"reason": reason},
    }


def logs_of(pm2_home: str, services: Iterable[str]) -> dict[str, list[str]]:
    """The services' log files as PM2 names them, also those of a stopped service.

    :raises RolloutError: PM2 cannot be asked
    """
    _, processes = pm2_daemon.read(pm2_home, timeout=PM2_TIMEOUT_S)
    judged = pm2_services.judge(processes, services, now_ms=int(time.time() * 1000))
    return {name: [str(log["path"]) for log in service.logs] for name, service in judged.items()}


class LogReader:
    """Reads what the chain's services log from now on.

    :param logs: log files by service
    :ivar seen: all lines that matter
    :ivar continuity: the worst so far; see log_window.CONTINUITIES
    :raises RolloutError: a service has no log, or one cannot be read
    """

    def __init__(self, chain: Chain, logs: Mapping[str, Any], clock: Callable[[], float] = time.time) -> None:
        self.seen: list[Sighting] = []
        self.continuity = CONTINUITIES[0]
        self._chain = chain
        self._clock = clock
        self._services: dict[str, list[str]] = {}
        for service in chain.services:
            for path in _readable(service, logs.get(service)):
                self._services.setdefault(path, []).append(service)
        self._bookmarks: dict[str, Bookmark] = {path: take(path) for path in self._services}
        self._lines = dict.fromkeys(self._services, 0)

    def look(self) -> Progress:
        """Read what has come, and judge all of it.

        :raises RolloutError: a log cannot be read
        """
        for path, services in self._services.items():

            def sink(raw: bytes, _length: int, path: str = path, services: Sequence[str] = services) -> None:
                self._lines[path] += 1
                line = log_patterns.parse(raw)
                self.seen += self._chain.sightings(services, path, self._lines[path], line, self._clock())

            reading = read_since(self._bookmarks[path], sink)
            self._bookmarks[path] = reading.bookmark
            self.continuity = max(self.continuity, reading.continuity, key=CONTINUITIES.index)
        return judge(self._chain, self.seen)


def _readable(service: str, paths: Any) -> list[str]:
    """A service's log files, without devices that keep nothing."""
    if not isinstance(paths, list) or not all(isinstance(path, str) and path[:1] == "/" for path in paths):
        paths = []
    kept = [path for path in paths if os.path.isfile(path) or not os.path.exists(path)]
    if not kept:
        raise RolloutError(
            f"No log file of {service} is known: what the chain says of it could not be seen",
            hint="Name the services of chain and instead as PM2 does; or give both files of each in logs.",
            details={"reason": "no_log", "service": service},
        )
    return kept


def probe(
    request: Request,
    chain: Chain,
    logs: Mapping[str, Any],
    timeout_s: float,
    *,
    post: Callable[[Request], None] = probe_request.post,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """Ask once, and wait until the reply is proven, or none can come any more, or the time is over.

    :param timeout_s: for the reply, seconds since the message was taken
    :param clock: seconds since 1970
    :returns: the module's result, with status passed or failed
    :raises RolloutError: it could not be asked, or the logs could not be read
    """
    if timeout_s <= 0:
        raise RolloutError(
            f"timeout is {timeout_s} s",
            hint="Give the bot more than 0 seconds.",
            details={"reason": "bad_argument"},
        )
    reader = LogReader(chain, logs, clock)
    asked_at = clock()
    post(request)
    deadline = clock() + timeout_s
    while True:
        over = clock() >= deadline
        progress = reader.look()
        if progress.complete or progress.final or over:
            break
        sleep(LOOK_EVERY_S)
    if not progress.complete and not progress.final and reader.continuity == "broken":
        raise RolloutError(
            "A log was truncated while the reply was waited for: whether there was one cannot be told",
            hint="Ask again. Find out what empties the log (pm2 flush?).",
            details={"reason": "log_lost", "nonce": request.nonce},
        )
    return _result(request, chain, progress, asked_at, clock() - asked_at, reader.continuity)


def _result(
    request: Request, chain: Chain, progress: Progress, asked_at: float, seconds: float, continuity: str
) -> dict[str, Any]:
    result: dict[str, Any] = {
        "status": "passed" if progress.complete else "failed",
        "reason": _told(chain, progress, asked_at, seconds),
        "phone": masked(request.phone),
        "nonce": request.nonce,
        "asked_at": round(asked_at, 3),
        "seconds": round(seconds, 3),
        "steps": [
            {"name": step.name, "service": step.service, **_times(progress.found.get(step.name))}
            for step in chain.steps
        ],
        "missing": progress.missing,
        "instead": [{"name": one.name, "service": one.service, **_times(one)} for one in progress.instead],
        "continuity": continuity,
    }
    if not progress.complete:
        result["details"] = {"reason": progress.final.name if progress.final else "no_reply"}
    return result


def _times(seen: Sighting | None) -> dict[str, Any]:
    if seen is None:
        return {"seen": False, "at": None, "seen_at": None}
    return {"seen": True, "at": seen.at, "seen_at": round(seen.seen_at, 3)}


def _told(chain: Chain, progress: Progress, asked_at: float, seconds: float) -> str:
    """The verdict for a person; of a failure also what was seen last."""
    if progress.complete:
        return f"The bot answered: all {len(chain.steps)} steps were logged in order, {seconds:.1f} s after asking"
    services = {step.name: step.service for step in chain.steps}
    last = max(progress.found.values(), key=lambda one: one.seen_at, default=None)
    parts = [f"No reply was proven in {seconds:.1f} s"]
    if progress.final:
        parts.append(f"{progress.final.service} logged {progress.final.name} instead")
    if progress.missing:
        parts.append(f"step {progress.missing} of {services[progress.missing]} is missing")
    when = "" if last is None else f" ({(last.at or last.seen_at) - asked_at:.1f} s after asking)"
    parts.append(f"the last step seen is {last.name}{when}" if last else "no step was seen at all")
    others = [one.name for one in progress.instead if one is not progress.final]
    if others:
        parts.append(f"seen besides: {', '.join(others)}")
    return "; ".join(parts)
