"""On a server with pg_cron and pg_partman: the schedule inside the server, and the way to hand a table over.

Skipped where the extensions' packages cannot be had (tests/extended_server.py says when).
"""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree

import psycopg
import pytest
from ansible.module_utils.rollout import partition_cron
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.options import CONNECTION

from sandbox.databases import Database
from tests.extended_server import extended_server, restart
from tests.integration.rollout_project import RolloutProject, changed
from tests.partitioned import Maintenance, bounds, one
from tests.runner import Runner
from tests.waiting import until

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/partitions.md"
PLAYBOOK = "playbooks/maintain.yml"
JOB = ("rollout-maintain public.messages", "10 4 * * *")


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database in which the migrations are in force, on a server with both extensions."""
    home = Path(tempfile.mkdtemp(prefix="rollout-extended-"))
    try:
        with extended_server(home) as server:
            database = Database.create(server, tmp_path_factory.mktemp("extended"))
            Runner(database.options).apply()
            cron = {
                "shared_preload_libraries": "pg_cron",
                "cron.database_name": database.name,
                "cron.use_background_workers": "on",
            }
            restart(server, cron)
            yield database
    finally:
        rmtree(home)


@pytest.fixture
def owner(extended: Database) -> Iterator[psycopg.Connection]:
    with extended.connect() as connection:
        yield connection


def jobs(owner: psycopg.Connection) -> list[tuple[str, str]]:
    return owner.execute("SELECT jobname::text, schedule FROM cron.job").fetchall()


def schedule(database: Database, *, check: bool = False, **changes: str) -> partition_cron.Scheduled:
    """As module pg_partitions_job does."""
    given = {
        **dict.fromkeys(CONNECTION),
        **database.options,
        "application_name": "rollout test",
        "connect_timeout": 10,
        "schema": "public",
        "table": "messages",
        "state": "present",
        "unit": "month",
        "zone": "UTC",
        "schedule": JOB[1],
        "ledger": "rollout",
        **changes,
    }
    return partition_cron.run(given, check=check)[1]


def run_now(database: Database) -> tuple[str, str, list[dict[str, str]]]:
    """Let pg_cron run the job at the server's next start, and wait for the record of it."""
    with database.connect_admin() as admin:
        admin.execute("UPDATE cron.job SET schedule = '@reboot'")
    with database.connect() as owner:
        before = one(owner, "SELECT max(seq) FROM rollout.maintenance")
    restart(database.server, {})
    latest = (
        "SELECT outcome, message, actions FROM rollout.maintenance WHERE seq > %s AND ran_from = 'pg_cron'"
    )
    with database.connect() as owner:
        until(
            lambda: owner.execute(latest.encode(), [before]).fetchone() is not None,
            "pg_cron ran nothing, or its run was not recorded",
        )
        row = owner.execute(latest.encode(), [before]).fetchone()
    assert row is not None
    return row


def test_pg_cron_keeps_the_months_ahead_and_records_its_runs(extended: Database, tmp_path: Path) -> None:
    with pytest.raises(RolloutError, match="there is no pg_cron in database"):
        schedule(extended)
    assert not schedule(extended, state="absent").changed
    with extended.connect_admin() as admin:
        admin.execute("CREATE EXTENSION pg_cron")
        with pytest.raises(RolloutError, match='GRANT USAGE ON SCHEMA cron TO "gen_user"'):
            schedule(extended)
        admin.execute("GRANT USAGE ON SCHEMA cron TO gen_user")
    with pytest.raises(RolloutError, match=r'no function "public"."maintain_salons_partitions"\(\)'):
        schedule(extended, table="salons")

    project = RolloutProject(tmp_path / "project", extended, maintain_schedule="pg_cron")
    with extended.connect() as owner:
        check = project.playbook(PLAYBOOK, "-i", "prod", "--check", "--diff")
        assert check.code == 0, check.output
        assert "+rollout-maintain public.messages: 10 4 * * *" in check.output
        assert jobs(owner) == []
        run = project.playbook(PLAYBOOK, "-i", "prod")
        assert run.code == 0, run.output
        assert jobs(owner) == [JOB]
        assert str(extended.options["password"]) not in one(owner, "SELECT command FROM cron.job")
        again = project.playbook(PLAYBOOK, "-i", "prod")
        assert (again.code, changed(again)) == (0, 0), again.output
        # The last month ahead is away, as at the beginning of a month.
        last = max(bounds(owner, "messages"))
        owner.execute(f"DROP TABLE public.{last}".encode())

    assert run_now(extended) == ("done", "", [{"action": "created", "partition": last}])
    job = Maintenance(extended, today=None)
    with extended.connect() as owner:
        assert last in bounds(owner, "messages")
        reach = "SELECT ahead, covered_until::text FROM rollout.maintenance ORDER BY seq DESC LIMIT 2"
        ours, theirs = owner.execute(reach.encode()).fetchall()
        assert ours == theirs, "the job counts as the module does"
        assert job.check(table="messages", ahead=3).summary.startswith(
            "last maintenance 0 days ago (done), 3"
        )
        # What goes wrong is told where the alarm looks.
        owner.execute(f"DROP TABLE public.{last}; CREATE VIEW public.{last} AS SELECT 1 AS one".encode())
    outcome, message, actions = run_now(extended)
    assert (outcome, actions) == ("failed", [])
    assert message == f"SQLSTATE 42809: {last} exists but is not a table (pg_class.relkind v)"
    red = job.check(table="messages", ahead=3)
    assert [
        message in found["text"] for found in red.findings if found["kind"] == "no recent maintenance"
    ] == [True]

    with extended.connect() as owner:
        owner.execute(f"DROP VIEW public.{last}".encode())
        assert schedule(extended, check=True).changed, "somebody changed the job"
        assert jobs(owner) != [JOB]
        assert schedule(extended).changed
        assert jobs(owner) == [JOB]
        assert not schedule(extended).changed
        assert schedule(extended, state="absent").changed
        assert jobs(owner) == []


def test_pg_cron_can_only_do_what_the_function_does() -> None:
    with pytest.raises(RolloutError, match="is kept by week"):
        partition_cron.job_for("public", "messages", "week", "UTC", "rollout", "10 4 * * *")


def documented(version: str) -> list[str]:
    """The statements of docs/partitions.md that hand messages over to pg_partman of that version."""
    text = DOCUMENT.read_text()
    section = text[text.index("### To hand") :].partition("\n## ")[0]
    blocks = re.findall(r"```sql\n(.*?)```", section, re.DOTALL)
    major = version.partition(".")[0]
    return [
        block for block in blocks if not (of := re.search(r"-- pg_partman (\d)", block)) or of[1] == major
    ]


def test_the_documented_way_hands_messages_over_to_pg_partman(extended: Database) -> None:
    """Every row stays, in the same months; what pg_partman makes then is what we would have made."""
    with extended.connect_admin() as admin, extended.connect() as owner:
        job = Maintenance(extended, today=None)
        owner.execute(
            "INSERT INTO public.messages (company_id, phone, direction, created_at)"
            " SELECT 1, '70000000000', 'inbound', timestamptz '2025-11-03+00' + i * interval '10 days'"
            " FROM generate_series(0, 15) i"
        )
        before = bounds(owner, "messages")
        admin.execute("CREATE SCHEMA partman; CREATE EXTENSION pg_partman SCHEMA partman")
        version = one(admin, "SELECT extversion FROM pg_extension WHERE extname = 'pg_partman'")
        assert documented(version)
        for block in documented(version):
            if "-- As superuser" in block:
                admin.execute(block.encode())
            elif "SELECT format(" in block:
                for (statement,) in owner.execute(block.encode()).fetchall():
                    owner.execute(statement.encode())
            else:
                owner.execute(block.encode())
        owner.execute("CALL partman.run_maintenance_proc()")
        after = bounds(owner, "messages")
        assert set(before.values()) <= set(after.values())
        assert one(owner, "SELECT count(*) FROM public.messages") == 16
        assert "DEFAULT" not in after.values()
        found = job.run(check=True, table="messages", first=None, ahead=3)
        assert (found.healthy, found.changed) == (True, False), found

        # A month later, as far as pg_partman can tell: the last one is made anew.
        last = max(after)
        owner.execute(f"DROP TABLE public.{last}".encode())
        owner.execute("CALL partman.run_maintenance_proc()")
        assert bounds(owner, "messages") == after
        # In a session of another zone it makes months that begin at another hour, and leaves holes; we find that.
        for name in sorted(after)[-2:]:
            owner.execute(f"DROP TABLE public.{name}".encode())
        owner.execute("SET timezone = 'America/New_York'")
        owner.execute("CALL partman.run_maintenance_proc()")
        found = job.run(check=True, table="messages", first=None, ahead=4)
        assert not found.healthy
        assert {one["kind"] for one in found.findings} & {"gap", "off grid", "wrong zone", "occupied"}
