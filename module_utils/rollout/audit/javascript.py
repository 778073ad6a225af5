"""The generated library: one JavaScript module for ``pg`` with one function a pattern.

Calls whose SQL differs in values alone share a function. The text depends on the calls alone, so that generating it
again changes nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ansible.module_utils.rollout.audit.chain import Chain, Literal, Parameter, Value
from ansible.module_utils.rollout.audit.translate import MAX_ROWS
from ansible.module_utils.rollout.audit.translate_call import FUNCTION
from ansible.module_utils.rollout.audit.translate_result import Call, Query, Read, Translation, Write
from ansible.module_utils.rollout.audit.translate_sql import Place, Sql, When, places

#: What all functions share, written by hand. Read on the control node: Ansible carries Python files to targets only.
RUNTIME = Path(__file__).with_name("library_runtime.cjs")
_WORD = re.compile(r"[A-Za-z0-9]+")
_DECLARED = re.compile(r"^(?:async )?(?:function|class|const) (\w+)", re.MULTILINE)
_NAMED_FILTERS = 4


@dataclass(frozen=True)
class Member:
    """A call and one of its translations."""

    chain: Chain
    translation: Translation

    @property
    def place(self) -> str:
        return f"{self.chain.file}:{self.chain.line}"


@dataclass(frozen=True)
class Function:
    """One function of the library.

    :ivar calls: ``file:line`` of every call that it can replace
    :ivar code: JavaScript
    """

    name: str
    calls: tuple[str, ...]
    code: str


@dataclass(frozen=True)
class Library:
    """The generated module.

    :ivar refused: calls without a function, each with the reasons
    """

    text: str
    functions: tuple[Function, ...]
    refused: tuple[tuple[str, tuple[str, ...]], ...]


def library(members: Iterable[Member], runtime: str, max_rows: int | None = MAX_ROWS) -> Library:
    """The module for these calls.

    :param runtime: text of :data:`RUNTIME`
    :param max_rows: as of the translation
    """
    ordered = sorted(
        members, key=lambda one: (one.chain.file, one.chain.line, one.chain.column, one.translation.table)
    )
    groups: dict[object, list[Member]] = {}
    refused: dict[str, list[str]] = {}
    for member in ordered:
        query = member.translation.query
        if query is None or not member.translation.exact:
            reasons = refused.setdefault(member.place, [])
            reasons += [
                gap.reason for gap in member.translation.gaps if gap.library and gap.reason not in reasons
            ]
        else:
            groups.setdefault(_skeleton(query), []).append(member)
    # What the runtime calls its own, and the one operation whose name is a word of JavaScript.
    names = {"delete", "types", "module", "require", *_DECLARED.findall(runtime)}
    functions = tuple(_function(group, names) for group in groups.values())
    parts = [
        _header(len(functions), sum(len(function.calls) for function in functions)),
        f"const MAX_ROWS = {'Infinity' if max_rows is None else max_rows};\n",
        runtime.strip() + "\n",
        "// One function a pattern of calls.\n",
        *(function.code for function in functions),
        _refused_comment(refused),
        _exports(functions),
    ]
    return Library(
        "\n".join(part for part in parts if part),
        functions,
        tuple((place, tuple(reasons)) for place, reasons in refused.items()),
    )


def _header(functions: int, calls: int) -> str:
    return (
        f"// Made by the query audit: {functions} functions for {calls} calls. Changes made here are lost.\n"
        "'use strict';\n\n"
        "const { types } = require('pg');\n"
    )


def _refused_comment(refused: dict[str, list[str]]) -> str:
    if not refused:
        return ""
    lines = ["// Calls that have no function here, and why:"]
    for place, reasons in refused.items():
        lines.append(_commented(f"// {place}: {'; '.join(reasons)}"))
    return "\n".join(lines) + "\n"


def _commented(text: str) -> str:
    return " ".join(text.split())


def _exports(functions: Sequence[Function]) -> str:
    names = [*(function.name for function in functions), "helpers", "typeParsers"]
    return "module.exports = {\n" + "".join(f"  {name},\n" for name in names) + "};\n"


# Which calls share a function


def _map(query: Query, change: Callable[[Place], Place]) -> Query:
    """The query with every place changed, in the order of :func:`_places`."""

    def mapped(sql: Sql) -> Sql:
        return tuple(
            change(part)
            if isinstance(part, Place)
            else When(part.name, mapped(part.sql))
            if isinstance(part, When)
            else part
            for part in sql
        )

    if isinstance(query, Read):
        rows, count = mapped(query.rows), mapped(query.count)
        return replace(query, rows=rows, count=count, offset=change(query.offset) if query.offset else None)
    if isinstance(query, Write):
        return replace(query, where=mapped(query.where), returned=mapped(query.returned))
    return replace(query, rows=mapped(query.rows))


def _places(query: Query) -> list[Place]:
    if isinstance(query, Read):
        return [*places(query.rows), *places(query.count), *((query.offset,) if query.offset else ())]
    if isinstance(query, Write):
        return [*places(query.where), *places(query.returned)]
    return list(places(query.rows))


def _skeleton(query: Query) -> Query:
    """The query without its values: calls with the same one are one pattern."""
    empty = _map(query, lambda place: replace(place, values=()))
    return empty if isinstance(empty, Read) else replace(empty, payload=None)


def _merged(members: Sequence[Member]) -> Query:
    """The query of a pattern: a value on which all calls agree stays, another one becomes an argument."""
    queries = [member.translation.query for member in members]
    first = queries[0]
    if first is None:
        raise TypeError("a pattern is made of calls with SQL")
    columns = list(zip(*(_places(query) for query in queries if query is not None), strict=True))
    merged = iter([_common(column) for column in columns])
    return _map(first, lambda place: replace(place, values=next(merged)))


def _common(column: Sequence[Place]) -> tuple[Value, ...]:
    if (
        all(isinstance(value, Literal) for place in column for value in place.values)
        and len({json.dumps([_plain(value) for value in place.values]) for place in column}) == 1
    ):
        return column[0].values
    return tuple(Parameter(name) for name in column[0].names)


def _plain(value: Value) -> object:
    return value.value if isinstance(value, Literal) else None


# JavaScript


def _function(members: Sequence[Member], names: set[str]) -> Function:
    query = _merged(members)
    name = _unused(_name(members[0]), names)
    calls = tuple(member.place for member in members)
    code = "\n".join(
        [
            "/**",
            *(f" * {line}" for line in _documentation(members, query, calls)),
            " */",
            f"function {name}(pool, args = {{}}) {{",
            *(f"  {line}" if line else "" for line in _body(query)),
            "}",
            "",
        ]
    )
    return Function(name, calls, code)


def _name(member: Member) -> str:
    """Such as ``selectClientsByPhone``."""
    chain = member.chain
    words = [chain.operation if chain.operation != "rpc" else "call", member.translation.table]
    filters = [name for place in _places_of(member) for name in place.names]
    if filters:
        words += ["by", *filters[:_NAMED_FILTERS]]
    parts: list[str] = [part for word in words for part in _WORD.findall(word)]
    return parts[0].lower() + "".join(part[0].upper() + part[1:] for part in parts[1:])


def _places_of(member: Member) -> list[Place]:
    query = member.translation.query
    if query is None:
        return []
    wanted = list(places(query.where)) if isinstance(query, Write) else _places(query)
    seen: set[tuple[str, ...]] = set()
    found = []
    for place in wanted:
        if place.names not in seen and place.form not in ("limit", "span", "offset"):
            seen.add(place.names)
            found.append(place)
    return found


def _unused(wanted: str, names: set[str]) -> str:
    name, number = wanted, 1
    while name in names:
        number += 1
        name = f"{wanted}{number}"
    names.add(name)
    return name


def _documentation(members: Sequence[Member], query: Query, calls: Sequence[str]) -> list[str]:
    first = members[0]
    lines = [f"{first.chain.operation} {first.translation.table}: {', '.join(calls)}"]
    optional = _optional(query)
    for name in _arguments(query):
        shown = f"[args.{name}]" if name in optional else f"args.{name}"
        lines.append(f"@param {shown}")
    if isinstance(query, Write) and query.operation != "delete":
        payloads = [member.chain.payload for member in members]
        keys = list(
            dict.fromkeys(column.name for payload in payloads if payload for column in payload.columns)
        )
        unknown = any(payload is None or payload.unknown is not None for payload in payloads)
        lines.append(f"@param args.payload {', '.join([*keys, '…'] if unknown else keys)}".rstrip())
    if isinstance(query, Call):
        lines.append(f"@param args.payload {', '.join(a.name for a in query.function.arguments)}".rstrip())
    return [line.replace("*/", "* /") for line in lines]


def _arguments(query: Query) -> list[str]:
    names: list[str] = []
    for place in _places(query):
        for value, name in zip(place.values, place.names, strict=True):
            if not isinstance(value, Literal) and name not in names:
                names.append(name)
    names += [name for name in _optional(query) if name not in names]
    return names


def _optional(query: Query) -> list[str]:
    texts = (
        (query.rows, query.count)
        if isinstance(query, Read)
        else (query.where, query.returned)
        if isinstance(query, Write)
        else (query.rows,)
    )
    return [part.name for sql in texts for part in _conditions(sql)]


def _conditions(sql: Sql) -> list[When]:
    found = []
    for part in sql:
        if isinstance(part, When):
            found += [part, *_conditions(part.sql)]
        elif isinstance(part, Place):
            continue
    return found


def _body(query: Query) -> list[str]:
    function, content = _described(query)
    lines = [*content, f"  shape: '{query.answer.shape}',"]
    if query.answer.throws:
        return [f"return throwing({function}(pool, () => ({{", *lines, "})));"]
    return [f"return {function}(pool, () => ({{", *lines, "}));"]


def _described(query: Query) -> tuple[str, list[str]]:
    """The runtime's function for a query, and the lines of what it is given."""
    if isinstance(query, Read):
        return "read", [
            *(_template("rows", query.rows) if query.rows else []),
            *(_template("count", query.count) if query.count else []),
            *([f"  offset: {_place(query.offset)},"] if query.offset and query.count else []),
            *(["  head: true,"] if query.head else []),
        ]
    if isinstance(query, Write):
        return _described_write(query)
    return "call", _described_call(query)


def _described_write(query: Write) -> tuple[str, list[str]]:
    function = {"update": "update", "delete": "remove"}.get(query.operation, "insert")
    lines = [f"table: {_string(query.table)},", f"target: {_string(query.target)},"]
    if query.operation != "delete":
        lines.append("payload: args.payload,")
    if query.conflict is not None:
        lines += [f"conflict: [{', '.join(map(_string, query.conflict))}],", f"merge: {_flag(query.merge)},"]
    if query.counted:
        lines.append("counted: true,")
    where = _template("where", query.where or ("",)) if function != "insert" else []
    returned = _template("returned", query.returned) if query.returned else []
    return function, [*(f"  {line}" for line in lines), *where, *returned]


def _described_call(query: Call) -> list[str]:
    arguments = query.function.arguments
    lines = [f"name: {_string(query.function.name)},", f"target: {_string(query.target)},"]
    if len(arguments) == 1 and not arguments[0].name:
        lines.append(f"unnamed: {_string(arguments[0].type)},")
    else:
        given = ", ".join(f"{_string(argument.name)}: {_string(argument.type)}" for argument in arguments)
        lines.append(f"types: {{ {given} }}," if given else "types: {},")
        required = ", ".join(_string(argument.name) for argument in arguments if argument.required)
        lines.append(f"required: [{required}],")
        lines += [f"variadic: {_string(argument.name)}," for argument in arguments if argument.variadic]
    lines += [f"gives: {_string(query.function.gives)},", "payload: args.payload,"]
    rows = _template("rows", query.rows)
    rows[0] = rows[0].replace("rows: sql`", "rows: (source) => sql`")
    return [*(f"  {line}" for line in lines), *rows]


def _template(name: str, sql: Sql) -> list[str]:
    text = _sql(sql).replace("\n", "\n    ")
    if "\n" not in text:
        return [f"  {name}: sql`{text}`,"]
    # The SQL of a condition begins with its own line break.
    start = "" if text.startswith("\n") else "\n    "
    return [*f"  {name}: sql`{start}{text}`,".split("\n")]


def _sql(sql: Sql) -> str:
    parts = []
    for part in sql:
        if isinstance(part, str):
            escaped = part.replace("\\", "\\\\").replace("`", "\\`").replace("${", "\\${")
            parts.append(escaped.replace(FUNCTION, "(${source})"))
        elif isinstance(part, Place):
            parts.append("${" + _place(part) + "}")
        else:
            parts.append("${when(args." + part.name + ", sql`" + _sql(part.sql) + "`)}")
    return "".join(parts)


def _place(place: Place) -> str:
    values = [
        json.dumps(value.value, ensure_ascii=False) if isinstance(value, Literal) else f"args.{name}"
        for value, name in zip(place.values, place.names, strict=True)
    ]
    return f"{place.form}({', '.join(values)})"


def _string(text: str) -> str:
    escaped = json.dumps(text, ensure_ascii=False)[1:-1].replace('\\"', '"')
    return "'" + escaped.replace("'", "\\'") + "'"


def _flag(value: bool) -> str:
    return "true" if value else "false"
