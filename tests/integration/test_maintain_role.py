"""playbooks/maintain.yml as an operator runs it, and its schedule's program run as the schedule runs it."""

import json
import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

from sandbox.databases import Database
from tests.integration import module_run
from tests.integration.command_runs import spellings
from tests.integration.playbook_run import Run
from tests.integration.rollout_project import RolloutProject, changed
from tests.partitioned import bounds, make_events, one

PLAYBOOK = "playbooks/maintain.yml"


def project_of(database: Database, folder: Path, **variables: Any) -> RolloutProject:
    schedule = {
        "maintain_become": False,
        "maintain_start": False,
        "maintain_schedule": "systemd",
        "maintain_home": str(folder / "maintain"),
        "maintain_systemd_dir": str(folder),
        "maintain_user": "",
    }
    return RolloutProject(folder / "project", database, **{**schedule, **variables})


def scheduled(line: str) -> subprocess.CompletedProcess[str]:
    """Run the command at the end of a line of a unit or of cron's table, without anything of this shell."""
    command = re.findall(r'"([^"]+)"|(-I)', line)
    environment = {name: value for name, value in os.environ.items() if name in ("PATH", "LD_LIBRARY_PATH")}
    return subprocess.run(
        [path or flag for path, flag in command],
        env=environment,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def the_file(folder: Path, pattern: str) -> Path:
    """The one file of that name: what a schedule is called holds its database's name."""
    (found,) = folder.glob(pattern)
    return found


def unwrapped(run: Run) -> str:
    return " ".join(run.output.split())


def test_a_checked_run_a_run_and_the_schedule(finished: Database, tmp_path: Path) -> None:
    project = project_of(finished, tmp_path)
    with finished.connect() as owner:
        red = project.playbook(PLAYBOOK, "-i", "prod", "-e", "maintain_state=checked")
        assert red.code != 0
        assert "no maintenance of public.messages was ever recorded" in unwrapped(red)
        assert project.report()["hosts"]["app"]["sections"]["maintain"]["failed"] is True
        before = bounds(owner, "messages")
        check = project.playbook(PLAYBOOK, "-i", "prod", "--check", "--diff")
        assert check.code == 0, check.output
        assert bounds(owner, "messages") == before
        assert not (tmp_path / "maintain").exists()
        owner.execute("DROP TABLE public.messages_2026_01")
        run = project.playbook(PLAYBOOK, "-i", "prod")
        assert run.code == 0, run.output
        assert "messages_2026_01" in bounds(owner, "messages")
        assert "public.messages: 3 whole periods ahead, covers until" in unwrapped(run)
        section = project.report()["hosts"]["app"]["sections"]["maintain"]
        assert section["failed"] is False
        assert section["tables"][0]["locks"]["messages"] == "SHARE UPDATE EXCLUSIVE"

        again = project.playbook(PLAYBOOK, "-i", "prod")
        assert (again.code, changed(again)) == (0, 0), again.output

        # The schedule, as it is on the host.
        (home,) = (tmp_path / "maintain").iterdir()
        modes = {name: stat.S_IMODE((home / name).stat().st_mode) for name in ("pgpass", "pg_service.conf")}
        assert modes == {"pgpass": 0o600, "pg_service.conf": 0o600}
        secret = str(finished.options["password"])
        for text in (again.output, run.output, *(f.read_text() for f in home.rglob("*.*")), *(
            the_file(tmp_path, f"rollout-maintain-*.{kind}").read_text() for kind in ("service", "timer")
        )):  # fmt: skip
            assert not [written for written in spellings(secret) if written in text]
        owner.execute("DROP TABLE public.messages_2026_01")
        unit = the_file(tmp_path, "rollout-maintain-*.service").read_text()
        done = scheduled(unit[unit.index("ExecStart=") : unit.index("# 75")])
        assert done.returncode == 0, done.stdout + done.stderr
        told = json.loads(done.stdout)
        assert [action["partition"] for action in told["actions"]] == ["messages_2026_01"]
        assert "messages_2026_01" in bounds(owner, "messages")
        who = one(owner, "SELECT run_id FROM rollout.maintenance ORDER BY seq DESC LIMIT 1")
        assert who.startswith("scheduled-")
        assert secret not in done.stdout + done.stderr


def test_cron_where_there_is_no_systemd_and_what_its_exit_code_says(
    finished: Database, tmp_path: Path
) -> None:
    project = project_of(finished, tmp_path, maintain_schedule="cron", maintain_cron_dir=str(tmp_path))
    # What is given on the command line is text.
    assert project.playbook(PLAYBOOK, "-i", "prod", "-e", "maintain_lock_attempts=4").code == 0
    assert list(tmp_path.glob("*.timer")) == []
    table_of_cron = the_file(tmp_path, "rollout-maintain-*")
    # cron ignores a file with anything else in its name.
    assert re.fullmatch(r"[A-Za-z0-9_-]+", table_of_cron.name)
    line = table_of_cron.read_text().splitlines()[-1]
    assert scheduled(line).returncode == 0
    file = the_file(tmp_path, "maintain/*/maintain.json")
    good = json.loads(file.read_text())
    assert good["common"]["lock_attempts"] == 4
    table = good["tables"][0]
    file.write_text(json.dumps({**good, "tables": [{**table, "table": "nothing"}, table]}))
    red = scheduled(line)
    assert red.returncode == 1
    # The other table was maintained all the same.
    assert ["error" in json.loads(told) for told in red.stdout.splitlines()] == [True, False]
    # One that fails in a way that nobody foresaw is red as well, and only it.
    file.write_text(json.dumps({**good, "tables": [{**table, "ahead": "many"}, table]}))
    unforeseen = scheduled(line)
    assert unforeseen.returncode == 1 and "Traceback" in unforeseen.stderr
    assert [json.loads(told).get("error", "")[:9] for told in unforeseen.stdout.splitlines()] == [
        "TypeError",
        "",
    ]
    service = file.with_name("pg_service.conf")
    service.write_text(service.read_text().replace(f"port={finished.options['port']}", "port=1"))
    file.write_text(json.dumps(good))
    assert scheduled(line).returncode == 75


def test_two_databases_on_one_host_have_a_schedule_each(
    finished: Database, database: Database, tmp_path: Path
) -> None:
    with database.connect() as owner:
        make_events(owner)
    shared = {
        "maintain_home": str(tmp_path / "maintain"),
        "maintain_systemd_dir": str(tmp_path),
        "maintain_cron_dir": str(tmp_path),
    }
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    projects = [
        project_of(finished, tmp_path / "one", **shared),
        project_of(database, tmp_path / "other", maintain_tables=[{"table": "events"}], **shared),
    ]
    for project in projects:
        run = project.playbook(PLAYBOOK, "-i", "prod")
        assert run.code == 0, run.output
    for base, table in ((finished, "public.messages"), (database, "public.events")):
        unit = the_file(tmp_path, f"rollout-maintain-*-{base.name}.service").read_text()
        assert the_file(tmp_path, f"rollout-maintain-*-{base.name}.timer").exists()
        done = scheduled(unit[unit.index("ExecStart=") : unit.index("# 75")])
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)["table"] == table
    again = projects[0].playbook(PLAYBOOK, "-i", "prod")
    assert (again.code, changed(again)) == (0, 0), again.output


def test_what_is_red_or_fails_does_not_keep_the_schedule_from_the_others(
    finished: Database, tmp_path: Path
) -> None:
    with finished.connect() as owner:
        owner.execute("DROP TABLE public.messages_2026_01")
        owner.execute(
            "CREATE TABLE public.odd PARTITION OF public.messages"
            " FOR VALUES FROM ('2026-01-01 00:00:00+00') TO ('2026-01-05 00:00:00+00')"
        )
    months = {"table": "messages", "first": "2025-11"}
    project = project_of(finished, tmp_path, maintain_tables=[{"table": "nothing"}, months])
    run = project.playbook(PLAYBOOK, "-i", "prod")
    assert run.code != 0
    told = unwrapped(run).partition("Refuse what is red")[2]
    assert "1 tables failed" in told and "public.nothing: there is no table public.nothing" in told
    assert "nothing takes rows from 2026-01-05" in told
    assert project.report()["hosts"]["app"]["sections"]["maintain"]["failed"] is True
    unit = the_file(tmp_path, "rollout-maintain-*.service").read_text()
    done = scheduled(unit[unit.index("ExecStart=") : unit.index("# 75")])
    assert [json.loads(line)["table"] for line in done.stdout.splitlines()] == [
        "public.nothing",
        "public.messages",
    ]


def test_a_repair_is_told_before_it_is_confirmed(finished: Database, tmp_path: Path) -> None:
    project = project_of(finished, tmp_path, maintain_schedule="none")
    with finished.connect() as owner:
        owner.execute("DROP TABLE public.messages_2026_01")
        owner.execute(
            "CREATE TABLE public.odd PARTITION OF public.messages"
            " FOR VALUES FROM ('2026-01-01 00:00:00+00') TO ('2026-01-05 00:00:00+00')"
        )
        told = project.playbook(PLAYBOOK, "-i", "prod", "-e", "maintain_state=repaired")
        assert told.code != 0
        assert "replace odd: locks ACCESS EXCLUSIVE on messages for a moment" in unwrapped(told)
        section = project.report()["hosts"]["app"]["sections"]["maintain"]
        assert section["failed"] is True and "not begun" in section["tables"][0]["msg"]
        assert "odd" in bounds(owner, "messages")
        done = project.playbook(
            PLAYBOOK, "-i", "prod", "-e", "maintain_state=repaired", "-e", "maintain_repair_confirmed=true"
        )
        assert done.code == 0, done.output
        assert "messages_2026_01" in bounds(owner, "messages")
        assert "odd" not in bounds(owner, "messages")


def test_the_module_says_what_its_documentation_says(finished: Database, capsys: Any) -> None:
    connection: dict[str, Any] = {"service": finished.service, "service_file": str(finished.service_file)}
    result = module_run.run(
        "pg_partitions", capsys, table="messages", check=True, first="2025-11", **connection
    )
    assert set(result) - {"changed", "diff", "invocation"} == module_run.documented("pg_partitions")
    wrong: dict[str, Any]
    for wrong, message in (
        ({"drop_archived": True}, "drop_archived is set without archive_dir"),
        ({"alarm": 4}, "the alarm is 4 periods ahead, but only 3 are made"),
        ({"ahead": -1}, "ahead is -1; it must be 0 or more"),
        ({"lock_timeout_ms": 0}, "lock_timeout_ms is 0; it must be 1 or more"),
        ({"statement_timeout_ms": -1}, "statement_timeout_ms is -1; it must be 1 or more"),
        ({"max_age_days": -5}, "max_age_days is -5; it must be 0 or more"),
        ({"archive_dir": "archive"}, "archive_dir is archive; it must be absolute"),
        ({"first": "soon"}, "the first period is 'soon', which is no day"),
    ):
        failed = module_run.run("pg_partitions", capsys, table="messages", **wrong, **connection)
        assert message in failed["msg"]
