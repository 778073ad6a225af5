"""A backup that is proven: dumped in one snapshot, restored into a scratch target, compared, and then given a name.

:func:`make` takes one, :func:`verify` finds one that counts. Both are for modules and for other parts of the rollout.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ansible.module_utils.rollout import (
    backup_archive,
    backup_contents,
    backup_manifest,
    backup_programs,
    backup_proof,
    backup_scratch,
)
from ansible.module_utils.rollout.backup_contents import Contents
from ansible.module_utils.rollout.backup_manifest import CATALOG, DUMP, Manifest, Proof
from ansible.module_utils.rollout.backup_programs import Programs
from ansible.module_utils.rollout.backup_settings import BackupSettings as BackupSettings
from ansible.module_utils.rollout.errors import BackupRefused
from ansible.module_utils.rollout.options import ConnectionOptions

#: What is being made, under the backups' folder.
_PARTIAL_PREFIX = ".partial-"
_REMOVED_PREFIX = ".removed-"
_LOCK = ".lock"
_TURN_POLL_S = 0.2
_LABEL = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


@dataclass(frozen=True)
class BackupOutcome:
    """What was done, or would be.

    :ivar backup: the backup; None in check mode of :func:`make`
    :ivar removed: folders of older backups that were removed, and what killed runs had left
    """

    changed: bool
    summary: str
    backup: Manifest | None
    database: str
    tables: int
    rows: int
    database_bytes: int
    scratch: str
    programs: str
    removed: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For a module's result: the manifest without the tables' checksums, and where it lies."""
        result = asdict(self)
        manifest = self.backup
        result["backup"] = described(manifest) if manifest else {}
        return result


def described(manifest: Manifest) -> dict[str, Any]:
    """A backup in few words, JSON-compatible."""
    return {
        "path": str(manifest.path),
        "folder": str(manifest.folder),
        "manifest": str(manifest.folder / backup_manifest.MANIFEST),
        "label": manifest.label,
        "run_id": manifest.run_id,
        "sha256": manifest.dump.sha256,
        "bytes": manifest.dump.bytes,
        "fingerprint": manifest.fingerprint,
        "snapshot_at": manifest.snapshot_at,
        "database": asdict(manifest.identity),
        "tables": {label: {"rows": t.rows, "bytes": t.bytes} for label, t in manifest.tables.items()},
        "rows": manifest.rows,
        "proven": manifest.proof.equal,
        "proof": asdict(manifest.proof),
        "warnings": list(manifest.warnings),
    }


def make(options: ConnectionOptions, settings: BackupSettings, *, check: bool = False) -> BackupOutcome:
    """Take a backup and prove it.

    :param check: say what would be done; nothing is written, the session is read-only
    :raises BackupRefused: it could not be made or proven; what was begun is removed, older backups are untouched
    :raises ConnectionFailed: the database could not be reached
    :raises StatementFailed: a table could not be read
    """
    directory = _directory(settings)
    if not _LABEL.fullmatch(settings.label):
        raise BackupRefused(f"label {settings.label!r} must be of small letters, digits and '-', 40 at most")
    with contextlib.ExitStack() as stack:
        removed: list[str] = []
        if not check:
            stack.enter_context(locked(directory, settings.turn_timeout_s))
            removed = _remove_left(directory)
        with backup_proof.open_session(options, settings, read_only=True) as session:
            snapshot = backup_contents.begin(session)
            outline = backup_contents.outline(session, settings.schemas, settings.tables)
            major = session.server_version // 10_000
            how, programs = backup_proof.choose_scratch(settings, outline.may_create_database, major)
            if check:
                wanted = [r for r in outline.relations.values() if r.oid in outline.wanted and r.kind == "r"]
                return BackupOutcome(
                    changed=True,
                    summary=f"would dump {outline.identity.name} ({len(wanted)} tables with rows,"
                    f" {sum(r.bytes for r in wanted)} bytes) with pg_dump {programs.version} into {directory}, and"
                    f" {_PROOFS[how]}",
                    backup=None,
                    database=outline.identity.name,
                    tables=len(wanted),
                    rows=0,
                    database_bytes=outline.database_bytes,
                    scratch=how,
                    programs=f"{programs.folder} ({programs.version})",
                )
            partial = directory / f"{_PARTIAL_PREFIX}{secrets.token_hex(6)}"
            partial.mkdir(mode=0o700)
            stack.callback(_remove_folder, partial)
            began = time.perf_counter()
            contents = backup_contents.read(session, outline)
            counted = time.perf_counter()
            warnings = _dump(options, settings, programs, snapshot, contents, partial / DUMP)
            session.rollback()
        dumped = time.perf_counter()
        archive = backup_proof.check_archive(settings, programs, partial / DUMP, contents)
        read = time.perf_counter()
        proof = backup_proof.prove(options, settings, programs, how, contents, archive, partial)
        manifest = _publish(settings, directory, partial, contents, archive, proof, warnings)
        removed += _remove_superseded(directory, manifest, settings)
        return BackupOutcome(
            changed=True,
            summary=f"{manifest.path}: {manifest.dump.bytes} bytes, {len(manifest.tables)} tables,"
            f" {manifest.rows} rows; "
            + (f"proven by a restore into {proof.where}" if proof.equal else "not proven: scratch is none"),
            backup=manifest,
            database=contents.identity.name,
            tables=len(manifest.tables),
            rows=manifest.rows,
            database_bytes=contents.database_bytes,
            scratch=how,
            programs=f"{programs.folder} ({programs.version})",
            removed=tuple(removed),
            seconds={
                "count": round(counted - began, 3),
                "dump": round(dumped - counted, 3),
                "read": round(read - dumped, 3),
                "prove": proof.seconds,
            },
        )


_PROOFS = {
    "database": "restore it into a scratch database on the same server",
    "local": "restore it into a throw-away server on this host",
    "none": "not prove it (scratch is none)",
}


def verify(options: ConnectionOptions, settings: BackupSettings, path: str = "") -> BackupOutcome:
    """Find a backup that counts: proven, of this very database and selection, young enough, every byte as it was made.

    Changes nothing.

    :param path: this backup; empty takes the newest of the label that counts
    :raises BackupRefused: there is none; says of each why it does not count
    """
    directory = _directory(settings)
    with backup_proof.open_session(options, settings, read_only=True) as session:
        session.run(["BEGIN READ ONLY"])
        outline = backup_contents.outline(session)
        session.rollback()
    now = datetime.datetime.now(datetime.timezone.utc)
    refused: list[str] = []
    began = time.perf_counter()
    for manifest in _candidates(directory, settings.label, path, refused):
        wrong = backup_manifest.shortcomings(
            manifest,
            outline.identity,
            schemas=settings.schemas,
            tables=settings.tables,
            max_age_minutes=settings.max_age_minutes,
            now=now,
        ) or backup_manifest.damage(manifest)
        if wrong:
            refused.append(f"{manifest.folder.name}: {'; '.join(wrong)}")
            continue
        return BackupOutcome(
            changed=False,
            summary=f"{manifest.path} counts: {manifest.age_minutes(now):.0f} minutes old, proven by a restore into"
            f" {manifest.proof.where}, unchanged since",
            backup=manifest,
            database=outline.identity.name,
            tables=len(manifest.tables),
            rows=manifest.rows,
            database_bytes=outline.database_bytes,
            scratch=manifest.proof.how,
            programs="",
            seconds={"read": round(time.perf_counter() - began, 3)},
        )
    looked_at = "\n  ".join(refused) or "there is none"
    raise BackupRefused(
        f"no backup in {directory} counts for database {outline.identity.name} (label {settings.label}):"
        f"\n  {looked_at}",
        hint="Take one: ansible-playbook playbooks/backup.yml -i <inventory>",
        details={"refused": refused},
    )


def backups_in(directory: Path, label: str = "", refused: list[str] | None = None) -> list[Manifest]:
    """The backups of a folder, newest first.

    :param label: these alone; empty for all
    :param refused: gets a line for each folder whose record cannot be read
    """
    found = []
    for folder in sorted(directory.iterdir()) if directory.is_dir() else []:
        if folder.name.startswith(".") or not folder.is_dir():
            continue
        try:
            manifest = backup_manifest.read(folder)
        except BackupRefused as error:
            if refused is not None:
                refused.append(f"{folder.name}: {error.message}")
            continue
        if not label or manifest.label == label:
            found.append(manifest)
    return sorted(found, key=lambda manifest: manifest.made_at, reverse=True)


def _candidates(directory: Path, label: str, path: str, refused: list[str]) -> list[Manifest]:
    return [backup_manifest.read(Path(path))] if path else backups_in(directory, label, refused)


def _directory(settings: BackupSettings) -> Path:
    directory = Path(settings.directory)
    if not directory.is_absolute():
        raise BackupRefused(
            f"directory {settings.directory!r} is not an absolute path", hint="Set backup_dir."
        )
    return directory


@contextlib.contextmanager
def locked(directory: Path, turn_timeout_s: float = 0) -> Iterator[None]:
    """Make the folder where it is missing, and let one run at a time work in it.

    :param turn_timeout_s: longest wait for another run, seconds
    :raises BackupRefused: others may enter it, it cannot be made, or another run works in it
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.stat()
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise BackupRefused(
                f"{directory} belongs to uid {found.st_uid} with mode {stat.S_IMODE(found.st_mode):04o}; backups hold"
                f" personal data, and nobody but uid {os.geteuid()} may enter their folder",
                hint=f"chown {os.geteuid()} {directory} && chmod 0700 {directory}, or set backup_dir.",
            )
        lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BackupRefused(
            f"{directory} cannot be used: {error.strerror}",
            hint="Set backup_dir to a folder that this login may write, with room for the dump.",
        ) from None
    try:
        _take_turn(lock, directory, turn_timeout_s)
        yield
    finally:
        os.close(lock)


def _take_turn(lock: int, directory: Path, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                waited = f", and was not done after {timeout_s:g} s" if timeout_s else ""
                raise BackupRefused(
                    f"another backup is being made in {directory}{waited}",
                    hint="Wait for it, then run again.",
                ) from None
        time.sleep(_TURN_POLL_S)


def _remove_left(directory: Path) -> list[str]:
    """Remove what killed runs left. The folder is locked, so nobody is making any of it."""
    removed = backup_scratch.remove_left_servers(directory)
    for prefix in (_PARTIAL_PREFIX, _REMOVED_PREFIX):
        for folder in directory.glob(f"{prefix}*"):
            shutil.rmtree(folder)
            removed.append(folder.name)
    return removed


def _remove_folder(folder: Path) -> None:
    """Remove what was begun; nothing when it was given its name."""
    if folder.exists():
        shutil.rmtree(folder)


def _dump(
    options: ConnectionOptions,
    settings: BackupSettings,
    programs: Programs,
    snapshot: str,
    contents: Contents,
    path: Path,
) -> tuple[str, ...]:
    """Run pg_dump in the snapshot; returns its warnings."""
    # Made here, so that it never has another mode.
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with backup_programs.access(options, f"{settings.application_name} {settings.run_id} backup") as way:
        done = backup_programs.run(
            [
                programs.path("pg_dump"),
                "--format=custom",
                f"--file={path}",
                f"--snapshot={snapshot}",
                f"--lock-wait-timeout={settings.lock_timeout_ms}",
                "--no-password",
                *(f"--schema={_pattern(schema)}" for schema in settings.schemas),
                *(f"--exclude-table-data={label}" for label in contents.without_rows),
                f"--dbname={way.conninfo}",
            ],
            settings.timeout_s,
            way=way,
        )
    if done.code != 0:
        raise BackupRefused(
            backup_programs.failed("pg_dump", done),
            hint=_hint(done.errors),
            details={"errors": list(done.errors)},
        )
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return done.warnings


def _pattern(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _hint(errors: Sequence[str]) -> str:
    text = " ".join(errors)
    if "No space left" in text:
        return "The disk of the backups' folder is full. Make room, or set backup_dir to another disk."
    if "version mismatch" in text:
        return "Install the client programs of the server's version, or set backup_bin_dir."
    if "lock" in text:
        return "A table is locked by somebody else. Look at pg_locks, then run again."
    return ""


def _publish(
    settings: BackupSettings,
    directory: Path,
    partial: Path,
    contents: Contents,
    archive: backup_archive.Archive,
    proof: Proof,
    warnings: tuple[str, ...],
) -> Manifest:
    """Write the records and give the backup its name, all at once."""
    text = json.dumps(contents.catalogs, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    backup_manifest.write_private(partial / CATALOG, text.encode())
    now = datetime.datetime.now(datetime.timezone.utc)
    snapshot_at = datetime.datetime.fromisoformat(_iso(contents.at)).isoformat()
    name = f"{now:%Y%m%dT%H%M%SZ}-{settings.label}-{secrets.token_hex(2)}"
    manifest = Manifest(
        folder=partial,
        label=settings.label,
        run_id=settings.run_id,
        identity=contents.identity,
        snapshot_at=snapshot_at,
        finished_at=now.isoformat(timespec="seconds"),
        program=f"pg_dump {archive.program_version}",
        selected_schemas=settings.schemas,
        selected_tables=settings.tables,
        tables=contents.rows,
        sequences=contents.sequences,
        extensions=contents.extensions,
        fingerprint=contents.fingerprint,
        dump=backup_manifest.store(partial / DUMP),
        catalog=backup_manifest.store(partial / CATALOG),
        proof=proof,
        warnings=warnings,
    )
    backup_manifest.write(manifest)
    _sync(partial)
    partial.rename(directory / name)
    _sync(directory)
    return backup_manifest.read(directory / name)


def _iso(text: str) -> str:
    """PostgreSQL's ISO output as Python 3.10 reads it: ``2025-11-09 18:30:00.5+00`` has too few digits for it."""
    moment, _, zone = text.replace(" ", "T").partition("+")
    whole, _, fraction = moment.partition(".")
    return f"{whole}.{fraction:0<6}+{zone or '00'}:00"


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_superseded(directory: Path, current: Manifest, settings: BackupSettings) -> list[str]:
    """Remove what the limits no longer keep: the files that each record names, and then the folder if it is empty."""
    removed = []
    superseded = backup_manifest.superseded(
        backups_in(directory),
        current,
        keep_count=settings.keep_count,
        keep_days=settings.keep_days,
        now=datetime.datetime.now(datetime.timezone.utc),
    )
    for manifest in superseded:
        names = {manifest.dump.name, manifest.catalog.name, backup_manifest.MANIFEST}
        if {entry.name for entry in manifest.folder.iterdir()} != names:
            continue  # somebody put something into it or took something out: not ours to judge
        # First without a name that counts, so that a half-removed one is never taken for a backup.
        gone = directory / f"{_REMOVED_PREFIX}{manifest.folder.name}"
        manifest.folder.rename(gone)
        shutil.rmtree(gone)
        removed.append(manifest.folder.name)
    return removed
