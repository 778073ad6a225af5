"""What the methods of the language keep of what is known: of objects, lists, maps and texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible.module_utils.rollout.audit.values import (
    Constant,
    Entry,
    Function,
    List,
    Mapping,
    Object,
    Place,
    Text,
    Unknown,
    Value,
    brief,
    is_text,
    merge,
    options,
    scalar_text,
    union,
)
from tree_sitter import Node

if TYPE_CHECKING:
    from ansible.module_utils.rollout.audit.evaluation import Evaluator

MAX_OPTIONS = 64
_SAME_LIST = frozenset({"filter", "slice", "sort", "reverse", "toSorted", "toReversed", "flat", "splice"})
_SAME_TEXT = frozenset({"trim", "trimStart", "trimEnd", "toString", "normalize", "replace", "replaceAll"})


def built_in(evaluator: Evaluator, place: Place, callee: Node, arguments: tuple[Place, ...]) -> Value | None:
    """Methods of the language that keep what is known; ``None`` for any other."""
    receiver = callee.child_by_field_name("object")
    name = place.file.string(callee.child_by_field_name("property") or callee)
    if receiver is None:
        return None
    owner = place.file.string(receiver)
    if owner == "Object" and arguments:
        return _of_object(evaluator, name, arguments)
    if (owner, name) == ("Array", "from") and arguments:
        return _array_from(evaluator, arguments)
    if (owner, name) in (("JSON", "parse"), ("JSON", "stringify")) and arguments:
        inner = evaluator.value(arguments[0])
        return inner if isinstance(inner, Object | List) else None
    if (owner, name) == ("Promise", "resolve") and arguments:
        return evaluator.value(arguments[0])
    if name in ("values", "get", "entries"):
        over = evaluator.value(Place(place.file, receiver, place.frame))
        if isinstance(over, Mapping):
            if name == "get":
                return evaluator.element(over, f"an entry of {brief(owner)}")
            items = over.items
            if name == "entries":
                items = tuple(List((Unknown("a key"), item)) for item in items)
            return List(items, over.unknown, False)
    if name == "map" and arguments:
        return _mapped(evaluator, place, receiver, arguments)
    if name in _SAME_LIST:
        over = evaluator.value(Place(place.file, receiver, place.frame))
        if isinstance(over, List):
            return List(over.items, over.unknown, False)
        return None
    if name == "concat":
        return _concatenated(evaluator, place, receiver, arguments)
    if name == "join":
        return _list_text(evaluator, place, receiver, arguments)
    if name in _SAME_TEXT and not (name.startswith("replace")):
        over = evaluator.value(Place(place.file, receiver, place.frame))
        if isinstance(over, Constant) and is_text(over):
            text = scalar_text(over)
            return Constant(text.strip() if name == "trim" else text)
    return None


def _of_object(evaluator: Evaluator, name: str, arguments: tuple[Place, ...]) -> Value | None:
    first = evaluator.value(arguments[0])
    if name in ("freeze", "seal"):
        return first
    if name == "keys":
        keys = keys_of(first)
        unknown = (
            "" if not isinstance(keys, Unknown) and _closed(first) else "the object's keys are not known"
        )
        return List(tuple(options(keys)) if not isinstance(keys, Unknown) else (), unknown, not unknown)
    if name in ("values", "entries") and isinstance(first, Object):
        items: tuple[Place | Value, ...] = tuple(entry.place for entry in first.entries.values())
        if name == "entries":
            items = tuple(List((Constant(key), entry.place)) for key, entry in first.entries.items())
        return List(items, first.unknown, not first.unknown)
    if name == "assign":
        entries: dict[str, Entry] = {}
        unknown = ""
        for argument in arguments:
            text = brief(argument.file.string(argument.node))
            unknown = merge(entries, evaluator.value(argument), text) or unknown
        return Object(entries, unknown)
    if name == "fromEntries":
        over = first
        if isinstance(over, List):
            return _from_entries(evaluator, over)
    return None


def _from_entries(evaluator: Evaluator, over: List) -> Value:
    entries: dict[str, Entry] = {}
    unknown = over.unknown
    for item in over.items:
        pair = evaluator.value(item)
        key = evaluator.value(pair.items[0]) if isinstance(pair, List) and len(pair.items) == 2 else None
        if isinstance(pair, List) and isinstance(key, Constant):
            entries[scalar_text(key)] = Entry(pair.items[1], not over.counted)
        else:
            unknown = unknown or "its entries are not known"
    return Object(entries, unknown)


def _array_from(evaluator: Evaluator, arguments: tuple[Place, ...]) -> Value | None:
    over = evaluator.value(arguments[0])
    if len(arguments) > 1:
        function = evaluator.value(arguments[1])
        if isinstance(function, Function):
            element = evaluator.element(over, "an element")
            return List((evaluator.returned(function, (element,), arguments[0].frame),), "", False)
    if isinstance(over, Mapping):
        return List(over.items, over.unknown, False)
    return List(over.items, over.unknown, over.counted) if isinstance(over, List) else None


def _mapped(evaluator: Evaluator, place: Place, receiver: Node, arguments: tuple[Place, ...]) -> Value | None:
    function = evaluator.value(arguments[0])
    if not isinstance(function, Function):
        return None
    over = evaluator.value(Place(place.file, receiver, place.frame))
    if isinstance(over, List) and over.counted and not over.unknown and len(over.items) <= MAX_OPTIONS:
        results = tuple(evaluator.returned(function, (item,), place.frame) for item in over.items)
        return List(results, "", True)
    element = evaluator.element(over, f"an element of {brief(place.file.string(receiver))}")
    result = evaluator.returned(function, (element,), place.frame)
    return List((result,), "", False)


def _concatenated(
    evaluator: Evaluator, place: Place, receiver: Node, arguments: tuple[Place, ...]
) -> Value | None:
    items: list[Place | Value] = []
    unknown = ""
    for part in (Place(place.file, receiver, place.frame), *arguments):
        over = evaluator.value(part)
        if isinstance(over, List):
            items += over.items
            unknown = unknown or over.unknown
        else:
            unknown = "a list is added that is not known"
    return List(tuple(items), unknown, False) if items else None


def _list_text(
    evaluator: Evaluator, place: Place, receiver: Node, arguments: tuple[Place, ...]
) -> Value | None:
    over = evaluator.value(Place(place.file, receiver, place.frame))
    between = evaluator.value(arguments[0]) if arguments else Constant(",")
    if not isinstance(over, List) or not isinstance(between, Constant):
        return None
    if over.unknown or not over.counted:
        return None
    parts: list[str | Place] = []
    for number, item in enumerate(over.items):
        if number:
            parts.append(scalar_text(between))
        if isinstance(item, Place):
            parts.append(item)
        elif isinstance(item, Constant):
            parts.append(scalar_text(item))
        elif isinstance(item, Text):
            parts += item.parts
        else:
            return None
    return evaluator.text(parts)


def mapping(evaluator: Evaluator, name: str, arguments: list[Node], place: Place) -> Value:
    """What ``new Map(…)`` or ``new Set(…)`` holds."""
    if not arguments:
        return Mapping()
    over = evaluator.value(Place(place.file, arguments[0], place.frame))
    if not isinstance(over, List):
        return Mapping((), f"made of {brief(place.file.string(arguments[0]))}")
    if name == "Set":
        return Mapping(over.items, over.unknown)
    return Mapping(
        tuple(evaluator.member(evaluator.value(item), 1, name) for item in over.items), over.unknown
    )


def keys_of(value: Value) -> Value:
    """Any key of an object."""
    keys: list[Value] = []
    complete = True
    for option in options(value):
        if isinstance(option, Object):
            keys += [Constant(key) for key in option.entries]
            complete = complete and not option.unknown
        else:
            complete = False
    return (
        union(keys, "a loop over an object's keys", complete)
        if keys
        else Unknown("a loop over keys that are not known")
    )


def _closed(value: Value) -> bool:
    return isinstance(value, Object) and not value.unknown
