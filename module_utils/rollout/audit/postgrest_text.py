"""The two small languages that travel in strings: ``.select('a, b(c)')`` and ``.or('a.eq.1,b.is.null')``.

The grammar is PostgREST 12's (its manual, "Resource Embedding" and "Logical operators"; ``QueryParams.hs`` has the
parser). A value that the running code splices in arrives as one character of :data:`HOLES`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ansible.module_utils.rollout.audit.chain import (
    Column,
    Dynamic,
    Embed,
    Filter,
    Group,
    Known,
    Literal,
    Parameter,
    Selection,
    Value,
)

#: Private-use characters: the n-th stands for the n-th interpolated value.
FIRST_HOLE, LAST_HOLE = 0xE000, 0xF8FF
_AGGREGATES = ("count", "sum", "avg", "min", "max")
_OPERATORS = frozenset(
    [
        "eq",
        "neq",
        "gt",
        "gte",
        "lt",
        "lte",
        "like",
        "ilike",
        "match",
        "imatch",
        "in",
        "is",
        "isdistinct",
        "cs",
        "cd",
        "ov",
        "sl",
        "sr",
        "nxr",
        "nxl",
        "adj",
        "fts",
        "plfts",
        "phfts",
        "wfts",
    ]
)
_OPERATOR = re.compile(r"(?P<word>[a-z]+)(?:\((?P<argument>[^()]*)\))?")
_NAME = re.compile(
    r'\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s,():!."\-<>]+(?:[ \-](?!>)[^\s,():!."\-<>]+)*))\s*'
)


class NotValid(Exception):
    """The text does not follow the grammar: ``str()`` says where."""


def hole(number: int) -> str:
    """The character for an interpolated value."""
    return chr(FIRST_HOLE + number)


def holes_in(text: str) -> list[int]:
    """The numbers of the interpolated values in a text."""
    return [ord(sign) - FIRST_HOLE for sign in text if FIRST_HOLE <= ord(sign) <= LAST_HOLE]


@dataclass
class _Reader:
    text: str
    at: int = 0

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def take(self, word: str) -> bool:
        if self.text.startswith(word, self.at):
            self.at += len(word)
            return True
        return False

    def spaces(self) -> None:
        while self.peek().isspace():
            self.at += 1

    def name(self) -> str:
        found = _NAME.match(self.text, self.at)
        if not found:
            raise NotValid(f"a name is expected at {self.text[self.at : self.at + 20]!r}")
        self.at = found.end()
        return re.sub(r"\\(.)", r"\1", found["quoted"]) if found["quoted"] is not None else found["bare"]


def parse_select(text: str, line: int = 0, conditional: bool = False) -> Selection:
    """What ``.select(text)`` asks for.

    :param text: as the client sends it: supabase-js removes all blanks outside of double quotes
    """
    reader = _Reader(without_blanks(text))
    if not reader.text:
        return Selection((Column("*"),), (), None, conditional, line)
    try:
        columns, embeds = _items(reader)
        if reader.at < len(reader.text):
            raise NotValid(f"unexpected {reader.text[reader.at : reader.at + 20]!r}")
    except NotValid as error:
        return Selection((), (), Dynamic(f"the text is not valid: {error}"), conditional, line)
    return Selection(tuple(columns), tuple(embeds), None, conditional, line)


def without_blanks(text: str) -> str:
    """A text without the blanks that are not inside double quotes."""
    quoted, kept = False, []
    for sign in text:
        if sign == '"':
            quoted = not quoted
        if quoted or not sign.isspace():
            kept.append(sign)
    return "".join(kept)


def _items(reader: _Reader) -> tuple[list[Column], list[Embed]]:
    columns: list[Column] = []
    embeds: list[Embed] = []
    while True:
        item = _item(reader)
        if isinstance(item, Embed):
            embeds.append(item)
        else:
            columns.append(item)
        reader.spaces()
        if not reader.take(","):
            return columns, embeds
        if reader.peek() in ("", ")"):
            return columns, embeds


def _item(reader: _Reader) -> Column | Embed:
    reader.spaces()
    if reader.take("*"):
        return Column("*")
    spread = reader.take("...")
    name, alias = reader.name(), ""
    if reader.peek() == ":" and not reader.text.startswith("::", reader.at):
        reader.at += 1
        alias, name = name, reader.name()
    hint, join = "", ""
    while reader.take("!"):
        word = reader.name()
        if word in ("inner", "left"):
            join = word
        else:
            hint = word
    if reader.peek() == "(" and not reader.text.startswith(f"{name}()", reader.at - len(name)):
        return _embed(reader, name, alias, hint, join, spread)
    if reader.take("()"):
        if name not in _AGGREGATES:
            return Embed(name, (), (), alias, hint, join, spread)
        return Column("", alias, _cast(reader), "", name)
    path = _path(reader)
    cast = _cast(reader)
    aggregate = ""
    if reader.take("."):
        aggregate = reader.name()
        if not reader.take("()") or aggregate not in _AGGREGATES:
            raise NotValid(f"an aggregate is expected after {name}.")
        cast = _cast(reader) or cast
    if name == "count" and not (alias or path or cast or aggregate):
        return Column("", "", "", "", "count")
    return Column(name, alias, cast, path, aggregate)


def _embed(reader: _Reader, name: str, alias: str, hint: str, join: str, spread: bool) -> Embed:
    reader.take("(")
    if reader.take(")"):
        return Embed(name, (), (), alias, hint, join, spread)
    columns, embeds = _items(reader)
    if not reader.take(")"):
        raise NotValid(f"the parenthesis of {name} is not closed")
    return Embed(name, tuple(columns), tuple(embeds), alias, hint, join, spread)


def _path(reader: _Reader) -> str:
    path = ""
    while reader.peek() == "-":
        arrow = next((word for word in ("->>", "->") if reader.take(word)), None)
        if arrow is None:
            raise NotValid(f"unexpected {reader.text[reader.at : reader.at + 20]!r}")
        path += arrow + reader.name()
    return path


def _cast(reader: _Reader) -> str:
    return reader.name() if reader.take("::") else ""


def parse_or(
    text: str, parameters: list[Parameter], line: int = 0, conditional: bool = False, table: str = ""
) -> Group:
    """The tree of ``.or(text)``.

    :param parameters: the interpolated values, by the number of their hole
    """
    interpolated = bool(holes_in(text))
    members: list[Filter | Group] = []
    reader = _Reader(text)
    try:
        _members(reader, members, parameters, line)
        if reader.at < len(text):
            raise NotValid(f"unexpected {_shown(text[reader.at : reader.at + 20], parameters)!r}")
    except NotValid as error:
        unparsed = Dynamic(f"the text is not valid: {error}", (_shown(text, parameters),))
        return Group("or", tuple(members), False, conditional, line, table, unparsed, interpolated)
    return Group("or", tuple(members), False, conditional, line, table, None, interpolated)


def _members(reader: _Reader, members: list[Filter | Group], parameters: list[Parameter], line: int) -> None:
    while True:
        reader.spaces()
        members.append(_member(reader, parameters, line))
        reader.spaces()
        if not reader.take(","):
            return


def _member(reader: _Reader, parameters: list[Parameter], line: int) -> Filter | Group:
    for word in ("not.and(", "not.or(", "and(", "or("):
        if reader.take(word):
            inner: list[Filter | Group] = []
            _members(reader, inner, parameters, line)
            if not reader.take(")"):
                raise NotValid("a parenthesis is not closed")
            operator = word.rstrip("(").removeprefix("not.")
            return Group(operator, tuple(inner), word.startswith("not."), False, line)
    column = _until_dot(reader)
    if holes_in(column):
        name: Known | Dynamic = Dynamic("the column is interpolated", (_shown(column, parameters),))
    else:
        name = Known(column.strip('"'))
    while column.count("(") == 0 and not _operator_follows(reader):
        further = _until_dot(reader)  # embedded.column
        name = Known(f"{name.value}.{further}") if isinstance(name, Known) else name
    negated = reader.take("not.")
    operator = _until_dot(reader)
    found = _OPERATOR.fullmatch(operator)
    if holes_in(operator):
        operator = "dynamic"
    elif not found or found["word"] not in _OPERATORS:
        raise NotValid(f"{operator!r} is no operator")
    value = _operand(reader, operator, parameters)
    return Filter(operator, name, value, negated, False, line)


def _operator_follows(reader: _Reader) -> bool:
    rest = reader.text[reader.at :].removeprefix("not.")
    word = rest.split(".", 1)[0]
    found = _OPERATOR.fullmatch(word)
    return bool(holes_in(word)) or bool(found and found["word"] in _OPERATORS) or "." not in rest


def _until_dot(reader: _Reader) -> str:
    start, quoted, depth = reader.at, False, 0
    while reader.at < len(reader.text):
        sign = reader.peek()
        if sign == '"':
            quoted = not quoted
        elif not quoted and sign == "(":
            depth += 1
        elif not quoted and sign == ")":
            depth -= 1
        elif sign == "." and not quoted and depth == 0:
            reader.at += 1
            return reader.text[start : reader.at - 1].strip()
        if (sign == "," and not quoted and depth == 0) or depth < 0:
            break
        reader.at += 1
    raise NotValid(f"column.operator.value is expected at {reader.text[start : start + 20]!r}")


def _operand(reader: _Reader, operator: str, parameters: list[Parameter]) -> Value:
    start = reader.at
    if operator == "in" and reader.peek() == "(":
        reader.at += 1
        values = _list(reader)
        if any(holes_in(value) for value in values):
            return (
                Parameter("values", "array") if len(values) != 1 else _filled(values[0], parameters, "array")
            )
        return Literal(tuple(values))
    if reader.peek() == '"':
        return _filled(_quoted(reader), parameters)
    depth = 0
    closing = {"(": ")", "{": "}", "[": "]"}
    while reader.at < len(reader.text):
        sign = reader.peek()
        if sign in closing:
            depth += 1
        elif sign in closing.values():
            if depth == 0 and sign == ")":
                break
            depth -= 1
        elif sign == "," and depth <= 0:
            break
        reader.at += 1
    return _filled(reader.text[start : reader.at], parameters)


def _list(reader: _Reader) -> list[str]:
    values: list[str] = []
    while True:
        reader.spaces()
        if reader.peek() == '"':
            values.append(_quoted(reader))
        else:
            start = reader.at
            while reader.peek() not in (",", ")", ""):
                reader.at += 1
            values.append(reader.text[start : reader.at].strip())
        if reader.take(")"):
            return [value for value in values if value or len(values) > 1]
        if not reader.take(","):
            raise NotValid("the list after in. is not closed")


def _quoted(reader: _Reader) -> str:
    reader.at += 1
    kept = []
    while reader.peek() not in ('"', ""):
        if reader.peek() == "\\":
            reader.at += 1
        kept.append(reader.peek())
        reader.at += 1
    if not reader.take('"'):
        raise NotValid("a quotation mark is not closed")
    return "".join(kept)


def _filled(text: str, parameters: list[Parameter], kind: str = "") -> Value:
    numbers = holes_in(text)
    if not numbers:
        return Literal(text)
    parts = re.split(f"[{chr(FIRST_HOLE)}-{chr(LAST_HOLE)}]", text)
    first = parameters[numbers[0]]
    if len(numbers) == 1 and parts == ["", ""]:
        return Parameter(first.name, kind or first.type, (), first.may_be_undefined)
    return Parameter(first.name, kind or "string", tuple(parts))


def _shown(text: str, parameters: list[Parameter]) -> str:
    for number, parameter in enumerate(parameters):
        text = text.replace(hole(number), "${" + parameter.name + "}")
    return text


def parse_list(text: str) -> tuple[str, ...] | None:
    """``(a,"b,c")`` of ``.not('c', 'in', …)`` and ``.filter('c', 'in', …)``; ``None`` when it is no such list."""
    if not (text.startswith("(") and text.endswith(")")):
        return None
    reader = _Reader(text, 1)
    try:
        values = _list(reader)
    except NotValid:
        return None
    return tuple(values) if reader.at == len(text) else None
