"""The database's checklist: what it leaves, whom it disturbs, and where it cannot do everything."""

import json
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from ansible.module_utils.rollout import (
    checklist_database,
    checklist_own,
    checklist_partitions,
    checklist_samples,
    checklist_shape,
    partition_record,
)
from ansible.module_utils.rollout.checklist_measures import EMPTY_INDEX_PAGES
from ansible.module_utils.rollout.checklist_rows import Rows
from ansible.module_utils.rollout.checklist_samples_source import load_samples
from ansible.module_utils.rollout.errors import RolloutError

from sandbox.databases import TEMPLATE, Database, ensure_database
from sandbox.proxy import LOCAL, TcpProxy
from sandbox.roles import ensure_roles
from sandbox.server import PostgresServer
from tests import traces
from tests.application_rows import insert_rows, rows_of
from tests.database_checklist import MESSAGES, Checklist, finding, shipped_samples, statuses
from tests.integration import sample_rows
from tests.prepared_databases import copy_of
from tests.runner import MIGRATIONS, Runner
from tests.waiting import until

#: Items that write, and roll it back.
WRITING = (
    "functions", "triggers", "checks", "foreign_keys", "unique_keys", "not_null", "round_trip", "partition_routing",
    "sample_story",
)  # fmt: skip


@pytest.fixture(scope="module")
def shared(rolled_out: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database that the tests of this module change nothing in."""
    with copy_of(rolled_out, tmp_path_factory.mktemp("shared")) as copy:
        yield copy


@pytest.fixture
def live(finished: Database) -> Database:
    """A database in which the application's tables hold rows."""
    with finished.connect() as owner:
        insert_rows(owner)
    return finished


def observed(outcome: checklist_database.Outcome, item: str) -> str:
    return str(finding(outcome, item)["observed"])


# What it leaves


def test_nothing_stays(live: Database) -> None:
    runner, checklist = Runner(live.options), Checklist(live)
    with live.connect() as owner, traces.without_autovacuum(live.server):
        before = (runner.inspect().fingerprint, rows_of(owner))
        left = traces.left_by(live, checklist.run, calls=1)
        assert left.isdisjoint({"schemas", "relations", "sequences"}), left
        assert (runner.inspect().fingerprint, rows_of(owner)) == before
        # The control: the same statements, kept.
        taken = "INSERT INTO staff (company_id, name) VALUES (1, 'Olga')"
        assert "sequences" in traces.left_by(live, lambda: owner.execute(taken.encode()), calls=1)
        assert rows_of(owner) != before[1]


def test_all_is_well_among_real_rows(live: Database) -> None:
    """What the samples bring meets nobody's keys; only the number of rows is not that of the real salon."""
    found = statuses(Checklist(live).run())
    assert {item for item, status in found.items() if status == "failed"} == {"row_counts"}
    assert all(found[item] == "passed" for item in WRITING)


def test_all_is_well_with_one_row_in_each_table(finished: Database) -> None:
    """Whichever index of a table costs as much as another, the planner may take."""
    with finished.connect() as owner:
        for statement in (*sample_rows.ROWS.values(), sample_rows.MESSAGES):
            owner.execute(statement.encode())
        for analysed in (False, True):
            if analysed:
                owner.execute("ANALYZE")
            found = statuses(Checklist(finished).run())
            assert {item for item, status in found.items() if status == "failed"} == {"row_counts"}


@pytest.mark.parametrize("zone", ["Asia/Kamchatka", "Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_all_is_well_in_any_zone(database: Database, zone: str) -> None:
    Runner(database.options, variables={"zone": zone}).apply()
    samples = checklist_samples.dump(load_samples(MIGRATIONS, {"zone": zone}))
    found = statuses(Checklist(database).run(samples=samples, partitions=[{**MESSAGES, "zone": zone}]))
    assert {item for item, status in found.items() if status == "failed"} == set()


def test_two_at_once_do_not_wait_for_each_other(live: Database) -> None:
    """The second meets the first one's rows, uncommitted; its own have other keys."""
    entries = Runner(live.options).inspect().entries
    shape = checklist_shape.read(entries, entries)
    samples = checklist_samples.together(checklist_samples.parse(shipped_samples()), ["0001", "0002"])
    with live.connect(autocommit=False) as other:
        for _, statement in Rows(shape, samples, other.info.backend_pid).setting():
            other.execute(statement.encode())
        found = statuses(Checklist(live, {"lock_timeout_ms": 200}).run())
    assert all(found[item] == "passed" for item in WRITING)


def test_no_item_locks_a_protected_table(shared: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the moment on when the catalog has been read, nobody else can even read them."""
    read = checklist_partitions.read
    with shared.connect(autocommit=False) as other:

        def read_late(*arguments: Any) -> Any:
            other.execute("LOCK TABLE whatsapp_auth, whatsapp_keys IN ACCESS EXCLUSIVE MODE")
            return read(*arguments)

        monkeypatch.setattr(checklist_partitions, "read", read_late)
        outcome = Checklist(shared).run(reference={})
    assert not [item for item, status in statuses(outcome).items() if status == "failed"]
    assert not [name for name in outcome.locks if name.startswith("whatsapp")]
    assert outcome.locks["clients"] == "ROW EXCLUSIVE"


def test_a_probe_that_locks_a_protected_table_is_told(shared: Database) -> None:
    samples = with_call("get_database_stats()", [{"ask": "SELECT count(*) >= 0 AS x FROM whatsapp_auth"}])
    told = observed(Checklist(shared).run(samples=samples), "functions")
    assert "a protected table was locked: AccessShareLock" in told


def test_a_strange_trigger_is_not_set_off(live: Database) -> None:
    """It might send something. A sequence remembers what a rollback takes back."""
    with live.connect() as owner:
        owner.execute("CREATE SEQUENCE witness")
        owner.execute(
            "CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS"
            " $$BEGIN PERFORM nextval('public.witness'); RETURN NEW; END$$"
        )
        owner.execute(
            "CREATE TRIGGER webhook AFTER INSERT OR UPDATE ON clients FOR EACH ROW EXECUTE FUNCTION tell()"
        )
        outcome = Checklist(live).run()
        assert owner.execute("SELECT is_called FROM witness").fetchone() == (False,)
        found = statuses(outcome)
        assert found["triggers"] == "failed"
        assert all(
            found[item] == "not_tested" for item in ("checks", "foreign_keys", "not_null", "sample_story")
        )
        assert "clients has a trigger that no migration made (webhook); it is not set off" in observed(
            outcome, "checks"
        )
        # The control: disabled, it can do nothing, and clients are written to again.
        owner.execute("ALTER TABLE clients DISABLE TRIGGER webhook")
        assert statuses(Checklist(live).run())["checks"] == "passed"
        owner.execute("ALTER TABLE clients ENABLE TRIGGER webhook")
        owner.execute("UPDATE clients SET importance = 1")
        assert owner.execute("SELECT is_called FROM witness").fetchone() == (True,)


def test_a_strange_trigger_on_a_partition_counts_for_its_table(finished: Database) -> None:
    with finished.connect() as owner:
        (partition,) = owner.execute(
            "SELECT partition_name FROM get_messages_stats() WHERE partition_start <= now()::date LIMIT 1"
        ).fetchone() or [""]
        owner.execute(
            f"CREATE TRIGGER webhook BEFORE INSERT ON {partition} FOR EACH ROW"
            " EXECUTE FUNCTION update_updated_at_column()".encode()
        )
    told = observed(Checklist(finished).run(), "partition_routing")
    assert told.startswith("messages has a trigger that no migration made (webhook)")


def test_what_somebody_has_locked_is_not_waited_for(live: Database) -> None:
    """A row that is expired, and that the application is changing."""
    with live.connect(autocommit=False) as other:
        other.execute("UPDATE dialog_contexts SET expires_at = now() - interval '1 day'")
        other.commit()
        other.execute("SELECT FROM dialog_contexts FOR UPDATE")
        outcome = Checklist(live, {"lock_timeout_ms": 100, "demands": {}}).run()
    assert statuses(outcome)["functions"] == "not_tested"
    assert "somebody holds a lock: SQLSTATE 55P03" in observed(outcome, "functions")
    assert "failed" not in statuses(outcome).values()


# Where not everything can be done


def test_a_dry_run_writes_nothing(live: Database) -> None:
    outcomes: list[checklist_database.Outcome] = []
    with traces.without_autovacuum(live.server):
        left = traces.left_by(live, lambda: outcomes.append(Checklist(live).run(check=True)))
    assert left == set()
    found = statuses(outcomes[-1])
    assert {item for item in found if found[item] == "not_tested"} >= set(WRITING)
    assert all("a dry run writes nothing" in observed(outcomes[-1], item) for item in WRITING)
    assert found["tables"] == found["pruning"] == found["access_paths"] == "passed"
    assert found["row_counts"] == "failed"


def test_a_dry_run_sees_what_is_to_be_read(finished: Database) -> None:
    with finished.connect() as owner:
        owner.execute("ALTER TABLE bookings DROP CONSTRAINT bookings_duration_check")
        owner.execute("ALTER TABLE staff DISABLE TRIGGER trigger_update_staff_updated_at")
    found = statuses(Checklist(finished).run(check=True))
    assert {item for item, status in found.items() if status == "failed"} == {"checks", "triggers"}


def test_a_login_that_may_only_read(finished: Database) -> None:
    login = {name: finished.readonly_options[name] for name in ("user", "password")}
    with finished.connect() as owner:
        owner.execute(
            "GRANT USAGE ON SCHEMA rollout TO auditor; GRANT SELECT ON ALL TABLES IN SCHEMA rollout TO auditor"
        )
        outcome = Checklist(finished, login).run()
        assert {"not_tested"} == {statuses(outcome)[item] for item in WRITING}
        assert "default_transaction_read_only is set" in observed(outcome, "checks")
        # Without that setting it is told what it may not do.
        with finished.connect_admin() as admin:
            admin.execute(
                f"ALTER ROLE auditor IN DATABASE {finished.name} SET default_transaction_read_only = off".encode()
            )
        told = observed(Checklist(finished, login).run(), "checks")
    assert told.startswith("auditor may not write to appointments_cache, bookings")


@pytest.fixture
def standby() -> Iterator[PostgresServer]:
    """A server that is in recovery and takes no writes; the rollout ran before."""
    home = Path(tempfile.mkdtemp(prefix="rollout-standby-"))
    server = PostgresServer(home, plaintext=True, durable=False)
    try:
        server.start()
        ensure_roles(server)
        ensure_database(server, TEMPLATE)
        Runner(server.options("gen_user", TEMPLATE)).apply()
        server.stop()
        standby_signal = server.data / "standby.signal"
        standby_signal.touch()
        shutil.chown(standby_signal, (server.data / "PG_VERSION").stat().st_uid)
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(home)


def test_a_standby(standby: PostgresServer, tmp_path: Path) -> None:
    database = Database(standby, TEMPLATE, tmp_path / "unused")
    outcome = Checklist(database).run()
    found = statuses(outcome)
    assert {found[item] for item in WRITING} == {"not_tested"}
    assert "the server is a standby and takes no writes" in observed(outcome, "not_null")
    assert found["tables"] == found["pruning"] == "passed"
    assert "failed" not in found.values()


def test_a_server_that_crashed_for_real(tmp_path: Path) -> None:
    home = Path(tempfile.mkdtemp(prefix="rollout-crash-"))
    server = PostgresServer(home, plaintext=True, durable=False)
    try:
        server.start()
        ensure_roles(server)
        ensure_database(server, TEMPLATE)
        Runner(server.options("gen_user", TEMPLATE)).apply()
        database = Database(server, TEMPLATE, tmp_path / "unused")
        checklist = Checklist(database)
        before = checklist.run(state="noted").reference
        assert statuses(checklist.run(reference=before))["server_errors"] == "passed"
        with pytest.raises(psycopg.OperationalError), database.connect() as victim:
            os.kill(victim.info.backend_pid, signal.SIGKILL)
            while True:
                victim.execute("SELECT pg_sleep(0.1)")
        until(lambda: answers(database), "the server's recovery", 60)
        crashed = checklist.run(reference=before)
        assert statuses(crashed)["server_errors"] == "failed"
        assert "the server recovered from a crash since" in observed(crashed, "server_errors")
    finally:
        server.stop()
        shutil.rmtree(home)


def answers(database: Database) -> bool:
    try:
        database.connect().close()
    except psycopg.OperationalError:
        return False
    return True


# One item does not stop the others


def with_call(function: str, steps: list[dict[str, Any]]) -> str:
    """The samples with another call of a function; each step returns one row that says x is true."""
    changed = []
    for one in checklist_samples.parse(shipped_samples()):
        calls = [
            {
                "function": function,
                "skipped": "",
                "steps": [{"returns": [{"x": True}], **step} for step in steps],
            }
            if call["function"] == function
            else call
            for call in one.calls
        ]
        changed.append(replace(one, calls=tuple(calls)))
    return checklist_samples.dump(changed)


def test_an_item_that_takes_too_long_is_told_and_the_others_go_on(shared: Database) -> None:
    samples = with_call("get_database_stats()", [{"ask": "SELECT pg_sleep(30) IS NULL AS x"}])
    outcome = Checklist(shared).run(samples=samples, statement_timeout_ms=3000)
    assert {item for item, status in statuses(outcome).items() if status == "failed"} == {"functions"}
    assert re.fullmatch(r"SQLSTATE 57014: [^\n]*", observed(outcome, "functions"))
    assert statuses(outcome)["sample_story"] == "passed"


def test_a_lost_connection_is_told_once(shared: Database) -> None:
    checks = [
        {
            "id": "ends",
            "title": "Ends it",
            "query": "SELECT pg_terminate_backend(pg_backend_pid())",
            "expected": True,
        },
        {"id": "late", "title": "Comes after", "query": "SELECT 1", "expected": 1},
    ]
    outcome = Checklist(shared).run(checks=checks)
    assert statuses(outcome)["ends"] == "failed"
    assert "was lost" in observed(outcome, "ends")
    assert statuses(outcome)["late"] == "not_tested"
    assert observed(outcome, "late") == "the connection was lost at item ends"


def test_samples_that_do_not_fit_fail_their_items_alone(shared: Database) -> None:
    samples = json.loads(shipped_samples())
    samples[0]["rows"]["staff"]["nickname"] = "Anya"
    outcome = Checklist(shared).run(samples=json.dumps(samples))
    found = statuses(outcome)
    assert found["tables"] == found["pruning"] == "passed"
    assert found["not_null"] == "failed"
    assert "the samples name staff.nickname, which no migration in force made" in observed(
        outcome, "not_null"
    )


def test_without_samples_everything_that_is_not_tried_is_named(shared: Database) -> None:
    outcome = Checklist(shared).run(samples="[]")
    found = statuses(outcome)
    assert {found[item] for item in WRITING} == {"warning"}
    for item, told in {
        "checks": "bookings.bookings_duration_check has no sample",
        "functions": "get_database_stats() has no call in the samples",
        "triggers": "update_updated_at_column() does is not in the samples",
        "foreign_keys": "clients has no row in the samples",
        "round_trip": "no sample value of type",
        "sample_story": "the samples tell no story",
        "access_paths": "the samples name no access path",
    }.items():
        assert told in observed(outcome, item), item


def test_a_call_that_a_variable_forbids_is_named(shared: Database) -> None:
    samples = checklist_samples.dump(load_samples(MIGRATIONS, {"retention_months": 3}))
    outcome = Checklist(shared).run(samples=samples)
    assert statuses(outcome)["functions"] == "warning"
    told = "maintain_messages_partitions() was not called, because retention_months is 3"
    assert observed(outcome, "functions") == told


# Its settings


def test_an_item_can_be_switched_off(finished: Database) -> None:
    with finished.connect() as owner:
        owner.execute("DROP INDEX idx_clients_visits_count")
    items = {"indexes": {"enabled": False, "reason": "it is being rebuilt"}}
    outcome = Checklist(finished).run(items=items)
    assert statuses(outcome)["indexes"] == "not_tested"
    assert observed(outcome, "indexes") == "switched off in verify_checks: it is being rebuilt"


def test_growth_may_be_allowed_for(finished: Database) -> None:
    checklist = Checklist(finished)
    before = checklist.reference()
    with finished.connect() as owner:
        owner.execute("INSERT INTO companies (id, name, yclients_company_id) VALUES (1, 'Salon', 1)")
        owner.execute(
            "INSERT INTO clients (company_id, phone) SELECT 1, n::text FROM generate_series(1, 5000) n"
        )
    found = [
        statuses(checklist.run(reference=before, items={"size_growth": {"allowance_mb": allowed}}))[
            "size_growth"
        ]
        for allowed in (0, 10)
    ]
    assert found == ["failed", "passed"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"items": {"tabels": {}}}, "there is no item tabels"),
        ({"items": {"tables": {"few_rows": 3}}}, "tables: unknown setting 'few_rows'"),
        ({"items": {"tables": False}}, "tables is False"),
        ({"partitions": [{"first": "2025-11"}]}, "names no table"),
        ({"partitions": [{"table": "messages", "colour": 1}]}, "unknown key 'colour'"),
        ({"partitions": [{"table": "messages", "ahead": "many"}]}, "ahead is 'many', not a number"),
        ({"partitions": [{"table": "messages", "unit": "fortnight"}]}, "unit is 'fortnight'"),
        ({"demands": {"rows": {"clients": {"at_mots": 1}}}}, "demands: rows: clients: unknown key 'at_mots'"),
        ({"checks": [{"id": "tables", "title": "", "query": "", "expected": 1}]}, "the id tables is taken"),
        ({"checks": [{"id": "x", "title": "", "query": ""}]}, "expected is missing"),
        ({"checks": [{"id": "x", "title": "", "query": "", "expected": 1, "sql": 1}]}, "unknown key 'sql'"),
    ],
)
def test_what_cannot_be_meant_is_refused(shared: Database, given: dict[str, Any], told: str) -> None:
    with pytest.raises(RolloutError, match=told):
        Checklist(shared).run(**given)


@pytest.mark.parametrize(
    ("check", "status", "told"),
    [
        ({"query": "SELECT count(*) FROM companies", "expected": 0}, "passed", "0"),
        (
            {"query": "SELECT 1.50::numeric, 'a', NULL", "expected": [[1.5, "a", None]]},
            "passed",
            "1.5, a, None",
        ),
        ({"query": "SELECT date '2030-01-15'", "expected": "2030-01-15"}, "passed", "2030-01-15"),
        ({"query": "SELECT 1 WHERE false", "expected": []}, "passed", "no row"),
        ({"query": "SELECT 79001234567, 'x'", "expected": [[79001234567, "x"]]}, "passed", "*********67, x"),
        ({"query": "SELECT '100%'", "expected": "100%"}, "passed", "100%"),
        ({"query": "SELECT 2", "expected": 1}, "failed", "2"),
        ({"query": "SELECT 2", "expected": 1, "status_if_not": "warning"}, "warning", "2"),
        ({"query": "SELECT generate_series(1, 101)", "expected": 1}, "failed", "and 91 rows more"),
        ({"query": "SELECT colour FROM companies", "expected": 1}, "failed", "SQLSTATE 42703"),
        ({"query": "DELETE FROM companies", "expected": 1}, "failed", "SQLSTATE 25006"),
        ({"query": "SELECT 1; DELETE FROM companies", "expected": 1}, "failed", "SQLSTATE 42601"),
        ({"query": "COMMIT", "expected": 1}, "failed", "no row"),
    ],
)
def test_checks_of_ones_own(shared: Database, check: dict[str, Any], status: str, told: str) -> None:
    off = {item.id: {"enabled": False} for item in checklist_database.ITEMS}
    outcome = Checklist(shared).run(checks=[{"id": "own", "title": "Mine", **check}], items=off)
    assert statuses(outcome)["own"] == status
    assert told in observed(outcome, "own")


def test_an_error_that_nobody_foresaw_fails_one_item_and_leaves_no_transaction_open(
    shared: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = checklist_own.evaluate

    def stumble(session: Any, schema: str, check: Any) -> Any:
        if check.id == "stumbles":
            session.run(["BEGIN"])
            raise KeyError("went_to")
        assert not session.in_transaction
        return judge(session, schema, check)

    monkeypatch.setattr(checklist_own, "evaluate", stumble)
    own = [{"id": one, "title": one, "query": "SELECT 1", "expected": 1} for one in ("stumbles", "stands")]
    outcome = Checklist(shared).run(checks=own)
    assert statuses(outcome)["stumbles"] == "failed"
    assert observed(outcome, "stumbles") == "KeyError: 'went_to'"
    assert statuses(outcome)["stands"] == "passed"


def test_where_there_is_nothing_to_try_nothing_has_passed(database: Database, shared: Database) -> None:
    empty = Checklist(database).run(samples="[]", partitions=[], demands={}, protected_tables=[])
    for item in ("checks", "foreign_keys", "unique_keys", "not_null"):
        assert statuses(empty)[item] == "not_tested"
        assert observed(empty, item).startswith("nothing was tried: no migration in force made a "), item
    unnamed = Checklist(shared).run(partitions=[])
    for item in ("partition_routing", "pruning"):
        assert statuses(unnamed)[item] == "not_tested"
        assert observed(unnamed, item).startswith("nothing was tried: the inventory names no table")


# References and measures


def test_the_growth_of_the_first_rollout_is_foretold_exactly(database: Database) -> None:
    checklist = Checklist(database)
    before = checklist.reference()
    Runner(database.options).apply()
    found = finding(checklist.run(reference=before), "size_growth")
    assert found["status"] == "passed", found
    evidence = found["evidence"]
    assert evidence["grown_bytes"] == evidence["least_bytes"] == evidence["most_bytes"] > 1_000_000
    assert "exactly" in found["expected"]
    # Afterwards the tables have their first pages: those that the checklist itself wrote to.
    found = finding(checklist.run(reference=before), "size_growth")
    assert found["status"] == "passed", found
    assert evidence["least_bytes"] < found["evidence"]["grown_bytes"] <= found["evidence"]["most_bytes"]
    # A vacuum takes the tables' pages away, but not those of the indexes.
    with database.connect() as owner:
        owner.execute("VACUUM")
        assert owner.execute("SELECT pg_relation_size('clients')").fetchone() == (0,)
    found = finding(checklist.run(reference=before), "size_growth")
    assert found["status"] == "passed", found


def test_an_index_on_old_rows_is_no_excess(live: Database) -> None:
    """A migration that adds one to a table with rows makes it as large as it has to be."""
    with live.connect() as owner:
        owner.execute(
            "INSERT INTO clients (company_id, phone) SELECT 1, n::text FROM generate_series(1, 5000) n"
        )
        before = Checklist(live).reference()
        owner.execute("CREATE INDEX later ON clients (email, phone)")
        found = finding(Checklist(live).run(reference=before), "size_growth")
        assert found["status"] == "passed"
        assert found["evidence"]["grown_bytes"] > 100_000


def test_pages_of_empty_indexes(database: Database) -> None:
    kinds = {
        "btree": "(n)",
        "brin": "(n)",
        "gin": "(words)",
        "gist": "(place)",
        "spgist": "(place)",
    }
    assert set(kinds) == set(EMPTY_INDEX_PAGES)
    with database.connect() as owner:
        owner.execute("CREATE TABLE empty (n integer, words text[], place point)")
        for kind, columns in kinds.items():
            owner.execute(f"CREATE INDEX empty_{kind} ON empty USING {kind} {columns}".encode())
            measured = owner.execute(
                f"SELECT pg_relation_size('empty_{kind}') / current_setting('block_size')::integer".encode()
            ).fetchone()
            assert measured == (EMPTY_INDEX_PAGES[kind],), kind


def test_without_a_reference_nothing_is_compared(shared: Database) -> None:
    outcome = Checklist(shared).run(reference={})
    for item in ("server_errors", "size_growth", "unchanged_neighbours"):
        assert statuses(outcome)[item] == "not_tested"
        assert observed(outcome, item) == "no earlier look was given to compare with"


def test_a_restart_and_counters_that_were_reset_are_told(finished: Database) -> None:
    checklist = Checklist(finished)
    before = checklist.reference()
    restarted = {**before, "server": {**before["server"], "started": before["server"]["started"] - 1}}
    assert "the server was restarted since" in observed(checklist.run(reference=restarted), "server_errors")
    # Crash recovery throws away what was counted, and when it was reset; the server was not started anew.
    for counted in ({"xact_commit": 10**9}, {"stats_reset": "2026-01-01 00:00:00+00"}):
        crashed = checklist.run(reference={**before, "server": {**before["server"], **counted}})
        assert "the server recovered from a crash since" in observed(crashed, "server_errors")
        assert statuses(crashed)["server_errors"] == "failed"
    with finished.connect_admin() as admin:
        admin.execute("SELECT pg_stat_reset()")
    outcome = checklist.run(reference=before)
    assert statuses(outcome)["server_errors"] == "not_tested"
    assert "counters were reset" in observed(outcome, "server_errors")


def test_maintenance_that_is_late_or_failed_is_a_warning(finished: Database) -> None:
    """``pg_partitions`` writes the record; here its row is made older."""
    record = (
        "INSERT INTO rollout.maintenance (target_schema, target_table, run_id, outcome, unit, ahead, actions, findings,"
        " message, ran_from, ended_at) VALUES ('public', 'messages', 'r', '{}', 'month', 3, '[]', '[]', '{}', 'h',"
        " now() - interval '{} days')"
    )
    with finished.connect() as owner:
        for command in partition_record.create_commands("rollout", with_ledger=False):
            owner.execute(command.sql.encode())
        seen = []
        for outcome, message, days in (("done", "", 0), ("failed", "a lock", 0), ("done", "", 5)):
            owner.execute("DELETE FROM rollout.maintenance")
            owner.execute(record.format(outcome, message, days).encode())
            told = observed(Checklist(finished).run(), "partitions")
            seen.append(told.splitlines()[-1])
    assert seen[0].startswith("no partition takes rows of")
    assert "failed: a lock" in seen[1]
    assert "was 5 days ago" in seen[2]


def test_a_table_that_nobody_asks_about_is_named(shared: Database) -> None:
    told = observed(Checklist(shared).run(partitions=[]), "partitions")
    assert told == "messages is partitioned, and nothing says which periods it needs"
    nowhere = Checklist(shared).run(partitions=[MESSAGES, {**MESSAGES, "table": "events"}])
    assert "there is no table public.events" in observed(nowhere, "partitions")
    assert statuses(nowhere)["partitions"] == "failed"


#: A salon as large as the application's, and a year of work.
REAL_SIZE = """
INSERT INTO companies (id, name, yclients_company_id) VALUES (1, 'Salon', 1);
INSERT INTO clients (id, company_id, phone) SELECT n, 1, 70000000000 + n FROM generate_series(1, 1299) n;
INSERT INTO services (id, company_id, title, duration) SELECT n, 1, n, 60 FROM generate_series(1, 63) n;
INSERT INTO staff (id, company_id, name) SELECT n, 1, n FROM generate_series(1, 12) n;
INSERT INTO staff_schedules (company_id, staff_id, date)
    SELECT 1, n, date '2026-01-01' + day FROM generate_series(1, 12) n, generate_series(1, 300) day;
INSERT INTO bookings (id, company_id, client_id, service_id, staff_id, datetime, duration)
    SELECT n, 1, n % 1299 + 1, n % 63 + 1, n % 12 + 1, '2026-01-01'::timestamptz + n * interval '2 hours', 60
    FROM generate_series(1, 4000) n;
INSERT INTO reminders (company_id, booking_id, remind_at, type, status)
    SELECT 1, n, now() + n * interval '1 minute', 'sms', CASE WHEN n % 50 = 0 THEN 'pending' ELSE 'sent' END
    FROM generate_series(1, 4000) n;
INSERT INTO dialog_contexts (phone, company_id) SELECT 70000000000 + n, 1 FROM generate_series(1, 1200) n;
INSERT INTO appointments_cache (company_id, cache_key, appointments, expires_at)
    SELECT 1, n, '[]', now() FROM generate_series(1, 1200) n;
INSERT INTO messages (company_id, phone, direction, message_id, processed, status, created_at)
    SELECT 1, 70000000000 + n % 1299, 'inbound', n, n % 100 > 0, CASE WHEN n % 100 = 1 THEN 'failed' ELSE 'sent' END,
        '2025-11-01'::timestamptz + n * interval '20 minutes' FROM generate_series(1, 12000) n;
ANALYZE
"""


def test_in_a_salon_of_real_size_every_path_is_found_as_the_planner_stands(finished: Database) -> None:
    """What the samples ask for is nobody's; the planner must not know that."""
    with finished.connect() as owner:
        owner.execute(REAL_SIZE.encode())
    outcome = Checklist(finished).run()
    assert {item for item, status in statuses(outcome).items() if status == "failed"} == set()
    assert statuses(outcome)["row_counts"] == "passed"
    assert finding(outcome, "access_paths")["evidence"] == {
        "without_sequential_scans": [],
        "by_other_indexes": {},
    }
    _make_indexes_anew_by_name(finished)
    path = finding(Checklist(finished).run(), "access_paths")
    assert path["status"] == "passed"
    assert path["evidence"]["by_other_indexes"]["A salon's bookings of a day"] == "idx_bookings_datetime"
    assert "by another index than meant" in path["observed"]


def _make_indexes_anew_by_name(database: Database) -> None:
    """As a restore does: among indexes that cost the same, the planner takes the one with the lowest number."""
    with database.connect() as owner:
        names = owner.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'i' AND relnamespace = 'public'::regnamespace"
            " AND NOT relispartition ORDER BY relname"
        ).fetchall()
        for (name,) in names:
            owner.execute(f"REINDEX INDEX CONCURRENTLY {name}".encode())


# Speed


def test_round_trips_are_few(shared: Database) -> None:
    """At 30 ms each, they decide how long it takes; the server's own work is the same near and far."""
    with TcpProxy(LOCAL, shared.server.port, round_trip_ms=30) as proxy:
        outcome = Checklist(shared, {"port": proxy.port}).run(reference={})
        assert outcome.round_trips <= 24
        assert proxy.round_trips <= outcome.round_trips + 6
    assert not [item for item, status in statuses(outcome).items() if status == "failed"]
