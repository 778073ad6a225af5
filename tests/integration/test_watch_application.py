"""The watch beside the real application of the sandbox: green, and red for the true reason of each trouble.

The looks are made in this process; test_watch_playbook.py has the same in real runs.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from threading import Thread
from typing import Any

import psycopg
import pytest
from ansible.module_utils.rollout import gate
from ansible.module_utils.rollout.gate import GREEN, RED, Decision
from ansible.module_utils.rollout.watch import Plan
from ansible.module_utils.rollout.watch_figures import figure_limits
from ansible.module_utils.rollout.watch_loop import Limits, Seen, Watch

from sandbox.application import Application
from sandbox.breakage import break_application
from sandbox.credentials import OWNER
from sandbox.services import NAMES
from tests.integration.module_run import run
from tests.integration.test_application_gate import BUDGETS, Gates, gates  # noqa: F401

pytestmark = pytest.mark.timeout(300)

WORKER = NAMES[1]
#: Whatever else this machine does is nothing to find here.
QUIET = {"cpu_percent": 100, "load_per_cpu": 1000, "mem_available_mb": 1, "disk_free_mb": 1}
#: A look takes some tenths of a second. Bad ones are enough to be red, however slow the machine is.
PLAN = Plan(duration_s=1.2, interval_s=0.3, recheck_s=0.2, red_samples=3)
PATIENT = Plan(duration_s=120, interval_s=0.3, recheck_s=0.2, red_samples=3)


class Watches:
    """Watches of the application, its database and its host.

    :ivar events: what happens before a look, by its number, counted from 0
    """

    def __init__(self, looking: Gates, capsys: pytest.CaptureFixture[str]) -> None:
        self._gates, self._capsys = looking, capsys
        self.application = looking.application
        self.connection = {name: looking.arguments[name] for name in ("service", "service_file")}
        self.events: dict[int, Callable[[], object]] = {}
        self.section: dict[str, Any] = {}
        self.lines: list[str] = []
        self._looks = 0

    def look(self, arguments: Mapping[str, Any], since: Mapping[str, Any]) -> Seen:
        self.events.get(self._looks, lambda: None)()
        self._looks += 1
        return Seen(
            self._gates.look(arguments),
            run("pg_activity_info", self._capsys, **self.connection)["activity"],
            run("host_resources_info", self._capsys, paths=["/"], window=0.1, since=since)["host"],
        )

    def sample(self, line: str, remarks: Sequence[str]) -> None:
        self.lines.append(" · ".join([line, *remarks]))

    def tick(self, line: str) -> None:
        """Nobody looks."""

    def watch(self, plan: Plan = PLAN, **limits: float) -> Decision:
        self._looks = 0
        return Watch(
            plan, Limits(gate.Limits(problem_budgets=BUDGETS), figure_limits({**QUIET, **limits})), clock=time
        ).run(self.look, self, self._record)

    def _record(self, section: dict[str, Any]) -> None:
        self.section = section


@pytest.fixture
def watches(gates: Gates, capsys: pytest.CaptureFixture[str]) -> Watches:  # noqa: F811
    return Watches(gates, capsys)


def reasons(found: Decision) -> str:
    return "; ".join(found.reasons)


def test_the_healthy_application_is_green(watches: Watches) -> None:
    """The control of everything below."""
    assert watches.watch() == Decision(GREEN, ())
    assert watches.section["gaps"] == []
    for sample in watches.section["samples"]:
        assert (sample["online"], sample["services"], sample["whatsapp"]) == (7, 7, "connected")
        assert sample["memory"] > 0
        assert sample["database"]["size"] > 0
        assert 0 < sample["host"]["mem_available"] < sample["host"]["mem_total"]
    assert " · 7/7 online · connected · 0 new errors · 0:00 left" in watches.lines[-1]


def test_a_service_that_is_stopped_in_the_middle_is_red_at_once(watches: Watches) -> None:
    watches.events[2] = lambda: break_application(watches.application, "stop")
    found = watches.watch(PATIENT)
    assert found.state == RED
    assert f"{WORKER}: is not the process that it was" in reasons(found)
    assert "online, now stopped" in reasons(found)
    assert [bool(one["findings"]) for one in watches.section["samples"]] == [False, False, True]


def test_a_connection_that_is_lost_for_a_moment_is_tolerated(watches: Watches) -> None:
    def drop() -> None:
        # The client may be back before the look that comes next.
        if not any(one["findings"] for one in watches.section["samples"]):
            break_application(watches.application, "drop-connection")

    watches.events = {1: drop, 4: drop}
    # Back after 0.3 s, and the time that it takes: on a busy machine that may be many looks.
    found = watches.watch(Plan(duration_s=3, interval_s=0.3, recheck_s=0.2, red_samples=60))
    assert found.state == GREEN
    assert "tolerated: WhatsApp: " in reasons(found)
    assert watches.section["samples"][-1]["whatsapp"] == "connected"


def test_a_client_that_is_logged_out_is_red(watches: Watches) -> None:
    watches.events[1] = lambda: break_application(watches.application, "logout")
    found = watches.watch(PATIENT)
    assert found.state == RED
    assert "WhatsApp: the session was logged out (401)" in reasons(found)


def test_a_query_that_fails_is_red_for_the_log_line(watches: Watches) -> None:
    log = watches.application.log_files(WORKER)[0]

    def complain() -> None:
        with log.open("a") as file:
            file.write('2025-11-09 21:30:00: \x1b[31merror\x1b[39m: relation "bookings" does not exist {}\n')

    watches.events[1] = complain
    found = watches.watch(PATIENT)
    assert found.state == RED
    assert f"{WORKER}: 1 new line of database_error" in reasons(found)


@pytest.fixture
def sessions(application: Application) -> Iterator[Callable[..., psycopg.Connection]]:
    """Opens sessions of the application's database, each in a transaction; all are ended afterwards."""
    opened: list[psycopg.Connection] = []

    def connect(name: str) -> psycopg.Connection:
        options = {"autocommit": False, "application_name": name}
        opened.append(application.server.connect(OWNER, application.database, **options))
        return opened[-1]

    try:
        yield connect
    finally:
        for session in opened:
            session.cancel_safe()
            session.close()


def test_who_waits_for_a_lock_and_who_is_in_the_way_is_red(
    watches: Watches, sessions: Callable[..., psycopg.Connection]
) -> None:
    holder, waiter = sessions("migration by hand"), sessions("ai-admin-api")
    waiting = Thread(target=take, args=(waiter,))

    def block() -> None:
        take(holder)
        waiting.start()

    watches.events[1] = block
    found = watches.watch(PATIENT, lock_wait_s=0.2)
    assert found.state == RED
    assert f"backend {waiter.info.backend_pid} (ai-admin-api) has waited" in reasons(found)
    assert f"for a lock on advisory; in the way: {holder.info.backend_pid}" in reasons(found)
    assert "3 of " in reasons(found)
    assert watches.section["samples"][-1]["database"]["waiting_locks"] == 1
    holder.close()
    waiting.join()


def take(session: psycopg.Connection) -> None:
    session.execute("SELECT pg_advisory_xact_lock(7)")


def test_a_transaction_that_stays_open_is_red_and_an_older_one_is_not(
    watches: Watches, sessions: Callable[..., psycopg.Connection]
) -> None:
    sessions("here before").execute("SELECT 1")
    time.sleep(0.3)
    assert watches.watch(transaction_s=0.2, idle_in_transaction_s=0.2) == Decision(GREEN, ())
    assert watches.section["samples"][-1]["database"]["longest_transaction_s"] > 0.2
    watches.events[1] = lambda: sessions("ai-admin-batch").execute("SELECT 1")
    found = watches.watch(PATIENT, transaction_s=0.2, idle_in_transaction_s=0.2)
    assert found.state == RED
    assert re.search(
        r"the transaction of backend \d+ \(ai-admin-batch\) has been open for \d+ s; up to 0.2 s is allowed;"
        r" database: backend \d+ \(ai-admin-batch\) has been idle in its transaction for \d+ s",
        reasons(found),
    )
