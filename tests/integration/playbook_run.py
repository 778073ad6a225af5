"""Runs playbooks of a copy of this repository, the way an operator does, and keeps what they printed."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

#: Generous: a playbook takes one to ten seconds.
PLAYBOOK_TIMEOUT_S = 280


@dataclass(frozen=True)
class Run:
    """What a command did.

    :param code: exit code
    :param output: standard output and standard error, in the order they came
    """

    code: int
    output: str


def program(name: str) -> str:
    """Path of a program of ansible-core, beside the interpreter that runs the tests."""
    return str(Path(sys.executable).parent / name)


class Project:
    """A copy of the repository's Ansible side without anybody's vault.yml, and with a shell environment of its own.

    :param folder: where the copy is made; must not exist
    """

    PARTS = (
        "ansible.cfg",
        "action_plugins",
        "callback_plugins",
        "inventory",
        "library",
        "module_utils",
        "playbooks",
        "roles",
    )

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        ignored = shutil.ignore_patterns("vault.yml", "__pycache__")
        for name in self.PARTS:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, symlinks=True, ignore=ignored)
            else:
                shutil.copy(source, folder / name)
        for name in ("prod", "staging"):
            (folder / name).symlink_to((ROOT / name).readlink())

    def write(self, path: str, text: str) -> Path:
        """Write a file of the copy; its folders are made."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return target

    def run(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Run:
        """Run a program of ansible-core from the copy's root.

        :param arguments: the program's name, such as ``ansible-playbook``, and its arguments
        :param environment: added to an environment without any ANSIBLE_* variable
        """
        with subprocess.Popen(
            [program(arguments[0]), *arguments[1:]],
            cwd=self.folder,
            env=self.environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                output, _ = process.communicate(timeout=PLAYBOOK_TIMEOUT_S)
            except BaseException:
                # ansible-playbook alone would leave its forks behind, which wait for it for ever.
                os.killpg(process.pid, signal.SIGKILL)
                raise
        return Run(process.returncode, output)

    def environment(self, added: Mapping[str, str] | None = None) -> dict[str, str]:
        """What an operator's shell would have; nothing of this process's own ANSIBLE_*."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        settings = {
            "ANSIBLE_CONFIG": str(self.folder / "ansible.cfg"),
            "ANSIBLE_REMOTE_TEMP": str(self.folder / "remote-tmp"),
            "LC_ALL": "C.UTF-8",
            "NO_COLOR": "1",
        }
        return {**inherited, **settings, **(added or {})}

    def playbook(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Run:
        """Run ansible-playbook."""
        return self.run("ansible-playbook", *arguments, environment=environment)
