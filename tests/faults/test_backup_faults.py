"""Dumps that are not what they seem, full disks, killed runs: nothing of it may pass for a backup."""

import concurrent.futures
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible.module_utils.rollout import backup, backup_contents, backup_manifest, backup_scratch
from ansible.module_utils.rollout.connection import Session
from ansible.module_utils.rollout.errors import BackupRefused, RolloutError, StatementFailed

from sandbox.databases import Database
from sandbox.server import PostgresServer
from tests.backup_databases import (  # noqa: F401
    bin_dir,
    database_with_rows,
    left_in,
    may_create_databases,
    options_of,
    prepared_rows,
    replaced_programs,
    right_to_create,
    scratch_databases,
    settings_for,
)
from tests.prepared_databases import copy_of
from tests.waiting import until

Scripts = Callable[..., Path]

_RUN = '"$REAL" "$@" || exit $?\n'
#: The other database's name in place of the source's; the snapshot is valid in the source alone.
_ELSEWHERE = """
for word in "$@"; do
  shift
  case "$word" in
    --snapshot=*) ;;
    --dbname=*) set -- "$@" "$(printf %s "$word" | sed 's/dbname=copy_[0-9a-f]*/dbname=OTHER/')" ;;
    *) set -- "$@" "$word" ;;
  esac
done
exec "$REAL" "$@"
"""
_FLIP = f"""
{sys.executable} - "$file" <<'END'
import sys
content = bytearray(open(sys.argv[1], "rb").read())
place = content.index(b"Client 7")
content[place] ^= 1
open(sys.argv[1], "wb").write(content)
END
"""


@pytest.fixture(scope="module")
def source(with_rows: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database that is only read, whose owner may create databases."""
    with copy_of(with_rows, tmp_path_factory.mktemp("source")) as copy, may_create_databases(copy.server):
        yield copy


@pytest.fixture
def good(source: Database, tmp_path: Path) -> backup_manifest.Manifest:
    """An earlier backup in the folder, which every fault has to leave as it is."""
    manifest = backup.make(
        options_of(source), settings_for(tmp_path, scratch="none", schemas=("rollout",))
    ).backup
    assert manifest is not None
    return manifest


def refuse(
    source: Database, tmp_path: Path, good: backup_manifest.Manifest, match: str, **settings: object
) -> str:
    """Take a backup that has to be refused; nothing may be left but the earlier one. Returns the message."""
    with pytest.raises(RolloutError, match=match) as refused:
        backup.make(options_of(source), settings_for(tmp_path, keep_count=1, **settings))
    assert left_in(tmp_path) == {good.folder.name}
    assert backup_manifest.damage(good) == []
    assert scratch_databases(source.server) == []
    return str(refused.value)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (_RUN + 'truncate -s -2000 "$file"', "cannot be read to its end"),
        (_RUN + 'truncate -s 20 "$file"', "cannot be read to its end"),
        (
            '"$REAL" -Z0 "$@" || exit $?\n' + _FLIP,
            r"public\.clients: 50 rows as in the source, but not the same ones",
        ),
        (
            'exec "$REAL" --schema-only "$@"',
            "the rows of appointments_cache in schema public are not in the dump",
        ),
        (
            'exec "$REAL" --exclude-table=reminders "$@"',
            "table reminders of gen_user in schema public is not in",
        ),
        ('exec "$REAL" --no-comments "$@"', r"comment on column [\w.]+: missing"),
        ('echo "pg_dump: error: invented reason" >&2; exit 1', "code 1: pg_dump: error: invented reason"),
        ("kill -9 $$", "pg_dump was ended by SIGKILL"),
    ],
    ids=[
        "cut",
        "20-bytes",
        "flipped-bit-Z0",
        "only-schema",
        "no-table",
        "no-comments",
        "fails",
        "killed",
    ],
)
def test_a_dump_with_a_fault_is_refused(
    source: Database,
    good: backup_manifest.Manifest,
    tmp_path: Path,
    programs: Scripts,
    script: str,
    reason: str,
) -> None:
    refuse(source, tmp_path, good, reason, bin_dir=str(programs(pg_dump=script)))


def test_without_a_fault_the_same_programs_pass(source: Database, tmp_path: Path, programs: Scripts) -> None:
    """The control: replaced programs, -Z0 and a warning alone are not refused."""
    folder = programs(pg_dump='echo "pg_dump: warning: invented" >&2; exec "$REAL" -Z0 "$@"')
    manifest = backup.make(options_of(source), settings_for(tmp_path, bin_dir=str(folder))).backup
    assert manifest is not None and manifest.proof.equal
    assert manifest.warnings == ("pg_dump: warning: invented",)
    assert b"Client 7" in manifest.path.read_bytes()


def test_a_dump_of_another_database_is_refused(
    source: Database,
    database: Database,
    good: backup_manifest.Manifest,
    tmp_path: Path,
    programs: Scripts,
) -> None:
    folder = programs(pg_dump=_ELSEWHERE.replace("OTHER", database.name))
    refuse(source, tmp_path, good, f"it is a dump of database '{database.name}', not", bin_dir=str(folder))


def test_an_older_client_is_refused_before_anything_is_dumped(
    source: Database, good: backup_manifest.Manifest, tmp_path: Path, programs: Scripts
) -> None:
    folder = programs()
    for name in ("pg_dump", "pg_restore"):
        (folder / name).write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 13.22'\n")
    said = refuse(source, tmp_path, good, r"13\.22, older than the server", bin_dir=str(folder))
    assert "Install them" in said


def test_a_real_older_client_is_refused(
    source: Database, good: backup_manifest.Manifest, tmp_path: Path
) -> None:
    server = source.server.binaries.major
    installed = {int(folder.parent.name): folder for folder in Path("/usr/lib/postgresql").glob("[0-9]*/bin")}
    older = [
        folder for major, folder in installed.items() if major < server and (folder / "pg_dump").exists()
    ]
    if not older:
        pytest.skip(f"no PostgreSQL older than the server's {server} is installed on this machine")
    refuse(source, tmp_path, good, "older than the server", bin_dir=str(older[0]))


def test_an_older_client_that_hides_its_version_is_refused_by_itself(
    source: Database, good: backup_manifest.Manifest, tmp_path: Path, programs: Scripts
) -> None:
    """pg_dump's own words when it meets a newer server, as they came in production."""
    words = (
        "pg_dump: error: server version: 18.0; pg_dump version: 16.10\\n"
        "pg_dump: error: aborting because of server version mismatch"
    )
    folder = programs(pg_dump=f"printf '{words}\\n' >&2; exit 1")
    assert "backup_bin_dir" in refuse(source, tmp_path, good, "server version mismatch", bin_dir=str(folder))


def test_values_of_rows_are_not_in_error_texts(
    source: Database, good: backup_manifest.Manifest, tmp_path: Path, programs: Scripts
) -> None:
    words = (
        'pg_restore: error: COPY failed for table "clients": ERROR:  invented\\n'
        "DETAIL:  Key (phone)=(70000000007) exists.\\nCONTEXT:  COPY clients, line 7: secret words"
    )
    folder = programs(
        pg_restore=f'case "$*" in *--dbname=*) printf \'{words}\\n\' >&2; exit 1;; esac\nexec "$REAL" "$@"'
    )
    said = refuse(
        source, tmp_path, good, "cannot be restored into database rollout_scratch_", bin_dir=str(folder)
    )
    assert "COPY failed for table" in said
    assert "70000000007" not in said and "secret words" not in said


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of 1 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small tmpfs")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"this machine lets nobody mount a tmpfs: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_is_full_while_dumping_is_told_and_nothing_stays(
    source: Database, small_disk: Path
) -> None:
    good = backup.make(
        options_of(source), settings_for(small_disk, scratch="none", schemas=("rollout",))
    ).backup
    assert good is not None
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * (os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_bsize - 8192))
    said = refuse(source, small_disk, good, "No space left on device")
    assert "set backup_dir to another disk" in said
    filler.unlink()


def test_a_disk_that_is_full_while_proving_is_told_and_nothing_stays(
    source: Database, small_disk: Path
) -> None:
    """The throw-away server lies beside the backups, and needs far more room than this."""
    with pytest.raises(BackupRefused, match="initdb for the scratch server failed"):
        backup.make(options_of(source), settings_for(small_disk, scratch="local"))
    assert left_in(small_disk) == set()


def test_a_scratch_target_that_is_the_source_is_refused(source: Database) -> None:
    with Session(options_of(source), "test", read_only=True) as session:
        session.run(["BEGIN"])
        identity = backup_contents.outline(session).identity
        session.rollback()
        with pytest.raises(BackupRefused, match="is the source itself"):
            backup_scratch.refuse_the_source(session, identity)


def test_another_database_of_the_server_is_not_the_source(source: Database, database: Database) -> None:
    """The control of the test above."""
    with Session(options_of(source), "test", read_only=True) as session:
        session.run(["BEGIN"])
        identity = backup_contents.outline(session).identity
    with Session(options_of(database), "test", read_only=True) as session:
        backup_scratch.refuse_the_source(session, identity)


def test_a_table_that_somebody_locks_is_told_and_nobody_waits_long(
    source: Database, good: backup_manifest.Manifest, tmp_path: Path
) -> None:
    with source.connect() as other, other.transaction():
        other.execute("LOCK TABLE clients IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StatementFailed, match="55P03"):
            backup.make(options_of(source), settings_for(tmp_path, lock_timeout_ms=200))
    assert left_in(tmp_path) == {good.folder.name}


def test_two_backups_at_once_exclude_each_other(
    source: Database, good: backup_manifest.Manifest, tmp_path: Path
) -> None:
    with backup.locked(tmp_path / "backups"):
        refuse(source, tmp_path, good, "another backup is being made in [^,]*\n", turn_timeout_s=0)
        refuse(source, tmp_path, good, "another .*, and was not done after 1 s\n", turn_timeout_s=1)


def test_backups_of_one_machine_take_turns(
    source: Database, good: backup_manifest.Manifest, tmp_path: Path
) -> None:
    with concurrent.futures.ThreadPoolExecutor() as pool:
        with backup.locked(tmp_path / "backups"):
            second = pool.submit(backup.make, options_of(source), settings_for(tmp_path, turn_timeout_s=60))
            time.sleep(1)
            assert not second.done()
            assert left_in(tmp_path) == {good.folder.name}
        made = second.result(120).backup
    assert made is not None
    assert left_in(tmp_path) == {good.folder.name, made.folder.name}


def test_scratch_databases_of_killed_runs_are_removed_and_others_stay(source: Database) -> None:
    server = source.server
    left, foreign, used = (f"rollout_scratch_{secrets.token_hex(6)}" for _ in range(3))
    mark = "scratch copy of the rollout''s pg_backup"
    with server.connect() as admin:
        try:
            for name, owner, comment in (
                (left, "gen_user", mark),
                (foreign, "gen_user", "somebody else wrote this"),
                (used, "gen_user", mark),
            ):
                admin.execute(f'CREATE DATABASE "{name}" OWNER {owner}'.encode())
                admin.execute(f"COMMENT ON DATABASE \"{name}\" IS '{comment}'".encode())
            with server.connect(dbname=used), Session(options_of(source), "test") as session:
                assert backup_scratch.remove_left_databases(session) == [left]
            assert set(scratch_databases(server)) == {foreign, used}
        finally:
            for name in (left, foreign, used):
                admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())


_KILLED = """
import json, os, signal, sys
sys.path[:0] = [sys.argv[2]]
import ansible.module_utils
ansible.module_utils.__path__.append(sys.argv[2] + "/module_utils")
from ansible.module_utils.rollout import backup, backup_proof
from ansible.module_utils.rollout.options import ConnectionOptions
backup_proof.backup_contents.differences = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
given = json.load(open(sys.argv[1]))
backup.make(ConnectionOptions(**given["options"]), backup.BackupSettings(**given["settings"]))
"""


@pytest.mark.parametrize("scratch", ["local", "database"])
def test_what_a_killed_run_leaves_is_removed_by_the_next(
    source: Database,
    good: backup_manifest.Manifest,
    tmp_path: Path,
    scratch: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed in the worst moment: everything is restored, nothing is dropped yet."""
    temporary = Path(tempfile.mkdtemp(prefix="rollout-", dir="/tmp"))
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    given = tmp_path / "given.json"
    settings = {"directory": str(tmp_path / "backups"), "scratch": scratch, "bin_dir": bin_dir()}
    given.write_text(json.dumps({"options": source.options, "settings": settings}))
    root = Path(backup.__file__).resolve().parents[2]
    died = subprocess.run(
        [sys.executable, "-c", _KILLED, str(given), str(root)], capture_output=True, check=False
    )
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    begun = left_in(tmp_path) - {good.folder.name}
    assert any(name.startswith(".partial-") for name in begun)
    if scratch == "database":
        (left,) = scratch_databases(source.server)
        # The server notices that the keeper is gone.
        until(lambda: _nobody_in(source.server, left), f"somebody is connected to {left}")
    outcome = backup.make(options_of(source), settings_for(tmp_path, scratch=scratch))
    assert outcome.backup is not None and outcome.backup.proof.equal
    assert set(outcome.removed) >= begun
    assert left_in(tmp_path) == {good.folder.name, outcome.backup.folder.name}
    assert scratch_databases(source.server) == []
    temporary.rmdir()


def _nobody_in(server: PostgresServer, database: str) -> bool:
    with server.connect() as admin:
        rows = admin.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = %s", [database]
        ).fetchall()
    return rows[0] == (0,)
