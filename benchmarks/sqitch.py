"""Sqitch, a migration tool whose changes are scripts that psql runs: installed, given the same SQL, timed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from ansible.module_utils.rollout.migration import Migration

from benchmarks import programs

PACKAGES = ("sqitch", "libdbd-pg-perl")
NOTHING = "Nothing to deploy"

_PLAN = """\
%syntax-version=1.0.0
%project=benchmark

"""


def unavailable() -> str:
    """Install Sqitch where that is possible.

    :return: why it cannot be had; empty when it is there
    """
    if _works():
        return ""
    if shutil.which("apt-get") is None:
        return "sqitch is not installed, and there is no apt-get to install it"
    if os.geteuid() != 0:
        return f"sqitch is not installed; apt-get install {' '.join(PACKAGES)} needs root"
    for command in (_install(), ["apt-get", "update"], _install()):
        said = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if command[1] == "install" and said.returncode == 0 and _works():
            return ""
    return f"apt-get could not install it: {said.stderr.strip().splitlines()[-1:] or 'it does not run'}"


def _install() -> list[str]:
    return ["apt-get", "install", "--yes", "--no-install-recommends", *PACKAGES]


def _works() -> bool:
    if shutil.which("sqitch") is None:
        return False
    driver = subprocess.run(["perl", "-MDBD::Pg", "-e", "1"], capture_output=True, check=False)
    return driver.returncode == 0


def version() -> str:
    """Such as ``1.3.1``."""
    said = subprocess.run(["sqitch", "--version"], capture_output=True, text=True, check=True)
    return said.stdout.strip().rpartition(" v")[2]


def write_project(folder: Path, migrations: Sequence[Migration], schema: str, psql: str) -> None:
    """Write a Sqitch project with one change a migration, each in a transaction of its own as Sqitch's template has it.

    :param psql: full path of the program
    """
    (folder / "deploy").mkdir(parents=True)
    (folder / "sqitch.conf").write_text(
        f'[core]\n\tengine = pg\n[engine "pg"]\n\tclient = {psql}\n'
        "[user]\n\tname = Benchmark\n\temail = benchmark@example.invalid\n"
    )
    plan = _PLAN
    for migration in migrations:
        plan += (
            f"{migration.name} 2025-11-01T00:00:00Z Benchmark <benchmark@example.invalid> # {migration.id}\n"
        )
        script = f"BEGIN;\n\n{migration.sql(schema)}\nCOMMIT;\n"
        (folder / "deploy" / f"{migration.name}.sql").write_text(script, encoding="utf-8")
    (folder / "sqitch.plan").write_text(plan)


def deploy(folder: Path, environment: Mapping[str, str]) -> float:
    """Run ``sqitch deploy`` on the database that the environment names; return its wall time in seconds.

    :raises RuntimeError: it failed, or had nothing to do
    """
    seconds, said = programs.timed(["sqitch", "deploy", "db:pg:"], environment, folder)
    if NOTHING in said:
        raise RuntimeError("sqitch says that there is nothing to deploy")
    return seconds


def deploy_nothing(folder: Path, environment: Mapping[str, str]) -> float:
    """The same where everything is deployed already.

    :raises RuntimeError: it deployed something
    """
    seconds, said = programs.timed(["sqitch", "deploy", "db:pg:"], environment, folder)
    if NOTHING not in said:
        raise RuntimeError(f"sqitch was to find nothing to do, and said: {said}")
    return seconds
