"""What the code does with an answer ``{ data, error, count }``: which of these it reads."""

from __future__ import annotations

from dataclasses import dataclass, field

from ansible.module_utils.rollout.audit.syntax import (
    FUNCTIONS,
    SourceFile,
    arguments_of,
    key_text,
    parameters_of,
    unwrap,
)
from tree_sitter import Node


@dataclass
class Usage:
    """What is read of the answers to one request, over all the places that receive one.

    :ivar read: names among ``data``, ``error``, ``count``, ``status`` and others
    :ivar escaped: an answer leaves for where this reader does not follow
    :ivar sent: somebody waits for an answer: without that, a builder sends nothing
    :ivar lost: the builder leaves for where this reader does not follow
    """

    read: set[str] = field(default_factory=set)
    escaped: bool = False
    sent: bool = False
    lost: bool = False

    def of(self, name: str) -> bool | None:
        """Whether a part of the answer is read; ``None`` when that is not known."""
        if name in self.read:
            return True
        return None if self.escaped or self.lost or not self.sent else False

    def copy(self) -> Usage:
        """One of its own."""
        return Usage(set(self.read), self.escaped, self.sent, self.lost)


def use_answer(file: SourceFile, node: Node, usage: Usage) -> Node | None:
    """Follow an expression whose value is an answer.

    :returns: the ``return`` statement or the arrow function by which it leaves its function, if it does
    """
    usage.sent = True
    inner = file.outside(node)
    above = file.parent(inner)
    while above is not None:
        kind = above.type
        if kind == "expression_statement":
            return None
        if kind == "variable_declarator":
            name = above.child_by_field_name("name")
            if name is not None:
                use_pattern(file, name, usage)
            return None
        if kind == "assignment_expression":
            left = above.child_by_field_name("left")
            if left is None or left.id == inner.id:
                usage.escaped = True
            elif left.type == "object_pattern":
                use_pattern(file, left, usage)
            elif left.type == "identifier":
                _use_variable(file, left, usage)
            else:
                usage.escaped = True
            return None
        if kind in ("member_expression", "subscript_expression"):
            name = above.child_by_field_name("property") or above.child_by_field_name("index")
            text = key_text(file, name) if name is not None else None
            if text is None:
                usage.escaped = True
            else:
                usage.read.add(text)
            return None
        if kind in ("ternary_expression", "binary_expression", "await_expression", "sequence_expression"):
            inner = file.outside(above)
            above = file.parent(inner)
            continue
        if kind == "return_statement" or (kind == "arrow_function" and _is_body(above, inner)):
            return above
        if kind in ("if_statement", "unary_expression"):
            return None
        usage.escaped = True
        return None
    return None


def use_pattern(file: SourceFile, pattern: Node, usage: Usage) -> None:
    """``const { data, error } = answer``: what is named there, and looked at afterwards."""
    pattern = unwrap(pattern)
    if pattern.type in ("required_parameter", "optional_parameter"):
        inner = pattern.child_by_field_name("pattern")
        if inner is not None:
            use_pattern(file, inner, usage)
    elif pattern.type in ("assignment_pattern", "object_assignment_pattern"):
        left = pattern.child_by_field_name("left")
        if left is not None:
            use_pattern(file, left, usage)
    elif pattern.type == "identifier":
        _use_variable(file, pattern, usage)
    elif pattern.type == "object_pattern":
        for child in pattern.named_children:
            _use_key(file, child, usage)
    elif pattern.type == "array_pattern":
        usage.escaped = True


def _use_key(file: SourceFile, child: Node, usage: Usage) -> None:
    if child.type == "object_assignment_pattern":
        inner = child.child_by_field_name("left")
        if inner is not None:
            _use_key(file, inner, usage)
    elif child.type == "shorthand_property_identifier_pattern":
        if _is_read(file, child):
            usage.read.add(file.string(child))
    elif child.type == "pair_pattern":
        key, value = child.child_by_field_name("key"), child.child_by_field_name("value")
        name = key_text(file, key) if key is not None else None
        if value is not None and value.type == "assignment_pattern":
            value = value.child_by_field_name("left")
        if name is None or value is None:
            usage.escaped = True
        elif value.type != "identifier" or _is_read(file, value):
            usage.read.add(name)
    elif child.type == "rest_pattern":
        usage.escaped = True


def _is_read(file: SourceFile, name: Node) -> bool:
    """Whether a variable that was just set is looked at anywhere."""
    binding = file.resolve(name)
    if binding is None:
        return True  # a global: somebody else may
    return any(
        reference.id != name.id and not _is_target(file, reference) for reference in file.references(binding)
    )


def _is_target(file: SourceFile, reference: Node) -> bool:
    """Whether a use of a name is an assignment to it."""
    inner, above = reference, file.parent(reference)
    while above is not None and (above.type.endswith("_pattern") or above.type == "pair_pattern"):
        inner, above = above, file.parent(above)
    if above is None or above.type != "assignment_expression":
        return False
    left = above.child_by_field_name("left")
    return left is not None and left.id == inner.id


def _use_variable(file: SourceFile, name: Node, usage: Usage) -> None:
    binding = file.resolve(name)
    if binding is None:
        usage.escaped = True
        return
    for reference in file.references(binding):
        if reference.id == name.id or _is_target(file, reference):
            continue
        if reference.start_byte < name.start_byte:
            continue
        if (
            reference.type == "shorthand_property_identifier"
            or use_answer(file, reference, usage) is not None
        ):
            usage.escaped = True


def use_callback(file: SourceFile, function: Node, usage: Usage) -> None:
    """``.then(({ data, error }) => …)``."""
    usage.sent = True
    function = unwrap(function)
    if function.type not in FUNCTIONS:
        usage.escaped = True
        return
    parameters = parameters_of(function)
    if parameters:
        use_pattern(file, parameters[0], usage)


def use_element(file: SourceFile, call: Node, index: int, usage: Usage) -> None:
    """``const [a, { data, error }] = await Promise.all([…])``: what becomes of one element."""
    usage.sent = True
    node = file.outside(call)
    above = file.parent(node)
    if above is not None and above.type == "await_expression":
        node = file.outside(above)
        above = file.parent(node)
    if above is None or above.type == "expression_statement":
        return
    pattern = above.child_by_field_name("name") or above.child_by_field_name("left")
    if above.type == "member_expression" and (name := above.child_by_field_name("property")) is not None:
        outer = file.parent(above)
        if file.string(name) == "then" and outer is not None and outer.type == "call_expression":
            arguments = arguments_of(outer)
            parameters = parameters_of(unwrap(arguments[0])) if arguments else []
            pattern = parameters[0] if parameters else None
    if pattern is None or pattern.type != "array_pattern":
        usage.escaped = True
        return
    elements = _elements(pattern)
    if index < len(elements):
        element = elements[index]
        if element is not None:
            use_pattern(file, element, usage)
    elif elements and elements[-1] is not None and elements[-1].type == "rest_pattern":
        usage.escaped = True


def _elements(pattern: Node) -> list[Node | None]:
    """The elements of an array pattern, holes among them."""
    found: list[Node | None] = []
    current: Node | None = None
    for child in pattern.children[1:-1]:
        if child.type == ",":
            found.append(current)
            current = None
        elif child.type != "comment":
            current = child
    return [*found, current]


def _is_body(function: Node, node: Node) -> bool:
    body = function.child_by_field_name("body")
    return body is not None and body.id == node.id
