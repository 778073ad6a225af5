"""SQL with places for values: the one form from which both the library's JavaScript and the proof's SQL are made.

A value is never written into SQL by the translation: a :class:`Place` keeps it apart, with the form in which PostgREST
would hand it to PostgreSQL.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from ansible.module_utils.rollout.audit.chain import Dynamic, Literal, Parameter, Value

#: How a value becomes a parameter. What postgrest-js writes into a URL is text, and PostgreSQL gives it the type of
#: the column beside it.
TEXT = "text"  # `${value}`: null is the text "null"
PATTERN = "pattern"  # as text; * stands for % as well
PATTERNS = "patterns"  # a list of patterns as an array
LIST = "list"  # a list of texts as an array, each once
CONTAINER = "container"  # a text as it is, a list as an array, an object as JSON
KEYWORD = "keyword"  # NULL, TRUE, FALSE or UNKNOWN: no parameter can stand there
DIRECTION = "direction"  # ASC or DESC: no parameter can stand there
LIMIT = "limit"  # a number of rows, at most as many as PostgREST gives at once
SPAN = "span"  # first and last row's numbers as a number of rows
OFFSET = "offset"  # a number of rows to leave out
JSON = "json"  # as JSON.stringify writes it

_CONTROL = re.compile(r"[\x01-\x1f]")
KEYWORDS = ("null", "true", "false", "unknown")


@dataclass(frozen=True)
class Place:
    """Where a value goes.

    :ivar values: one, but for :data:`SPAN` two
    :ivar names: of the generated function's arguments, one a value
    :ivar column_type: of the column it is compared with or written to; empty when not known
    """

    values: tuple[Value, ...]
    names: tuple[str, ...]
    form: str = TEXT
    column_type: str = ""


@dataclass(frozen=True)
class When:
    """SQL that is there only when an argument is given: a filter that the code adds under a condition.

    :ivar name: of the argument that decides
    """

    name: str
    sql: Sql


Sql: TypeAlias = "tuple[str | Place | When, ...]"


def identifier(name: str) -> str:
    """A name as SQL, always quoted."""
    return _quoted(name, '"')


def qualified(schema: str, name: str) -> str:
    return f"{identifier(schema)}.{identifier(name)}"


def literal(text: str) -> str:
    """A text as SQL. Valid with standard_conforming_strings, the default of every supported version."""
    return _quoted(text, "'")


def _quoted(text: str, quote: str) -> str:
    # PostgreSQL has no NUL, and PostgREST cuts there.
    doubled = text.partition("\0")[0].replace(quote, quote * 2)
    if not _CONTROL.search(text):
        return f"{quote}{doubled}{quote}"
    # SQL is indented for the library: a line break may stand between words only.
    escaped = _CONTROL.sub(lambda found: f"\\{ord(found[0]):04X}", doubled.replace("\\", "\\\\"))
    return f"U&{quote}{escaped}{quote}"


def joined(separator: str, pieces: Sequence[Sql]) -> Sql:
    """Pieces with a separator between them."""
    parts: list[str | Place | When] = []
    for at, piece in enumerate(pieces):
        if at:
            parts.append(separator)
        parts += piece
    return compact(tuple(parts))


def compact(sql: Sql) -> Sql:
    """The same with neighbouring texts made one."""
    parts: list[str | Place | When] = []
    for part in sql:
        if isinstance(part, str) and parts and isinstance(parts[-1], str):
            parts[-1] += part
        elif part != "":
            parts.append(part)
    return tuple(parts)


def places(sql: Sql) -> Iterator[Place]:
    """Every place, in the order of the text."""
    for part in sql:
        if isinstance(part, Place):
            yield part
        elif isinstance(part, When):
            yield from places(part.sql)


def unconditional(sql: Sql) -> Sql:
    """The same with everything conditional there."""
    parts: list[str | Place | When] = []
    for part in sql:
        parts += unconditional(part.sql) if isinstance(part, When) else (part,)
    return compact(tuple(parts))


#: What stands for a value of the running code in the proof, by the kind of expression: the value's text decides
#: whether PostgreSQL can read it as the column's type, and a Date's or an object's text it cannot.
_SAMPLES = {
    "Date": "Mon Jan 01 2024 00:00:00 GMT+0000 (Coordinated Universal Time)",
    "boolean": "true",
    "number": "1",
    "object": "[object Object]",
    "timestamp": "2024-01-01T00:00:00.000Z",
    "undefined": "undefined",
}
#: The same for a value that travels as JSON.
_JSON_SAMPLES: dict[str, str | int | bool] = {
    "Date": "2024-01-01T00:00:00.000Z",
    "boolean": True,
    "number": 1,
    "timestamp": "2024-01-01T00:00:00.000Z",
}


def javascript_text(value: Any) -> str:
    """What a template literal makes of a value of JSON: ``null``, ``true``, ``1.5``, ``a,b``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e21 else repr(value)
    if isinstance(value, tuple | list):
        return ",".join("" if item is None else javascript_text(item) for item in value)
    return str(value)


def array_text(items: Sequence[str]) -> str:
    """An array as PostgreSQL reads it, every item quoted."""
    quoted = ('"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"' for item in items)
    return "{" + ",".join(quoted) + "}"


def literal_text(value: Any, form: str, column_type: str = "") -> str:
    """The text that a value of the source becomes, by the place's form."""
    if form == PATTERN:
        return javascript_text(value).replace("*", "%")
    if form == LIST:
        items = list(dict.fromkeys(javascript_text(item) for item in as_items(value)))
        # PostgREST reads in.() as no value, not as the empty text.
        return array_text([] if items == [""] else items)
    if form == PATTERNS:
        return "{" + ",".join(javascript_text(item) for item in as_items(value)).replace("*", "%") + "}"
    if form == CONTAINER:
        if isinstance(value, tuple | list):
            return "{" + ",".join("" if item is None else javascript_text(item) for item in value) + "}"
        return value if isinstance(value, str) else javascript_json(value)
    if form == JSON:
        if isinstance(value, tuple | list) and column_type.endswith("[]"):
            return array_text([javascript_text(item) for item in value])
        is_scalar = isinstance(value, str | bool | int | float)
        if is_scalar and not column_type.startswith("json"):
            return javascript_text(value)
        return javascript_json(value)
    return javascript_text(value)


def as_items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, tuple | list) else (value,)


def javascript_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def sample_text(place: Place) -> str | None:
    """The text with which the proof tries a place, or ``None``: nothing is known, a parameter stands there."""
    value = place.values[0]
    if isinstance(value, Literal):
        return literal_text(value.value, place.form, place.column_type)
    if isinstance(value, Parameter) and place.form in (TEXT, PATTERN):
        return _SAMPLES.get(value.type)
    if isinstance(value, Parameter) and place.form == JSON and value.type in _JSON_SAMPLES:
        return literal_text(_JSON_SAMPLES[value.type], JSON, place.column_type)
    return None


@dataclass(frozen=True)
class Prepared:
    """SQL that PREPARE takes.

    :ivar text: values of the source as literals, of the running code as ``$1``, ``$2``, …
    :ivar parameters: how many
    """

    text: str
    parameters: int


def prepared(sql: Sql, max_rows: int | None = None) -> Prepared:
    """SQL with everything conditional there, for the proof.

    :param max_rows: what stands in a LIMIT of :data:`LIMIT` and :data:`SPAN`, because PREPARE need not know how many
    """
    parts: list[str] = []
    count = 0
    for part in unconditional(sql):
        if isinstance(part, str):
            parts.append(part)
            continue
        if not isinstance(part, Place):
            raise TypeError(f"unexpected part of SQL: {part!r}")
        if part.form in (LIMIT, SPAN):
            parts.append(str(max_rows) if max_rows is not None else "ALL")
        elif part.form == OFFSET:
            parts.append("0")
        elif part.form == DIRECTION:
            parts.append("ASC")
        elif part.form == KEYWORD:
            parts.append(keyword(part.values[0]) or "NULL")
        else:
            text = sample_text(part)
            if text is None:
                count += 1
                parts.append(f"${count}")
            elif part.form == JSON and isinstance(part.values[0], Literal) and part.values[0].value is None:
                parts.append("NULL")
            else:
                parts.append(literal(text))
    return Prepared("".join(parts), count)


def keyword(value: Value) -> str | None:
    """The SQL keyword that ``.is()`` names, or ``None`` when it is not one or not known."""
    if not isinstance(value, Literal):
        return None
    text = javascript_text(value.value).lower()
    return text.upper() if text in KEYWORDS else None


def reason_of(value: Value) -> str:
    """Why a value is not known."""
    return value.reason if isinstance(value, Dynamic) else ""


_WORDS = re.compile(r"[A-Za-z0-9_$]+")


def argument_name(*words: str) -> str:
    """A name for a property, made of words: ``data->>phone`` and ``gte`` give ``data_phone_gte``."""
    name = "_".join(word for text in words for word in _WORDS.findall(text)) or "value"
    return f"_{name}" if name[0].isdigit() else name
