"""The database side of a run of apply.yml: the sessions that its roles open, one after the other, with their times."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ansible.module_utils.rollout import migrate
from ansible.module_utils.rollout.connection import Session
from ansible.module_utils.rollout.execution import Settings
from ansible.module_utils.rollout.inspection import inspect
from ansible.module_utils.rollout.migrate import OpenSession
from ansible.module_utils.rollout.migration import Migration
from ansible.module_utils.rollout.options import ConnectionOptions

from benchmarks.distance import Way

T = TypeVar("T")


class TimedSession(Session):
    """A session that knows how long it was open, connecting and closing included."""

    def __init__(self, options: ConnectionOptions, *, read_only: bool) -> None:
        self._began = time.perf_counter()
        self.open_seconds = 0.0
        super().__init__(options, "rollout benchmark", read_only=read_only)

    def close(self) -> None:
        super().close()
        self.open_seconds = time.perf_counter() - self._began


#: Name of the phase that role verify spends: what stands afterwards, compared with the ledger.
COMPARISON = "comparison"


@dataclass(frozen=True)
class Phase:
    """What one task of a run spent with the database.

    :ivar seconds: from before connecting to after closing, over all its sessions
    :ivar round_trips: connecting included; 0 where nobody counts
    """

    name: str
    seconds: float
    round_trips: int


class Run:
    """One run: the tasks that open sessions, in the roles' order.

    :param keywords: libpq's connection keywords
    :param way: counts round trips
    """

    def __init__(self, keywords: Mapping[str, Any], way: Way) -> None:
        self.phases: list[Phase] = []
        self._options = ConnectionOptions(**{**keywords, "port": way.port})
        self._way = way

    def apply(self, migrations: Sequence[Migration], settings: Settings) -> None:
        """Rehearse, bring every pending migration into force with the rehearsal handed over, compare the catalog.

        :raises RuntimeError: the outcome is not what apply.yml would accept
        """
        rehearsed = self._phase(
            "rehearsal", lambda opened: migrate.rehearsed(opened, migrations, settings, check=False)
        )
        for described in rehearsed.migrations:
            if described["pending"]:
                self._phase(
                    f"migration {described['label']}",
                    lambda opened, number=described["id"]: migrate.present(  # type: ignore[misc]
                        opened, migrations, number, settings, check=False, given=rehearsed.rehearsal
                    ),
                )
        self._phase(COMPARISON, lambda opened: self._compare(opened, migrations, settings), read_only=True)

    @staticmethod
    def _compare(opened: OpenSession, migrations: Sequence[Migration], settings: Settings) -> None:
        with opened() as session:
            found = inspect(session, settings.schema, settings.ledger)
        if found.differences or len(found.recorded) != len(migrations):
            raise RuntimeError(
                f"{len(found.differences)} differences, {len(found.recorded)} migrations recorded"
            )

    def _phase(self, name: str, work: Callable[[OpenSession], T], *, read_only: bool = False) -> T:
        sessions: list[TimedSession] = []

        def open_session() -> Session:
            sessions.append(TimedSession(self._options, read_only=read_only))
            return sessions[-1]

        before = self._way.round_trips
        result = work(open_session)
        seconds = sum(session.open_seconds for session in sessions)
        self.phases.append(Phase(name, seconds, self._way.round_trips - before))
        return result

    @property
    def seconds(self) -> float:
        """Of the apply: rehearsal and migrations, each with its proofs; the comparison belongs to role verify."""
        return sum(phase.seconds for phase in self._applying)

    @property
    def round_trips(self) -> int:
        """Of the apply."""
        return sum(phase.round_trips for phase in self._applying)

    @property
    def _applying(self) -> list[Phase]:
        return [phase for phase in self.phases if phase.name != COMPARISON]
