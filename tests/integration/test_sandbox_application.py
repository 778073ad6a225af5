"""The sandbox's application: healthy it looks like production's, and each way to break it shows as it does there."""

import os
import re
import signal
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sandbox.__main__ import EXIT_NOT_HEALTHY, EXIT_NOT_RUNNING, main
from sandbox.application import Application
from sandbox.breakage import BREAKS, break_application, mend
from sandbox.credentials import OWNER
from sandbox.errors import SandboxError
from sandbox.pm2 import Pm2
from sandbox.processes import processes_of
from sandbox.server import PostgresServer
from sandbox.services import BAILEYS, COMPANY, CRON, NAMES, SALON_PHONE, TEST_PHONE

# One of its own: it counts what a fresh application has.
from tests.application_fixture import UP, mended_application, running_application  # noqa: F401
from tests.waiting import until

pytestmark = pytest.mark.timeout(300)

API, WORKER, BATCH, MONITOR, TELEGRAM, _, BACKUP = NAMES
# As winston with colours writes it, behind PM2's local time: 2025-11-09 21:30:00: ESC[32minfoESC[39m: message {json}
LINE = re.compile(
    r"^(?P<local>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d): \x1b\[3[1-4]m(?P<level>error|warn|info|debug)\x1b\[39m: "
    r'(?P<message>.*) \{.*"timestamp":"(?P<utc>[^"]*)Z".*\}$'
)
PATIENCE_S = 30.0
# What a service does by itself happens every five seconds at least.
IDLE_S = 5.0


class Logs:
    """What the services wrote since this object was made."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._sizes = {file: file.stat().st_size for name in NAMES for file in application.log_files(name)}

    def out(self, service: str) -> str:
        return self._since(self._application.log_files(service)[0])

    def err(self, service: str) -> str:
        return self._since(self._application.log_files(service)[1])

    def _since(self, file: Path) -> str:
        return file.read_bytes()[self._sizes[file] :].decode()

    def wait_for(self, service: str, text: str, times: int = 1) -> str:
        """Wait until a service wrote a text to its standard output; return all that it wrote."""
        deadline = time.monotonic() + PATIENCE_S
        while (written := self.out(service)).count(text) < times:
            assert time.monotonic() < deadline, f"{service} does not write {text!r}, but:\n{written}"
            time.sleep(0.02)
        return written


@pytest.fixture
def logs(application: Application) -> Logs:
    return Logs(application)


def processes(application: Application) -> dict[str, dict[str, Any]]:
    return {process["name"]: process for process in application.pm2.processes()}


def pids(application: Application) -> dict[str, int]:
    return {name: process["pid"] for name, process in processes(application).items() if name != CRON}


def status(application: Application, service: str) -> str:
    return str(processes(application)[service]["pm2_env"]["status"])


def receive(application: Application, text: str) -> None:
    """Do what the WhatsApp service does with a message that comes in."""
    application.send(
        application.webhook_url,
        {
            "from": TEST_PHONE,
            "message": text,
            "messageId": "3EB0PROBE",
            "timestamp": datetime.now().isoformat(),
        },
    )


def nonce() -> str:
    return f"probe {uuid.uuid4().hex[:8]}"


# --- healthy -------------------------------------------------------------------------------------------------------


def test_services_run_under_their_production_names(application: Application) -> None:
    found = processes(application)
    assert set(found) == {*NAMES, CRON}
    assert {name: found[name]["pm2_env"]["status"] for name in NAMES} == dict.fromkeys(NAMES, "online")
    assert all("cron_restart" not in found[name]["pm2_env"] for name in NAMES)


def test_a_cron_process_is_normally_stopped(application: Application) -> None:
    until(lambda: status(application, CRON) == "stopped", "the cron process goes on")
    assert processes(application)[CRON]["pm2_env"]["cron_restart"] == "*/5 * * * *"


def test_the_health_endpoint_answers_as_production_does(application: Application) -> None:
    health = application.health()
    assert list(health) == [
        "service", "companyId", "status", "connected", "user", "phoneNumber", "hasQR", "hasPairingCode", "metrics"
    ]  # fmt: skip
    assert (health["status"], health["connected"], health["companyId"]) == ("connected", True, COMPANY)
    assert health["user"] == {"id": f"{SALON_PHONE}:7@s.whatsapp.net", "name": "Invented Salon"}
    assert health["phoneNumber"] == f"{SALON_PHONE}:7"
    assert list(health["metrics"]) == [
        "totalSessions", "activeConnections", "failedReconnects", "messagesSent", "messagesReceived",
        "qrCodesGenerated", "errors", "lastError", "connectedSessions",
    ]  # fmt: skip


@pytest.mark.parametrize("path", ["/status", "/", "/send"])
def test_the_whatsapp_service_has_no_other_endpoint(application: Application, path: str) -> None:
    url = application.health_url.removesuffix("/health") + path
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(url)
    assert caught.value.code == 404


def test_a_message_without_text_is_refused(application: Application) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        application.send(application.send_url, {"phone": TEST_PHONE})
    assert caught.value.code == 400


def test_the_session_is_in_the_database_once(application: Application) -> None:
    with application.server.connect(OWNER, application.database) as owner:
        sessions = owner.execute(
            "SELECT company_id, creds #>> '{me,id}', creds #>> '{signedIdentityKey,public,data}' FROM whatsapp_auth"
        ).fetchall()
        keys = owner.execute("SELECT key_type, count(*) FROM whatsapp_keys GROUP BY key_type").fetchall()
    [client] = application.outside.state()["clients"]
    assert sessions == [(COMPANY, f"{SALON_PHONE}:7@s.whatsapp.net", client["identity"])]
    # As many as a client makes when it is paired.
    assert ("pre-key", 812) in keys


def test_the_services_reach_the_database_as_its_owner_over_tls(application: Application) -> None:
    # Connections that are idle for ten seconds are closed.
    application.send(application.send_url, {"phone": TEST_PHONE, "message": "Hello"})
    with application.server.connect() as admin:
        rows = admin.execute(
            "SELECT application_name, usename, bool_and(ssl), count(*) FROM pg_stat_activity "
            "JOIN pg_stat_ssl USING (pid) WHERE datname = %s GROUP BY 1, 2",
            [application.database],
        ).fetchall()
    assert BAILEYS in {name for name, *_ in rows}
    assert {(user, tls) for _, user, tls, _ in rows} == {(OWNER, application.server.has_tls)}
    assert max(count for *_, count in rows) <= 3


def test_log_lines_look_like_production(application: Application) -> None:
    for name in NAMES:
        lines = application.log_files(name)[0].read_text().splitlines()
        matches = [match for match in map(LINE.match, lines) if match]
        assert matches, name
        for match in matches:
            local = datetime.fromisoformat(match["local"])
            # PM2 writes Moscow's time, the logger UTC; a line may wait a moment in between.
            assert (
                timedelta()
                <= local - timedelta(hours=3) - datetime.fromisoformat(match["utc"]) + timedelta(seconds=1)
                < timedelta(seconds=10)
            ), match[0]
    lines = application.log_files(BAILEYS)[0].read_text().splitlines()
    assert [line for line in lines if line.endswith(": ✅ WHATSAPP CONNECTED SUCCESSFULLY!")]


def test_pairing_left_nothing_in_the_logs_that_alarms(application: Application) -> None:
    text = application.log_files(BAILEYS)[0].read_text()
    assert "QR Code" not in text
    assert "No existing credentials" not in text


def test_a_message_is_answered_step_by_step(application: Application, logs: Logs) -> None:
    text = nonce()
    receive(application, text)
    worker = logs.wait_for(WORKER, "✅ Job")
    baileys = logs.wait_for(BAILEYS, f"✅ Message sent to {TEST_PHONE}@s.whatsapp.net for company {COMPANY}")
    steps = {
        logs.out(API): ["📨 Webhook received request:", "📝 Format 1 detected - single message:"],
        logs.out(BATCH): [
            f"Batch for {TEST_PHONE} idle for ",
            f"Batch processed successfully for {TEST_PHONE}",
        ],
        worker: [
            f'💬 Processing message from {TEST_PHONE}: "{text}"',
            f"🤖 Bot sending 1 messages to {TEST_PHONE}",
            f"🤖 Message 1/1 to {TEST_PHONE}: ",
            f"📤 Sending message via API to {TEST_PHONE} for company {COMPANY}",
            "✅ Message sent successfully via API",
            "✅ Job",
        ],
        baileys: [f"📤 Sending message to {TEST_PHONE} via baileys-service", "✅ Message sent to"],
    }
    for written, wanted in steps.items():
        places = [written.find(step) for step in wanted]
        assert -1 not in places, (wanted, written)
        assert places == sorted(places), written
    # The phone could decrypt it.
    assert text in application.outside.messages(TEST_PHONE)[-1]["text"]


def test_a_phone_that_writes_gets_an_answer(application: Application, logs: Logs) -> None:
    text = nonce()
    application.outside.write(TEST_PHONE, text)
    logs.wait_for(BAILEYS, f"✅ Message sent to {TEST_PHONE}")
    assert text in application.outside.messages(TEST_PHONE)[-1]["text"]


def test_thanks_are_answered_with_a_reaction(application: Application, logs: Logs) -> None:
    before = len(application.outside.messages(TEST_PHONE))
    receive(application, "Спасибо!")
    logs.wait_for(WORKER, "❤️ Reaction sent")
    [answer] = application.outside.messages(TEST_PHONE)[before:]
    assert (answer["text"], answer["reaction"]) == (None, "❤️")


def test_asking_the_api_for_its_health_sends_a_message(application: Application) -> None:
    """The trap that production has: whoever polls it writes to a phone."""
    before = len(application.outside.messages(TEST_PHONE))
    urllib.request.urlopen(f"http://127.0.0.1:{application.variables['app_port']}/health").close()
    assert len(application.outside.messages(TEST_PHONE)) == before + 1


def test_secrets_are_in_the_environment_and_nowhere_else(application: Application) -> None:
    environment = processes(application)[WORKER]["pm2_env"]
    assert all(environment[name] == value for name, value in application.secrets.items())
    open_files = [application.variables_file, application.outside.log, application.pm2.home / "pm2.log"]
    for file in [*open_files, *(application.pm2.home / "logs").iterdir()]:
        # The fault "error-lines" writes one on purpose.
        text = "\n".join(line for line in file.read_text().splitlines() if '"apiKey"' not in line)
        assert not [name for name, value in application.secrets.items() if value in text], file
    for name in ("secrets.json", ".env", "ecosystem.json"):
        assert (application.folder / name).stat().st_mode & 0o077 == 0


def test_status_describes_it(application: Application, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--home", str(application.home)]) == 0
    said = capsys.readouterr().out
    assert "Application: healthy." in said
    assert application.health_url in said
    break_application(application, "stop", TELEGRAM)
    assert main(["status", "--home", str(application.home)]) == EXIT_NOT_HEALTHY
    assert f"problem   {TELEGRAM} is stopped" in capsys.readouterr().out


# --- its life ------------------------------------------------------------------------------------------------------


def test_a_second_up_changes_nothing(application: Application, capsys: pytest.CaptureFixture[str]) -> None:
    before = (pids(application), application.pm2.pid, application.outside.pid, application.variables)
    assert main([*UP, "--home", str(application.home)]) == 0
    assert (pids(application), application.pm2.pid, application.outside.pid, application.variables) == before
    assert "nothing changed" in capsys.readouterr().out


def test_up_leaves_what_is_broken_on_purpose(application: Application) -> None:
    break_application(application, "stop", TELEGRAM)
    assert main([*UP, "--home", str(application.home)]) == 0
    assert status(application, TELEGRAM) == "stopped"


def test_the_session_survives_down_and_up(application: Application) -> None:
    [before] = application.outside.state()["clients"]
    assert main(["down", "--home", str(application.home)]) == 0
    assert processes_of(application.home) == set()
    assert not application.variables_file.exists()
    assert main(["status", "--home", str(application.home)]) == EXIT_NOT_RUNNING
    with pytest.raises(SandboxError, match="does not run: python -m sandbox up --application"):
        break_application(application, "drop-connection")
    assert main([*UP, "--home", str(application.home)]) == 0
    [after] = application.outside.state()["clients"]
    assert after == before
    # The phone still understands the salon.
    text = nonce()
    application.send(application.send_url, {"phone": TEST_PHONE, "message": text})
    assert application.outside.messages(TEST_PHONE)[-1]["text"] == text


@pytest.mark.parametrize("victim", ["pm2", "outside"])
def test_up_recovers_from_a_kill(application: Application, victim: str) -> None:
    pid = {"pm2": application.pm2.pid, "outside": application.outside.pid}[victim]
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: not application.is_running(), f"{victim} lives on")
    assert main([*UP, "--home", str(application.home)]) == 0
    assert application.problems() == []
    assert len(processes(application)) == len(NAMES) + 1
    with application.server.connect(OWNER, application.database) as owner:
        assert owner.execute("SELECT count(*) FROM whatsapp_auth").fetchone() == (1,)


def test_no_daemon_is_started_by_asking(application: Application, tmp_path: Path) -> None:
    running = application.pm2
    elsewhere = Pm2(tmp_path, running._node, running._cli.parents[2])
    with pytest.raises(SandboxError, match="no PM2 runs in"):
        elsewhere.processes()
    assert list(tmp_path.iterdir()) == []


# --- broken, and mended --------------------------------------------------------------------------------------------

CLOSED = f"Connection closed for company {COMPANY}"
CONNECTED = f"✅ WhatsApp connected for company {COMPANY}"


def see_a_dropped_connection(application: Application, logs: Logs) -> None:
    # While it waits for its next attempt, the service goes on saying that it is connected.
    logs.wait_for(BAILEYS, f"🔄 Reconnecting company {COMPANY} in 300ms (attempt 1/5)")
    assert application.health()["connected"]
    written = logs.wait_for(BAILEYS, CONNECTED)
    assert '"disconnectReason":"connectionClosed"' in written
    assert '"statusCode":428' in written
    assert "⚠️ WhatsApp disconnected" in written


def see_a_logout(application: Application, logs: Logs) -> None:
    written = logs.wait_for(BAILEYS, "❌ Session logged out, will need to re-authenticate")
    assert f"Session logged out for company {COMPANY}" in written
    assert '"statusCode":401' in written
    assert "Reconnecting" not in written
    assert application.health()["status"] == "not_initialized"
    assert "user" not in application.health()
    assert status(application, BAILEYS) == "online"


def see_a_replacement(application: Application, logs: Logs) -> None:
    written = logs.wait_for(BAILEYS, f"⚠️ Connection replaced (error 440) for company {COMPANY}")
    assert "Reconnecting" not in written
    assert not application.health()["connected"]


def see_a_reconnect_loop(application: Application, logs: Logs) -> None:
    # Each attempt succeeds, so it is the first again: it goes on for ever.
    written = logs.wait_for(BAILEYS, f"🔄 Reconnecting company {COMPANY} in 300ms (attempt 1/5)", times=4)
    assert written.count(CONNECTED) >= 3
    assert application.health()["connected"]


def see_it_give_up(application: Application, logs: Logs) -> None:
    written = logs.wait_for(BAILEYS, f"Max reconnection attempts reached for company {COMPANY}")
    assert re.findall(r"in (\d+)ms \(attempt (\d)/5\)", written) == [
        (str(300 * 2**attempt), str(attempt + 1)) for attempt in range(5)
    ]
    assert application.health()["metrics"]["failedReconnects"] == 1
    assert status(application, BAILEYS) == "online"


def see_a_crash_loop(application: Application, logs: Logs) -> None:
    before = processes(application)[WORKER]
    seen = set()

    def restarted() -> bool:
        process = processes(application)[WORKER]
        seen.add(process["pm2_env"]["status"])
        return bool(process["pm2_env"]["restart_time"] >= before["pm2_env"]["restart_time"] + 2)

    until(restarted, f"{WORKER} does not crash", PATIENCE_S)
    assert "online" in seen
    assert "TypeError" in logs.err(WORKER) or "Error: Cannot read properties" in logs.err(WORKER)


def see_error_lines(application: Application, logs: Logs) -> None:
    written = logs.wait_for(WORKER, "\x1b[31merror\x1b[39m: Failed to load client context", times=3)
    assert application.secrets["OPENAI_API_KEY"] in written
    # Loggers write all levels to the standard output.
    assert logs.err(WORKER) == ""
    assert status(application, WORKER) == "online"


def see_a_stopped_service(application: Application, logs: Logs) -> None:
    assert status(application, WORKER) == "stopped"
    assert processes(application)[WORKER]["pid"] == 0


def see_a_slow_database(application: Application, logs: Logs) -> None:
    logs.wait_for(MONITOR, "Slow query: 15")
    begin = time.monotonic()
    with application.server.connect(OWNER, application.database) as owner:
        owner.execute("SELECT count(*) FROM whatsapp_auth")
    # The rollout's own way is as fast as ever.
    assert time.monotonic() - begin < 1.5


def see_a_dead_database(application: Application, logs: Logs) -> None:
    logs.wait_for(MONITOR, "Failed to check bookings: connect ECONNREFUSED")
    receive(application, nonce())
    written = logs.wait_for(WORKER, f"🤖 Bot response to {TEST_PHONE} (error)")
    assert "Processing error: " in written
    # And still:
    logs.wait_for(WORKER, "✅ Job")
    assert "✅ Message sent successfully" not in written
    with application.server.connect(OWNER, application.database) as owner:
        assert owner.execute("SELECT 1").fetchone() == (1,)


# How it shows, and which service has to be started again to mend it (one that crashes does that by itself).
SEEN: dict[str, tuple[Callable[[Application, Logs], None], str | None]] = {
    "drop-connection": (see_a_dropped_connection, None),
    "logout": (see_a_logout, BAILEYS),
    "replace": (see_a_replacement, BAILEYS),
    "reconnect-loop": (see_a_reconnect_loop, None),
    "refuse-logins": (see_it_give_up, BAILEYS),
    "crash-loop": (see_a_crash_loop, WORKER),
    "error-lines": (see_error_lines, None),
    "stop": (see_a_stopped_service, WORKER),
    "slow-database": (see_a_slow_database, None),
    "dead-database": (see_a_dead_database, None),
}


@pytest.mark.parametrize("what", SEEN)
def test_it_breaks_as_production_does_and_is_mended(application: Application, logs: Logs, what: str) -> None:
    see, restarted = SEEN[what]
    before = pids(application)
    assert break_application(application, what) in ("", WORKER)
    see(application, logs)
    if what != "drop-connection":
        assert application.problems() != []
    mend(application)
    assert application.problems() == []
    after = pids(application)
    # What was healthy was left alone.
    assert {name for name in NAMES if before[name] != after[name]} == ({restarted} if restarted else set())
    mended = Logs(application)
    receive(application, nonce())
    mended.wait_for(WORKER, "✅ Message sent successfully via API")
    assert CLOSED not in mended.out(BAILEYS)


def test_every_way_to_break_it_is_tried() -> None:
    # The rotation of logs has tests of its own, below.
    assert {*SEEN, "rotate-logs"} == set(BREAKS)


def test_logs_are_rotated_by_copying_and_truncating(application: Application, logs: Logs) -> None:
    log = application.log_files(MONITOR)[0]
    logs.wait_for(MONITOR, "Checking bookings")
    before = log.stat()
    break_application(application, "rotate-logs")
    assert log.stat().st_ino == before.st_ino
    assert log.stat().st_size < before.st_size
    [copy] = log.parent.glob(f"{log.stem}__????-??-??_??-??-??.log")
    assert copy.stat().st_size >= before.st_size
    # PM2 goes on where the file ends now.
    until(lambda: "Checking bookings" in log.read_text(), "nothing is written any more", 3 * IDLE_S)
    assert not log.read_bytes().startswith(b"\0")
    assert application.problems() == []


def test_logs_are_rotated_by_renaming(application: Application) -> None:
    log = application.log_files(MONITOR)[0]
    inode = log.stat().st_ino
    break_application(application, "rotate-logs", "rename")
    renamed = log.with_name(f"{log.name}.1")
    assert not log.exists()
    assert renamed.stat().st_ino == inode
    size = renamed.stat().st_size
    # PM2 still writes there, until it is told to open its logs anew.
    until(lambda: renamed.stat().st_size > size, "nothing is written any more", 3 * IDLE_S)
    assert mend(application) == ["let PM2 reopen its logs"]
    until(lambda: log.exists() and log.stat().st_size > 0, "no new log is begun", 3 * IDLE_S)
    assert application.problems() == []


def test_mending_what_is_healthy_does_nothing(application: Application) -> None:
    before = pids(application)
    assert mend(application) == []
    assert pids(application) == before


def test_another_service_is_broken_when_named(application: Application) -> None:
    assert break_application(application, "stop", BACKUP) == BACKUP
    assert application.problems() == [f"{BACKUP} is stopped"]


@pytest.mark.parametrize(
    ("what", "detail"), [("stop", "nobody"), ("rotate-logs", WORKER), ("logout", WORKER), ("stop", CRON)]
)
def test_what_cannot_be_broken_is_refused(application: Application, what: str, detail: str) -> None:
    with pytest.raises(SandboxError, match=f"break {what} cannot be followed by {detail}, only by: "):
        break_application(application, what, detail)
    assert application.problems() == []


def test_breaking_and_mending_need_an_application(tmp_path: Path) -> None:
    nothing = Application(PostgresServer(tmp_path), "default_db")
    for act in (lambda: break_application(nothing, "logout"), lambda: mend(nothing)):
        with pytest.raises(SandboxError, match="does not run: python -m sandbox up --application"):
            act()
    assert list(tmp_path.iterdir()) == []
