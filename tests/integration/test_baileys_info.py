"""baileys_info on the real WhatsApp client of the sandbox: healthy, broken in each way, and its session store."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.rollout import session_store
from ansible.module_utils.rollout.connection import Session
from ansible.module_utils.rollout.options import ConnectionOptions

from sandbox.application import Application
from sandbox.breakage import break_application, mend
from sandbox.credentials import OWNER
from sandbox.databases import Database
from sandbox.services import BAILEYS, COMPANY, SALON_PHONE, TEST_PHONE
from tests.integration.command_runs import spellings
from tests.integration.module_run import documented, run
from tests.waiting import until

pytestmark = pytest.mark.timeout(300)

BOOKKEEPING = {"changed", "invocation"}
PATIENCE_S = 30.0
#: Its own work besides the window, seconds; generous, the machine may be busy.
OWN_WORK_S = 10.0


class Watch:
    """Looks at an application's WhatsApp client, each time since the first look.

    :ivar before: the first look, at the healthy client
    """

    def __init__(self, application: Application, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.application = application
        self.arguments: dict[str, Any] = {
            "health_url": application.health_url,
            "never_port": application.variables["app_port"],
            "count": 2,
            "interval": 0.2,
            "pm2_home": str(application.pm2.home),
            "pm2_service": BAILEYS,
            "service": "sandbox",
            "service_file": str(application.home / "pg_service.conf"),
        }
        self.before = self.look(bookmarks=None, baseline=None)

    def look(self, **arguments: Any) -> dict[str, Any]:
        first = (
            {"bookmarks": self.before["bookmarks"], "baseline": self.before["reading"]}
            if hasattr(self, "before")
            else {}
        )
        given = {**self.arguments, **first, **arguments}
        # Not given is what an inventory's "omit" makes of an option.
        return run(
            "baileys_info",
            self._capsys,
            **{name: value for name, value in given.items() if value is not None},
        )

    def wait_for(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Look until the result is as wanted; returns it."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition(found := self.look()):
            assert time.monotonic() < deadline, found
        return found

    def happened(self, *names: str) -> bool:
        """Whether the log names these events since the first look."""
        found = self.look(count=1, service=None)
        return set(names) <= {event["name"] for event in found["evidence"]["events"]}


@pytest.fixture
def watch(application: Application, capsys: pytest.CaptureFixture[str]) -> Watch:
    watch = Watch(application, capsys)
    assert (watch.before["verdict"], watch.before["store"]["state"]) == ("connected", "sound"), watch.before
    return watch


# --- healthy -------------------------------------------------------------------------------------------------------


def test_the_healthy_client_is_connected_and_untouched(watch: Watch) -> None:
    """The control of everything below."""
    found = watch.look(count=3)
    assert (found["verdict"], found["terminal"], found["changed"]) == ("connected", False, False)
    assert "the log shows no loss" in found["reason"]
    assert found["store"] == {"state": "untouched", "findings": []}
    assert (found["company"], found["evidence"]["continuity"]) == (COMPANY, "proven")
    assert [sample["connected"] for sample in found["evidence"]["samples"]] == [True] * 3
    assert found["evidence"]["pids"] == found["evidence"]["pids_before"] == watch.before["reading"]["pids"]
    assert set(found) - BOOKKEEPING == documented("baileys_info") - {"details"}
    assert found["seconds"] < 2 * 0.2 + OWN_WORK_S


def test_check_mode_looks_as_well(watch: Watch, capsys: pytest.CaptureFixture[str]) -> None:
    found = run("baileys_info", capsys, check=True, **watch.arguments)
    assert (found["verdict"], found["changed"]) == ("connected", False)


def test_nothing_personal_and_no_secret_is_returned(watch: Watch) -> None:
    watch.application.outside.write(TEST_PHONE, "geheim")
    said = json.dumps(watch.look(count=3))
    secrets = [*watch.application.secrets.values(), SALON_PHONE, TEST_PHONE, "Invented Salon", "geheim"]
    assert not [secret for secret in secrets for written in spellings(secret) if written in said]


def test_a_first_look_says_that_it_knows_nothing_of_before(watch: Watch) -> None:
    assert watch.before["evidence"]["continuity"] == "new"
    assert "during the window only" in watch.before["reason"]


def test_without_connection_options_the_store_is_not_called_fine(watch: Watch) -> None:
    found = watch.look(service=None)
    assert found["store"] == {"state": "not_looked_at", "findings": []}
    assert found["reading"]["store"] is None
    assert found["verdict"] == "connected"


@pytest.mark.parametrize("how", ["copytruncate", "rename"])
def test_a_rotated_log_is_no_illness(watch: Watch, how: str) -> None:
    break_application(watch.application, "rotate-logs", how)
    found = watch.look()
    assert found["verdict"] == "connected"
    assert found["evidence"]["continuity"] in ("proven", "unproven")


def test_a_loss_is_seen_through_a_rotation(watch: Watch) -> None:
    break_application(watch.application, "logout")
    until(lambda: watch.happened("logged_out"), "no logout is logged", PATIENCE_S)
    break_application(watch.application, "rotate-logs")
    assert watch.look()["verdict"] == "logged_out"


# --- broken --------------------------------------------------------------------------------------------------------


def test_a_flap_is_reconnecting_and_then_connected(watch: Watch) -> None:
    break_application(watch.application, "drop-connection")
    flapping = watch.look(count=4, interval=0.5)
    assert (flapping["verdict"], flapping["terminal"]) == ("reconnecting", False)
    # The endpoint never said so.
    assert all(sample["connected"] for sample in flapping["evidence"]["samples"])
    back = watch.wait_for(lambda found: bool(found["verdict"] == "connected"))
    names = [event["name"] for event in back["evidence"]["events"]]
    assert names.index("connection_closed") < names.index("disconnected") < names.index("connected")
    assert back["evidence"]["events"][0]["code"] == 428
    assert back["evidence"]["pids"] == watch.before["reading"]["pids"]
    assert back["store"]["state"] == "untouched"


def test_a_reconnect_loop_is_seen_through_at_any_moment(watch: Watch) -> None:
    break_application(watch.application, "reconnect-loop")
    until(
        lambda: (
            [event["name"] for event in watch.look(count=1)["evidence"]["events"]].count("connected") >= 3
        ),
        "there is no loop",
        PATIENCE_S,
    )
    looks = [watch.look(count=1) for _ in range(10)]
    assert {(found["verdict"], found["terminal"]) for found in looks} == {("reconnecting", False)}
    assert all(found["evidence"]["samples"][0]["connected"] for found in looks)


def test_stale_answers_are_seen_through_until_it_gives_up(watch: Watch) -> None:
    break_application(watch.application, "refuse-logins")
    until(lambda: watch.happened("connection_closed", "reconnecting"), "no loss is logged", PATIENCE_S)
    stale = watch.look()
    assert all(sample["connected"] for sample in stale["evidence"]["samples"])
    assert (stale["verdict"], stale["terminal"]) == ("reconnecting", False)
    given_up = watch.wait_for(lambda found: bool(found["verdict"] != "reconnecting"))
    assert (given_up["verdict"], given_up["terminal"]) == ("unknown", True)
    assert "gave up" in given_up["reason"]


@pytest.mark.parametrize(
    ("what", "event", "verdict", "code"),
    [
        ("logout", "logged_out", "logged_out", 401),
        ("replace", "connection_replaced", "replaced", 440),
    ],
)
def test_what_time_does_not_heal(watch: Watch, what: str, event: str, verdict: str, code: int) -> None:
    break_application(watch.application, what)
    until(lambda: watch.happened(event), f"{what} is not logged", PATIENCE_S)
    found = watch.look()
    assert (found["verdict"], found["terminal"]) == (verdict, True)
    assert code in [event["code"] for event in found["evidence"]["events"]]
    # PM2 sees nothing of it.
    assert found["evidence"]["pids"] == watch.before["reading"]["pids"]
    # Whoever looks at the log later only does not know why, and does not call it connected.
    later = watch.look(bookmarks=found["bookmarks"])
    assert (later["verdict"], "not_initialized" in later["reason"]) == ("unknown", True)
    mend(watch.application)
    # The endpoint says so before the log does.
    mended = watch.wait_for(lambda found: bool(found["verdict"] == "connected"))
    assert mended["evidence"]["pids"] != mended["evidence"]["pids_before"]


def test_a_stopped_service_has_no_process(watch: Watch) -> None:
    break_application(watch.application, "stop", BAILEYS)
    found = watch.look()
    assert (found["verdict"], found["terminal"], found["evidence"]["pids"]) == ("unknown", True, [])
    assert "no process" in found["reason"]
    # The reading of PM2 may also come from pm2_info.
    assert "no process" in watch.look(pm2_home=None, pm2_service=None, pids=[])["reason"]


def test_an_endpoint_that_does_not_answer_is_unknown(watch: Watch) -> None:
    found = watch.look(health_url="http://127.0.0.1:1/health")
    assert (found["verdict"], found["terminal"]) == ("unknown", False)
    assert "does not answer" in found["reason"]
    assert found["store"]["state"] == "unknown_company"
    assert (
        watch.look(health_url="http://127.0.0.1:1/health", company_id=COMPANY)["store"]["state"]
        == "untouched"
    )


def test_a_new_pairing_and_another_shape_are_found(watch: Watch) -> None:
    with watch.application.server.connect(OWNER, watch.application.database) as owner:
        owner.execute("CREATE INDEX more ON whatsapp_keys (created_at)")
        owner.execute("INSERT INTO whatsapp_auth VALUES (%s, '{}')", [f"company_{COMPANY}"])
        try:
            found = watch.look()
        finally:
            owner.execute("DROP INDEX more")
            owner.execute("DELETE FROM whatsapp_auth WHERE company_id = %s", [f"company_{COMPANY}"])
    assert found["store"]["state"] == "touched"
    findings = [finding["what"] for finding in found["store"]["findings"]]
    assert findings[:2] == [
        "the tables of the session store have another shape",
        "credentials of the company in use",
    ]
    assert watch.look()["store"]["state"] == "untouched"


# --- refused -------------------------------------------------------------------------------------------------------


def test_the_api_is_never_asked(watch: Watch) -> None:
    messages = len(watch.application.outside.messages(TEST_PHONE))
    port = watch.application.variables["app_port"]
    refused = watch.look(health_url=f"http://127.0.0.1:{port}/health")
    assert (refused["failed"], refused["details"]["reason"]) == (True, "forbidden_port")
    assert watch.look(health_url="http://127.0.0.1:3000/health", never_port=3000)["failed"]
    assert len(watch.application.outside.messages(TEST_PHONE)) == messages


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"health_url": "http://example.invalid:3003/health"}, "bad_url"),
        ({"count": 0}, "bad_argument"),
        ({"timeout": 0}, "bad_argument"),
        ({"baseline": {"pids": 1}}, "bad_baseline"),
        ({"baseline": {"pids": [1], "account": "", "store": {}}}, "bad_baseline"),
        ({"bookmarks": [{"path": 1}]}, "bad_bookmark"),
        ({"pm2_home": "/nowhere"}, "no_home"),
    ],
)
def test_a_broken_probe_is_a_failure_and_no_verdict(
    watch: Watch, arguments: dict[str, Any], reason: str
) -> None:
    found = watch.look(**arguments)
    assert (found["failed"], found["details"]["reason"]) == (True, reason)
    assert "verdict" not in found


# --- the session store, without an application ---------------------------------------------------------------------

AUTH, KEYS = "whatsapp_auth", "whatsapp_keys"


def reading(options: dict[str, Any], auth: str = AUTH, keys: str = KEYS) -> session_store.StoreReading:
    with Session(ConnectionOptions(**options), "tests", read_only=True) as session:
        return session_store.read(session, "public", auth, keys)


def findings(database: Database, *changes: str) -> list[str]:
    """What is found after changes, each in a transaction of its own."""
    before = reading(database.options)
    with database.connect() as owner:
        for change in changes:
            owner.execute(change)
    now = reading(database.options)
    return [
        one["what"] for one in session_store.compare(before, now, session_store.spellings("100001"), 0.05)
    ]


def test_a_days_normal_life_is_no_finding(database: Database) -> None:
    assert (
        findings(
            database,
            "UPDATE whatsapp_keys SET value = '{}' WHERE random() < 0.24",
            "UPDATE whatsapp_auth SET creds = jsonb_set(creds, '{nextPreKeyId}', '500')",
            # Ten rows of the template have expired.
            "SELECT cleanup_expired_whatsapp_keys()",
            "DELETE FROM whatsapp_keys WHERE key_type = 'pre-key' AND key_id::integer > 115",
            "INSERT INTO whatsapp_keys (company_id, key_type, key_id, value)"
            " VALUES ('100001', 'pre-key', '500', '{}')",
            "VACUUM FULL whatsapp_keys",
        )
        == []
    )


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ("ALTER TABLE whatsapp_keys ADD more text", "another shape"),
        ("ALTER TABLE whatsapp_auth DISABLE ROW LEVEL SECURITY", "another shape"),
        ("DROP TRIGGER trigger_whatsapp_keys_updated_at ON whatsapp_keys", "another shape"),
        ("DROP POLICY whatsapp_auth_allow_all ON whatsapp_auth", "another shape"),
        ("GRANT SELECT ON whatsapp_keys TO PUBLIC", "another shape"),
        ("UPDATE whatsapp_auth SET creds = jsonb_set(creds, '{me,id}', '\"other\"')", "identity"),
        ("UPDATE whatsapp_auth SET creds = jsonb_set(creds, '{noiseKey,public}', '\"x\"')", "identity"),
        ("UPDATE whatsapp_auth SET creds = to_jsonb(creds::text)", "credentials"),
        ("DELETE FROM whatsapp_auth", "credentials"),
        ("DELETE FROM whatsapp_keys WHERE key_type = 'session'", "vanished"),
        ("TRUNCATE whatsapp_keys", "vanished"),
        ("DROP TABLE whatsapp_keys", "vanished"),
        ("DROP TABLE whatsapp_auth", "credentials"),
    ],
)
def test_what_is_no_normal_life(database: Database, change: str, finding: str) -> None:
    assert any(finding in what for what in findings(database, change))


def test_a_reader_sees_the_same_and_no_key(database: Database) -> None:
    mine, theirs = reading(database.options), reading(database.readonly_options)
    assert mine.as_result() == {**theirs.as_result(), "read_at": mine.read_at}
    with database.connect() as owner:
        [(secret,)] = owner.execute(
            "SELECT creds #>> '{noiseKey,private,data}' FROM whatsapp_auth"
        ).fetchall()
    assert secret and secret not in repr(mine)
    assert "12025550100" not in repr(mine)


def test_reading_locks_nothing_out(database: Database) -> None:
    """A writer that holds its rows, and a lock that only ACCESS SHARE goes with, do not stop it."""
    with database.connect() as owner, owner.transaction():
        owner.execute("LOCK TABLE whatsapp_auth, whatsapp_keys IN EXCLUSIVE MODE")
        owner.execute("UPDATE whatsapp_auth SET updated_at = now()")
        assert reading(database.options).keys == 200


def test_names_of_tables_are_only_names(database: Database) -> None:
    with database.connect() as owner:
        owner.execute('ALTER TABLE whatsapp_auth RENAME TO "auth ""{0}"')
    odd = reading(database.options, auth='auth "{0}')
    assert list(odd.identities) == ["100001"]
    assert reading(database.options, auth='"; DROP TABLE whatsapp_keys; --').identities == {}
    # The keys are still there.
    assert reading(database.options, auth='auth "{0}').keys == odd.keys == 200


def test_an_unreachable_database_is_a_failure_without_the_password(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(
        "baileys_info",
        capsys,
        health_url="http://127.0.0.1:1/health",
        count=1,
        **{**database.options, "port": 1},
    )
    assert found["failed"]
    password = str(database.options["password"])
    assert not [secret for secret in spellings(password) if secret in str(found)]
