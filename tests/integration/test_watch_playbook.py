"""The watch as an operator runs it: after a run, alone, on a terminal, killed and continued; what becomes of red."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sandbox.application import Application
from sandbox.breakage import break_application
from sandbox.databases import Database
from sandbox.services import NAMES
from tests.integration.playbook_run import program
from tests.integration.rollout_project import RolloutProject
from tests.integration.test_gate_playbook import FIRST, SECOND, Site, ledger, message, site  # noqa: F401
from tests.integration.watched_run import PATIENCE_S, PATIENT, QUICK, during_the_watch, samples, watched
from tests.runner import Runner
from tests.waiting import until

pytestmark = pytest.mark.timeout(900)

WORKER = NAMES[1]
COLUMNS = 100

# --- after a run ---------------------------------------------------------------------------------------------------


def test_a_red_watch_takes_back_what_the_run_applied_where_the_operator_chose_that(
    application: Application,
    site: Callable[..., Site],  # noqa: F811
) -> None:
    project = site(**PATIENT, watch_on_red="roll_back")
    with during_the_watch(project, lambda: break_application(application, "stop")):
        run = project.run_job()
    assert run.code != 0
    lines = message(run)
    assert lines[0] == "RED while watching:"
    assert f"{WORKER}: is not the process that it was" in lines[1]
    assert f"Taken back: {SECOND}, {FIRST}." in lines
    assert "Schema public is exactly as it was before this run." in lines
    # It is stopped still: the migration was not the reason, and nobody pretends that it was.
    assert any(line.startswith("THE APPLICATION IS NOT WELL after the rollback either: ") for line in lines)
    assert "What was applied stays" not in run.output
    assert ledger(application) == [("0001", False), ("0002", False)]
    assert project.sections["rollback"]["cause"] == "red_gate"
    assert (watched(project)["state"], watched(project)["on_red"]) == ("red", "roll_back")
    assert project.report()["outcome"] == "failed"


def test_a_red_watch_leaves_what_was_applied_where_the_operator_chose_that(
    database: Database, tmp_path: Path
) -> None:
    """Whatever else makes a run take something back. There is no application: database and host are watched."""
    project = RolloutProject(
        tmp_path / "project",
        database,
        **{**PATIENT, "watch_idle_in_transaction_s": 0.2, "rollback_on": ["red_gate", "failed_step"]},
    )
    session = database.connect(autocommit=False, application_name="ai-admin-batch")
    with during_the_watch(project, lambda: session.execute("SELECT 1")):
        run = project.apply()
    assert run.code != 0
    lines = message(run)
    assert lines[0] == "RED while watching:"
    assert re.search(
        r"database: backend \d+ \(ai-admin-batch\) has been idle in its transaction for", lines[1]
    )
    assert any(
        line.startswith("What was applied stays.") and line.endswith("playbooks/rollback.yml -i prod --check")
        for line in lines
    ), lines
    assert f"In force since this run, and staying: {FIRST}, {SECOND}." in " ".join(lines)
    assert Runner(database.options).inspect().recorded == [FIRST, SECOND]
    assert project.report()["hosts"]["app"]["sections"]["rollback"]["cause"] == "red_watch"
    session.close()
    # The watch alone; what it needs to know of an earlier run is nothing.
    alone = project.apply("--tags", "watch", "-e", "watch_minutes=0.02")
    assert alone.code == 0, alone.output
    assert "watch 5/5 · 0:00 left" in alone.output
    assert watched(project)["baseline"]["of"] == "the first sample"
    assert set(project.report()["hosts"]["app"]["sections"]) == {"watch", "end"}
    run_id = project.report()["run_id"]
    checked = project.playbook("playbooks/watch.yml", "-i", "prod", "--check")
    assert "Not watched: nothing is watched in check mode" in " ".join(checked.output.split())
    assert project.report()["run_id"] == run_id


def test_a_limit_that_makes_no_sense_is_refused_before_anything_is_changed(
    database: Database, tmp_path: Path
) -> None:
    project = RolloutProject(tmp_path / "project", database, **{**QUICK, "watch_error_lines": -1})
    run = project.apply()
    assert run.code != 0
    assert "the limit error_lines is -1" in run.output
    assert "watch_error_lines" in run.output
    assert Runner(database.options).inspect().recorded == []


# --- killed, continued, on a terminal ------------------------------------------------------------------------------


class Terminal:
    """A terminal in which a playbook runs."""

    def __init__(self, project: RolloutProject, *arguments: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
        self.process = subprocess.Popen(
            [program("ansible-playbook"), *arguments],
            cwd=project.folder,
            env=project.environment({"TERM": "xterm"}),
            stdin=subprocess.DEVNULL,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self._written = bytearray()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                some = os.read(self._master, 4096)
            except OSError:  # nobody has the other end open any more
                return
            self._written += some

    def end(self) -> tuple[int, str]:
        """Wait for the playbook's end; its exit code, and what it wrote."""
        code = self.process.wait(PATIENCE_S)
        self._reader.join()
        os.close(self._master)
        return code, self._written.decode().replace("\r\n", "\n")


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    """Opens terminals; what runs in them is ended with the test."""
    opened: list[Terminal] = []

    def begin(project: RolloutProject, *arguments: str) -> Terminal:
        opened.append(Terminal(project, *arguments))
        return opened[-1]

    try:
        yield begin
    finally:
        for one in opened:
            # The forks notice that it is gone.
            one.process.kill()


def rows(written: str) -> list[str]:
    """What is to be read on the terminal in the end."""
    return [row.rpartition("\r\x1b[K")[2] for row in written.split("\n")]


def is_free(lock: Path) -> bool:
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_a_watch_that_was_killed_is_continued_by_its_run_id(
    application: Application,
    site: Callable[..., Site],  # noqa: F811
    terminal: Callable[..., Terminal],
    tmp_path: Path,
) -> None:
    environment = tmp_path / "venv"
    environment.symlink_to(sys.prefix)
    project = site(
        **{**QUICK, "watch_minutes": 0.05, "watch_interval_minutes": 0.01, "watch_broken_samples": 1000},
        runtime_venv=str(environment),
    )
    first = terminal(project, "playbooks/watch.yml", "-i", "prod")
    until(lambda: len(samples(project)) >= 2, "nothing is watched", PATIENCE_S)
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    run_id = project.report()["run_id"]
    # The process that made the looks was not killed; it notices, and ends.
    until(lambda: is_free(project.reports / run_id / ".watch-app.lock"), "somebody watches on", PATIENCE_S)
    first.end()
    left = watched(project)
    assert (left["state"], project.report()["outcome"]) == ("running", "running")

    second = terminal(project, "playbooks/watch.yml", "-i", "prod", "-e", f"run_id={run_id}")
    known = len(left["samples"])
    until(lambda: len(samples(project)) > known, "it does not go on", PATIENCE_S)
    # The interpreter of the target is gone for a moment, and with it every way to look.
    environment.unlink()
    until(lambda: any(one["broken"] for one in samples(project)), "nothing is lost", PATIENCE_S)
    environment.symlink_to(sys.prefix)
    code, written = second.end()
    assert code == 0, written
    found = watched(project)
    assert (project.report()["run_id"], project.report()["outcome"]) == (run_id, "succeeded")
    assert (found["state"], found["began_at"]) == ("green", left["began_at"])
    assert found["samples"][:known] == left["samples"]
    assert found["samples"][known]["continued"] is True
    assert found["watched_s"] >= found["duration_s"] > left["watched_s"]
    interrupted, lost = found["gaps"]
    assert interrupted["reason"] == "the watch was interrupted"
    assert "application_info could not be run" in lost["reason"]
    # Neither is the application's fault.
    assert not any(one["findings"] for one in found["samples"])

    # One line that is written anew; what was wrong stays to be read.
    assert written.count("\r\x1b[K") >= len(found["samples"]) - known
    seen = [row for row in rows(written) if row.startswith("watch ")]
    assert "could not read" in seen[0]
    assert seen[-1] == "watch 6/6 · 7/7 online · connected · 0 new errors · 0:00 left"
    assert len(seen) == 1 + sum(bool(one["broken"]) for one in found["samples"])
    assert all(len(part) < COLUMNS for part in re.findall(r"\r\x1b\[K([^\r\n]*)\r", written))
