"""Abstract interpretation, on demand: what an expression can be, through variables, functions, classes and modules."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeAlias

from ansible.module_utils.rollout.audit import branches
from ansible.module_utils.rollout.audit.syntax import (
    CLASSES,
    FUNCTIONS,
    WRAPPERS,
    Binding,
    SourceFile,
    arguments_of,
    key_text,
    parameters_of,
    string_value,
    unescape,
    unwrap,
)
from ansible.module_utils.rollout.audit.values import (
    UNDEFINED,
    Class,
    Client,
    Constant,
    Entry,
    Foreign,
    Frame,
    Function,
    Instance,
    List,
    Mapping,
    Mock,
    Module,
    Object,
    Place,
    Text,
    Union,
    Unknown,
    Value,
    is_empty,
    merge,
    options,
    union,
)
from tree_sitter import Node

MAX_DEPTH = 8
MAX_ACTIVE = 96
MAX_OPTIONS = 64
#: Functions of supabase's packages that return a client.
CLIENT_MAKERS = frozenset(
    {
        "createClient",
        "createServerClient",
        "createBrowserClient",
        "createClientComponentClient",
        "createServerComponentClient",
        "createRouteHandlerClient",
        "createMiddlewareClient",
        "createPagesServerClient",
        "createPagesBrowserClient",
        "SupabaseClient",
    }
)
#: Globals that have a ``from`` of their own, or return nothing that has.
GLOBALS = frozenset(
    {
        "Array",
        "Buffer",
        "Object",
        "Promise",
        "Math",
        "Date",
        "JSON",
        "String",
        "Number",
        "Iterator",
        "AsyncIterator",
        "Observable",
        "Readable",
        "Set",
        "Map",
        "Temporal",
        "Int8Array",
        "Uint8Array",
        "Uint8ClampedArray",
        "Int16Array",
        "Uint16Array",
        "Int32Array",
        "Uint32Array",
        "Float32Array",
        "Float64Array",
        "BigInt64Array",
        "BigUint64Array",
        "gsap",
    }
)
_MOCKING = frozenset({"jest", "vi", "sinon", "td", "mock"})
_SAME_LIST = frozenset({"filter", "slice", "sort", "reverse", "toSorted", "toReversed", "flat", "splice"})
_SAME_TEXT = frozenset({"trim", "trimStart", "trimEnd", "toString", "normalize", "replace", "replaceAll"})
_OF_EACH = frozenset({"map", "forEach", "filter", "flatMap", "some", "every", "find", "reduce"})


_Key: TypeAlias = "tuple[str, int, Frame | None]"


class Project(Protocol):
    """What the evaluator asks of the code base as a whole."""

    def load(self, path: str) -> SourceFile | None:
        """A file, parsed; ``None`` when there is none, or it is not JavaScript."""

    def resolve(self, file: str, request: str) -> str | None:
        """The file that ``require(request)`` in a file names; ``None`` for a package."""

    def subclasses(self, name: str) -> Iterable[str]:
        """Files in which some class extends one of that name."""

    def constructions(self, name: str) -> Iterable[str]:
        """Files in which ``new name(`` stands."""


class Evaluator:
    """Computes values; remembers what it computed outside of calls."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._known: dict[_Key, Value] = {}
        self._known_in_calls: dict[_Key, Value] = {}
        self._active: dict[_Key, int] = {}
        #: The outermost evaluation that the current one met again: what is cut off there is not the whole value.
        self._met = MAX_ACTIVE
        self._exports: dict[str, dict[str, Place] | Value] = {}

    # -- expressions -----------------------------------------------------------------------------

    def value(self, place: Place | Value) -> Value:
        """What an expression can be."""
        if not isinstance(place, Place):
            return place
        key = (place.file.path, place.node.id, place.frame)
        memory = self._known if place.frame is None else self._known_in_calls
        known = memory.get(key)
        if known is not None:
            return known
        depth = len(self._active)
        if key in self._active:
            self._met = min(self._met, self._active[key])
            return Unknown("it depends on itself")
        if depth >= MAX_ACTIVE or (place.frame and place.frame.depth > MAX_DEPTH):
            self._met = 0
            return Unknown("it is nested too deeply")
        before, self._met = self._met, MAX_ACTIVE
        self._active[key] = depth
        try:
            found = self._evaluate(place)
        finally:
            del self._active[key]
        if self._met >= depth:
            memory[key] = found
            self._met = before
        else:
            self._met = min(self._met, before)
        return found

    def forget_calls(self) -> None:
        """Let go of what was computed inside calls: these calls are not met again."""
        self._known_in_calls = {}

    def _evaluate(self, place: Place) -> Value:
        file, node, frame = place.file, unwrap(place.node), place.frame
        handler = _HANDLERS.get(node.type)
        if handler is not None:
            return handler(self, Place(file, node, frame))
        if node.type in FUNCTIONS:
            return Function(Place(file, node, frame))
        if node.type in CLASSES:
            return Class(Place(file, node, frame))
        return Unknown(f"computed: {brief(file.string(node))}")

    def _string(self, place: Place) -> Value:
        return Constant(string_value(place.file, place.node) or "")

    def _number(self, place: Place) -> Value:
        text = place.file.string(place.node).replace("_", "")
        try:
            return Constant(int(text, 0))
        except ValueError:
            pass
        try:
            return Constant(float(text))
        except ValueError:
            return Unknown(f"number {text}")

    def _template(self, place: Place) -> Value:
        return self.text(self._pieces(place))

    def _pieces(self, place: Place) -> list[str | Place]:
        parts: list[str | Place] = []
        for child in place.node.named_children:
            if child.type == "template_substitution":
                inner = [item for item in child.named_children if item.type != "comment"]
                if inner:
                    parts.append(Place(place.file, inner[0], place.frame))
            elif child.type == "escape_sequence":
                parts.append(unescape(place.file.string(child)))
            else:
                parts.append(place.file.string(child))
        return parts

    def literally(self, place: Place) -> Value:
        """A text whose interpolated values stay what they are, also where the code shows what they can be."""
        node = unwrap(place.node)
        if node.type == "template_string":
            parts = tuple(self._pieces(Place(place.file, node, place.frame)))
            return _joined(parts) if len(parts) > 1 else self.value(place)
        if node.type == "identifier":
            binding = place.file.resolve(node)
            source = (
                binding.source
                if binding is not None and binding.kind == "const" and not binding.path
                else None
            )
            if source is not None and unwrap(source).type in ("template_string", "identifier"):
                return self.literally(Place(place.file, source, place.frame))
        return self.value(place)

    def text(self, parts: Iterable[str | Place]) -> Value:
        """A text put together; every combination, where parts have several known values."""
        texts: list[tuple[str | Place, ...]] = [()]
        complete, reason = True, ""
        for part in parts:
            choices: list[tuple[str | Place, ...]] = []
            if isinstance(part, str):
                choices = [(part,)]
            else:
                found = self.value(part)
                if isinstance(found, Union):
                    complete, reason = complete and found.complete, found.reason
                for option in options(found):
                    if isinstance(option, Constant):
                        choices.append((scalar_text(option),))
                    elif isinstance(option, Text):
                        choices.append(option.parts)
                    else:
                        choices = [(part,)]
                        break
            if len(texts) * len(choices) > MAX_OPTIONS:
                choices = [(part,)]
            texts = [before + choice for before in texts for choice in choices]
        return union([_joined(parts) for parts in texts], reason or "put together", complete)

    def _object(self, place: Place) -> Value:
        entries: dict[str, Entry] = {}
        unknown = ""
        for child in place.node.named_children:
            if child.type == "pair":
                key = child.child_by_field_name("key")
                content = child.child_by_field_name("value")
                if key is None or content is None:
                    continue
                names = self._keys(Place(place.file, key, place.frame))
                if names is None:
                    unknown = f"a key is computed: {brief(place.file.string(key))}"
                    continue
                for name in names:
                    entries[name] = Entry(Place(place.file, content, place.frame), len(names) > 1)
            elif child.type == "shorthand_property_identifier":
                entries[place.file.string(child)] = Entry(Place(place.file, child, place.frame))
            elif child.type == "method_definition":
                name_node = child.child_by_field_name("name")
                if name_node is not None:
                    entries[place.file.string(name_node)] = Entry(Place(place.file, child, place.frame))
            elif child.type == "spread_element":
                inner = [item for item in child.named_children if item.type != "comment"]
                if inner:
                    spread = self.value(Place(place.file, inner[0], place.frame))
                    optional = unwrap(inner[0]).type in ("ternary_expression", "binary_expression")
                    text = brief(place.file.string(inner[0]))
                    unknown = merge(entries, spread, text, optional=optional) or unknown
        return Object(entries, unknown)

    def _keys(self, key: Place) -> list[str] | None:
        if key.node.type != "computed_property_name":
            text = key_text(key.file, key.node)
            return [text] if text is not None else None
        found = self.value(Place(key.file, key.node.named_children[0], key.frame))
        if isinstance(found, Union) and not found.complete:
            return None
        names = [scalar_text(option) for option in options(found) if isinstance(option, Constant)]
        return names if len(names) == len(list(options(found))) else None

    def _array(self, place: Place) -> Value:
        items: list[Place | Value] = []
        unknown, counted = "", True
        for child in place.node.named_children:
            if child.type == "spread_element":
                inner = self.value(Place(place.file, child.named_children[0], place.frame))
                if isinstance(inner, List):
                    items += inner.items
                    unknown = unknown or inner.unknown
                    counted = counted and inner.counted
                else:
                    counted = False
                    unknown = f"a list is spread that is not known: {brief(place.file.string(child))}"
            elif child.type != "comment":
                items.append(Place(place.file, child, place.frame))
        return List(tuple(items), unknown, counted)

    def _inner(self, place: Place) -> Value:
        inner = [child for child in place.node.named_children if child.type != "comment"]
        return self.value(Place(place.file, inner[-1], place.frame)) if inner else UNDEFINED

    def _ternary(self, place: Place) -> Value:
        found = []
        for name in ("consequence", "alternative"):
            branch = place.node.child_by_field_name(name)
            if branch is not None:
                found.append(self.value(Place(place.file, branch, place.frame)))
        return union(found, "it depends on a condition")

    def _binary(self, place: Place) -> Value:
        left, right = (place.node.child_by_field_name(name) for name in ("left", "right"))
        operator = place.node.child_by_field_name("operator")
        if left is None or right is None or operator is None:
            return Unknown("not valid")
        word = place.file.string(operator)
        first, second = Place(place.file, left, place.frame), Place(place.file, right, place.frame)
        if word == "+":
            values = [self.value(first), self.value(second)]
            if any(
                isinstance(option, Text) or is_text(option) for value in values for option in options(value)
            ):
                return self.text([first, second])
            return Unknown(f"computed: {brief(place.file.string(place.node))}")
        if word in ("||", "??", "&&"):
            one, other = self.value(first), self.value(second)
            if word == "&&":
                return union([Constant(False), other], "it depends on a condition")
            kept = [option for option in options(one) if not is_empty(option)]
            if (
                word == "||"
                and len(kept) == 1
                and isinstance(kept[0], Constant)
                and not isinstance(one, Union)
            ):
                return one
            whole = not isinstance(one, Union) or one.complete
            return union([*kept, other], f"{brief(place.file.string(left))} or a default", whole)
        return Unknown(f"computed: {brief(place.file.string(place.node))}")

    def _assigned(self, place: Place) -> Value:
        right = place.node.child_by_field_name("right")
        return self.value(Place(place.file, right, place.frame)) if right is not None else UNDEFINED

    def _this(self, place: Place) -> Value:
        owner = place.file.class_around(place.node)
        if owner is not None:
            return Instance(Class(Place(place.file, owner)))
        for above in place.file.ancestors(place.node):
            if above.type == "object":
                return self.value(Place(place.file, above, place.frame))
        return Unknown("this")

    # -- names -----------------------------------------------------------------------------------

    def _identifier(self, place: Place) -> Value:
        name = place.file.string(place.node)
        if name == "undefined":
            return UNDEFINED
        binding = place.file.resolve(place.node)
        if binding is None:
            if name in GLOBALS:
                return Foreign(name)
            if name in _MOCKING:
                return Mock()
            return Unknown(f"{name} is not declared in this file")
        return self.of_binding(place.file, binding, place)

    def of_binding(self, file: SourceFile, binding: Binding, use: Place) -> Value:
        """What a declared name can be where it is used."""
        name = file.string(binding.node)
        if binding.kind == "function" and binding.source is not None:
            return Function(Place(file, binding.source, use.frame))
        if binding.kind == "class" and binding.source is not None:
            return Class(Place(file, binding.source, use.frame))
        if binding.kind == "enum" and binding.source is not None:
            return self._enum(Place(file, binding.source))
        if binding.kind == "import":
            return self._import(file, binding)
        if binding.kind == "catch":
            return Unknown(f"{name} is a caught exception")
        if binding.kind == "param":
            return self._narrowed(self._parameter(file, binding, use), file, binding, use)
        if binding.kind == "loop":
            found = self._loop(file, binding, use)
        elif binding.source is not None:
            found = self._picked(Place(file, binding.source, use.frame), binding, use.frame, file)
        else:
            found = UNDEFINED
        if binding.kind != "loop":
            found = self._written(found, file, binding, use)
        return self._narrowed(found, file, binding, use)

    def _picked(self, source: Place, binding: Binding, frame: Frame | None, file: SourceFile) -> Value:
        found = self.value(source)
        for step in binding.path:
            found = self.member(found, step, brief(source.file.string(source.node)))
        if binding.default is not None and _perhaps_undefined(found):
            default = self.value(Place(file, binding.default, frame))
            known = [option for option in options(found) if option is not UNDEFINED]
            if not known:
                return default
            return union([*known, default], f"{file.string(binding.node)} or its default")
        return found

    def _written(self, found: Value, file: SourceFile, binding: Binding, use: Place) -> Value:
        """Assignments to a variable, and to what it holds, that come before its use."""
        references = file.references(binding)
        if len(references) < 2:
            return found
        return branches.apply_writes(self, found, file, references, use)

    def _narrowed(self, found: Value, file: SourceFile, binding: Binding, use: Place) -> Value:
        """``if (table === 'a' || table === 'b')`` around the use leaves these two."""
        if not isinstance(found, Union | Unknown):
            return found
        known = branches.compared(file, binding, use.node)
        if known is None:
            return found
        return union([Constant(text) for text in known], "compared with these before it is used")

    def _loop(self, file: SourceFile, binding: Binding, use: Place) -> Value:
        assert binding.source is not None
        right = binding.source.child_by_field_name("right")
        operator = binding.source.child_by_field_name("operator")
        if right is None:
            return Unknown("not valid")
        over = self.value(Place(file, right, use.frame))
        if operator is not None and file.string(operator) == "in":
            element = _keys_of(over)
        else:
            element = self.element(over, "a loop over a list")
        for step in binding.path:
            element = self.member(element, step, file.string(binding.node))
        return element

    def element(self, over: Value, reason: str) -> Value:
        """Any one element of a list."""
        found: list[Value] = []
        complete = True
        for option in options(over):
            if isinstance(option, List | Mapping):
                found += [self.value(item) for item in option.items]
                complete = complete and not option.unknown
            elif isinstance(option, Client | Mock):
                found.append(option)
            else:
                complete = False
        if not found:
            return Unknown(f"{reason} that is not known" if "loop" in reason else reason)
        return union(found, reason, complete)

    def _parameter(self, file: SourceFile, binding: Binding, use: Place) -> Value:
        function = binding.scope
        name = file.string(binding.node)
        frame = use.frame.of(function) if use.frame else None
        if frame is not None:
            return self._argument(frame.arguments, binding, file, frame.outer)
        element = self._callback_parameter(file, binding, use)
        if element is not None:
            return element
        sites, complete = self.call_sites(file, function)
        found = []
        for site in sites:
            arguments = tuple(Place(site.file, node, site.frame) for node in arguments_of(site.node))
            found.append(self._argument(arguments, binding, file, None))
        reason = f"parameter {name} of {function_name(file, function) or 'a function'}"
        known = [value for value in found if not isinstance(value, Unknown)]
        if not known:
            if binding.default is not None:
                return union([self.value(Place(file, binding.default, use.frame))], reason, False)
            return Unknown(reason)
        return union(known, reason, complete and len(known) == len(found))

    def _argument(
        self, arguments: tuple[Value | Place, ...], binding: Binding, file: SourceFile, frame: Frame | None
    ) -> Value:
        path = list(binding.path)
        if path and path[0] == "..." and len(path) == 1:
            return List(arguments[binding.index :])
        found = self.value(arguments[binding.index]) if binding.index < len(arguments) else UNDEFINED
        parameters = parameters_of(binding.scope)
        if found is UNDEFINED and path and binding.index < len(parameters):
            whole = parameters[binding.index].child_by_field_name("right")
            whole = whole or parameters[binding.index].child_by_field_name("value")
            if whole is not None:
                found = self.value(Place(file, whole, frame))
        for step in path:
            found = self.member(found, step, file.string(binding.node))
        if binding.default is not None and _perhaps_undefined(found):
            known = [option for option in options(found) if option is not UNDEFINED]
            return union([*known, self.value(Place(file, binding.default, frame))], "a default")
        return found

    def _callback_parameter(self, file: SourceFile, binding: Binding, use: Place) -> Value | None:
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
            return self._given_parameter(file, binding, call, function, use)
        if arguments_of(call)[0].id != function.id:
            return None
        if binding.index != (1 if method == "reduce" else 0):
            return Unknown(f"{file.string(binding.node)} counts the elements")
        element = self.element(
            self.value(Place(file, receiver, use.frame)), f"a loop over {brief(file.string(receiver))}"
        )
        for step in binding.path:
            element = self.member(element, step, file.string(binding.node))
        return element

    def _given_parameter(
        self, file: SourceFile, binding: Binding, call: Node, function: Node, use: Place
    ) -> Value | None:
        """``each(list, batch => …)``: what ``each``, a function of the code base, calls the callback with."""
        callee = unwrap(call.child_by_field_name("function") or call)
        given = arguments_of(call)
        index = next((number for number, node in enumerate(given) if node.id == function.id), 0)
        found: list[Value] = []
        for option in options(self.value(Place(file, callee, use.frame))):
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
                        found.append(self._argument(passed, binding, file, None))
        name = brief(file.string(callee))
        return union(found, f"{name} gives it to the function") if found else None

    def call_sites(self, file: SourceFile, function: Node) -> tuple[list[Place], bool]:
        """The calls of a function that the code shows, and whether these are all."""
        owner = file.class_around(function)
        name = function_name(file, function).rpartition(".")[2]
        if not name:
            return [], False
        if function.type == "method_definition" and owner is not None:
            if name == "constructor":
                return self._constructions(file, owner)
            complete = name.startswith(("#", "_"))
            return [Place(file, call) for call in _called_properties(file, name)], complete
        sites = []
        complete = True
        exported = False
        for binding in file.bindings(name):
            if binding.source is None or unwrap(binding.source).id != function.id:
                continue
            for reference in file.references(binding):
                call = file.parent(reference)
                if (
                    call is not None
                    and call.type == "call_expression"
                    and call.child_by_field_name("function")
                ):
                    callee = call.child_by_field_name("function")
                    if callee is not None and callee.id == reference.id:
                        sites.append(Place(file, call))
                        continue
                complete = False
            exported = exported or any(
                above.type == "export_statement" for above in file.ancestors(binding.node)
            )
        if not sites:
            sites = [Place(file, call) for call in _called_properties(file, name)]
            complete = False
        return sites, complete and not exported

    def _constructions(self, file: SourceFile, owner: Node) -> tuple[list[Place], bool]:
        """``new K(…)``, and ``super(…)`` in classes that extend K, anywhere in the code base."""
        name = class_name(file, owner)
        sites: list[Place] = []
        if not name:
            return sites, False
        for path in sorted({file.path, *self.project.constructions(name)}):
            other = self.project.load(path)
            if other is None:
                continue
            for node in other.occurrences(name):
                above = other.parent(node)
                if above is not None and above.type == "new_expression":
                    sites.append(Place(other, above))
        for path in sorted({file.path, *self.project.subclasses(name)}):
            other = self.project.load(path)
            if other is None:
                continue
            for node in other.occurrences(name):
                extending = _extending(other, node)
                if extending is not None:
                    sites += self._super_calls(other, extending)
        return sites, True

    def _super_calls(self, file: SourceFile, owner: Node) -> list[Place]:
        constructor = _member_node(file, owner, "constructor")
        if constructor is None:
            return self._constructions(file, owner)[0]
        return [
            Place(file, call)
            for call in _calls_in(file, constructor)
            if (callee := call.child_by_field_name("function")) is not None and callee.type == "super"
        ]

    # -- members ---------------------------------------------------------------------------------

    def _member(self, place: Place) -> Value:
        receiver = place.node.child_by_field_name("object")
        name = place.node.child_by_field_name("property")
        if receiver is None or name is None:
            return Unknown("not valid")
        text = place.file.string(place.node)
        if text.startswith("process.env."):
            return Unknown(f"environment variable {text[12:]}")
        found = self.value(Place(place.file, receiver, place.frame))
        if isinstance(found, Unknown):
            return Unknown(f"{brief(text)}: {found.reason}" if found.reason != "this" else brief(text))
        return self.member(found, place.file.string(name), brief(place.file.string(receiver)))

    def _subscript(self, place: Place) -> Value:
        receiver = place.node.child_by_field_name("object")
        index = place.node.child_by_field_name("index")
        if receiver is None or index is None:
            return Unknown("not valid")
        over = self.value(Place(place.file, receiver, place.frame))
        at = self.value(Place(place.file, index, place.frame))
        reason = f"an entry of {brief(place.file.string(receiver))}"
        found, complete = [], True
        for option in options(at):
            if isinstance(option, Constant) and isinstance(option.value, str | int):
                found.append(self.member(over, option.value, reason))
            else:
                return self.every_entry(over, reason)
        if isinstance(at, Union):
            complete = at.complete
        return union(found, reason, complete)

    def every_entry(self, over: Value, reason: str) -> Value:
        """Any entry of an object or list."""
        found: list[Value] = []
        complete = True
        for option in options(over):
            if isinstance(option, Object):
                found += [self.value(entry.place) for entry in option.entries.values()]
                complete = complete and not option.unknown
            elif isinstance(option, List):
                found += [self.value(item) for item in option.items]
                complete = complete and not option.unknown
            else:
                complete = False
        return union(found, reason, complete) if found else Unknown(reason)

    def member(self, value: Value, name: str | int, of: str) -> Value:
        """``value.name``."""
        found: list[Value] = []
        complete, reason = True, f"{of}.{name}"
        for option in options(value):
            single = self._member_of(option, name, of)
            if isinstance(single, Unknown):
                complete, reason = False, single.reason
            else:
                found.append(single)
        if isinstance(value, Union):
            complete, reason = complete and value.complete, value.reason
        return union(found, reason, complete) if found else Unknown(reason)

    def _member_of(self, value: Value, name: str | int, of: str) -> Value:
        if isinstance(value, Object):
            if name == "...":
                return value
            entry = value.entries.get(str(name))
            if entry is not None:
                inner = self.value(entry.place)
                return union([inner, UNDEFINED], "it is not always set") if entry.conditional else inner
            return Unknown(f"{of}: {value.unknown}") if value.unknown else UNDEFINED
        if isinstance(value, List):
            if isinstance(name, int) and value.counted and not value.unknown:
                return self.value(value.items[name]) if name < len(value.items) else UNDEFINED
            if isinstance(name, int) or name.isdigit():
                return self.element(value, f"an element of {of}")
            return Unknown(f"{of}.{name}")
        if isinstance(value, Module):
            return self.export(value.file, str(name))
        if isinstance(value, Instance):
            return self.instance_member(value, str(name))
        if isinstance(value, Class):
            return self._static(value, str(name))
        if isinstance(value, Mock):
            return value
        if isinstance(value, Client):
            return Foreign("storage") if name == "storage" else Unknown(f"the client's {name}")
        if isinstance(value, Foreign):
            return Foreign(f"{value.what}.{name}")
        return Unknown(f"{of}.{name}" if not isinstance(value, Unknown) else value.reason)

    def instance_member(self, instance: Instance, name: str) -> Value:
        """``this.name``: what any method of the class, its bases and its subclasses sets it to."""
        found: list[Value] = []
        seen: set[tuple[str, int]] = set()
        unknown = ""
        for owner in [instance.of, *self._bases(instance.of), *self._derived(instance.of)]:
            key = (owner.place.file.path, owner.place.node.id)
            if key in seen:
                continue
            seen.add(key)
            for value in self._own_member(owner, name):
                if isinstance(value, Unknown):
                    unknown = value.reason
                elif not (isinstance(value, Constant) and is_empty(value)):
                    found.append(value)
        if not found:
            return Unknown(unknown or f"this.{name} is not set in this code")
        return union(found, unknown or f"this.{name} is set in several places", not unknown)

    def _own_member(self, owner: Class, name: str) -> list[Value]:
        file, node = owner.place.file, owner.place.node
        member = _member_node(file, node, name)
        found: list[Value] = []
        if member is not None:
            if member.type == "method_definition":
                if any(child.type == "get" for child in member.children):
                    found.append(self.returned(Function(Place(file, member)), ()))
                else:
                    found.append(Function(Place(file, member)))
            else:
                content = member.child_by_field_name("value")
                if content is not None:
                    found.append(self.value(Place(file, content)))
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
                found.append(self.value(Place(file, right)))
        found += self._parameter_properties(owner, name)
        return found

    def _parameter_properties(self, owner: Class, name: str) -> list[Value]:
        """TypeScript's ``constructor(private db: SupabaseClient)``."""
        file = owner.place.file
        constructor = (
            _member_node(file, owner.place.node, "constructor") if file.language != "javascript" else None
        )
        if constructor is None:
            return []
        found: list[Value] = []
        for parameter in parameters_of(constructor):
            pattern = parameter.child_by_field_name("pattern")
            modified = any(
                child.type in ("accessibility_modifier", "readonly") for child in parameter.children
            )
            if modified and pattern is not None and file.string(pattern) == name:
                binding = next((item for item in file.bindings(name) if item.node.id == pattern.id), None)
                if binding is not None:
                    found.append(self._parameter(file, binding, Place(file, pattern)))
        return found

    def _static(self, owner: Class, name: str) -> Value:
        file = owner.place.file
        member = _member_node(file, owner.place.node, name)
        if member is not None and member.type == "method_definition":
            return Function(Place(file, member))
        content = member.child_by_field_name("value") if member is not None else None
        if content is not None:
            return self.value(Place(file, content))
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
                return self.value(Place(file, right))
        for base in self._bases(owner)[:1]:
            return self._static(base, name)
        return Unknown(f"{class_name(file, owner.place.node)}.{name}")

    def _bases(self, owner: Class) -> list[Class]:
        """The classes that a class extends, nearest first."""
        found: list[Class] = []
        current: Class | None = owner
        while current is not None and len(found) < MAX_DEPTH:
            heritage = _heritage(current.place.node)
            value = self.value(Place(current.place.file, heritage)) if heritage is not None else None
            current = (
                next((option for option in options(value) if isinstance(option, Class)), None)
                if value
                else None
            )
            if current is not None:
                found.append(current)
        return found

    def _derived(self, owner: Class) -> list[Class]:
        """The classes of the code base that extend a class."""
        name = class_name(owner.place.file, owner.place.node)
        found = []
        for path in sorted(self.project.subclasses(name)) if name else ():
            file = self.project.load(path)
            if file is None:
                continue
            for node in file.occurrences(name):
                extending = _extending(file, node)
                if extending is not None and not (
                    file.path == owner.place.file.path and extending.id == owner.place.node.id
                ):
                    found.append(Class(Place(file, extending)))
        return found

    def _enum(self, place: Place) -> Value:
        entries: dict[str, Entry] = {}
        body = place.node.child_by_field_name("body")
        for child in body.named_children if body is not None else ():
            name, content = child.child_by_field_name("name"), child.child_by_field_name("value")
            if child.type == "enum_assignment" and name is not None and content is not None:
                entries[place.file.string(name)] = Entry(Place(place.file, content))
        return Object(entries)

    # -- calls -----------------------------------------------------------------------------------

    def _call(self, place: Place) -> Value:
        callee = place.node.child_by_field_name("function")
        if callee is None:
            return Unknown("not valid")
        callee = unwrap(callee)
        arguments = tuple(Place(place.file, node, place.frame) for node in arguments_of(place.node))
        text = place.file.string(callee)
        if text in ("require", "import") and arguments:
            return self._required(place.file, arguments[0])
        if callee.type == "member_expression":
            built_in = self._built_in(place, callee, arguments)
            if built_in is not None:
                return built_in
        found = []
        for option in options(self.value(Place(place.file, callee, place.frame))):
            if isinstance(option, Function):
                found.append(self.returned(option, arguments, place.frame))
            elif isinstance(option, Mock):
                found.append(option)
            elif isinstance(option, Foreign) and option.what.startswith("supabase:"):
                maker = option.what.rpartition(".")[2] in CLIENT_MAKERS
                found.append(self._client(arguments) if maker else option)
            elif isinstance(option, Foreign):
                found.append(Foreign(f"{option.what}()"))
            else:
                found.append(Unknown(f"result of {brief(text)}()"))
        return union(found, f"result of {brief(text)}()")

    def _client(self, arguments: tuple[Place, ...]) -> Value:
        settings = self.value(arguments[2]) if len(arguments) > 2 else UNDEFINED
        schema = self.member(self.member(settings, "db", ""), "schema", "")
        text = scalar_text(schema) if isinstance(schema, Constant) and is_text(schema) else ""
        return Client("" if text == "public" else text)

    def returned(
        self, function: Function, arguments: tuple[Place | Value, ...], outer: Frame | None = None
    ) -> Value:
        """What a function returns for these arguments."""
        place = function.place
        depth = outer.depth + 1 if outer else 1
        if depth > MAX_DEPTH:
            return Unknown("calls are nested too deeply")
        frame = Frame(place.node, arguments, _joined_frames(place.frame, outer), depth)
        results = returns(place.file, place.node)
        if not results:
            return UNDEFINED
        return union(
            [self.value(Place(place.file, node, frame)) for node in results],
            f"{function_name(place.file, place.node) or 'a function'} returns different things",
        )

    def _built_in(self, place: Place, callee: Node, arguments: tuple[Place, ...]) -> Value | None:
        """Methods of the language that keep what is known; ``None`` for any other."""
        receiver = callee.child_by_field_name("object")
        name = place.file.string(callee.child_by_field_name("property") or callee)
        if receiver is None:
            return None
        owner = place.file.string(receiver)
        if owner == "Object" and arguments:
            return self._of_object(name, arguments)
        if (owner, name) == ("Array", "from") and arguments:
            return self._array_from(arguments)
        if (owner, name) in (("JSON", "parse"), ("JSON", "stringify")) and arguments:
            inner = self.value(arguments[0])
            return inner if isinstance(inner, Object | List) else None
        if (owner, name) == ("Promise", "resolve") and arguments:
            return self.value(arguments[0])
        if name in ("values", "get", "entries"):
            over = self.value(Place(place.file, receiver, place.frame))
            if isinstance(over, Mapping):
                if name == "get":
                    return self.element(over, f"an entry of {brief(owner)}")
                items = over.items
                if name == "entries":
                    items = tuple(List((Unknown("a key"), item)) for item in items)
                return List(items, over.unknown, False)
        if name == "map" and arguments:
            return self._mapped(place, receiver, arguments)
        if name in _SAME_LIST:
            over = self.value(Place(place.file, receiver, place.frame))
            if isinstance(over, List):
                return List(over.items, over.unknown, False)
            return None
        if name == "concat":
            return self._concatenated(place, receiver, arguments)
        if name == "join":
            return self._list_text(place, receiver, arguments)
        if name in _SAME_TEXT and not (name.startswith("replace")):
            over = self.value(Place(place.file, receiver, place.frame))
            if isinstance(over, Constant) and is_text(over):
                text = scalar_text(over)
                return Constant(text.strip() if name == "trim" else text)
        return None

    def _of_object(self, name: str, arguments: tuple[Place, ...]) -> Value | None:
        first = self.value(arguments[0])
        if name in ("freeze", "seal"):
            return first
        if name == "keys":
            keys = _keys_of(first)
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
                unknown = merge(entries, self.value(argument), text) or unknown
            return Object(entries, unknown)
        if name == "fromEntries":
            over = first
            if isinstance(over, List):
                return self._from_entries(over)
        return None

    def _from_entries(self, over: List) -> Value:
        entries: dict[str, Entry] = {}
        unknown = over.unknown
        for item in over.items:
            pair = self.value(item)
            key = self.value(pair.items[0]) if isinstance(pair, List) and len(pair.items) == 2 else None
            if isinstance(pair, List) and isinstance(key, Constant):
                entries[scalar_text(key)] = Entry(pair.items[1], not over.counted)
            else:
                unknown = unknown or "its entries are not known"
        return Object(entries, unknown)

    def _array_from(self, arguments: tuple[Place, ...]) -> Value | None:
        over = self.value(arguments[0])
        if len(arguments) > 1:
            function = self.value(arguments[1])
            if isinstance(function, Function):
                element = self.element(over, "an element")
                return List((self.returned(function, (element,), arguments[0].frame),), "", False)
        if isinstance(over, Mapping):
            return List(over.items, over.unknown, False)
        return List(over.items, over.unknown, over.counted) if isinstance(over, List) else None

    def _mapped(self, place: Place, receiver: Node, arguments: tuple[Place, ...]) -> Value | None:
        function = self.value(arguments[0])
        if not isinstance(function, Function):
            return None
        over = self.value(Place(place.file, receiver, place.frame))
        if isinstance(over, List) and over.counted and not over.unknown and len(over.items) <= MAX_OPTIONS:
            results = tuple(self.returned(function, (item,), place.frame) for item in over.items)
            return List(results, "", True)
        element = self.element(over, f"an element of {brief(place.file.string(receiver))}")
        result = self.returned(function, (element,), place.frame)
        return List((result,), "", False)

    def _concatenated(self, place: Place, receiver: Node, arguments: tuple[Place, ...]) -> Value | None:
        items: list[Place | Value] = []
        unknown = ""
        for part in (Place(place.file, receiver, place.frame), *arguments):
            over = self.value(part)
            if isinstance(over, List):
                items += over.items
                unknown = unknown or over.unknown
            else:
                unknown = "a list is added that is not known"
        return List(tuple(items), unknown, False) if items else None

    def _list_text(self, place: Place, receiver: Node, arguments: tuple[Place, ...]) -> Value | None:
        over = self.value(Place(place.file, receiver, place.frame))
        between = self.value(arguments[0]) if arguments else Constant(",")
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
        return self.text(parts)

    def _new(self, place: Place) -> Value:
        constructor = place.node.child_by_field_name("constructor")
        if constructor is None:
            return Unknown("not valid")
        found = self.value(Place(place.file, constructor, place.frame))
        name = place.file.string(constructor)
        if name in ("Map", "Set", "WeakMap") and isinstance(found, Foreign):
            return self._mapping(name, arguments_of(place.node), place)
        for option in options(found):
            if isinstance(option, Class):
                return Instance(option, place)
            if isinstance(option, Foreign) and option.what.startswith("supabase:"):
                return self._client(tuple(Place(place.file, node) for node in arguments_of(place.node)))
            if isinstance(option, Foreign):
                return Foreign(f"a {name}")
            if isinstance(option, Mock):
                return option
        return Unknown(f"a {name}")

    def _mapping(self, name: str, arguments: list[Node], place: Place) -> Value:
        if not arguments:
            return Mapping()
        over = self.value(Place(place.file, arguments[0], place.frame))
        if not isinstance(over, List):
            return Mapping((), f"made of {brief(place.file.string(arguments[0]))}")
        if name == "Set":
            return Mapping(over.items, over.unknown)
        return Mapping(tuple(self.member(self.value(item), 1, name) for item in over.items), over.unknown)

    # -- modules ---------------------------------------------------------------------------------

    def _required(self, file: SourceFile, argument: Place) -> Value:
        request = self.value(argument)
        if not isinstance(request, Constant) or not is_text(request):
            return Unknown(f"the module {brief(file.string(argument.node))} is not known")
        module = self._module(file, scalar_text(request))
        if isinstance(module, Module):
            whole = self.exports(module.file)
            if not isinstance(whole, dict | Object):
                return whole  # module.exports = class …
        return module

    def _module(self, file: SourceFile, request: str) -> Value:
        if "supabase" in request and not request.startswith((".", "/")):
            return Foreign(f"supabase:{request}")
        if file.test and _mocked(file, request):
            return Mock()
        path = self.project.resolve(file.path, request)
        if path is None:
            if request.startswith((".", "/", "@/", "~/", "#")):
                return Unknown(f"the module {request} is not among the files")
            return Foreign(f"package {request}")
        loaded = self.project.load(path)
        return Module(loaded) if loaded is not None else Unknown(f"the module {request} could not be read")

    def _import(self, file: SourceFile, binding: Binding) -> Value:
        source = binding.source.child_by_field_name("source") if binding.source is not None else None
        request = string_value(file, source) if source is not None else None
        if request is None:
            return Unknown("an import without a source")
        module = self._module(file, request)
        if not binding.path:
            return module
        return self.member(module, binding.path[0], request)

    def export(self, file: SourceFile, name: str) -> Value:
        """What a module exports under a name. ``default`` of CommonJS is ``module.exports``."""
        found = self.exports(file)
        if not isinstance(found, dict):
            return found if name == "default" else self.member(found, name, file.path)
        if name in found:
            return self.value(found[name])
        for star in [place for key, place in found.items() if key.startswith("* ")]:
            module = self.value(star)
            if isinstance(module, Module):
                value = self.export(module.file, name)
                if not isinstance(value, Unknown):
                    return value
        if name == "default" and found:
            return Object({key: Entry(place) for key, place in found.items()})
        return Unknown(f"{file.path} does not export {name}")

    def exports(self, file: SourceFile) -> dict[str, Place] | Value:
        """Exports by name, or the one value of ``module.exports =``."""
        if file.path not in self._exports:
            self._exports[file.path] = {}  # while it is computed, for modules that require each other
            self._exports[file.path] = self._find_exports(file)
        return self._exports[file.path]

    def _find_exports(self, file: SourceFile) -> dict[str, Place] | Value:
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
                self._exported(file, child, found)
        if whole:
            value = self.value(whole[-1])
            if isinstance(value, Object):
                entries = {name: Entry(place) for name, place in found.items()}
                return Object({**value.entries, **entries}, value.unknown)
            return (
                value
                if not found
                else union([value, Object({k: Entry(v) for k, v in found.items()})], "exports")
            )
        return found

    def _exported(self, file: SourceFile, statement: Node, found: dict[str, Place]) -> None:
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
            self._known[(file.path, source.id, None)] = self._module(file, string_value(file, source) or "")
            return
        for specifier in specifiers:
            name = specifier.child_by_field_name("name")
            alias = specifier.child_by_field_name("alias") or name
            if name is None or alias is None:
                continue
            found[file.string(alias)] = Place(file, name)
            if source is not None:
                module = self._module(file, string_value(file, source) or "")
                self._known[(file.path, name.id, None)] = self.member(module, file.string(name), "")


_HANDLERS = {
    "string": Evaluator._string,
    "number": Evaluator._number,
    "template_string": Evaluator._template,
    "true": lambda _, __: Constant(True),
    "false": lambda _, __: Constant(False),
    "null": lambda _, __: Constant(None),
    "undefined": lambda _, __: UNDEFINED,
    "object": Evaluator._object,
    "array": Evaluator._array,
    "await_expression": Evaluator._inner,
    "sequence_expression": Evaluator._inner,
    "ternary_expression": Evaluator._ternary,
    "binary_expression": Evaluator._binary,
    "assignment_expression": Evaluator._assigned,
    "this": Evaluator._this,
    "identifier": Evaluator._identifier,
    "shorthand_property_identifier": Evaluator._identifier,
    "member_expression": Evaluator._member,
    "subscript_expression": Evaluator._subscript,
    "call_expression": Evaluator._call,
    "new_expression": Evaluator._new,
}


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


def _joined(parts: tuple[str | Place, ...]) -> Value:
    if all(isinstance(part, str) for part in parts):
        return Constant("".join(part for part in parts if isinstance(part, str)))
    merged: list[str | Place] = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        else:
            merged.append(part)
    return Text(tuple(merged))


def _joined_frames(inner: Frame | None, outer: Frame | None) -> Frame | None:
    """The frame that a function was made in counts before the one that it is called from."""
    return inner or outer


def _perhaps_undefined(value: Value) -> bool:
    return any(option is UNDEFINED or isinstance(option, Unknown) for option in options(value))


def _closed(value: Value) -> bool:
    return isinstance(value, Object) and not value.unknown


def _keys_of(value: Value) -> Value:
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


def _called_properties(file: SourceFile, name: str) -> list[Node]:
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


def _calls_in(file: SourceFile, node: Node) -> list[Node]:
    found, waiting = [], [node]
    while waiting:
        current = waiting.pop()
        if current.type == "call_expression":
            found.append(current)
        waiting += current.named_children
    return found


def _member_node(file: SourceFile, owner: Node, name: str) -> Node | None:
    """The method or field of a class by its name."""
    body = owner.child_by_field_name("body")
    for child in body.named_children if body is not None else ():
        key = child.child_by_field_name("name") or child.child_by_field_name("property")
        if key is not None and file.string(key) == name:
            return child
    return None


def _heritage(owner: Node) -> Node | None:
    """The expression after ``extends``."""
    for child in owner.named_children:
        if child.type == "class_heritage":
            for inner in child.named_children:
                if inner.type == "extends_clause":
                    return inner.child_by_field_name("value")
                if inner.type != "implements_clause":
                    return inner
    return None


def _extending(file: SourceFile, node: Node) -> Node | None:
    """The class that extends what an identifier names, if that is what it is there for."""
    for above in file.ancestors(node):
        if above.type == "class_heritage":
            return file.parent(above)
        if above.type not in ("extends_clause", "member_expression") and above.type not in WRAPPERS:
            return None
    return None


def _mocked(file: SourceFile, request: str) -> bool:
    """``jest.mock('request')`` stands in a test file."""
    quoted = request.encode()
    return any(
        word + quote + quoted + quote in file.text
        for word in (b"mock(", b"doMock(", b"unstable_mockModule(")
        for quote in (b"'", b'"', b"`")
    )
