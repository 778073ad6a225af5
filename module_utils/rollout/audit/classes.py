"""What a field of an object can be: what its class, the bases and the subclasses set it to, and its constructions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible.module_utils.rollout.audit import parameters
from ansible.module_utils.rollout.audit.declarations import (
    calls_in,
    class_name,
    extending,
    heritage,
    member_node,
)
from ansible.module_utils.rollout.audit.syntax import SourceFile, parameters_of
from ansible.module_utils.rollout.audit.values import (
    Class,
    Constant,
    Function,
    Instance,
    Place,
    Unknown,
    Value,
    is_empty,
    options,
    union,
)
from tree_sitter import Node

if TYPE_CHECKING:
    from ansible.module_utils.rollout.audit.evaluation import Evaluator

#: Longer chains of inheritance are a mistake, or a circle.
_MOST_BASES = 16


def instance_member(evaluator: Evaluator, instance: Instance, name: str) -> Value:
    """``this.name``: what any method of the class, its bases and its subclasses sets it to."""
    found: list[Value] = []
    seen: set[tuple[str, int]] = set()
    unknown = ""
    for owner in [instance.of, *_bases(evaluator, instance.of), *_derived(evaluator, instance.of)]:
        key = (owner.place.file.path, owner.place.node.id)
        if key in seen:
            continue
        seen.add(key)
        for value in _own_member(evaluator, owner, name):
            if isinstance(value, Unknown):
                unknown = value.reason
            elif not (isinstance(value, Constant) and is_empty(value)):
                found.append(value)
    if not found:
        return Unknown(unknown or f"this.{name} is not set in this code")
    return union(found, unknown or f"this.{name} is set in several places", not unknown)


def _own_member(evaluator: Evaluator, owner: Class, name: str) -> list[Value]:
    file, node = owner.place.file, owner.place.node
    member = member_node(file, node, name)
    found: list[Value] = []
    if member is not None:
        if member.type == "method_definition":
            if any(child.type == "get" for child in member.children):
                found.append(evaluator.returned(Function(Place(file, member)), ()))
            else:
                found.append(Function(Place(file, member)))
        else:
            content = member.child_by_field_name("value")
            if content is not None:
                found.append(evaluator.value(Place(file, content)))
    for item in file.properties(name):
        access = file.parent(item)
        if access is None or access.type != "member_expression":
            continue
        receiver = access.child_by_field_name("object")
        above = file.parent(access)
        if receiver is None or receiver.type != "this" or above is None:
            continue
        right = above.child_by_field_name("right")
        left = above.child_by_field_name("left")
        if above.type != "assignment_expression" or left is None or left.id != access.id or right is None:
            continue
        around = file.class_around(access)
        if around is not None and around.id == node.id:
            found.append(evaluator.value(Place(file, right)))
    found += _parameter_properties(evaluator, owner, name)
    return found


def _parameter_properties(evaluator: Evaluator, owner: Class, name: str) -> list[Value]:
    """TypeScript's ``constructor(private db: SupabaseClient)``."""
    file = owner.place.file
    constructor = (
        member_node(file, owner.place.node, "constructor") if file.language != "javascript" else None
    )
    if constructor is None:
        return []
    found: list[Value] = []
    for parameter in parameters_of(constructor):
        pattern = parameter.child_by_field_name("pattern")
        modified = any(child.type in ("accessibility_modifier", "readonly") for child in parameter.children)
        if modified and pattern is not None and file.string(pattern) == name:
            binding = next((item for item in file.bindings(name) if item.node.id == pattern.id), None)
            if binding is not None:
                found.append(parameters.parameter_value(evaluator, file, binding, Place(file, pattern)))
    return found


def static_member(evaluator: Evaluator, owner: Class, name: str) -> Value:
    """``Class.name``: a static method or field, also of a base."""
    file = owner.place.file
    member = member_node(file, owner.place.node, name)
    if member is not None and member.type == "method_definition":
        return Function(Place(file, member))
    content = member.child_by_field_name("value") if member is not None else None
    if content is not None:
        return evaluator.value(Place(file, content))
    for item in file.properties(name):
        access = file.parent(item)
        above = file.parent(access) if access is not None else None
        if above is None or access is None or above.type != "assignment_expression":
            continue
        right, left = above.child_by_field_name("right"), above.child_by_field_name("left")
        receiver = access.child_by_field_name("object")
        if left is None or left.id != access.id or right is None or receiver is None:
            continue
        if file.string(receiver) == class_name(file, owner.place.node):
            return evaluator.value(Place(file, right))
    for base in _bases(evaluator, owner)[:1]:
        return static_member(evaluator, base, name)
    return Unknown(f"{class_name(file, owner.place.node)}.{name}")


def _bases(evaluator: Evaluator, owner: Class) -> list[Class]:
    """The classes that a class extends, nearest first."""
    found: list[Class] = []
    current: Class | None = owner
    while current is not None and len(found) < _MOST_BASES:
        base = heritage(current.place.node)
        value = evaluator.value(Place(current.place.file, base)) if base is not None else None
        current = (
            next((option for option in options(value) if isinstance(option, Class)), None) if value else None
        )
        if current is not None:
            found.append(current)
    return found


def _derived(evaluator: Evaluator, owner: Class) -> list[Class]:
    """The classes of the code base that extend a class."""
    name = class_name(owner.place.file, owner.place.node)
    found = []
    for path in sorted(evaluator.project.subclasses(name)) if name else ():
        file = evaluator.project.load(path)
        if file is None:
            continue
        for node in file.occurrences(name):
            derived = extending(file, node)
            if derived is not None and not (
                file.path == owner.place.file.path and derived.id == owner.place.node.id
            ):
                found.append(Class(Place(file, derived)))
    return found


def constructions(evaluator: Evaluator, file: SourceFile, owner: Node) -> tuple[list[Place], bool]:
    """``new K(…)``, and ``super(…)`` in classes that extend K, anywhere in the code base."""
    name = class_name(file, owner)
    sites: list[Place] = []
    if not name:
        return sites, False
    for path in sorted({file.path, *evaluator.project.constructions(name)}):
        other = evaluator.project.load(path)
        if other is None:
            continue
        for node in other.occurrences(name):
            above = other.parent(node)
            if above is not None and above.type == "new_expression":
                sites.append(Place(other, above))
    for path in sorted({file.path, *evaluator.project.subclasses(name)}):
        other = evaluator.project.load(path)
        if other is None:
            continue
        for node in other.occurrences(name):
            derived = extending(other, node)
            if derived is not None:
                sites += _super_calls(evaluator, other, derived)
    return sites, True


def _super_calls(evaluator: Evaluator, file: SourceFile, owner: Node) -> list[Place]:
    constructor = member_node(file, owner, "constructor")
    if constructor is None:
        return constructions(evaluator, file, owner)[0]
    return [
        Place(file, call)
        for call in calls_in(file, constructor)
        if (callee := call.child_by_field_name("function")) is not None and callee.type == "super"
    ]
