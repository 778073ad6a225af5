"""What an expression says of the value that the running code will put in its place: a name, and a type."""

from __future__ import annotations

from ansible.module_utils.rollout.audit.chain import Parameter
from ansible.module_utils.rollout.audit.evaluation import Evaluator
from ansible.module_utils.rollout.audit.syntax import SourceFile, arguments_of, unwrap
from ansible.module_utils.rollout.audit.values import (
    UNDEFINED,
    Constant,
    List,
    Object,
    Place,
    Text,
    Union,
    Value,
    options,
)
from tree_sitter import Node

_NUMBERS = frozenset({"parseInt", "parseFloat", "Number", "Date.now", "Number.parseInt", "Number.parseFloat"})
_TEXTS = frozenset({"String", "JSON.stringify"})
_METHODS = {
    **dict.fromkeys(("toISOString", "toJSON"), "timestamp"),
    **dict.fromkeys(
        (
            "trim",
            "toLowerCase",
            "toUpperCase",
            "toString",
            "replace",
            "join",
            "padStart",
            "substring",
            "slice_",
            "toFixed",
        ),
        "string",
    ),
    **dict.fromkeys(("map", "filter", "flatMap", "concat", "flat"), "array"),
    **dict.fromkeys(("includes", "startsWith", "endsWith", "some", "every", "has", "test"), "boolean"),
    **dict.fromkeys(("indexOf", "getTime", "charCodeAt"), "number"),
}
_COMPARISONS = frozenset({"===", "!==", "==", "!=", "<", ">", "<=", ">=", "in", "instanceof"})
_ARITHMETIC = frozenset({"-", "*", "/", "%", "**", "|", "&", "^", "<<", ">>", ">>>"})
MAX_STEPS = 8


def parameter(evaluator: Evaluator, place: Place | Value, value: Value, fallback: str) -> Parameter:
    """The parameter that stands for an expression.

    :param value: what the expression can be
    :param fallback: the name, where the expression has none: the column's
    """
    kinds = list(options(value))
    undefined = any(kind is UNDEFINED for kind in kinds)
    template: tuple[str, ...] = ()
    if isinstance(value, Text):
        template = _template(value)
        part = next((item for item in value.parts if isinstance(item, Place)), None)
        name = _name(part.file, part.node) if part is not None else ""
        return Parameter(name or fallback, "string", template)
    shape = _shape(kinds)
    if shape == "undefined" and isinstance(value, Union) and not value.complete:
        shape, undefined = "", False
    if not isinstance(place, Place):
        return Parameter(fallback, shape, (), undefined and len(kinds) > 1)
    name = _name(place.file, place.node)
    kind = shape or type_of(place.file, place.node)
    may = _may_be_undefined(place.file, place.node, 0) or (undefined and len(kinds) > 1)
    return Parameter(name or fallback, kind, (), may)


def shows_its_value(file: SourceFile, node: Node, steps: int = 0) -> bool:
    """Whether it is worth asking what an expression is: whether the text around it can say so.

    A field of something that arrives at run time is not; a literal, a constant and an entry of a constant are.
    """
    node = unwrap(node)
    kind = node.type
    if kind in ("identifier", "shorthand_property_identifier"):
        binding = file.resolve(node)
        if binding is None:
            return False
        if binding.kind in ("import", "enum"):
            return True
        if binding.kind not in ("const", "let", "var") or binding.path or binding.source is None:
            return binding.kind in ("let", "var")
        return steps >= MAX_STEPS or shows_its_value(file, binding.source, steps + 1)
    if kind == "member_expression":
        root = node
        while root.type == "member_expression":
            root = unwrap(root.child_by_field_name("object") or root)
            if root.type == "this":
                return _is_set_to_text(file, node)
            if root.type not in ("member_expression", "identifier"):
                return False
        return file.string(root)[:1].isupper()
    if kind == "unary_expression":
        return False
    if kind == "ternary_expression":
        return all(
            branch is not None and shows_its_value(file, branch, steps)
            for branch in (node.child_by_field_name("consequence"), node.child_by_field_name("alternative"))
        )
    if kind == "binary_expression":
        sides = [node.child_by_field_name(name) for name in ("left", "right")]
        shown = [side is not None and shows_its_value(file, side, steps) for side in sides]
        operator = node.child_by_field_name("operator")
        # 'prefix' + x is a text with a known part.
        return any(shown) if operator is not None and operator.type == "+" else all(shown)
    return kind not in (
        "call_expression",
        "await_expression",
        "new_expression",
        "this",
        "subscript_expression",
    )


def _is_set_to_text(file: SourceFile, access: Node) -> bool:
    """``this.name``, where the file sets it to a string."""
    name = access.child_by_field_name("property")
    for item in file.properties(file.string(name)) if name is not None else ():
        target = file.parent(item)
        above = file.parent(target) if target is not None else None
        right = above.child_by_field_name("right") if above is not None else None
        if (
            above is not None
            and above.type == "assignment_expression"
            and right is not None
            and right.type == "string"
        ):
            return True
    return False


def _template(value: Text) -> tuple[str, ...]:
    pieces = [""]
    for part in value.parts:
        if isinstance(part, str):
            pieces[-1] += part
        else:
            pieces.append("")
    return tuple(pieces) if pieces != ["", ""] else ()


def _shape(kinds: list[Value]) -> str:
    known = [kind for kind in kinds if kind is not UNDEFINED and kind != Constant(None)]
    if kinds and not known:
        return "undefined" if all(kind is UNDEFINED for kind in kinds) else ""
    if known and all(isinstance(kind, List) for kind in known):
        return "array"
    if known and all(isinstance(kind, Object) for kind in known):
        return "object"
    if known and all(isinstance(kind, Constant) for kind in known):
        types = {type(kind.value) for kind in known if isinstance(kind, Constant)}
        names = {str: "string", bool: "boolean", int: "number", float: "number"}
        return names.get(types.pop(), "") if len(types) == 1 else ""
    return ""


def _name(file: SourceFile, node: Node) -> str:
    """A name taken from an expression; empty when it has none."""
    node = unwrap(node)
    kind = node.type
    if kind in ("identifier", "shorthand_property_identifier"):
        return file.string(node)
    if kind in ("member_expression", "subscript_expression"):
        name = node.child_by_field_name("property")
        text = file.string(name).lstrip("#") if name is not None else ""
        return text if text and text != "length" else _child(file, node, "object")
    if kind == "call_expression":
        given = arguments_of(node)
        callee = node.child_by_field_name("function")
        text = file.string(callee) if callee is not None else ""
        if text in _NUMBERS | _TEXTS or text.startswith("Math."):
            return _name(file, given[0]) if given else ""
        if callee is not None and callee.type == "member_expression":
            method = callee.child_by_field_name("property")
            if method is not None and file.string(method) in _METHODS:
                return _child(file, callee, "object")
        return _name(file, given[0]) if given else ""
    if kind in ("binary_expression", "assignment_expression"):
        return _child(file, node, "left")
    if kind == "ternary_expression":
        return _child(file, node, "consequence") or _child(file, node, "alternative")
    if kind in ("await_expression", "unary_expression"):
        return _name(file, node.named_children[-1]) if node.named_children else ""
    if kind == "new_expression":
        given = arguments_of(node)
        return _name(file, given[0]) if given else ""
    return ""


def _child(file: SourceFile, node: Node, name: str) -> str:
    child = node.child_by_field_name(name)
    return _name(file, child) if child is not None else ""


def type_of(file: SourceFile, node: Node, steps: int = 0) -> str:
    """The type that an expression shows; empty when it shows none."""
    node = unwrap(node)
    kind = node.type
    if kind in ("template_string", "string"):
        return "string"
    if kind in ("array", "object", "number"):
        return kind
    if kind in ("true", "false"):
        return "boolean"
    if kind == "new_expression":
        constructor = node.child_by_field_name("constructor")
        text = file.string(constructor) if constructor is not None else ""
        return "Date" if text == "Date" else "array" if text == "Array" else "object"
    if kind == "unary_expression":
        operator = node.child_by_field_name("operator")
        word = operator.type if operator is not None else ""
        return {"!": "boolean", "+": "number", "-": "number", "typeof": "string", "void": "undefined"}.get(
            word, ""
        )
    if kind == "binary_expression":
        return _type_of_binary(file, node, steps)
    if kind == "ternary_expression":
        found = {
            type_of(file, branch, steps)
            for branch in (node.child_by_field_name("consequence"), node.child_by_field_name("alternative"))
            if branch is not None and branch.type not in ("null", "undefined")
        }
        return found.pop() if len(found) == 1 else ""
    if kind == "await_expression":
        return type_of(file, node.named_children[-1], steps) if node.named_children else ""
    if kind == "call_expression":
        return _type_of_call(file, node)
    if kind == "member_expression":
        name = node.child_by_field_name("property")
        return "number" if name is not None and file.string(name) == "length" else ""
    if kind in ("identifier", "shorthand_property_identifier") and steps < MAX_STEPS:
        binding = file.resolve(node)
        if (
            binding is not None
            and binding.kind in ("const", "let", "var")
            and binding.source
            and not binding.path
        ):
            return type_of(file, binding.source, steps + 1)
    return ""


def _type_of_binary(file: SourceFile, node: Node, steps: int) -> str:
    operator = node.child_by_field_name("operator")
    word = operator.type if operator is not None else ""
    if word in _COMPARISONS:
        return "boolean"
    if word in _ARITHMETIC:
        return "number"
    sides = [node.child_by_field_name(name) for name in ("left", "right")]
    found = [type_of(file, side, steps) for side in sides if side is not None]
    if word == "+":
        return "string" if "string" in found else "number" if found == ["number", "number"] else ""
    known = {
        kind
        for side, kind in zip(sides, found, strict=False)
        if side is not None and side.type not in ("null", "undefined")
    }
    return known.pop() if len(known) == 1 else ""


def _type_of_call(file: SourceFile, node: Node) -> str:
    callee = node.child_by_field_name("function")
    if callee is None:
        return ""
    text = file.string(callee)
    if text in _NUMBERS or text.startswith("Math."):
        return "number"
    if text in _TEXTS:
        return "string"
    if text in ("Object.keys", "Object.values", "Object.entries", "Array.from", "Array.of"):
        return "array"
    if text == "Boolean":
        return "boolean"
    if callee.type == "member_expression":
        name = callee.child_by_field_name("property")
        return _METHODS.get(file.string(name), "") if name is not None else ""
    return ""


def _may_be_undefined(file: SourceFile, node: Node, steps: int) -> bool:
    """``a?.b`` without a default, ``x ? y : undefined``."""
    node = unwrap(node)
    if node.type in ("member_expression", "subscript_expression", "call_expression"):
        if any(child.type == "optional_chain" for child in node.children):
            return True
        inner = node.child_by_field_name("object") or node.child_by_field_name("function")
        return inner is not None and inner.type != "identifier" and _may_be_undefined(file, inner, steps)
    if node.type == "undefined":
        return True
    if node.type == "ternary_expression":
        branches = (node.child_by_field_name("consequence"), node.child_by_field_name("alternative"))
        return any(branch is not None and _may_be_undefined(file, branch, steps) for branch in branches)
    if node.type == "binary_expression":
        operator, right = node.child_by_field_name("operator"), node.child_by_field_name("right")
        if operator is not None and operator.type in ("||", "??") and right is not None:
            return _may_be_undefined(file, right, steps)
        return False
    if node.type in ("identifier", "shorthand_property_identifier") and steps < MAX_STEPS:
        binding = file.resolve(node)
        if (
            binding is not None
            and binding.kind == "const"
            and binding.source is not None
            and not binding.path
        ):
            return _may_be_undefined(file, binding.source, steps + 1)
    return False
