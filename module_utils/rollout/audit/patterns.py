"""Calls grouped into shapes: what has to be translated, and what of it matters most."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.rollout.audit.chain import Chain, Dynamic, Embed, Filter, Group, Known, Literal
from ansible.module_utils.rollout.audit.rows import columns, private


@dataclass
class Pattern:
    """Calls that differ only in values.

    :ivar id: hash of the shape
    :ivar shape: the shape in words: ``select clients (id, name) eq(phone) single``
    :ivar services: names of the services that reach one of the calls
    :ivar reached: how many of the calls are in files that a service reaches
    """

    id: str
    shape: str
    operation: str
    table: str
    calls: list[str] = field(default_factory=list)
    services: set[str] = field(default_factory=set)
    reached: int = 0

    def as_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "id": self.id,
            "shape": self.shape,
            "operation": self.operation,
            "table": self.table,
            "count": len(self.calls),
            "reached": self.reached,
            "services": sorted(self.services),
            "calls": self.calls,
        }


def group(
    chains: Sequence[Chain], reach: Mapping[str, Sequence[str]], *, with_table: bool
) -> tuple[list[Pattern], dict[Chain, str]]:
    """The patterns of calls outside of tests, most important first: by services, calls in reach, calls.

    :param reach: names of the services that reach a file
    :param with_table: whether table and columns are part of the shape, or only operators and modifiers
    :returns: the patterns, and each chain's pattern's id
    """
    found: dict[str, Pattern] = {}
    of_chain: dict[Chain, str] = {}
    for chain in chains:
        if chain.test:
            continue
        text = shape(chain, with_table=with_table)
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        table = chain.table.value if isinstance(chain.table, Known) else "dynamic"
        pattern = found.setdefault(
            digest, Pattern(digest, text, chain.operation, table if with_table else "")
        )
        services = reach.get(chain.file, ())
        pattern.calls.append(f"{chain.file}:{chain.line}")
        pattern.services.update(services)
        pattern.reached += bool(services)
        of_chain[chain] = digest
    ranked = sorted(
        found.values(),
        key=lambda pattern: (-len(pattern.services), -pattern.reached, -len(pattern.calls), pattern.shape),
    )
    return ranked, of_chain


def shape(chain: Chain, *, with_table: bool) -> str:
    """A call without its values."""
    words = [chain.operation]
    if with_table:
        words.append(chain.table.value if isinstance(chain.table, Known) else "?")
        names = columns(chain)
        more = ["?"] if _open(chain) else []
        words.append(f"({', '.join([*(sorted(names) if chain.operation != 'select' else names), *more])})")
    elif chain.payload is not None and chain.operation != "rpc":
        words.append("bulk" if chain.payload.bulk else "one row")
    if chain.select is not None:
        words += [_embed(embed, with_table) for embed in chain.select.embeds]
        if chain.operation != "select":
            words.append("returning")
    filters = [_condition(item, with_table) for item in chain.filters]
    words += filters if with_table else sorted(filters)
    for modifier in chain.modifiers:
        first = modifier.arguments[0] if modifier.arguments else None
        named = modifier.name == "order" and with_table and isinstance(first, Literal)
        words.append(
            f"{modifier.name}({first.value})" if named and isinstance(first, Literal) else modifier.name
        )
    for option in chain.options:
        told = with_table and isinstance(option.value, Literal)
        words.append(
            f"{option.name}={private(str(option.value.value))}"
            if told and isinstance(option.value, Literal)
            else option.name
        )
    return " ".join(words)


def _open(chain: Chain) -> bool:
    if chain.payload is not None and chain.payload.unknown is not None:
        return True
    return chain.select is not None and chain.select.unknown is not None


def _embed(embed: Embed, with_table: bool) -> str:
    inner = " ".join(_embed(item, with_table) for item in embed.embeds)
    names = ", ".join(column.name for column in embed.columns) if with_table else ""
    return (
        f"embed{'!' + embed.join if embed.join else ''} {embed.table if with_table else ''}({names}{inner})"
    )


def _condition(item: Filter | Group, with_table: bool) -> str:
    negation = "not." if item.negated else ""
    if isinstance(item, Group):
        if item.unparsed is not None and not item.members:
            return f"{negation}{item.operator}(?)"
        return f"{negation}{item.operator}({', '.join(_condition(member, with_table) for member in item.members)})"
    if not with_table:
        return f"{negation}{item.operator}"
    column = "?" if isinstance(item.column, Dynamic) else item.column.value
    return f"{negation}{item.operator}({column})"
