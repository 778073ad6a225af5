"""reports/<run id>/report.json: there after every run, whole, and enough to reconstruct what was done."""

import hashlib
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sandbox.databases import Database
from tests.integration.command_runs import CommandRuns
from tests.integration.playbook_run import program
from tests.integration.rollout_project import RolloutProject
from tests.report_files import agreed
from tests.runner import Runner
from tests.waiting import until


def sections(report: dict[str, Any]) -> dict[str, Any]:
    """What the one host left."""
    found = report["hosts"]["app"]["sections"]
    assert isinstance(found, dict)
    return found


def test_all_files_of_a_green_run_agree_and_it_is_listed(command_runs: CommandRuns) -> None:
    reports = command_runs.project.reports
    first, second = (
        reports / report["run_id"] for report in (command_runs.first_report, command_runs.second_report)
    )
    said = agreed(first)
    assert said.outcome == "succeeded"
    assert {"backup", "rehearsal", "migration 0002_messages", "run"} < set(said.ids)
    assert agreed(second).outcome == "succeeded"
    page = (first / "report.html").read_text()
    assert "Rolled out: 0001_business_tables and 0002_messages are in force since this run" in page
    for table in ("whatsapp_auth", "whatsapp_keys"):
        assert (
            f'<td data-label="Table" class="s">{table}</td><td data-label="Held" class="s">none</td>' in page
        )
    assert "Nothing to do: 2 migrations are in force" in (second / "report.html").read_text()
    index = (reports / "index.html").read_text()
    assert index.index(second.name) < index.index(first.name)
    assert f"Report: {first}/report.html" in " ".join(command_runs.first.output.split())


def test_it_names_the_run_its_command_and_its_inputs(command_runs: CommandRuns) -> None:
    report = command_runs.first_report
    assert report["outcome"] == "succeeded"
    assert re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{4}", report["run_id"])
    assert report["inventory"] == ["prod"]
    assert report["ansible"].startswith("2.")
    described = sections(report)["rehearsal"]["migrations"]
    loaded = Runner(command_runs.database.options).migrations
    assert [(m["id"], m["checksum"], m["source_sha256"]) for m in described] == [
        (m.id, m.checksum, m.source_sha256) for m in loaded
    ]
    assert described[1]["variables"] == dict(loaded[1].variables)


def test_it_tells_what_was_done_to_the_database(command_runs: CommandRuns) -> None:
    found = sections(command_runs.first_report)
    assert list(found) == [
        "backup",
        "end",
        "gate before",
        "message after the run",
        "message before",
        "migration 0001_business_tables",
        "migration 0002_messages",
        "precheck",
        "rehearsal",
        "verify",
        "watch",
    ]
    # Without an application the gates are called "not tested", never "green".
    assert found["gate before"]["state"] == "not_tested"
    assert {found[f"message {when}"]["status"] for when in ("before", "after the run")} == {"not_tested"}
    assert found["backup"]["backup"]["proven"] is True
    assert found["precheck"]["counts"]["passed"] > 20
    before = [m["state"] for m in found["rehearsal"]["migrations"]]
    assert before == ["absent", "absent"]
    business, messages = (found[f"migration {label}"] for label in ("0001_business_tables", "0002_messages"))
    for applied in (business, messages):
        assert applied["changed"]
        executed = applied["executed"]
        assert executed["state"] == "applied"
        assert executed["attempts"] == 1
        assert executed["xid"].isdigit()
        assert executed["commit_verdict"] == "answered"
        for statement in executed["statements"]:
            assert re.fullmatch(r"000[12]_\w+/\w+\.sql\.j2:\d+", statement["place"])
            assert statement["sql"]
            assert statement["ms"] >= 0
        assert applied["round_trips"] > 0
        assert applied["seconds"] > 0
        assert isinstance(applied["locks"], dict)
        assert isinstance(applied["notices"], list)
    assert len(business["executed"]["statements"]) == 97
    assert business["executed"]["fingerprint_after"] == messages["executed"]["fingerprint_before"]
    assert messages["executed"]["fingerprint_after"] == found["verify"]["fingerprint"]
    assert found["verify"]["differences"] == []
    assert found["verify"]["recorded"] == ["0001_business_tables", "0002_messages"]


def test_the_rendered_sql_lies_beside_it(command_runs: CommandRuns) -> None:
    folder = command_runs.project.reports / command_runs.first_report["run_id"]
    for migration in Runner(command_runs.database.options).migrations:
        kept = sections(command_runs.first_report)[f"migration {migration.label}"]["sql"]
        content = (folder / kept["file"]).read_bytes()
        assert content.decode() == migration.sql("public")
        assert kept["sha256"] == hashlib.sha256(content).hexdigest()


def test_a_run_of_nothing_leaves_a_report_that_says_so(command_runs: CommandRuns) -> None:
    report = command_runs.second_report
    assert report["outcome"] == "succeeded"
    assert report["run_id"] != command_runs.first_report["run_id"]
    found = sections(report)
    assert list(found) == ["end", "precheck", "rehearsal", "verify"]
    assert "nothing to do" in found["rehearsal"]["summary"]
    assert set(found["rehearsal"]["locks"].values()) == {"ACCESS SHARE"}
    first = sections(command_runs.first_report)
    assert found["verify"]["fingerprint"] == first["verify"]["fingerprint"]


def test_latest_is_the_last_one_that_was_written(command_runs: CommandRuns) -> None:
    latest = command_runs.project.reports / "latest"
    assert latest.is_symlink()
    assert os.readlink(latest) == command_runs.second_report["run_id"], "check mode writes none"


def test_what_failed_is_in_the_report(finished: Database, tmp_path: Path) -> None:
    with finished.connect() as owner:
        owner.execute("DROP INDEX idx_clients_phone")
    project = RolloutProject(tmp_path / "project", finished)
    run = project.apply()
    assert run.code != 0
    report = project.report()
    assert report["outcome"] == "failed"
    failed = sections(report)["rehearsal"]
    assert failed["failed"]
    assert "index idx_clients_phone: missing" in failed["msg"]
    (difference,) = failed["details"]["differences"]
    assert difference["object"] == "index idx_clients_phone"
    assert difference["kind"] == "missing"
    assert f"Report: {project.reports / report['run_id']}/report.html" in " ".join(run.output.split())
    said = agreed(project.reports / report["run_id"])
    assert (said.outcome, said.counts["failed"]) == ("failed", 2)


def test_a_database_that_cannot_be_reached_leaves_a_report_too(finished: Database, tmp_path: Path) -> None:
    project = RolloutProject(tmp_path / "project", finished, pg_dbname="nothing_of_that_name")
    run = project.apply()
    assert run.code != 0
    report = project.report()
    assert report["outcome"] == "failed"
    assert "nothing_of_that_name" in sections(report)["rehearsal"]["msg"]


def end_while_it_waits(
    project: RolloutProject, database: Database, number: signal.Signals
) -> tuple[int, str]:
    """Begin the main job, and send it a signal while a migration waits for a lock; exit code and output."""
    Runner(database.options).bring_in("0001")
    output = project.folder / "output.log"
    with database.connect(autocommit=False) as application, database.connect() as witness:
        # The rehearsal does not touch this name; the real statement waits for the transaction that made it.
        application.execute("CREATE FUNCTION get_messages_stats() RETURNS integer LANGUAGE sql AS 'SELECT 1'")
        with output.open("w") as log:
            process = subprocess.Popen(
                [
                    *(program("ansible-playbook"), "apply.yml", "-i", "prod"),
                    # On a busy machine it would find that the application idles in its transaction.
                    *("--skip-tags", "precheck"),
                ],
                cwd=project.folder,
                env={
                    **os.environ,
                    "ANSIBLE_CONFIG": str(project.folder / "ansible.cfg"),
                    "LC_ALL": "C.UTF-8",
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            try:
                waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
                until(lambda: witness.execute(waiting).fetchone() != (0,), "the migration does not wait", 60)
            finally:
                if number == signal.SIGKILL:
                    os.killpg(process.pid, number)
                else:
                    process.send_signal(number)
                code = process.wait()
        application.rollback()
    return code, output.read_text()


def test_a_run_that_is_killed_leaves_what_it_knew(database: Database, tmp_path: Path) -> None:
    """Killed while a migration waits for a lock: what was found out stands there, and the run is not called done."""
    project = RolloutProject(tmp_path / "project", database, schema_lock_timeout_ms=60000)
    end_while_it_waits(project, database, signal.SIGKILL)
    report = project.report()
    assert report["outcome"] == "running"
    assert sections(report)["rehearsal"]["migrations"][1]["state"] == "absent"
    folder = project.reports / report["run_id"]
    assert not (folder / "report.html").exists()
    again = project.playbook("playbooks/report.yml", "-i", "prod")
    assert again.code == 0, again.output
    assert agreed(folder).outcome == "running"
    assert "Not ended: what was recorded last is “" in (folder / "report.html").read_text()
    assert project.apply().code == 0
    assert project.report()["outcome"] == "succeeded"


def test_a_run_that_is_interrupted_says_so_in_all_its_files(database: Database, tmp_path: Path) -> None:
    project = RolloutProject(tmp_path / "project", database, schema_lock_timeout_ms=60000)
    code, output = end_while_it_waits(project, database, signal.SIGINT)
    assert code not in (0, None), output
    assert "User interrupted execution" in output
    report = project.report()
    assert report["outcome"] == "failed"
    stopped = sections(report)["stopped"]
    assert stopped["interrupted"]
    assert stopped["task"].endswith("Bring into force migration 0002_messages")
    folder = project.reports / report["run_id"]
    assert agreed(folder).outcome == "failed"
    assert "Failed</span>: the run was interrupted in the task" in (folder / "report.html").read_text()


def test_a_host_that_is_gone_is_on_the_page_beside_the_one_that_went_on(
    finished: Database, tmp_path: Path
) -> None:
    project = RolloutProject(tmp_path / "project", finished)
    project.write("inventory/prod/hosts.yml", "application:\n  hosts:\n    app:\n    gone:\n")
    host = (project.folder / "inventory/prod/host_vars/app.yml").read_text()
    project.write(
        "inventory/prod/host_vars/gone.yml",
        # Nobody listens there.
        host.replace("ansible_connection: local", "ansible_connection: ssh")
        + "ansible_host: 127.0.0.1\nansible_port: 1\n",
    )
    run = project.apply()
    assert run.code != 0
    assert re.search(r"^gone +: .* unreachable=1 ", run.output, re.MULTILINE)
    report = project.report()
    assert {name: one["outcome"] for name, one in report["hosts"].items()} == {
        "app": "succeeded",
        "gone": "failed",
    }
    stopped = report["hosts"]["gone"]["sections"]["stopped"]
    assert stopped["unreachable"]
    assert stopped["task"] and "connect to host 127.0.0.1 port 1" in stopped["msg"]
    folder = project.reports / report["run_id"]
    said = agreed(folder)
    assert said.outcome == "failed"
    assert said.ids["run"] == 2
    page = (folder / "report.html").read_text()
    assert "Failed</span> on 1 of 2 hosts, gone: the host could not be reached in the task" in page
    assert page.count('class="host"') == 2


def test_a_task_that_no_section_tells_of_is_told(finished: Database, tmp_path: Path) -> None:
    """Such as one of role runtime, before anything that records; its message is masked."""
    project = RolloutProject(tmp_path / "project", finished)
    project.write(
        "roles/runtime/tasks/main.yml",
        '- name: Prepare\n  ansible.builtin.fail:\n    msg: "no room; call 12025550199, password=hunter2"\n',
    )
    run = project.apply()
    assert run.code == 2
    folder = project.reports / project.report()["run_id"]
    stopped = sections(project.report())["stopped"]
    assert (stopped["task"], stopped["msg"]) == (
        "runtime : Prepare",
        "no room; call *********99, password=[redacted]",
    )
    assert agreed(folder).outcome == "failed"
    assert "Failed</span>: no room; call *********99" in (folder / "report.html").read_text()
    assert project.report()["run_id"] in (project.reports / "index.html").read_text()


def test_a_report_that_cannot_be_written_fails_the_run_and_hides_no_reason(
    finished: Database, tmp_path: Path
) -> None:
    project = RolloutProject(tmp_path / "project", finished)
    project.write("module_utils/rollout/report/page.html.j2", "{{ run.nothing_of_that_name }}")
    green = project.apply()
    assert green.code == 2, green.output
    assert "nothing_of_that_name" in green.output
    assert project.report()["outcome"] == "failed"
    assert "nothing_of_that_name" in sections(project.report())["stopped"]["msg"]
    with finished.connect() as owner:
        owner.execute("DROP INDEX idx_clients_phone")
    red = project.apply()
    assert red.code == 2
    told = " ".join(red.output.split())
    assert "index idx_clients_phone: missing" in told
    assert f"The report of run {project.report()['run_id']} could not be written: UndefinedError" in told
    assert project.report()["outcome"] == "failed"


@pytest.mark.parametrize("run_id", ["nightly-1", "../outside"])
def test_a_run_id_can_be_given_and_names_no_other_place(
    finished: Database, tmp_path: Path, run_id: str
) -> None:
    project = RolloutProject(tmp_path / "project", finished)
    run = project.apply("-e", f"run_id={run_id}")
    if run_id == "nightly-1":
        assert run.code == 0, run.output
        assert project.report()["run_id"] == "nightly-1"
    else:
        assert run.code != 0
        assert "run_id" in run.output
        assert not (project.folder / "outside").exists()
