"""Commands for one round trip, whose answers are asked for by name."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from ansible.module_utils.rollout import catalog
from ansible.module_utils.rollout.catalog import Catalog
from ansible.module_utils.rollout.connection import Command, Session

_CLOCK = Command("SELECT extract(epoch FROM clock_timestamp())::float8")


class Script:
    """A list of commands with names for those whose answers matter.

    >>> script = Script()
    >>> script.add(Command("SELECT 1"), name="one")
    >>> script.run(session)
    >>> script.rows("one")
    [(1,)]
    """

    def __init__(self) -> None:
        self._commands: list[Command] = []
        self._slots: dict[Hashable, slice] = {}
        self._answers: list[list[tuple[Any, ...]]] = []

    def add(self, *commands: Command, name: Hashable = None) -> None:
        """Append commands; with a name, their answers can be asked for after the run."""
        start = len(self._commands)
        self._commands += commands
        if name is not None:
            self._slots[name] = slice(start, len(self._commands))

    def add_catalog(self, schema: str, name: Hashable) -> None:
        """Append a reading of a schema; :meth:`catalog` gives it after the run."""
        self.add(*catalog.commands(schema), name=name)

    def add_clock(self, name: Hashable) -> None:
        """Append a look at the server's clock; :meth:`elapsed` takes the time between two of them."""
        self.add(_CLOCK, name=name)

    def run(self, session: Session) -> None:
        """Send everything in one round trip."""
        self._answers = session.run(self._commands)

    def rows(self, name: Hashable) -> list[tuple[Any, ...]]:
        """The rows that the last command of that name returned."""
        return self._answers[self._slots[name]][-1]

    def has(self, name: Hashable) -> bool:
        return name in self._slots

    def catalog(self, name: Hashable) -> Catalog:
        return catalog.from_rows(self._answers[self._slots[name]])

    def elapsed(self, start: Hashable, end: Hashable) -> float:
        """Seconds on the server's clock."""
        return float(self.rows(end)[0][0] - self.rows(start)[0][0])
