"""What the precheck judges: the answers that were read, and what the inventory demands of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class Known:
    """The answers, by who was asked; an answer that was not had is absent.

    :ivar control: of the control node
    :ivar host: of the application host
    :ivar database: of the database, as ``precheck_database_reading`` gives them
    :ivar application: of PM2 (``services``) and of the WhatsApp client (``whatsapp``)
    """

    control: Mapping[str, Any] = field(default_factory=dict)
    host: Mapping[str, Any] = field(default_factory=dict)
    database: Mapping[str, Any] = field(default_factory=dict)
    application: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FlagDemand:
    """What a variable of the application's environment has to be.

    :ivar expected: empty: it is reported only
    :ivar unset: what the application takes a file without it for; empty: nothing
    """

    name: str
    expected: str = ""
    unset: str = ""


@dataclass(frozen=True)
class Job:
    """Something that acts on its own at a time of day, UTC.

    :ivar start: ``HH:MM``
    :ivar minutes: how long it lasts
    """

    name: str
    start: str
    minutes: int


@dataclass(frozen=True)
class Demands:
    """What the inventory demands. Empty texts and lists, and 0, are not asked for, unless said otherwise.

    :ivar disk_free_mb: on every path that was measured
    :ivar backup_free_mb: where backups go, beside what the database itself takes
    :ivar backup_dir: where backups go
    :ivar checkout: whether ``app_dir`` is a checkout at all
    :ivar commit: a full commit id, or the beginning of one
    :ivar tools: PostgreSQL's client programs that must be there
    :ivar window_minutes: how long the run may take, watch included
    :ivar writes: whether the run that follows writes
    :ivar schema: that the migrations work in
    :ivar ledger: schema of the ledger
    :ivar protected: the application's tables
    :ivar configured_sslmode: as the inventory sets it; empty where a service file does
    :ivar sslmode: weakest that is accepted
    :ivar connections_needed: sessions that the rollout itself may have open at once
    :ivar application_connections: that the application may have open: pools times their size
    :ivar shortest_timeout_s: a limit on sessions that is set must be at least this long
    :ivar long_transaction_s: a transaction older than this is one too many
    :ivar idle_in_transaction_s: a session that holds a transaction open and does nothing for longer, too
    :ivar services: names in PM2
    :ivar detaches: whether a maintained table has a retention
    """

    disk_free_mb: int = 2048
    backup_free_mb: int = 1024
    backup_dir: str = ""
    checkout: bool = True
    commit: str = ""
    tools: Sequence[str] = ("pg_dump", "pg_restore", "psql")
    flags: Sequence[FlagDemand] = ()
    jobs: Sequence[Job] = ()
    window_minutes: int = 60
    writes: bool = True
    schema: str = "public"
    ledger: str = "rollout"
    protected: Sequence[str] = ()
    configured_sslmode: str = ""
    sslmode: str = "verify-full"
    connections_needed: int = 5
    application_connections: int = 0
    shortest_timeout_s: int = 60
    time_zone: str = ""
    encoding: str = "UTF8"
    long_transaction_s: int = 60
    idle_in_transaction_s: int = 10
    services: Sequence[str] = ()
    detaches: bool = False
