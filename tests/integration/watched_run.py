"""Runs that are watched: quick settings, and what was recorded so far."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.integration.rollout_project import RolloutProject
from tests.waiting import until

#: Longest wait for a run to get to where it is meddled with, seconds.
PATIENCE_S = 240.0
#: Five samples in 1.2 s. Whatever else this machine does is nothing to find here.
QUICK: dict[str, Any] = {
    "watch_enabled": True,
    "watch_minutes": 0.02,
    "watch_interval_minutes": 0.005,
    "watch_recheck_seconds": 0.2,
    "watch_cpu_window_seconds": 0.1,
    "watch_cpu_percent": 100,
    "watch_load_per_cpu": 1000,
    "watch_mem_available_mb": 1,
    "watch_disk_free_mb": 1,
    "watch_disk_paths": ["/"],
}
#: Goes on until something is red.
PATIENT = {**QUICK, "watch_minutes": 3}


def watched(project: RolloutProject) -> dict[str, Any]:
    """What the latest run recorded of its watch so far."""
    try:
        found: dict[str, Any] = project.report()["hosts"]["app"]["sections"]["watch"]
    except (FileNotFoundError, KeyError):
        return {}
    return found


def samples(project: RolloutProject) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = watched(project).get("samples", [])
    return found


@contextmanager
def during_the_watch(project: RolloutProject, act: Callable[[], object]) -> Iterator[None]:
    """While the block runs: when the first sample is recorded, act."""
    failures: list[BaseException] = []

    def meddle() -> None:
        try:
            until(lambda: samples(project), "nothing is watched", PATIENCE_S)
            act()
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=meddle)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    assert not failures, failures
