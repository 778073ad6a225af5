"""playbooks/backup.yml and playbooks/restore.yml as an operator runs them, and what their runs leave on record."""

import json
import re
from pathlib import Path

import pytest

from sandbox.databases import Database
from tests.application_rows import rows_of
from tests.backup_databases import database_with_rows, mode, prepared_rows  # noqa: F401
from tests.integration.command_runs import spellings
from tests.integration.playbook_run import Run
from tests.integration.rollout_project import RolloutProject, changed, tasks


@pytest.fixture
def project(filled: Database, tmp_path: Path) -> RolloutProject:
    return RolloutProject(tmp_path / "project", filled, with_net=True, backup_dir=str(tmp_path / "backups"))


def backed_up(project: RolloutProject, *arguments: str) -> Run:
    return project.playbook("playbooks/backup.yml", "-i", "prod", *arguments)


def restored(project: RolloutProject, *arguments: str) -> Run:
    return project.playbook("playbooks/restore.yml", "-i", "prod", *arguments)


VERIFIED = """
- hosts: application
  gather_facts: false
  vars:
    run_id: by-hand
    run_folder: unused
  tasks:
    - name: Look for a backup
      ansible.builtin.include_role:
        name: backup
        tasks_from: verified
    - name: Say which
      ansible.builtin.debug:
        msg: "counts={{ backup_result.folder }}"
"""


def section(project: RolloutProject, name: str) -> dict[str, object]:
    found: dict[str, object] = project.report()["hosts"]["app"]["sections"][name]
    return found


def test_a_backup_is_taken_and_restored_by_name(
    project: RolloutProject, filled: Database, tmp_path: Path
) -> None:
    run = backed_up(project, "-vvv")
    assert run.code == 0, run.output
    assert changed(run) == 1
    taken = section(project, "backup")["backup"]
    assert isinstance(taken, dict) and taken["proven"] is True
    assert mode(Path(taken["folder"])) == "0700" and mode(Path(taken["path"])) == "0600"
    whole = run.output + json.dumps(project.report())
    assert [text for text in spellings(filled.options["password"]) if text in whole] == []
    # What the tables hold stays on the host, in the dump.
    assert "Client 7" not in whole and "70000000003" not in whole
    project.write("playbooks/verified.yml", VERIFIED)
    looking = ("playbooks/verified.yml", "-i", "prod", "-e", f"run_id={project.report()['run_id']}")
    found = project.playbook(*looking)
    assert found.code == 0 and f"counts={taken['folder']}" in found.output, found.output
    with filled.connect() as owner:
        rows = rows_of(owner)
        owner.execute("DROP TABLE reminders")
        refused = restored(project, "-e", f"restore_from={taken['folder']}")
        assert refused.code != 0 and "restore_confirm is empty" in refused.output
        confirmed = ("-e", f"restore_from={taken['folder']}", "-e", f"restore_confirm={filled.name}")
        run = restored(project, *confirmed)
        assert run.code == 0, run.output
        assert changed(run) == 1
        assert rows_of(owner) == rows
    result = section(project, "restore")
    assert result["created"] == ["public.reminders"]
    # The ledger's history is not taken back, and the application's own tables are not touched.
    alone = {"public.whatsapp_auth", "public.whatsapp_keys", "rollout.migration", "rollout.change"}
    assert set(result["left_alone"]) == alone  # type: ignore[call-overload]


def test_nobody_goes_without_a_backup_for_no_reason(project: RolloutProject, tmp_path: Path) -> None:
    run = backed_up(project, "-e", "backup_required=false")
    assert run.code != 0
    assert "backup_override_reason is empty" in " ".join(run.output.split())
    assert project.report()["outcome"] == "failed"
    run = backed_up(
        project, "-e", "backup_required=false", "-e", "backup_override_reason='an invented reason'"
    )
    assert run.code == 0, run.output
    assert "Take a backup and restore it into a scratch target" not in " ".join(tasks(run))
    recorded = section(project, "backup")
    assert recorded["overridden"] is True and recorded["proven"] is False
    assert recorded["reason"] == "an invented reason"
    assert re.fullmatch(r"\S+", str(recorded["by"]))
    assert not (tmp_path / "backups").exists()
