"""From what a builder collected on its way to a :class:`~.chain.Chain`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ansible.module_utils.rollout.audit import postgrest_text
from ansible.module_utils.rollout.audit.builders import OPERATION_METHODS, Link, Request
from ansible.module_utils.rollout.audit.chain import (
    DYNAMIC,
    EXACT,
    FILTER_METHODS,
    PARTIAL,
    UNKNOWN_OPERATION,
    Chain,
    Column,
    Dynamic,
    Embed,
    Filter,
    Group,
    Known,
    Literal,
    Modifier,
    Name,
    Option,
    Parameter,
    Payload,
    PayloadColumn,
    Selection,
    Value,
)
from ansible.module_utils.rollout.audit.clients import MODIFIER_METHODS
from ansible.module_utils.rollout.audit.declarations import function_name
from ansible.module_utils.rollout.audit.evaluation import Evaluator
from ansible.module_utils.rollout.audit.expressions import parameter, shows_its_value
from ansible.module_utils.rollout.audit.syntax import FUNCTIONS, SourceFile, arguments_of
from ansible.module_utils.rollout.audit.values import (
    UNDEFINED,
    Client,
    Constant,
    Entry,
    List,
    Object,
    Place,
    Text,
    Union,
    Unknown,
    brief,
    is_text,
    options,
    scalar_text,
)
from ansible.module_utils.rollout.audit.values import Value as Abstract
from tree_sitter import Node

_TEXT_SEARCH = {"plain": "plfts", "phrase": "phfts", "websearch": "wfts"}
_HOLE = re.compile(f"[{chr(postgrest_text.FIRST_HOLE)}-{chr(postgrest_text.LAST_HOLE)}]")


@dataclass
class _Parts:
    """What a chain is put together of."""

    operation: str = UNKNOWN_OPERATION
    select: Selection | None = None
    payload: Payload | None = None
    schema: Name | None = None
    filters: list[Filter | Group] = field(default_factory=list)
    modifiers: list[Modifier] = field(default_factory=list)
    options: tuple[Option, ...] = ()
    notes: list[str] = field(default_factory=list)
    throws: bool = False


class Assembler:
    """Makes chains of requests."""

    def __init__(self, evaluator: Evaluator) -> None:
        self.evaluator = evaluator

    def chain(self, file: SourceFile, request: Request) -> Chain:
        """The chain of one request."""
        first = request.links[0]
        parts = _Parts(notes=list(dict.fromkeys(request.notes)))
        arguments = _arguments(first)
        table = self.name(arguments[0]) if arguments else Dynamic("no name is given")
        self._client(first, parts)
        if first.method == "rpc":
            parts.operation = "rpc"
            parts.payload = self._payload(arguments[1]) if len(arguments) > 1 else Payload()
            parts.options = self._options(arguments[2], parts) if len(arguments) > 2 else ()
        for link in request.links[1:]:
            self._link(link, parts)
        if isinstance(parts.payload, Payload) and parts.payload.unknown is not None:
            what = "arguments" if parts.operation == "rpc" else "columns"
            parts.notes.append(f"the {what} are not all known: {parts.payload.unknown.reason}")
        function = next(
            (above for above in file.ancestors(first.place.node) if above.type in FUNCTIONS), None
        )
        callee = first.place.node.child_by_field_name("function")
        method = _last(callee) if callee is not None else first.place.node
        receiver = callee.child_by_field_name("object") if callee is not None else None
        usage = request.usage
        return Chain(
            file=file.path,
            line=file.line(method),
            column=file.column(method),
            table=table,
            operation=parts.operation,
            certainty=_certainty(table, parts),
            schema=parts.schema,
            select=parts.select,
            payload=parts.payload,
            filters=tuple(parts.filters),
            modifiers=tuple(parts.modifiers),
            options=parts.options,
            error_read=True if parts.throws else usage.of("error"),
            data_used=usage.of("data"),
            count_used=usage.of("count"),
            executed=True if usage.sent else None if usage.lost or usage.escaped else False,
            function=_named_function(file, function),
            client=brief(file.string(receiver)) if receiver is not None else "",
            end_line=max(
                link.place.node.end_point.row + 1 for link in request.links if link.place.file is file
            ),
            test=file.test,
            caller=f"{request.caller.file.path}:{request.caller.file.line(_last_name(request.caller))}"
            if request.caller
            else "",
            notes=tuple(dict.fromkeys(parts.notes)),
        )

    def _client(self, first: Link, parts: _Parts) -> None:
        """The schema: ``client.schema('x').from(…)``, or the one that the client was made with."""
        callee = first.place.node.child_by_field_name("function")
        receiver = callee.child_by_field_name("object") if callee is not None else None
        if receiver is None:
            return
        file = first.place.file
        if receiver.type == "call_expression":
            inner = receiver.child_by_field_name("function")
            name = inner.child_by_field_name("property") if inner is not None else None
            given = arguments_of(receiver)
            if name is not None and file.string(name) == "schema" and given:
                parts.schema = self.name(Place(file, given[0], first.place.frame))
                return
        found = self.evaluator.value(Place(file, receiver, first.place.frame))
        schemas = {option.schema for option in options(found) if isinstance(option, Client)}
        if len(schemas) == 1 and "" not in schemas:
            parts.schema = Known(schemas.pop())

    def _link(self, link: Link, parts: _Parts) -> None:
        method, arguments, line = link.method, _arguments(link), link.place.node.end_point.row + 1
        line = link.place.file.line(_last_name(link.place))
        if method == "select":
            self._select(link, arguments, line, parts)
        elif method in OPERATION_METHODS:
            if parts.operation not in (UNKNOWN_OPERATION, method):
                parts.notes.append(f"{method} is called after {parts.operation}")
            parts.operation = method
            settings = arguments[0:1] if method == "delete" else arguments[1:2]
            parts.options = self._options(settings[0], parts) if settings else ()
            if method != "delete":
                parts.payload = (
                    self._payload(arguments[0]) if arguments else Payload(unknown=Dynamic("not given"))
                )
        elif method in FILTER_METHODS or method in ("not", "filter", "or", "match"):
            self._filter(link, arguments, line, parts)
        elif method in MODIFIER_METHODS:
            self._modifier(link, arguments, line, parts)
        else:
            parts.notes.append(f"{method} is no method of postgrest-js (line {line})")

    # -- parts -----------------------------------------------------------------------------------

    def name(self, place: Place) -> Name:
        """A table, a column, a function."""
        return self._name_of(self.evaluator.value(place), place)

    def _name_of(self, value: Abstract, place: Place) -> Name:
        if isinstance(value, Constant) and is_text(value):
            return Known(scalar_text(value))
        if isinstance(value, Union):
            texts = [self._shown(option) for option in options(value)]
            known = tuple(dict.fromkeys(text for text in texts if text is not None))
            complete = value.complete and len(known) == len(texts)
            if complete and len(known) == 1 and all(is_text(option) for option in options(value)):
                return Known(known[0])
            return Dynamic(value.reason, known, complete)
        if isinstance(value, Text):
            return Dynamic(
                f"put together: {brief(place.file.string(place.node))}", (self._shown(value) or "",)
            )
        if isinstance(value, Unknown):
            return Dynamic(value.reason)
        return Dynamic(f"computed: {brief(place.file.string(place.node))}")

    def _shown(self, value: Abstract) -> str | None:
        if isinstance(value, Constant) and is_text(value):
            return scalar_text(value)
        if isinstance(value, Text):
            return "".join(
                part if isinstance(part, str) else "${" + brief(part.file.string(part.node)) + "}"
                for part in value.parts
            )
        return None

    def _value(self, place: Place | Abstract, fallback: str) -> Value:
        """A value of a filter, a row, an option."""
        if isinstance(place, Place) and not shows_its_value(place.file, place.node):
            return parameter(self.evaluator, place, Unknown(""), fallback)
        value = self.evaluator.literally(place) if isinstance(place, Place) else place
        if isinstance(value, Constant) and value is not UNDEFINED:
            return Literal(value.value)
        if isinstance(value, List) and value.counted and not value.unknown:
            items = [self.evaluator.value(item) for item in value.items]
            if all(isinstance(item, Constant) and item is not UNDEFINED for item in items):
                return Literal(tuple(item.value for item in items if isinstance(item, Constant)))
        return parameter(self.evaluator, place, value, fallback)

    def _options(self, place: Place, parts: _Parts) -> tuple[Option, ...]:
        value = self.evaluator.value(place)
        if value is UNDEFINED:
            return ()
        found: list[Option] = []
        unknown = ""
        for option in options(value):
            if isinstance(option, Object):
                found += [
                    Option(name, self._value(entry.place, name)) for name, entry in option.entries.items()
                ]
                unknown = unknown or option.unknown
            else:
                unknown = unknown or brief(place.file.string(place.node))
        if unknown:
            parts.notes.append(f"the options are not all known: {unknown}")
        return tuple(found)

    def _select(self, link: Link, arguments: list[Place], line: int, parts: _Parts) -> None:
        if parts.operation == UNKNOWN_OPERATION:
            parts.operation = "select"
        if len(arguments) > 1:
            given = self._options(arguments[1], parts)
            parts.options = (*parts.options, *given)
        if parts.select is not None and link.conditional:
            parts.notes.append(f"another select may replace the first (line {line})")
        parts.select = self._selection(arguments[0] if arguments else None, line, link.conditional)
        if parts.select.unknown is not None:
            parts.notes.append(f"the columns are not all known: {parts.select.unknown.reason}")

    def _selection(self, place: Place | None, line: int, conditional: bool) -> Selection:
        if place is None:
            return postgrest_text.parse_select("*", line, conditional)
        value = self.evaluator.value(place)
        if isinstance(value, Constant) and is_text(value):
            return postgrest_text.parse_select(scalar_text(value), line, conditional)
        if value is UNDEFINED:
            return postgrest_text.parse_select("*", line, conditional)
        known = [option for option in options(value) if isinstance(option, Constant | Text)]
        name = self._name_of(value, place)
        if isinstance(name, Known):
            return postgrest_text.parse_select(name.value, line, conditional)
        if len(known) != 1:
            return Selection((), (), name, conditional, line)
        text, _ = self._holed(known[0])
        parsed = postgrest_text.parse_select(text, line, conditional)
        columns = tuple(column for column in parsed.columns if not _has_hole(column))
        embeds = tuple(embed for embed in map(_without_holes, parsed.embeds) if embed is not None)
        return Selection(columns, embeds, name, conditional, line)

    def _holed(self, value: Abstract) -> tuple[str, list[Parameter]]:
        if isinstance(value, Constant):
            return scalar_text(value), []
        text = ""
        parameters: list[Parameter] = []
        for part in value.parts if isinstance(value, Text) else ():
            if isinstance(part, str):
                text += part
            else:
                text += postgrest_text.hole(len(parameters))
                filled = parameter(self.evaluator, part, self.evaluator.value(part), "value")
                parameters.append(filled if isinstance(filled, Parameter) else Parameter("value"))
        return text, parameters

    def _filter(self, link: Link, arguments: list[Place], line: int, parts: _Parts) -> None:
        method, held = link.method, link.conditional
        if not arguments:
            parts.notes.append(f"{method} has no arguments (line {line})")
            return
        if method == "or":
            parts.filters.append(self._or(arguments, line, held, parts))
            return
        if method == "match":
            parts.filters += self._match(arguments[0], line, held, parts)
            return
        column = self.name(arguments[0])
        fallback = column.value if isinstance(column, Known) else "value"
        operator, negated, index = FILTER_METHODS.get(method, ""), False, 1
        if method in ("not", "filter"):
            index = 2
            word = self.name(arguments[1]) if len(arguments) > 1 else Dynamic("no operator is given")
            operator = word.value if isinstance(word, Known) else "dynamic"
            negated = method == "not" or operator.startswith("not.")
            operator = operator.removeprefix("not.")
            if isinstance(word, Dynamic):
                parts.notes.append(f"the operator is not known (line {line}): {word.reason}")
        if method == "textSearch" and len(arguments) > 2:
            operator = self._text_search(arguments[2], parts)
        given = len(arguments) > index
        value = self._value(arguments[index], fallback) if given else Parameter(fallback, "undefined")
        if index == 2 and operator == "in" and isinstance(value, Literal) and isinstance(value.value, str):
            listed = postgrest_text.parse_list(value.value)
            value = Literal(listed) if listed is not None else value
        if isinstance(column, Dynamic):
            parts.notes.append(f"the column of {method} is not known (line {line}): {column.reason}")
        parts.filters.append(Filter(operator, column, value, negated, held, line))

    def _text_search(self, place: Place, parts: _Parts) -> str:
        given = {option.name: option.value for option in self._options(place, parts)}
        kind, config = given.get("type"), given.get("config")
        operator = _TEXT_SEARCH.get(kind.value, "fts") if isinstance(kind, Literal) else "fts"
        return f"{operator}({config.value})" if isinstance(config, Literal) else operator

    def _or(self, arguments: list[Place], line: int, held: bool, parts: _Parts) -> Group:
        table = ""
        if len(arguments) > 1:
            for option in self._options(arguments[1], parts):
                if option.name in ("referencedTable", "foreignTable") and isinstance(option.value, Literal):
                    table = str(option.value.value)
        value = self.evaluator.literally(arguments[0])
        known = [option for option in options(value) if isinstance(option, Constant | Text)]
        if len(known) != 1:
            name = self._name_of(value, arguments[0])
            unparsed = name if isinstance(name, Dynamic) else Dynamic("not known")
            parts.notes.append(f"the text of or is not known (line {line}): {unparsed.reason}")
            return Group("or", (), False, held, line, table, unparsed, bool(unparsed.values))
        text, parameters = self._holed(known[0])
        group = postgrest_text.parse_or(text, parameters, line, held, table)
        if group.unparsed is not None:
            parts.notes.append(f"or (line {line}): {group.unparsed.reason}")
        return group

    def _match(self, place: Place, line: int, held: bool, parts: _Parts) -> list[Filter | Group]:
        found: list[Filter | Group] = []
        unknown = ""
        value = self.evaluator.value(place)
        for option in options(value):
            if isinstance(option, Object):
                found += [
                    Filter(
                        "eq",
                        Known(name),
                        self._value(entry.place, name),
                        False,
                        held or entry.conditional,
                        line,
                    )
                    for name, entry in option.entries.items()
                ]
                unknown = unknown or option.unknown
            else:
                unknown = unknown or getattr(option, "reason", "") or brief(place.file.string(place.node))
        if unknown:
            found.append(Filter("eq", Dynamic(unknown), Dynamic(unknown), False, True, line))
            parts.notes.append(f"the columns of match are not all known (line {line}): {unknown}")
        return found

    def _modifier(self, link: Link, arguments: list[Place], line: int, parts: _Parts) -> None:
        method = link.method
        if method == "throwOnError":
            parts.throws = True
        plain: list[Value] = []
        given: tuple[Option, ...] = ()
        for number, argument in enumerate(arguments):
            value = self.evaluator.value(argument)
            takes_options = (method, number) in (("order", 1), ("limit", 1), ("range", 2), ("explain", 0))
            if takes_options:
                given = self._options(argument, parts)
            elif method == "order":
                name = self._name_of(value, argument)
                plain.append(Literal(name.value) if isinstance(name, Known) else name)
                if isinstance(name, Dynamic):
                    parts.notes.append(f"the column of order is not known (line {line}): {name.reason}")
            else:
                plain.append(self._value(argument, method))
        parts.modifiers.append(Modifier(method, tuple(plain), given, link.conditional, line))

    # -- rows ------------------------------------------------------------------------------------

    def _payload(self, place: Place) -> Payload:
        value = self.evaluator.value(place)
        text = brief(place.file.string(place.node))
        rows: list[Object] = []
        unknown = ""
        bulks: set[bool] = set()
        count: int | None = None
        for option in options(value):
            if isinstance(option, Constant):
                continue
            if isinstance(option, Object):
                rows.append(option)
                bulks.add(False)
            elif isinstance(option, List):
                bulks.add(True)
                unknown = unknown or option.unknown
                count = len(option.items) if option.counted and not option.unknown else None
                for item in option.items:
                    for row in options(self.evaluator.value(item)):
                        if isinstance(row, Object):
                            rows.append(row)
                        elif not isinstance(row, Constant):
                            unknown = unknown or f"{text}: {getattr(row, 'reason', 'a row is not known')}"
            else:
                unknown = unknown or getattr(option, "reason", "") or f"computed: {text}"
        if isinstance(value, Union) and not value.complete:
            unknown = unknown or value.reason
        if not rows and not unknown and bulks != {True}:
            unknown = f"computed: {text}"
        if not rows and not unknown:
            unknown = f"nothing is seen to be put into {text}"
        columns, open_row = self._union_of(rows)
        unknown = unknown or open_row
        bulk = None if len(bulks) != 1 else bulks.pop()
        if bulk is None and not bulks:
            hint = parameter(self.evaluator, place, value, "rows")
            bulk = True if isinstance(hint, Parameter) and hint.type == "array" else None
        return Payload(tuple(columns), bulk, Dynamic(unknown) if unknown else None, count)

    def _union_of(self, rows: list[Object]) -> tuple[list[PayloadColumn], str]:
        unknown = ""
        entries: dict[str, list[Entry]] = {}
        always: set[str] | None = None
        for row in rows:
            unknown = unknown or row.unknown
            for name, entry in row.entries.items():
                entries.setdefault(name, []).append(entry)
            sure = {name for name, entry in row.entries.items() if not entry.conditional}
            always = sure if always is None else always & sure
        columns = [
            PayloadColumn(name, self._one_of(name, several), name not in (always or set()))
            for name, several in entries.items()
        ]
        return columns, unknown

    def _one_of(self, name: str, entries: list[Entry]) -> Value:
        """The value of a column that rows set in different ways."""
        values = list(dict.fromkeys(self._value(entry.place, name) for entry in entries))
        if len(values) == 1:
            return values[0]
        return next((value for value in values if not isinstance(value, Literal)), Parameter(name))


def _certainty(table: Name, parts: _Parts) -> str:
    if isinstance(table, Dynamic) or parts.operation == UNKNOWN_OPERATION:
        return DYNAMIC
    unknown_notes = [note for note in parts.notes if "not all known" in note or "not known" in note]
    unknown_notes += [
        note
        for note in parts.notes
        if any(
            words in note for words in ("no method of postgrest-js", "is called after", "builder is kept in")
        )
    ]
    parsed_badly = any(isinstance(item, Group) and item.unparsed is not None for item in parts.filters)
    return PARTIAL if unknown_notes or parsed_badly else EXACT


def _arguments(link: Link) -> list[Place]:
    return [Place(link.place.file, node, link.place.frame) for node in arguments_of(link.place.node)]


def _last(callee: Node) -> Node:
    return callee.child_by_field_name("property") or callee.child_by_field_name("index") or callee


def _last_name(place: Place) -> Node:
    callee = place.node.child_by_field_name("function")
    return _last(callee) if callee is not None else place.node


def _named_function(file: SourceFile, function: Node | None) -> str:
    """The nearest function around that has a name."""
    while function is not None:
        name = function_name(file, function)
        if name:
            return name
        function = file.function_around(function)
    return ""


def _has_hole(column: Column) -> bool:
    return bool(_HOLE.search(column.name + column.alias + column.path))


def _without_holes(embed: Embed) -> Embed | None:
    if _HOLE.search(embed.table + embed.alias + embed.hint):
        return None
    return Embed(
        embed.table,
        tuple(column for column in embed.columns if not _has_hole(column)),
        tuple(inner for inner in map(_without_holes, embed.embeds) if inner is not None),
        embed.alias,
        embed.hint,
        embed.join,
        embed.spread,
    )
