"""What PM2's answer says about the services: parsing by whitelist, judgement, and comparison of two readings. Pure.

PM2's answer holds the whole environment of every process, secrets included, and twice: below ``pm2_env.env`` and
spread over ``pm2_env``. :func:`parse_processes` is the only place that sees it. Because a service's own variable can
take the place of a field of the same name, free text is taken from no field but a name and paths; everything else
becomes a number, a truth value or a word of a fixed list.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ansible.module_utils.rollout.errors import RolloutError

#: PM2's own words, from its constants.js; the same in 5, 6 and 7.
STATUSES = (
    "online",
    "launching",
    "stopping",
    "stopped",
    "errored",
    "waiting restart",
    "one-launch-status",
)

#: Between a crash and the next start, and between the start of a process and its first event.
RESTARTING = ("launching", "waiting restart")

#: A process that came back from a crash less than this long ago counts as restarting, milliseconds.
SETTLED_MS = 30_000

#: PM2 sets created_at when it starts a service on request, pm_uptime at each start, also the one after a crash. On
#: request they are up to a few hundred milliseconds apart (measured: 0 to 125).
CRASH_GAP_MS = 1_000

#: Files that PM2 and Node treat as no log.
DISCARDED = ("/dev/null", "NULL")


class UnexpectedAnswer(RolloutError):
    """The daemon's answer does not have the shape of PM2 5, 6 or 7. Never quotes the answer: it holds secrets."""


@dataclass(frozen=True)
class Process:
    """One entry of PM2's list; a service has one per instance.

    :ivar pm_id: PM2's number; text, because a reload calls the old instance ``_old_3``
    :ivar pid: 0 when there is no process
    :ivar status: one of STATUSES, or ``unknown``
    :ivar restarts: since PM2 knows the service; grows at each crash, too
    :ivar started_ms: start of this process, milliseconds since the epoch
    :ivar created_ms: last start on request; 0 after PM2 gave up
    :ivar memory: bytes
    :ivar cpu: percent of one core
    :ivar instances: as configured; ``pm2 scale`` does not change it
    :ivar script: path of what is run, only to tell two services of one name apart
    :ivar logs: stream (``out``, ``err``) to absolute path, None where PM2 writes none
    :ivar uid: owner of the process, from /proc; None when that is not known
    :ivar alive: whether the process exists; None when that is not known
    """

    name: str
    pm_id: str
    pid: int
    status: str
    restarts: int
    started_ms: int
    created_ms: int
    memory: int
    cpu: float
    instances: int
    cluster: bool
    autorestart: bool
    cron: bool
    is_module: bool
    script: str
    logs: Mapping[str, str | None]
    uid: int | None = None
    alive: bool | None = None

    @property
    def scheduled(self) -> bool:
        """Whether being stopped is normal between two runs."""
        return self.cron or not self.autorestart


@dataclass(frozen=True)
class Problem:
    """Something that is not as it should be.

    :ivar code: missing, duplicated, not_online, restarting, process_gone, other_user, mixed_users
    :ivar text: for people
    """

    service: str
    code: str
    text: str


@dataclass(frozen=True)
class Change:
    """A difference between two readings.

    :ivar code: daemon_replaced, vanished, appeared, restarted, started_again, pid_changed, status_changed
    :ivar expected: whether the service's schedule explains it
    """

    service: str
    code: str
    text: str
    expected: bool = False


@dataclass(frozen=True)
class Service:
    """A service, all of its instances together.

    :ivar state: online, idle (stopped between two scheduled runs), restarting, down or missing
    :ivar uptime: seconds since the youngest instance started; None when none runs
    :ivar memory: bytes, all instances
    :ivar cpu: percent of one core, all instances
    """

    name: str
    state: str
    instances: int
    configured: int
    pids: tuple[int, ...]
    restarts: int
    uptime: float | None
    memory: int
    cpu: float
    cron: bool
    autorestart: bool
    logs: tuple[Mapping[str, Any], ...]
    processes: tuple[Process, ...] = field(repr=False)
    problems: tuple[Problem, ...] = ()

    @property
    def online(self) -> bool:
        """Whether every instance is online and none is on its way back from a crash."""
        return self.state == "online"


def parse_processes(answer: bytes) -> list[Process]:
    """Take the whitelisted fields from the answer to getMonitorData.

    :param answer: JSON, as the daemon sent it: ``{"args": [[process, …]]}``
    :raises UnexpectedAnswer: the daemon reported an error, or the shape is another one
    """
    problem = None
    try:
        (entries,) = json.loads(answer)["args"]
        return [_process(entry) for entry in entries]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        # Neither the error's text nor the error itself goes further: both may hold a piece of the answer.
        problem = type(error).__name__
    raise UnexpectedAnswer(
        f"PM2's list of processes cannot be read ({problem})",
        hint="This reads the answers of PM2 5, 6 and 7. The daemon's own view is in pm2.log in its home.",
        details={"reason": "unexpected_answer"},
    )


def _process(entry: Mapping[str, Any]) -> Process:
    env, monit = entry["pm2_env"], entry.get("monit") or {}
    folder = _text(env.get("pm_cwd"))
    return Process(
        name=_required_text(entry["name"]),
        pm_id=str(_required(entry["pm_id"])),
        pid=_whole(entry.get("pid")),
        status=env["status"] if env["status"] in STATUSES else "unknown",
        restarts=_whole(env.get("restart_time")),
        started_ms=_whole(env.get("pm_uptime")),
        created_ms=_whole(env.get("created_at")),
        memory=_whole(monit.get("memory")),
        cpu=_number(monit.get("cpu")),
        instances=max(1, _whole(env.get("instances"))),
        cluster=env.get("exec_mode") in ("cluster_mode", "cluster"),
        autorestart=_truth(env.get("autorestart"), default=True),
        # A schedule of "0" switches it off (pm2 restart --cron-restart 0).
        cron=str(env.get("cron_restart") or "0") != "0",
        is_module=_truth(env.get("pmx_module"), default=False),
        script=_text(env.get("pm_exec_path")),
        logs={
            stream: _log_path(_text(env.get(f"pm_{stream}_log_path")), folder) for stream in ("out", "err")
        },
    )


def _required(value: Any) -> int | str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError
    return value


def _required_text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def _whole(value: Any) -> int:
    """A number, also where a variable of the same name has made text of it; 0 for anything else."""
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    return int(_number(value))


def _truth(value: Any, *, default: bool) -> bool:
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(value, default) if isinstance(value, str) else default


def _log_path(path: str, folder: str) -> str | None:
    """Resolve a log's path as the daemon does: relative to the service's folder; None for no log."""
    if not path or path in DISCARDED:
        return None
    return posixpath.normpath(posixpath.join(folder, path))


def judge(
    processes: Sequence[Process], wanted: Iterable[str], *, now_ms: int, user: tuple[int, str] | None = None
) -> dict[str, Service]:
    """Judge the wanted services by one reading.

    A crash loop may look healthy in one reading; :func:`compare` two for certainty.

    :param wanted: names; a name without a process is reported as missing
    :param now_ms: milliseconds since the epoch, by the clock of the daemon's machine
    :param user: uid and name that the services have to run as; None: any one, but the same for all instances
    """
    writers = _writers(processes)
    return {
        name: _judge_one(name, [one for one in processes if one.name == name], writers, now_ms, user)
        for name in wanted
    }


def _writers(processes: Iterable[Process]) -> dict[str, set[str]]:
    """Names of the services that write to each log."""
    found: dict[str, set[str]] = {}
    for process in processes:
        for path in process.logs.values():
            if path is not None:
                found.setdefault(path, set()).add(process.name)
    return found


def _judge_one(
    name: str,
    processes: list[Process],
    writers: Mapping[str, set[str]],
    now_ms: int,
    user: tuple[int, str] | None,
) -> Service:
    problems = [
        Problem(name, code, text)
        for code, text in (
            _missing(processes),
            _duplicated(processes),
            _restarting(processes, now_ms),
            _not_online(processes),
            _process_gone(processes),
            _wrong_user(processes, user),
        )
        if text
    ]
    running = [one for one in processes if one.pid]
    return Service(
        name=name,
        state=_state(processes, {problem.code for problem in problems}),
        instances=len(processes),
        configured=max((one.instances for one in processes), default=0),
        pids=tuple(one.pid for one in running),
        restarts=sum(one.restarts for one in processes),
        uptime=min((max(0, now_ms - one.started_ms) / 1000 for one in running), default=None),
        memory=sum(one.memory for one in processes),
        cpu=round(sum(one.cpu for one in processes), 1),
        cron=any(one.cron for one in processes),
        autorestart=all(one.autorestart for one in processes),
        logs=_logs(name, processes, writers),
        processes=tuple(processes),
        problems=tuple(problems),
    )


def _state(processes: list[Process], codes: set[str]) -> str:
    if "missing" in codes:
        return "missing"
    if "restarting" in codes:
        return "restarting"
    if codes & {"not_online", "process_gone"}:
        return "down"
    return "idle" if any(one.status == "stopped" for one in processes) else "online"


def _missing(processes: list[Process]) -> tuple[str, str]:
    return "missing", "" if processes else "PM2 knows no service of this name"


def _duplicated(processes: list[Process]) -> tuple[str, str]:
    """Two services of one name. More instances of one cluster are none: pm2 scale leaves ``instances`` as it was."""
    kinds = {(one.script, one.cluster) for one in processes}
    configured = max((one.instances for one in processes), default=0)
    surplus = not all(one.cluster for one in processes) and len(processes) > configured
    if len(kinds) < 2 and not surplus:
        return "duplicated", ""
    ids = ", ".join(one.pm_id for one in processes)
    return (
        "duplicated",
        f"started {len(processes)} times under this name, not as instances of one (ids {ids})",
    )


def _restarting(processes: list[Process], now_ms: int) -> tuple[str, str]:
    said = []
    for one in processes:
        age = now_ms - one.started_ms
        if one.status in RESTARTING:
            said.append(f"id {one.pm_id}: {one.status}, {one.restarts} restarts")
        elif (
            one.status == "online"
            and one.created_ms
            and one.started_ms - one.created_ms > CRASH_GAP_MS
            and age < SETTLED_MS
        ):
            said.append(
                f"id {one.pm_id}: back from a crash {max(0, age) / 1000:.1f} s ago, {one.restarts} restarts"
            )
    return "restarting", "; ".join(said)


def _not_online(processes: list[Process]) -> tuple[str, str]:
    bad = [
        one
        for one in processes
        if one.status not in ("online", *RESTARTING) and not (one.status == "stopped" and one.scheduled)
    ]
    return "not_online", "; ".join(f"id {one.pm_id}: {one.status}, {one.restarts} restarts" for one in bad)


def _process_gone(processes: list[Process]) -> tuple[str, str]:
    bad = [one for one in processes if one.status == "online" and (one.alive is False or not one.pid)]
    return "process_gone", "; ".join(
        f"id {one.pm_id}: online for PM2, but there is no process {one.pid}" for one in bad
    )


def _wrong_user(processes: list[Process], user: tuple[int, str] | None) -> tuple[str, str]:
    owners = {one.uid for one in processes if one.uid is not None}
    if user is not None and owners - {user[0]}:
        others = ", ".join(f"uid {uid}" for uid in sorted(owners - {user[0]}))
        return "other_user", f"runs as {others}, not as {user[1]} (uid {user[0]})"
    if len(owners) > 1:
        return "mixed_users", "its instances run as different users: " + ", ".join(
            f"uid {uid}" for uid in sorted(owners)
        )
    return "other_user", ""


def _logs(
    name: str, processes: Iterable[Process], writers: Mapping[str, set[str]]
) -> tuple[Mapping[str, Any], ...]:
    streams: dict[str, list[str]] = {}
    for process in processes:
        for stream, path in process.logs.items():
            if path is not None and stream not in streams.setdefault(path, []):
                streams[path].append(stream)
    return tuple(
        {"path": path, "streams": sorted(seen), "shared_with": sorted(writers.get(path, set()) - {name})}
        for path, seen in streams.items()
    )


def reading(processes: Iterable[Process], daemon_pid: int) -> dict[str, Any]:
    """What :func:`compare` needs of a reading, JSON-compatible: numbers, words and names, no paths.

    :param daemon_pid: 0 when it is not known
    """
    services: dict[str, dict[str, Any]] = {}
    for one in processes:
        services.setdefault(one.name, {})[one.pm_id] = {
            "pid": one.pid,
            "status": one.status,
            "restarts": one.restarts,
            "started_ms": one.started_ms,
            "created_ms": one.created_ms,
            "cron": one.cron,
        }
    return {"daemon_pid": daemon_pid, "services": services}


def compare(baseline: Mapping[str, Any], now: Mapping[str, Any], wanted: Iterable[str]) -> list[Change]:
    """What happened to the wanted services between two readings.

    A crash and its restart show in three ways, each of which alone is enough: the pid, the counter of restarts and
    the start time. The counter alone would miss ``pm2 delete`` and ``pm2 reset``, the pid alone a reuse of it.

    :param baseline: earlier :func:`reading`
    :param now: later :func:`reading` of the same home
    :raises RolloutError: one of them is not a reading
    """
    _require_reading(baseline, "baseline")
    _require_reading(now, "now")
    changes = []
    pids = baseline["daemon_pid"], now["daemon_pid"]
    if all(pids) and pids[0] != pids[1]:
        changes.append(
            Change("", "daemon_replaced", f"PM2's daemon is another process: pid {pids[0]}, now {pids[1]}")
        )
    for name in wanted:
        before, after = baseline["services"].get(name, {}), now["services"].get(name, {})
        for pm_id in sorted({*before, *after}):
            changes += _compare_instance(name, pm_id, before.get(pm_id), after.get(pm_id))
    return changes


def _compare_instance(
    name: str, pm_id: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
) -> list[Change]:
    if before is None:
        return [Change(name, "appeared", f"id {pm_id} is new")]
    if after is None:
        return [
            Change(name, "vanished", f"id {pm_id} is gone; it was {before['status']}, pid {before['pid']}")
        ]
    changes = []
    # A service under cron comes and goes, and its counter grows each time. A start by cron sets created_ms anew, one
    # after a crash does not: a crash loop is not excused. Nor is a service that merely is not restarted when it dies.
    crashed = after["started_ms"] - after["created_ms"] > CRASH_GAP_MS
    expected = after["cron"] and not crashed and after["status"] not in ("errored", "waiting restart")

    def add(code: str, text: str) -> None:
        changes.append(Change(name, code, f"id {pm_id}: {text}", expected))

    if after["restarts"] != before["restarts"]:
        add("restarted", f"{before['restarts']} restarts, now {after['restarts']}")
    if after["started_ms"] != before["started_ms"]:
        later = (after["started_ms"] - before["started_ms"]) / 1000
        add("started_again", f"started again, {later:.1f} s after the start seen before")
    if after["pid"] != before["pid"]:
        add("pid_changed", f"pid {before['pid']}, now {after['pid']}")
    if after["status"] != before["status"]:
        add("status_changed", f"{before['status']}, now {after['status']}")
    return changes


def _require_reading(value: Mapping[str, Any], place: str) -> None:
    keys = {"pid": int, "status": str, "restarts": int, "started_ms": int, "created_ms": int, "cron": bool}
    try:
        good = isinstance(value["daemon_pid"], int) and all(
            isinstance(instance[key], kind)
            for instances in value["services"].values()
            for instance in instances.values()
            for key, kind in keys.items()
        )
    except (KeyError, TypeError, AttributeError):
        good = False
    if not good:
        raise RolloutError(
            f"{place} is not a reading of PM2",
            hint="Pass the value that pm2_info returned as 'reading', unchanged.",
            details={"reason": "bad_baseline"},
        )


def as_result(service: Service) -> dict[str, Any]:
    """The service for a module's result. Without the script's path, which only serves to find duplicates."""
    processes = [
        {
            "pm_id": one.pm_id,
            "pid": one.pid,
            "status": one.status,
            "restarts": one.restarts,
            "started_ms": one.started_ms,
            "memory": one.memory,
            "cpu": one.cpu,
            "uid": one.uid,
        }
        for one in service.processes
    ]
    return {
        "state": service.state,
        "online": service.online,
        "instances": service.instances,
        "configured_instances": service.configured,
        "pids": list(service.pids),
        "restarts": service.restarts,
        "uptime": service.uptime,
        "memory": service.memory,
        "cpu": service.cpu,
        "cron": service.cron,
        "autorestart": service.autorestart,
        "logs": [dict(log) for log in service.logs],
        "processes": processes,
        "problems": [asdict(problem) for problem in service.problems],
    }
