"""Which browser is taken, and what is said where there is none."""

import os
import shutil
from pathlib import Path

import pytest

from sandbox import browser
from sandbox.browser import PROGRAM_VARIABLE, NoBrowser, find_browser
from sandbox.errors import SandboxError

APT = """#!/bin/sh
echo "$@" >> {log}
case $1 in update) touch {folder}/updated; exit 0;; esac
test -e {folder}/updated || {{ echo "E: Unable to locate package" >&2; exit 100; }}
{install}
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in which programs are looked for."""
    monkeypatch.delenv(PROGRAM_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(browser, "CACHE", tmp_path / "cache")
    for needed in ("sh", "touch", "cp", "echo"):
        (tmp_path / needed).symlink_to(str(shutil.which(needed, path=os.defpath)))
    return tmp_path


def write_program(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_what_is_there_is_taken_in_the_order_of_the_list(programs: Path) -> None:
    write_program(programs / "google-chrome")
    assert find_browser() == programs / "google-chrome"
    chromium = write_program(programs / "chromium")
    assert find_browser() == chromium


def test_what_is_named_is_taken_or_refused_and_never_replaced(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_program(programs / "chromium")
    mine = write_program(programs / "mine")
    monkeypatch.setenv(PROGRAM_VARIABLE, str(mine))
    assert find_browser() == mine
    monkeypatch.setenv(PROGRAM_VARIABLE, "/nowhere/chrome")
    with pytest.raises(SandboxError, match="/nowhere/chrome is no program") as refused:
        find_browser()
    # Not the reason for which tests are skipped.
    assert not isinstance(refused.value, NoBrowser)


def test_nobody_but_root_installs_one(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = programs / "apt.log"
    write_program(programs / "apt-get", APT.format(log=log, folder=programs, install=""))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(NoBrowser, match=r"no browser on this machine .*apt-get install chromium"):
        find_browser()
    assert not log.exists()


@pytest.mark.parametrize("comes", [True, False])
def test_root_installs_one_with_fresh_lists(
    programs: Path, monkeypatch: pytest.MonkeyPatch, comes: bool
) -> None:
    log = programs / "apt.log"
    install = f"cp {programs}/apt-get {programs}/chromium" if comes else "echo no room >&2; exit 100"
    write_program(programs / "apt-get", APT.format(log=log, folder=programs, install=install))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    if comes:
        assert find_browser() == programs / "chromium"
    else:
        with pytest.raises(NoBrowser, match="could not install chromium: no room"):
            find_browser()
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["install", "update", "install"]
