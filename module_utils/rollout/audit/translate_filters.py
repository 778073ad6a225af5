"""Filters: what stands in a WHERE."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ansible.module_utils.rollout.audit.chain import Dynamic, Filter, Group, Known, Literal
from ansible.module_utils.rollout.audit.translate_draft import Draft
from ansible.module_utils.rollout.audit.translate_sql import (
    CONTAINER,
    KEYWORD,
    LIST,
    PATTERN,
    PATTERNS,
    Sql,
    When,
    compact,
    identifier,
    joined,
    keyword,
    literal,
    places,
)

_COMPARISONS = {"eq": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_PATTERNS = {"like": "LIKE", "ilike": "ILIKE"}
_EXPRESSIONS = {"match": "~", "imatch": "~*"}
_CONTAINERS = {"cs": "@>", "cd": "<@", "ov": "&&"}
_RANGES = {"sl": "<<", "sr": ">>", "nxr": "&<", "nxl": "&>", "adj": "-|-"}
_TEXT_SEARCH = {
    "fts": "to_tsquery",
    "plfts": "plainto_tsquery",
    "phfts": "phraseto_tsquery",
    "wfts": "websearch_to_tsquery",
}
_QUANTIFIED = re.compile(r"(eq|gt|gte|lt|lte|like|ilike|match|imatch)\((any|all)\)")
_SEARCH = re.compile(r"((?:pl|ph|w)?fts)(?:\((\w+)\))?")
_ARROWS = re.compile(r"(->>|->)((?:(?!->).)+)")


def split_path(column: str) -> tuple[str, str]:
    """A column and its JSON path: ``data->a->>b`` is ``data`` and ``->a->>b``."""
    name, arrow, rest = column.partition("->")
    return name.strip('"'), arrow + rest


def path_keys(path: str) -> list[tuple[str, str]]:
    """The arrows of a JSON path, each with its key."""
    return [(arrow, key.strip().strip('"')) for arrow, key in _ARROWS.findall(path)]


def column_sql(draft: Draft, table: str, reference: str, name: str, path: str) -> str:
    """A column, or a place in its JSON, as SQL.

    :param reference: what the table is called in this SELECT
    """
    if name == "*":
        return f"{identifier(reference)}.*"
    sql = f"{identifier(reference)}.{identifier(name)}"
    if not path:
        return sql
    if draft.column_type(table, name) not in ("json", "jsonb"):
        sql = f"to_jsonb({sql})"
    for arrow, key in path_keys(path):
        sql += arrow + (key if re.fullmatch(r"-?\d+", key) else literal(key))
    return sql


def filter_sql(draft: Draft, item: Filter, column: str, table: str, reference: str) -> Sql | None:
    """One filter, or ``None`` when it could not be translated; the draft says why.

    :param column: its column without the names of embedded resources before it
    :param table: that the column belongs to
    :param reference: what that table is called in this SELECT
    """
    name, path = split_path(column)
    draft.use(table, name, "filter")
    if path:
        draft.apply("filter.path")
    field = column_sql(draft, table, reference, name, path)
    condition = _condition(draft, item, field, column)
    if condition is None:
        return None
    if item.negated:
        draft.apply("filter.not")
        condition = ("NOT ", *condition)
    return compact(condition)


def _condition(draft: Draft, item: Filter, field: str, column: str) -> Sql | None:
    operator, value = item.operator, item.value
    words = (*(("not",) if item.negated else ()), column, *(() if operator == "eq" else (operator,)))
    quantified = _QUANTIFIED.fullmatch(operator)
    search = _SEARCH.fullmatch(operator)
    if operator in _COMPARISONS:
        draft.apply("filter.compare")
        return (f"{field} {_COMPARISONS[operator]} ", draft.place(value, *words))
    if operator == "neq":
        draft.apply("filter.neq")
        return (f"{field} <> ", draft.place(value, *words))
    if operator == "is":
        draft.apply("filter.is")
        if isinstance(value, Literal):
            word = keyword(value)
            if word is None:
                draft.refuse(
                    "filter.is", f"is takes null, true, false or unknown, not {value.value!r}", "PGRST100"
                )
                return None
            return (f"{field} IS {word}",)
        return (f"{field} IS ", draft.place(value, *words, form=KEYWORD))
    if operator == "in":
        draft.apply("filter.in")
        return (f"{field} = ANY (", draft.place(value, *words, form=LIST), ")")
    if operator in _PATTERNS:
        draft.apply("filter.like")
        return (f"{field} {_PATTERNS[operator]} ", draft.place(value, *words, form=PATTERN))
    if operator in _EXPRESSIONS:
        draft.apply("filter.match")
        return (f"{field} {_EXPRESSIONS[operator]} ", draft.place(value, *words))
    if operator == "isdistinct":
        draft.apply("filter.distinct")
        return (f"{field} IS DISTINCT FROM ", draft.place(value, *words))
    if operator in _CONTAINERS:
        draft.apply("filter.contains")
        return (f"{field} {_CONTAINERS[operator]} ", draft.place(value, *words, form=CONTAINER))
    if operator in _RANGES:
        draft.apply("filter.range")
        return (f"{field} {_RANGES[operator]} ", draft.place(value, *words))
    if quantified:
        draft.apply("filter.like_many")
        plain = quantified[1]
        sign = {**_COMPARISONS, **_PATTERNS, **_EXPRESSIONS}[plain]
        form = PATTERNS if plain in _PATTERNS else CONTAINER
        return (f"{field} {sign} {quantified[2].upper()} (", draft.place(value, *words, form=form), ")")
    if search:
        draft.apply("filter.text_search")
        configuration = f"{literal(search[2])}, " if search[2] else ""
        return (f"{field} @@ {_TEXT_SEARCH[search[1]]}({configuration}", draft.place(value, *words), ")")
    if operator == "dynamic":
        draft.refuse(
            "filter.unknown", f"the operator of a filter on {column} is known to the running code only"
        )
    else:
        draft.refuse("filter.unknown", f"PostgREST 12 has no operator {operator!r}", "PGRST100")
    return None


#: Translates one filter where it stands; ``None`` when it could not be.
FilterSql = Callable[[Filter], "Sql | None"]


def group_sql(draft: Draft, group: Group, one: FilterSql) -> Sql | None:
    """``.or(…)`` as SQL, or ``None`` when a part of it could not be translated: the rest would mean something else."""
    draft.apply("filter.or")
    if group.unparsed is not None:
        draft.refuse(
            "filter.or_unknown", f"the text of .{group.operator}() is not known: {group.unparsed.reason}"
        )
    pieces = [
        group_sql(draft, member, one) if isinstance(member, Group) else one(member)
        for member in group.members
    ]
    known = [piece for piece in pieces if piece is not None]
    if group.unparsed is not None or len(known) < len(pieces) or not known:
        return None
    inner = joined(f" {group.operator.upper()} ", known)
    return compact(("NOT (" if group.negated else "(", *inner, ")"))


def where(conditions: Sequence[Sql]) -> Sql:
    """A WHERE with all conditions; empty when there is none."""
    fixed = [condition for condition in conditions if not _is_optional(condition)]
    optional = [condition for condition in conditions if _is_optional(condition)]
    if not conditions:
        return ()
    start: Sql = joined(" AND ", fixed) if fixed else ("TRUE",)
    return compact(("\nWHERE ", *start, *(part for condition in optional for part in ("\n  ", *condition))))


def _is_optional(condition: Sql) -> bool:
    return len(condition) == 1 and isinstance(condition[0], When)


def when_given(draft: Draft, condition: Sql, *words: str) -> Sql:
    """A condition that is there only when the argument in it is given, or, without one, an argument made for it."""
    draft.apply("filter.conditional")
    given = (place.names[0] for place in places(condition) if not isinstance(place.values[0], Literal))
    name = next(given, None) or draft.argument("if", *words)
    return (When(name, ("AND ", *condition)),)


def resource_path(name: Known | Dynamic) -> tuple[tuple[str, ...], str] | None:
    """Names of embedded resources before a column, and the column; ``None`` when it is not known."""
    if isinstance(name, Dynamic):
        return None
    column, arrow, rest = name.value.partition("->")
    *resources, own = column.split(".")
    return tuple(resources), own + arrow + rest
