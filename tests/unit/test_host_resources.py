"""The host's resources: what is counted as what, limits of containers, and what cannot be read. Invented /proc."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.rollout import host_resources
from ansible.module_utils.rollout.errors import RolloutError

from tests.integration.module_run import documented, run

KB, MB = 1024, 1024 * 1024
TICKS = os.sysconf("SC_CLK_TCK")
#: user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice
QUIET = (1000, 10, 500, 90_000, 300, 0, 40, 20, 700, 0)


class Host:
    """An invented host with two CPUs.

    :ivar window: ticks that pass while CPU is measured, by column
    """

    def __init__(self, folder: Path) -> None:
        self.proc, self.cgroup = folder / "proc", folder / "cgroup"
        self.proc.mkdir()
        self.cgroup.mkdir()
        self.ticks = list(QUIET)
        self.window: tuple[int, ...] = (0, 0, 0, 200, 0, 0, 0, 0, 0, 0)
        self.slept: list[float] = []
        self.spend()
        (self.proc / "loadavg").write_text("1.50 0.75 0.25 2/250 4711\n")
        self.meminfo(
            MemTotal=8_000_000, MemFree=100_000, MemAvailable=2_000_000, SwapTotal=1000, SwapFree=400
        )

    def spend(self, *ticks: int) -> None:
        self.ticks = [had + more for had, more in zip(self.ticks, ticks or [0] * 10, strict=True)]
        half = " ".join(str(one // 2) for one in self.ticks)
        whole = " ".join(map(str, self.ticks))
        (self.proc / "stat").write_text(f"cpu  {whole}\ncpu0 {half}\ncpu1 {half}\nintr 5 0 0\nctxt 7\n")

    def meminfo(self, **kilobytes: int) -> None:
        (self.proc / "meminfo").write_text("".join(f"{name}: {kb:9} kB\n" for name, kb in kilobytes.items()))

    def limit(self, **files: str) -> None:
        for name, text in files.items():
            path = self.cgroup / name.replace("__", "/").replace("_DOT_", ".")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text + "\n")

    def read(self, *paths: str, window: float = 1, since: Any = None) -> dict[str, Any]:
        def sleep(seconds: float) -> None:
            self.slept.append(seconds)
            self.spend(*self.window)

        return host_resources.read(paths, window, since, proc=self.proc, cgroup=self.cgroup, sleep=sleep)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_shares_of_the_window(host: Host) -> None:
    #               user nice sys idle iowait irq soft steal guest
    host.window = (40, 10, 20, 80, 30, 4, 6, 10, 40, 0)
    found = host.read(window=1)
    assert (found["cpu_percent"], found["iowait_percent"], found["steal_percent"]) == (45.0, 15.0, 5.0)
    assert (found["cpus"], found["measured_s"], host.slept) == (2, round(100 / TICKS, 2), [1])
    assert (found["load1"], found["load5"], found["load15"]) == (1.5, 0.75, 0.25)


@pytest.mark.parametrize(
    ("window", "percent"),
    [
        ((0, 0, 0, 200, 0, 0, 0, 0, 0, 0), 0.0),
        ((0, 0, 0, 0, 200, 0, 0, 0, 0, 0), 0.0),
        ((200, 0, 0, 0, 0, 0, 0, 0, 0, 0), 100.0),
        ((0, 0, 0, 100, 0, 0, 0, 100, 0, 0), 50.0),
        # The kernel lets idle and iowait go back by a little.
        ((50, 0, 0, 150, -1, 0, 0, 0, 0, 0), 25.0),
    ],
)
def test_idle_and_waiting_for_a_disk_is_not_busy_and_stolen_is(
    host: Host, window: tuple[int, ...], percent: float
) -> None:
    host.window = window
    assert host.read()["cpu_percent"] == percent


def test_since_an_earlier_reading_nobody_waits(host: Host) -> None:
    before = host.read()
    host.spend(300 * TICKS, 0, 0, 900 * TICKS, 0, 0, 0, 0, 0, 0)
    found = host.read(since=before["counters"])
    assert (found["cpu_percent"], found["measured_s"], host.slept) == (25.0, 600.0, [1])


@pytest.mark.parametrize("what", ["restarted", "just now", "not counters"])
def test_a_reading_that_is_of_no_use_is_not_used(host: Host, what: str) -> None:
    before = host.read()["counters"]
    if what == "restarted":
        before = {name: value + 5 for name, value in before.items()}
        host.spend(0, 0, 0, 5000, 0, 0, 0, 0, 0, 0)
    elif what == "not counters":
        before.pop("steal")
        host.spend(0, 0, 0, 5000, 0, 0, 0, 0, 0, 0)
    host.window = (100, 0, 0, 100, 0, 0, 0, 0, 0, 0)
    found = host.read(since=before)
    assert (found["cpu_percent"], len(host.slept)) == (50.0, 2)


def test_memory_of_the_machine(host: Host) -> None:
    found = host.read()
    assert (found["mem_total"], found["mem_available"]) == (8_000_000 * KB, 2_000_000 * KB)
    assert (found["mem_limited"], found["swap_used"]) == (False, 600 * KB)


@pytest.mark.parametrize(
    "files",
    [
        {
            "memory_DOT_max": str(512 * MB),
            "memory_DOT_current": str(400 * MB),
            "memory_DOT_stat": f"anon 1\ninactive_file {100 * MB}\nactive_file 5",
        },
        {
            "memory__memory_DOT_limit_in_bytes": str(512 * MB),
            "memory__memory_DOT_usage_in_bytes": str(400 * MB),
            "memory__memory_DOT_stat": f"inactive_file 7\ntotal_inactive_file {100 * MB}",
        },
    ],
    ids=["cgroup 2", "cgroup 1"],
)
def test_memory_of_a_container_is_its_own(host: Host, files: dict[str, str]) -> None:
    host.limit(**files)
    found = host.read()
    assert (found["mem_total"], found["mem_available"], found["mem_limited"]) == (512 * MB, 212 * MB, True)
    # What the machine does not have, a container cannot get either.
    host.meminfo(MemTotal=8_000_000, MemAvailable=1000)
    assert host.read()["mem_available"] == 1000 * KB


@pytest.mark.parametrize("limit", ["max", str(9_223_372_036_854_771_712)])
def test_a_container_without_a_limit_has_the_machines_memory(host: Host, limit: str) -> None:
    host.limit(memory_DOT_max=limit, memory_DOT_current="5", memory_DOT_stat="inactive_file 1")
    assert host.read()["mem_limited"] is False


def test_disks_are_measured_where_the_path_is_or_will_be(host: Host, tmp_path: Path) -> None:
    there, missing = host.read(str(tmp_path), str(tmp_path / "not/yet"))["disks"]
    for disk in (there, missing):
        assert disk["measured"] == str(tmp_path)
        assert 0 < disk["free_bytes"] <= shutil.disk_usage(tmp_path).total
        assert disk["error"] == ""


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda host: (host.proc / "stat").unlink(), "stat: No such file or directory"),
        (lambda host: (host.proc / "stat").write_text("intr 5\n"), "its first line is not that of all CPUs"),
        (lambda host: (host.proc / "stat").write_text(""), "its first line is not that of all CPUs"),
        (lambda host: host.meminfo(MemTotal=5), "it has no MemAvailable"),
        (lambda host: (host.proc / "loadavg").unlink(), "loadavg: No such file or directory"),
        (lambda host: setattr(host, "window", (0,) * 10), "its counters stand still"),
    ],
)
def test_what_cannot_be_read_is_named(host: Host, damage: Callable[[Host], object], told: str) -> None:
    damage(host)
    with pytest.raises(RolloutError) as failure:
        host.read()
    assert told in str(failure.value)
    assert "Linux" in failure.value.hint
    assert failure.value.details == {"reason": "no_proc"}


def test_a_window_that_says_nothing_is_refused(host: Host) -> None:
    with pytest.raises(RolloutError, match=r"over 0.05 s\nTake 0.1 s at least"):
        host.read(window=0.05)


# --- the module, on this machine


@pytest.fixture
def one_cpu_at_work() -> Iterator[None]:
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        busy.kill()
        busy.wait()


def test_the_module_reads_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    result = run("host_resources_info", capsys, paths=["/"], window=0.1)
    assert set(result) == (documented("host_resources_info") - {"details"}) | {"changed", "invocation"}
    found = result["host"]
    assert found["cpus"] == os.cpu_count()
    assert 0 <= found["cpu_percent"] <= 100
    assert 0 < found["mem_available"] < found["mem_total"]
    assert run("host_resources_info", capsys, window=0)["details"]["reason"] == "bad_argument"


def test_a_cpu_at_work_is_seen(capsys: pytest.CaptureFixture[str], one_cpu_at_work: None) -> None:
    found = run("host_resources_info", capsys, window=0.5)["host"]
    # Whatever else runs here, one CPU is not idle.
    assert found["cpu_percent"] >= 0.7 * 100 / found["cpus"]
