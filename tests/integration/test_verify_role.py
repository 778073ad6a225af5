"""The success checklist in real runs: all of it is told, the run fails once, and what follows for a rollback."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.rollout.checklist_entries import DATABASE_OPTIONS
from ansible.module_utils.rollout.success_checklist import OPTIONS

from sandbox.application import Application
from sandbox.breakage import break_application, mend
from sandbox.databases import Database
from tests.integration.command_runs import CommandRuns, spellings
from tests.integration.playbook_run import Run
from tests.integration.rollout_project import RolloutProject, changed, tasks
from tests.integration.test_gate_playbook import Site, message, site  # noqa: F401
from tests.runner import Runner

pytestmark = pytest.mark.timeout(600)

FIRST, SECOND = "0001_business_tables", "0002_messages"
TELEGRAM = "ai-admin-telegram-bot"
#: Other tests run on the same machine.
BUSY = {"id": "host_cpu", "window": 0.2, "severity": "warning"}
#: Items that write, so that a dry run does not try them.
TRIED = {
    "functions", "triggers", "checks", "foreign_keys", "unique_keys", "not_null", "round_trip", "partition_routing",
    "access_paths", "sample_story",
}  # fmt: skip


def salons(expected: int, **values: Any) -> dict[str, Any]:
    """A check of one's own; there are no salons."""
    query = "SELECT count(*) FROM companies"
    return {"id": "salons", "title": "So many salons", "query": query, "expected": expected, **values}


def section(report: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = report["hosts"]["app"]["sections"]["verify"]
    return found


def statuses(verified: dict[str, Any]) -> dict[str, str]:
    return {one["id"]: one["status"] for one in verified["findings"]}


def red(verified: dict[str, Any]) -> set[str]:
    return {item for item, status in statuses(verified).items() if status == "failed"}


def observed(verified: dict[str, Any], item: str) -> str:
    (found,) = [one["observed"] for one in verified["findings"] if one["id"] == item]
    return str(found)


# --- the main job, once for several tests --------------------------------------------------------------------------


def test_a_run_is_verified_item_by_item(command_runs: CommandRuns) -> None:
    verified = section(command_runs.first_report)
    assert [one["id"] for one in verified["findings"]] == ["database", *OPTIONS]
    assert red(verified) == set()
    assert verified["failed"] is False
    assert verified["state"] == "green"
    assert verified["counts"]["failed"] == 0
    assert verified["summary"] in command_runs.first.output
    assert verified["objects"]["table"] > 17
    # What compares with the moment before the run has something to compare with.
    found = statuses(verified)
    assert found["size_growth"] == found["unchanged_neighbours"] == "passed"
    assert {found[item] for item in ("services", "whatsapp", "test_message")} == {"not_tested"}


def test_a_run_of_nothing_is_verified_too_and_sends_no_message(command_runs: CommandRuns) -> None:
    verified = section(command_runs.second_report)
    assert red(verified) == set()
    assert {statuses(verified)[item] for item in TRIED} == {"passed"}
    assert observed(verified, "test_message") == "nothing was applied, so nothing was sent"
    assert statuses(verified)["size_growth"] == "not_tested"


def test_a_dry_run_does_not_hold_against_the_schema_what_is_pending(command_runs: CommandRuns) -> None:
    assert command_runs.check_empty.code == 0
    told = " ".join(command_runs.check_empty.output.split())
    assert "migrations are pending; before them: " in told
    assert re.search(r"success checklist: (\d+ warnings?, )?\d+ not tested, \d+ passed", told)
    assert command_runs.check_finished.code == 0
    untested = " ".join(command_runs.check_finished.output.split())
    assert "a dry run writes nothing" in untested


# --- what the inventory says of it ---------------------------------------------------------------------------------


def test_what_cannot_be_kept_is_refused_before_anybody_is_asked(database: Database, tmp_path: Path) -> None:
    entries = [
        {"id": "memroy", "available_mb": 1},
        {"id": "triggers", "severity": "warn"},
        salons(0, expceted=1),
    ]
    project = RolloutProject(tmp_path / "project", database, pg_port=1, verify_checks=entries)
    run = project.apply()
    assert run.code != 0
    told = " ".join(run.output.split())
    assert "verify_checks[0] (memroy): there is no such item; did you mean memory?" in told
    assert "verify_checks[1] (triggers): severity is 'warn', not one of failed, warning" in told
    assert "verify_checks[2] (salons): there is no option expceted; did you mean expected?" in told
    assert "Correct verify_checks in the inventory (group_vars/all/verify.yml)" in told
    assert not [task for task in tasks(run) if "Rehearse" in task or "Evaluate" in task]


def test_a_red_item_hides_no_other_and_the_run_fails_once(finished: Database, tmp_path: Path) -> None:
    with finished.connect() as owner:
        owner.execute("DROP INDEX idx_clients_phone")
        owner.execute("ALTER TABLE staff DISABLE TRIGGER trigger_update_staff_updated_at")
    off = {"id": "triggers", "enabled": False, "reason": "known, will be mended on Monday"}
    own = [salons(1), {**salons(2), "id": "more_salons", "severity": "warning"}]
    project = RolloutProject(tmp_path / "project", finished, verify_checks=[BUSY, off, *own])
    run = project.playbook("playbooks/verify.yml", "-i", "prod")
    assert run.code != 0
    verified = section(project.report())
    assert [one["id"] for one in verified["findings"]] == ["database", *OPTIONS, "salons", "more_salons"]
    assert red(verified) == {"ledger", "indexes", "salons"}
    assert statuses(verified)["more_salons"] == "warning"
    assert observed(verified, "triggers") == f"switched off in verify_checks: {off['reason']}"
    assert {statuses(verified)[item] for item in TRIED - {"triggers"}} == {"passed"}
    # The database says nothing about the application.
    assert (verified["state"], verified["failed"]) == ("green", True)
    assert project.report()["outcome"] == "failed"
    told = " ".join(run.output.split())
    assert "index idx_clients_phone: missing" in told
    assert run.output.count("1. FAILED") == 1, "the list stands there once"
    assert "passed; failed: ledger, indexes, salons; see the error above." in told
    assert changed(run) == 0
    secret = str(finished.options["password"])
    kept = json.dumps(project.report())
    assert not [text for text in spellings(secret) if text in run.output or text in kept]


@pytest.mark.parametrize(("of_application", "cause"), [(False, "failed_step"), (True, "red_gate")])
def test_the_inventory_says_which_red_item_takes_the_run_back(
    database: Database, tmp_path: Path, of_application: bool, cause: str
) -> None:
    settings: dict[str, Any] = {"verify_checks": [BUSY, salons(1)]}
    if of_application:
        settings["verify_application_items"] = ["services", "salons"]
    project = RolloutProject(tmp_path / "project", database, **settings)
    run = project.apply()
    assert run.code != 0
    found = project.report()["hosts"]["app"]["sections"]
    assert red(found["verify"]) == {"salons"}
    assert found["rollback"]["cause"] == cause
    recorded = Runner(database.options).inspect().recorded
    lines = message(run)
    assert "; failed: salons; " in lines[0]
    if of_application:
        assert recorded == []
        assert f"Taken back: {SECOND}, {FIRST}." in lines
    else:
        assert recorded == [FIRST, SECOND]
        assert [line for line in lines if line.startswith("In force since this run, and staying: ")]


def test_since_an_earlier_run_as_many_lines_are_normal_as_in_a_watch(
    database: Database, tmp_path: Path
) -> None:
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
        gate_baseline_samples=2,
        gate_samples=2,
        gate_red_samples=2,
        gate_interval=0.1,
        verify_checks=[BUSY],
    )
    applied = project.apply()
    assert applied.code == 0, applied.output

    def verified_after(lines: int, *arguments: str) -> dict[str, Any]:
        with log.open("a") as file:
            file.write("2025-11-09 21:31:00: error: Payment refused\n" * lines)
        project.playbook("playbooks/verify.yml", "-i", "prod", *arguments)
        return section(project.report())

    assert red(verified_after(20)) == set()
    found = verified_after(1)
    assert red(found) == {"new_errors"}
    assert "21 new lines of level error" in observed(found, "new_errors")
    assert red(verified_after(0, "-e", "watch_error_lines=21")) == set()


# --- beside the application ----------------------------------------------------------------------------------------


def verify(project: Site, *arguments: str) -> Run:
    return project.playbook("playbooks/verify.yml", "-i", "prod", *arguments)


def test_after_a_run_and_any_time_later(
    application: Application,
    site: Callable[..., Site],  # noqa: F811
) -> None:
    project = site(
        test_phone=application.variables["test_phone"], gate_message_timeout=60, gate_message_attempts=1
    )
    run = project.run_job()
    assert run.code == 0, run.output
    verified = project.sections["verify"]
    assert red(verified) == set()
    found = statuses(verified)
    assert {found[item] for item in ("whatsapp", "services", "test_message", "new_errors")} == {"passed"}
    assert found["whatsapp_untouched"] == found["memory"] == "passed"
    assert verified["findings"][list(found).index("services")]["expected"] == (
        "7 services online, and none restarted since the baseline of this run"
    )
    # The gate and the message of the run were enough.
    assert "gate for the checklist" not in run.output
    assert "message for the checklist" not in project.sections

    of_run = project.report()["run_id"]
    break_application(application, "stop", TELEGRAM)
    later = verify(project)
    assert later.code != 0
    verified = project.sections["verify"]
    assert red(verified) == {"services"}
    assert TELEGRAM in observed(verified, "services")
    assert f"none restarted since run {of_run} (" in str(verified["findings"])
    assert observed(verified, "test_message") == "nobody asked, because the gate is red"
    assert verified["state"] == "red"
    assert {statuses(verified)[item] for item in TRIED} == {"passed"}
    assert len(verified["findings"]) == 1 + len(OPTIONS)
    assert "gate for the checklist 1/3" in later.output

    mend(application)
    # What was restarted is compared with nothing, and what cannot be asked is red and says nothing.
    nowhere = "http://127.0.0.1:1/webhook/whatsapp/batched"
    unasked = verify(project, "-e", "verify_reference_max_age_minutes=0", "-e", f"gate_message_url={nowhere}")
    assert unasked.code != 0
    verified = project.sections["verify"]
    assert red(verified) == {"test_message"}
    assert observed(verified, "test_message").startswith("the bot could not be asked: ")
    assert verified["state"] == "broken"
    assert "none restarted since the first look" in str(verified["findings"])
    assert statuses(verified)["services"] == "passed"


def test_a_database_that_is_away_hides_nothing_of_the_application(
    application: Application,
    site: Callable[..., Site],  # noqa: F811
) -> None:
    project = site(pg_port=1, test_phone="")
    run = verify(project)
    assert run.code != 0
    verified = project.sections["verify"]
    # The WhatsApp session is in the database.
    assert red(verified) == {"database", "whatsapp_untouched"}
    found = statuses(verified)
    assert {found[item] for item in (*DATABASE_OPTIONS, "ledger", "test_message")} == {"not_tested"}
    assert found["services"] == found["whatsapp"] == found["new_errors"] == "passed"
    assert verified["state"] == "broken"
