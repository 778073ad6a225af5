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

TIMEOUT_S = 300


@dataclass(frozen=True)
class Run:
    """What a command did: its exit code, and everything that it printed, in the order in which it came."""

    code: int
    output: str

    @property
    def words(self) -> str:
        """The output without its line breaks, which Ansible puts anywhere."""
        return " ".join(self.output.split())


def playbook(site: Site, name: str, *arguments: str) -> Run:
    """Run ``ansible-playbook`` with a playbook and further arguments."""
    with start(site, name, *arguments) as process:
        output, _ = process.communicate(timeout=TIMEOUT_S)
    return Run(process.returncode, output)


def start(site: Site, name: str, *arguments: str) -> subprocess.Popen[str]:
    """Begin the same, for those who want to meddle meanwhile."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    settings = {
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "LC_ALL": "C.UTF-8",
        "NO_COLOR": "1",
        "MOLECULE_SCENARIO_NAME": site.scenario,
    }
    return subprocess.Popen(
        [
            str(Path(sys.executable).with_name("ansible-playbook")),
            name,
            "-i",
            "inventory/molecule",
            *arguments,
        ],
        cwd=ROOT,
        env=inherited | settings,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def report(site: Site) -> Any:
    """Return the record of the latest run."""
    return json.loads((site.folder / "reports/latest/report.json").read_text())
