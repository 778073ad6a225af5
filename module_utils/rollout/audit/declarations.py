"""Functions and classes in the syntax tree: names, members, bases, calls; nothing is evaluated."""

from __future__ import annotations

from ansible.module_utils.rollout.audit.syntax import CLASSES, FUNCTIONS, WRAPPERS, SourceFile
from tree_sitter import Node


def returns(file: SourceFile, function: Node) -> list[Node]:
    """The expressions that a function returns, those of functions inside it left out."""
    body = function.child_by_field_name("body")
    if body is None:
        return []
    if body.type != "statement_block":
        return [body]
    found: list[Node] = []
    waiting = [body]
    while waiting:
        node = waiting.pop()
        if node.type == "return_statement":
            found += [child for child in node.named_children if child.type != "comment"][:1]
        elif (
            node.type not in FUNCTIONS and node.type not in CLASSES and not node.type.endswith("_expression")
        ):
            waiting += node.named_children
    return sorted(found, key=lambda node: node.start_byte)


def function_name(file: SourceFile, function: Node) -> str:
    """``Class.method``, ``function``, or the variable or key that a function is kept in; empty for none."""
    name = function.child_by_field_name("name")
    if name is not None:
        text = file.string(name)
        owner = file.class_around(function) if function.type == "method_definition" else None
        prefix = class_name(file, owner) if owner is not None else ""
        return f"{prefix}.{text}" if prefix else text
    above = file.parent(file.outside(function))
    if above is None:
        return ""
    if above.type in ("variable_declarator", "field_definition", "public_field_definition", "pair"):
        key = (
            above.child_by_field_name("name")
            or above.child_by_field_name("property")
            or above.child_by_field_name("key")
        )
        return file.string(key) if key is not None and key.type.endswith("identifier") else ""
    if above.type == "assignment_expression":
        left = above.child_by_field_name("left")
        if left is not None and left.type == "member_expression":
            left = left.child_by_field_name("property")
        return file.string(left) if left is not None else ""
    return ""


def class_name(file: SourceFile, owner: Node) -> str:
    """The name of a class, or of the variable that it is kept in."""
    name = owner.child_by_field_name("name")
    if name is not None:
        return file.string(name)
    above = file.parent(owner)
    left = above.child_by_field_name("name") if above is not None else None
    return file.string(left) if left is not None and left.type == "identifier" else ""


def called_properties(file: SourceFile, name: str) -> list[Node]:
    """Every ``x.name(…)`` of a file."""
    found = []
    for item in file.properties(name):
        access = file.parent(item)
        call = file.parent(access) if access is not None and access.type == "member_expression" else None
        if call is None or call.type != "call_expression" or access is None:
            continue
        callee = call.child_by_field_name("function")
        if callee is not None and callee.id == access.id:
            found.append(call)
    return found


def calls_in(file: SourceFile, node: Node) -> list[Node]:
    """Every call inside a node."""
    found, waiting = [], [node]
    while waiting:
        current = waiting.pop()
        if current.type == "call_expression":
            found.append(current)
        waiting += current.named_children
    return found


def member_node(file: SourceFile, owner: Node, name: str) -> Node | None:
    """The method or field of a class by its name."""
    body = owner.child_by_field_name("body")
    for child in body.named_children if body is not None else ():
        key = child.child_by_field_name("name") or child.child_by_field_name("property")
        if key is not None and file.string(key) == name:
            return child
    return None


def heritage(owner: Node) -> Node | None:
    """The expression after ``extends``."""
    for child in owner.named_children:
        if child.type == "class_heritage":
            for inner in child.named_children:
                if inner.type == "extends_clause":
                    return inner.child_by_field_name("value")
                if inner.type != "implements_clause":
                    return inner
    return None


def extending(file: SourceFile, node: Node) -> Node | None:
    """The class that extends what an identifier names, if that is what it is there for."""
    for above in file.ancestors(node):
        if above.type == "class_heritage":
            return file.parent(above)
        if above.type not in ("extends_clause", "member_expression") and above.type not in WRAPPERS:
            return None
    return None


def is_mocked(file: SourceFile, request: str) -> bool:
    """``jest.mock('request')`` stands in a test file."""
    quoted = request.encode()
    return any(
        word + quote + quoted + quote in file.text
        for word in (b"mock(", b"doMock(", b"unstable_mockModule(")
        for quote in (b"'", b'"', b"`")
    )
