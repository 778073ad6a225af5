"""The main job beside the real application of the sandbox: what an operator sees when it suffers, and what is left."""

import http.server
import json
import re
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from sandbox.application import Application
from sandbox.breakage import break_application
from sandbox.credentials import ADMIN, OWNER
from sandbox.databases import Database
from sandbox.services import BAILEYS, NAMES, SALON_PHONE, TEST_PHONE
from tests.integration.command_runs import spellings
from tests.integration.playbook_run import Run
from tests.integration.rollout_project import RolloutProject, changed, tasks
from tests.integration.test_application_gate import settle
from tests.integration.watched_run import QUICK, watched
from tests.runner import Runner
from tests.waiting import until

# Two runs may take their full time each.
pytestmark = pytest.mark.timeout(700)

WORKER = NAMES[1]
FIRST, SECOND = "0001_business_tables", "0002_messages"
#: Longest wait for a run to get to the place where it is meddled with, seconds.
PATIENCE_S = 90.0


class Site(RolloutProject):
    """The main job for the sandbox's application and its database.

    :ivar database: the application's
    """

    def __init__(self, folder: Path, application: Application, **variables: Any) -> None:
        self.database = Database(application.server, application.database, folder)
        described = application.variables
        super().__init__(
            folder,
            self.database,
            **{
                **{name: described[name] for name in DESCRIBED},
                "precheck_application": False,
                "backup_required": False,
                "backup_override_reason": "a test",
                "gate_enabled": True,
                "gate_baseline_samples": 3,
                # A logout is red at once; nothing else shall be, however slow the machine is.
                "gate_samples": 3,
                "gate_red_samples": 3,
                "gate_interval": 0.5,
                **variables,
            },
        )

    def run_job(self, *arguments: str) -> Run:
        """The main job without what has tests of its own."""
        return self.playbook("apply.yml", "-i", "prod", "--skip-tags", "precheck", *arguments)

    @property
    def sections(self) -> dict[str, Any]:
        """What the one host left in the report."""
        found: dict[str, Any] = self.report()["hosts"]["app"]["sections"]
        return found


DESCRIBED = ("app_port", "baileys_service", "baileys_health_url", "pm2_home", "pm2_services")


@pytest.fixture
def site(application: Application, tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Makes the job of the application; what a run left in its database is removed afterwards."""
    settle(application)
    remove_rollout(application)
    yield lambda **variables: Site(tmp_path / "project", application, **variables)
    remove_rollout(application)


def remove_rollout(application: Application) -> None:
    """Bring the application's database back to what it was before any rollout."""
    theirs = "relname NOT LIKE 'whatsapp%'"
    with application.server.connect(ADMIN, application.database) as admin:
        tables = admin.execute(
            "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            f" AND relkind IN ('r', 'p') AND NOT relispartition AND {theirs}"
        ).fetchall()
        for (table,) in tables:
            admin.execute(f"DROP TABLE {table} CASCADE")
        functions = admin.execute(
            "SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
            " AND proname NOT LIKE '%whatsapp%'"
        ).fetchall()
        for (function,) in functions:
            admin.execute(f"DROP FUNCTION {function} CASCADE")
        admin.execute("DROP SCHEMA IF EXISTS rollout CASCADE")


def session_store(application: Application) -> dict[str, Any]:
    """What of the session store must not change: identity, columns, and who may do what."""
    with application.server.connect(ADMIN, application.database) as admin:
        return {
            "identity": admin.execute(
                "SELECT company_id, creds -> 'noiseKey', creds -> 'me', creds -> 'registrationId'"
                " FROM whatsapp_auth ORDER BY 1"
            ).fetchall(),
            "columns": admin.execute(
                "SELECT table_name, column_name, data_type FROM information_schema.columns"
                " WHERE table_name LIKE 'whatsapp%' ORDER BY 1, 2"
            ).fetchall(),
            "relations": admin.execute(
                "SELECT relname, relfilenode, relowner, relacl::text, reltriggers FROM (SELECT relname, relfilenode,"
                " relowner, relacl, (SELECT count(*) FROM pg_trigger WHERE tgrelid = c.oid) AS reltriggers"
                " FROM pg_class c WHERE relname LIKE '%whatsapp%') AS r ORDER BY 1"
            ).fetchall(),
        }


@contextmanager
def meanwhile(application: Application, seen: str, act: Callable[[], object]) -> Iterator[None]:
    """While the block runs: wait until a query's answer is true, then act.

    :param seen: may fail, as long as what it asks for does not exist
    """
    acted: list[object] = []
    over = threading.Event()

    def watch() -> None:
        deadline = time.monotonic() + PATIENCE_S
        with application.server.connect(ADMIN, application.database) as admin:
            while not over.wait(0.02) and time.monotonic() < deadline:
                try:
                    row = admin.execute(seen).fetchone()
                except psycopg.Error:
                    continue
                if row and row[0]:
                    acted.append(act())
                    return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert acted, f"it never came to this: {seen}"


FIRST_IN_FORCE = "SELECT count(*) > 0 FROM rollout.migration WHERE id = '0001'"


def message(run: Run, host: str = "app") -> list[str]:
    """The lines of the run's last failure."""
    failure = rf"^fatal: \[{host}\]: FAILED! => $\n(?:    .*\n)*?    msg: (.*)\n((?:        .*\n)*)"
    found = re.findall(failure, run.output, re.MULTILINE)
    assert found, run.output
    first, rest = found[-1]
    return textwrap.dedent(rest).splitlines() if first == "|-" else [first]


def ledger(application: Application) -> list[tuple[Any, ...]]:
    """Which migrations were ever in force, and whether they still are."""
    with application.server.connect(OWNER, application.database) as owner:
        return owner.execute(
            "SELECT id, rolled_back_at IS NULL FROM rollout.migration ORDER BY seq"
        ).fetchall()


# --- healthy -------------------------------------------------------------------------------------------------------


def test_a_healthy_application_keeps_its_client_through_the_run(
    application: Application, site: Callable[..., Site]
) -> None:
    project = site(**QUICK)
    before = session_store(application)
    checked = project.run_job("--check")
    assert checked.code == 0, checked.output
    assert "watch 1/" not in checked.output
    assert "The application is well: 7 of 7 services online, WhatsApp connected." in checked.output
    assert not project.reports.exists()
    assert "app: gate before" not in checked.output
    assert "gate before 3/3 · 7/7 online · connected" in checked.output
    run = project.run_job("-vvv")
    assert run.code == 0, run.output
    assert changed(run) == 2
    assert (
        f"gate after migration {FIRST} 1/3 · 7/7 online · connected · 0 new errors · 1 s left" in run.output
    )
    gates = [project.sections[name] for name in project.sections if name.startswith("gate ")]
    assert {gate["label"] for gate in gates} == {
        "before",
        f"after migration {FIRST}",
        f"after migration {SECOND}",
        "after the run",
    }
    assert [gate["state"] for gate in gates] == ["green"] * 4
    for number, left in ((1, "0:01 left"), (5, "0:00 left")):
        assert f"watch {number}/5 · 7/7 online · connected · 0 new errors · {left}" in run.output
    watch = watched(project)
    assert (watch["state"], watch["failed"], watch["on_red"]) == ("green", False, "fail")
    # The first migration had not been applied then.
    assert watch["baseline"]["of"] == "before the run"
    assert watch["samples"][0]["database"]["size"] > watch["baseline"]["database"]["size"]
    looks = [sample for one in (*gates, watch) for sample in one["samples"]]
    pids = {json.dumps(sample["pids"][BAILEYS]) for sample in looks}
    assert len(pids) == 1, "the client is another process than before"
    # A backup may take an hour: what the application logs meanwhile must not be held against a migration.
    begun = tasks(run)
    baseline = begun.index("gate : Record the baseline")
    assert begun.index("backup : Name the result") < baseline
    assert baseline < begun.index(f"schema : Bring into force migration {FIRST}")
    assert session_store(application) == before
    assert application.problems() == []
    said = run.output + "".join(path.read_text() for path in project.reports.rglob("*") if path.is_file())
    private = [
        *application.secrets.values(),
        str(project.database.options["password"]),
        SALON_PHONE,
        TEST_PHONE,
    ]
    assert not [secret for secret in private for written in spellings(secret) if written in said]


# --- it suffers ----------------------------------------------------------------------------------------------------


def test_logged_out_between_two_migrations_the_first_is_taken_back(
    application: Application, site: Callable[..., Site]
) -> None:
    project = site()
    runner = Runner(project.database.options)
    before, store = runner.inspect().fingerprint, session_store(application)
    with meanwhile(application, FIRST_IN_FORCE, lambda: break_application(application, "logout") or True):
        run = project.run_job()
    assert run.code != 0
    lines = message(run)
    assert lines[0].startswith(f"RED after migration {FIRST}:"), lines
    assert "WhatsApp: the session was logged out (401)" in lines[1]
    assert f"Taken back: {FIRST}." in lines
    assert "Schema public is exactly as it was before this run." in lines
    # It stays logged out: the migration was not the reason, and nobody pretends that it was.
    assert any(line.startswith("THE APPLICATION IS NOT WELL after the rollback either: ") for line in lines)
    assert runner.inspect().fingerprint == before
    assert session_store(application) == store
    assert ledger(application) == [("0001", False)]
    assert f"Migration {SECOND}" not in run.output
    sections = project.sections
    assert project.report()["outcome"] == "failed"
    assert (sections["rollback"]["cause"], sections["rollback"]["taken_back"]) == ("red_gate", [FIRST])
    assert sections["rollback"]["as_before"] is True
    assert sections["gate after the rollback"]["state"] == "red"


def test_errors_that_end_with_the_rollback_leave_an_application_that_is_well(
    application: Application, site: Callable[..., Site]
) -> None:
    """Somebody's query minds one of the new tables; without it all is well again."""
    project = site()
    log = application.log_files(WORKER)[0]

    def complain() -> bool:
        with log.open("a") as file:
            file.write('2025-11-09 21:30:00: \x1b[31merror\x1b[39m: relation "bookings" does not exist {}\n')
        return True

    with meanwhile(application, FIRST_IN_FORCE, complain):
        run = project.run_job()
    assert run.code != 0
    lines = message(run)
    assert f"{WORKER}: 1 new line of database_error" in lines[1]
    assert """'relation "<hidden>" does not exist'""" in lines[1] or "does not exist" in lines[1]
    assert "The application is well again." in lines
    assert project.sections["gate after the rollback"]["state"] == "green"


@contextmanager
def asked_through(application: Application, on_question: Callable[[], object]) -> Iterator[str]:
    """The URL of the client's health endpoint by way of this process, which acts before it passes a question on."""

    class Passing(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            on_question()
            answer = json.dumps(application.health()).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Passing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/health"
        finally:
            server.shutdown()
            thread.join()


def test_a_connection_that_is_lost_for_a_moment_is_tolerated(
    application: Application, site: Callable[..., Site]
) -> None:
    log = application.log_files(BAILEYS)[0]
    migrated, lost = threading.Event(), threading.Event()

    def lose_once() -> None:
        if migrated.is_set() and not lost.is_set():
            lost.set()
            begins = log.stat().st_size
            break_application(application, "drop-connection")
            until(lambda: b"WhatsApp disconnected" in log.read_bytes()[begins:], "no loss is logged")

    with asked_through(application, lose_once) as url:
        # A client that was dropped is back after 0.3 s; on a busy machine later.
        project = site(
            gate_samples=5, gate_red_samples=5, gate_baseline_samples=5, gate_whatsapp_health_url=url
        )
        with meanwhile(application, FIRST_IN_FORCE, migrated.set):
            run = project.run_job()
    assert run.code == 0, run.output
    gate = project.sections[f"gate after migration {FIRST}"]
    assert gate["state"] == "green"
    assert any(reason.startswith("tolerated: WhatsApp: ") for reason in gate["reasons"])


def test_rows_that_came_meanwhile_keep_a_migration_in_force(
    application: Application, site: Callable[..., Site]
) -> None:
    project = site()

    def write_and_break() -> bool:
        with application.server.connect(OWNER, application.database) as owner:
            owner.execute(
                "INSERT INTO companies (id, name, yclients_company_id) VALUES (1, 'a', 1), (2, 'b', 2)"
            )
        break_application(application, "logout")
        return True

    with meanwhile(application, FIRST_IN_FORCE, write_and_break):
        run = project.run_job()
    assert run.code != 0
    lines = message(run)
    assert lines[0].startswith(f"RED after migration {FIRST}:")
    assert not any(line.startswith("Taken back") for line in lines)
    assert any(f"Not taken back: {FIRST}." in line and "companies: 2" in line for line in lines), lines
    with application.server.connect(OWNER, application.database) as owner:
        assert owner.execute("SELECT count(*) FROM companies").fetchone() == (2,)
    assert ledger(application) == [("0001", True)]
    assert project.sections["rollback"]["stays"] == [FIRST]


def test_what_was_in_force_before_and_only_mended_is_not_taken_back(
    application: Application, site: Callable[..., Site]
) -> None:
    project = site(schema_drift="repair")
    runner = Runner(project.database.options)
    runner.apply()
    before = runner.inspect().fingerprint
    with application.server.connect(OWNER, application.database) as owner:
        owner.execute("DROP TRIGGER trigger_update_staff_updated_at ON staff")
    mended = "SELECT count(*) > 0 FROM pg_trigger WHERE tgname = 'trigger_update_staff_updated_at'"
    with meanwhile(application, mended, lambda: break_application(application, "logout") or True):
        run = project.run_job()
    assert run.code != 0
    lines = message(run)
    assert lines[0].startswith(f"RED after migration {FIRST}:")
    assert not any(line.startswith("Taken back") for line in lines)
    assert runner.inspect().fingerprint == before
    assert ledger(application) == [("0001", True), ("0002", True)]


# --- it is not begun -----------------------------------------------------------------------------------------------


def test_an_application_that_is_not_well_is_refused_and_nothing_changed(
    application: Application, site: Callable[..., Site]
) -> None:
    # Without its WhatsApp client it is judged as well.
    project = site(gate_whatsapp_health_url="")
    break_application(application, "stop", WORKER)
    runner = Runner(project.database.options)
    before = runner.inspect().fingerprint
    run = project.run_job()
    assert run.code != 0
    lines = message(run)
    assert lines[0] == "The application is not well, and nothing was done to it:"
    assert lines[1].startswith(f"  {WORKER}: id ")
    assert "stopped" in lines[1]
    assert runner.inspect().fingerprint == before
    assert not [task for task in tasks(run) if "Bring into force" in task]
    with application.server.connect(OWNER, application.database) as owner:
        assert owner.execute("SELECT to_regnamespace('rollout')").fetchone() == (None,)
    assert project.report()["outcome"] == "failed"
    assert project.sections["gate before"]["samples"][-1]["whatsapp"] is None


# --- it cannot be looked at ----------------------------------------------------------------------------------------


def test_a_probe_that_breaks_meanwhile_stops_the_run_and_takes_nothing_back(
    application: Application, site: Callable[..., Site]
) -> None:
    project = site(rollback_on=["red_gate", "failed_step"])
    socket = application.pm2.home / "rpc.sock"
    away = socket.with_name("rpc.away")
    try:
        with meanwhile(application, FIRST_IN_FORCE, lambda: socket.rename(away)):
            run = project.run_job()
    finally:
        if away.exists():
            away.rename(socket)
    assert run.code != 0
    lines = message(run)
    assert lines[0].startswith(f"The application could not be looked at after migration {FIRST}")
    assert any("No PM2 daemon at" in line for line in lines)
    assert any("This says nothing about the application" in line for line in lines)
    assert any(line.startswith(f"In force since this run, and staying: {FIRST}.") for line in lines)
    assert ledger(application) == [("0001", True)]
    assert project.sections["rollback"]["cause"] == "broken_gate"
    # Mended, the next run goes on where this one stopped.
    settle(application)
    again = project.run_job()
    assert again.code == 0, again.output
    assert changed(again) == 1


def test_limits_that_no_gate_could_keep_are_refused_before_anything_is_done(
    application: Application, site: Callable[..., Site]
) -> None:
    run = site(gate_red_samples=5).run_job()
    assert run.code != 0
    assert "gate_red_samples is 5: it has to be between 1 and gate_samples (3)" in " ".join(
        run.output.split()
    )
    assert not [task for task in tasks(run) if "Bring into force" in task]


# --- other applications --------------------------------------------------------------------------------------------


def test_an_application_without_pm2_is_judged_by_its_logs(database: Database, tmp_path: Path) -> None:
    log = tmp_path / "shop.log"
    log.write_text("2025-11-09 21:30:00: info: Listening\n")
    project = RolloutProject(
        tmp_path / "project",
        database,
        gate_enabled=True,
        gate_pm2_home="",
        gate_services=[],
        gate_whatsapp_health_url="",
        gate_logs={"shop": [str(log)]},
        gate_default_patterns=False,
        gate_log_patterns=[{"name": "refused", "kind": "problem", "regex": "Payment refused"}],
        gate_baseline_samples=2,
        gate_samples=2,
        gate_red_samples=2,
        gate_interval=0.1,
        gate_problem_budgets={"refused": 0},
        backup_required=False,
        backup_override_reason="a test",
        precheck_application=False,
    )

    def refuse() -> None:
        with database.connect() as witness:
            until(
                lambda: witness.execute("SELECT to_regclass('public.bookings')").fetchone() != (None,),
                "no table is made",
                PATIENCE_S,
            )
        with log.open("a") as file:
            file.write("2025-11-09 21:31:00: warn: Payment refused\n")

    thread = threading.Thread(target=refuse)
    thread.start()
    run = project.playbook("apply.yml", "-i", "prod", "--skip-tags", "precheck")
    thread.join()
    assert run.code != 0
    lines = message(run)
    assert "shop: 1 new line of refused" in lines[1]
    assert f"Taken back: {FIRST}." in lines


# --- a fleet -------------------------------------------------------------------------------------------------------


def test_in_a_fleet_a_red_host_ends_the_run_and_takes_back_only_its_own(
    application: Application, site: Callable[..., Site], database: Database
) -> None:
    project = site()
    options = database.options
    settings = yaml.safe_load((project.folder / "inventory/prod/host_vars/app.yml").read_text())
    of_other = {"pg_host": options["host"], "pg_port": options["port"], "pg_password": options["password"]}
    project.write(
        "inventory/prod/host_vars/other.yml",
        yaml.safe_dump(
            {
                **settings,
                **of_other,
                "pg_dbname": options["dbname"],
                "pg_sslrootcert": options.get("sslrootcert", "unused"),
                "gate_enabled": False,
            }
        ),
    )
    inventory: dict[str, Any] = {"application": {"hosts": {"app": {}, "other": {}}}}
    project.write("inventory/prod/hosts.yml", yaml.safe_dump(inventory))
    with meanwhile(application, FIRST_IN_FORCE, lambda: break_application(application, "logout") or True):
        run = project.run_job()
    assert run.code != 0
    assert f"app: gate after migration {FIRST}" in run.output
    assert ledger(application) == [("0001", False)]
    lines = message(run)
    assert lines[0].startswith(f"RED after migration {FIRST}:")
    assert f"Taken back: {FIRST}." in lines
    # The other one is stopped, and keeps what it had come to.
    assert message(run, "other")[0] == "The run failed on another host, and was stopped on this one."
    assert SECOND not in Runner(options).inspect().recorded
    hosts = project.report()["hosts"]
    assert {name: host["sections"]["rollback"]["cause"] for name, host in hosts.items()} == {
        "app": "red_gate",
        "other": "other_host",
    }
    assert hosts["other"]["sections"]["rollback"]["taken_back"] == []
    assert hosts["app"]["sections"]["gate after the rollback"]["state"] == "red"


# --- the bot -------------------------------------------------------------------------------------------------------

#: A bot that does not answer while everything that the gate looks at is well.
SECOND_IN_FORCE = "SELECT count(*) > 0 FROM rollout.migration WHERE id = '0002'"


def asking(application: Application) -> dict[str, Any]:
    """Variables of a site that writes to the test phone, and whose gate does not look at the worker."""
    services = [name for name in application.variables["pm2_services"] if name != WORKER]
    return {
        "test_phone": application.variables["test_phone"],
        "gate_services": services,
        "gate_message_timeout": 15,
        "gate_message_attempts": 1,
    }


@pytest.mark.parametrize("tags", [(), ("--tags", "schema")], ids=["whole", "without the checklist"])
def test_a_bot_that_stops_answering_takes_the_run_back(
    application: Application, site: Callable[..., Site], tags: tuple[str, ...]
) -> None:
    project = site(**asking(application))
    with meanwhile(application, SECOND_IN_FORCE, lambda: application.pm2.run("stop", WORKER) or True):
        run = project.run_job(*tags)
    assert run.code != 0
    # The control: it answered before, and nothing else was red.
    assert project.sections["message before"]["status"] == "passed"
    assert project.sections["gate after the run"]["state"] == "green"
    lines = message(run)
    if tags:
        assert "verify" not in project.sections
        assert lines[0] == "RED after the run:"
        assert "the bot does not answer" in lines[1]
    else:
        # The rest of the checklist was evaluated besides.
        verified = {one["id"]: one["status"] for one in project.sections["verify"]["findings"]}
        assert [item for item, status in verified.items() if status == "failed"] == ["test_message"]
        assert verified["triggers"] == verified["services"] == "passed"
        assert lines[0].startswith("success checklist: 1 failed, ")
        assert "; failed: test_message; " in lines[0]
    assert project.sections["rollback"]["cause"] == "red_gate"
    assert f"Taken back: {SECOND}, {FIRST}." in lines
    # A green gate does not speak for the bot.
    assert project.sections["gate after the rollback"]["state"] == "green"
    assert project.sections["message after the rollback"]["status"] == "failed"
    assert [
        line
        for line in lines
        if line.startswith("THE APPLICATION IS NOT WELL after the rollback either: the bot")
    ]


def test_a_bot_that_does_not_answer_before_the_run_is_refused(
    application: Application, site: Callable[..., Site]
) -> None:
    project = site(**{**asking(application), "gate_message_timeout": 5})
    application.pm2.run("stop", WORKER)
    run = project.run_job()
    assert run.code != 0
    assert message(run)[0] == "RED before:"
    assert not [task for task in tasks(run) if "Bring into force" in task]


# --- taking back on a bad night ------------------------------------------------------------------------------------


def test_a_rollback_of_an_application_that_is_not_well_goes_through_and_says_so(
    application: Application, site: Callable[..., Site]
) -> None:
    project = site()
    Runner(project.database.options).apply()
    application.pm2.run("stop", WORKER)
    run = project.playbook("playbooks/rollback.yml", "-i", "prod")
    assert project.sections["gate before"]["state"] == "red"
    assert project.sections["rollback"]["taken_back"] == [SECOND, FIRST]
    assert Runner(project.database.options).inspect().recorded == []
    assert run.code != 0
    lines = message(run)
    assert lines[0] == "RED after the rollback:"
    assert WORKER in lines[1]
    assert f"Taken back: {SECOND}, {FIRST}." in lines


def test_a_rollback_of_a_healthy_application_is_green(
    application: Application, site: Callable[..., Site]
) -> None:
    project = site()
    Runner(project.database.options).apply()
    run = project.playbook("playbooks/rollback.yml", "-i", "prod")
    assert run.code == 0, run.output
    assert project.sections["gate after the rollback"]["state"] == "green"
    assert project.sections["rollback"]["gate"] == "green"
