"""What a chain becomes: SQL with places, and what goes around it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from ansible.module_utils.rollout.audit.chain import Payload
from ansible.module_utils.rollout.audit.live_schema import FunctionFacts
from ansible.module_utils.rollout.audit.translate_draft import Gap, Use
from ansible.module_utils.rollout.audit.translate_sql import Place, Sql

#: How the rows are handed to the caller.
ALL_ROWS, SINGLE, MAYBE_SINGLE = "rows", "single", "maybeSingle"


@dataclass(frozen=True)
class Answer:
    """What the caller gets.

    :ivar shape: :data:`ALL_ROWS`, :data:`SINGLE` or :data:`MAYBE_SINGLE`
    :ivar throws: an error is thrown instead of returned
    """

    shape: str = ALL_ROWS
    throws: bool = False


@dataclass(frozen=True)
class Read:
    """A select.

    :ivar rows: the SELECT; empty when only the count is wanted
    :ivar head: no rows are wanted
    :ivar count: SELECT of the number of rows without LIMIT; empty when it is not wanted
    :ivar offset: of ``.range()``: past the end is an error when the count is wanted
    """

    rows: Sql
    count: Sql
    answer: Answer
    offset: Place | None = None
    head: bool = False


@dataclass(frozen=True)
class Write:
    """An insert, upsert, update or delete. The columns that are written are the keys of the rows that come.

    :ivar target: the table as SQL
    :ivar conflict: columns of ON CONFLICT; ``None`` for a plain INSERT
    :ivar merge: DO UPDATE, not DO NOTHING
    :ivar where: of update and delete
    :ivar returned: SELECT from ``pgrst_source``; empty when nothing is returned
    :ivar counted: the number of rows is wanted
    """

    operation: str
    table: str
    target: str
    answer: Answer
    payload: Payload | None = None
    conflict: tuple[str, ...] | None = None
    merge: bool = True
    where: Sql = ()
    returned: Sql = ()
    counted: bool = False


@dataclass(frozen=True)
class Call:
    """A function's call.

    :ivar rows: the SELECT; a NUL in it stands for the function with its arguments
    """

    function: FunctionFacts
    target: str
    rows: Sql
    answer: Answer
    payload: Payload | None = None


Query: TypeAlias = "Read | Write | Call"


@dataclass(frozen=True)
class Translation:
    """A chain for one table.

    :ivar table: table or function; empty when it is not known
    :ivar query: everything that is known; ``None`` when not even the table or the operation is
    :ivar rules: ids of :mod:`translate_rules` that were used, in order
    :ivar uses: names that have to be in the schema
    :ivar gaps: what was left out, and why; none: the SQL is the chain
    """

    table: str
    query: Query | None
    rules: tuple[str, ...] = ()
    uses: tuple[Use, ...] = ()
    gaps: tuple[Gap, ...] = field(default=())

    @property
    def exact(self) -> bool:
        """Whether the library can have a function for it."""
        return self.query is not None and not any(gap.library for gap in self.gaps)
