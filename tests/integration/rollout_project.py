"""A copy of this repository whose production inventory means a test database."""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml

from sandbox.databases import Database
from tests.integration.playbook_run import ROOT, Project, Run


class RolloutProject(Project):
    """Production's inventory with values of a test database; the modules run on this machine.

    :param folder: where the copy is made; must not exist
    :param variables: replace variables of the inventory
    """

    def __init__(self, folder: Path, database: Database, **variables: Any) -> None:
        super().__init__(folder)
        shutil.copy(ROOT / "apply.yml", folder / "apply.yml")
        options = database.options
        vault = {
            "vault_app_host": "127.0.0.1",
            "vault_app_user": "nobody-logs-in",
            "vault_pg_host": options["host"],
            "vault_pg_port": options["port"],
            "vault_pg_password": options["password"],
        }
        host = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            # The environment of the tests has everything that role runtime would install.
            "runtime_venv": sys.prefix,
            # There is no application beside most test databases.
            "gate_enabled": False,
            "pg_dbname": options["dbname"],
            "pg_sslmode": options["sslmode"],
            "pg_sslrootcert": options.get("sslrootcert", "unused"),
            **variables,
        }
        self.write("inventory/prod/group_vars/all/vault.yml", yaml.safe_dump(vault))
        self.write("inventory/prod/host_vars/app.yml", yaml.safe_dump(host))

    def apply(self, *arguments: str) -> Run:
        """``ansible-playbook apply.yml -i prod`` with further arguments."""
        return self.playbook("apply.yml", "-i", "prod", *arguments)

    @property
    def reports(self) -> Path:
        """The folder of all runs' records."""
        return self.folder / "reports"

    def report(self) -> Any:
        """The record of the latest run."""
        return json.loads((self.reports / "latest/report.json").read_text())


def changed(run: Run) -> int:
    """How many tasks changed something, from the recap of the one host."""
    (count,) = re.findall(r"^app +: ok=\d+ +changed=(\d+) ", run.output, re.MULTILINE)
    return int(count)


def tasks(run: Run) -> list[str]:
    """Names of the tasks that were begun."""
    return re.findall(r"^TASK \[(.*?)\] \*", run.output, re.MULTILINE)
