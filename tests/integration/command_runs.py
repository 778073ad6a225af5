"""The main job run as an operator runs it, and what could be seen of it from outside."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.databases import Database
from tests.integration.playbook_run import Run
from tests.integration.rollout_project import RolloutProject
from tests.runner import Runner

_LOOK_EVERY_S = 0.05


@contextmanager
def watched_command_lines() -> Iterator[set[str]]:
    """The command lines of all processes on this machine that run while the block does."""
    seen: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(_LOOK_EVERY_S):
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.add(process.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
                except (FileNotFoundError, ProcessLookupError):
                    continue  # it has ended meanwhile

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield seen
    finally:
        over.set()
        looking.join()


@dataclass(frozen=True)
class CommandRuns:
    """Four runs on one database that was fresh before the first.

    :ivar left_by_check: catalog fingerprint before the first check, and after it
    :ivar first_command_lines: of all processes while the first run lasted
    :ivar log_of_first: what the server logged meanwhile, with application_name before each statement
    :ivar ddl_of_second: DDL in the server's log from the second run
    """

    project: RolloutProject
    database: Database
    check_empty: Run
    first: Run
    first_report: dict[str, Any]
    first_command_lines: set[str]
    log_of_first: str
    second: Run
    second_report: dict[str, Any]
    check_finished: Run
    left_by_check: tuple[str, str]
    reports_after_check: bool
    ddl_of_second: list[str]

    @classmethod
    def of(cls, database: Database, folder: Path) -> "CommandRuns":
        """Run them."""
        project = RolloutProject(folder / "project", database, with_net=True)
        runner = Runner(database.options)
        before = runner.inspect().fingerprint
        check_empty = project.apply("--check", "--diff")
        after = runner.inspect().fingerprint
        reports_after_check = project.reports.exists()
        log_begins = database.server.log.stat().st_size
        with watched_command_lines() as command_lines:
            first = project.apply("-vvv")
        log = database.server.log.read_bytes()[log_begins:].decode(errors="replace")
        first_report = project.report() if first.code == 0 else {}
        database.mark_log()
        second = project.apply()
        ddl = database.ddl_log()
        second_report = project.report() if second.code == 0 else {}
        check_finished = project.apply("--check")
        return cls(
            project=project,
            database=database,
            check_empty=check_empty,
            first=first,
            first_report=first_report,
            first_command_lines=command_lines,
            log_of_first=log,
            second=second,
            second_report=second_report,
            check_finished=check_finished,
            left_by_check=(before, after),
            reports_after_check=reports_after_check,
            ddl_of_second=ddl,
        )


def spellings(secret: str) -> set[str]:
    """A secret as it could stand in an output: as it is, and as JSON, YAML, Python and a shell would write it."""
    return {
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(json.dumps(secret)[1:-1])[1:-1],
        repr(secret)[1:-1],
        secret.replace("'", "''"),
        secret.replace("'", "'\"'\"'"),
        secret.replace("\\", "\\\\"),
        secret.replace("%", "%%"),
    }
