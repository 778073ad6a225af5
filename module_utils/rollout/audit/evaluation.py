"""Abstract interpretation, on demand: what an expression can be, through variables, functions, classes and modules."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeAlias

from ansible.module_utils.rollout.audit import branches, classes, exports, language, parameters
from ansible.module_utils.rollout.audit.declarations import function_name, returns
from ansible.module_utils.rollout.audit.syntax import (
    CLASSES,
    FUNCTIONS,
    Binding,
    SourceFile,
    arguments_of,
    key_text,
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
    brief,
    is_empty,
    is_text,
    joined,
    may_be_undefined,
    merge,
    options,
    scalar_text,
    union,
)

MAX_DEPTH = 8
MAX_ACTIVE = 96
#: For one call of the code; the real code base needs some hundred.
MAX_STEPS = 20_000
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

    def naming(self, name: str) -> Iterable[str]:
        """Files whose text has a name."""

    def constructions(self, name: str) -> Iterable[str]:
        """Files in which ``new name(`` stands."""


class Evaluator:
    """Computes values; remembers what it computed outside of calls."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.known: dict[_Key, Value] = {}
        self.known_in_calls: dict[_Key, Value] = {}
        self._active: dict[_Key, int] = {}
        #: The outermost evaluation that the current one met again: what is cut off there is not the whole value.
        self._met = MAX_ACTIVE
        self._steps = 0
        self.exported: dict[str, dict[str, Place] | Value] = {}

    def value(self, place: Place | Value) -> Value:
        """What an expression can be."""
        if not isinstance(place, Place):
            return place
        key = (place.file.path, place.node.id, place.frame)
        memory = self.known if place.frame is None else self.known_in_calls
        known = memory.get(key)
        if known is not None:
            return known
        self._steps += 1
        if self._steps > MAX_STEPS:
            self._met = 0
            return Unknown("there is too much to compute")
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

    def begin(self) -> None:
        """Begin with another call of the code: what is computed for it may take so many steps of its own."""
        self._steps = 0

    def forget_calls(self) -> None:
        """Let go of what was computed inside calls: these calls are not met again."""
        self.known_in_calls = {}

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
            return joined(parts) if len(parts) > 1 else self.value(place)
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
        return union([joined(parts) for parts in texts], reason or "put together", complete)

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
            return exports.imported(self, file, binding)
        if binding.kind == "catch":
            return Unknown(f"{name} is a caught exception")
        if binding.kind == "param":
            return self._narrowed(parameters.parameter_value(self, file, binding, use), file, binding, use)
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
        if binding.default is not None and may_be_undefined(found):
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
            element = language.keys_of(over)
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
            if isinstance(name, str) and name.startswith("..."):
                taken = name[3:].split(",")
                left = {key: entry for key, entry in value.entries.items() if key not in taken}
                return Object(left, value.unknown)
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
            return exports.export(self, value.file, str(name))
        if isinstance(value, Instance):
            return classes.instance_member(self, value, str(name))
        if isinstance(value, Class):
            return classes.static_member(self, value, str(name))
        if isinstance(value, Mock):
            return value
        if isinstance(value, Client):
            return Foreign("storage") if name == "storage" else Unknown(f"the client's {name}")
        if isinstance(value, Foreign):
            return Foreign(f"{value.what}.{name}")
        return Unknown(f"{of}.{name}" if not isinstance(value, Unknown) else value.reason)

    def _enum(self, place: Place) -> Value:
        entries: dict[str, Entry] = {}
        body = place.node.child_by_field_name("body")
        for child in body.named_children if body is not None else ():
            name, content = child.child_by_field_name("name"), child.child_by_field_name("value")
            if child.type == "enum_assignment" and name is not None and content is not None:
                entries[place.file.string(name)] = Entry(Place(place.file, content))
        return Object(entries)

    def _call(self, place: Place) -> Value:
        callee = place.node.child_by_field_name("function")
        if callee is None:
            return Unknown("not valid")
        callee = unwrap(callee)
        arguments = tuple(Place(place.file, node, place.frame) for node in arguments_of(place.node))
        text = place.file.string(callee)
        if text in ("require", "import") and arguments:
            return exports.required(self, place.file, arguments[0])
        if callee.type == "member_expression":
            built_in = language.built_in(self, place, callee, arguments)
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

    def _new(self, place: Place) -> Value:
        constructor = place.node.child_by_field_name("constructor")
        if constructor is None:
            return Unknown("not valid")
        found = self.value(Place(place.file, constructor, place.frame))
        name = place.file.string(constructor)
        if name in ("Map", "Set", "WeakMap") and isinstance(found, Foreign):
            return language.mapping(self, name, arguments_of(place.node), place)
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


def _joined_frames(inner: Frame | None, outer: Frame | None) -> Frame | None:
    """The frame that a function was made in counts before the one that it is called from."""
    return inner or outer
