"""log_window_info on the logs of services that a real PM2 runs, as Ansible runs it."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.rollout import pm2_daemon, pm2_services
from ansible.module_utils.rollout.log_patterns import compile_patterns
from ansible.module_utils.rollout.log_window import read_services

from tests.integration.playbook_run import Project, Run
from tests.pm2_daemons import SCRIPTS, VERSIONS, Pm2Daemon, wait_until

SECRET = "mKx3Zq7LwPz1VdT9sYb2Rf5uHj8Gc0Na"
DATED = "YYYY-MM-DD HH:mm:ss"


@pytest.fixture(scope="module", params=VERSIONS)
def pm2(request: pytest.FixtureRequest) -> Iterator[Pm2Daemon]:
    """A daemon with two services that log what the files ``api.say`` and ``worker.say`` tell them to."""
    with Pm2Daemon(request.param) as daemon:
        script = str(SCRIPTS / "speaking.js")
        daemon.start(
            {"name": "api", "script": script, "args": "api.say", "log_date_format": DATED},
            {"name": "worker", "script": script, "args": "worker.say"},
        )
        yield daemon


class Speaker:
    """A service that logs on request, and what its logs say.

    :ivar out: the file of its standard output
    """

    def __init__(self, pm2: Pm2Daemon, name: str) -> None:
        self.name, self.pm2 = name, pm2
        _, processes = pm2_daemon.read(str(pm2.home))
        service = pm2_services.judge(processes, [name], now_ms=int(time.time() * 1000))[name]
        self.logs = {name: [log["path"] for log in service.logs]}
        self.out, self.err = (Path(path) for path in self.logs[name])
        # Something in both files: only then can be proven that nothing was lost.
        self.say("!it listens")
        self.bookmarks = self.read(None)["bookmarks"]

    def say(self, *lines: str) -> None:
        """Let the service log lines, and wait until PM2 has written them; ``!`` at the beginning: on standard error."""
        request = self.pm2.folder / f"{self.name}.say"
        marker = f"said {time.monotonic_ns()}"
        request.with_suffix(".tmp").write_text("\n".join([*lines, marker, "!" + marker]))
        request.with_suffix(".tmp").rename(request)
        wait_until(
            lambda: all(marker in path.read_text() for path in (self.out, self.err)), "the lines are written"
        )

    def read(self, bookmarks: Any) -> dict[str, Any]:
        return read_services(self.logs, bookmarks, compile_patterns(), 3)

    def since(self) -> dict[str, Any]:
        """What came since the last call."""
        found = self.read(self.bookmarks)
        self.bookmarks = found["bookmarks"]
        service: dict[str, Any] = found["services"][self.name]
        return service


@pytest.mark.parametrize("name", ["api", "worker"])
def test_what_a_service_says_is_counted(pm2: Pm2Daemon, name: str) -> None:
    """With PM2's time before each line, and without."""
    speaker = Speaker(pm2, name)
    speaker.say(
        "\x1b[31merror\x1b[39m: Processing error: x",
        "\x1b[32minfo\x1b[39m: fine",
        "!Closing stale open session",
    )
    found = speaker.since()
    assert found["lines"] == 5
    assert found["levels"] == {"error": 1, "info": 1, "none": 2}
    assert (found["noise"], found["problems"]) == ({"stale_session": 1}, ["processing_error"])
    assert found["continuity"] == "proven"
    assert speaker.since()["lines"] == 0


def test_a_flush_is_told(pm2: Pm2Daemon) -> None:
    speaker = Speaker(pm2, "worker")
    speaker.say("info: lost")
    pm2.cli("flush", "worker")
    speaker.say("info: seen")
    found = speaker.since()
    assert (found["levels"]["info"], found["continuity"]) == (1, "broken")


def test_a_rotation_by_copying_is_followed(pm2: Pm2Daemon) -> None:
    """What pm2-logrotate does: copy to name__DATE.log, truncate. PM2 goes on at the file's new end."""
    speaker = Speaker(pm2, "worker")
    speaker.say("info: before")
    for path in (speaker.out, speaker.err):
        shutil.copyfile(path, path.with_name(f"{path.stem}__2025-11-09_00-00-00.log"))
        path.write_text("")
    speaker.say("info: after")
    found = speaker.since()
    assert (found["levels"]["info"], found["continuity"]) == (2, "unproven")


def test_a_rename_is_followed_before_and_after_the_reload(pm2: Pm2Daemon) -> None:
    speaker = Speaker(pm2, "api")
    speaker.say("info: before")
    renamed = speaker.out.rename(speaker.out.with_name("api-out.log.1"))
    # PM2 has the old file open until it is told to reload.
    live, speaker.out = speaker.out, renamed
    speaker.say("info: still in the old file")
    assert speaker.since()["levels"]["info"] == 2
    pm2.cli("reloadLogs")
    speaker.out = live
    wait_until(live.exists, "PM2 has made the new file")
    speaker.say("info: in the new file")
    found = speaker.since()
    assert found["levels"]["info"] == 1


def module(project: Project, *flags: str, **arguments: Any) -> tuple[Run, dict[str, Any]]:
    """Run log_window_info on this machine; returns the run and the module's result."""
    run = project.run(
        "ansible",
        "localhost",
        "-m",
        "log_window_info",
        "-a",
        json.dumps(arguments),
        *flags,
        environment={"ANSIBLE_CALLBACK_RESULT_FORMAT": "json"},
    )
    result, _ = json.JSONDecoder().raw_decode(run.output.partition("=> ")[2])
    return run, result


def test_the_module(tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    log = tmp_path / "api-out.log"
    log.write_text("info: old\n")
    logs = {"api": [str(log), str(tmp_path / "not-yet.log")]}
    run, first = module(project, logs=logs)
    assert run.code == 0, run.output
    assert (first["changed"], first["services"]) == (False, {})

    with log.open("a") as file:
        file.write(
            f'error: Payment refused "{SECRET}" {{"private":"{SECRET}"}}\nClosing session: SessionEntry {{\n'
        )
        file.write(f"  privKey: {SECRET}\nerror: unknown {SECRET}\n")
    pattern = {"name": "payment_refused", "kind": "fatal", "regex": "Payment refused", "levels": ["error"]}
    run, second = module(
        project, "--check", "-vvvv", logs=logs, bookmarks=first["bookmarks"], patterns=[pattern]
    )
    assert run.code == 0, run.output
    assert SECRET not in run.output
    service = second["services"]["api"]
    assert (service["lines"], service["levels"], service["fatal"]) == (
        4,
        {"error": 2, "none": 1},
        ["payment_refused"],
    )
    assert service["noise"] == {"session_dump": 1}
    assert service["continuity"] == "proven"
    # Check mode and the ordinary mode say the same.
    assert module(project, logs=logs, bookmarks=first["bookmarks"], patterns=[pattern])[1]["services"] == {
        "api": service
    }

    run, failed = module(project, logs=logs, bookmarks=[{"path": "x"}])
    assert (run.code != 0, failed["details"]) == (True, {"reason": "bad_bookmark"})
