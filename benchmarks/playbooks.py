"""Runs of ansible-playbook as an operator starts them, against a database of the benchmark."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import ROOT, programs
from benchmarks.bench import CACHE, INVENTORY, Bench
from benchmarks.community_postgresql import COLLECTIONS
from sandbox.credentials import OWNER
from sandbox.databases import Database

#: The modules' Python environment, made by role runtime in its first run; every contestant uses it.
VENV = CACHE / "venv"
_CHANGED = re.compile(r" changed=(\d+) ")


@dataclass(frozen=True)
class PlaybookRun:
    """One run.

    :ivar seconds: wall time, from starting the program to its end
    :ivar changed: tasks and items that report a change, from the recap
    :ivar database_seconds: connect to close, over all module calls; 0 where the playbook does not say
    """

    seconds: float
    changed: int
    database_seconds: float = 0.0


class Playbooks:
    """Starts playbooks with the same configuration, inventory and Python environment."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._reports = bench.scratch / "reports"
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PG"))
        }
        self._environment = inherited | {
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
            "LC_ALL": "C.UTF-8",
        }

    def rollout(self, database: Database, migrations: Path) -> PlaybookRun:
        """``ansible-playbook apply.yml``.

        :param migrations: folder of the migrations
        """
        run = self._run(
            ROOT / "apply.yml",
            {
                "pg_service": database.service,
                "pg_service_file": str(database.service_file),
                "report_dir": str(self._reports),
                "schema_migrations_path": str(migrations),
                # Measuring the host means waiting.
                "verify_checks": [
                    {"id": item, "enabled": False, "reason": "a benchmark"} for item in ("host_cpu", "memory")
                ],
            },
        )
        return PlaybookRun(run.seconds, run.changed, self._database_seconds())

    def community(self, playbook: Path, database: Database, given: Mapping[str, Any]) -> PlaybookRun:
        """A playbook that uses community.postgresql.

        :param given: its variables beside those for connecting
        """
        options = self._bench.server.public_options(OWNER, database.name)
        login = {
            "login_host": options["host"],
            "login_port": options["port"],
            "login_db": options["dbname"],
            "login_user": options["user"],
            "ssl_mode": options["sslmode"],
            "connect_params": {"passfile": str(self._bench.server.passfile)},
        }
        if "sslrootcert" in options:
            login["ca_cert"] = options["sslrootcert"]
        return self._run(playbook, {"community_login": login, **given})

    def _run(self, playbook: Path, given: Mapping[str, Any]) -> PlaybookRun:
        variables = self._bench.scratch / "variables.json"
        variables.write_text(json.dumps({"runtime_venv": str(VENV), **given}), encoding="utf-8")
        program = str(Path(sys.executable).with_name("ansible-playbook"))
        command = [program, str(playbook), "-i", str(INVENTORY), "-e", f"@{variables}"]
        seconds, output = programs.timed(command, self._environment, ROOT)
        recap = _CHANGED.search(output.rpartition("PLAY RECAP")[2])
        if recap is None:
            raise RuntimeError(f"{playbook.name}: no recap in:\n{output}")
        return PlaybookRun(seconds, int(recap[1]))

    def _database_seconds(self) -> float:
        record = json.loads((self._reports / "latest" / "report.json").read_text(encoding="utf-8"))
        (host,) = record["hosts"].values()
        return float(sum(section.get("seconds", 0.0) for section in host["sections"].values()))
