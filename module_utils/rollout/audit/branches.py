"""Which path leads to a place: conditions around it, and assignments before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ansible.module_utils.rollout.audit.syntax import (
    FUNCTIONS,
    Binding,
    SourceFile,
    arguments_of,
    string_value,
    unwrap,
)
from ansible.module_utils.rollout.audit.values import (
    Constant,
    Entry,
    List,
    Mapping,
    Object,
    Place,
    Unknown,
    Value,
    merge,
    options,
    union,
)
from tree_sitter import Node

if TYPE_CHECKING:
    from ansible.module_utils.rollout.audit.evaluation import Evaluator

#: Around a place, these mean that it is not reached every time. A loop's body may run no time at all.
_BRANCHES = frozenset(
    {
        "if_statement",
        "else_clause",
        "switch_case",
        "switch_default",
        "ternary_expression",
        "for_statement",
        "for_in_statement",
        "while_statement",
        "catch_clause",
    }
)
#: ``n += 1``, ``n++``.
_COUNTING = frozenset({"augmented_assignment_expression", "update_expression"})
#: ``[a, b] = …``, ``({ a } = …)``.
_PATTERNS = frozenset({"array_pattern", "object_pattern", "pair_pattern"})
_WRITING = frozenset({"push", "unshift", "set", "add"})
_LOOPS = frozenset({"for_statement", "for_in_statement", "while_statement", "do_statement"})


def is_conditional(file: SourceFile, node: Node, origin: Node) -> bool:
    """Whether a place is not on every path from an origin before it.

    What is around both decides nothing: a chain that is as a whole inside an ``if`` is not conditional in itself.
    """
    inner = node
    for above in file.ancestors(node):
        if above.start_byte <= origin.start_byte and origin.end_byte <= above.end_byte:
            # Around both; but they can be in two arms of it.
            return above.type in ("if_statement", "ternary_expression", "switch_body") and _in_arm(
                above, inner
            )
        if above.type in FUNCTIONS:
            return True
        if above.type in _BRANCHES and _in_arm(above, inner):
            return True
        if above.type == "binary_expression":
            operator, right = above.child_by_field_name("operator"), above.child_by_field_name("right")
            if (
                operator is not None
                and operator.type in ("&&", "||", "??")
                and right is not None
                and right.id == inner.id
            ):
                return True
        inner = above
    return False


def exclude_each_other(file: SourceFile, one: Node, other: Node) -> bool:
    """Whether two places are in different arms of the same condition, so that no path has both."""
    arms = {}
    inner = one
    for above in file.ancestors(one):
        if above.type in ("if_statement", "ternary_expression", "switch_body"):
            arms[above.id] = inner.id
        inner = above
    inner = other
    for above in file.ancestors(other):
        if above.id in arms:
            return (
                arms[above.id] != inner.id and _in_arm(above, inner) and arms[above.id] != _condition(above)
            )
        inner = above
    return False


def in_one_loop(file: SourceFile, one: Node, other: Node) -> bool:
    """Whether a loop is around both, so that the later place comes before the earlier one, too."""
    loops = {above.id for above in file.ancestors(one) if above.type in _LOOPS}
    return any(above.id in loops for above in file.ancestors(other))


def _condition(node: Node) -> int:
    condition = node.child_by_field_name("condition") or node.child_by_field_name("value")
    return condition.id if condition is not None else 0


def _in_arm(above: Node, inner: Node) -> bool:
    if above.type in ("for_statement", "for_in_statement", "while_statement"):
        body = above.child_by_field_name("body")
        return body is not None and body.id == inner.id
    return inner.id != _condition(above)


def compared(file: SourceFile, binding: Binding, use: Node) -> tuple[str, ...] | None:
    """The strings that a name is compared with by the conditions around a use; ``None`` when there is no such."""
    inner = use
    for above in file.ancestors(use):
        if above.type == "if_statement":
            condition, then = above.child_by_field_name("condition"), above.child_by_field_name("consequence")
            if condition is not None and then is not None and then.id == inner.id:
                found = _equals(file, unwrap(condition), file.string(binding.node))
                if found is not None:
                    return found
        if above.id == binding.scope.id:
            return None
        inner = above
    return None


def _equals(file: SourceFile, condition: Node, name: str) -> tuple[str, ...] | None:
    if condition.type != "binary_expression":
        return None
    left, right = (condition.child_by_field_name(side) for side in ("left", "right"))
    operator = condition.child_by_field_name("operator")
    if left is None or right is None or operator is None:
        return None
    left, right = unwrap(left), unwrap(right)
    if operator.type in ("===", "=="):
        for one, other in ((left, right), (right, left)):
            text = string_value(file, other)
            if text is not None and one.type == "identifier" and file.string(one) == name:
                return (text,)
        return None
    first, second = _equals(file, left, name), _equals(file, right, name)
    if operator.type == "||":
        return first + second if first is not None and second is not None else None
    return first or second if operator.type == "&&" else None


def apply_writes(
    evaluator: Evaluator, found: Value, file: SourceFile, references: list[Node], use: Place
) -> Value:
    """What a variable holds at a use: assignments to it, to its keys, and pushes, as far as they come before.

    :param found: the value of its declaration
    :param references: every use of the variable
    """
    values = list(options(found))
    declared_unknown = isinstance(found, Unknown)
    for reference in references:
        if reference.id == use.node.id or not _can_write(file, reference):
            continue
        after = reference.start_byte > use.node.start_byte
        if after and not in_one_loop(file, reference, use.node) and _same_function(file, reference, use.node):
            continue
        if exclude_each_other(file, reference, use.node):
            continue
        above = file.parent(reference)
        if above is None:
            continue
        if above.type == "assignment_expression" and _field_is(above, "left", reference):
            right = above.child_by_field_name("right")
            if right is None or _is_inside(use.node, right):
                continue
            value = evaluator.value(Place(file, right, use.frame))
            if is_conditional(file, above, use.node) or after:
                values += list(options(value))
            else:
                values = list(options(value))
            declared_unknown = False
            continue
        if above.type in _COUNTING or above.type in _PATTERNS:
            values.append(Unknown("it is computed step by step"))
            continue
        changed = _change(evaluator, file, above, reference, use)
        if changed is not None:
            values = [changed(value) for value in values]
    unknown = [value for value in values if isinstance(value, Unknown)]
    if unknown and not declared_unknown and len(unknown) < len(values):
        known = [value for value in values if not isinstance(value, Unknown)]
        return union(known, unknown[0].reason, False)
    return union(values, "it is assigned in several places", getattr(found, "complete", True))


def _can_write(file: SourceFile, reference: Node) -> bool:
    """Whether a use of a variable may change it, or what it holds: a quick look."""
    above = file.parent(reference)
    if above is None:
        return False
    if above.type == "assignment_expression":
        return _field_is(above, "left", reference)
    if above.type == "arguments" or above.type in _PATTERNS:
        return True
    if above.type in _COUNTING:
        return _field_is(above, "left", reference) or _field_is(above, "argument", reference)
    if above.type not in ("member_expression", "subscript_expression"):
        return False
    outer = file.parent(above)
    if outer is None or outer.type not in ("assignment_expression", "unary_expression", "call_expression"):
        return False
    name = above.child_by_field_name("property")
    return outer.type != "call_expression" or (name is not None and file.string(name) in _WRITING)


def _change(
    evaluator: Evaluator, file: SourceFile, above: Node, reference: Node, use: Place
) -> Callable[[Value], Value] | None:
    """What one use of a variable does to the object or list in it; ``None`` when it only reads."""
    if above.type == "arguments":
        call = file.parent(above)
        callee = call.child_by_field_name("function") if call is not None else None
        if call is None or callee is None or file.string(callee) != "Object.assign":
            return None
        arguments = arguments_of(call)
        if not arguments or arguments[0].id != reference.id:
            return None
        conditional = is_conditional(file, call, use.node)
        sources = [evaluator.value(Place(file, node, use.frame)) for node in arguments[1:]]
        return lambda value: _merged(value, sources, conditional)
    if above.type not in ("member_expression", "subscript_expression") or not _field_is(
        above, "object", reference
    ):
        return None
    outer = file.parent(above)
    if outer is None:
        return None
    if outer.type == "assignment_expression" and _field_is(outer, "left", above):
        right = outer.child_by_field_name("right")
        if right is None or (_is_inside(use.node, right) and use.node.id != right.id):
            return None
        content = Place(file, right, use.frame)
        conditional = is_conditional(file, outer, use.node)
        names = _names(evaluator, file, above, use)
        return lambda value: _with_keys(value, names, content, conditional, file.string(above))
    if outer.type == "unary_expression" and file.string(outer).startswith("delete"):
        names = _names(evaluator, file, above, use) or []
        conditional = is_conditional(file, outer, use.node)
        return lambda value: _without_keys(value, names, conditional)
    if outer.type == "call_expression" and _field_is(outer, "function", above):
        method = above.child_by_field_name("property")
        if method is not None and file.string(method) in ("set", "add"):
            stored = [Place(file, node, use.frame) for node in arguments_of(outer)[-1:]]
            return lambda value: (
                Mapping((*value.items, *stored), value.unknown) if isinstance(value, Mapping) else value
            )
        if method is not None and file.string(method) in ("push", "unshift"):
            pushed = [Place(file, node, use.frame) for node in arguments_of(outer)]
            return lambda value: _pushed(evaluator, value, pushed)
    return None


def _names(evaluator: Evaluator, file: SourceFile, access: Node, use: Place) -> list[str] | None:
    name = access.child_by_field_name("property")
    if name is not None:
        return [file.string(name)]
    index = access.child_by_field_name("index")
    found = evaluator.value(Place(file, index, use.frame)) if index is not None else Unknown("")
    names = [str(option.value) for option in options(found) if isinstance(option, Constant)]
    complete = getattr(found, "complete", True)
    return names if complete and len(names) == len(list(options(found))) else None


def _with_keys(value: Value, names: list[str] | None, content: Place, conditional: bool, text: str) -> Value:
    if not isinstance(value, Object):
        return value
    if names is None:
        return Object(value.entries, value.unknown or f"a key is computed: {text}")
    entries = dict(value.entries)
    for name in names:
        before = entries.get(name)
        held = (conditional or len(names) > 1) and (before is None or before.conditional)
        entries[name] = Entry(before.place if before is not None and held else content, held)
    return Object(entries, value.unknown)


def _without_keys(value: Value, names: list[str], conditional: bool) -> Value:
    if not isinstance(value, Object):
        return value
    entries = {
        name: Entry(entry.place, True) if name in names else entry
        for name, entry in value.entries.items()
        if conditional or name not in names
    }
    return Object(entries, value.unknown)


def _merged(value: Value, sources: list[Value], conditional: bool) -> Value:
    if not isinstance(value, Object):
        return value
    entries, unknown = dict(value.entries), value.unknown
    for source in sources:
        unknown = merge(entries, source, "Object.assign", optional=conditional) or unknown
    if conditional:
        entries = {
            name: entry if name in value.entries else Entry(entry.place, True)
            for name, entry in entries.items()
        }
    return Object(entries, unknown)


def _pushed(evaluator: Evaluator, value: Value, pushed: list[Place]) -> Value:
    if not isinstance(value, List):
        return value
    items: list[Place | Value] = list(value.items)
    unknown = value.unknown
    for place in pushed:
        if place.node.type == "spread_element":
            inner = evaluator.value(Place(place.file, place.node.named_children[0], place.frame))
            if isinstance(inner, List):
                items += inner.items
                unknown = unknown or inner.unknown
            else:
                unknown = "a list is added that is not known"
        else:
            items.append(place)
    return List(tuple(items), unknown, False)


def _field_is(node: Node, name: str, child: Node) -> bool:
    found = node.child_by_field_name(name)
    return found is not None and found.id == child.id


def _is_inside(node: Node, around: Node) -> bool:
    return around.start_byte <= node.start_byte and node.end_byte <= around.end_byte


def _same_function(file: SourceFile, one: Node, other: Node) -> bool:
    first, second = file.function_around(one), file.function_around(other)
    return (first.id if first else 0) == (second.id if second else 0)
