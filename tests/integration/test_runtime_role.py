"""Role runtime on this machine: made without a package index, left alone when right, never made in check mode."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.integration.playbook_run import ROOT, Project, Run

REQUIREMENTS = ROOT / "roles/runtime/files/requirements.txt"
INSPECT = ROOT / "roles/runtime/files/inspect_host.py"

#: pip finds nothing with these: no configuration of this machine, and an index that refuses the connection at once.
OFFLINE = {
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_FIND_LINKS": "",
    "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
    "PIP_EXTRA_INDEX_URL": "",
    "PIP_RETRIES": "0",
    "PIP_NO_CACHE_DIR": "1",
}


# Environments are made for real, several in a test: 20 s on an idle machine.
pytestmark = pytest.mark.timeout(300)


class Target:
    """This machine as a host of an inventory, with the environment's folder in a temporary place.

    :param names: of the host; more than one is a fleet's databases on one machine.
    """

    def __init__(self, folder: Path, names: Sequence[str] = ("target",)) -> None:
        self.project = Project(folder / "project")
        # A space: a path is quoted wherever a shell reads it.
        self.venv = folder / "runtime venv"
        self.project.write(
            "target.yml",
            json.dumps(
                {
                    "application": {
                        "hosts": {
                            name: {
                                "ansible_connection": "local",
                                "ansible_python_interpreter": sys.executable,
                            }
                            for name in names
                        },
                        "vars": {
                            "required_variables": [
                                {
                                    "name": "runtime_venv",
                                    "description": "folder of the environment",
                                    "where": "target.yml",
                                }
                            ],
                            "runtime_venv": str(self.venv),
                        },
                    }
                }
            ),
        )

    def apply(self, *arguments: str, **variables: Any) -> Run:
        """Run playbooks/runtime.yml without a package index."""
        return self.project.playbook(
            "playbooks/runtime.yml",
            "-i",
            "target.yml",
            *arguments,
            "-e",
            json.dumps(variables),
            environment=OFFLINE,
        )

    def python(self, code: str) -> str:
        """Run code in the environment and return what it printed."""
        done = subprocess.run(
            [self.venv / "bin/python", "-c", code], stdout=subprocess.PIPE, text=True, timeout=20, check=True
        )
        return done.stdout.strip()


@pytest.fixture(scope="module")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheels of requirements.txt, as an operator with an offline target downloads them."""
    folder = tmp_path_factory.mktemp("wheelhouse")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder), "--requirement"]
    subprocess.run([*command, str(REQUIREMENTS)], timeout=100, check=True)
    return folder


@pytest.fixture(scope="module")
def made(wheelhouse: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Target, Run]:
    """A target with the environment, and the run that made it."""
    target = Target(tmp_path_factory.mktemp("made"))
    return target, target.apply(runtime_wheelhouse=str(wheelhouse))


@pytest.fixture
def target(tmp_path: Path) -> Target:
    return Target(tmp_path)


def test_the_environment_is_made_without_an_index(made: tuple[Target, Run]) -> None:
    target, run = made
    assert run.code == 0, run.output
    assert "changed=4" in run.output
    assert target.python("import psycopg; print(psycopg.__version__, psycopg.pq.__impl__)") == "3.3.9 binary"


@pytest.mark.parametrize("arguments", [[], ["--check"]])
def test_a_right_environment_costs_one_question(made: tuple[Target, Run], arguments: list[str]) -> None:
    target, _ = made
    run = target.apply(*arguments)
    assert run.code == 0, run.output
    assert "changed=0" in run.output
    asked = [line for line in run.output.splitlines() if line.startswith("TASK [runtime : ")]
    assert [line.partition(" : ")[2].rstrip("* ]") for line in asked][1:] == [
        "Ask for the installed versions",
        "Install the environment",  # skipped
        "Name the interpreter",
    ]
    assert "included:" not in run.output


def test_the_interpreter_is_a_fact(made: tuple[Target, Run]) -> None:
    target, _ = made
    target.project.write(
        "site.yml",
        """
- ansible.builtin.import_playbook: playbooks/runtime.yml
- hosts: application
  gather_facts: false
  vars: {ansible_python_interpreter: "{{ runtime_python }}"}
  tasks:
    - ansible.builtin.ping:
    - ansible.builtin.debug: {msg: "interpreter {{ runtime_python }}"}
""",
    )
    run = target.project.playbook("site.yml", "-i", "target.yml", environment=OFFLINE)
    assert run.code == 0, run.output
    assert f"interpreter {target.venv}/bin/python" in run.output


def test_a_wrong_environment_is_noticed_and_replaced(
    made: tuple[Target, Run], wheelhouse: Path, tmp_path: Path
) -> None:
    target = Target(tmp_path)
    shutil.copytree(made[0].venv, target.venv, symlinks=True)
    metadata = next(target.venv.glob("lib/python3*/site-packages/psycopg-*.dist-info/METADATA"))
    metadata.write_text(metadata.read_text().replace("Version: 3.3.9", "Version: 3.2.0"))
    other_version = target.apply("--check")
    for link in ("python", "python3"):
        (target.venv / "bin" / link).unlink()
        (target.venv / "bin" / link).symlink_to("/nowhere/python3")
    no_interpreter = target.apply("--check")
    assert other_version.code != 0
    assert "or lacks psycopg==3.3.9. Check mode installs" in " ".join(other_version.output.split())
    assert no_interpreter.code != 0
    assert "or lacks psycopg-binary==3.3.9, psycopg==3.3.9, typing" in " ".join(no_interpreter.output.split())

    repaired = target.apply(runtime_wheelhouse=str(wheelhouse))
    assert repaired.code == 0, repaired.output
    assert target.python("import importlib.metadata as m; print(m.version('psycopg'))") == "3.3.9"


def test_check_mode_names_the_playbook_and_makes_nothing(target: Target) -> None:
    run = target.apply("--check")
    assert run.code != 0
    assert "ansible-playbook playbooks/runtime.yml -i" in " ".join(run.output.split())
    assert "changed=0" in run.output
    assert not target.venv.exists()


def test_hosts_that_are_one_machine_make_it_once(tmp_path: Path, wheelhouse: Path) -> None:
    target = Target(tmp_path, ("one", "two", "three"))
    run = target.apply(runtime_wheelhouse=str(wheelhouse))
    assert run.code == 0, run.output
    counts = dict(re.findall(r"^(one|two|three) .*changed=(\d+)", run.output, re.MULTILINE))
    assert counts == {"one": "4", "two": "0", "three": "0"}
    assert target.python("import psycopg; print(psycopg.__version__)") == "3.3.9"


def test_what_another_host_could_not_make_is_refused(tmp_path: Path) -> None:
    run = Target(tmp_path, ("one", "two")).apply()
    assert run.code != 0
    told = " ".join(run.output.split())
    assert "was to be made by one, which is the same machine as two, and lacks psycopg" in told
    assert re.search(r"two : .*failed=1 .*rescued=0 ", told)


def test_without_index_and_wheels_the_remedy_is_named(target: Target) -> None:
    run = target.apply()
    assert run.code != 0
    assert 'the step "Install the versions" failed' in run.output
    assert "set runtime_wheelhouse" in " ".join(run.output.split())


def test_what_is_not_an_environment_is_left_alone(target: Target) -> None:
    target.venv.mkdir()
    precious = target.venv / "precious"
    precious.write_text("of somebody else")
    run = target.apply()
    assert run.code != 0
    assert "exists and is not a Python environment" in run.output
    assert precious.read_text() == "of somebody else"


@pytest.mark.parametrize(
    ("answer", "remedy"),
    [
        (None, "set runtime_base_python"),
        (
            {"python": "2.7", "can_make_environment": False, "folder": "absent"},
            "is Python 2.7; psycopg 3.3 needs 3.10",
        ),
        (
            {"python": "3.9", "can_make_environment": True, "folder": "absent"},
            "is Python 3.9; psycopg 3.3 needs 3.10",
        ),
        (
            {"python": "3.12", "can_make_environment": False, "folder": "absent"},
            "apt-get install python3.12-venv",
        ),
    ],
)
def test_a_host_that_cannot_make_it_is_refused(
    target: Target, tmp_path: Path, answer: dict[str, Any] | None, remedy: str
) -> None:
    interpreter = tmp_path / "python3"
    if answer is not None:
        interpreter.write_text(f"#!/bin/sh\necho '{json.dumps(answer)}'\n")
        interpreter.chmod(0o755)
    run = target.apply(runtime_base_python=str(interpreter))
    assert run.code != 0
    assert remedy in " ".join(run.output.split())
    assert not target.venv.exists()


def test_the_host_answers_for_itself(tmp_path: Path) -> None:
    """What the stand-in interpreters above say is what the real question returns."""
    environment = tmp_path / "environment"
    environment.mkdir()
    (environment / "pyvenv.cfg").touch()
    empty = tmp_path / "empty"
    empty.mkdir()
    dangling = tmp_path / "dangling"
    dangling.symlink_to("/nowhere")
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    for folder, state in [
        (tmp_path / "none", "absent"),
        (empty, "absent"),
        (environment, "environment"),
        (tmp_path, "foreign"),
        (INSPECT, "foreign"),
        (dangling, "foreign"),
    ]:
        done = subprocess.run(
            [sys.executable, "-c", INSPECT.read_text(), str(folder)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        answer = json.loads(done.stdout)
        assert platform.node() in answer.pop("machine")
        assert answer == {"python": version, "can_make_environment": True, "folder": state}
