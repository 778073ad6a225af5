"""playbooks/precheck.yml as an operator runs it: one list of everything, nothing changed, nothing ends it early."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.rollout import precheck

from action_plugins.precheck import ansible_configuration
from sandbox.databases import Database
from tests import traces
from tests.integration.command_runs import spellings, watched_command_lines
from tests.integration.playbook_run import Run
from tests.integration.rollout_project import RolloutProject, changed

#: Items whose red needs the whole playbook, and the test below that shows it.
RED_IN_A_RUN = {
    "ansible_cfg": "test_one_message_tells_everything_the_heaviest_first",
    "migrations": "test_one_message_tells_everything_the_heaviest_first",
    "host": "test_a_host_that_does_not_answer_is_a_finding",
    "python": "test_an_old_python_and_an_incomplete_inventory",
    "inventory": "test_an_old_python_and_an_incomplete_inventory",
    "runtime": "test_a_missing_environment_names_the_playbook_that_makes_it",
}
PLAYBOOK = "playbooks/precheck.yml"
#: Not configured for a host without an application.
UNASKED = {"services", "whatsapp", "checkout_commit", "checkout_clean", "flags", "time_zone", "other_jobs"}


def project_of(database: Database, folder: Path, **variables: Any) -> RolloutProject:
    healthy = {
        "precheck_other_jobs": [],
        "precheck_sslmode": database.options["sslmode"],
        "app_connections": 0,
    }
    return RolloutProject(folder / "project", database, **{**healthy, **variables})


def paragraphs(run: Run, status: str) -> list[str]:
    """Items of the list that is printed, in its order."""
    return re.findall(rf"^ *\d+\. {status}  (\w+):", run.output, re.MULTILINE)


def unwrapped(run: Run) -> str:
    """What was printed, in one line."""
    return " ".join(run.output.split())


def listed(run: Run, heading: str) -> set[str]:
    """Items below "Not tested:", which stand before their reason, or after "Passed:"."""
    if heading == "Passed":
        found = re.search(r"^ *Passed: ((?:.+\n)+?)(?:\s*\n|Origin|.*fatal|\Z)", run.output, re.MULTILINE)
        return set(re.findall(r"\w+", found[1])) if found else set()
    found = re.search(r"^ *Not tested:\n((?:.+\n)+)", run.output, re.MULTILINE)
    lists = re.findall(r"(?:\w+,\s+)*\w+: ", found[1]) if found else []
    return {item.id for item in precheck.ITEMS} & {word for one in lists for word in re.findall(r"\w+", one)}


def test_a_healthy_host_is_green_in_both_modes(database: Database, tmp_path: Path) -> None:
    project = project_of(database, tmp_path)
    with traces.without_autovacuum(database.server), watched_command_lines() as command_lines:
        runs: list[Run] = []
        left = traces.left_by(
            database,
            lambda: runs.append(project.playbook(PLAYBOOK, "-i", "prod", "--check", "-vvv")),
            calls=1,
        )
    (check,) = runs
    assert check.code == 0, check.output
    assert left - {"wal_position"} == set()
    assert changed(check) == 0
    assert not project.reports.exists()
    assert listed(check, "Not tested") == UNASKED, check.output
    assert listed(check, "Passed") == {item.id for item in precheck.ITEMS} - UNASKED
    password = str(database.options["password"])
    seen = [check.output, *command_lines]
    assert not [text for text in seen for written in spellings(password) if written in text]

    run = project.playbook(PLAYBOOK, "-i", "prod")
    assert run.code == 0, run.output
    assert changed(run) == 0
    report = project.report()
    assert report["outcome"] == "succeeded"
    section = report["hosts"]["app"]["sections"]["precheck"]
    assert section["failed"] is False
    assert {one["id"] for one in section["findings"]} == {item.id for item in precheck.ITEMS}
    kept = (project.reports / "latest/report.json").read_text()
    assert not [written for written in spellings(password) if written in kept]


def test_one_message_tells_everything_the_heaviest_first(database: Database, tmp_path: Path) -> None:
    """No connection, no migrations, another ansible.cfg, changed files: none of them hides another one."""
    application = tmp_path / "application"
    application.mkdir()
    for command in (
        ["init", "--quiet"],
        ["-c", "user.name=N", "-c", "user.email=n@example.invalid", "commit", "-qm", "x", "--allow-empty"],
    ):
        subprocess.run(["git", "-C", str(application), *command], check=True)
    (application / "hotfix.mjs").write_text("1\n")
    subprocess.run(["git", "-C", str(application), "add", "."], check=True)
    (tmp_path / "nothing").mkdir()
    project = project_of(
        database,
        tmp_path,
        app_dir=str(application),
        precheck_checkout=True,
        pg_port=1,
        schema_migrations_path=str(tmp_path / "nothing"),
    )
    another = tmp_path / "elsewhere/ansible.cfg"
    another.parent.mkdir()
    paths = {name: project.folder / name for name in ("roles", "library", "module_utils", "action_plugins")}
    own = (project.folder / "ansible.cfg").read_text()
    for name, path in paths.items():
        own = re.sub(rf"= {name}$", f"= {path}", own, flags=re.MULTILINE)
    another.write_text(own)
    run = project.playbook(PLAYBOOK, "-i", "prod", environment={"ANSIBLE_CONFIG": str(another)})
    assert run.code != 0
    assert paragraphs(run, "FAILED") == ["ansible_cfg", "migrations", "database", "checkout_clean"], (
        run.output
    )
    assert "holds no migration" in unwrapped(run)
    assert "Nothing listens there: look at pg_host and pg_port." in unwrapped(run)
    assert {"host", "python", "runtime", "tls_ca", "disk", "backup_disk"} <= listed(run, "Passed")
    assert {"primary", "rights", "pooler", "client_tools"} <= listed(run, "Not tested")
    assert run.output.count("1. FAILED") == 1, "the list stands there once"
    report = project.report()
    assert report["outcome"] == "failed"
    findings = report["hosts"]["app"]["sections"]["precheck"]["findings"]
    assert [one["id"] for one in findings if one["status"] == "failed"] == paragraphs(run, "FAILED")
    assert f"Report: {project.reports}" in unwrapped(run)


def test_a_host_that_does_not_answer_is_a_finding(database: Database, tmp_path: Path) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text("#!/bin/sh\necho 'ssh: connect to host app port 22: No route to host' >&2\nexit 255\n")
    ssh.chmod(0o755)
    project = project_of(database, tmp_path, ansible_connection="ssh")
    run = project.playbook(PLAYBOOK, "-i", "prod", environment={"ANSIBLE_SSH_EXECUTABLE": str(ssh)})
    assert run.code != 0
    assert paragraphs(run, "FAILED") == ["host"], run.output
    assert "No route to host" in unwrapped(run), run.output
    assert {"inventory", "ansible_cfg", "migrations"} <= listed(run, "Passed")
    rest = {item.id for item in precheck.ITEMS if item.group in ("host", "database", "application")} - {
        "host"
    }
    assert rest <= listed(run, "Not tested")
    assert project.report()["outcome"] == "failed"


def test_an_old_python_and_an_incomplete_inventory(database: Database, tmp_path: Path) -> None:
    python = tmp_path / "python3"
    python.write_text(
        "#!/bin/sh\n" + """echo '{"python": "3.9", "can_make_environment": true, "folder": "absent"}'\n"""
    )
    python.chmod(0o755)
    project = project_of(
        database,
        tmp_path,
        runtime_base_python=str(python),
        runtime_venv=str(tmp_path / "nowhere"),
        forgotten="",
    )
    role = {
        "role": "precheck",
        "precheck_required_variables": [{"name": "forgotten", "description": "x", "where": "there"}],
    }
    project.write(
        "site.yml",
        yaml.safe_dump(
            [
                {"ansible.builtin.import_playbook": "playbooks/begin.yml"},
                {"name": "Precheck", "hosts": "application", "gather_facts": False, "roles": [role]},
            ]
        ),
    )
    run = project.playbook("site.yml", "-i", "prod", "--check")
    assert run.code != 0
    assert paragraphs(run, "FAILED") == ["inventory", "python"], run.output
    assert "forgotten is empty" in run.output
    assert f"{python} is Python 3.9" in unwrapped(run)
    assert {"runtime", "disk", "database", "primary"} <= listed(run, "Not tested")


def test_a_missing_environment_names_the_playbook_that_makes_it(database: Database, tmp_path: Path) -> None:
    project = project_of(
        database, tmp_path, runtime_base_python=sys.executable, runtime_venv=str(tmp_path / "nowhere")
    )
    run = project.playbook(PLAYBOOK, "-i", "prod", "--check")
    assert run.code != 0
    assert paragraphs(run, "FAILED") == ["runtime"], run.output
    assert "ansible-playbook playbooks/runtime.yml -i <inventory>" in unwrapped(run)
    assert {"python", "disk", "backup_disk", "tls_ca"} <= listed(run, "Passed"), (
        "what needs no psycopg is asked"
    )
    assert "database" in listed(run, "Not tested")
    assert not (tmp_path / "nowhere").exists()


def test_every_red_of_a_run_is_a_test_of_this_file() -> None:
    assert {name for name in RED_IN_A_RUN.values() if name not in globals()} == set()
    assert set(RED_IN_A_RUN) <= {item.id for item in precheck.ITEMS}


@pytest.mark.parametrize("value", ["false", "true"])
def test_the_environment_outranks_a_setting(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ANSIBLE_HOST_KEY_CHECKING", value)
    wanted, seen = ansible_configuration()["settings"]["HOST_KEY_CHECKING"]
    assert (seen == wanted) is (value == "true")


def test_a_folder_that_everybody_may_write_to_ends_the_run(database: Database, tmp_path: Path) -> None:
    """Ansible then ignores ansible.cfg, finds no role and says why; the precheck is not even reached."""
    project = project_of(database, tmp_path)
    program = shutil.which("ansible-playbook", path=str(Path(sys.executable).parent))
    assert program
    project.folder.chmod(0o777)
    done = subprocess.run(
        ["env", "-u", "ANSIBLE_CONFIG", program, PLAYBOOK, "-i", "prod"],
        cwd=project.folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "world writable directory" in said
    assert "was not found" in said
