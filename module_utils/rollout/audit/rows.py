"""Calls as rows of a report: plain JSON that a person and a program can read, one row a ``.from(`` or ``.rpc(``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from ansible.module_utils.rollout.audit.chain import (
    DYNAMIC,
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
    Selection,
    Value,
)

NOT_PROVEN = "not proven"
#: What ``table``, ``operation`` and ``column`` say of a name that is not known.
DYNAMIC_NAME = "dynamic"
_REDACTED = "(left out)"
#: Telephone numbers, keys and tokens that somebody wrote into the code stay there.
_PRIVATE = re.compile(
    r"\+?\d[\d\s()-]{8,}\d|[A-Za-z0-9_\-+/=.]{32,}|[^\s@]+@[^\s@]+\.[a-z]{2,}|://[^\s/]*:[^\s/]*@"
)
_LONGEST = 300
_ORDER = {"fails": 0, "unknown": 1, NOT_PROVEN: 2, "runs": 3}


def rows(
    chains: Sequence[Chain],
    verdicts: Sequence[Mapping[str, Any]] | None,
    reach: Mapping[str, Sequence[str]],
    patterns: Mapping[Chain, str],
) -> list[dict[str, Any]]:
    """One row a place in the code. Where a place can send different requests, its row has them as ``variants``.

    :param verdicts: of the proof, in the order of the chains; ``None`` when there was none
    :param reach: names of the services that reach a file
    :param patterns: the pattern of each chain
    """
    pairs = zip(chains, verdicts if verdicts is not None else [{}] * len(chains), strict=True)
    found: list[dict[str, Any]] = []
    for place, group in groupby(pairs, key=lambda pair: (pair[0].file, pair[0].line, pair[0].column)):
        single = [
            row(chain, verdict, reach.get(place[0], ()), patterns.get(chain, "")) for chain, verdict in group
        ]
        found.append(single[0] if len(single) == 1 else merged(single))
    return found


def row(chain: Chain, verdict: Mapping[str, Any], reach: Sequence[str], pattern: str) -> dict[str, Any]:
    """One request."""
    content: dict[str, Any] = {
        "file": chain.file,
        "line": chain.line,
        "column": chain.column,
        "end_line": chain.end_line,
        "table": _name(chain.table),
        "operation": chain.operation,
        "columns": columns(chain),
        "filters": [_condition(item) for item in chain.filters],
        "verdict": verdict.get("outcome", NOT_PROVEN),
        "certainty": chain.certainty,
        "function": chain.function,
        "client": private(chain.client),
        "modifiers": [_modifier(item) for item in chain.modifiers],
        "options": _options(chain.options),
        "error_read": chain.error_read,
        "data_used": chain.data_used,
        "count_used": chain.count_used,
        "executed": chain.executed,
        "test": chain.test,
        "reach": list(reach),
        "pattern": pattern,
        "notes": [private(note) for note in chain.notes],
        "problems": list(verdict.get("problems", ())),
        "not_looked_at": list(verdict.get("unknown", ())),
    }
    if isinstance(chain.table, Dynamic):
        content["dynamic"] = _dynamic(chain.table)
    if chain.schema is not None:
        content["schema"] = _name(chain.schema)
    if chain.select is not None:
        content["select"] = _selection(chain.select)
    if chain.payload is not None:
        content["payload"] = _payload(chain.payload)
    if chain.caller:
        content["caller"] = chain.caller
    return content


def merged(variants: list[dict[str, Any]]) -> dict[str, Any]:
    """One row for all that a place can send: what they share, and all of them as ``variants``."""
    first = dict(variants[0])
    tables = list(dict.fromkeys(one["table"] for one in variants))
    operations = list(dict.fromkeys(one["operation"] for one in variants))
    if len(tables) > 1:
        known = [table for table in tables if table != DYNAMIC_NAME]
        further = [value for one in variants for value in one.get("dynamic", {}).get("values", ())]
        first["table"] = DYNAMIC_NAME
        first["dynamic"] = {
            "reason": "the callers decide",
            "values": list(dict.fromkeys([*known, *further])),
            "complete": False,
        }
        first["certainty"] = DYNAMIC
    if len(operations) > 1:
        first["operation"] = "/".join(operations)
    first["columns"] = list(dict.fromkeys(name for one in variants for name in one["columns"]))
    first["filters"] = _distinct(item for one in variants for item in one["filters"])
    first["notes"] = _distinct(item for one in variants for item in one["notes"])
    first["problems"] = _distinct(item for one in variants for item in one["problems"])
    first["not_looked_at"] = _distinct(item for one in variants for item in one["not_looked_at"])
    first["verdict"] = min((one["verdict"] for one in variants), key=lambda verdict: _ORDER.get(verdict, 2))
    for name in ("error_read", "data_used", "count_used", "executed"):
        said = {one[name] for one in variants}
        first[name] = said.pop() if len(said) == 1 else None
    first.pop("caller", None)
    first["variants"] = variants
    return first


def columns(chain: Chain) -> list[str]:
    """The columns that a request is about by its operation: those that a select reads, those that a mutation writes,
    the arguments of an rpc. What a mutation returns is in ``select``."""
    if chain.operation in ("insert", "update", "upsert", "rpc"):
        return [column.name for column in chain.payload.columns] if chain.payload is not None else []
    if chain.operation == "delete" or chain.select is None:
        return []
    return [_column_name(column) for column in chain.select.columns]


def _column_name(column: Column) -> str:
    if column.aggregate:
        return f"{column.name}.{column.aggregate}()" if column.name else column.aggregate
    return column.name + column.path


def _selection(selection: Selection) -> dict[str, Any]:
    content: dict[str, Any] = {
        "columns": [_column(column) for column in selection.columns],
        "embeds": [_embed(embed) for embed in selection.embeds],
        "conditional": selection.conditional,
        "line": selection.line,
    }
    if selection.unknown is not None:
        content["unknown"] = _dynamic(selection.unknown)
    return content


def _column(column: Column) -> dict[str, str]:
    pairs = (
        ("name", column.name),
        ("alias", column.alias),
        ("cast", column.cast),
        ("path", column.path),
        ("aggregate", column.aggregate),
    )
    return {key: value for key, value in pairs if value or key == "name"}


def _embed(embed: Embed) -> dict[str, Any]:
    return {
        "table": embed.table,
        "alias": embed.alias,
        "hint": embed.hint,
        "join": embed.join,
        "spread": embed.spread,
        "columns": [_column(column) for column in embed.columns],
        "embeds": [_embed(inner) for inner in embed.embeds],
    }


def _condition(item: Filter | Group) -> dict[str, Any]:
    if isinstance(item, Group):
        content: dict[str, Any] = {
            item.operator: [_condition(member) for member in item.members],
            "negated": item.negated,
            "conditional": item.conditional,
            "interpolated": item.interpolated,
            "line": item.line,
        }
        if item.table:
            content["table"] = item.table
        if item.unparsed is not None:
            content["unparsed"] = _dynamic(item.unparsed)
        return content
    content = {
        "column": _name(item.column),
        "operator": item.operator,
        "value": _value(item.value),
        "negated": item.negated,
        "conditional": item.conditional,
        "line": item.line,
    }
    if isinstance(item.column, Dynamic):
        content["dynamic"] = _dynamic(item.column)
    return content


def _modifier(modifier: Modifier) -> dict[str, Any]:
    return {
        "name": modifier.name,
        "arguments": [_value(value) for value in modifier.arguments],
        "options": _options(modifier.options),
        "conditional": modifier.conditional,
        "line": modifier.line,
    }


def _payload(payload: Payload) -> dict[str, Any]:
    content: dict[str, Any] = {
        "columns": [
            {"name": column.name, "value": _value(column.value), "conditional": column.conditional}
            for column in payload.columns
        ],
        "bulk": payload.bulk,
        "rows": payload.rows,
    }
    if payload.unknown is not None:
        content["unknown"] = _dynamic(payload.unknown)
    return content


def _options(options: Iterable[Option]) -> dict[str, Any]:
    return {option.name: _value(option.value) for option in options}


def _value(value: Value) -> dict[str, Any]:
    if isinstance(value, Literal):
        return {"literal": _shown(value.value)}
    if isinstance(value, Parameter):
        content: dict[str, Any] = {"parameter": value.name}
        if value.type:
            content["type"] = value.type
        if value.template:
            content["template"] = [_shown(piece) for piece in value.template]
        if value.may_be_undefined:
            content["may_be_undefined"] = True
        return content
    return {"dynamic": _dynamic(value)}


def _shown(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_shown(item) for item in value]
    return private(value) if isinstance(value, str) else value


def private(text: str) -> str:
    """A text of the code without what could be a telephone number, an address or a key, and not too long."""
    shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text)} characters)"
    return _PRIVATE.sub(_REDACTED, shown)


def _name(name: Name) -> str:
    return name.value if isinstance(name, Known) else DYNAMIC_NAME


def _dynamic(dynamic: Dynamic) -> dict[str, Any]:
    return {
        "reason": private(dynamic.reason),
        "values": [private(value) for value in dynamic.values],
        "complete": dynamic.complete,
    }


def _distinct(items: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    for item in items:
        if item not in found:
            found.append(item)
    return found
