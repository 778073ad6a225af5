"""A supabase-js call as data: what the extraction finds, and what translation, library and proof start from.

One :class:`Chain` is one request that the code can make: ``client.from('t').select('a').eq('b', c)`` or
``client.rpc('f', {x})``. A builder that is finished in two ways (``q.insert(…)`` here, ``q.update(…)`` there) is two
chains with the same ``line``.

Three things can be said about a name: it is :class:`Known`, or it is :class:`Dynamic`, with the reason and the values
that the code shows. Three can be said about a value: it is a :class:`Literal` of the source, a :class:`Parameter` that
the running code fills in (the normal case: it becomes ``$n``), or :class:`Dynamic`: even its form is not known.

Everything is immutable and hashable, needs the standard library only (it travels to the target), and survives
``from_json(to_json(x)) == x``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

#: How sure the reader is of a chain. ``exact``: every name is known (what is not on every path says so itself, as
#: ``conditional``). ``partial``: table and operation are known, something else is not (``notes`` say what).
#: ``dynamic``: the table, the function or the operation is not known.
EXACT, PARTIAL, DYNAMIC = "exact", "partial", "dynamic"

OPERATIONS = ("select", "insert", "update", "upsert", "delete", "rpc")
#: What ``operation`` says of a builder whose method could not be followed; such a chain is ``dynamic``.
UNKNOWN_OPERATION = "unknown"

#: PostgREST's operators by the method of postgrest-js that sends them. ``not``, ``filter``, ``or`` and ``match`` name
#: the operator in an argument and are resolved when a chain is made, so no Filter ever carries their names.
FILTER_METHODS = {
    "eq": "eq",
    "neq": "neq",
    "gt": "gt",
    "gte": "gte",
    "lt": "lt",
    "lte": "lte",
    "like": "like",
    "likeAllOf": "like(all)",
    "likeAnyOf": "like(any)",
    "ilike": "ilike",
    "ilikeAllOf": "ilike(all)",
    "ilikeAnyOf": "ilike(any)",
    "is": "is",
    "isDistinct": "isdistinct",
    "regexMatch": "match",
    "regexIMatch": "imatch",
    "in": "in",
    "contains": "cs",
    "containedBy": "cd",
    "overlaps": "ov",
    "rangeGt": "sr",
    "rangeGte": "nxl",
    "rangeLt": "sl",
    "rangeLte": "nxr",
    "rangeAdjacent": "adj",
    "textSearch": "fts",
}


@dataclass(frozen=True)
class Known:
    """A name that the source shows.

    :ivar value: as written: ``clients``, ``data->>phone``, ``companies.title``
    """

    value: str


@dataclass(frozen=True)
class Dynamic:
    """A name or a value that only the running code knows.

    :ivar reason: why, in words
    :ivar values: what the code shows that it can be, in source order; empty when nothing is known
    :ivar complete: ``values`` are all there are (a loop over a literal list), not merely some
    """

    reason: str
    values: tuple[str, ...] = ()
    complete: bool = False


Name: TypeAlias = "Known | Dynamic"


@dataclass(frozen=True)
class Literal:
    """A value written in the source: a scalar of JSON, or a list (here a tuple) of such."""

    value: Any


@dataclass(frozen=True)
class Parameter:
    """A value that the running code fills in.

    :ivar name: a name for it, taken from the expression: ``companyId``, ``filters.status`` → ``status``
    :ivar type: what the expression shows: ``string``, ``number``, ``boolean``, ``array``, ``object``, ``Date`` (a Date
        object, which is not valid in a filter), ``timestamp`` (``toISOString()``), ``undefined``; empty when unknown
    :ivar template: the fixed text around the interpolated values of a template literal: ``%${q}%`` is
        ``("%", "%")``; empty when it is none
    :ivar may_be_undefined: it can be ``undefined``, which JSON leaves out and node-pg writes as NULL
    """

    name: str
    type: str = ""
    template: tuple[str, ...] = ()
    may_be_undefined: bool = False


Value: TypeAlias = "Literal | Parameter | Dynamic"


@dataclass(frozen=True)
class Filter:
    """One horizontal filter.

    :ivar operator: PostgREST's: ``eq``, ``is``, ``in``, ``cs``, …, ``fts``/``plfts``/``phfts``/``wfts`` (a value of
        :data:`FILTER_METHODS`, or what ``.filter()``, ``.not()`` or ``.or()`` names); ``dynamic`` when not known
    :ivar column: may be a JSON path (``data->>phone``) or belong to an embedded resource (``companies.title``)
    :ivar value: for ``in`` a Literal tuple, or a Parameter of type ``array``. From ``.or()`` and ``.not(c, 'in', …)``
        it is what PostgREST would read: unquoted, ``(a,b)`` cut into a tuple
    :ivar negated: ``.not(…)``, ``not.eq``
    :ivar conditional: not on every path (``if (x) q = q.eq(…)``)
    :ivar line: where it is written
    """

    operator: str
    column: Name
    value: Value
    negated: bool = False
    conditional: bool = False
    line: int = 0


@dataclass(frozen=True)
class Group:
    """``.or('a.eq.1,and(b.is.null,c.gt.2)')`` as a tree.

    :ivar operator: ``or`` / ``and``
    :ivar table: ``referencedTable``: the embedded resource that it filters; empty for the chain's own table
    :ivar unparsed: the text, or a part of it, is not known or not valid; ``members`` hold what could be read
    :ivar interpolated: values are spliced into the text, so that a comma or a parenthesis in one changes its meaning
    """

    operator: str
    members: tuple[Filter | Group, ...]
    negated: bool = False
    conditional: bool = False
    line: int = 0
    table: str = ""
    unparsed: Dynamic | None = None
    interpolated: bool = False


@dataclass(frozen=True)
class Column:
    """One item of ``.select('alias:name->path::cast')`` that is not an embed.

    :ivar name: ``*`` for all; for ``amount.sum()`` the column is ``amount``; for ``count()`` it is empty
    :ivar path: the JSON path with its arrows: ``->a->>b``
    :ivar aggregate: ``count``, ``sum``, ``avg``, ``min``, ``max``. ``.select('count')`` is a column of that name
        to us, and to PostgREST the count of rows: it is marked here as the aggregate with an empty name
    """

    name: str
    alias: str = ""
    cast: str = ""
    path: str = ""
    aggregate: str = ""


@dataclass(frozen=True)
class Embed:
    """An embedded resource: ``alias:table!hint!inner(columns)``.

    :ivar table: the relation that is named, or a foreign key's column: PostgREST takes both
    :ivar hint: foreign key's or its column's name after ``!``
    :ivar join: ``inner``, ``left`` or empty
    :ivar spread: ``...table(…)``
    """

    table: str
    columns: tuple[Column, ...] = ()
    embeds: tuple[Embed, ...] = ()
    alias: str = ""
    hint: str = ""
    join: str = ""
    spread: bool = False


@dataclass(frozen=True)
class Selection:
    """What ``.select(…)`` asks for; ``.select()`` is ``*``.

    :ivar columns: plain ones, in order
    :ivar unknown: the text, or a part of it, is not known; ``columns`` and ``embeds`` hold what could be read
    :ivar conditional: not on every path (a select after a mutation)
    """

    columns: tuple[Column, ...] = ()
    embeds: tuple[Embed, ...] = ()
    unknown: Dynamic | None = None
    conditional: bool = False
    line: int = 0


@dataclass(frozen=True)
class PayloadColumn:
    """One key of an inserted, upserted or updated row, or one named argument of an rpc.

    :ivar conditional: the key is not there on every path, or not in every row
    """

    name: str
    value: Value
    conditional: bool = False


@dataclass(frozen=True)
class Payload:
    """The rows of a mutation, or the arguments of an rpc.

    :ivar columns: union of the keys that are known, in source order
    :ivar bulk: a list of rows; ``None`` when that is not known
    :ivar unknown: why there may be more keys than ``columns``; ``None``: these are all
    :ivar rows: how many, where the list is written out
    """

    columns: tuple[PayloadColumn, ...] = ()
    bulk: bool | None = False
    unknown: Dynamic | None = None
    rows: int | None = None


@dataclass(frozen=True)
class Option:
    """One key of an options object: ``{ onConflict: 'id' }``, ``{ ascending: false }``."""

    name: str
    value: Value


@dataclass(frozen=True)
class Modifier:
    """A call that shapes the answer: order, limit, range, single, maybeSingle, csv, abortSignal, throwOnError, …

    :ivar name: the method's
    :ivar arguments: without the options object; ``order``'s first is the column, ``range``'s two the bounds
    :ivar options: of this call: ``ascending``, ``nullsFirst``, ``referencedTable``
    """

    name: str
    arguments: tuple[Value, ...] = ()
    options: tuple[Option, ...] = ()
    conditional: bool = False
    line: int = 0

    def option(self, name: str) -> Value | None:
        """The value of one option, or ``None`` when it is not given."""
        return next((option.value for option in self.options if option.name == name), None)


@dataclass(frozen=True)
class Chain:
    """One request that the code can make.

    :ivar file: relative to the source folder, with ``/``
    :ivar line: of ``.from(`` or ``.rpc(``: of the method's name, from 1
    :ivar column: of the method's name, from 1, in characters
    :ivar table: for ``rpc`` the function
    :ivar operation: one of :data:`OPERATIONS`, or :data:`UNKNOWN_OPERATION`
    :ivar certainty: :data:`EXACT`, :data:`PARTIAL` or :data:`DYNAMIC`
    :ivar schema: ``.schema('x')``, or the client's; ``None`` for the default
    :ivar select: of a select what is read, of a mutation or rpc what it returns; ``None`` when there is no
        ``.select()``
    :ivar payload: of insert, update, upsert the rows; of rpc the arguments
    :ivar filters: in order; all must hold
    :ivar modifiers: in order
    :ivar options: of the operation's own call: ``count``, ``head``, ``onConflict``, ``ignoreDuplicates``,
        ``defaultToNull``, ``get``. ``returning`` is of supabase-js 1 and unknown to 2
    :ivar error_read: the code looks at ``error`` (or throws by ``throwOnError``); ``None`` when the answer leaves the
        function and the reader lost it
    :ivar data_used: likewise for ``data``
    :ivar count_used: likewise for ``count``
    :ivar executed: awaited, returned or ``.then``: a builder that is none of these sends no request
    :ivar function: the enclosing function's or method's name, with its class; empty at the top level
    :ivar client: the expression that the call was made on: ``this.db``
    :ivar end_line: last line of the chain's last call
    :ivar test: in a test file
    :ivar caller: ``file:line`` of the call that fixed the parameters of the function which holds the chain: chains of
        the same ``line`` differ by it; empty when there is none
    :ivar notes: what is not known, and what else a reader should know, in words
    """

    file: str
    line: int
    column: int
    table: Name
    operation: str
    certainty: str
    schema: Name | None = None
    select: Selection | None = None
    payload: Payload | None = None
    filters: tuple[Filter | Group, ...] = ()
    modifiers: tuple[Modifier, ...] = ()
    options: tuple[Option, ...] = ()
    error_read: bool | None = None
    data_used: bool | None = None
    count_used: bool | None = None
    executed: bool | None = None
    function: str = ""
    client: str = ""
    end_line: int = 0
    test: bool = False
    caller: str = ""
    notes: tuple[str, ...] = ()

    @property
    def tables(self) -> tuple[str, ...]:
        """Every table (for an rpc: function) that this chain is known to be for; several after a loop."""
        return (self.table.value,) if isinstance(self.table, Known) else self.table.values

    def option(self, name: str) -> Value | None:
        """The value of one option of the operation's call, or ``None`` when it is not given."""
        return next((option.value for option in self.options if option.name == name), None)

    def modifier(self, name: str) -> Modifier | None:
        """The last modifier of this name, or ``None``: postgrest-js lets the last one win."""
        return next((modifier for modifier in reversed(self.modifiers) if modifier.name == name), None)


_KINDS: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        Known,
        Dynamic,
        Literal,
        Parameter,
        Filter,
        Group,
        Column,
        Embed,
        Selection,
        PayloadColumn,
        Payload,
        Option,
        Modifier,
        Chain,
    )
}


def to_json(value: Any) -> Any:
    """Plain JSON types for a chain or any part of one. ``kind`` names the class; fields at their default are left out.

    :param value: one of this file's dataclasses, or a sequence of them
    """
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    if type(value).__name__ not in _KINDS:
        return value
    row: dict[str, Any] = {"kind": type(value).__name__}
    for field in fields(value):
        content = getattr(value, field.name)
        if content != field.default or type(content) is not type(field.default):
            row[field.name] = to_json(content)
    return row


def from_json(value: Any) -> Any:
    """The inverse of :func:`to_json`: lists become tuples again.

    :raises KeyError: ``kind`` names no class of this file
    :raises TypeError: a field is missing or unknown
    """
    if isinstance(value, list):
        return tuple(from_json(item) for item in value)
    if isinstance(value, Mapping):
        return _KINDS[value["kind"]](
            **{name: from_json(content) for name, content in value.items() if name != "kind"}
        )
    return value
