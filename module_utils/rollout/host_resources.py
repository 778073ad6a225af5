"""What a host has and uses: CPU, load, memory, disks. Facts from /proc, no judgement."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.precheck_host_reading import free_space

#: Shortest window that says something: the kernel counts in hundredths of a second.
SHORTEST_WINDOW_S = 0.1
#: Columns of /proc/stat's first line that are used, in its order. Guests' time is counted in user and nice already.
_COLUMNS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_MEMORY = re.compile(r"^(\w+): +(\d+) kB$", re.MULTILINE)
#: Where a container's memory limit, its use, and the name of the cache in it stand: cgroup 2, then cgroup 1.
_CGROUPS = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        "total_inactive_file",
    ),
)


def read(
    paths: Sequence[str],
    window_s: float,
    since: Mapping[str, int] | None = None,
    *,
    proc: Path = Path("/proc"),
    cgroup: Path = Path("/sys/fs/cgroup"),
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """The host's resources.

    :param paths: whose file systems are measured
    :param window_s: time over which CPU is measured, seconds
    :param since: ``counters`` of an earlier reading: CPU is measured from then on, without waiting. Those of before a
        restart of the host are not used.
    :returns: JSON-compatible; sizes in bytes, shares in percent of all CPUs
    :raises RolloutError: not Linux, or /proc is not readable
    """
    if window_s < SHORTEST_WINDOW_S:
        raise RolloutError(
            f"CPU cannot be measured over {window_s:g} s",
            hint=f"Take {SHORTEST_WINDOW_S:g} s at least.",
            details={"reason": "bad_argument"},
        )
    cpus, now = _counters(proc)
    before = dict(since or {})
    if not _measures(before, now, cpus):
        before = now
        sleep(window_s)
        cpus, now = _counters(proc)
    load = _text(proc / "loadavg").split()
    return {
        "cpus": cpus,
        **_shares(before, now, cpus, proc),
        "load1": float(load[0]),
        "load5": float(load[1]),
        "load15": float(load[2]),
        **_memory(proc, cgroup),
        "disks": [free_space(path) for path in paths],
        "counters": now,
    }


def _counters(proc: Path) -> tuple[int, dict[str, int]]:
    """Number of CPUs, and the time that all of them spent since the host started, in ticks by column."""
    lines = _text(proc / "stat").splitlines()
    total = lines[0].split() if lines else []
    if total[:1] != ["cpu"] or len(total) <= len(_COLUMNS):
        raise _unreadable(proc / "stat", "its first line is not that of all CPUs")
    cpus = sum(line.startswith("cpu") for line in lines) - 1
    return cpus, dict(zip(_COLUMNS, map(int, total[1:]), strict=False))


def _measures(before: Mapping[str, int], now: Mapping[str, int], cpus: int) -> bool:
    """Whether an earlier reading is of the same boot, and long enough ago."""
    if set(before) != set(_COLUMNS):
        return False
    # The kernel lets idle and iowait go back by a little, so they do not tell of a restart.
    same_boot = all(now[name] >= before[name] for name in ("user", "system", "softirq"))
    return same_boot and _seconds(sum(now.values()) - sum(before.values()), cpus) >= SHORTEST_WINDOW_S


def _seconds(ticks: int, cpus: int) -> float:
    return ticks / cpus / os.sysconf("SC_CLK_TCK")


def _shares(before: Mapping[str, int], now: Mapping[str, int], cpus: int, proc: Path) -> dict[str, float]:
    spent = {name: max(0, now[name] - before[name]) for name in _COLUMNS}
    passed = sum(spent.values())
    if not passed:
        raise _unreadable(proc / "stat", "its counters stand still, so that CPU cannot be measured")
    idle = spent["idle"] + spent["iowait"]
    return {
        # What another guest of the same machine took is not there to be used.
        "cpu_percent": round(100 * (passed - idle) / passed, 1),
        "iowait_percent": round(100 * spent["iowait"] / passed, 1),
        "steal_percent": round(100 * spent["steal"] / passed, 1),
        "measured_s": round(_seconds(passed, cpus), 2),
    }


def _memory(proc: Path, cgroup: Path) -> dict[str, Any]:
    found = {name: int(kilobytes) * 1024 for name, kilobytes in _MEMORY.findall(_text(proc / "meminfo"))}
    missing = [name for name in ("MemTotal", "MemAvailable") if name not in found]
    if missing:
        raise _unreadable(proc / "meminfo", f"it has no {' and no '.join(missing)}")
    total, available, limited = found["MemTotal"], found["MemAvailable"], False
    for limit_name, used_name, details_name, cache_name in _CGROUPS:
        limit = _number(cgroup / limit_name)
        used = _number(cgroup / used_name)
        if limit is None or used is None or limit >= total:
            continue
        cache = re.search(rf"^{cache_name} (\d+)$", _text(cgroup / details_name), re.MULTILINE)
        left = max(0, limit - used + (int(cache[1]) if cache else 0))
        total, available, limited = limit, min(available, left), True
    return {
        "mem_total": total,
        "mem_available": available,
        "mem_limited": limited,
        "swap_used": found.get("SwapTotal", 0) - found.get("SwapFree", 0),
    }


def _number(path: Path) -> int | None:
    """A number in a file of its own; None where there is none, or the word max."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from None


def _unreadable(path: Path, why: str) -> RolloutError:
    return RolloutError(
        f"the host's resources cannot be read: {path}: {why}",
        hint="They are read from /proc of a Linux host. A container needs its own /proc, readable for this login.",
        details={"reason": "no_proc"},
    )
