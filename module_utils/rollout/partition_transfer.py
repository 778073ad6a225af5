"""A session that can also carry rows between a table and a file, with COPY."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import psycopg
from ansible.module_utils.rollout.connection import Session
from ansible.module_utils.rollout.errors import StatementFailed

_PIECE = 1 << 16


class Sink(Protocol):
    """What bytes can be written to: a file, or one that compresses."""

    def write(self, data: bytes, /) -> object: ...


class Source(Protocol):
    """What bytes can be read from."""

    def read(self, size: int, /) -> bytes: ...


class FileSession(Session):
    """A :class:`Session` outside of whose pipeline COPY can run: the protocol allows it in none."""

    def __enter__(self) -> FileSession:
        return self

    def copy_to_file(self, statement: str, file: Sink, *, place: str) -> None:
        """Write what ``COPY ... TO STDOUT`` gives.

        :param place: what it is, for the error
        :raises StatementFailed: PostgreSQL refused; never with a value of a row
        :raises ConnectionFailed: the connection broke
        """

        def take(copy: psycopg.Copy) -> None:
            for piece in copy:
                file.write(bytes(piece))

        self._copy(statement, take, place)

    def copy_from_file(self, file: Source, statement: str, *, place: str) -> None:
        """Give a file to ``COPY ... FROM STDIN``; the same errors."""

        def put(copy: psycopg.Copy) -> None:
            while piece := file.read(_PIECE):
                copy.write(piece)

        self._copy(statement, put, place)

    def _copy(self, statement: str, carry: Callable[[psycopg.Copy], Any], place: str) -> None:
        self.round_trips += 2
        try:
            self._mode.close()
            with self._connection.cursor().copy(statement.encode()) as copy:
                carry(copy)
        except psycopg.Error as error:
            if self.lost:
                raise self._connection_lost(error) from None
            raise StatementFailed(
                f"{place}: SQLSTATE {error.sqlstate}: {error.diag.message_primary or str(error).strip()}",
                hint=error.diag.message_hint or "",
                details={"sqlstate": error.sqlstate, "place": place},
            ) from None
        finally:
            if not self.lost:
                self._pipeline = self._mode.enter_context(self._connection.pipeline())
