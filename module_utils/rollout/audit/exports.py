"""What a module exports, and what an import gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible.module_utils.rollout.audit.declarations import is_mocked
from ansible.module_utils.rollout.audit.syntax import Binding, SourceFile, string_value
from ansible.module_utils.rollout.audit.values import (
    Constant,
    Entry,
    Foreign,
    Mock,
    Module,
    Object,
    Place,
    Unknown,
    Value,
    brief,
    is_text,
    scalar_text,
    union,
)
from tree_sitter import Node

if TYPE_CHECKING:
    from ansible.module_utils.rollout.audit.evaluation import Evaluator


def required(evaluator: Evaluator, file: SourceFile, argument: Place) -> Value:
    """What ``require(argument)`` gives."""
    request = evaluator.value(argument)
    if not isinstance(request, Constant) or not is_text(request):
        return Unknown(f"the module {brief(file.string(argument.node))} is not known")
    module = named(evaluator, file, scalar_text(request))
    if isinstance(module, Module):
        whole = exports(evaluator, module.file)
        if not isinstance(whole, dict | Object):
            return whole  # module.exports = class …
    return module


def named(evaluator: Evaluator, file: SourceFile, request: str) -> Value:
    """The module that a request names: a file of the code base, a package, or a mock."""
    if "supabase" in request and not request.startswith((".", "/")):
        return Foreign(f"supabase:{request}")
    if file.test and is_mocked(file, request):
        return Mock()
    path = evaluator.project.resolve(file.path, request)
    if path is None:
        if request.startswith((".", "/", "@/", "~/", "#")):
            return Unknown(f"the module {request} is not among the files")
        return Foreign(f"package {request}")
    loaded = evaluator.project.load(path)
    return Module(loaded) if loaded is not None else Unknown(f"the module {request} could not be read")


def imported(evaluator: Evaluator, file: SourceFile, binding: Binding) -> Value:
    """What an import statement binds to a name."""
    source = binding.source.child_by_field_name("source") if binding.source is not None else None
    request = string_value(file, source) if source is not None else None
    if request is None:
        return Unknown("an import without a source")
    module = named(evaluator, file, request)
    if not binding.path:
        return module
    return evaluator.member(module, binding.path[0], request)


def export(evaluator: Evaluator, file: SourceFile, name: str) -> Value:
    """What a module exports under a name. ``default`` of CommonJS is ``module.exports``."""
    found = exports(evaluator, file)
    if not isinstance(found, dict):
        return found if name == "default" else evaluator.member(found, name, file.path)
    if name in found:
        return evaluator.value(found[name])
    for star in [place for key, place in found.items() if key.startswith("* ")]:
        module = evaluator.value(star)
        if isinstance(module, Module):
            value = export(evaluator, module.file, name)
            if not isinstance(value, Unknown):
                return value
    if name == "default" and found:
        return Object({key: Entry(place) for key, place in found.items()})
    return Unknown(f"{file.path} does not export {name}")


def exports(evaluator: Evaluator, file: SourceFile) -> dict[str, Place] | Value:
    """Exports by name, or the one value of ``module.exports =``."""
    if file.path not in evaluator.exported:
        evaluator.exported[file.path] = {}  # while it is computed, for modules that require each other
        evaluator.exported[file.path] = _find_exports(evaluator, file)
    return evaluator.exported[file.path]


def _find_exports(evaluator: Evaluator, file: SourceFile) -> dict[str, Place] | Value:
    found: dict[str, Place] = {}
    whole: list[Place] = []
    for item in [*file.properties("exports"), *file.occurrences("exports")]:
        above = file.parent(item)
        target = item
        if above is not None and item.type == "property_identifier":
            receiver = above.child_by_field_name("object")
            if receiver is None or file.string(receiver) != "module":
                continue
            target, above = above, file.parent(above)
        elif above is None or file.resolve(item) is not None:
            continue
        name = ""
        if above is not None and above.type == "member_expression":
            name = file.string(above.child_by_field_name("property") or above)
            target, above = above, file.parent(above)
        right = above.child_by_field_name("right") if above is not None else None
        left = above.child_by_field_name("left") if above is not None else None
        if above is None or above.type != "assignment_expression" or right is None or left is None:
            continue
        if left.id != target.id:
            continue
        if name:
            found[name] = Place(file, right)
        elif item.type == "property_identifier":
            whole.append(Place(file, right))
    for child in file.root.named_children:
        if child.type == "export_statement":
            _exported(evaluator, file, child, found)
    if whole:
        value = evaluator.value(whole[-1])
        if isinstance(value, Object):
            entries = {name: Entry(place) for name, place in found.items()}
            return Object({**value.entries, **entries}, value.unknown)
        return (
            value if not found else union([value, Object({k: Entry(v) for k, v in found.items()})], "exports")
        )
    return found


def _exported(evaluator: Evaluator, file: SourceFile, statement: Node, found: dict[str, Place]) -> None:
    source = statement.child_by_field_name("source")
    declared = statement.child_by_field_name("declaration")
    value = statement.child_by_field_name("value")
    if any(child.type == "default" for child in statement.children):
        content = value or declared
        if content is not None:
            found["default"] = Place(file, content)
        return
    if declared is not None:
        for node in declared.named_children if declared.type.endswith("_declaration") else ():
            if node.type == "variable_declarator":
                name = node.child_by_field_name("name")
                if name is not None and name.type == "identifier":
                    found[file.string(name)] = Place(file, name)
        name = declared.child_by_field_name("name")
        if name is not None:
            found[file.string(name)] = Place(file, declared)
        return
    specifiers = [
        item
        for child in statement.named_children
        if child.type == "export_clause"
        for item in child.named_children
        if item.type == "export_specifier"
    ]
    if source is not None and not specifiers:
        found[f"* {file.string(source)}"] = Place(file, source)
        evaluator.known[(file.path, source.id, None)] = named(
            evaluator, file, string_value(file, source) or ""
        )
        return
    for specifier in specifiers:
        name = specifier.child_by_field_name("name")
        alias = specifier.child_by_field_name("alias") or name
        if name is None or alias is None:
            continue
        found[file.string(alias)] = Place(file, name)
        if source is not None:
            module = named(evaluator, file, string_value(file, source) or "")
            evaluator.known[(file.path, name.id, None)] = evaluator.member(module, file.string(name), "")
