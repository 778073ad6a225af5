"""Mistakes that a call shows by itself, without a database. Each rule found real bugs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ansible.module_utils.rollout.audit.chain import (
    Chain,
    Filter,
    Group,
    Known,
    Literal,
    Modifier,
    Option,
    Parameter,
    Value,
)

ERROR, WARNING, NOTE = "error", "warning", "note"
#: PostgREST's ``db-max-rows`` on Supabase.
ROW_CAP = 1000
_MUTATIONS = ("insert", "update", "upsert", "delete")
_OPTIONS = {
    "select": {"head", "count"},
    "insert": {"count", "defaultToNull"},
    "upsert": {"onConflict", "ignoreDuplicates", "count", "defaultToNull"},
    "update": {"count"},
    "delete": {"count"},
    "rpc": {"head", "get", "count"},
    "order": {"ascending", "nullsFirst", "foreignTable", "referencedTable"},
    "limit": {"foreignTable", "referencedTable"},
    "range": {"foreignTable", "referencedTable"},
    "explain": {"analyze", "verbose", "settings", "buffers", "wal", "format"},
}


@dataclass(frozen=True)
class Rule:
    """A kind of mistake.

    :ivar level: of SARIF: ``error`` when the call cannot do what it looks like, ``warning`` when it may not, ``note``
    :ivar text: what goes wrong
    """

    id: str
    level: str
    text: str


@dataclass(frozen=True)
class Finding:
    """A mistake at a place."""

    rule: str
    level: str
    file: str
    line: int
    message: str


RULES = {
    rule.id: rule
    for rule in (
        Rule(
            "error-not-read",
            WARNING,
            "The answer's error is never read. supabase-js does not throw: the call fails and nobody notices.",
        ),
        Rule(
            "data-without-select",
            ERROR,
            "The data of a mutation is read, and it has no .select(): data is always null.",
        ),
        Rule(
            "head-data",
            ERROR,
            "The data of a HEAD request is read: it is always null; only count is there.",
        ),
        Rule(
            "head-count",
            WARNING,
            "A HEAD request has no body: on a missing table error is empty and count is null, as if it had no rows.",
        ),
        Rule("unknown-option", WARNING, "supabase-js ignores an option that it does not know."),
        Rule(
            "row-cap",
            NOTE,
            f"A select gives at most {ROW_CAP} rows, whatever its limit says, and does not say that there are more.",
        ),
        Rule(
            "undefined-in-payload",
            WARNING,
            "A value can be undefined: JSON leaves the key out, so that an update keeps the old value and an insert "
            "takes the default.",
        ),
        Rule(
            "or-interpolation",
            WARNING,
            "Values are spliced into the text of .or(): a comma, a dot or a parenthesis in one changes the condition.",
        ),
        Rule(
            "eq-null", ERROR, ".eq(column, null) compares with the text 'null'; .is(column, null) is meant."
        ),
        Rule(
            "date-object",
            ERROR,
            "A Date object in a filter is sent as local text, which PostgreSQL refuses (22007).",
        ),
        Rule("no-filter", WARNING, "An update or delete without any filter is for all rows of the table."),
        Rule(
            "not-sent", ERROR, "Nobody waits for the answer: a builder sends its request when it is awaited."
        ),
        Rule("unknown-method", ERROR, "The builder has no such method."),
    )
}


def lint(chain: Chain) -> list[Finding]:
    """Every mistake that a call shows; tests' calls are not looked at."""
    if chain.test:
        return []
    return [
        Finding(rule, RULES[rule].level, chain.file, line or chain.line, message)
        for check in _CHECKS
        for rule, line, message in check(chain)
    ]


_Found = Iterator[tuple[str, int, str]]


def _answer(chain: Chain) -> _Found:
    if chain.executed is False:
        yield "not-sent", 0, f"{_what(chain)} is never awaited"
        return
    if chain.error_read is False:
        yield "error-not-read", 0, f"the error of {_what(chain)} is never read"
    if chain.operation in _MUTATIONS and chain.select is None and chain.data_used:
        yield "data-without-select", 0, f"the data of {_what(chain)} is read, and there is no .select()"


def _head(chain: Chain) -> _Found:
    if chain.option("head") != Literal(True):
        return
    if chain.data_used:
        yield "head-data", 0, f"the data of {_what(chain)} is read, and head: true gives none"
    yield "head-count", 0, f"{_what(chain)} is a HEAD request"


def _unknown_options(chain: Chain) -> _Found:
    known = _OPTIONS.get(chain.operation, set())
    if chain.select is not None:
        known = known | _OPTIONS["select"]
    places: list[tuple[str, tuple[Option, ...], set[str], int]] = [(chain.operation, chain.options, known, 0)]
    for modifier in chain.modifiers:
        places.append((modifier.name, modifier.options, _OPTIONS.get(modifier.name, set()), modifier.line))
    for method, given, allowed, line in places:
        for option in given:
            if option.name not in allowed and allowed:
                yield "unknown-option", line, f"{method} knows no option {option.name}"


def _row_cap(chain: Chain) -> _Found:
    if chain.operation != "select" or chain.option("head") == Literal(True):
        return
    if any(chain.modifier(name) for name in ("single", "maybeSingle", "range", "csv")) or _aggregates_only(
        chain
    ):
        return
    limit = chain.modifier("limit")
    if limit is None:
        yield "row-cap", 0, f"{_what(chain)} has no limit: rows after the {ROW_CAP}th are missing silently"
    elif _number(limit) > ROW_CAP:
        yield "row-cap", limit.line, f"{_what(chain)} asks for more than {ROW_CAP} rows"


def _payload(chain: Chain) -> _Found:
    if chain.payload is None or chain.operation not in _MUTATIONS:
        return
    for column in chain.payload.columns:
        value = column.value
        if isinstance(value, Parameter) and (value.may_be_undefined or value.type == "undefined"):
            yield "undefined-in-payload", 0, f"{column.name} of {_what(chain)} can be undefined"


def _conditions(chain: Chain) -> _Found:
    if chain.operation in ("update", "delete") and not chain.filters:
        yield "no-filter", 0, f"{_what(chain)} has no filter"
    yield from _each(chain.filters)


def _each(filters: tuple[Filter | Group, ...]) -> _Found:
    for item in filters:
        if isinstance(item, Group):
            if item.interpolated:
                yield "or-interpolation", item.line, "values are spliced into the text of .or()"
            continue
        name = item.column.value if isinstance(item.column, Known) else "a column"
        if item.operator in ("eq", "neq") and item.value == Literal(None):
            yield "eq-null", item.line, f".{item.operator}('{name}', null)"
        if _is_date(item.value):
            yield "date-object", item.line, f"{name} is compared with a Date object"


def _methods(chain: Chain) -> _Found:
    for note in chain.notes:
        if "is no method of postgrest-js" in note:
            yield "unknown-method", 0, f"{_what(chain)}: {note}"


_CHECKS: tuple[Callable[[Chain], _Found], ...] = (
    _answer,
    _head,
    _unknown_options,
    _row_cap,
    _payload,
    _conditions,
    _methods,
)


def _what(chain: Chain) -> str:
    """The call in words: ``update of clients``."""
    table = chain.table.value if isinstance(chain.table, Known) else "a dynamic table"
    return f"rpc {table}" if chain.operation == "rpc" else f"{chain.operation} of {table}"


def _aggregates_only(chain: Chain) -> bool:
    return (
        chain.select is not None
        and bool(chain.select.columns)
        and all(column.aggregate for column in chain.select.columns)
    )


def _number(limit: Modifier) -> int:
    first: Value | None = limit.arguments[0] if limit.arguments else None
    if isinstance(first, Literal) and isinstance(first.value, int):
        return int(first.value)
    return 0


def _is_date(value: Value) -> bool:
    return isinstance(value, Parameter) and value.type == "Date"
