"""Sample rows as SQL: keys that no real row has, references between rows, literals. Pure.

Every number is negative and holds the session's backend pid: no sequence gives such a number, and two checklists at the
same time do not wait for each other's keys.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible.module_utils.rollout.catalog import Entry
from ansible.module_utils.rollout.checklist_samples import PLACEHOLDER, Samples
from ansible.module_utils.rollout.checklist_shape import ForeignKey, Shape
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.partition_reading import quoted

_WHOLE_NUMBERS = ("integer", "bigint")
#: ``free`` numbers of a first row, of another one, and keys that are filled in: each has its own range.
_ANOTHER, _KEYS, _NOBODY, _ALL = 250, 500, 9_999, 10_000


class SampleError(RolloutError):
    """The samples do not fit the tables that they are for."""


class Rows:
    """The sample rows of a schema.

    :param backend_pid: of the session that writes them
    :param untouchable: table -> why nothing may be written to it
    """

    def __init__(
        self, shape: Shape, samples: Samples, backend_pid: int, untouchable: Mapping[str, str] | None = None
    ) -> None:
        self.shape = shape
        self.samples = samples
        # As an integer has room for.
        self._first_free = -(100_000_000 + backend_pid % 200_000 * _ALL)
        self.untouchable = dict(untouchable or {})
        self._numbers = {table: at for at, table in enumerate(shape.tables)}
        self._filled: dict[tuple[str, bool], dict[str, str]] = {}

    def free(self, number: int) -> int:
        """A number that no real row has; the same number gives the same one in all items of a run."""
        return self._first_free - number

    @property
    def nobody(self) -> int:
        """A key that no row at all has."""
        return self.free(_NOBODY)

    def row(self, table: str) -> Mapping[str, str]:
        """Column -> SQL literal of the good row."""
        return self._row(table, False)

    def another(self, table: str) -> Mapping[str, str]:
        """The same of a second row that may stand beside it."""
        return self._row(table, True)

    def why_not(self, table: str, above: tuple[str, ...] = ()) -> str:
        """Why a table has no sample row that could be inserted; empty when it has one.

        :param above: tables that were asked already: they may refer to each other in a circle
        """
        if table in self.untouchable:
            return self.untouchable[table]
        if table not in self.samples.rows:
            return f"{table} has no row in the samples"
        if numbered := self._numbered_otherwise(table):
            return f"{table}.{numbered} takes its value from a sequence, which must not move; the samples give none"
        for key in self._needed(table):
            if key.parent not in self.shape.tables:
                return f"{table} refers to {key.parent}, which no migration made and nothing is written to"
            if key.parent not in (*above, table) and (why := self.why_not(key.parent, (*above, table))):
                return why
        return ""

    def _numbered_otherwise(self, table: str) -> str:
        """A column whose default moves a sequence, and that cannot be filled in."""
        given = self.samples.rows[table]
        return next(
            (
                column
                for column, entry in self.shape.tables[table].items()
                if column not in given
                and "nextval(" in str(entry.get("default", ""))
                and not _fillable(entry)
            ),
            "",
        )

    def order(self, tables: Iterable[str] | None = None) -> list[str]:
        """Tables whose good row can be inserted, parents first.

        :param tables: only these, and what they refer to
        """
        found: list[str] = []

        def add(table: str, above: tuple[str, ...]) -> None:
            for key in self._needed(table):
                if key.parent not in (*above, table):
                    add(key.parent, (*above, table))
            if table not in found:
                found.append(table)

        for table in self.shape.tables if tables is None else tables:
            if not self.why_not(table):
                add(table, ())
        return found

    def setting(self, tables: Iterable[str] | None = None) -> list[tuple[str, str]]:
        """Table and INSERT of good rows, parents first; see :meth:`order`."""
        return [(table, self.insert(table, self.row(table))) for table in self.order(tables)]

    def insert(self, table: str, values: Mapping[str, str]) -> str:
        """An INSERT with literals; a key is written even where the table would always supply it."""
        columns = ", ".join(quoted(column) for column in values)
        return f"INSERT INTO {quoted(table)} ({columns}) OVERRIDING SYSTEM VALUE VALUES ({', '.join(values.values())})"

    def update(self, table: str, values: Mapping[str, str], row: Mapping[str, str] | None = None) -> str:
        """An UPDATE of the good row, or of another one."""
        assigned = ", ".join(f"{quoted(column)} = {value}" for column, value in values.items())
        return f"UPDATE {quoted(table)} SET {assigned} WHERE {self.where(table, row)}"

    def where(self, table: str, row: Mapping[str, str] | None = None) -> str:
        """The condition that finds the good row, or another one.

        :raises SampleError: the table has no primary key by which to find it
        """
        values = self.row(table) if row is None else row
        known = [column for column in self.shape.primary_key(table) if column in values]
        if not known:
            raise SampleError(
                f"{table} has no primary key that the samples give, so its row cannot be found again",
                hint="Give the key under 'rows' in samples.yml.",
            )
        return " AND ".join(f"{quoted(column)} = {values[column]}" for column in known)

    def literals(self, table: str, values: Mapping[str, Any], shift: int = 0) -> dict[str, str]:
        """Sample values of columns as SQL, each of its column's recorded type.

        :param shift: added to the number of ``free``
        :raises SampleError: the table has no such column
        """
        columns = self.shape.tables.get(table, {})
        unknown = [column for column in values if column not in columns]
        if unknown:
            raise SampleError(
                f"the samples name {table}.{', '.join(unknown)}, which no migration in force made",
                hint="Correct samples.yml.",
            )
        return {
            column: self.literal(value, str(columns[column]["type"]), shift)
            for column, value in values.items()
        }

    def literal(self, value: Any, type_name: str, shift: int = 0) -> str:
        """One sample value as SQL.

        :param type_name: the column's type as the catalog prints it
        :param shift: added to the number of ``free``
        """
        if isinstance(value, Mapping):
            if "free" in value:
                return str(self.free(value["free"] + shift))
            if "sql" in value:
                return f"({self.fill(value['sql'])})"
            text = json.dumps(value["json"], ensure_ascii=False)
        elif isinstance(value, list):
            items = ", ".join("NULL" if item is None else text_literal(_plain(item)) for item in value)
            return f"ARRAY[{items}]::{type_name}"
        elif value is None:
            return "NULL"
        else:
            text = _plain(value)
        return f"{text_literal(text)}::{type_name}"

    def fill(self, sql: str, *, hidden: bool = False) -> str:
        """Put literals where a sample's SQL says ``{table.column}`` or ``{free.3}``.

        :param hidden: so that the planner does not see the value, as it would not see a parameter's: it would know
            that no real row has it
        :raises SampleError: there is no such value
        """

        def value(found: re.Match[str]) -> str:
            table, column = found[1], found[2]
            if table == "free":
                return str(self.free(int(column)))
            row = self.row(table)
            if column not in row:
                raise SampleError(
                    f"the samples refer to {{{table}.{column}}}, which the row of {table} does not give",
                    hint="Give it under 'rows' in samples.yml.",
                )
            return row[column]

        return PLACEHOLDER.sub(lambda found: f"(SELECT {value(found)})" if hidden else value(found), sql)

    def _row(self, table: str, another: bool) -> dict[str, str]:
        if (table, another) not in self._filled:
            if table not in self.samples.rows:
                raise SampleError(
                    f"{table} has no row in the samples", hint="Give one under 'rows' in samples.yml."
                )
            # Registered first: rows that refer to each other in a circle then lack one reference, and end.
            row = self._filled[table, another] = {}
            try:
                self._fill_row(row, table, another)
            except SampleError:
                del self._filled[table, another]
                raise
        return self._filled[table, another]

    def _needed(self, table: str) -> Sequence[ForeignKey]:
        """Foreign keys that the good row must satisfy: a column that may be NULL does not refer to a stranger."""
        given = self.samples.rows.get(table, {})
        columns = self.shape.tables.get(table, {})
        return [
            key
            for key in self.shape.foreign_keys_of(table)
            if not any(column in given for column in key.columns)
            and (
                key.parent in self.shape.tables
                or all(columns.get(column, {}).get("not_null") for column in key.columns)
            )
        ]

    def _fill_row(self, row: dict[str, str], table: str, another: bool) -> None:
        """Its own key, the keys of the rows that it refers to, and what the samples give."""
        given = dict(self.samples.rows[table])
        if another:
            given.update(self.samples.another.get(table, {}))
        columns = self.shape.tables[table]
        for column, entry in columns.items():
            if column not in given and _fillable(entry):
                row[column] = str(self.free(_KEYS + 2 * self._numbers[table] + another))
        for key in self._needed(table):
            if key.parent != table and key.parent in self.samples.rows:
                parent = self.row(key.parent)
                row.update(
                    {
                        column: parent[referred]
                        for column, referred in zip(key.columns, key.keys, strict=True)
                        if referred in parent
                    }
                )
        row.update(self.literals(table, given, _ANOTHER if another else 0))


def _fillable(entry: Entry) -> bool:
    """Whether a column is one that a sequence numbers, of a type that our numbers fit in."""
    supplied = str(entry.get("default", "")).startswith("nextval(") or "identity" in entry
    return supplied and entry["type"] in _WHOLE_NUMBERS


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def text_literal(text: str) -> str:
    """A text as an SQL literal, whatever standard_conforming_strings says."""
    escaped = text.replace("'", "''")
    if "\\" in escaped:
        return "E'" + escaped.replace("\\", "\\\\") + "'"
    return f"'{escaped}'"
