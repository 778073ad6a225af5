"""Finding PostgreSQL's programs, and running them without showing a secret."""

import os
import re
import sys
from pathlib import Path

import pytest
from ansible.module_utils.rollout import backup_programs
from ansible.module_utils.rollout.errors import BackupRefused
from ansible.module_utils.rollout.options import ConnectionOptions

PASSWORD = "a}|<?% '\"$\\:&#z"


def install(folder: Path, version: str, names: tuple[str, ...] = ("pg_dump", "pg_restore")) -> Path:
    """Programs that say a version and do nothing else."""
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version} (Debian)'\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is installed but what the test installs below this folder."""
    monkeypatch.setattr(backup_programs, "_FOLDERS", (str(tmp_path / "lib/*/bin"),))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    return tmp_path


def test_the_servers_version_or_the_next_above_it_is_taken(machine: Path) -> None:
    for version in ("14.9", "16.2", "17.1", "18.0"):
        install(machine / "lib" / version.partition(".")[0] / "bin", version)
    for server, chosen in ((14, "14.9"), (15, "16.2"), (16, "16.2"), (18, "18.0")):
        assert backup_programs.find_programs("", server).version == chosen


def test_what_lies_in_path_is_found(machine: Path) -> None:
    install(machine / "path", "18.1")
    assert backup_programs.find_programs("", 18).folder == machine / "path"


def test_a_named_folder_is_taken_alone(machine: Path) -> None:
    install(machine / "lib/16/bin", "16.2")
    named = install(machine / "named", "15.1")
    assert backup_programs.find_programs(str(named), 15).version == "15.1"
    with pytest.raises(BackupRefused, match=r"named is PostgreSQL 15\.1, older than the server"):
        backup_programs.find_programs(str(named), 16)


@pytest.mark.parametrize(
    ("version", "names", "reason"),
    [
        ("15.1", ("pg_dump", "pg_restore"), "is PostgreSQL 15.1, older than the server"),
        ("16.1", ("pg_dump",), "lacks pg_restore"),
        ("", ("pg_dump", "pg_restore"), "pg_dump --version fails"),
    ],
)
def test_what_cannot_be_used_is_told(
    machine: Path, version: str, names: tuple[str, ...], reason: str
) -> None:
    install(machine / "lib/x/bin", version, names)
    with pytest.raises(BackupRefused, match=re.escape(reason)) as refused:
        backup_programs.find_programs("", 16)
    assert "postgresql-client-16" in str(refused.value)


def test_two_versions_in_one_folder_are_refused(machine: Path) -> None:
    folder = install(machine / "lib/16/bin", "16.1", ("pg_dump",))
    (folder / "pg_restore").write_text("#!/bin/sh\necho 'pg_restore (PostgreSQL) 15.1'\n")
    (folder / "pg_restore").chmod(0o755)
    with pytest.raises(BackupRefused, match=r"holds pg_dump 16\.1 and pg_restore 15\.1"):
        backup_programs.find_programs("", 15)


def test_a_server_may_lie_elsewhere_than_the_named_clients(machine: Path) -> None:
    named = install(machine / "named", "16.1")
    with pytest.raises(BackupRefused, match="lacks initdb or postgres"):
        backup_programs.find_programs(str(named), 16, with_server=True)
    whole = install(machine / "lib/17/bin", "17.1", ("pg_dump", "pg_restore", "initdb", "postgres"))
    assert backup_programs.find_programs(str(named), 16, with_server=True).folder == whole
    # A named folder that has everything is taken, though another one is nearer.
    assert backup_programs.find_programs(str(whole), 15, with_server=True).folder == whole


def test_the_password_is_in_memory_and_nowhere_else() -> None:
    options = ConnectionOptions(host="db.example.invalid", dbname="it's", password=PASSWORD)
    with backup_programs.access(options, "rollout run-1") as way:
        assert PASSWORD not in way.conninfo
        (descriptor,) = way.descriptors
        assert f"/proc/self/fd/{descriptor}" in way.conninfo
        shown = backup_programs.run(
            [sys.executable, "-c", "import os, sys; f = sys.argv[1]; print(oct(os.stat(f).st_mode), open(f).read())",
             f"/proc/self/fd/{descriptor}"],
            60,
            way=way,
        )  # fmt: skip
        assert shown.output == "0o100600 *:*:*:*:a}|<?% '\"$\\\\\\:&#z\n\n"
        assert not any(PASSWORD in value for value in backup_programs.program_environment().values())
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_password_that_no_passfile_can_hold_is_refused() -> None:
    with (
        pytest.raises(BackupRefused, match="line end") as refused,
        backup_programs.access(ConnectionOptions(password="secret\nword"), ""),
    ):
        pass
    assert "secret" not in str(refused.value)


def test_errors_are_told_without_values_of_rows() -> None:
    words = (
        "pg_restore: error: COPY failed for table x: ERROR: invented\nDETAIL: Key (phone)=(70000000007)\n"
        "CONTEXT: line 1: secret\npg_restore: warning: errors ignored on restore: 1\nCommand was: secret"
    )
    done = backup_programs.run(["sh", "-c", 'echo "$1" >&2; exit 1', "sh", words], 60)
    assert done.errors == ("pg_restore: error: COPY failed for table x: ERROR: invented",)
    assert done.warnings == ("pg_restore: warning: errors ignored on restore: 1",)
    said = backup_programs.failed("pg_restore", done)
    assert "code 1" in said and "secret" not in said


def test_a_program_that_hangs_is_ended() -> None:
    with pytest.raises(BackupRefused, match="sleep did not end within 0 s"):
        backup_programs.run(["sleep", "60"], 0.2)
