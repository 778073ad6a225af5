"""What the database and the host say, as figures for the record and as findings: only what got worse counts. Pure.

A figure is compared with its limit and with what it was before: what was bad already is nobody's doing now. Sessions
that are older than the baseline are left out for the same reason.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.gate import Finding

MB = 1024 * 1024
DATABASE, HOST = "database", "host"


@dataclass(frozen=True)
class FigureLimits:
    """What is tolerated of the database and the host. The unit is in the name; percent of all there are.

    :ivar lock_wait_s: wait for a lock
    :ivar transaction_s: age of an open transaction
    :ivar idle_in_transaction_s: time that a session does nothing in its transaction
    :ivar deadlocks: since the baseline
    :ivar rollbacks_per_minute: transactions that were rolled back, since the sample before; so is the next one
    :ivar growth_mb: of the database since the baseline
    :ivar worse_factor: how many times as bad as in the baseline a figure may be, if that is more than its limit
    """

    connections_percent: float = 80
    lock_wait_s: float = 10
    transaction_s: float = 300
    idle_in_transaction_s: float = 120
    deadlocks: float = 2
    rollbacks_per_minute: float = 60
    temp_mb_per_minute: float = 200
    growth_mb: float = 500
    replication_lag_s: float = 60
    cpu_percent: float = 90
    load_per_cpu: float = 4
    mem_available_mb: float = 100
    disk_free_mb: float = 500
    worse_factor: float = 1.2

    def __post_init__(self) -> None:
        for one in fields(self):
            least = 1 if one.name == "worse_factor" else 0
            value = getattr(self, one.name)
            if not math.isfinite(value) or value < least:
                raise RolloutError(
                    f"the limit {one.name} is {value}",
                    hint=f"Take {least} or more: watch_{one.name}.",
                )


def figure_limits(given: Mapping[str, Any]) -> FigureLimits:
    """Limits by name; those that are not given have their defaults.

    :raises RolloutError: there is no such limit, or its value is not a number
    """
    known = {one.name for one in fields(FigureLimits)}
    unknown = sorted(set(given) - known)
    if unknown:
        raise RolloutError(
            f"there is no limit {', '.join(unknown)}", hint=f"The limits are {', '.join(sorted(known))}."
        )
    try:
        return FigureLimits(**{name: float(value) for name, value in given.items()})
    except (TypeError, ValueError) as error:
        raise RolloutError(f"a limit is not a number: {error}", hint="Correct watch_….") from None


@dataclass(frozen=True)
class Reading:
    """What pg_activity_info and host_resources_info returned, each None when it could not be read.

    :ivar at: when, seconds since 1970
    """

    at: float
    database: Mapping[str, Any] | None
    host: Mapping[str, Any] | None


def figures(now: Reading, baseline: Reading, previous: Reading | None) -> dict[str, dict[str, Any] | None]:
    """The figures of a sample, flat under ``database`` and ``host``.

    :param previous: the sample before, for what is counted a minute; None after a gap
    """
    return {
        DATABASE: None if now.database is None else _of_database(now, baseline, previous),
        HOST: None if now.host is None else _of_host(now.host),
    }


def _of_database(now: Reading, baseline: Reading, previous: Reading | None) -> dict[str, Any]:
    seen = now.database or {}
    first = baseline.database or seen
    found = {
        "connections": seen["connections"],
        "connections_max": seen["connections_max"],
        "connections_percent": round(100 * seen["connections"] / seen["connections_max"], 1),
        "waiting_locks": seen["waiting_locks"],
        "lock_wait_s": max((one["seconds"] for one in seen["waits"]), default=0),
        "longest_transaction_s": max((one["seconds"] for one in seen["transactions"]), default=0),
        "idle_in_transaction": seen["idle_in_transaction"],
        "idle_in_transaction_s": max((one["idle_s"] for one in seen["transactions"]), default=0),
        "size": seen["size"],
        **{name: _came(seen, first, name) for name in ("rollbacks", "deadlocks", "temp_bytes")},
        "rollbacks_per_minute": None,
        "temp_mb_per_minute": None,
        "replication_lag_s": seen["replication_lag_s"],
        "hidden_sessions": seen["hidden_sessions"],
    }
    if previous is not None and previous.database is not None:
        # Two in two seconds are no sixty a minute.
        minutes = max(1.0, (now.at - previous.at) / 60)
        found["rollbacks_per_minute"] = round(_came(seen, previous.database, "rollbacks") / minutes, 1)
        found["temp_mb_per_minute"] = round(_came(seen, previous.database, "temp_bytes") / MB / minutes, 1)
    return found


def known(baseline: Reading) -> dict[str, dict[str, Any] | None]:
    """The figures of the baseline.

    It is one moment, so what is counted a minute is the average of all the time since the counters began.
    """
    found = figures(baseline, baseline, None)
    seen = baseline.database
    if seen is not None:
        since = seen["counted_since"] or seen.get("statistics_since") or seen["started"]
        minutes = max(1.0, (baseline.at - since) / 60)
        found[DATABASE] = {
            **(found[DATABASE] or {}),
            "rollbacks_per_minute": round(seen["rollbacks"] / minutes, 1),
            "temp_mb_per_minute": round(seen["temp_bytes"] / MB / minutes, 1),
        }
    return found


def _came(now: Mapping[str, Any], before: Mapping[str, Any], name: str) -> int:
    """What a counter counted meanwhile; all of it when it began anew."""
    if now["counted_since"] != before["counted_since"] or now[name] < before[name]:
        return int(now[name])
    return int(now[name] - before[name])


def _of_host(seen: Mapping[str, Any]) -> dict[str, Any]:
    names = ("cpu_percent", "iowait_percent", "steal_percent", "load1", "mem_available", "mem_total")
    free = [disk["free_bytes"] for disk in seen["disks"] if disk["free_bytes"] is not None]
    return {
        **{name: seen[name] for name in names},
        "load_per_cpu": round(seen["load1"] / seen["cpus"], 2),
        "disk_free": min(free, default=None),
    }


#: Figure, limit of the same name, and what is wrong when it is higher.
_HIGH = (
    (DATABASE, "connections_percent", "{0:g} % of the connections are in use"),
    (DATABASE, "rollbacks_per_minute", "{0:g} transactions a minute were rolled back"),
    (DATABASE, "temp_mb_per_minute", "{0:g} MB a minute went into temporary files"),
    (DATABASE, "replication_lag_s", "the slowest replica lags {0:g} s behind"),
    (HOST, "cpu_percent", "{0:g} % of the CPUs are busy"),
    (HOST, "load_per_cpu", "the load is {0:g} per CPU"),
)
#: The same when it is lower; in MB.
_LOW = (
    (HOST, "mem_available", "mem_available_mb", "{0:g} MB of memory are available"),
    (HOST, "disk_free", "disk_free_mb", "{0:g} MB of disk are free"),
)


def judge(now: Reading, baseline: Reading, previous: Reading | None, limits: FigureLimits) -> list[Finding]:
    """What is worse than it may be."""
    seen, before = figures(now, baseline, previous), known(baseline)
    found = [*_levels(seen, before, limits)]
    if now.database is not None and baseline.database is not None:
        found += _sessions(now.database, now.at - baseline.at, limits)
        found += _since(now.database, baseline.database, seen[DATABASE] or {}, limits)
    return found


def _levels(
    seen: Mapping[str, Mapping[str, Any] | None],
    before: Mapping[str, Mapping[str, Any] | None],
    limits: FigureLimits,
) -> Iterator[Finding]:
    for source, name, text in _HIGH:
        value, usual = _pair(seen, before, source, name)
        allowed = max(getattr(limits, name), limits.worse_factor * usual) if usual else getattr(limits, name)
        if value is not None and value > allowed:
            told = f"{text.format(round(value, 1))}; up to {allowed:g} is allowed{_told(usual)}"
            yield Finding(source, source, name, told)
    for source, name, limit_name, text in _LOW:
        value, usual = _pair(seen, before, source, name)
        allowed = getattr(limits, limit_name)
        if usual is not None:
            allowed = min(allowed, usual / MB / limits.worse_factor)
        if value is not None and value / MB < allowed:
            usual_mb = None if usual is None else usual / MB
            told = f"{text.format(round(value / MB, 1))}; {allowed:.0f} is demanded{_told(usual_mb)}"
            yield Finding(source, source, limit_name, told)


def _pair(
    seen: Mapping[str, Mapping[str, Any] | None],
    before: Mapping[str, Mapping[str, Any] | None],
    source: str,
    name: str,
) -> tuple[Any, Any]:
    now, usual = seen[source], before[source]
    return (None if now is None else now[name]), (None if usual is None else usual[name])


def _told(value: float | None) -> str:
    return "" if value is None else f" ({round(value, 1):g} in the baseline)"


def _sessions(seen: Mapping[str, Any], since_s: float, limits: FigureLimits) -> Iterator[Finding]:
    """Of each kind the one that takes longest; those that were there when the baseline was taken are left out."""
    waits = [one for one in seen["waits"] if limits.lock_wait_s < one["seconds"] < since_s]
    for one in waits[:1]:
        holders = ", ".join(map(str, one["held_by"])) or "nobody any more"
        told = (
            f"{_who(one)} has waited {one['seconds']:.0f} s for a lock on {one['on']}; in the way: {holders}"
        )
        yield Finding(DATABASE, DATABASE, "lock_wait_s", f"{told}; up to {limits.lock_wait_s:g} s is allowed")
    old = [one for one in seen["transactions"] if limits.transaction_s < one["seconds"] < since_s]
    for one in old[:1]:
        told = f"the transaction of {_who(one)} has been open for {one['seconds']:.0f} s"
        yield Finding(
            DATABASE, DATABASE, "transaction_s", f"{told}; up to {limits.transaction_s:g} s is allowed"
        )
    idle = [
        one
        for one in seen["transactions"]
        if one["idle_s"] > limits.idle_in_transaction_s and one["seconds"] < since_s
    ]
    for one in sorted(idle, key=lambda one: -float(one["idle_s"]))[:1]:
        told = f"{_who(one)} has been idle in its transaction for {one['idle_s']:.0f} s"
        allowed = f"up to {limits.idle_in_transaction_s:g} s is allowed"
        yield Finding(DATABASE, DATABASE, "idle_in_transaction_s", f"{told}; {allowed}")


def _who(session: Mapping[str, Any]) -> str:
    return f"backend {session['pid']} ({session['application_name'] or 'unnamed'})"


def _since(
    seen: Mapping[str, Any], first: Mapping[str, Any], counted: Mapping[str, Any], limits: FigureLimits
) -> Iterator[Finding]:
    """What does not go away any more."""
    if seen["started"] != first["started"]:
        yield Finding(
            DATABASE, DATABASE, "restarted", "the server was restarted since the baseline", lasting=True
        )
    elif _recovered(seen, first):
        told = "the server's counters went back since the baseline: it recovered from a crash"
        yield Finding(DATABASE, DATABASE, "crashed", told, lasting=True)
    if counted["deadlocks"] > limits.deadlocks:
        told = f"{counted['deadlocks']} deadlocks since the baseline; up to {limits.deadlocks:g} is allowed"
        yield Finding(DATABASE, DATABASE, "deadlocks", told, lasting=True)
    grown = (seen["size"] - first["size"]) / MB
    if grown > limits.growth_mb:
        told = f"grown by {grown:.0f} MB since the baseline; up to {limits.growth_mb:g} MB is allowed"
        yield Finding(DATABASE, DATABASE, "growth_mb", told, lasting=True)


def _recovered(seen: Mapping[str, Any], first: Mapping[str, Any]) -> bool:
    """Whether the counters were thrown away, which crash recovery does without a new start; nobody reset them then."""
    if seen["counted_since"] != first["counted_since"]:
        return seen["counted_since"] is None
    return any(seen[name] < first[name] for name in ("commits", "rollbacks", "deadlocks", "temp_bytes"))
