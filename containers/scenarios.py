"""Runs whole scenarios with ``molecule test``, and judges them more strictly than its exit code does."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from containers.images import ROOT
from sandbox.errors import SandboxError
from sandbox.lock import locked

PROGRAM = Path(sys.executable).with_name("molecule")
TIMEOUT_S = 2400
#: Those that `make test` runs; the others come with `make test-all`.
ALWAYS = ("default", "red_gate", "rollback", "adopt")
LOCKS = ".cache/molecule-locks"
BASE_CONFIG = ".config/molecule/config.yml"
VARIABLE = "MOLECULE_SCENARIOS"


def all_scenarios(root: Path = ROOT) -> list[str]:
    """Names of all scenarios, those of ALWAYS first."""
    found = {file.parent.name for file in (root / "molecule").glob("*/molecule.yml")}
    return [*ALWAYS, *sorted(found - set(ALWAYS))]


def chosen_scenarios() -> list[str]:
    """Return what the environment variable MOLECULE_SCENARIOS names: names with spaces between, or ``all``."""
    named = os.environ.get(VARIABLE, "").split()
    return all_scenarios() if named == ["all"] else named or list(ALWAYS)


def run_scenario(name: str, log: Path, root: Path = ROOT) -> list[str]:
    """Run one, from nothing to nothing; return why it failed, nothing when it passed.

    :param log: file for everything that it prints.
    :param root: the checkout that it belongs to.
    """
    try:
        # A second run of it in the same checkout would take the first one's containers for left behind.
        with locked(root / LOCKS / f"{name}.lock", f"running scenario {name} of {root}"):
            return _run_locked(name, log, root)
    except SandboxError as error:
        return [str(error)]


def _run_locked(name: str, log: Path, root: Path) -> list[str]:
    ephemeral = root / ".cache/molecule-ephemeral" / name
    # After a run that was killed, Molecule would take its machines for created.
    shutil.rmtree(ephemeral, ignore_errors=True)
    environment = {
        **os.environ,
        # Molecule's own is named after the checkout's folder, and two may have the same name.
        "MOLECULE_EPHEMERAL_DIRECTORY": str(ephemeral),
        "MOLECULE_COMMAND_BORDERS": "false",
        "PATH": f"{PROGRAM.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "ANSIBLE_CONFIG": str(root / "ansible.cfg"),
        "LC_ALL": "C.UTF-8",
        "NO_COLOR": "1",
    }
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        molecule = subprocess.Popen(
            # Molecule itself looks for it only in a checkout of Git.
            [str(PROGRAM), "--base-config", str(root / BASE_CONFIG), "test", "--scenario-name", name],
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            code = molecule.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            molecule.terminate()
            molecule.wait()
            # Molecule destroys what it made, but not when it is interrupted.
            down = [sys.executable, "-m", "containers", "down", name]
            subprocess.run(
                down, cwd=root, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False
            )
    return failures(name, code, log.read_text(errors="replace"))


def failures(name: str, code: int | None, output: str) -> list[str]:
    """Return why a run of molecule counts as failed.

    :param code: its exit code; None when it did not end in time.
    """
    if code is None:
        return [f"molecule did not end within {TIMEOUT_S} s"]
    found = [] if code == 0 else [f"molecule ended with code {code}"]
    recap = re.search(rf"^{re.escape(name)} .*\bsuccessful=(\d+) .*\bmissing=(\d+) .*$", output, re.MULTILINE)
    if recap is None:
        return [*found, "molecule printed no recap"]
    if recap[1] == "0":
        found.append("no step was run")
    # A playbook that is not there passes with code 0.
    if recap[2] != "0":
        found.append(f"{recap[2]} of its steps have no playbook")
    return found
