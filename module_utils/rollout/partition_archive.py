"""Write a detached partition to a compressed file, and prove the file by reading it back into a scratch table.

The file is COPY's text format through gzip: ``gunzip -c FILE | psql -c "COPY table FROM STDIN"`` restores it anywhere.
Beside it lies a description in JSON with checksum, number of rows and columns. Nothing is dropped unless the file that
lies there now is the one that was proven, and no archive ever takes the place of another: the table that it was made
of may be gone.
"""

from __future__ import annotations

import glob
import gzip
import hashlib
import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.rollout import partition_record
from ansible.module_utils.rollout.connection import Command
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.partition_changes import Done, Terms, in_transaction
from ansible.module_utils.rollout.partition_reading import Table, quoted
from ansible.module_utils.rollout.partition_record import Detached
from ansible.module_utils.rollout.partition_transfer import FileSession
from ansible.module_utils.rollout.script import Script

_READING_MS = 6 * 3600 * 1000
_COLUMNS = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a
 WHERE a.attrelid = %s::oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum
"""
# Order does not matter, duplicates do: a sum of 64-bit hashes of whole rows.
_DIGEST = (
    "SELECT count(*), coalesce(sum(hashtextextended(rollout_row::text, 0)::numeric), 0)::text "
    " FROM {table} rollout_row"
)


# By the record's table and the partitioned one: two runs do not archive the same.
_ALONE = "SELECT pg_try_advisory_lock(to_regclass(%s)::oid::integer, %s::oid::integer)"


def archive_all(
    session: FileSession, table: Table, folder: Path, terms: Terms, done: Done, *, drop: bool
) -> bool:
    """Archive what was detached and is not archived, then drop what is archived and may be.

    It can take hours, so it needs none of the locks by which runs take turns, but one of its own.

    :param folder: on this host; made when it is not there
    :param drop: whether tables go whose archive is proven
    :returns: False when another run is at it: nothing was done
    :raises RolloutError: a file could not be written or proven; its table was not dropped
    """
    record = f"{quoted(terms.ledger)}.detached"
    if not session.run([Command(_ALONE, (record, table.oid))])[0][0][0]:
        return False
    # Reading a whole partition takes its time; waiting for a lock does not (lock_timeout stays).
    session.run([f"SET statement_timeout = {_READING_MS}"])
    for one in partition_record.detached(session, terms.ledger, table.schema, table.name):
        if not one.standing or one.state == "detaching":
            continue
        try:
            _archive_one(session, table, one, folder, terms, done, drop=drop)
        except OSError as error:
            raise RolloutError(
                f"{one.kept} cannot be archived in {folder}: {error}",
                hint="It was not dropped. Look at the folder's owner and rights and at its disk's room. Run again.",
            ) from None
    return True


def _archive_one(
    session: FileSession, table: Table, one: Detached, folder: Path, terms: Terms, done: Done, *, drop: bool
) -> None:
    proven = one.archive
    if one.state == "detached":
        proven = archive(session, table.database, one, folder, terms.run_id)
        session.run([partition_record.archived_command(terms.ledger, one.seq, proven)])
        done.note("archived", one.kept, archive=str(proven["file"]), sha256=str(proven["sha256"]))
    if drop and proven is not None:
        _drop(session, table, one, proven, terms, done)


def archive(session: FileSession, database: str, one: Detached, folder: Path, run_id: str) -> dict[str, Any]:
    """Write one table to a file and prove it.

    :param database: that the table is in; archives of several may lie in one folder
    :returns: file, sha256, rows, bytes, digest, columns, host: what the record keeps
    :raises RolloutError: what came back from the file is not what is in the table
    """
    kept = quoted(one.kept_schema, one.kept)
    columns = session.run([Command(_COLUMNS, (one.relation,))])[0]
    listed = ", ".join(quoted(name) for name, _ in columns)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # The record's number, because a month that is made anew and detached again is kept under the same name.
    stem = ".".join((database, one.kept_schema, one.kept, str(one.seq))).replace("/", "_")
    # What runs left that were killed would fill the disk in the end.
    for left in folder.glob(f"{glob.escape(stem)}.*.partial"):
        left.unlink()
    partial = folder / f"{stem}.{run_id}.partial"
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            # No file name and no time in the header: the same rows give the same file.
            with gzip.GzipFile("", "wb", 6, file, mtime=0) as compressed:
                # A query, because COPY refuses a table that is partitioned itself.
                copied = f"COPY (SELECT {listed} FROM {kept}) TO STDOUT"
                session.copy_to_file(copied, compressed, place=one.kept)
            file.flush()
            os.fsync(file.fileno())
        rows, digest = _prove(session, one, kept, listed, partial)
        described: dict[str, Any] = {
            "host": platform.node(),
            "sha256": checksum(partial),
            "bytes": partial.stat().st_size,
            "rows": rows,
            "digest": digest,
            "columns": [f"{name} {kind}" for name, kind in columns],
            "lower": one.lower,
            "upper": one.upper,
        }
        target = _publish(partial, folder, stem)
    finally:
        partial.unlink(missing_ok=True)
    described = {"file": str(target), **described}
    _describe(target.with_suffix(".json"), described)
    _keep_names(folder)
    return described


def _publish(partial: Path, folder: Path, stem: str) -> Path:
    """Give a proven file its name, or the next one that is free: what lies there may be all that is left of a table."""
    number = 1
    while True:
        target = folder / f"{stem}{'' if number == 1 else f'.{number}'}.copy.gz"
        try:
            os.link(partial, target)
        except FileExistsError:
            number += 1
        else:
            return target


def _keep_names(folder: Path) -> None:
    """Have the disk keep the names in a folder, too: the tables may be dropped next."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _prove(session: FileSession, one: Detached, kept: str, listed: str, file: Path) -> tuple[int, str]:
    """Read the file back into a scratch table and compare it with the table.

    :returns: rows, digest
    """
    scratch = quoted("pg_temp", "rollout_archive_proof")
    session.run([Command(f"CREATE TEMPORARY TABLE rollout_archive_proof (LIKE {kept} INCLUDING GENERATED)")])
    try:
        with gzip.open(file, "rb") as compressed:
            session.copy_from_file(compressed, f"COPY {scratch} ({listed}) FROM STDIN", place=file.name)
        (expected,), (found,) = session.run(
            [Command(_DIGEST.format(table=table)) for table in (kept, scratch)]
        )
    except (OSError, EOFError) as error:
        raise RolloutError(
            f"the archive of {one.kept} cannot be read back: {error}", hint="Nothing was dropped. Run again."
        ) from None
    finally:
        session.rollback()
        if not session.lost:
            session.run([Command(f"DROP TABLE IF EXISTS {scratch}")])
    if expected != found:
        raise RolloutError(
            f"the archive of {one.kept} is not what is in the table: {found[0]} rows came back, {expected[0]} are"
            " there",
            hint="Nothing was dropped. Somebody may be writing to the detached table. Run again.",
        )
    return int(found[0]), str(found[1])


def _drop(
    session: FileSession, table: Table, one: Detached, proven: Mapping[str, Any], terms: Terms, done: Done
) -> None:
    """Drop an archived table, if the file and the table still are what was proven.

    :raises RolloutError: the file is elsewhere, gone or changed, or the table was written to
    """
    file = Path(str(proven["file"]))
    if not file.is_file() or checksum(file) != proven["sha256"]:
        raise RolloutError(
            f"{one.kept} is not dropped: its archive {file} is not on this host as it was proven (host"
            f" {proven['host']}, sha256 {proven['sha256']})",
            hint="Bring the file back, or keep the table.",
        )
    kept = quoted(one.kept_schema, one.kept)

    def unchanged(script: Script) -> None:
        ((rows, digest),) = script.rows(1)
        if (rows, digest) != (proven["rows"], proven["digest"]):
            raise RolloutError(
                f"{one.kept} is not dropped: it was written to after it was archived: {proven['rows']} rows then,"
                f" {rows} now",
                hint=f"To archive it anew: UPDATE {terms.ledger}.detached SET state = 'detached' WHERE seq = {one.seq}",
            )

    # Nobody may write between the comparison and the drop.
    commands = [
        Command(f"LOCK TABLE {kept} IN ACCESS EXCLUSIVE MODE"),
        Command(_DIGEST.format(table=kept)),
        Command(f"DROP TABLE {kept} RESTRICT"),
    ]
    recording = [partition_record.dropped_command(terms.ledger, one.seq)]
    in_transaction(session, table, commands, terms, done, {}, recording, unchanged)
    done.note("dropped", one.kept, rows=str(proven["rows"]), archive=str(file))


def checksum(file: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while piece := opened.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _describe(file: Path, described: Mapping[str, Any]) -> None:
    with os.fdopen(
        os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
    ) as opened:
        opened.write(json.dumps(dict(described), indent=1, ensure_ascii=False) + "\n")
        opened.flush()
        os.fsync(opened.fileno())
