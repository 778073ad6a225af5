"""Bring back from a proven backup what is missing: tables with all that belongs to them, or the rows of empty tables.

The dump is restored beside first and compared with its record. From that copy the rows then go into the database, in
one transaction with everything else; before COMMIT every row and every object is compared with the record again.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ansible.module_utils.rollout import (
    backup,
    backup_contents,
    backup_manifest,
    backup_programs,
    backup_proof,
)
from ansible.module_utils.rollout.backup_contents import Contents, Identity
from ansible.module_utils.rollout.backup_manifest import Manifest
from ansible.module_utils.rollout.backup_settings import BackupSettings
from ansible.module_utils.rollout.errors import RestoreRefused
from ansible.module_utils.rollout.options import ConnectionOptions
from ansible.module_utils.rollout.restore_plan import Catalogs, RestoreSettings, label
from ansible.module_utils.rollout.restore_reading import Target, look
from ansible.module_utils.rollout.restore_transaction import Restoration
from ansible.module_utils.rollout.transfer import TransferSession
from ansible.module_utils.rollout.waiting import with_attempts


@dataclass(frozen=True)
class RestoreOutcome:
    """What was done, or would be.

    :ivar created: tables that were made, with their rows
    :ivar filled: tables that got rows
    :ivar moved_aside: tables that were moved into ``side_schema``
    :ivar equal: tables that held the backup's rows already
    :ivar left_alone: protected tables that the backup holds
    :ivar objects: what was made beside tables, such as functions
    :ivar rows: that came back
    :ivar reworded: objects that are the recorded ones, printed with other words
    :ivar locks: the strongest lock on each relation that existed before
    """

    changed: bool
    summary: str
    backup: dict[str, Any]
    created: tuple[str, ...]
    filled: tuple[str, ...]
    moved_aside: tuple[str, ...]
    side_schema: str
    equal: tuple[str, ...]
    left_alone: tuple[str, ...]
    objects: tuple[str, ...]
    rows: int
    reworded: tuple[str, ...] = ()
    locks: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def restore(options: ConnectionOptions, settings: RestoreSettings, *, check: bool = False) -> RestoreOutcome:
    """Restore what was asked for; a second call finds nothing to do.

    :param check: say what would be done, in a read-only session
    :raises RestoreRefused: before anything is changed, or with everything rolled back
    :raises BackupRefused: the backup is damaged, or its copy is not what its record says
    :raises StatementFailed: PostgreSQL refused something; everything was rolled back
    """
    began = time.perf_counter()
    manifest = backup_manifest.read(Path(settings.source))
    harmed = backup_manifest.damage(manifest)
    if harmed:
        raise RestoreRefused(f"the backup {manifest.folder} is damaged:\n  " + "\n  ".join(harmed))
    with backup.locked(manifest.folder.parent) if not check else contextlib.nullcontext():
        return _restore(options, settings, manifest, check, began)


def _restore(
    options: ConnectionOptions, settings: RestoreSettings, manifest: Manifest, check: bool, began: float
) -> RestoreOutcome:
    recorded: Catalogs = json.loads((manifest.folder / backup_manifest.CATALOG).read_text(encoding="utf-8"))
    with _session(options, settings, read_only=check) as session:
        # The session waits while the backup is restored beside, longer than providers let one be idle.
        session.run(["SET idle_session_timeout = 0"])
        identity = _identify(session, settings, manifest)
        major = session.server_version // 10_000
        tools = _tools(settings, manifest)
        programs = backup_programs.find_programs(settings.bin_dir, major)
        archive = backup_proof.list_archive(tools, programs, manifest.path, recorded)
        session.run(["BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "SET LOCAL row_security = off"])
        target = look(session, settings, manifest, recorded, archive)
        session.rollback()
        outcome = _described(settings, manifest, target)
        if check or (target.decided.nothing and not target.items):
            return replace(outcome, seconds=round(time.perf_counter() - began, 3))
        how, programs = backup_proof.choose_scratch(tools, target.outline.may_create_database, major)
        source = _recorded_contents(manifest, recorded, identity)
        with backup_proof.restored(options, tools, programs, how, source, archive, manifest.path) as (
            scratch,
            copy,
        ):
            wrong = backup_contents.differences(source, copy)
            if wrong:
                raise RestoreRefused(
                    "the backup restored beside is not what its record says; nothing was changed:\n  "
                    + "\n  ".join(wrong[:20]),
                    details={"differences": wrong},
                )
            work = Restoration(settings, manifest, recorded, target, programs, outcome.side_schema)
            with TransferSession(
                scratch.options, f"{settings.application_name} {settings.run_id} scratch"
            ) as beside:
                beside.run(["SET idle_session_timeout = 0"])
                (held, reworded), _ = with_attempts(
                    session,
                    lambda: work.carry_out(session, beside, copy),
                    attempts=settings.attempts,
                    pause_s=settings.retry_pause_s,
                    tables=[table for _, table in (*target.decided.fill, *target.decided.replace)],
                )
    return replace(
        outcome, locks=held, reworded=tuple(reworded), seconds=round(time.perf_counter() - began, 3)
    )


def _session(options: ConnectionOptions, settings: RestoreSettings, *, read_only: bool) -> TransferSession:
    return TransferSession(
        options,
        f"{settings.application_name} {settings.run_id} restore",
        read_only=read_only,
        lock_timeout_ms=settings.lock_timeout_ms,
        statement_timeout_ms=settings.timeout_s * 1000,
    )


def _tools(settings: RestoreSettings, manifest: Manifest) -> BackupSettings:
    """What the functions of backup.py need to know."""
    return BackupSettings(
        directory=str(manifest.folder.parent),
        scratch=settings.scratch,
        bin_dir=settings.bin_dir,
        run_id=settings.run_id,
        application_name=settings.application_name,
        lock_timeout_ms=settings.lock_timeout_ms,
        timeout_s=settings.timeout_s,
    )


def _identify(session: TransferSession, settings: RestoreSettings, manifest: Manifest) -> Identity:
    """Whether this is the database that was meant, by its typed name and by the backup's record.

    :raises RestoreRefused: it is not
    """
    session.run(["BEGIN READ ONLY"])
    identity = backup_contents.outline(session).identity
    session.rollback()
    if settings.confirm != identity.name:
        raise RestoreRefused(
            f"restore_confirm is {settings.confirm!r}, and the database is called {identity.name!r}",
            hint=f"To restore into it, type its name: -e restore_confirm={identity.name}",
        )
    same = manifest.identity.name == identity.name and manifest.identity.same_as(identity)
    if not same and not settings.other_database:
        raise RestoreRefused(
            f"the backup is of database {manifest.identity.name} (oid {manifest.identity.oid}, system"
            f" {manifest.identity.system_identifier}), this is {identity.name} (oid {identity.oid}, system"
            f" {identity.system_identifier})",
            hint="If that is what you want: -e restore_other_database=true",
        )
    return identity


def _described(settings: RestoreSettings, manifest: Manifest, target: Target) -> RestoreOutcome:
    decided = target.decided
    rows = {name: table.rows for name, table in manifest.tables.items()}
    coming = sum(rows.get(label(name), 0) for name in (*decided.create, *decided.fill))
    objects = [
        f"{item.kind.lower()} {item.schema}.{item.name}"
        for item in target.items
        if item.kind in ("AGGREGATE", "DOMAIN", "FUNCTION", "PROCEDURE", "SCHEMA", "TYPE", "VIEW")
    ]
    changed = not decided.nothing or bool(target.items)
    side = f"rollout_replaced_{secrets.token_hex(4)}" if decided.replace else ""
    parts = [
        f"created {_count(decided.create, 'table')}" if decided.create else "",
        f"filled {_count(decided.fill, 'table')}" if decided.fill else "",
        f"moved {_count(decided.replace, 'table')} aside into schema {side}" if decided.replace else "",
        f"created {_count(objects, 'other object')}" if objects else "",
        f"rows: {coming}" if coming else "",
    ]
    done = ", ".join(part for part in parts if part)
    return RestoreOutcome(
        changed=changed,
        summary=f"from {manifest.folder}: {done or 'nothing to do, everything is there'}",
        backup=backup.described(manifest),
        created=tuple(map(".".join, decided.create)),
        filled=tuple(map(".".join, decided.fill)),
        moved_aside=tuple(map(".".join, decided.replace)),
        side_schema=side,
        equal=tuple(map(".".join, decided.equal)),
        left_alone=tuple(map(".".join, decided.left_alone)),
        objects=tuple(objects),
        rows=coming,
    )


def _count(found: Sequence[object], what: str) -> str:
    return f"{len(found)} {what}{'' if len(found) == 1 else 's'}"


def _recorded_contents(manifest: Manifest, recorded: Catalogs, target: Identity) -> Contents:
    """The backup's record as it is compared with a copy; the copy must not be the target."""
    return Contents(
        identity=replace(
            manifest.identity, name=target.name, oid=target.oid, system_identifier=target.system_identifier
        ),
        at=manifest.snapshot_at,
        database_bytes=0,
        may_create_database=False,
        catalogs=recorded,
        rows=manifest.tables,
        without_rows=(),
        sequences=manifest.sequences,
        extensions=manifest.extensions,
    )
