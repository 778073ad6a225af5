"""``audit.sql``: what would have to be added to the schema for the code's calls. Proposed, never applied.

A proposal is a draft for a migration: types are guessed from what the code writes, and a person decides. Every
statement has the calls that want it above it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ansible.module_utils.rollout.audit.chain import (
    Chain,
    Embed,
    Filter,
    Group,
    Known,
    Literal,
    Parameter,
    Value,
)
from ansible.module_utils.rollout.audit.live_schema import LiveSchema
from ansible.module_utils.rollout.audit.proof_result import Problem, Verdict
from ansible.module_utils.rollout.audit.translate_filters import split_path
from ansible.module_utils.rollout.audit.translate_sql import identifier, qualified

#: Type of a column by what the code shows of its values, when all of them agree.
_PARAMETER_TYPES = {
    "array": "jsonb",
    "boolean": "boolean",
    "Date": "timestamptz",
    "number": "numeric",
    "object": "jsonb",
    "timestamp": "timestamptz",
}
_UNKNOWN_TYPE = "text"


@dataclass
class _Wanted:
    """Something that is missing, and who wants it."""

    calls: list[str] = field(default_factory=list)
    reason: str = ""

    def add(self, chain: Chain, reason: str) -> None:
        place = f"{chain.file}:{chain.line}"
        if place not in self.calls:
            self.calls.append(place)
        self.reason = reason


@dataclass
class _Gap:
    """What is missing, by what kind of statement it takes."""

    tables: dict[str, dict[str, _Wanted]] = field(default_factory=dict)
    columns: dict[tuple[str, str], _Wanted] = field(default_factory=dict)
    keys: dict[tuple[str, tuple[str, ...]], _Wanted] = field(default_factory=dict)
    others: dict[Problem, _Wanted] = field(default_factory=dict)


def proposal(schema: LiveSchema, chains: Sequence[Chain], verdicts: Sequence[Verdict]) -> str:
    """SQL that adds missing tables, columns and unique keys; what it cannot propose stands in it as a comment.

    :param verdicts: one a chain, in the same order; calls of tests propose nothing
    """
    gap = _gap(schema, chains, verdicts)
    types = _types(chains)
    statements = [
        *(_table(schema, name, columns, types) for name, columns in sorted(gap.tables.items())),
        *(_column(schema, name, wanted, types) for name, wanted in sorted(gap.columns.items())),
        *(_key(schema, name, wanted) for name, wanted in sorted(gap.keys.items())),
        *(_comment(problem, wanted) for problem, wanted in gap.others.items()),
    ]
    head = (
        f"-- What the calls of the code want and schema {_word(schema.name)} lacks. Proposed, never applied: names and"
        " types\n-- are those of the code. Read it, correct it, and make a migration of it.\n"
    )
    return "\n".join([head, *statements]) if statements else head + "-- Nothing is missing.\n"


def _gap(schema: LiveSchema, chains: Sequence[Chain], verdicts: Sequence[Verdict]) -> _Gap:
    gap = _Gap()
    for chain, verdict in zip(chains, verdicts, strict=True):
        for problem in () if chain.test else verdict.problems:
            if problem.code == "42P01":
                columns = gap.tables.setdefault(problem.table, {})
                for name in ("", *_columns_of(chain, problem.table)):
                    columns.setdefault(name, _Wanted()).add(chain, problem.reason)
                if chain.operation == "upsert":
                    key = _conflict(chain)
                    if key:
                        gap.keys.setdefault((problem.table, key), _Wanted()).add(chain, "ON CONFLICT")
            elif problem.code == "42703" and problem.column:
                gap.columns.setdefault((problem.table, problem.column), _Wanted()).add(chain, problem.reason)
                # PREPARE never saw its ON CONFLICT: without the column there is no statement.
                key = _conflict(chain) if chain.operation == "upsert" else ()
                if key and not _has_key(schema, problem.table, key):
                    gap.keys.setdefault((problem.table, key), _Wanted()).add(chain, "ON CONFLICT")
            elif problem.code == "42P10" and problem.column:
                key = tuple(problem.column.split(","))
                gap.keys.setdefault((problem.table, key), _Wanted()).add(chain, "ON CONFLICT")
            else:
                gap.others.setdefault(problem, _Wanted()).add(chain, problem.reason)
    return gap


def _has_key(schema: LiveSchema, table: str, key: tuple[str, ...]) -> bool:
    facts = schema.tables.get(table)
    return facts is not None and any(set(unique) == set(key) for unique in facts.unique_keys)


def _conflict(chain: Chain) -> tuple[str, ...]:
    value = chain.option("onConflict")
    if not isinstance(value, Literal) or not isinstance(value.value, str):
        return ()
    return tuple(name.strip() for name in value.value.split(","))


# Columns and types


def _columns_of(chain: Chain, table: str) -> list[str]:
    """Columns of a table that a chain names."""
    if table in chain.tables:
        names = [column.name for column in chain.payload.columns] if chain.payload else []
        names += [column.name for column in chain.select.columns] if chain.select else []
        names += [
            split_path(one.column.value)[0]
            for one in _filters(chain.filters)
            if isinstance(one.column, Known)
        ]
        names += [
            split_path(modifier.arguments[0].value)[0]
            for modifier in chain.modifiers
            if modifier.name == "order" and modifier.option("referencedTable") is None and modifier.arguments
            if isinstance(modifier.arguments[0], Literal) and isinstance(modifier.arguments[0].value, str)
        ]
        names += _conflict(chain)
    else:
        names = [
            column
            for embed in (chain.select.embeds if chain.select else ())
            for column in _embedded(embed, table)
        ]
    return [
        name for name in dict.fromkeys(names) if name and name != "*" and "." not in name and "(" not in name
    ]


def _embedded(embed: Embed, table: str) -> list[str]:
    own = [column.name for column in embed.columns] if embed.table == table else []
    return own + [name for inner in embed.embeds for name in _embedded(inner, table)]


def _filters(filters: Sequence[Filter | Group]) -> list[Filter]:
    found: list[Filter] = []
    for item in filters:
        found += _filters(item.members) if isinstance(item, Group) else [item]
    return found


def _types(chains: Sequence[Chain]) -> dict[tuple[str, str], str]:
    """A type for every column whose values the code shows, when they agree."""
    seen: dict[tuple[str, str], set[str]] = {}
    for chain in chains:
        shown = [
            (column.name, column.value, True) for column in (chain.payload.columns if chain.payload else ())
        ]
        shown += [
            (one.column.value, one.value, False)
            for one in _filters(chain.filters)
            if isinstance(one.column, Known)
        ]
        for table in chain.tables:
            for name, value, written in shown:
                guessed = _type_of(value, written)
                if guessed:
                    seen.setdefault((table, name), set()).add(guessed)
    return {key: next(iter(types)) for key, types in seen.items() if len(types) == 1}


def _type_of(value: Value, written: bool) -> str:
    """A type by one value: a list means a list only where it is written, not where it is compared with."""
    if isinstance(value, Parameter):
        if value.type in ("array", "object") and not written:
            return ""
        return _PARAMETER_TYPES.get(value.type, "")
    if not isinstance(value, Literal):
        return ""
    items = value.value if isinstance(value.value, tuple) and not written else (value.value,)
    types = {_type_of_literal(item) for item in items} - {""}
    return types.pop() if len(types) == 1 else ""


def _type_of_literal(value: object) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "numeric"
    if isinstance(value, tuple | list | dict):
        return "jsonb"
    return "text" if isinstance(value, str) else ""


# Statements


def _table(
    schema: LiveSchema, name: str, columns: dict[str, _Wanted], types: dict[tuple[str, str], str]
) -> str:
    named = [column for column in columns if column]
    lines = [f"    {identifier(column)} {types.get((name, column), _UNKNOWN_TYPE)}" for column in named]
    if "id" in named:
        lines[named.index("id")] = (
            f"    {identifier('id')} bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY"
        )
    body = ",\n".join(lines)
    create = f"CREATE TABLE {qualified(schema.name, name)} (" + (f"\n{body}\n" if body else "") + ");\n"
    return _calls(columns[""]) + create


def _column(
    schema: LiveSchema, name: tuple[str, str], wanted: _Wanted, types: dict[tuple[str, str], str]
) -> str:
    table, column = name
    type_name = types.get(name, _UNKNOWN_TYPE)
    return f"{_calls(wanted)}ALTER TABLE {qualified(schema.name, table)} ADD COLUMN {identifier(column)} {type_name};\n"


def _key(schema: LiveSchema, name: tuple[str, tuple[str, ...]], wanted: _Wanted) -> str:
    table, columns = name
    listed = ", ".join(identifier(column) for column in columns)
    warning = "-- Fails where rows have the same values already.\n"
    return f"{_calls(wanted)}{warning}ALTER TABLE {qualified(schema.name, table)} ADD UNIQUE ({listed});\n"


def _comment(problem: Problem, wanted: _Wanted) -> str:
    """What no statement can be proposed for: a function's body, a foreign key's rows, a value in the code."""
    return f"{_calls(wanted)}-- {problem.code}: {_word(problem.reason)}\n"


def _calls(wanted: _Wanted) -> str:
    return "".join(f"-- {_word(place)}\n" for place in wanted.calls)


def _word(text: str) -> str:
    """A text on one line: what follows a line break would be no comment."""
    return " ".join(text.split())
