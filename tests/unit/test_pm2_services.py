"""Parsing of PM2's answer, judgement of services and comparison of readings: tables, no PM2."""

import dataclasses
import json
from typing import Any

import pytest
from ansible.module_utils.rollout import pm2_services
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.pm2_services import (
    Process,
    UnexpectedAnswer,
    compare,
    judge,
    parse_processes,
)

NOW_MS = 1_800_000_000_000
HOUR_MS = 3_600_000
SECRET = "hunter2-is-not-a-password"


def process(**changes: Any) -> Process:
    """A healthy instance that was started on request an hour ago."""
    healthy = Process(
        name="api",
        pm_id="0",
        pid=4711,
        status="online",
        restarts=19,
        started_ms=NOW_MS - HOUR_MS,
        created_ms=NOW_MS - HOUR_MS - 120,
        memory=100,
        cpu=0.5,
        instances=1,
        cluster=False,
        autorestart=True,
        cron=False,
        is_module=False,
        script="/srv/app/api.js",
        logs={"out": "/srv/logs/api-out.log", "err": "/srv/logs/api-error.log"},
        uid=1000,
        alive=True,
    )
    return dataclasses.replace(healthy, **changes)


def answer(*entries: dict[str, Any]) -> bytes:
    return json.dumps({"args": [list(entries)]}).encode()


def entry(**env: Any) -> dict[str, Any]:
    """An entry as the daemons 5, 6 and 7 send it, with secrets where they really are."""
    return {
        "name": "api",
        "pid": 4711,
        "pm_id": 0,
        "monit": {"memory": 71450624, "cpu": 1.5},
        "pm2_env": {
            "DATABASE_URL": f"postgres://app:{SECRET}@db.example.invalid/app",
            "env": {"API_KEY": SECRET, "status": "sleeping"},
            "args": ["--token", SECRET],
            "node_args": [SECRET],
            "axm_monitor": {"Secret": {"value": SECRET}},
            "status": "online",
            "restart_time": 19,
            "pm_uptime": NOW_MS - HOUR_MS,
            "created_at": NOW_MS - HOUR_MS,
            "instances": 2,
            "exec_mode": "cluster_mode",
            "autorestart": True,
            "pm_exec_path": "/srv/app/api.js",
            "pm_cwd": "/srv/app",
            "pm_out_log_path": "logs/../out.log",
            "pm_err_log_path": "/dev/null",
            **env,
        },
    }


# --- parsing


def test_the_whitelisted_fields_are_taken() -> None:
    (parsed,) = parse_processes(answer(entry()))
    assert (parsed.name, parsed.pm_id, parsed.pid, parsed.status) == ("api", "0", 4711, "online")
    assert (parsed.restarts, parsed.memory, parsed.cpu) == (19, 71450624, 1.5)
    assert (parsed.instances, parsed.cluster, parsed.cron, parsed.autorestart) == (2, True, False, True)


def test_log_paths_are_resolved_as_the_daemon_does() -> None:
    (parsed,) = parse_processes(answer(entry()))
    assert parsed.logs == {"out": "/srv/app/out.log", "err": None}
    (absolute,) = parse_processes(
        answer(entry(pm_out_log_path="/var/log/a-out-0.log", pm_err_log_path="NULL"))
    )
    assert absolute.logs == {"out": "/var/log/a-out-0.log", "err": None}


def test_the_environment_does_not_leave_the_parsing() -> None:
    (parsed,) = parse_processes(answer(entry()))
    services = judge([parsed], ["api"], now_ms=NOW_MS)
    seen = repr(parsed) + repr(services) + json.dumps(pm2_services.as_result(services["api"]))
    seen += json.dumps(pm2_services.reading([parsed], 1))
    assert SECRET not in seen and "DATABASE_URL" not in seen
    # The control: the secret was in the answer, so it could have been found.
    assert answer(entry()).count(SECRET.encode()) == 5


@pytest.mark.parametrize(
    "field",
    [
        "status",
        "restart_time",
        "pm_uptime",
        "created_at",
        "instances",
        "exec_mode",
        "autorestart",
        "cron_restart",
        "pmx_module",
        "pm_uptime",
    ],
)
def test_a_variable_that_takes_the_place_of_a_field_tells_nothing(field: str) -> None:
    """PM2 spreads a service's environment over its own fields: cron_restart=<secret> must not come out."""
    (parsed,) = parse_processes(answer(entry(**{field: SECRET})))
    services = judge([parsed], ["api"], now_ms=NOW_MS)
    assert SECRET not in repr(parsed) + repr(services)


def test_numbers_and_truths_that_became_text_are_understood() -> None:
    (parsed,) = parse_processes(answer(entry(restart_time="7", autorestart="false", instances="max")))
    assert (parsed.restarts, parsed.autorestart, parsed.instances) == (7, False, 1)


@pytest.mark.parametrize(
    ("schedule", "cron"), [("0 3 * * *", True), (None, False), ("", False), ("0", False), (0, False)]
)
def test_a_schedule_is_told_from_none(schedule: Any, cron: bool) -> None:
    (parsed,) = parse_processes(answer(entry(cron_restart=schedule)))
    assert parsed.cron is cron


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        f"{SECRET} is not JSON".encode(),
        json.dumps({"error": f"no such method, environment {SECRET}", "stack": SECRET}).encode(),
        json.dumps({"args": []}).encode(),
        json.dumps({"args": [None]}).encode(),
        json.dumps({"args": [[{"name": SECRET}]]}).encode(),
        json.dumps({"args": [[{"name": None, "pm_id": 0, "pm2_env": {"status": SECRET}}]]}).encode(),
        json.dumps({"args": [[{"name": "a", "pm_id": [SECRET], "pm2_env": {"status": "online"}}]]}).encode(),
        json.dumps([SECRET]).encode(),
        b"\xff\xfe",
    ],
)
def test_another_shape_is_an_error_that_quotes_nothing(reply: bytes) -> None:
    with pytest.raises(UnexpectedAnswer) as caught:
        parse_processes(reply)
    error: BaseException | None = caught.value
    assert caught.value.details["reason"] == "unexpected_answer"
    assert SECRET not in str(caught.value) + repr(caught.value.details)
    # -vvv prints the whole chain of exceptions, and JSONDecodeError carries the document.
    assert error is not None and error.__cause__ is None and error.__context__ is None


def test_an_empty_list_is_an_answer() -> None:
    assert parse_processes(answer()) == []


# --- judgement: each row is a negative control of the first


@pytest.mark.parametrize(
    ("processes", "state", "codes"),
    [
        pytest.param([process()], "online", [], id="healthy"),
        pytest.param([], "missing", ["missing"], id="missing"),
        pytest.param([process(name="other")], "missing", ["missing"], id="another name"),
        pytest.param([process(status="stopped", pid=0)], "down", ["not_online"], id="stopped"),
        pytest.param([process(status="errored", pid=0)], "down", ["not_online"], id="errored"),
        pytest.param([process(status="stopping")], "down", ["not_online"], id="stopping"),
        pytest.param([process(status="unknown")], "down", ["not_online"], id="unknown status"),
        pytest.param([process(status="launching")], "restarting", ["restarting"], id="launching"),
        pytest.param([process(status="waiting restart", pid=0)], "restarting", ["restarting"], id="waiting"),
        pytest.param(
            [process(started_ms=NOW_MS - 2000)],
            "restarting",
            ["restarting"],
            id="a crash loop that reads online",
        ),
        pytest.param(
            [process(started_ms=NOW_MS - 2000, created_ms=NOW_MS - 2125)],
            "online",
            [],
            id="just restarted on request",
        ),
        pytest.param([process(started_ms=NOW_MS - 40_000)], "online", [], id="a crash a while ago"),
        pytest.param([process(alive=False)], "down", ["process_gone"], id="online without a process"),
        pytest.param([process(pid=0)], "down", ["process_gone"], id="online with pid 0"),
        pytest.param([process(alive=None)], "online", [], id="a process that cannot be seen"),
        pytest.param([process(status="stopped", pid=0, cron=True)], "idle", [], id="cron between runs"),
        pytest.param([process(status="stopped", pid=0, autorestart=False)], "idle", [], id="run once"),
        pytest.param(
            [process(status="errored", pid=0, cron=True)], "down", ["not_online"], id="cron errored"
        ),
        pytest.param([process(), process(pm_id="1")], "online", ["duplicated"], id="started twice"),
        pytest.param(
            [process(instances=2), process(pm_id="1", instances=2)], "online", [], id="two fork instances"
        ),
        pytest.param(
            [process(cluster=True, instances=2, pm_id=str(number)) for number in range(3)],
            "online",
            [],
            id="a cluster scaled up",
        ),
        pytest.param(
            [process(cluster=True), process(cluster=True, pm_id="1", script="/srv/old/api.js")],
            "online",
            ["duplicated"],
            id="two scripts under one name",
        ),
        pytest.param(
            [process(cluster=True, instances=2), process(cluster=True, pm_id="1", status="errored", pid=0)],
            "down",
            ["not_online"],
            id="half a cluster",
        ),
        pytest.param(
            [process(instances=2), process(instances=2, pm_id="1", uid=0)],
            "online",
            ["mixed_users"],
            id="two users",
        ),
    ],
)
def test_judgement(processes: list[Process], state: str, codes: list[str]) -> None:
    service = judge(processes, ["api"], now_ms=NOW_MS)["api"]
    assert (service.state, [problem.code for problem in service.problems]) == (state, codes)
    assert service.online == (state == "online")


def test_a_service_of_another_user_is_told_when_asked_for_one() -> None:
    assert judge([process()], ["api"], now_ms=NOW_MS, user=(1000, "app"))["api"].problems == ()
    (problem,) = judge([process(uid=0)], ["api"], now_ms=NOW_MS, user=(1000, "app"))["api"].problems
    assert problem.code == "other_user"
    assert problem.text == "runs as uid 0, not as app (uid 1000)"
    assert judge([process(uid=0)], ["api"], now_ms=NOW_MS)["api"].problems == ()


def test_the_numbers_of_all_instances_are_added() -> None:
    both = [process(cluster=True, instances=2), process(cluster=True, instances=2, pm_id="1", pid=4712)]
    service = judge(both, ["api"], now_ms=NOW_MS)["api"]
    assert (service.instances, service.configured, service.pids) == (2, 2, (4711, 4712))
    assert (service.restarts, service.memory, service.cpu, service.uptime) == (38, 200, 1.0, 3600.0)


def test_a_clock_that_went_back_gives_no_negative_uptime() -> None:
    assert judge([process(started_ms=NOW_MS + 5)], ["api"], now_ms=NOW_MS)["api"].uptime == 0


def test_logs_say_their_streams_and_who_shares_them() -> None:
    one_file = {"out": "/srv/logs/all.log", "err": "/srv/logs/all.log"}
    processes = [
        process(logs=one_file),
        process(name="worker", pm_id="1", logs={"out": "/srv/logs/all.log", "err": None}),
    ]
    services = judge(processes, ["api", "worker"], now_ms=NOW_MS)
    assert services["api"].logs == (
        {"path": "/srv/logs/all.log", "streams": ["err", "out"], "shared_with": ["worker"]},
    )
    assert services["worker"].logs == (
        {"path": "/srv/logs/all.log", "streams": ["out"], "shared_with": ["api"]},
    )


# --- comparison of two readings


def reading(*processes: Process, daemon: int = 1) -> dict[str, Any]:
    # By way of JSON, as it travels between two calls of the module.
    text = json.dumps(pm2_services.reading(processes, daemon))
    parsed: dict[str, Any] = json.loads(text)
    return parsed


CRASHED = {"restarts": 20, "pid": 4800, "started_ms": NOW_MS - 1000}
BY_CRON = {**CRASHED, "created_ms": NOW_MS - 1100}


@pytest.mark.parametrize(
    ("after", "codes", "expected"),
    [
        pytest.param(process(), [], None, id="nothing"),
        pytest.param(process(memory=900, cpu=99.0), [], None, id="load is no change"),
        pytest.param(process(pid=4800), ["pid_changed"], False, id="only the pid"),
        pytest.param(process(restarts=20), ["restarted"], False, id="only the counter"),
        pytest.param(process(started_ms=NOW_MS), ["started_again"], False, id="only the start"),
        pytest.param(
            process(**CRASHED), ["restarted", "started_again", "pid_changed"], False, id="crash, online again"
        ),
        pytest.param(
            process(status="stopped", pid=0), ["pid_changed", "status_changed"], False, id="stopped"
        ),
        pytest.param(process(restarts=0), ["restarted"], False, id="pm2 reset: a counter that goes back"),
        pytest.param(process(pm_id="7"), ["vanished", "appeared"], False, id="deleted and started anew"),
        pytest.param(process(name="other"), ["vanished"], False, id="vanished"),
    ],
)
def test_comparison(after: Process, codes: list[str], expected: bool | None) -> None:
    changes = compare(reading(process()), reading(after), ["api"])
    assert [change.code for change in changes] == codes
    assert {change.expected for change in changes} == (set() if expected is None else {expected})


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        pytest.param(process(cron=True, **BY_CRON), True, id="started by its schedule"),
        pytest.param(process(cron=True, status="stopped", pid=0), True, id="its run ended"),
        pytest.param(process(cron=True, **CRASHED), False, id="a crash loop under cron"),
        pytest.param(process(cron=True, status="errored", pid=0), False, id="given up"),
        pytest.param(
            process(autorestart=False, status="stopped", pid=0), False, id="died, and nobody starts it"
        ),
    ],
)
def test_only_a_schedule_explains_a_change(after: Process, expected: bool) -> None:
    changes = compare(
        reading(process(cron=after.cron, autorestart=after.autorestart)), reading(after), ["api"]
    )
    assert changes
    assert {change.expected for change in changes} == {expected}


def test_another_daemon_is_noticed() -> None:
    (change,) = compare(reading(process(), daemon=1), reading(process(), daemon=2), ["api"])
    assert (change.code, change.service) == ("daemon_replaced", "")
    # In a container the daemon's pid may be hidden: 0 says nothing.
    assert compare(reading(process(), daemon=0), reading(process(), daemon=2), ["api"]) == []


def test_only_the_wanted_services_are_compared() -> None:
    before, after = reading(process(), process(name="other")), reading(process())
    assert compare(before, after, ["api"]) == []
    assert [change.code for change in compare(before, after, ["api", "other"])] == ["vanished"]


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"daemon_pid": 1},
        {"daemon_pid": "1", "services": {}},
        {"daemon_pid": 1, "services": []},
        {"daemon_pid": 1, "services": {"api": {"0": {}}}},
        {"daemon_pid": 1, "services": {"api": {"0": {"pid": "4711"}}}},
    ],
)
def test_a_baseline_that_is_none_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(RolloutError, match="baseline is not a reading") as caught:
        compare(value, reading(process()), ["api"])
    assert caught.value.details == {"reason": "bad_baseline"}
    assert compare(reading(process()), reading(process()), ["api"]) == []
