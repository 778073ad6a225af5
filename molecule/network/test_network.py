"""A distant database whose connection breaks: TLS all the way, so nothing but time tells where a run is."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from containers.playbooks import Begun, playbook, report
from containers.site import DATABASE_HOST, LOGIN, Site
from sandbox.credentials import OWNER
from tests.catalog_shape import EXPECTED, Shape
from tests.waiting import until

PORT = 6432
ROUND_TRIP_MS = 30
PATIENCE_S = 900
FAR = ("-e", f"vault_pg_port={PORT}")
# What was asked before a run is not what breaks here.
ASKED = ("--skip-tags", "precheck")
TABLES = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE 'whatsapp%'"
IN_FORCE = "SELECT id FROM rollout.migration WHERE rolled_back_at IS NULL ORDER BY id"
SLEEPING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
# Each index of the real schema takes a while: time enough to cut the connection in the middle.
SLOW_INDEXES = """
CREATE SCHEMA chaos;
CREATE FUNCTION chaos.slow() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands() WHERE schema_name = 'public') THEN
        PERFORM pg_sleep(60);
    END IF;
END
$$;
CREATE EVENT TRIGGER slow ON ddl_command_end WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION chaos.slow();
"""
# Fires inside COMMIT.
SLOW_COMMIT = """
CREATE FUNCTION chaos.commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_sleep(3);
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON rollout.migration DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.id = '0002') EXECUTE FUNCTION chaos.commit();
"""


class Distance:
    """The way to the database through which the rollout goes; the application has its own."""

    def __init__(self, site: Site) -> None:
        self._site = site
        program = Path(__file__).with_name("far.py").read_text()
        site.execute("app", "tee", "/opt/stand-in/far.py", user=LOGIN, stdin=program)
        # A second address of the name; nothing listens on this port at the first one.
        site.execute("app", "tee", "--append", "/etc/hosts", stdin=f"127.0.0.1 {DATABASE_HOST}\n")
        self.open()

    def open(self) -> None:
        words = ["python3", "/opt/stand-in/far.py", self._site.address("db"), str(ROUND_TRIP_MS), str(PORT)]
        name = self._site.container("app")
        self._site.engine.run("exec", "--detach", f"--user={LOGIN}", name, *words)
        until(self._listens, "the way to the database")

    def cut(self) -> None:
        """Every connection through it breaks, and new ones are refused."""
        self._signal("TERM")

    def lose_answers(self) -> None:
        """The present connections end for the client, while the server still answers."""
        self._signal("USR1")

    def _signal(self, name: str) -> None:
        self._site.execute("app", "sh", "-c", f"kill -{name} $(cat /tmp/far.pid)")

    def _listens(self) -> bool:
        listening = f"python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", {PORT}))' && echo yes || true"
        return "yes" in self._site.execute("app", "sh", "-c", f"{listening} 2>/dev/null")


@pytest.fixture(scope="module")
def distance(site: Site) -> Iterator[Distance]:
    way = Distance(site)
    yield way
    way.cut()


def until_somebody_sleeps(admin: psycopg.Connection, run: Begun) -> None:
    """Wait until the run is where the database was made slow."""
    until(
        lambda: admin.execute(SLEEPING).fetchone() == (1,) or run.process.poll() is not None,
        "the moment to break the connection",
        PATIENCE_S,
    )


def test_cut_off_in_the_middle_of_a_migration_nothing_of_it_stays(
    site: Site, admin, distance: Distance
) -> None:
    admin.execute(SLOW_INDEXES)
    run = Begun(site, "apply.yml", *FAR, *ASKED)
    until_somebody_sleeps(admin, run)
    distance.cut()
    ended = run.end()
    distance.open()
    admin.execute("DROP EVENT TRIGGER slow")

    assert ended.code != 0
    assert report(site)["outcome"] == "failed"
    # The server noticed by itself, long before the statement would have ended.
    assert admin.execute(SLEEPING).fetchone() == (0,)
    assert admin.execute(TABLES).fetchone() == (0,)
    assert admin.execute("SELECT to_regclass('rollout.migration')").fetchone() == (None,)


def test_an_answer_to_commit_that_is_lost_is_looked_up(site: Site, admin, distance: Distance) -> None:
    run = Begun(site, "apply.yml", *FAR, *ASKED)

    def ledger_exists() -> bool:
        return bool(admin.execute("SELECT to_regclass('rollout.migration')").fetchone() != (None,))

    until(lambda: ledger_exists() or run.process.poll() is not None, "the ledger", PATIENCE_S)
    assert ledger_exists(), run.end().output
    admin.execute(SLOW_COMMIT)
    until_somebody_sleeps(admin, run)
    distance.lose_answers()
    ended = run.end()

    assert ended.code == 0, ended.output
    recorded = report(site)["hosts"]["app"]["sections"]["migration 0002_messages"]
    assert "its answer was lost" in recorded["executed"]["commit_verdict"]
    assert admin.execute(IN_FORCE).fetchall() == [("0001",), ("0002",)]
    admin.execute("DROP TRIGGER slow ON rollout.migration")
    with site.server.connect(OWNER, "default_db") as owner:
        assert Shape(owner, "public").differences(EXPECTED) == []


def test_at_a_distance_a_second_run_changes_nothing(site: Site, distance: Distance) -> None:
    again = playbook(site, "apply.yml", *FAR)
    assert again.code == 0, again.output
    assert "changed=0" in again.words
