"""What an expression can be, as far as the source tells: the domain that :mod:`evaluation` computes in.

A value is lazy: entries of objects and lists are kept as the expressions that they are, with the frame they stand in,
and are looked at when somebody asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from ansible.module_utils.rollout.audit.syntax import SourceFile
from tree_sitter import Node


@dataclass(frozen=True, eq=False)
class Frame:
    """One call of a function while it is looked through: what its parameters are.

    :ivar function: the function's node
    :ivar arguments: expressions at the call site, or values
    """

    function: Node
    arguments: tuple[Value | Place, ...]
    outer: Frame | None = None
    depth: int = 0

    def of(self, function: Node) -> Frame | None:
        """The innermost call of this function, or ``None``."""
        frame: Frame | None = self
        while frame is not None and frame.function.id != function.id:
            frame = frame.outer
        return frame


@dataclass(frozen=True, eq=False)
class Place:
    """An expression, where it stands and in which calls."""

    file: SourceFile
    node: Node
    frame: Frame | None = None


@dataclass(frozen=True)
class Constant:
    """A scalar of the source. ``UNDEFINED`` is a constant too."""

    value: str | int | float | bool | None


class _Undefined(str):
    """``undefined``: a string of its own class, so that no JSON value equals it by accident."""


UNDEFINED = Constant(_Undefined("undefined"))


@dataclass(frozen=True, eq=False)
class Text:
    """A text of which parts are known: strings, and places whose value is not a constant."""

    parts: tuple[str | Place, ...]


@dataclass(frozen=True, eq=False)
class Entry:
    """One key of an object.

    :ivar conditional: the key is not there on every path
    """

    place: Place | Value
    conditional: bool = False


@dataclass(frozen=True, eq=False)
class Object:
    """An object with the keys that are known.

    :ivar unknown: why there may be more keys; empty: there are no more
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    unknown: str = ""


@dataclass(frozen=True, eq=False)
class List:
    """An array.

    :ivar items: the elements that the source shows
    :ivar unknown: why there may be more elements; empty: there are no more
    :ivar counted: the items are the elements one by one; otherwise each stands for any number of elements
    """

    items: tuple[Place | Value, ...] = ()
    unknown: str = ""
    counted: bool = True


@dataclass(frozen=True, eq=False)
class Mapping:
    """A ``Map`` or ``Set``: its values; keys are not followed."""

    items: tuple[Place | Value, ...] = ()
    unknown: str = ""


@dataclass(frozen=True, eq=False)
class Function:
    """A function of the code base."""

    place: Place


@dataclass(frozen=True, eq=False)
class Class:
    """A class of the code base."""

    place: Place


@dataclass(frozen=True, eq=False)
class Instance:
    """An object made by ``new`` from a class of the code base."""

    of: Class
    construction: Place | None = None


@dataclass(frozen=True, eq=False)
class Module:
    """The exports of a file."""

    file: SourceFile


@dataclass(frozen=True)
class Client:
    """A supabase client for certain: made by ``createClient`` of a supabase package."""

    schema: str = ""


@dataclass(frozen=True)
class Mock:
    """Made by a test's mocking library."""


@dataclass(frozen=True)
class Foreign:
    """Something else for certain: another package, a global of the language.

    :ivar what: in words
    """

    what: str


@dataclass(frozen=True, eq=False)
class Union:
    """One of several, depending on the path.

    :ivar complete: there are no others
    :ivar reason: why there are several, or others
    """

    options: tuple[Value, ...]
    complete: bool
    reason: str


@dataclass(frozen=True)
class Unknown:
    """Not known.

    :ivar reason: in words
    """

    reason: str


Value: TypeAlias = (
    "Constant | Text | Object | List | Mapping | Function | Class | Instance | Module | Client | Mock"
    "| Foreign | Union | Unknown"
)


def options(value: Value) -> Iterator[Value]:
    """Every single value that a value can be."""
    if isinstance(value, Union):
        for option in value.options:
            yield from options(option)
    else:
        yield value


def union(values: Sequence[Value], reason: str, complete: bool = True) -> Value:
    """One value for several: what is the same is named once."""
    flat: list[Value] = []
    for value in values:
        if isinstance(value, Union):
            complete = complete and value.complete
        for option in options(value):
            if option not in flat:
                flat.append(option)
    if len(flat) == 1 and complete:
        return flat[0]
    if not flat:
        return Unknown(reason)
    return Union(tuple(flat), complete, reason)


def is_empty(value: Value) -> bool:
    """``undefined``, ``null``, ``false`` or an empty text."""
    return isinstance(value, Constant) and (value is UNDEFINED or value.value in (None, False, ""))


def merge(entries: dict[str, Entry], spread: Value, text: str, *, optional: bool = False) -> str:
    """Put the keys of a spread value into an object's; why there may be more, or an empty text.

    :param optional: the spread is ``...(condition && value)``: nothing is one of the choices. Elsewhere a value that
        can be null is taken for one that is checked before.
    """
    unknown = ""
    objects: list[Object] = []
    for choice in options(spread):
        if isinstance(choice, Object):
            objects.append(choice)
            unknown = unknown or choice.unknown
        elif not (isinstance(choice, Constant) and is_empty(choice)):
            why = choice.reason if isinstance(choice, Unknown) else ""
            unknown = unknown or f"{text} is spread" + (f" ({why})" if why and why != text else "")
        elif optional:
            objects.append(Object())
    for choice in objects:
        for key, entry in choice.entries.items():
            always = all(key in other.entries and not other.entries[key].conditional for other in objects)
            if always:
                entries[key] = Entry(entry.place)
            elif key not in entries:
                entries[key] = Entry(entry.place, True)
    if isinstance(spread, Union) and not spread.complete and not unknown:
        unknown = f"{text} is spread ({spread.reason})"
    return unknown


def brief(text: str) -> str:
    """An expression short enough for a reason."""
    line = " ".join(text.split())
    return line if len(line) <= 60 else line[:57] + "..."


def is_text(value: Value) -> bool:
    """A constant string."""
    return isinstance(value, Constant) and isinstance(value.value, str) and value is not UNDEFINED


def scalar_text(value: Constant) -> str:
    """A constant as JavaScript writes it into a text."""
    if value.value is None:
        return "null"
    if isinstance(value.value, bool):
        return "true" if value.value else "false"
    return str(value.value)


def joined(parts: tuple[str | Place, ...]) -> Value:
    """A text of parts; a constant when all of them are known."""
    if all(isinstance(part, str) for part in parts):
        return Constant("".join(part for part in parts if isinstance(part, str)))
    merged: list[str | Place] = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        else:
            merged.append(part)
    return Text(tuple(merged))


def may_be_undefined(value: Value) -> bool:
    """Whether one of the choices is ``undefined``, or not known."""
    return any(option is UNDEFINED or isinstance(option, Unknown) for option in options(value))
