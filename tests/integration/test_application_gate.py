"""The gate on the real application of the sandbox: green when it is healthy, red with the true reason for each break.

The looks are made in this process; test_gate_playbook.py has the same in real runs.
"""

import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.rollout.gate import BROKEN, GREEN, RED, Limits
from ansible.module_utils.rollout.gate_watch import Watched, watch
from ansible.module_utils.rollout.pm2_services import CRASH_GAP_MS

from sandbox.application import Application
from sandbox.breakage import BREAKS, break_application, mend
from sandbox.credentials import OWNER
from sandbox.services import BAILEYS, CRON, NAMES, SALON_PHONE, TEST_PHONE
from tests.integration.command_runs import spellings
from tests.integration.module_run import documented, load, run
from tests.integration.playbook_run import ROOT
from tests.waiting import until

pytestmark = pytest.mark.timeout(300)

API, WORKER = NAMES[:2]
SETTINGS = yaml.safe_load((ROOT / "inventory/sandbox/group_vars/all/gate.yml").read_text())
BUDGETS = SETTINGS["gate_problem_budgets"]
#: As in the sandbox's inventory.
LIMITS = Limits(
    samples=SETTINGS["gate_samples"], red_samples=SETTINGS["gate_red_samples"], problem_budgets=BUDGETS
)
#: Goes on until something is red: however busy the machine is, the break will have shown by then.
PATIENT = Limits(samples=400, red_samples=3, problem_budgets=BUDGETS)
INTERVAL_S = 0.2
#: What Ansible adds to every result.
BOOKKEEPING = {"changed", "invocation"}


class Gates:
    """Gates of one application, each compared with the baseline.

    :ivar arguments: for application_info, as role gate gives them
    """

    def __init__(self, application: Application, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.application = application
        self.arguments: dict[str, Any] = {
            "pm2_home": str(application.pm2.home),
            "services": list(NAMES),
            "patterns": SETTINGS["gate_log_patterns"],
            "whatsapp": {
                "service": BAILEYS,
                "health_url": application.health_url,
                "never_port": application.variables["app_port"],
            },
            "service": "sandbox",
            "service_file": str(application.home / "pg_service.conf"),
        }
        self.said: list[str] = []
        self.seen: list[dict[str, Any]] = []

    def look(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """One look; the module must not fail."""
        given = {**self.arguments, **arguments}
        given = {name: value for name, value in given.items() if value is not None}
        self.seen.append(run("application_info", self._capsys, **given))
        assert not self.seen[-1].get("failed"), self.seen[-1]
        return self.seen[-1]

    def gate(self, limits: Limits = LIMITS, after: Watched | None = None) -> Watched:
        return watch(
            self.look,
            limits,
            label="after something",
            interval_s=INTERVAL_S,
            say=self.said.append,
            reference=after.reference if after else None,
        )


@pytest.fixture
def gates(application: Application, capsys: pytest.CaptureFixture[str]) -> Gates:
    settle(application)
    return Gates(application, capsys)


def settle(application: Application) -> None:
    """Start the services anew that came back from a crash: PM2 would tell so for another half a minute."""
    for process in application.pm2.processes():
        started, created = process["pm2_env"]["pm_uptime"], process["pm2_env"]["created_at"]
        if process["name"] in NAMES and started - created > CRASH_GAP_MS:
            application.pm2.run("restart", process["name"])
    application.wait_until_healthy(60)


@pytest.fixture
def baseline(gates: Gates) -> Watched:
    found = gates.gate()
    assert found.decision.state == GREEN, found.decision
    return found


def reasons(found: Watched) -> str:
    return "; ".join(found.decision.reasons)


# --- healthy -------------------------------------------------------------------------------------------------------


def test_the_healthy_application_is_green(gates: Gates, baseline: Watched) -> None:
    """The control of everything below."""
    later = gates.gate(after=baseline)
    assert (later.decision.state, later.decision.reasons) == (GREEN, ())
    for found in (baseline, later):
        assert len(found.history) == LIMITS.samples
        last = found.history[-1].as_result()
        assert (last["online"], last["services"], last["whatsapp"]) == (len(NAMES), len(NAMES), "connected")
        assert last["pids"][BAILEYS] == baseline.history[0].observed["pids"][BAILEYS]
    assert [one.observed["store"] for one in later.history] == ["untouched"] * LIMITS.samples
    continuity = later.history[-1].observed["continuity"]
    # That of a log which was empty when it was bookmarked cannot be proven, should a line come.
    assert set(continuity.values()) <= {"proven", "unproven"}
    assert continuity[BAILEYS] == "proven"
    assert " · 7/7 online · connected · 0 new errors · " in gates.said[-1]
    assert set(gates.seen[-1]) - BOOKKEEPING == documented("application_info") - {"details"}


def test_a_service_under_cron_may_come_and_go(gates: Gates, application: Application) -> None:
    gates.arguments["services"].append(CRON)
    baseline = gates.gate()
    assert baseline.decision.state == GREEN
    # As cron does it.
    application.pm2.run("restart", CRON)
    later = gates.gate(after=baseline)
    assert (later.decision.state, later.decision.reasons) == (GREEN, ())
    assert gates.seen[-1]["changes"], "it was not started at all"
    assert "8/8 online" in gates.said[-1]


# --- broken, one way after the other -------------------------------------------------------------------------------

#: A client that was dropped is back after 0.3 s and the time that it takes; longer on a busy machine.
FLAP = Limits(samples=30, red_samples=29, problem_budgets=BUDGETS)

#: What the gate says of it.
RED_FOR: dict[str, list[str | re.Pattern[str]]] = {
    # Its last line, "Session logged out", may come after the look that reads of the 401.
    "logout": ["WhatsApp: the session was logged out (401)"],
    "replace": ["WhatsApp: another client took the session over (440)"],
    "reconnect-loop": ["WhatsApp: ", "connection"],
    "refuse-logins": ["WhatsApp: the connection was closed with", "looks were bad"],
    "crash-loop": [f"{WORKER}: is not the process that it was: id "],
    "error-lines": [f"{WORKER}: ", " new lines of level error", "up to 5 would be normal", "Failed to load"],
    "stop": [f"{WORKER}: is not the process that it was", "online, now stopped"],
    "slow-database": [" new lines of slow_query", "Slow query: "],
    # A query that was under way when the line was cut is told otherwise than those after it.
    "dead-database": [" would be normal", re.compile("ECONN|[Cc]onnection terminated")],
}


@pytest.mark.parametrize("what", RED_FOR)
def test_each_break_is_red_for_its_true_reason(gates: Gates, baseline: Watched, what: str) -> None:
    break_application(gates.application, what)
    found = gates.gate(PATIENT, baseline)
    assert found.decision.state == RED, gates.said
    for part in RED_FOR[what]:
        assert re.search(part if isinstance(part, re.Pattern) else re.escape(part), reasons(found))
    # Mended, and nothing goes on: what was found is not found again.
    mend(gates.application)
    after = gates.gate(after=found)
    if what in ("logout", "replace"):
        # ... but for a line that says that it does not heal by itself: somebody had to mend it.
        assert after.decision.state == RED
        assert "does not recover from by itself" in reasons(after)
    elif what == "crash-loop":
        assert f"{WORKER}: id " in reasons(after)
        assert "back from a crash" in reasons(after)
    elif what == "stop":
        # Mending it was another start.
        assert "is not the process that it was" in reasons(after)
        assert gates.gate(after=after).decision.state == GREEN
    else:
        assert after.decision.state == GREEN, reasons(after)


def test_a_dropped_connection_is_tolerated_and_told(gates: Gates, baseline: Watched) -> None:
    break_application(gates.application, "drop-connection")
    found = gates.gate(FLAP, baseline)
    assert found.decision.state == GREEN, gates.said
    assert "tolerated: WhatsApp: " in reasons(found)
    assert any(one.bad for one in found.history)
    assert found.history[-1].observed["whatsapp"] == "connected"


@pytest.mark.parametrize("how", BREAKS["rotate-logs"].details)
def test_rotated_logs_of_a_healthy_service_are_green(gates: Gates, baseline: Watched, how: str) -> None:
    break_application(gates.application, "rotate-logs", how)
    found = gates.gate(after=baseline)
    assert (found.decision.state, found.decision.reasons) == (GREEN, ())
    # The control: what is logged after the rotation is found.
    break_application(gates.application, "error-lines")
    assert " new lines of level error" in reasons(gates.gate(PATIENT, baseline))


def test_errors_before_a_flush_do_not_hide_those_after_it(gates: Gates, application: Application) -> None:
    break_application(application, "error-lines")
    log = application.log_files(WORKER)[0]
    until(lambda: "Failed to load client context" in log.read_text(), "no error is logged", 30)
    many = Limits(samples=12, red_samples=3, error_lines=10_000, problem_lines=10_000)
    before = gates.gate(many)
    assert before.decision.state == GREEN
    assert before.reference["counts"][str(log)]["errors"] > 0
    with log.open("r+") as file:
        file.truncate(0)
    few = Limits(samples=400, red_samples=3, error_lines=0, problem_lines=10_000, rate_factor=0)
    found = gates.gate(few, before)
    # None of the new ones had to make up for those that were there before.
    assert found.history[-1].observed["new_errors"] < before.reference["counts"][str(log)]["errors"]
    assert found.decision.state == RED
    assert "of level error" in reasons(found)


def test_every_way_to_break_it_is_tried() -> None:
    assert {*RED_FOR, "drop-connection", "rotate-logs"} == set(BREAKS)


def test_an_endpoint_that_goes_on_saying_connected_is_seen_through(gates: Gates, baseline: Watched) -> None:
    break_application(gates.application, "refuse-logins")
    found = gates.gate(PATIENT, baseline)
    assert found.decision.state == RED
    bad = [seen for seen in gates.seen if seen["whatsapp"]["verdict"] == "reconnecting"]
    assert bad
    assert any(sample["connected"] for seen in bad for sample in seen["whatsapp"]["evidence"]["samples"])


def test_a_line_that_has_the_word_connected_in_it_is_no_connection(gates: Gates, baseline: Watched) -> None:
    """The client has lost its connection, and its log says "disconnected" and "connected" in all spellings."""
    application = gates.application
    break_application(application, "refuse-logins")
    log = application.log_files(BAILEYS)[0]
    until(lambda: "WhatsApp disconnected" in log.read_text(), "no loss is logged", 30)
    with log.open("a") as file:
        for text in ("⚠️ WhatsApp disconnected", "Not connected", "dis✅ connected", "not WhatsApp connected"):
            file.write(f"2025-11-09 21:30:00: \x1b[33mwarn\x1b[39m: {text}\n")
    found = gates.gate(PATIENT, baseline)
    assert found.decision.state == RED
    assert found.history[-1].observed["whatsapp"] != "connected"


def test_a_touched_session_store_is_red(gates: Gates, baseline: Watched) -> None:
    application = gates.application
    with application.server.connect(OWNER, application.database) as owner:
        owner.execute("CREATE INDEX one_more ON whatsapp_keys (created_at)")
        try:
            found = gates.gate(after=baseline)
        finally:
            owner.execute("DROP INDEX one_more")
    assert (found.decision.state, len(found.history)) == (RED, 1)
    assert "WhatsApp session: the tables of the session store have another shape" in reasons(found)
    assert gates.gate(after=baseline).decision.state == GREEN


def test_an_application_that_is_not_well_has_no_green_baseline(gates: Gates) -> None:
    break_application(gates.application, "stop")
    found = gates.gate()
    assert found.decision.state == RED
    assert f"{WORKER}: id " in reasons(found)
    assert "3 of 3 looks were bad" in reasons(found)


# --- other applications --------------------------------------------------------------------------------------------


def test_without_a_whatsapp_client_the_rest_is_judged(gates: Gates) -> None:
    gates.arguments.update(whatsapp=None, service=None, service_file=None)
    baseline = gates.gate()
    assert baseline.decision.state == GREEN
    assert baseline.history[-1].observed["whatsapp"] is None
    assert "connected" not in gates.said[-1]
    break_application(gates.application, "error-lines")
    assert gates.gate(PATIENT, baseline).decision.state == RED


def test_without_a_whatsapp_client_lost_connections_are_counted_lines(gates: Gates) -> None:
    gates.arguments.update(whatsapp=None, service=None, service_file=None)
    baseline = gates.gate()
    break_application(gates.application, "reconnect-loop")
    found = gates.gate(PATIENT, baseline)
    assert found.decision.state == RED
    assert BAILEYS in reasons(found)


def test_without_pm2_the_logs_are_judged(gates: Gates, tmp_path: Path) -> None:
    log = tmp_path / "shop.log"
    log.write_text("2025-11-09 21:30:00: info: Listening on 8080\n")
    gates.arguments.clear()
    gates.arguments.update(
        logs={"shop": [str(log)]},
        default_patterns=False,
        patterns=[{"name": "payment_refused", "kind": "problem", "regex": "Payment refused"}],
    )
    baseline = gates.gate()
    assert (baseline.decision.state, gates.gate(after=baseline).decision.state) == (GREEN, GREEN)
    assert "online" not in gates.said[-1]
    with log.open("a") as file:
        file.write("2025-11-09 21:31:00: warn: Payment refused by the bank\n" * 6)
    found = gates.gate(after=baseline)
    assert found.decision.state == RED
    assert "shop: 6 new lines of payment_refused" in reasons(found)


def test_without_pm2_a_client_is_judged_by_its_endpoint_and_its_logs(gates: Gates) -> None:
    application = gates.application
    gates.arguments.update(
        pm2_home="", services=[], logs={BAILEYS: [str(log) for log in application.log_files(BAILEYS)]}
    )
    baseline = gates.gate()
    assert baseline.decision.state == GREEN
    break_application(application, "logout")
    assert "logged out (401)" in reasons(gates.gate(PATIENT, baseline))


# --- what cannot be looked at --------------------------------------------------------------------------------------


def daemons() -> set[int]:
    """Process ids of every PM2 daemon of this machine."""
    found = set()
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if process.read_bytes().startswith(b"PM2 v"):
                found.add(int(process.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
    return found


def no_home(home: Path) -> None:
    home.rmdir()


def no_daemon(home: Path) -> None:
    assert list(home.iterdir()) == []


def left_behind(home: Path) -> None:
    """A socket that nobody listens on any more."""
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(home / "rpc.sock"))


def somebody_elses(home: Path) -> None:
    """A socket of the application's daemon in a home that belongs to another user."""
    os.chown(home, 65534, 65534)
    (home / "rpc.sock").symlink_to(HOME_OF_APPLICATION[0])


HOME_OF_APPLICATION: list[Path] = []


@pytest.mark.parametrize(
    ("make", "text", "looks"),
    [
        (no_home, "is not a folder on this machine", 1),
        (no_daemon, "No PM2 daemon at", 3),
        (left_behind, "which a killed daemon left behind", 3),
        pytest.param(
            somebody_elses,
            "runs as root, not as nobody",
            1,
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away"),
        ),
    ],
    ids=["no home", "no daemon", "stale socket", "another user's daemon"],
)
def test_what_cannot_be_looked_at_is_broken_and_starts_no_pm2(
    gates: Gates, tmp_path: Path, make: Callable[[Path], None], text: str, looks: int
) -> None:
    HOME_OF_APPLICATION[:] = [gates.application.pm2.home / "rpc.sock"]
    # Short: a socket's path may have 107 bytes.
    home = Path(os.path.realpath(tmp_path)) / "p"
    home.mkdir()
    make(home)
    before = daemons()
    assert before, "the application's own daemon must be seen"
    gates.arguments.update(pm2_home=str(home))
    found = gates.gate()
    assert (found.decision.state, len(found.history)) == (BROKEN, looks)
    assert text in reasons(found)
    assert daemons() == before
    assert not any(path.name.endswith(".pid") for path in home.glob("*"))


def test_a_probe_that_breaks_meanwhile_is_broken_and_not_red(gates: Gates, baseline: Watched) -> None:
    socket = gates.application.pm2.home / "rpc.sock"
    away = socket.with_name("rpc.away")
    socket.rename(away)
    try:
        found = gates.gate(after=baseline)
    finally:
        away.rename(socket)
    assert found.decision.state == BROKEN
    assert "No PM2 daemon at" in reasons(found)
    assert not any(one.bad for one in found.history)
    # The whole application was looked at as far as it went, and nothing that was known is forgotten.
    assert gates.gate(after=found).decision.state == GREEN


def test_a_log_that_is_not_there_is_broken(gates: Gates, tmp_path: Path) -> None:
    gates.arguments.update(logs={"misspelt": [str(tmp_path / "shpo.log")]})
    found = gates.gate()
    assert found.decision.state == BROKEN
    assert "There is no log" in reasons(found)


def test_a_company_that_nobody_names_is_asked_for(gates: Gates, tmp_path: Path) -> None:
    """The endpoint of another version may not name it: this is no illness of the application."""
    import http.server
    import threading

    answer = json.dumps({"status": "connected", "connected": True, "user": {"id": "1@x"}}).encode()

    class Health(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Health) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            client = gates.arguments["whatsapp"]
            client["health_url"] = f"http://127.0.0.1:{server.server_address[1]}/health"
            found = gates.gate()
            client["company_id"] = gates.application.health()["companyId"]
            told = gates.gate()
        finally:
            server.shutdown()
    assert found.decision.state == BROKEN
    assert "gate_whatsapp_company_id" in reasons(found)
    assert told.decision.state == GREEN, told.decision


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"services": []}, "pm2_home is named, but no services"),
        ({"pm2_home": ""}, "are named, but no pm2_home"),
        ({"pm2_home": "", "services": [], "whatsapp": None}, "there is nothing to look at"),
        ({"services": [API]}, "is neither among the services nor among the logs"),
        ({"pm2_home": "", "services": []}, "is neither among the services nor among the logs"),
    ],
)
def test_what_would_look_well_whatever_happens_is_refused(
    gates: Gates, capsys: pytest.CaptureFixture[str], arguments: dict[str, Any], problem: str
) -> None:
    given = {**gates.arguments, **arguments}
    given = {name: value for name, value in given.items() if value is not None}
    refused = run("application_info", capsys, **given)
    assert refused["failed"]
    assert problem in refused["msg"]
    assert refused["details"]["reason"] == "bad_argument"


def test_no_option_means_two_things() -> None:
    """The options of the look and those of the connection are given as one."""
    module = load("application_info")
    assert not set(module.OPTIONS) & set(module.options.CONNECTION)


# --- secrets -------------------------------------------------------------------------------------------------------


def test_no_secret_of_a_service_and_nothing_personal_is_in_any_result(gates: Gates) -> None:
    application = gates.application
    # Writes a secret and a phone number into its log.
    break_application(application, "error-lines")
    application.outside.write(TEST_PHONE, "geheim")
    log = application.log_files(WORKER)[0]
    secrets = [
        *application.secrets.values(),
        application.server.options(OWNER, application.database)["password"],
    ]
    until(lambda: secrets[0] in log.read_text(), "no secret is in the log", 30)
    found = gates.gate(Limits(samples=4, red_samples=4, problem_budgets={"database_error": 9_999}))
    patient = gates.gate(Limits(samples=400, red_samples=3, problem_budgets=BUDGETS, rate_factor=0), found)
    assert patient.decision.state == RED
    said = json.dumps(
        [gates.seen, [one.as_result() for one in patient.history], patient.reference, gates.said]
    )
    private = [*secrets, SALON_PHONE, TEST_PHONE, "Invented Salon", "geheim"]
    assert not [secret for secret in private for written in spellings(secret) if written in said]


def test_nothing_is_written_beside_the_logs_or_in_pm2s_home(gates: Gates) -> None:
    home = gates.application.pm2.home

    def listing() -> dict[str, int]:
        return {str(path): stat.S_IFMT(path.lstat().st_mode) for path in home.rglob("*")}

    before = listing()
    gates.gate()
    assert listing() == before
    assert shutil.which("pm2", path=str(home)) is None
