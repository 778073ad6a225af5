"""A JavaScript or TypeScript file as a syntax tree, and who declares which name in it.

Names are looked up only when somebody asks: the occurrences of one name are found in the text, then placed in the tree.
Walking whole trees in Python would cost many times what parsing them costs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import tree_sitter_javascript
import tree_sitter_typescript
from tree_sitter import Language, Node, Parser, Query, QueryCursor, Tree

_LANGUAGES = {
    "javascript": Language(tree_sitter_javascript.language()),
    "typescript": Language(tree_sitter_typescript.language_typescript()),
    "tsx": Language(tree_sitter_typescript.language_tsx()),
}
_PARSERS = {name: Parser(language) for name, language in _LANGUAGES.items()}
_DAMAGE = {name: Query(language, "[(ERROR) (MISSING)] @damage") for name, language in _LANGUAGES.items()}

FUNCTIONS = frozenset(
    {
        "function_declaration",
        "generator_function_declaration",
        "function_expression",
        "generator_function",
        "arrow_function",
        "method_definition",
    }
)
CLASSES = frozenset({"class_declaration", "class", "abstract_class_declaration"})
#: Syntax around an expression that does not change its value; ``await`` is not among them.
WRAPPERS = frozenset(
    {
        "parenthesized_expression",
        "as_expression",
        "satisfies_expression",
        "non_null_expression",
        "type_assertion",
    }
)
_BLOCKS = frozenset(
    {
        "statement_block",
        "program",
        "for_statement",
        "for_in_statement",
        "switch_body",
        "class_static_block",
    }
)
_TYPED_CALL = re.compile(
    rb"\.\s*(?:from|rpc|select|insert|update|upsert|delete|schema|returns|overrideTypes|single|maybeSingle|csv)\s*<"
)
#: Single bytes that are part of a name. Letters outside of ASCII, too: all their bytes are above 127.
_WORD_BYTES = frozenset(
    bytes([byte]) for byte in range(256) if byte > 127 or chr(byte).isalnum() or chr(byte) in "_$"
)
_NAMES = frozenset({"identifier", "shorthand_property_identifier", "shorthand_property_identifier_pattern"})


def language_of(path: str) -> str:
    """The grammar for a file's name; plain JavaScript's knows JSX."""
    if path.endswith((".ts", ".mts", ".cts")):
        return "typescript"
    return "tsx" if path.endswith(".tsx") else "javascript"


def parse(text: bytes, language: str = "javascript") -> Tree:
    """The syntax tree of a text; what is not valid in it is in nodes of its own."""
    return _PARSERS[language].parse(text)


@dataclass(frozen=True)
class Binding:
    """One declaration of a name.

    :ivar kind: ``const``, ``let``, ``var``, ``param``, ``function``, ``class``, ``import``, ``loop``,
        ``catch``, ``enum``
    :ivar node: the identifier
    :ivar scope: the node that the name is visible in
    :ivar source: what it is taken from: the initial value, the function (param), the import statement, the loop
    :ivar path: the way from ``source``'s value to the name, through patterns: a key, an index, or ``...`` with the
        keys that the rest is without
    :ivar index: of a parameter
    :ivar default: the value for ``undefined``
    """

    kind: str
    node: Node
    scope: Node
    source: Node | None
    path: tuple[str | int, ...] = ()
    index: int = 0
    default: Node | None = None


@dataclass
class SourceFile:
    """One file, or what a shell script or a page holds of it, blanked out around: offsets are the file's."""

    path: str
    text: bytes
    language: str = "javascript"
    test: bool = False
    tree: Tree = field(init=False)
    _parents: dict[int, Node] = field(init=False, default_factory=dict)
    _occurrences: dict[str, list[Node]] = field(init=False, default_factory=dict)
    _bindings: dict[str, list[Binding]] = field(init=False, default_factory=dict)
    _ancestors: dict[int, tuple[Node, ...]] = field(init=False, default_factory=dict)
    _resolved: dict[int, Binding | None] = field(init=False, default_factory=dict)
    _references: dict[int, list[Node]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        if self.language != "javascript":
            self.text = _without_type_arguments(self.text)
        self.tree = parse(self.text, self.language)

    @property
    def root(self) -> Node:
        """The whole program."""
        return self.tree.root_node

    def damage(self) -> list[tuple[int, int]]:
        """First and last line of every part that is not valid, in order."""
        if not self.root.has_error:
            return []
        found = QueryCursor(_DAMAGE[self.language]).captures(self.root).get("damage", [])
        return sorted({(node.start_point.row + 1, node.end_point.row + 1) for node in found})

    def at(self, offset: int) -> Node:
        """The smallest node at a byte offset. On the way its ancestors are remembered."""
        cursor = self.tree.walk()
        parent = self.root
        while cursor.goto_first_child_for_byte(offset) is not None:
            node = cursor.node
            if node is None or node.start_byte > offset:
                break
            self._parents[node.id] = parent
            parent = node
        return parent

    def parent(self, node: Node) -> Node | None:
        """The node around a node; ``None`` for the root."""
        known = self._parents.get(node.id)
        if known is not None:
            return known
        above = self.root
        if above.id == node.id:
            return None
        while True:
            below = above.child_with_descendant(node)
            if below is None:
                return node.parent
            self._parents[below.id] = above
            if below.id == node.id:
                return above
            above = below

    def ancestors(self, node: Node) -> tuple[Node, ...]:
        """From the node around a node to the root."""
        found = self._ancestors.get(node.id)
        if found is None:
            above = self.parent(node)
            found = (above, *self.ancestors(above)) if above is not None else ()
            self._ancestors[node.id] = found
        return found

    def outside(self, node: Node) -> Node:
        """The node itself, or what wraps it without changing its value."""
        above = self.parent(node)
        while above is not None and above.type in WRAPPERS:
            node = above
            above = self.parent(above)
        return node

    def string(self, node: Node) -> str:
        """The source text of a node."""
        return self.text[node.start_byte : node.end_byte].decode("utf-8", "replace")

    def line(self, node: Node) -> int:
        """First line of a node, from 1."""
        return node.start_point.row + 1

    def column(self, node: Node) -> int:
        """First column of a node, from 1, in characters."""
        start = node.start_byte - node.start_point.column
        return len(self.text[start : node.start_byte].decode("utf-8", "replace")) + 1

    def function_around(self, node: Node) -> Node | None:
        """The function whose body, or parameter list, a node is in."""
        return next((above for above in self.ancestors(node) if above.type in FUNCTIONS), None)

    def class_around(self, node: Node) -> Node | None:
        """The class that ``this`` means at a node, as far as the text tells."""
        return next((above for above in self.ancestors(node) if above.type in CLASSES), None)

    def occurrences(self, name: str) -> list[Node]:
        """Every use of a name as a variable, declarations among them, in order."""
        found = self._occurrences.get(name)
        if found is None:
            nodes = (self.at(start) for start in _words(self.text, name.encode()))
            found = [node for node in nodes if node.type in _NAMES]
            self._occurrences[name] = found
        return found

    def properties(self, name: str) -> list[Node]:
        """Every use of a name as a property (``x.name``), in order."""
        key = "." + name
        found = self._occurrences.get(key)
        if found is None:
            nodes = (self.at(start) for start in _words(self.text, name.encode()))
            found = [
                node for node in nodes if node.type in ("property_identifier", "private_property_identifier")
            ]
            self._occurrences[key] = found
        return found

    def bindings(self, name: str) -> list[Binding]:
        """Every declaration of a name in the file."""
        found = self._bindings.get(name)
        if found is None:
            found = [binding for node in self.occurrences(name) if (binding := self._declaration(node))]
            self._bindings[name] = found
        return found

    def resolve(self, node: Node) -> Binding | None:
        """The declaration that an identifier refers to; ``None`` for a global."""
        if node.id in self._resolved:
            return self._resolved[node.id]
        best: Binding | None = None
        for binding in self.bindings(self.string(node)):
            scope = binding.scope
            if not scope.start_byte <= node.start_byte < scope.end_byte:
                continue
            if (
                best is None
                or scope.end_byte - scope.start_byte < best.scope.end_byte - best.scope.start_byte
            ):
                best = binding
        self._resolved[node.id] = best
        return best

    def references(self, binding: Binding) -> list[Node]:
        """Every use of what a declaration declares, without the declaration."""
        found = self._references.get(binding.node.id)
        if found is None:
            found = [
                node
                for node in self.occurrences(self.string(binding.node))
                if node.id != binding.node.id
                and binding.scope.start_byte <= node.start_byte < binding.scope.end_byte
                and (resolved := self.resolve(node)) is not None
                and resolved.node.id == binding.node.id
            ]
            self._references[binding.node.id] = found
        return found

    def _block(self, node: Node, *, function: bool = False) -> Node:
        """The scope around a declaration: the nearest block, or for ``var`` the function."""
        for above in self.ancestors(node):
            if above.type in FUNCTIONS or (not function and above.type in _BLOCKS):
                return above
        return self.root

    def _declaration(self, node: Node) -> Binding | None:
        """What kind of declaration an identifier is, or ``None`` when it is a mere use."""
        path: list[str | int] = []
        default: Node | None = None
        inner, above = node, self.parent(node)
        while above is not None:
            kind = above.type
            if kind in ("object_pattern", "array_pattern"):
                if kind == "array_pattern":
                    path.append([child.id for child in above.named_children].index(inner.id))
                elif inner.type == "shorthand_property_identifier_pattern":
                    path.append(self.string(inner))
                elif inner.type == "object_assignment_pattern":
                    left = inner.child_by_field_name("left")
                    if left is not None and left.type == "shorthand_property_identifier_pattern":
                        path.append(self.string(left))
            elif kind == "pair_pattern":
                key = above.child_by_field_name("key")
                if key is None or key.id == inner.id:
                    return None
                path.append(key_text(self, key) or "?")
            elif kind in ("object_assignment_pattern", "assignment_pattern"):
                right = above.child_by_field_name("right")
                if right is not None and right.id == inner.id:
                    return None
                default = right if default is None and not path else default
            elif kind == "rest_pattern":
                path.append("..." + ",".join(self._siblings(above)))
            else:
                break
            inner, above = above, self.parent(above)
        if above is None:
            return None
        return self._declared_by(above, inner, node, tuple(reversed(path)), default)

    def _siblings(self, rest: Node) -> list[str]:
        """The keys that a pattern takes out before ``...rest``."""
        pattern = self.parent(rest)
        if pattern is None or pattern.type != "object_pattern":
            return []
        keys = []
        for child in pattern.named_children:
            key = child.child_by_field_name("key") or child.child_by_field_name("left") or child
            if child.id != rest.id and child.type != "comment":
                keys.append(key_text(self, key) or "?")
        return keys

    def _declared_by(
        self, above: Node, inner: Node, node: Node, path: tuple[str | int, ...], default: Node | None
    ) -> Binding | None:
        kind = above.type
        if kind == "variable_declarator":
            if not _is(above, "name", inner):
                return None
            outer = self.parent(above)
            word = "var"
            if outer is not None and outer.type == "lexical_declaration":
                word = self.string(outer.children[0])
            scope = self._block(above, function=word == "var")
            return Binding(word, node, scope, above.child_by_field_name("value"), path, 0, default)
        if kind in ("required_parameter", "optional_parameter"):
            if not _is(above, "pattern", inner):
                return None
            default = default or above.child_by_field_name("value")
            inner, above = above, self.parent(above) or self.root
            kind = above.type
        if kind == "formal_parameters":
            function = self.parent(above)
            if function is None or function.type not in FUNCTIONS:
                return None
            index = [child.id for child in _named(above)].index(inner.id)
            return Binding("param", node, function, function, path, index, default)
        if kind == "arrow_function" and _is(above, "parameter", inner):
            return Binding("param", node, above, above, path)
        if kind in ("function_declaration", "generator_function_declaration") and _is(above, "name", inner):
            return Binding("function", node, self._block(above), above)
        if kind in ("function_expression", "generator_function") and _is(above, "name", inner):
            return Binding("function", node, above, above)
        if kind in CLASSES and _is(above, "name", inner):
            scope = above if kind == "class" else self._block(above)
            return Binding("class", node, scope, above)
        if kind == "enum_declaration" and _is(above, "name", inner):
            return Binding("enum", node, self._block(above), above)
        if kind in ("import_specifier", "namespace_import", "import_clause"):
            return self._imported(above, inner, node)
        if kind == "for_in_statement" and _is(above, "left", inner):
            if above.child_by_field_name("kind") is None:
                return None
            return Binding("loop", node, above, above, path, 0, default)
        if kind == "catch_clause" and _is(above, "parameter", inner):
            return Binding("catch", node, above, None, path)
        return None

    def _imported(self, above: Node, inner: Node, node: Node) -> Binding | None:
        kind = above.type
        path: tuple[str, ...] = ("default",)
        if kind == "import_specifier":
            name, alias = above.child_by_field_name("name"), above.child_by_field_name("alias")
            if name is None or inner.id != (alias or name).id:
                return None
            path = (self.string(name).strip("'\""),)
        elif kind == "namespace_import":
            path = ()
        statement = next((up for up in self.ancestors(node) if up.type == "import_statement"), None)
        return Binding("import", node, self.root, statement, path)


def _without_type_arguments(text: bytes) -> bytes:
    """TypeScript without ``<…>`` of a builder's calls, byte for byte.

    tree-sitter-typescript 0.23 reads ``await x.from<T>('t')`` as a call of ``(await x.from)``.
    """
    pieces, at = [], 0
    for match in _TYPED_CALL.finditer(text):
        start, end = match.end() - 1, match.end()
        depth = 1
        while depth and end < len(text):
            sign = text[end : end + 1]
            if sign == b"<":
                depth += 1
            elif sign == b">" and text[end - 1 : end] != b"=":
                depth -= 1
            end += 1
        if start >= at and text[end:].lstrip()[:1] == b"(":
            pieces += [text[at:start], re.sub(rb"[^\n]", b" ", text[start:end])]
            at = end
    return b"".join([*pieces, text[at:]])


def _words(text: bytes, word: bytes) -> Iterator[int]:
    """Where a word stands alone. A search for the bare word is many times faster than a pattern with boundaries."""
    # The parser puts a name without letters where one is missing.
    start = text.find(word) if word else -1
    while start >= 0:
        end = start + len(word)
        if text[start - 1 : start] not in _WORD_BYTES and text[end : end + 1] not in _WORD_BYTES:
            yield start
        start = text.find(word, end)


def key_text(file: SourceFile, key: Node) -> str | None:
    """The name of a property as written; ``None`` when it is computed from something else than a string."""
    if key.type == "computed_property_name":
        inner = key.named_children[0] if key.named_children else None
        return string_value(file, inner) if inner is not None else None
    if key.type == "string":
        return string_value(file, key)
    return file.string(key)


_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "0": "\0", "\n": ""}


def unescape(text: str) -> str:
    """What one escape sequence of a string stands for."""
    body = text[1:]
    if body[:1] in ("x", "u") and len(body) > 1:
        return chr(int(body[1:].strip("{}"), 16))
    return _ESCAPES.get(body, body)


def string_value(file: SourceFile, node: Node) -> str | None:
    """The value of a string literal, or of a template literal without interpolation; otherwise ``None``."""
    if node.type not in ("string", "template_string"):
        return None
    parts = []
    for child in node.named_children:
        if child.type == "string_fragment":
            parts.append(file.string(child))
        elif child.type == "escape_sequence":
            parts.append(unescape(file.string(child)))
        elif child.type != "html_character_reference":
            return None
    return "".join(parts)


def arguments_of(call: Node) -> list[Node]:
    """The arguments of a call or of ``new``, without comments."""
    arguments = call.child_by_field_name("arguments")
    return _named(arguments) if arguments is not None and arguments.type == "arguments" else []


def parameters_of(function: Node) -> list[Node]:
    """The parameters of a function as written: patterns, with types and defaults."""
    single = function.child_by_field_name("parameter")
    if single is not None:
        return [single]
    several = function.child_by_field_name("parameters")
    return _named(several) if several is not None else []


def unwrap(node: Node) -> Node:
    """An expression without the parentheses and type assertions around it."""
    while node.type in WRAPPERS:
        inner = [child for child in node.named_children if child.type != "comment"]
        if not inner:
            return node
        node = inner[-1] if node.type == "type_assertion" else inner[0]
    return node


def _named(node: Node) -> list[Node]:
    return [child for child in node.named_children if child.type != "comment"]


def _is(node: Node, name: str, child: Node) -> bool:
    found = node.child_by_field_name(name)
    return found is not None and found.id == child.id
