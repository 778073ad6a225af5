"""A session that can also carry rows from another session into its own, with COPY."""

from __future__ import annotations

import psycopg
from ansible.module_utils.rollout.connection import Session
from ansible.module_utils.rollout.errors import ConnectionFailed, StatementFailed


class TransferSession(Session):
    """A :class:`Session` outside of whose pipeline COPY can run: the protocol allows it in none."""

    def __enter__(self) -> TransferSession:
        return self

    def copy(self, source: TransferSession, take: str, put: str, *, place: str) -> None:
        """Carry rows over in pieces, so that memory does not grow with the table.

        :param source: where they are read
        :param take: ``COPY ... TO STDOUT``
        :param put: ``COPY ... FROM STDIN``
        :param place: what they are, for the error
        :raises StatementFailed: PostgreSQL refused; never with a value of a row
        :raises ConnectionFailed: one of the connections broke
        """
        self.round_trips += 2
        try:
            source._mode.close()
            self._mode.close()
            with (
                source._connection.cursor().copy(take.encode()) as rows,
                self._connection.cursor().copy(put.encode()) as target,
            ):
                for piece in rows:
                    target.write(piece)
        except psycopg.Error as error:
            if self.lost or source.lost:
                raise ConnectionFailed(
                    f"the connection was lost while carrying {place}: {str(error).strip()}",
                    hint="The server rolls everything back. Run again.",
                    details={"sqlstate": error.sqlstate},
                ) from None
            raise StatementFailed(
                f"{place}: SQLSTATE {error.sqlstate}: {error.diag.message_primary or str(error).strip()}",
                hint=error.diag.message_hint or "",
                details={"sqlstate": error.sqlstate, "place": place},
            ) from None
        finally:
            for session in (source, self):
                if not session.lost:
                    session._pipeline = session._mode.enter_context(session._connection.pipeline())
