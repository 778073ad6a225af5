"""The proof of a dump: read to its end, compared with the catalog, restored into a scratch target, compared again."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from ansible.module_utils.rollout import backup_archive, backup_contents, backup_programs, backup_scratch
from ansible.module_utils.rollout.backup_archive import Archive
from ansible.module_utils.rollout.backup_contents import Contents
from ansible.module_utils.rollout.backup_manifest import DUMP, Proof
from ansible.module_utils.rollout.backup_programs import Programs
from ansible.module_utils.rollout.backup_scratch import Scratch
from ansible.module_utils.rollout.backup_settings import BackupSettings
from ansible.module_utils.rollout.connection import Session
from ansible.module_utils.rollout.errors import BackupRefused
from ansible.module_utils.rollout.options import ConnectionOptions


def open_session(options: ConnectionOptions, settings: BackupSettings, *, read_only: bool) -> Session:
    """A session as backups need it: patient with long counts, impatient with locks."""
    return Session(
        options,
        f"{settings.application_name} {settings.run_id} backup",
        read_only=read_only,
        lock_timeout_ms=settings.lock_timeout_ms,
        # Counting the rows of a large table takes its time.
        statement_timeout_ms=settings.timeout_s * 1000,
    )


def choose_scratch(settings: BackupSettings, may_create: bool, server_major: int) -> tuple[str, Programs]:
    """How it will be proven, and with which programs; before anything is dumped or restored.

    :param may_create: whether the role may create databases
    :raises BackupRefused: no proof is possible
    """
    if settings.scratch == "database" and not may_create:
        raise BackupRefused(
            "the role may not create databases, so the dump cannot be proven in one",
            hint="ALTER ROLE ... CREATEDB, or set scratch to local (backup_scratch).",
        )
    if settings.scratch == "local" or (settings.scratch == "auto" and not may_create):
        # One installation dumps, serves and restores.
        return "local", backup_programs.find_programs(settings.bin_dir, server_major, with_server=True)
    how = "none" if settings.scratch == "none" else "database"
    return how, backup_programs.find_programs(settings.bin_dir, server_major)


def check_archive(settings: BackupSettings, programs: Programs, dump: Path, contents: Contents) -> Archive:
    """Read every byte of a dump, and compare its list with the catalog.

    :raises BackupRefused: it cannot be read to its end, is of another database, or lacks something
    """
    done = backup_programs.run(
        [programs.path("pg_restore"), "--file=/dev/null", str(dump)], settings.timeout_s
    )
    if done.code != 0:
        raise BackupRefused(
            f"{DUMP} cannot be read to its end: {backup_programs.failed('pg_restore', done)}",
            hint="The dump is damaged or was cut off. Look at the disk of the backups' folder.",
            details={"errors": list(done.errors)},
        )
    archive = list_archive(settings, programs, dump, contents.catalogs)
    lacking = backup_archive.lacking(archive, contents.catalogs, _names_with_rows(contents))
    if archive.database != contents.identity.name:
        lacking.insert(0, f"it is a dump of database {archive.database!r}, not {contents.identity.name!r}")
    if lacking:
        raise BackupRefused(
            f"{DUMP} does not hold what the catalog does:\n  " + "\n  ".join(lacking[:20]),
            details={"lacking": lacking},
        )
    return archive


def list_archive(
    settings: BackupSettings, programs: Programs, dump: Path, schemas: Collection[str]
) -> Archive:
    """A dump's table of contents, with dependencies.

    :param schemas: names of the schemas that it holds
    :raises BackupRefused: pg_restore cannot read it
    """
    done = backup_programs.run(
        [programs.path("pg_restore"), "--list", "--verbose", str(dump)], settings.timeout_s
    )
    if done.code != 0:
        raise BackupRefused(f"{dump}: {backup_programs.failed('pg_restore --list', done)}")
    return backup_archive.parse(done.output, schemas)


def _names_with_rows(contents: Contents) -> list[tuple[str, str]]:
    """Schema and plain name of each table whose rows must be in the dump."""
    return [
        (schema, table)
        for schema, entries in contents.catalogs.items()
        for kind, _, table in (name.partition(" ") for name in entries)
        if kind == "table" and f"{schema}.{table}" in contents.rows
    ]


def prove(
    options: ConnectionOptions,
    settings: BackupSettings,
    programs: Programs,
    how: str,
    contents: Contents,
    archive: Archive,
    folder: Path,
) -> Proof:
    if how == "none":
        return Proof("none", "nowhere", False, 0.0)
    began = time.perf_counter()
    with restored(options, settings, programs, how, contents, archive, folder / DUMP) as (scratch, copy):
        wrong = backup_contents.differences(contents, copy)
        if wrong:
            raise BackupRefused(
                f"the dump restored into {scratch.where} is not what the source was:\n  "
                + "\n  ".join(wrong[:20]),
                hint="If the schema was changed meanwhile, run again. If not, the dump is not to be trusted.",
                details={"differences": wrong},
            )
    return Proof(how, scratch.where, True, round(time.perf_counter() - began, 3), scratch.extensions_missing)


@contextlib.contextmanager
def restored(
    options: ConnectionOptions,
    settings: BackupSettings,
    programs: Programs,
    how: str,
    contents: Contents,
    archive: Archive,
    dump: Path,
) -> Iterator[tuple[Scratch, Contents]]:
    """Restore a dump into a scratch target and read what is there now; the target is gone afterwards.

    :param programs: with a server's, where it is ``local``
    :param how: ``database`` or ``local``
    :param contents: what the source was; names its encoding, extensions and roles
    :raises BackupRefused: it cannot be restored
    """

    def open_writing(target: ConnectionOptions) -> Session:
        return open_session(target, settings, read_only=False)

    directory = Path(settings.directory)
    with contextlib.ExitStack() as stack:
        if how == "database":
            scratch = stack.enter_context(backup_scratch.scratch_database(open_writing, options, contents))
        else:
            scratch = stack.enter_context(backup_scratch.local_server(directory, programs, contents))
        _restore(settings, programs, scratch, archive, dump)
        with open_session(scratch.options, settings, read_only=True) as session:
            backup_contents.begin(session)
            present = backup_contents.outline(session)
            copy = backup_contents.read(session, present.limited_to(contents))
            session.rollback()
        yield scratch, copy


@contextlib.contextmanager
def listed(lines: Sequence[str]) -> Iterator[str]:
    """A file for ``pg_restore --use-list``; it holds names of objects only."""
    with tempfile.NamedTemporaryFile("w", prefix="rollout-", suffix=".list", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)
        file.flush()
        yield file.name


def _restore(
    settings: BackupSettings,
    programs: Programs,
    scratch: Scratch,
    archive: Archive,
    dump: Path,
) -> None:
    with (
        listed(backup_archive.for_scratch(archive, scratch.schemas)) as use_list,
        backup_programs.access(
            scratch.options, f"{settings.application_name} {settings.run_id} scratch"
        ) as way,
    ):
        done = backup_programs.run(
            [
                programs.path("pg_restore"),
                "--no-owner",
                "--no-privileges",
                "--no-tablespaces",
                "--no-security-labels",
                "--no-password",
                f"--use-list={use_list}",
                f"--dbname={way.conninfo}",
                str(dump),
            ],
            settings.timeout_s,
            way=way,
        )
    # A newer pg_restore sets what an older server does not know, counts that as an error and goes on.
    errors = [line for line in done.errors if '"transaction_timeout"' not in line]
    if errors or (done.code != 0 and not done.errors):
        raise BackupRefused(
            f"the dump cannot be restored into {scratch.where}: {backup_programs.failed('pg_restore', done)}",
            hint=_restore_hint(scratch, errors),
            details={"errors": errors},
        )


def _restore_hint(scratch: Scratch, errors: Sequence[str]) -> str:
    if "No space left" in " ".join(errors):
        return "The disk of the scratch target is full: it needs as much room as the database. Make room, run again."
    if scratch.extensions_missing:
        missing = ", ".join(scratch.extensions_missing)
        return f"The scratch target could not have these extensions: {missing}. Try another scratch (backup_scratch)."
    return ""
