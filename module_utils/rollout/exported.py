"""Rows that a proven backup holds: what may go when a migration is taken back, because it can be brought back."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.rollout import backup_contents, backup_manifest
from ansible.module_utils.rollout.connection import Command, Session
from ansible.module_utils.rollout.errors import RemovalRefused


def rows_in(session: Session, place: str) -> Mapping[str, Mapping[str, Any]]:
    """Rows and checksum of each table in a backup that counts for the session's database. Reads only.

    :param place: the backup's folder or a file in it, on the machine that this runs on
    :returns: by the table's quoted name
    :raises RemovalRefused: it was not proven, was changed since, or is of another database
    :raises BackupRefused: it is no backup
    """
    manifest = backup_manifest.read(Path(place))
    session.run([Command("BEGIN READ ONLY")])
    identity = backup_contents.outline(session).identity
    session.rollback()
    wrong = backup_manifest.shortcomings(
        manifest,
        identity,
        schemas=manifest.selected_schemas,
        tables=manifest.selected_tables,
        max_age_minutes=0,  # however old it is: the rows are compared one by one with what stands now
        now=datetime.datetime.now(datetime.timezone.utc),
    ) or backup_manifest.damage(manifest)
    if wrong:
        raise RemovalRefused(
            f"the export {manifest.folder} does not count: {'; '.join(wrong)}",
            hint="Nothing was dropped. Let playbooks/rollback.yml make a new one.",
        )
    return {
        label: {"rows": table.rows, "checksum": table.checksum} for label, table in manifest.tables.items()
    }
