"""Under which account the server runs, for root and for others; without starting one."""

import os
import pwd
import sys
from pathlib import Path

import pytest

from sandbox import account
from sandbox.account import Account, choose_account
from sandbox.errors import SandboxError

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="about what root may do")


@pytest.fixture
def postgres(tmp_path: Path) -> str:
    """A program that refuses uid 0, as PostgreSQL does."""
    program = tmp_path / "postgres"
    program.write_text('#!/bin/sh\n[ "$(id -u)" != 0 ] || { echo "root is not permitted" >&2; exit 1; }\n')
    program.chmod(0o755)
    return str(program)


def test_an_ordinary_user_runs_it_himself(
    tmp_path: Path, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = pwd.getpwuid(1)
    monkeypatch.setattr(os, "geteuid", lambda: me.pw_uid)
    assert choose_account(postgres, tmp_path / "data") == Account(label=f"user {me.pw_name}")


def test_the_folder_of_another_user_is_an_error(
    tmp_path: Path, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(SandboxError, match=r"belongs to uid \d+, not to you"):
        choose_account(postgres, tmp_path)


@needs_root
def test_root_gets_an_account_that_is_not_root(tmp_path: Path, postgres: str) -> None:
    chosen = choose_account(postgres, tmp_path / "data")
    assert chosen.prefix != ()


@needs_root
def test_root_without_user_namespaces_becomes_a_system_user(
    tmp_path: Path, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account, "USER_NAMESPACE", ("false",))
    chosen = choose_account(postgres, tmp_path / "data")
    assert chosen.label in {"system user postgres", "system user nobody"}
    chosen.own(tmp_path)
    assert tmp_path.stat().st_uid == chosen.uid != 0
    # Once the data folder exists, its owner decides, whatever else would work.
    monkeypatch.undo()
    assert choose_account(postgres, tmp_path) == chosen


@needs_root
def test_root_without_any_way_is_told_what_was_tried(
    tmp_path: Path, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account, "USER_NAMESPACE", ("no-such-program",))
    monkeypatch.setattr(account, "SYSTEM_USERS", ())
    with pytest.raises(SandboxError, match=r"no-such-program is not installed.*ordinary user"):
        choose_account(postgres, tmp_path / "data")


def test_an_account_that_is_still_root_is_refused() -> None:
    always_root = (sys.executable, "-c", "print(0)")
    assert account._problem(Account("pretended", always_root), "postgres") == "it is still uid 0"
