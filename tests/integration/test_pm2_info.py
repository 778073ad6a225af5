"""pm2_info against real daemons of PM2 5, 6 and 7, healthy, broken and somebody else's."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.rollout import pm2_daemon, pm2_services
from ansible.module_utils.rollout.pm2_daemon import DaemonUnavailable

from tests.integration.playbook_run import Project, Run
from tests.pm2_daemons import SCRIPTS, VERSIONS, Pm2Daemon, daemons_of, wait_until

TICKING = str(SCRIPTS / "ticking.js")
CRASHING = str(SCRIPTS / "crashing.js")
SECRET = "hunter2-is-not-a-password"
ENVIRONMENT = {"API_KEY": SECRET, "DATABASE_URL": f"postgres://app:{SECRET}@db.example.invalid/app"}


@pytest.fixture(scope="module", params=VERSIONS)
def pm2(request: pytest.FixtureRequest) -> Iterator[Pm2Daemon]:
    """A daemon with a healthy service, a cluster, a crash loop, a service between two runs, and one stopped by hand."""
    with Pm2Daemon(request.param) as daemon:
        daemon.start(
            {"name": "api", "script": TICKING, "env": ENVIRONMENT, "args": f"--token {SECRET}"},
            {"name": "cluster", "script": TICKING, "exec_mode": "cluster", "instances": 2},
            {"name": "crash loop", "script": CRASHING},
            {"name": "nightly", "script": TICKING, "cron_restart": "0 3 * * *", "autorestart": False},
            {"name": "stopped", "script": TICKING},
            {"name": "shared", "script": TICKING, "out_file": "both.log", "error_file": "both.log"},
            {"name": "silent", "script": TICKING, "out_file": "/dev/null", "error_file": "/dev/null"},
            environment=ENVIRONMENT,
        )
        daemon.cli("stop", "nightly", "stopped")
        yield daemon


def judged(pm2: Pm2Daemon, *names: str) -> dict[str, pm2_services.Service]:
    _, processes = pm2_daemon.read(str(pm2.home))
    return pm2_services.judge(processes, names, now_ms=int(time.time() * 1000))


def codes(service: pm2_services.Service) -> list[str]:
    return [problem.code for problem in service.problems]


def compared(pm2: Pm2Daemon, *names: str, after: Callable[[], object]) -> list[pm2_services.Change]:
    daemon, processes = pm2_daemon.read(str(pm2.home))
    before = pm2_services.reading(processes, daemon.pid)
    after()
    daemon, processes = pm2_daemon.read(str(pm2.home))
    return pm2_services.compare(before, pm2_services.reading(processes, daemon.pid), names)


# --- a daemon that is well


def test_the_daemon_says_who_it_is(pm2: Pm2Daemon) -> None:
    daemon, _ = pm2_daemon.read(str(pm2.home))
    assert daemon == pm2_daemon.Daemon(str(pm2.home), pm2.pid, os.geteuid(), pm2.version)
    assert daemon in pm2_daemon.running_daemons()


def test_healthy_services(pm2: Pm2Daemon) -> None:
    services = judged(pm2, "api", "cluster")
    for name, instances in (("api", 1), ("cluster", 2)):
        service = services[name]
        assert (service.state, codes(service)) == ("online", [])
        assert (service.instances, service.configured, len(service.pids)) == (instances, instances, instances)
        assert all(Path(f"/proc/{pid}").exists() for pid in service.pids)
        assert service.memory > 10_000_000
        assert service.uptime is not None and 0 < service.uptime < 600
        assert {process.uid for process in service.processes} == {os.geteuid()}
    assert compared(pm2, "api", "cluster", after=lambda: time.sleep(1)) == []


def test_logs_are_where_it_says(pm2: Pm2Daemon) -> None:
    services = judged(pm2, "api", "shared", "silent")
    logs = {tuple(log["streams"]): Path(log["path"]) for log in services["api"].logs}
    assert set(logs) == {("out",), ("err",)}
    wait_until(lambda: "started" in logs[("out",)].read_text(), "the service's first line")
    (both,) = services["shared"].logs
    # Relative to the folder that the service was started in.
    assert both == {"path": str(pm2.folder / "both.log"), "streams": ["err", "out"], "shared_with": []}
    assert services["silent"].logs == ()


def test_a_crash_loop_that_reads_online_is_seen(pm2: Pm2Daemon) -> None:
    def online() -> bool:
        (process,) = judged(pm2, "crash loop")["crash loop"].processes
        return process.status == "online" and process.restarts > 1

    wait_until(online, "PM2 calls the crash loop online")
    assert judged(pm2, "crash loop")["crash loop"].state == "restarting"
    changes = compared(pm2, "crash loop", "api", after=lambda: time.sleep(3))
    assert {change.service for change in changes} == {"crash loop"}
    assert {"restarted", "started_again", "pid_changed"} <= {change.code for change in changes}
    assert not any(change.expected for change in changes)


def test_a_service_between_two_runs_is_idle_a_stopped_one_is_down(pm2: Pm2Daemon) -> None:
    services = judged(pm2, "nightly", "stopped")
    assert (services["nightly"].state, codes(services["nightly"])) == ("idle", [])
    assert services["nightly"].cron and not services["nightly"].autorestart
    assert (services["stopped"].state, codes(services["stopped"])) == ("down", ["not_online"])


def test_a_service_that_is_missing_here_is_looked_for_elsewhere(pm2: Pm2Daemon) -> None:
    assert codes(judged(pm2, "worker")["worker"]) == ["missing"]
    with Pm2Daemon() as other:
        other.start({"name": "worker", "script": TICKING})
        places = pm2_daemon.elsewhere(["worker"], str(pm2.home))["worker"]
        assert any(place.startswith(f"{other.home} (user ") and "not known" not in place for place in places)
    assert not any(
        str(other.home) in place
        for places in pm2_daemon.elsewhere(["worker"], str(pm2.home)).values()
        for place in places
    )


# --- changes, each in a daemon of its own


@pytest.fixture
def own() -> Iterator[Pm2Daemon]:
    with Pm2Daemon() as daemon:
        daemon.start({"name": "api", "script": TICKING})
        yield daemon


def test_a_name_started_twice(own: Pm2Daemon) -> None:
    assert codes(judged(own, "api")["api"]) == []
    own.cli("start", TICKING, "--name", "api", "--force")
    service = judged(own, "api")["api"]
    assert (service.instances, service.configured, codes(service)) == (2, 1, ["duplicated"])


def test_a_cluster_scaled_up_is_no_duplicate(own: Pm2Daemon) -> None:
    own.start({"name": "web", "script": TICKING, "exec_mode": "cluster", "instances": 1})
    own.cli("scale", "web", "2")
    service = judged(own, "web")["web"]
    assert (service.instances, service.configured, codes(service)) == (2, 1, [])


def test_a_restart_on_request_is_a_change_and_no_crash(own: Pm2Daemon) -> None:
    changes = compared(own, "api", after=lambda: own.cli("restart", "api"))
    assert [change.code for change in changes] == ["restarted", "started_again", "pid_changed"]
    assert judged(own, "api")["api"].state == "online"


def test_a_killed_service_is_a_change(own: Pm2Daemon) -> None:
    (pid,) = judged(own, "api")["api"].pids

    def kill() -> None:
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: judged(own, "api")["api"].pids not in ((pid,), ()), "PM2 starts it again")

    changes = compared(own, "api", after=kill)
    assert {"restarted", "started_again", "pid_changed"} <= {change.code for change in changes}


def test_a_deleted_service_has_vanished(own: Pm2Daemon) -> None:
    changes = compared(own, "api", after=lambda: own.cli("delete", "api"))
    assert [change.code for change in changes] == ["vanished"]
    assert codes(judged(own, "api")["api"]) == ["missing"]


def test_a_service_that_pm2_gave_up(own: Pm2Daemon) -> None:
    own.start({"name": "broken", "script": CRASHING, "max_restarts": 1, "env": {"LIFETIME_MS": "50"}})
    wait_until(lambda: judged(own, "broken")["broken"].state == "down", "PM2 gives up")
    assert "errored" in judged(own, "broken")["broken"].problems[0].text


def test_another_daemon_in_the_same_home(own: Pm2Daemon) -> None:
    def renew() -> None:
        own.cli("kill")
        own.start({"name": "api", "script": TICKING})

    changes = compared(own, "api", after=renew)
    assert "daemon_replaced" in {change.code for change in changes}


# --- daemons that cannot be asked: an error, and nothing is started


def contents(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def refused(home: Path, **arguments: Any) -> DaemonUnavailable:
    """Read, expecting an error, and assert that neither a daemon nor a file came of it."""
    before, daemons = contents(home), daemons_of(home)
    with pytest.raises(DaemonUnavailable) as caught:
        pm2_daemon.read(str(home), **arguments)
    assert (contents(home), daemons_of(home)) == (before, daemons)
    return caught.value


def test_no_daemon(tmp_path: Path) -> None:
    error = refused(tmp_path)
    assert error.details["reason"] == "no_daemon"
    assert f"there is no {tmp_path}/rpc.sock" in str(error)


def test_the_error_names_the_daemons_that_there_are(own: Pm2Daemon, tmp_path: Path) -> None:
    assert f"{own.home} (user " in str(refused(tmp_path))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_killed_daemon_leaves_a_stale_socket(version: str) -> None:
    with Pm2Daemon(version) as pm2:
        pm2.start({"name": "api", "script": TICKING})
        assert judged(pm2, "api")["api"].online
        pid = pm2.pid
        pm2.signal(signal.SIGKILL)
        error = refused(pm2.home)
    assert error.details["reason"] == "stale_socket"
    assert f"pm2.pid names pid {pid}, which is no PM2 daemon now" in str(error)


def test_a_daemon_that_ended_properly(own: Pm2Daemon) -> None:
    own.cli("kill")
    assert refused(own.home).details["reason"] == "no_daemon"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_daemon_that_hangs(version: str) -> None:
    with Pm2Daemon(version) as pm2:
        pm2.start({"name": "api", "script": TICKING})
        pm2.signal(signal.SIGSTOP)
        begun = time.monotonic()
        error = refused(pm2.home, timeout=0.5)
        assert time.monotonic() - begun < 2
        assert error.details["reason"] == "timeout"
        assert f"(pid {pm2.pid}, T (stopped))" in str(error)
        pm2.signal(signal.SIGCONT)
        assert judged(pm2, "api")["api"].online


def test_a_daemon_whose_socket_was_removed(own: Pm2Daemon) -> None:
    (own.home / "rpc.sock").unlink()
    error = refused(own.home)
    assert error.details["reason"] == "no_daemon"
    assert "that daemon runs: its socket was removed" in str(error)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
NOBODY = 65534


@needs_root
def test_a_daemon_of_root_in_the_home_of_somebody_else(own: Pm2Daemon) -> None:
    assert judged(own, "api")["api"].online
    os.chown(own.home, NOBODY, NOBODY)
    error = refused(own.home)
    assert error.details["reason"] == "other_user"
    assert f"(pid {own.pid}) runs as root, not as nobody" in str(error)
    # Named as the expected user, root's daemon is read.
    pm2_daemon.read(str(own.home), user="root")
    assert refused(own.home, user="nobody").details["reason"] == "other_user"


def read_by_nobody(home: Path) -> tuple[str, str]:
    """Let nobody read: the daemon's version and nothing, or the reason and the text of DaemonUnavailable."""
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            try:
                outcome = [pm2_daemon.read(str(home))[0].version, ""]
            except DaemonUnavailable as error:
                outcome = [error.details["reason"], str(error)]
            os.write(sending, json.dumps(outcome).encode())
        finally:
            os._exit(0)
    os.close(sending)
    with os.fdopen(receiving, "rb") as answer:
        received = answer.read()
    os.waitpid(child, 0)
    first, second = json.loads(received)
    return first, second


@needs_root
def test_the_socket_of_another_user(own: Pm2Daemon) -> None:
    reason, text = read_by_nobody(own.home)
    assert reason == "no_permission"
    assert text.startswith(f"nobody may not talk to the PM2 daemon of {own.home}\n")
    own.folder.chmod(0o700)
    assert read_by_nobody(own.home)[0] == "no_permission"
    # The control: with the permission, nobody reads it.
    own.folder.chmod(0o755)
    (own.home / "rpc.sock").chmod(0o777)
    assert read_by_nobody(own.home) == (own.version, "")


# --- the module, as Ansible runs it


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("pm2") / "project")


def module(
    project: Project, *flags: str, path: str | None = None, **arguments: Any
) -> tuple[Run, dict[str, Any]]:
    """Run pm2_info on this machine; returns the run and the module's result."""
    run = project.run(
        "ansible",
        "localhost",
        "-m",
        "pm2_info",
        "-a",
        json.dumps({"timeout": 5, **arguments}),
        *flags,
        environment={
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
            "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
            **({"PATH": path} if path else {}),
        },
    )
    _, _, text = run.output.partition("=> ")
    result, _ = json.JSONDecoder().raw_decode(text)
    return run, result


SERVICES = {"api", "cluster", "crash loop", "nightly", "stopped", "shared", "silent"}


def assert_no_secret(text: str) -> None:
    assert SECRET not in text and "API_KEY" not in text and "DATABASE_URL" not in text


def test_the_module(pm2: Pm2Daemon, project: Project) -> None:
    """In check mode, judging all services, and saying all that -vvvv adds."""
    assert SECRET in pm2.cli("jlist"), "the control: PM2's own answer holds the secret"
    run, result = module(project, "--check", "-vvvv", home=str(pm2.home))
    assert run.code == 0, run.output
    assert_no_secret(run.output)
    assert (result["changed"], result["healthy"], result["changes"]) == (False, False, [])
    assert set(result["services"]) == SERVICES
    assert result["services"]["api"]["state"] == "online"
    assert result["daemon"]["version"] == pm2.version


@pytest.fixture(scope="module")
def newest() -> Iterator[Pm2Daemon]:
    """A daemon for the module's options, which are the same for all versions."""
    with Pm2Daemon() as daemon:
        daemon.start(
            {"name": "api", "script": TICKING, "env": ENVIRONMENT},
            {"name": "crash loop", "script": CRASHING, "env": ENVIRONMENT},
            environment=ENVIRONMENT,
        )
        yield daemon


def test_the_module_compares_with_a_baseline(newest: Pm2Daemon, project: Project) -> None:
    _, first = module(project, home=str(newest.home), services=["api"])
    assert (first["healthy"], first["problems"], first["changes"]) == (True, [], [])
    _, second = module(project, home=str(newest.home), services=["api"], baseline=first["reading"])
    assert (second["healthy"], second["changes"]) == (True, [])
    first["reading"]["services"]["api"]["0"]["restarts"] += 1
    _, third = module(project, home=str(newest.home), services=["api"], baseline=first["reading"])
    assert (third["healthy"], [change["code"] for change in third["changes"]]) == (False, ["restarted"])


def test_the_module_sees_a_crash_loop_within_its_window(newest: Pm2Daemon, project: Project) -> None:
    _, result = module(project, home=str(newest.home), services=["api", "crash loop"], window=2)
    assert result["healthy"] is False
    assert {change["service"] for change in result["changes"]} == {"crash loop"}


def test_no_secret_leaves_a_module_that_fails(newest: Pm2Daemon, project: Project) -> None:
    run, result = module(project, "-vvvv", home=str(newest.home), user="daemon")
    assert (run.code != 0, result["details"]["reason"]) == (True, "other_user")
    assert_no_secret(run.output)
    run, result = module(project, "-vvvv", home=str(newest.home), services=["nowhere"])
    assert result["services"]["nowhere"]["state"] == "missing"
    assert_no_secret(run.output)


def test_a_daemon_without_services_is_not_healthy(own: Pm2Daemon, project: Project) -> None:
    assert module(project, home=str(own.home))[1]["healthy"] is True
    own.cli("delete", "api")
    assert module(project, home=str(own.home))[1]["healthy"] is False


def test_no_pm2_is_started(tmp_path: Path, project: Project) -> None:
    """Not the command either: what PATH offers as pm2, node and npm only notes that it was called."""
    programs, marker = tmp_path / "bin", tmp_path / "called"
    programs.mkdir()
    for name in ("pm2", "node", "npm", "nodejs"):
        (programs / name).write_text(f"#!/bin/sh\necho {name} >> {marker}\n")
        (programs / name).chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    path = f"{programs}:{os.environ['PATH']}"
    for wrong in (home, tmp_path / "nowhere"):
        run, result = module(project, path=path, home=str(wrong), services=["api"])
        assert run.code != 0
        assert result["details"]["reason"] in ("no_daemon", "no_home")
        assert daemons_of(wrong) == []
    assert contents(tmp_path) == ["bin", "bin/node", "bin/nodejs", "bin/npm", "bin/pm2", "home"]


def test_a_reading_costs_little(pm2: Pm2Daemon) -> None:
    """At most a third of the time of pm2 jlist; benchmarks/pm2_reading.py prints the ratio, typically below 0.05."""
    begun = time.perf_counter()
    pm2.cli("jlist")
    listed = time.perf_counter() - begun
    begun = time.perf_counter()
    pm2_daemon.read(str(pm2.home))
    assert time.perf_counter() - begun < listed / 3
