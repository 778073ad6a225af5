"""playbooks/rollback.yml: what somebody who takes the migrations back types, sees and gets."""

import json
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from sandbox.databases import Database
from tests.integration.playbook_run import Run
from tests.integration.rollout_project import RolloutProject, changed
from tests.integration.sample_rows import MESSAGES, ROWS
from tests.runner import PROTECTED, Runner
from tests.waiting import until

TABLES = [*ROWS, "messages"]
FUNCTIONS = {
    "cleanup_expired_appointments_cache",
    "cleanup_expired_dialog_contexts",
    "create_messages_partition",
    "get_database_stats",
    "get_messages_stats",
    "get_recent_messages",
    "maintain_messages_partitions",
    "update_updated_at_column",
}


def contents(database: Database, tables: list[str]) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of the tables, in an order that is always the same."""
    with database.connect() as reader:
        return {
            table: reader.execute(
                sql.SQL("SELECT t::text FROM {} t ORDER BY 1").format(sql.Identifier(table))
            ).fetchall()
            for table in tables
        }


def names(database: Database) -> set[str]:
    """Relations and functions in the schema."""
    with database.connect() as reader:
        return {
            name
            for (name,) in reader.execute(
                "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace"
                " UNION SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
            )
        }


def roll_back(project: RolloutProject, *arguments: str) -> Run:
    return project.playbook("playbooks/rollback.yml", "-i", "prod", *arguments)


def section(project: RolloutProject) -> Any:
    return project.report()["hosts"]["app"]["sections"]["rollback"]


@pytest.fixture
def project(finished: Database, tmp_path: Path) -> RolloutProject:
    return RolloutProject(tmp_path / "project", finished, with_net=True)


def test_rows_are_refused_exported_dropped_and_brought_back(
    finished: Database, project: RolloutProject
) -> None:
    with finished.connect() as application:
        for statement in (*ROWS.values(), MESSAGES):
            application.execute(statement.encode())
    shape, rows = Runner(finished.options).inspect().fingerprint, contents(finished, TABLES)
    untouched, all_names = contents(finished, list(PROTECTED)), names(finished)
    confirm = f"rollback_confirm={finished.options['dbname']}"
    finished.mark_log()

    refused = roll_back(project)
    assert refused.code != 0
    assert "These tables hold rows, so nothing was taken back" in refused.output
    assert "messages: 3 rows" in refused.output
    assert all(f"{table}: 1 rows" in refused.output for table in ROWS)
    assert confirm in refused.output
    assert section(project)["failed"] is True
    mistyped = roll_back(project, "-e", "rollback_confirm=another")
    assert mistyped.code != 0
    assert "rollback_confirm is another, and this is the database" in mistyped.output
    unproven = roll_back(
        project, "-e", confirm, "-e", "backup_required=false", "-e", "backup_override_reason=no"
    )
    assert unproven.code != 0
    assert "The rows were not exported and proven, so no table is dropped" in unproven.output
    check = roll_back(project, "--check")
    assert check.code == 0, check.output
    assert "rows: messages: 3" in " ".join(check.output.split())
    assert changed(check) == 1
    assert finished.ddl_log() == []
    assert contents(finished, TABLES) == rows

    done = roll_back(project, "-e", confirm)
    assert done.code == 0, done.output
    assert changed(done) == 3  # the export and two migrations
    gone = all_names - names(finished)
    assert gone >= {*TABLES, *FUNCTIONS}
    assert not {name for name in names(finished) if name.startswith("messages")}
    assert all(
        name.startswith(("whatsapp", "idx_whatsapp")) or "whatsapp" in name for name in names(finished)
    )
    assert contents(finished, list(PROTECTED)) == untouched
    recorded = section(project)
    assert recorded["taken_back"] == ["0002_messages", "0001_business_tables"]
    assert recorded["rows"] == {**dict.fromkeys(ROWS, 1), "messages": 3}
    with finished.connect() as reader:
        history = reader.execute(
            "SELECT id, rolled_back_at IS NOT NULL, rolled_back_run IS NOT NULL FROM rollout.migration ORDER BY 1"
        ).fetchall()
    assert history == [("0001", True, True), ("0002", True, True)]
    again = roll_back(project)
    assert again.code == 0, again.output
    assert "Nothing to do: no migration is in force." in again.output
    assert changed(again) == 0

    assert f"-e restore_from={recorded['export']}" in " ".join(done.output.split())
    restored = project.playbook(
        "playbooks/restore.yml",
        *("-i", "prod", "-e", f"restore_from={recorded['export']}"),
        *("-e", f"restore_confirm={finished.options['dbname']}"),
    )
    assert restored.code == 0, restored.output
    assert contents(finished, TABLES) == rows
    assert contents(finished, list(PROTECTED)) == untouched
    assert Runner(finished.options).inspect().fingerprint == shape
    # As many rows as a test has are not what the inventory demands.
    checks = [
        {"id": "host_cpu", "severity": "warning"},
        {"id": "row_counts", "enabled": False, "reason": "a test"},
    ]
    adopted = project.apply("-e", json.dumps({"verify_checks": checks}))
    assert adopted.code == 0, adopted.output
    assert "0001_business_tables adopted" in adopted.output
    assert contents(finished, TABLES) == rows


def test_only_the_newest_may_go(finished: Database, project: RolloutProject) -> None:
    unknown = roll_back(project, "-e", "rollback_to=0007")
    assert unknown.code != 0
    assert "rollback_to is 0007, which is not in force" in unknown.output
    done = roll_back(project, "-e", "rollback_to=0001")
    assert done.code == 0, done.output
    assert section(project)["taken_back"] == ["0002_messages"]
    assert {"companies", "update_updated_at_column"} <= names(finished)
    assert "messages" not in names(finished)
    again = roll_back(project, "-e", "rollback_to=0001_business_tables")
    assert again.code == 0, again.output
    assert "0001_business_tables is the newest migration in force" in " ".join(again.output.split())


def test_what_others_use_is_refused_and_stays_when_told(finished: Database, project: RolloutProject) -> None:
    with finished.connect() as somebody:
        somebody.execute("CREATE TABLE visits (id int PRIMARY KEY, updated_at timestamptz)")
        somebody.execute(
            "CREATE TRIGGER stamp BEFORE UPDATE ON visits FOR EACH ROW EXECUTE FUNCTION update_updated_at_column()"
        )
    finished.mark_log()
    refused = roll_back(project)
    assert refused.code != 0
    assert "trigger stamp on table visits" in refused.output
    assert "rollback_keep_shared=true" in refused.output
    assert finished.ddl_log() == []
    done = roll_back(project, "-e", "rollback_keep_shared=true")
    assert done.code == 0, done.output
    assert "others need, so they stay: " in " ".join(done.output.split())
    left = names(finished)
    assert {"visits", "update_updated_at_column"} <= left
    assert not {"companies", "get_database_stats"} & left


def test_half_way_it_says_what_stands_and_what_to_type(finished: Database, project: RolloutProject) -> None:
    holding = psycopg.connect(**finished.options)
    holding.execute("SELECT FROM companies")  # ACCESS SHARE, until the transaction ends
    stopped = roll_back(
        project,
        "-e",
        "schema_lock_attempts=1",
        "-e",
        "schema_lock_timeout_ms=200",
        "-e",
        "backup_required=true",
    )
    said = " ".join(stopped.output.split())
    assert stopped.code != 0
    assert "Taken back: 0002_messages." in said
    assert "Still in force: 0001_business_tables." in said
    assert "go on with: ansible-playbook playbooks/rollback.yml -i " in said
    assert str(holding.info.backend_pid) in said
    assert section(project)["stays"] == ["0001_business_tables"]
    holding.rollback()
    holding.close()
    until(lambda: "companies" in names(finished), "the table stands")
    done = roll_back(project)
    assert done.code == 0, done.output
    assert not {*TABLES, *FUNCTIONS} & names(finished)


def test_a_change_to_the_tables_of_the_application_meanwhile_is_told(
    finished: Database, project: RolloutProject
) -> None:
    def meddle() -> None:
        until(lambda: "messages" not in names(finished), "the newest migration stands", 90)
        with finished.connect() as somebody:
            somebody.execute("ALTER TABLE whatsapp_keys ADD COLUMN note text")

    meddling = threading.Thread(target=meddle)
    meddling.start()
    run = roll_back(project)
    meddling.join()
    assert run.code != 0
    assert "whatsapp_auth, whatsapp_keys are not as they were before the rollback" in " ".join(
        run.output.split()
    )
    assert section(project)["taken_back"] == ["0002_messages", "0001_business_tables"]
