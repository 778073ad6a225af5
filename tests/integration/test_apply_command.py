"""ansible-playbook apply.yml -i prod: what an operator types, sees and gets."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.databases import Database
from tests.integration.command_runs import CommandRuns, spellings, watched_command_lines
from tests.integration.rollout_project import RolloutProject, changed, tasks
from tests.migration_folders import write_migration
from tests.runner import Runner


def test_a_fresh_database_is_rolled_out(command_runs: CommandRuns) -> None:
    assert command_runs.first.code == 0, command_runs.first.output
    assert changed(command_runs.first) == 3  # the backup and two migrations
    found = Runner(command_runs.database.options).inspect()
    assert found.recorded == ["0001_business_tables", "0002_messages"]
    assert found.differences == []
    assert (
        "0001_business_tables applied: 97 statements; locks on protected tables" in command_runs.first.output
    )
    assert "whatsapp_auth: none, whatsapp_keys: none" in " ".join(command_runs.first.output.split())


def test_the_second_run_changes_nothing_sends_no_ddl_and_says_so(command_runs: CommandRuns) -> None:
    assert command_runs.second.code == 0, command_runs.second.output
    assert changed(command_runs.second) == 0
    assert command_runs.ddl_of_second == []
    assert "nothing to do: 2 migrations are in force" in command_runs.second.output
    assert "no DDL was sent, no table was locked beyond ACCESS SHARE" in command_runs.second.output


def test_check_mode_foretells_the_same_number_of_changes_and_leaves_nothing(
    command_runs: CommandRuns,
) -> None:
    check, before_and_after = command_runs.check_empty, command_runs.left_by_check
    assert check.code == 0, check.output
    assert changed(check) == changed(command_runs.first)
    assert before_and_after[0] == before_and_after[1]
    assert not command_runs.reports_after_check
    assert command_runs.check_finished.code == 0, command_runs.check_finished.output
    assert changed(command_runs.check_finished) == 0


def test_diff_prints_what_would_be_created(command_runs: CommandRuns) -> None:
    lines = set(command_runs.check_empty.output.splitlines())
    assert {"+table companies", "+index idx_clients_phone", "+table messages_2025_11"} <= lines
    assert "+function get_messages_stats" in command_runs.check_empty.output


def test_without_values_every_missing_one_is_named_and_nothing_reached(
    database: Database, tmp_path: Path
) -> None:
    project = RolloutProject(tmp_path / "project", database)
    (project.folder / "inventory/prod/group_vars/all/vault.yml").unlink()
    run = project.apply()
    assert run.code != 0
    for name in ("vault_app_host", "vault_app_user", "vault_pg_host", "vault_pg_port", "vault_pg_password"):
        assert f"  {name} " in run.output
    assert run.output.count("put it in: inventory/prod/group_vars/all/vault.yml") == 5
    assert "schema : " not in run.output
    assert not project.reports.exists()


def drift(database: Database) -> None:
    with database.connect() as owner:
        owner.execute("ALTER TABLE bookings ALTER cost TYPE numeric(8, 2)")
        owner.execute("DROP TRIGGER trigger_update_staff_updated_at ON staff")


def test_drift_fails_with_every_difference_and_without_a_secret(finished: Database, tmp_path: Path) -> None:
    drift(finished)
    project = RolloutProject(tmp_path / "project", finished)
    finished.mark_log()
    with watched_command_lines() as command_lines:
        run = project.apply("-vvv")
    assert run.code != 0
    assert "column bookings.cost: differs" in run.output
    assert "- type: numeric(8,2)" in run.output
    assert "+ type: numeric(10,2)" in run.output
    assert "trigger staff.trigger_update_staff_updated_at: missing" in run.output
    assert finished.ddl_log() == []
    assert not any("Verify" in task for task in tasks(run))
    assert "The run failed. Report: " in run.output
    assert_no_secret(
        finished,
        {
            "output": run.output,
            "reports": "".join(path.read_text() for path in project.reports.rglob("*") if path.is_file()),
            "command lines": "\n".join(command_lines),
        },
    )


def assert_no_secret(database: Database, places: dict[str, str]) -> None:
    secrets = spellings(str(database.options["password"]))
    for place, text in places.items():
        assert text, f"nothing was looked at in {place}"
        assert [place for secret in secrets if secret in text] == []


def test_a_successful_run_shows_no_secret_either(command_runs: CommandRuns) -> None:
    command_lines = "\n".join(command_runs.first_command_lines)
    assert "ansible-playbook apply.yml" in command_lines
    assert "app=rollout " in command_runs.log_of_first
    reports = command_runs.project.reports
    assert_no_secret(
        command_runs.database,
        {
            "output": command_runs.first.output,
            "reports": "".join(path.read_text() for path in reports.rglob("*") if path.is_file()),
            "command lines": command_lines,
            "server's log and application_name": command_runs.log_of_first,
        },
    )


def test_a_secret_would_be_found(command_runs: CommandRuns) -> None:
    """The control: in whichever of the spellings it stood."""
    secret = str(command_runs.database.options["password"])
    for spelling in spellings(secret):
        with pytest.raises(AssertionError):
            assert_no_secret(command_runs.database, {"output": f"before {spelling} after"})


def test_repair_is_asked_for_by_a_variable(finished: Database, tmp_path: Path) -> None:
    with finished.connect() as owner:
        owner.execute("DROP TRIGGER trigger_update_staff_updated_at ON staff")
        owner.execute("COMMENT ON TABLE staff IS 'people'")
    project = RolloutProject(tmp_path / "project", finished, schema_drift="repair")
    checked = project.apply("--check", "--diff")
    assert checked.code == 0, checked.output
    assert changed(checked) == 1
    assert "would repair" in checked.output
    run = project.apply()
    assert run.code == 0, run.output
    assert changed(run) == 1
    assert "repaired: " in run.output
    assert Runner(finished.options).inspect().differences == []


def test_a_broken_migration_stops_the_run_with_its_place(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    declared = {"size": {"type": "integer", "default": 1}}
    write_migration(
        folder, "0001", "good", "CREATE TABLE {{ schema }}.good (id integer);\n", variables=declared
    )
    write_migration(
        folder,
        "0002",
        "logins",
        "CREATE TABLE {{ schema }}.logins (id text REFERENCES {{ schema }}.whatsapp_auth (company_id));\n",
        existing_tables=["whatsapp_auth"],
    )
    project = RolloutProject(
        tmp_path / "project", database, schema_migrations_path=str(folder), schema_variables={"size": 2}
    )
    run = project.apply()
    assert run.code != 0
    assert "0002_logins locks a protected table too hard: SHARE ROW EXCLUSIVE on whatsapp_auth" in run.output
    assert "rolled back before COMMIT" in run.output
    assert Runner(database.options, folder).inspect().recorded == ["0001_good"]
    report = project.report()
    assert report["outcome"] == "failed"
    sections = report["hosts"]["app"]["sections"]
    assert sections["migration 0001_good"]["changed"]
    assert sections["migration 0002_logins"]["failed"]
    assert "SHARE ROW EXCLUSIVE" in sections["migration 0002_logins"]["msg"]
    assert sections["migration 0002_logins"]["details"]["locks"]
    assert "end" not in sections


@pytest.mark.parametrize(
    ("playbook", "arguments", "spoil", "code"),
    [
        ("playbooks/verify.yml", [], None, 0),
        ("playbooks/verify.yml", [], drift, 2),
        ("apply.yml", ["--tags", "verify"], None, 0),
        ("apply.yml", ["--tags", "schema", "--limit", "app"], None, 0),
    ],
    ids=["verify", "verify drift", "tag verify", "tag schema"],
)
def test_other_ways_to_call_it(
    finished: Database,
    tmp_path: Path,
    playbook: str,
    arguments: list[str],
    spoil: Callable[[Database], None] | None,
    code: int,
) -> None:
    if spoil:
        spoil(finished)
    project = RolloutProject(tmp_path / "project", finished)
    finished.mark_log()
    run = project.playbook(playbook, "-i", "prod", *arguments)
    assert run.code == code, run.output
    assert finished.ddl_log() == []
    if code == 0:
        assert changed(run) == 0
        assert project.report()["outcome"] == "succeeded"
    else:
        assert "column bookings.cost: differs" in run.output
        assert project.report()["outcome"] == "failed"


def test_tag_verify_brings_nothing_in(database: Database, tmp_path: Path) -> None:
    database.mark_log()
    run = RolloutProject(tmp_path / "project", database).playbook(
        "apply.yml", "-i", "prod", "--tags", "verify"
    )
    assert run.code == 2, run.output
    assert "has no migration for schema public" in run.output
    assert database.ddl_log() == []


def test_a_rehearsal_by_command_says_what_would_be_made_and_keeps_nothing(
    database: Database, tmp_path: Path
) -> None:
    project = RolloutProject(tmp_path / "project", database)
    before = Runner(database.options).inspect().fingerprint
    run = project.playbook("playbooks/rehearse.yml", "-i", "prod", "--diff")
    assert run.code == 0, run.output
    assert changed(run) == 0
    assert "created 131 columns" in " ".join(run.output.split())
    assert "+column bookings.cost" in run.output
    assert "+    type: numeric(10,2)" in run.output
    assert Runner(database.options).inspect().fingerprint == before
