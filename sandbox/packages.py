"""The npm packages of the sandbox: of its application (Baileys, PM2, …), and of what looks at pages; installed once."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from sandbox.errors import SandboxError
from sandbox.lock import locked
from sandbox.node import Node

SOURCE = Path(__file__).resolve().with_name("application")
# Not in a sandbox's own folder: the tests' sandboxes are made anew each time. Removed by `make clean`.
CACHE = Path(__file__).resolve().parent.parent / ".cache/sandbox"
MANIFESTS = ("package.json", "package-lock.json")


def ensure_packages(node: Node, source: Path = SOURCE) -> Path:
    """Return the folder node_modules with the versions of package-lock.json, installing them where needed.

    :param source: folder with package.json and package-lock.json

    :raises SandboxError: npm failed; holds what it said.
    """
    identity = hashlib.sha256()
    for name in MANIFESTS:
        identity.update((source / name).read_bytes())
    folder = CACHE / f"packages-{identity.hexdigest()[:16]}"
    with locked(CACHE / "lock", f"installing npm packages into {CACHE}"):
        if not folder.exists():
            _install(node, source, folder)
    return folder / "node_modules"


def _install(node: Node, source: Path, folder: Path) -> None:
    """Install into a folder that gets its name when it is complete, so an interrupted run leaves nothing half-made."""
    partial = CACHE / "packages.partial"
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir()
    for name in MANIFESTS:
        shutil.copyfile(source / name, partial / name)
    print(f"Installing the npm packages of {source.name} (once, about 10 s)", flush=True)
    # Scripts of packages are not run: none of ours needs it. Peers are optional parts of Baileys (images, audio).
    command = [*node.npm, "ci", "--ignore-scripts", "--legacy-peer-deps", "--no-audit", "--no-fund"]
    search_path = f"{node.program.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    answer = subprocess.run(
        command,
        cwd=partial,
        env={**os.environ, "PATH": search_path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode != 0:
        raise SandboxError(f"npm ci failed in {partial}: {answer.stderr.strip() or answer.stdout.strip()}")
    partial.rename(folder)
