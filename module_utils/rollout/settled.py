"""Definitions as PostgreSQL prints them after it has read its own printing once.

For a column of type varchar, ``status IN ('a', 'b')`` is printed as a cast of an array,
``((ARRAY['a'::character varying, 'b'::character varying])::text[])``. Read again, the cast goes to the elements,
because a cast of ``ARRAY[...]`` is one of each element (PostgreSQL's parse_expr.c, transformTypeCast), and is printed
there from then on. A dump and a restore therefore change the text, once, and nothing else.
"""

from __future__ import annotations

import re
from typing import Any

_START = "(ARRAY["
_CAST = re.compile(r"\]\)::((?:\"(?:[^\"]|\"\")*\"|[\w .(),])+?)\[\]")


def settled(value: Any) -> Any:
    """A catalog attribute with the casts of arrays moved to their elements; what is not text stays as it is."""
    if isinstance(value, list):
        return [settled(item) for item in value]
    if not isinstance(value, str) or _START not in value:
        return value
    return _rewrite(
        value, lambda elements, kind: "ARRAY[" + ", ".join(f"({e})::{kind}" for e in elements) + "]"
    )


def unsettled(definition: str) -> str:
    """SQL whose reading gives back the array with the cast around it: the cast is left to PostgreSQL.

    Only an operator's operand is cast by PostgreSQL itself, so what was made with this has to be compared afterwards.
    """
    return _rewrite(definition, lambda elements, _kind: "ARRAY[" + ", ".join(elements) + "]")


def _rewrite(text: str, replacement: Any) -> str:
    found: list[str] = []
    position = 0
    while True:
        start = text.find(_START, position)
        if start < 0:
            return "".join([*found, text[position:]])
        elements, end = _elements(text, start + len(_START))
        cast = _CAST.match(text, end)
        if elements is None or cast is None:
            found.append(text[position : start + len(_START)])
            position = start + len(_START)
            continue
        found.append(text[position:start] + replacement(elements, cast[1]))
        position = cast.end()


def _elements(text: str, position: int) -> tuple[list[str] | None, int]:
    """The elements of an array constructor and the place of its closing bracket; None when it does not end."""
    elements: list[str] = []
    depth = 0
    start = position
    quote = ""
    while position < len(text):
        character = text[position]
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "([":
            depth += 1
        elif character == "]" and depth == 0:
            return [*elements, text[start:position].strip()], position
        elif character in ")]":
            depth -= 1
        elif character == "," and depth == 0:
            elements.append(text[start:position].strip())
            start = position + 1
        position += 1
    return None, position
