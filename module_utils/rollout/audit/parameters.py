"""What a parameter can be: by the call that is being looked through, or by all calls that the code shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible.module_utils.rollout.audit import classes
from ansible.module_utils.rollout.audit.declarations import called_properties, function_name
from ansible.module_utils.rollout.audit.syntax import Binding, SourceFile, arguments_of, parameters_of, unwrap
from ansible.module_utils.rollout.audit.values import (
    UNDEFINED,
    Frame,
    Function,
    List,
    Place,
    Unknown,
    Value,
    brief,
    may_be_undefined,
    options,
    union,
)
from tree_sitter import Node

if TYPE_CHECKING:
    from ansible.module_utils.rollout.audit.evaluation import Evaluator

_OF_EACH = frozenset({"map", "forEach", "filter", "flatMap", "some", "every", "find", "reduce"})


def parameter_value(evaluator: Evaluator, file: SourceFile, binding: Binding, use: Place) -> Value:
    """What a parameter can be where it is used."""
    function = binding.scope
    name = file.string(binding.node)
    frame = use.frame.of(function) if use.frame else None
    if frame is not None:
        return argument(evaluator, frame.arguments, binding, file, frame.outer)
    element = _callback_parameter(evaluator, file, binding, use)
    if element is not None:
        return element
    sites, complete = call_sites(evaluator, file, function)
    found = []
    for site in sites:
        arguments = tuple(Place(site.file, node, site.frame) for node in arguments_of(site.node))
        found.append(argument(evaluator, arguments, binding, file, None))
    reason = f"parameter {name} of {function_name(file, function) or 'a function'}"
    known = [value for value in found if not isinstance(value, Unknown)]
    if not known:
        if binding.default is not None:
            return union([evaluator.value(Place(file, binding.default, use.frame))], reason, False)
        return Unknown(reason)
    return union(known, reason, complete and len(known) == len(found))


def argument(
    evaluator: Evaluator,
    arguments: tuple[Value | Place, ...],
    binding: Binding,
    file: SourceFile,
    frame: Frame | None,
) -> Value:
    """What a parameter is for these arguments of a call."""
    path = list(binding.path)
    if path and path[0] == "..." and len(path) == 1:
        return List(arguments[binding.index :])
    found = evaluator.value(arguments[binding.index]) if binding.index < len(arguments) else UNDEFINED
    parameters = parameters_of(binding.scope)
    if found is UNDEFINED and path and binding.index < len(parameters):
        whole = parameters[binding.index].child_by_field_name("right")
        whole = whole or parameters[binding.index].child_by_field_name("value")
        if whole is not None:
            found = evaluator.value(Place(file, whole, frame))
    for step in path:
        found = evaluator.member(found, step, file.string(binding.node))
    if binding.default is not None and may_be_undefined(found):
        known = [option for option in options(found) if option is not UNDEFINED]
        return union([*known, evaluator.value(Place(file, binding.default, frame))], "a default")
    return found


def _callback_parameter(evaluator: Evaluator, file: SourceFile, binding: Binding, use: Place) -> Value | None:
    """``LIST.forEach(name => …)``: an element. ``None`` when the function is no such callback."""
    function = file.outside(binding.scope)
    arguments = file.parent(function)
    call = file.parent(arguments) if arguments is not None and arguments.type == "arguments" else None
    if call is None or call.type != "call_expression":
        return None
    callee = call.child_by_field_name("function")
    if callee is None:
        return None
    receiver = callee.child_by_field_name("object") if callee.type == "member_expression" else None
    method = file.string(callee.child_by_field_name("property") or callee)
    if method not in _OF_EACH or receiver is None:
        return _given_parameter(evaluator, file, binding, call, function, use)
    if arguments_of(call)[0].id != function.id:
        return None
    if binding.index != (1 if method == "reduce" else 0):
        return Unknown(f"{file.string(binding.node)} counts the elements")
    element = evaluator.element(
        evaluator.value(Place(file, receiver, use.frame)), f"a loop over {brief(file.string(receiver))}"
    )
    for step in binding.path:
        element = evaluator.member(element, step, file.string(binding.node))
    return element


def _given_parameter(
    evaluator: Evaluator, file: SourceFile, binding: Binding, call: Node, function: Node, use: Place
) -> Value | None:
    """``each(list, batch => …)``: what ``each``, a function of the code base, calls the callback with."""
    callee = unwrap(call.child_by_field_name("function") or call)
    given = arguments_of(call)
    index = next((number for number, node in enumerate(given) if node.id == function.id), 0)
    found: list[Value] = []
    for option in options(evaluator.value(Place(file, callee, use.frame))):
        if not isinstance(option, Function) or option.place.node.id == binding.scope.id:
            continue
        inside = option.place.file
        parameters = parameters_of(option.place.node)
        if index >= len(parameters) or parameters[index].type != "identifier":
            continue
        arguments = tuple(Place(file, node, use.frame) for node in given)
        depth = use.frame.depth + 1 if use.frame else 1
        frame = Frame(option.place.node, arguments, option.place.frame or use.frame, depth)
        for inner in inside.bindings(inside.string(parameters[index])):
            if inner.node.id != parameters[index].id:
                continue
            for reference in inside.references(inner):
                site = inside.parent(reference)
                called = site.child_by_field_name("function") if site is not None else None
                if site is not None and called is not None and called.id == reference.id:
                    passed = tuple(Place(inside, node, frame) for node in arguments_of(site))
                    found.append(argument(evaluator, passed, binding, file, None))
    name = brief(file.string(callee))
    return union(found, f"{name} gives it to the function") if found else None


def call_sites(evaluator: Evaluator, file: SourceFile, function: Node) -> tuple[list[Place], bool]:
    """The calls of a function that the code shows, and whether these are all."""
    owner = file.class_around(function)
    name = function_name(file, function).rpartition(".")[2]
    if not name:
        return [], False
    if function.type == "method_definition" and owner is not None:
        if name == "constructor":
            return classes.constructions(evaluator, file, owner)
        complete = name.startswith(("#", "_"))
        return [Place(file, call) for call in called_properties(file, name)], complete
    sites = []
    complete = True
    exported = False
    for binding in file.bindings(name):
        if binding.source is None or unwrap(binding.source).id != function.id:
            continue
        for reference in file.references(binding):
            call = file.parent(reference)
            if call is not None and call.type == "call_expression" and call.child_by_field_name("function"):
                callee = call.child_by_field_name("function")
                if callee is not None and callee.id == reference.id:
                    sites.append(Place(file, call))
                    continue
            complete = False
        exported = exported or any(above.type == "export_statement" for above in file.ancestors(binding.node))
    if not sites:
        sites = [Place(file, call) for call in called_properties(file, name)]
        complete = False
    return sites, complete and not exported


def call_sites_elsewhere(evaluator: Evaluator, file: SourceFile, function: Node) -> list[Place]:
    """The calls of an exported function in other files."""
    name = function_name(file, function).rpartition(".")[2]
    sites: list[Place] = []
    for path in evaluator.project.naming(name) if name else ():
        other = evaluator.project.load(path) if path != file.path else None
        if other is None:
            continue
        for reference in other.occurrences(name):
            call = other.parent(reference)
            callee = call.child_by_field_name("function") if call is not None else None
            if call is not None and callee is not None and callee.id == reference.id:
                sites += _of_function(evaluator, Place(other, call), callee, function)
        for call in called_properties(other, name):
            callee = call.child_by_field_name("function")
            if callee is not None:
                sites += _of_function(evaluator, Place(other, call), callee, function)
    return sites


def _of_function(evaluator: Evaluator, site: Place, callee: Node, function: Node) -> list[Place]:
    """The call, if it is one of this function."""
    found = evaluator.value(Place(site.file, callee))
    called = [option.place.node for option in options(found) if isinstance(option, Function)]
    return [site] if any(node == function for node in called) else []
