"""Figures of the database and the host: each limit turns red, and what was bad before does not."""

from dataclasses import fields
from typing import Any

import pytest
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.gate import Finding
from ansible.module_utils.rollout.watch_figures import (
    MB,
    FigureLimits,
    Reading,
    figure_limits,
    figures,
    judge,
)

LIMITS = FigureLimits()
START = 1_000_000.0
#: Of a database that does nothing.
QUIET: dict[str, Any] = {
    "started": 900_000.0,
    "size": 100 * MB,
    "commits": 1000,
    "rollbacks": 50,
    "deadlocks": 3,
    "temp_bytes": 10 * MB,
    "counted_since": None,
    "statistics_since": START - 60 * 10_000,
    "connections": 20,
    "connections_max": 97,
    "connections_database": 20,
    "hidden_sessions": 0,
    "idle_in_transaction": 0,
    "transactions": [],
    "waiting_locks": 0,
    "waits": [],
    "replicas": 0,
    "replication_lag_s": None,
}
CALM: dict[str, Any] = {
    "cpus": 2,
    "cpu_percent": 20.0,
    "iowait_percent": 1.0,
    "steal_percent": 0.0,
    "load1": 0.5,
    "mem_available": 600 * MB,
    "mem_total": 1000 * MB,
    "disks": [{"path": "/", "free_bytes": 4000 * MB, "error": ""}],
}


def reading(at: float, host: Any = None, **database: Any) -> Reading:
    return Reading(START + at, {**QUIET, **database}, {**CALM, **(host or {})})


def wait(seconds: float) -> list[dict[str, Any]]:
    return [
        {
            "pid": 11,
            "application_name": "api",
            "seconds": seconds,
            "mode": "ShareLock",
            "on": "bookings",
            "held_by": [7, 9],
        }
    ]


def transaction(seconds: float, idle_s: float = 0) -> list[dict[str, Any]]:
    return [{"pid": 7, "application_name": "", "state": "active", "seconds": seconds, "idle_s": idle_s}]


def found(now: Reading, baseline: Reading | None = None, previous: Reading | None = None) -> list[Finding]:
    return judge(now, baseline or reading(0), previous or reading(300), LIMITS)


#: A second reading ten minutes after the baseline and five after the sample before; the text of what is found, and
#: whether it is found at once.
BAD: dict[str, tuple[Reading, str, bool]] = {
    "connections_percent": (
        reading(600, connections=78),
        "80.4 % of the connections are in use; up to 80 is allowed (20.6 in the baseline)",
        False,
    ),
    "lock_wait_s": (
        reading(600, waits=wait(10.5)),
        "backend 11 (api) has waited 10 s for a lock on bookings; in the way: 7, 9; up to 10 s is allowed",
        False,
    ),
    "transaction_s": (
        reading(600, transactions=transaction(301)),
        "the transaction of backend 7 (unnamed) has been open for 301 s; up to 300 s is allowed",
        False,
    ),
    "idle_in_transaction_s": (
        reading(600, transactions=transaction(200, idle_s=121)),
        "backend 7 (unnamed) has been idle in its transaction for 121 s; up to 120 s is allowed",
        False,
    ),
    "deadlocks": (
        reading(600, deadlocks=6),
        "3 deadlocks since the baseline; up to 2 is allowed",
        True,
    ),
    "rollbacks_per_minute": (
        reading(600, rollbacks=50 + 301),
        "60.2 transactions a minute were rolled back; up to 60 is allowed (0 in the baseline)",
        False,
    ),
    "temp_mb_per_minute": (
        reading(600, temp_bytes=1015 * MB),
        "201 MB a minute went into temporary files; up to 200 is allowed (0 in the baseline)",
        False,
    ),
    "growth_mb": (
        reading(600, size=601 * MB),
        "grown by 501 MB since the baseline; up to 500 MB is allowed",
        True,
    ),
    "replication_lag_s": (
        reading(600, replication_lag_s=60.5),
        "the slowest replica lags 60.5 s behind; up to 60 is allowed",
        False,
    ),
    "restarted": (
        reading(600, started=999_999.0),
        "the server was restarted since the baseline",
        True,
    ),
    "crashed": (
        reading(600, commits=999),
        "the server's counters went back since the baseline: it recovered from a crash",
        True,
    ),
    "cpu_percent": (
        reading(600, {"cpu_percent": 90.1}),
        "90.1 % of the CPUs are busy; up to 90 is allowed (20 in the baseline)",
        False,
    ),
    "load_per_cpu": (
        reading(600, {"load1": 8.2}),
        "the load is 4.1 per CPU; up to 4 is allowed (0.2 in the baseline)",
        False,
    ),
    "mem_available_mb": (
        reading(600, {"mem_available": 99 * MB}),
        "99 MB of memory are available; 100 is demanded (600 in the baseline)",
        False,
    ),
    "disk_free_mb": (
        reading(600, {"disks": [*CALM["disks"], {"path": "/var", "free_bytes": 499 * MB, "error": ""}]}),
        "499 MB of disk are free; 500 is demanded (4000 in the baseline)",
        False,
    ),
}


@pytest.mark.parametrize("code", BAD)
def test_each_limit_turns_red(code: str) -> None:
    now, text, lasting = BAD[code]
    (finding,) = found(now)
    assert (finding.code, finding.text, finding.lasting) == (code, text, lasting)
    assert finding.source == finding.subject == ("host" if code in HOST_LIMITS else "database")


HOST_LIMITS = {"cpu_percent", "load_per_cpu", "mem_available_mb", "disk_free_mb"}


def test_every_limit_is_tried() -> None:
    limits = {one.name for one in fields(FigureLimits)} - {"worse_factor"}
    assert set(BAD) == limits | {"restarted", "crashed"}


def test_what_is_as_it_was_is_well() -> None:
    """The control: nothing is found in a reading that did not get worse."""
    assert found(reading(600)) == []


#: What is counted since the baseline, or since the sample before it, cannot have been there already.
COUNTED = {"crashed", "deadlocks", "growth_mb", "restarted", "rollbacks_per_minute", "temp_mb_per_minute"}


@pytest.mark.parametrize("code", sorted(set(BAD) - COUNTED))
def test_what_was_bad_already_is_nobodys_doing(code: str) -> None:
    now = BAD[code][0]
    if code in ("lock_wait_s", "transaction_s", "idle_in_transaction_s"):
        # The session that waits or works is older than the baseline.
        assert found(now, reading(600 - 5)) == []
        return
    assert found(now, Reading(START, now.database, now.host)) == []


def test_a_little_worse_than_it_was_is_not_much_worse() -> None:
    busy = reading(0, {"load1": 10.0})
    assert found(reading(600, {"load1": 11.9}), busy) == []
    assert [one.code for one in found(reading(600, {"load1": 12.1}), busy)] == ["load_per_cpu"]
    short = reading(0, {"mem_available": 60 * MB})
    assert found(reading(600, {"mem_available": 51 * MB}), short) == []
    assert [one.code for one in found(reading(600, {"mem_available": 49 * MB}), short)] == [
        "mem_available_mb"
    ]


@pytest.mark.parametrize(
    ("code", "counter", "unit"),
    [("rollbacks_per_minute", "rollbacks", 1), ("temp_mb_per_minute", "temp_bytes", MB)],
)
def test_what_was_always_counted_so_fast_is_nobodys_doing(code: str, counter: str, unit: int) -> None:
    """300 a minute for 1000 minutes before the baseline, wherever the counters began."""
    for since in (
        {"statistics_since": START - 60 * 1000},
        {"counted_since": START - 60 * 1000, "statistics_since": 0.0},
    ):
        before = reading(0, **{counter: 300_000 * unit}, **since)

        def after(each_minute: int, before: Reading = before, since: Any = since) -> list[str]:
            counted = [(300_000 + minutes * each_minute) * unit for minutes in (5, 10)]
            then, now = (
                reading(60 * m, **{counter: one}, **since) for m, one in zip((5, 10), counted, strict=True)
            )
            return [one.code for one in found(now, before, then)]

        assert after(350) == []
        assert after(370) == [code]


@pytest.mark.parametrize(
    ("first", "then", "expected"),
    [
        ({"counted_since": START - 9}, {"counted_since": None, "deadlocks": 0}, ["crashed"]),
        ({"counted_since": None}, {"counted_since": START + 9, "commits": 0, "deadlocks": 0}, []),
        ({}, {"started": START + 1, "commits": 0}, ["restarted"]),
    ],
    ids=["the time of a reset is forgotten too", "somebody reset them", "a restart is told as one"],
)
def test_counters_go_back_by_a_crash_and_by_a_reset(first: Any, then: Any, expected: list[str]) -> None:
    assert [one.code for one in found(reading(600, **then), reading(0, **first))] == expected


def test_one_session_of_each_kind_is_named_the_worst() -> None:
    both = [*transaction(400, idle_s=130), {**transaction(350, idle_s=140)[0], "pid": 8}]
    texts = [one.text for one in found(reading(600, transactions=both))]
    assert texts[0].startswith("the transaction of backend 7 ")
    assert texts[1].startswith("backend 8 (unnamed) has been idle in its transaction for 140 s")
    # One that was there before does not hide a younger one.
    old = [*transaction(5000), {**transaction(310)[0], "pid": 8}]
    (finding,) = found(reading(600, transactions=old))
    assert finding.text.startswith("the transaction of backend 8 ")


# --- figures


def test_the_figures_are_flat_and_complete() -> None:
    seen = figures(
        reading(
            600,
            {"load1": 1.0},
            waits=wait(2.5),
            waiting_locks=1,
            transactions=transaction(9.5, 1.5),
            idle_in_transaction=1,
            rollbacks=60,
            temp_bytes=20 * MB,
        ),
        reading(0),
        reading(300, rollbacks=55),
    )
    assert seen == {
        "database": {
            "connections": 20,
            "connections_max": 97,
            "connections_percent": 20.6,
            "waiting_locks": 1,
            "lock_wait_s": 2.5,
            "longest_transaction_s": 9.5,
            "idle_in_transaction": 1,
            "idle_in_transaction_s": 1.5,
            "size": 100 * MB,
            "rollbacks": 10,
            "deadlocks": 0,
            "temp_bytes": 10 * MB,
            "rollbacks_per_minute": 1.0,
            "temp_mb_per_minute": 2.0,
            "replication_lag_s": None,
            "hidden_sessions": 0,
        },
        "host": {
            "cpu_percent": 20.0,
            "iowait_percent": 1.0,
            "steal_percent": 0.0,
            "load1": 1.0,
            "load_per_cpu": 0.5,
            "mem_available": 600 * MB,
            "mem_total": 1000 * MB,
            "disk_free": 4000 * MB,
        },
    }


def test_what_could_not_be_read_is_nothing() -> None:
    nothing = Reading(START + 600, None, None)
    assert figures(nothing, reading(0), reading(300)) == {"database": None, "host": None}
    assert found(nothing) == []
    # Nor is there anything to compare with a baseline that could not be read, or after a gap.
    assert judge(reading(600, size=900 * MB), Reading(START, None, None), None, LIMITS) == []
    after = figures(reading(600, rollbacks=900), reading(0), Reading(START + 300, None, None))["database"]
    assert after and after["rollbacks_per_minute"] is None
    unmeasured = reading(600, {"disks": [{"path": "/x", "free_bytes": None, "error": "no"}]})
    assert (figures(unmeasured, reading(0), None)["host"] or {})["disk_free"] is None
    assert found(unmeasured) == []


def test_what_came_within_a_minute_is_no_more_a_minute() -> None:
    seen = figures(reading(302, rollbacks=52), reading(0), reading(300))["database"]
    assert seen and seen["rollbacks_per_minute"] == 2


@pytest.mark.parametrize("anew", [{"counted_since": START}, {}])
def test_counters_that_began_anew_count_from_there(anew: dict[str, Any]) -> None:
    seen = figures(reading(600, rollbacks=7, **anew), reading(0), None)["database"]
    assert seen and seen["rollbacks"] == 7


# --- limits


@pytest.mark.parametrize("name", [one.name for one in fields(FigureLimits)])
def test_a_limit_that_makes_no_sense_is_refused(name: str) -> None:
    with pytest.raises(RolloutError, match=rf"limit {name} is -1.0\n.*watch_{name}"):
        figure_limits({name: -1})
    for endless in ("nan", "inf"):
        with pytest.raises(RolloutError, match=rf"limit {name} is {endless}\n.*watch_{name}"):
            figure_limits({name: float(endless)})
    with pytest.raises(RolloutError, match="not a number"):
        figure_limits({name: "much"})


def test_limits_come_by_name_and_as_text() -> None:
    assert figure_limits({"cpu_percent": "55"}) == FigureLimits(cpu_percent=55)
    with pytest.raises(RolloutError, match=r"no limit cpu\n.*cpu_percent"):
        figure_limits({"cpu": 55})
    with pytest.raises(RolloutError, match=r"worse_factor is 0\.5"):
        figure_limits({"worse_factor": 0.5})
