"""One database session: how it is opened, how commands travel, and how PostgreSQL's errors become ours.

Commands are sent in psycopg's pipeline mode: however many there are, they cost one round trip. Production's database
is 20 to 50 ms away, and a run is made of hundreds of commands.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import psycopg
from ansible.module_utils.rollout.errors import ConnectionFailed, StatementFailed
from ansible.module_utils.rollout.options import ConnectionOptions
from psycopg import pq

#: Settings that decide how the catalog prints itself and how SQL is read. They are fixed, so that two readings can be
#: compared, and so that the server reads what was checked.
_PRINTING = {
    "timezone": "UTC",
    "datestyle": "ISO,YMD",
    "intervalstyle": "postgres",
    "extra_float_digits": "1",
    "quote_all_identifiers": "off",
    "client_min_messages": "notice",
    # As the parser on the control node reads texts.
    "standard_conforming_strings": "on",
    "check_function_bodies": "on",
}
#: A killed runner's backend notices within this time that nobody listens any more (PostgreSQL 14 and later).
_CONNECTION_CHECK_MS = 200
#: The server notices within half a minute that the network to us is gone, and lets the locks go.
_KEEPALIVES = {
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
#: A runner that hangs inside its transaction must not keep its locks for ever.
_IDLE_IN_TRANSACTION_MS = 60_000


#: What to do, by SQLSTATE, where PostgreSQL itself gives no hint.
_STATEMENT_HINTS = {
    "57014": "Somebody cancelled it, or statement_timeout was reached (schema_statement_timeout_ms). Run again.",
    "53100": "The server's disk is full. Make room, then run again.",
    "53300": "The server has no connection left. Run again when the load is lower.",
    "25006": "The session or the server is read-only: a standby, or a failover happened. Look at pg_host.",
    "42501": "The role lacks a right; the database's owner can grant it.",
}


@dataclass(frozen=True)
class Command:
    """One statement to send.

    :ivar place: template and line, for the error when it fails; empty for the rollout's own commands
    """

    sql: str
    parameters: Sequence[Any] | Mapping[str, Any] | None = None
    place: str = ""


@dataclass(frozen=True)
class Notice:
    """A message that PostgreSQL sent beside the results. Judged by SQLSTATE: servers speak other languages."""

    sqlstate: str
    severity: str
    message: str


class Session:
    """An open session. All commands go through :meth:`run`, which counts round trips.

    :param options: where to connect
    :param application_name: what ``pg_stat_activity`` shows; holds the run id, never a secret
    :param read_only: open it so that the server refuses every write, for check mode
    :param lock_timeout_ms: longest wait for one lock, milliseconds
    :param statement_timeout_ms: longest run of one statement, milliseconds
    :raises ConnectionFailed: with the server's own words and what to look at
    """

    def __init__(
        self,
        options: ConnectionOptions,
        application_name: str,
        *,
        read_only: bool = False,
        lock_timeout_ms: int = 1500,
        statement_timeout_ms: int = 60_000,
    ) -> None:
        self.options = options
        self.notices: list[Notice] = []
        self.round_trips = 0
        self.read_only = read_only
        settings = {
            **_PRINTING,
            "client_connection_check_interval": str(_CONNECTION_CHECK_MS),
            "idle_in_transaction_session_timeout": str(_IDLE_IN_TRANSACTION_MS),
            "lock_timeout": str(lock_timeout_ms),
            "statement_timeout": str(statement_timeout_ms),
            # Not "off" otherwise: a provider or an operator may have fenced the database off, which is to be seen.
            **({"default_transaction_read_only": "on"} if read_only else {}),
            **_KEEPALIVES,
        }
        if options.service_file:
            # libpq reads the place of the service file from the environment only (a keyword comes with libpq 18).
            os.environ["PGSERVICEFILE"] = options.service_file
        self._opened = time.perf_counter()
        try:
            self._connection = psycopg.connect(
                **options.keywords(),
                application_name=application_name[:63],
                options=" ".join(f"-c {name}={value}" for name, value in settings.items()),
                autocommit=True,
                client_encoding="UTF8",
                # Poolers cannot keep prepared statements apart; a DDL run gains nothing from them.
                prepare_threshold=None,
                keepalives_idle=10,
                keepalives_interval=5,
                keepalives_count=3,
                tcp_user_timeout=30_000,
            )
        except psycopg.Error as error:
            raise ConnectionFailed(
                f"cannot connect to {options.target}: {str(error).strip()}",
                hint=_connection_hint(str(error)),
                details={"sqlstate": error.sqlstate},
            ) from None
        self._connection.add_notice_handler(self._note)
        # Entered once and synchronized after each round trip. Leaving it each time would end every round trip with a
        # Flush after the Sync, and the server would not start idle_in_transaction_session_timeout (psycopg 3.3.9).
        self._mode = contextlib.ExitStack()
        self._pipeline = self._mode.enter_context(self._connection.pipeline())

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()
        # Bookkeeping only, and it says that the connection is closed; doing it before would cost a round trip.
        with contextlib.suppress(psycopg.OperationalError):
            self._mode.close()

    @property
    def seconds(self) -> float:
        """Time since before the connection was opened, seconds."""
        return time.perf_counter() - self._opened

    @property
    def backend_pid(self) -> int:
        return self._connection.info.backend_pid

    @property
    def server_version(self) -> int:
        """As ``server_version_num``: 150018 for 15.18."""
        return self._connection.info.server_version

    @property
    def in_transaction(self) -> bool:
        return self._connection.info.transaction_status != pq.TransactionStatus.IDLE

    @property
    def lost(self) -> bool:
        """Whether the connection is gone."""
        return bool(self._connection.closed or self._connection.broken)

    def run(self, commands: Iterable[Command | str]) -> list[list[tuple[Any, ...]]]:
        """Send commands in one round trip and return the rows of each, in order.

        :raises StatementFailed: naming the command that failed; those after it were not executed
        :raises ConnectionFailed: the connection broke; whether the last commands took effect is not known
        """
        sent = [Command(command) if isinstance(command, str) else command for command in commands]
        cursors: list[psycopg.Cursor[Any]] = []
        self.round_trips += 1
        try:
            for command in sent:
                cursors.append(self._connection.cursor())
                cursors[-1].execute(command.sql.encode(), command.parameters)
            self._pipeline.sync()
        except psycopg.Error as error:
            self._drain()
            if self.lost:
                raise self._connection_lost(error) from None
            failed = next(
                (at for at, cursor in enumerate(cursors) if cursor.pgresult is None), len(cursors) - 1
            )
            raise _statement_failed(error, sent[failed]) from None
        return [cursor.fetchall() if cursor.description else [] for cursor in cursors]

    def run_alone(self, command: Command) -> None:
        """Send one command outside any pipeline: PostgreSQL refuses CREATE INDEX CONCURRENTLY inside one.

        :raises StatementFailed: the command failed
        :raises ConnectionFailed: the connection broke
        """
        self.round_trips += 2
        try:
            self._mode.close()
            self._connection.execute(command.sql.encode(), command.parameters)
        except psycopg.Error as error:
            if self.lost:
                raise self._connection_lost(error) from None
            raise _statement_failed(error, command) from None
        finally:
            if not self.lost:
                self._pipeline = self._mode.enter_context(self._connection.pipeline())

    def _drain(self) -> None:
        """Collect what the commands after a failed one left: each says only that it was not executed."""
        while not self.lost:
            try:
                self._pipeline.sync()
            except psycopg.errors.PipelineAborted:
                continue
            except psycopg.OperationalError:
                if not self.lost:
                    raise
            else:
                return

    def _connection_lost(self, error: psycopg.Error) -> ConnectionFailed:
        return ConnectionFailed(
            f"the connection to {self.options.target} was lost: {str(error).strip()}",
            hint="The server ended the session or the network broke. A transaction that was open is rolled back by the"
            " server. Run again.",
            details={"sqlstate": error.sqlstate},
        )

    def rollback(self) -> None:
        """End an open transaction without keeping anything; does nothing when there is none or the session is gone."""
        if not self.lost and self.in_transaction:
            self.run(["ROLLBACK"])

    def _note(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        self.notices.append(
            Notice(
                sqlstate=diagnostic.sqlstate or "",
                severity=diagnostic.severity_nonlocalized or "",
                message=diagnostic.message_primary or "",
            )
        )


def _statement_failed(error: psycopg.Error, command: Command) -> StatementFailed:
    """PostgreSQL's error as ours. Its DETAIL is left out: it can hold values of rows."""
    diagnostic = error.diag
    statement = " ".join(command.sql.split())[:500]
    where = f"{command.place}: " if command.place else ""
    return StatementFailed(
        f"{where}SQLSTATE {error.sqlstate}: {diagnostic.message_primary or str(error).strip()}\n  in: {statement}",
        hint=diagnostic.message_hint or _STATEMENT_HINTS.get(error.sqlstate or "", ""),
        details={
            "sqlstate": error.sqlstate,
            "statement": statement,
            "place": command.place,
            "schema": diagnostic.schema_name,
            "table": diagnostic.table_name,
            "column": diagnostic.column_name,
            "constraint": diagnostic.constraint_name,
        },
    )


def _connection_hint(text: str) -> str:
    """What to look at, by words that libpq itself (not the server, which may speak another language) prints."""
    hints = {
        "resolve host": "Look at pg_host.",
        "Name or service not known": "Look at pg_host.",
        "certificate": "The server's certificate does not satisfy sslmode; look at pg_sslrootcert and the host name.",
        "does not support SSL": "sslmode demands TLS and the server offers none; it is not downgraded silently.",
        "password": "Look at the user and the password (pg_user, pg_password or pg_passfile).",
        "could not translate host name": "Look at pg_host.",
        "service": "Look at pg_service and pg_service_file.",
        "timeout": "Look at pg_host, pg_port and the firewall between this host and the database.",
        "refused": "Nothing listens there; look at pg_host and pg_port.",
        "client_connection_check_interval": "The server is older than PostgreSQL 14, the oldest supported.",
    }
    return next((hint for word, hint in hints.items() if word in text), "")
