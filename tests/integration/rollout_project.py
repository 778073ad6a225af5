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
from tests.report_files import agreed, validate


class RolloutProject(Project):
    """Production's inventory with values of a test database; the modules run on this machine.

    :param folder: where the copy is made; must not exist
    :param with_net: whether the precheck and the backup are part of a run; without them, it takes half the time
    :param variables: replace variables of the inventory
    """

    def __init__(self, folder: Path, database: Database, *, with_net: bool = False, **variables: Any) -> None:
        super().__init__(folder)
        shutil.copy(ROOT / "apply.yml", folder / "apply.yml")
        options = database.options
        programs = str(database.server.binaries.bindir)
        application = folder.parent / "application"
        application.mkdir(exist_ok=True)
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
            "watch_enabled": False,
            "precheck_checkout": False,
            "precheck_flags": [],
            "precheck_sslmode": options["sslmode"],
            "precheck_disk_free_mb": 1,
            "precheck_backup_free_mb": 1,
            "precheck_bin_dir": programs,
            "app_dir": str(application),
            "backup_dir": str(folder / "backups"),
            "backup_bin_dir": programs,
            "backup_required": with_net,
            "backup_override_reason": "" if with_net else "a test",
            # Other tests run on the same machine.
            "verify_checks": [{"id": "host_cpu", "window": 0.2, "severity": "warning"}],
            "verify_interval": 0.3,
            # What the inventory demands is what the role's own migrations make.
            **(
                {"verify_demands": {}, "verify_partitions": []}
                if "schema_migrations_path" in variables
                else {}
            ),
            "pg_dbname": options["dbname"],
            "pg_sslmode": options["sslmode"],
            "pg_sslrootcert": options.get("sslrootcert", "unused"),
            **variables,
        }
        self.write("inventory/prod/group_vars/all/vault.yml", yaml.safe_dump(vault))
        self.write("inventory/prod/host_vars/app.yml", yaml.safe_dump(host))
        self._without_net = () if with_net else ("--skip-tags", "precheck")

    def apply(self, *arguments: str) -> Run:
        """``ansible-playbook apply.yml -i prod`` with further arguments."""
        return self.playbook("apply.yml", "-i", "prod", *self._without_net, *arguments)

    @property
    def reports(self) -> Path:
        """The folder of all runs' records."""
        return self.folder / "reports"

    def report(self) -> Any:
        """The record of the latest run, which is as its schema says; the files that were made of it agree."""
        latest = self.reports / "latest"
        report = json.loads((latest / "report.json").read_text())
        validate(report)
        if (latest / "report.html").exists():
            agreed(latest)
        return report


def changed(run: Run) -> int:
    """How many tasks changed something, from the recap of the one host."""
    (count,) = re.findall(r"^app +: ok=\d+ +changed=(\d+) ", run.output, re.MULTILINE)
    return int(count)


def tasks(run: Run) -> list[str]:
    """Names of the tasks that were begun."""
    return re.findall(r"^TASK \[(.*?)\] \*", run.output, re.MULTILINE)
