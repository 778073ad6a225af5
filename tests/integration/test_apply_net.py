"""What has to hold before apply.yml touches the schema: everything asked, and a backup that was restored."""

from pathlib import Path

import psycopg
import pytest

from sandbox.databases import Database
from tests.integration.rollout_project import RolloutProject, changed
from tests.runner import Runner


@pytest.fixture
def project(database: Database, tmp_path: Path) -> RolloutProject:
    return RolloutProject(tmp_path / "project", database, with_net=True)


def sections(project: RolloutProject) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = project.report()["hosts"]["app"]["sections"]
    return found


def test_a_red_precheck_ends_the_run_before_anything_is_sent(
    database: Database, project: RolloutProject
) -> None:
    database.mark_log()
    with psycopg.connect(**database.options) as forgotten:
        forgotten.execute("SELECT FROM whatsapp_keys LIMIT 1")  # idle in transaction from here on
        run = project.apply("-e", "precheck_idle_in_transaction_s=0")
    assert run.code != 0
    assert "idle_in_transaction" in run.output
    assert database.ddl_log() == []
    assert sections(project)["precheck"]["failed"] is True
    assert not {"backup", "rehearsal"} & sections(project).keys()


def test_a_backup_that_cannot_be_proven_ends_the_run_before_a_migration(
    database: Database, project: RolloutProject, tmp_path: Path
) -> None:
    # A pg_dump that claims success and writes nothing that could be restored.
    programs = Path(str(database.server.binaries.bindir))
    broken = tmp_path / "bin"
    broken.mkdir()
    for program in programs.iterdir():
        (broken / program.name).symlink_to(program)
    (broken / "pg_dump").unlink()
    (broken / "pg_dump").write_text(
        f'#!/bin/sh\ncase "$*" in *--version*) exec {programs}/pg_dump --version;; esac\n'
        'for word; do case "$word" in --file=*) echo nothing > "${word#--file=}";; esac; done\n'
    )
    (broken / "pg_dump").chmod(0o755)
    before = Runner(database.options).inspect().fingerprint
    run = project.apply("-e", f"backup_bin_dir={broken}", "--skip-tags", "precheck")
    assert run.code != 0
    assert sections(project)["backup"]["failed"] is True
    assert not [name for name in sections(project) if name.startswith("migration")]
    assert Runner(database.options).inspect().fingerprint == before
    assert not [path for path in (project.folder / "backups").glob("*") if not path.name.startswith(".")]
    # The same with the real programs, as a control.
    control = project.apply("--skip-tags", "precheck")
    assert control.code == 0, control.output
    assert sections(project)["backup"]["failed"] is False


def test_who_goes_without_a_backup_has_to_say_why(database: Database, project: RolloutProject) -> None:
    database.mark_log()
    silent = project.apply("-e", "backup_required=false", "--skip-tags", "precheck")
    assert silent.code != 0
    assert "backup_override_reason is empty" in silent.output
    assert not [name for name in sections(project) if name.startswith("migration")]
    run = project.apply(
        *("-e", "backup_required=false", "-e", "backup_override_reason='the provider has one'"),
        *("--skip-tags", "precheck"),
    )
    assert run.code == 0, run.output
    assert "NO BACKUP of this run" in run.output
    assert "the provider has one" in str(sections(project)["backup"])


def test_a_dry_run_needs_no_right_to_write(finished: Database, tmp_path: Path) -> None:
    login = finished.readonly_options
    project = RolloutProject(
        tmp_path / "project",
        finished,
        with_net=True,
        pg_user=login["user"],
        pg_password=login["password"],
        schema_owner_role=finished.options["user"],
    )
    check = project.apply("--check")
    assert check.code == 0, check.output
    assert changed(check) == 0
    # The control: a run with the same login is refused before anything is sent.
    finished.mark_log()
    run = project.apply()
    assert run.code != 0
    assert "FAILED  rights" in run.output
    assert finished.ddl_log() == []


CALL = """
const { createClient } = require('@supabase/supabase-js');
const db = createClient(process.env.URL, process.env.KEY);
exports.read = async () => (await db.from('clients').select('COLUMN')).error;
"""


@pytest.mark.parametrize(("column", "code"), [("phone", 0), ("telephone", 2)])
def test_code_that_would_fail_on_the_schema_ends_the_run_where_that_is_asked_for(
    finished: Database, tmp_path: Path, column: str, code: int
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "clients.js").write_text(CALL.replace("COLUMN", column))
    project = RolloutProject(tmp_path / "project", finished)
    run = project.apply("-e", f"audit_source={source}", "-e", "audit_fail_on=missing")
    assert run.code == code, run.output
    assert f"{int(code > 0)} of 1 calls of the code would fail on this schema." in run.output
    assert sections(project)["audit"]["failed"] is (code > 0)
