"""The record beside each dump, and what can be decided from records alone: which backup counts, which may go.

A backup is a folder of three files that appears by one rename, so that a half-made one has no name::

    20251109T183000Z-before-rollout-4f1c/
        database.dump    what pg_dump -Fc wrote
        catalog.json     schema -> object -> attributes, as pg_catalog_info reads them
        manifest.json    this record
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ansible.module_utils.rollout.backup_contents import Identity, TableRows
from ansible.module_utils.rollout.errors import BackupRefused

#: Raised when the shape of manifest.json changes.
FORMAT = 1
DUMP = "database.dump"
CATALOG = "catalog.json"
MANIFEST = "manifest.json"
_CHUNK = 1024 * 1024


@dataclass(frozen=True)
class StoredFile:
    """One file of a backup.

    :ivar sha256: hexadecimal
    """

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Proof:
    """How it was shown that the dump can be restored.

    :ivar how: ``database``, ``local`` or ``none``
    :ivar where: in words: which database or server
    :ivar equal: whether the restored copy had the same catalog, rows and checksums
    :ivar seconds: for making the target, restoring and comparing
    :ivar extensions_missing: extensions of the source that the target could not have
    """

    how: str
    where: str
    equal: bool
    seconds: float
    extensions_missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """What is known about one backup.

    :ivar folder: where it lies; not part of the record
    :ivar snapshot_at: UTC, ISO 8601; the dump and the counts show this moment
    :ivar selected_schemas: empty: all
    :ivar selected_tables: empty: the rows of all
    :ivar tables: rows, bytes and checksum of each table whose rows are in the dump
    :ivar sequences: last value, whether it was given out, direction
    :ivar extensions: of the source: name -> schema
    :ivar fingerprint: SHA-256 over the portable catalogs
    """

    folder: Path
    label: str
    run_id: str
    identity: Identity
    snapshot_at: str
    finished_at: str
    program: str
    selected_schemas: tuple[str, ...]
    selected_tables: tuple[str, ...]
    tables: Mapping[str, TableRows]
    sequences: Mapping[str, tuple[int, bool, int]]
    extensions: Mapping[str, str]
    fingerprint: str
    dump: StoredFile
    catalog: StoredFile
    proof: Proof
    warnings: tuple[str, ...] = field(default=())

    @property
    def path(self) -> Path:
        """The dump itself."""
        return self.folder / self.dump.name

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables.values())

    @property
    def made_at(self) -> datetime.datetime:
        return datetime.datetime.fromisoformat(self.snapshot_at)

    def age_minutes(self, now: datetime.datetime) -> float:
        """Minutes since the snapshot."""
        return (now - self.made_at).total_seconds() / 60

    def as_json(self) -> dict[str, Any]:
        record = asdict(self)
        del record["folder"]
        return {"format": FORMAT, **record}


def write(manifest: Manifest) -> None:
    """Write ``manifest.json`` into the manifest's folder."""
    text = json.dumps(manifest.as_json(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    write_private(manifest.folder / MANIFEST, text.encode())


def read(place: Path) -> Manifest:
    """Read a backup's record.

    :param place: the backup's folder, its manifest or its dump
    :raises BackupRefused: there is no record, or it is not one that this version understands
    """
    folder = place if place.is_dir() else place.parent
    try:
        record = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BackupRefused(
            f"{folder} holds no {MANIFEST}",
            hint="Name the folder of a backup that pg_backup made, or a file in it.",
        ) from None
    except (ValueError, OSError) as error:
        raise BackupRefused(f"{folder / MANIFEST} cannot be read: {error}") from None
    try:
        if record.pop("format") != FORMAT:
            raise ValueError("it has another format")
        return Manifest(
            **{
                **record,
                "folder": folder,
                "identity": Identity(**record["identity"]),
                "tables": {label: TableRows(**table) for label, table in record["tables"].items()},
                "sequences": {label: (v[0], v[1], v[2]) for label, v in record["sequences"].items()},
                "dump": _stored(record["dump"], DUMP),
                "catalog": _stored(record["catalog"], CATALOG),
                "proof": Proof(
                    **{**record["proof"], "extensions_missing": tuple(record["proof"]["extensions_missing"])}
                ),
                "selected_schemas": tuple(record["selected_schemas"]),
                "selected_tables": tuple(record["selected_tables"]),
                "warnings": tuple(record["warnings"]),
            }
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise BackupRefused(
            f"{folder / MANIFEST} is not a record of format {FORMAT}: {error}",
            hint="It was changed by hand or made by another version.",
        ) from None


def _stored(record: Mapping[str, Any], name: str) -> StoredFile:
    """A file's record; its name is fixed, so that a record cannot point outside of its folder."""
    if record["name"] != name:
        raise ValueError(f"it names {record['name']!r} instead of {name}")
    return StoredFile(**record)


def store(path: Path) -> StoredFile:
    """Describe a file, reading it in pieces."""
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return StoredFile(path.name, size, digest.hexdigest())


def damage(manifest: Manifest) -> list[str]:
    """How the files differ from the record; empty when they are as they were made. Reads every byte."""
    lines = []
    for recorded in (manifest.dump, manifest.catalog):
        path = manifest.folder / recorded.name
        try:
            found = store(path)
        except OSError as error:
            lines.append(f"{path} cannot be read: {error.strerror}")
            continue
        if found.bytes != recorded.bytes:
            lines.append(f"{path} has {found.bytes} bytes, recorded are {recorded.bytes}")
        elif found.sha256 != recorded.sha256:
            lines.append(f"{path} was changed: its SHA-256 is not the recorded one")
    return lines


def shortcomings(
    manifest: Manifest,
    identity: Identity,
    *,
    schemas: Sequence[str],
    tables: Sequence[str],
    max_age_minutes: int,
    now: datetime.datetime,
) -> list[str]:
    """Why a backup does not count for this database; empty when it does. Looks at the record alone.

    :param identity: of the database that is to be protected
    :param schemas: what the backup must have been asked for
    :param tables: likewise
    :param max_age_minutes: 0 for any age
    :param now: with a zone
    """
    lines = []
    if manifest.identity.name != identity.name or not manifest.identity.same_as(identity):
        lines.append(
            f"it is of another database: {manifest.identity.name} (oid {manifest.identity.oid}, system"
            f" {manifest.identity.system_identifier}), not {identity.name} (oid {identity.oid}, system"
            f" {identity.system_identifier})"
        )
    if not manifest.proof.equal:
        lines.append("it was never proven by a restore")
    if set(manifest.selected_schemas) != set(schemas) or set(manifest.selected_tables) != set(tables):
        lines.append("it holds another selection of schemas and tables")
    age = manifest.age_minutes(now)
    if age < -1:
        lines.append(f"its snapshot of {manifest.snapshot_at} lies in the future: a clock is wrong")
    elif max_age_minutes and age > max_age_minutes:
        lines.append(f"it is {age:.0f} minutes old, allowed are {max_age_minutes}")
    return lines


def superseded(
    manifests: Sequence[Manifest],
    current: Manifest,
    *,
    keep_count: int,
    keep_days: int,
    now: datetime.datetime,
) -> list[Manifest]:
    """Which backups may be removed: beyond the count or the age, of the same database, label and selection.

    Never the current one, never the newest proven one, and nothing of another label: what a rollback exported is the
    only copy of those rows.

    :param keep_count: newest to keep; 0 for no limit
    :param keep_days: oldest age to keep, days; 0 for no limit
    """
    alike = [
        manifest
        for manifest in manifests
        if manifest.label == current.label
        and manifest.identity.name == current.identity.name
        and manifest.identity.same_as(current.identity)
        and set(manifest.selected_schemas) == set(current.selected_schemas)
        and set(manifest.selected_tables) == set(current.selected_tables)
        and manifest.folder != current.folder
    ]
    newest_first = sorted([*alike, current], key=lambda manifest: manifest.made_at, reverse=True)
    proven = [manifest.folder for manifest in newest_first if manifest.proof.equal]
    kept = {current.folder, *proven[:1]}
    return [
        manifest
        for rank, manifest in enumerate(newest_first)
        if manifest.folder not in kept
        and (
            (keep_count and rank >= keep_count)
            or (keep_days and manifest.age_minutes(now) > keep_days * 1440)
        )
    ]


def write_private(path: Path, content: bytes) -> None:
    """Write a file with mode 0600 and make it last; it must not exist."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
