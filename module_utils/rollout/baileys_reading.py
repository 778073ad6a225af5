"""One look at the WhatsApp service: PM2, its log and its health endpoint over a window, and the verdict on them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.rollout import baileys_health, baileys_verdict, log_events, pm2_daemon, pm2_services
from ansible.module_utils.rollout.baileys_verdict import Evidence, Verdict
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.log_events import EventReading
from ansible.module_utils.rollout.log_patterns import Pattern
from ansible.module_utils.rollout.log_window import CONTINUITIES

#: Longest wait for PM2's answer, seconds.
PM2_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Source:
    """Where to look.

    :ivar health_url: of the service's own endpoint
    :ivar never_port: the API's, which must never be asked
    :ivar count: how often the endpoint is asked
    :ivar interval: pause between two questions, seconds
    :ivar timeout: longest wait for one answer, seconds
    :ivar pm2_home: None: PM2 is not asked
    :ivar service: the service's name in PM2
    :ivar pids: processes as the caller knows them, instead of asking PM2; None: not known
    :ivar logs: the service's log files; None: those that PM2 names
    """

    health_url: str
    never_port: int
    count: int
    interval: float
    timeout: float
    pm2_home: str | None = None
    service: str | None = None
    pids: tuple[int, ...] | None = None
    logs: Sequence[str] | None = None


@dataclass(frozen=True)
class Baseline:
    """What an earlier look saw, to compare with.

    :ivar account: beginning of a hash; empty when the endpoint named none
    :ivar store: an earlier reading of the session store, as session_store returns it
    """

    pids: tuple[int, ...] | None = None
    account: str = ""
    store: Mapping[str, Any] | None = None

    @classmethod
    def from_result(cls, value: Mapping[str, Any] | None) -> Baseline:
        """What was handed back.

        :raises RolloutError: it is not a reading
        """
        if value is None:
            return cls()
        try:
            pids, store = value["pids"], value["store"]
            if not isinstance(store, Mapping | None):
                raise TypeError("store is not a mapping")
            return cls(
                None if pids is None else tuple(int(pid) for pid in pids), str(value["account"]), store
            )
        except (KeyError, TypeError, ValueError) as error:
            raise RolloutError(
                f"baseline is not a reading of baileys_info: {type(error).__name__} {error}",
                hint="Hand back what an earlier call returned as reading, unchanged.",
                details={"reason": "bad_baseline"},
            ) from None


@dataclass(frozen=True)
class Look:
    """What one look saw.

    :ivar company: the id that the service says it uses; empty when it does not say
    :ivar account: beginning of the account's hash; empty when the endpoint named none
    :ivar bookmarks: where the logs end
    """

    evidence: Evidence
    verdict: Verdict
    company: str
    account: str
    bookmarks: list[dict[str, Any]]


def look(
    source: Source,
    bookmarks: Sequence[Mapping[str, Any]] | None,
    patterns: tuple[Pattern, ...],
    baseline: Baseline,
) -> Look:
    """Watch the service for a window and judge it.

    The log is read before and after the window: so what happened while it was watched is told from what was before.

    :param bookmarks: of an earlier look; None: the log counts from now on
    :raises RolloutError: the URL must not be asked, or a source cannot be read; says nothing about the service
    """
    baileys_health.check_url(source.health_url, source.never_port)
    _require_window(source)
    pids_at_first, logs = _processes_and_logs(source)
    earlier = _events(logs, bookmarks or (), patterns)
    samples = baileys_health.sample(
        baileys_health.fetch,
        source.health_url,
        count=source.count,
        interval_s=source.interval,
        timeout_s=source.timeout,
    )
    later = _events(logs, [one.as_result() for one in earlier.bookmarks], patterns)
    pids, _ = _processes_and_logs(source)
    evidence = Evidence(
        samples=samples,
        events=(*earlier.events, *later.events),
        events_before=len(earlier.events),
        continuity=_worst(earlier, later),
        pids=pids,
        pids_before=pids_at_first if baseline.pids is None else baseline.pids,
        account_before=baseline.account,
        at=time.time(),
    )
    return Look(
        evidence=evidence,
        verdict=baileys_verdict.judge(evidence),
        company=next((one.company for one in reversed(samples) if one.company), ""),
        account=next((one.account for one in reversed(samples) if one.account), ""),
        bookmarks=[one.as_result() for one in later.bookmarks],
    )


def _require_window(source: Source) -> None:
    if source.count < 1 or source.interval < 0 or source.timeout <= 0:
        raise RolloutError(
            f"count is {source.count}, interval {source.interval} s and timeout {source.timeout} s",
            hint="Ask at least once, with an interval of 0 or more and a timeout of more than 0 seconds.",
            details={"reason": "bad_argument"},
        )


def _processes_and_logs(source: Source) -> tuple[tuple[int, ...] | None, Sequence[str]]:
    if source.pm2_home is None or source.service is None:
        return source.pids, source.logs or ()
    _, processes = pm2_daemon.read(source.pm2_home, timeout=PM2_TIMEOUT_S)
    service = pm2_services.judge(processes, [source.service], now_ms=int(time.time() * 1000))[source.service]
    if source.logs is not None:
        return service.pids, source.logs
    return service.pids, [str(log["path"]) for log in service.logs]


def _events(
    logs: Sequence[str], bookmarks: Sequence[Mapping[str, Any]], patterns: tuple[Pattern, ...]
) -> EventReading:
    return log_events.read_events(logs, bookmarks, patterns, baileys_verdict.EVENTS)


def _worst(earlier: EventReading, later: EventReading) -> str:
    if "no_log" in (earlier.continuity, later.continuity):
        return "no_log"
    return max(earlier.continuity, later.continuity, key=CONTINUITIES.index)
