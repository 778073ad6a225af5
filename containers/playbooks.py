"""Runs the package's playbooks on a scenario's hosts, the way an operator does, and keeps what they printed."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from containers.images import ROOT
from containers.site import Site

PROGRAM = Path(sys.executable).with_name("ansible-playbook")
TIMEOUT_S = 1200


@dataclass(frozen=True)
class Run:
    """What a command did: its exit code, and everything that it printed, in the order in which it came."""

    code: int
    output: str

    @property
    def words(self) -> str:
        """The output without its line breaks, which Ansible puts anywhere."""
        return " ".join(self.output.split())


class Begun:
    """A playbook that was begun, for those who want to meddle meanwhile.

    :param name: such as ``apply.yml``; further arguments of ``ansible-playbook`` follow.
    """

    def __init__(self, site: Site, name: str, *arguments: str) -> None:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        settings = {
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "LC_ALL": "C.UTF-8",
            "NO_COLOR": "1",
            "MOLECULE_SCENARIO_NAME": site.scenario,
        }
        # A file: a pipe that nobody reads yet would stop it.
        self._log = site.folder / "playbook.log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [str(PROGRAM), name, "-i", "inventory/molecule", *arguments],
                cwd=ROOT,
                env=inherited | settings,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def end(self) -> Run:
        """Wait for its end."""
        try:
            self.process.wait(TIMEOUT_S)
        finally:
            self.process.kill()
        return Run(self.process.returncode, self._log.read_text())


def playbook(site: Site, name: str, *arguments: str) -> Run:
    """Run ``ansible-playbook`` with a playbook and further arguments, to its end."""
    return Begun(site, name, *arguments).end()


def report(site: Site) -> Any:
    """Return the record of the latest run."""
    return json.loads((site.folder / "reports/latest/report.json").read_text())
