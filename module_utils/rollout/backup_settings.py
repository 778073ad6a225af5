"""What a backup is asked for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BackupSettings:
    """What to take and where to put it.

    :ivar directory: absolute path on this host
    :ivar schemas: these alone; empty for all
    :ivar tables: only the rows of these (and of what they refer to); empty for all
    :ivar label: what it is for; small letters, digits and ``-``
    :ivar scratch: ``auto``, ``database``, ``local`` or ``none``
    :ivar keep_count: newest backups of this label to keep; 0 for no limit
    :ivar keep_days: age up to which they are kept, days; 0 for no limit
    :ivar max_age_minutes: for :func:`verify`; 0 for any age
    :ivar bin_dir: folder of PostgreSQL's programs; empty looks for them
    :ivar lock_timeout_ms: longest wait for a lock on a table, milliseconds
    :ivar turn_timeout_s: longest wait for another backup in the same folder, seconds
    :ivar timeout_s: longest run of one program, seconds
    """

    directory: str
    schemas: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    label: str = "backup"
    scratch: str = "auto"
    keep_count: int = 0
    keep_days: int = 0
    max_age_minutes: int = 0
    bin_dir: str = ""
    run_id: str = "by hand"
    application_name: str = "rollout"
    lock_timeout_ms: int = 1500
    turn_timeout_s: int = 900
    timeout_s: int = 3600
