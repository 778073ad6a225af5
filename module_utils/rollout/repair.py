"""Mend drift where that touches no data: functions, triggers, missing indexes, comments. Pure; says what to send.

Tables, columns, constraints, sequences and anything extra are never mended: that could lose rows or surprise a reader.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ansible.module_utils.rollout.catalog import Catalog
from ansible.module_utils.rollout.connection import Command
from ansible.module_utils.rollout.diff import Difference

_STATE_CLAUSE = {
    "enabled": "ENABLE TRIGGER",
    "disabled": "DISABLE TRIGGER",
    "replica only": "ENABLE REPLICA TRIGGER",
    "always": "ENABLE ALWAYS TRIGGER",
}


@dataclass(frozen=True)
class Repair:
    """What would mend a set of differences.

    :ivar transactional: to be sent in one transaction
    :ivar concurrent: to be sent one by one after it
    :ivar beyond: differences that are not mended automatically
    """

    transactional: tuple[Command, ...]
    concurrent: tuple[Command, ...]
    beyond: tuple[Difference, ...]


def plan_repair(differences: Iterable[Difference], actual: Catalog, schema: str) -> Repair:
    """Sort differences into what can be mended, and how, and what cannot.

    :param actual: the catalog as it is; decides whether an index can be built concurrently
    :param schema: target schema
    """
    transactional: list[Command] = []
    concurrent: list[Command] = []
    beyond: list[Difference] = []
    for difference in differences:
        kind = difference.object.partition(" ")[0]
        if difference.kind == "extra" or difference.kind == "occupied" or difference.expected is None:
            beyond.append(difference)
        elif kind == "function" and _only(difference, {"definition", "volatility", "security", "settings"}):
            transactional.append(
                Command(_or_replace(difference.expected["definition"]), place=difference.object)
            )
        elif kind == "trigger":
            transactional += _trigger(difference, schema)
        elif kind == "index" and _is_missing_or_invalid(difference):
            _index(difference, actual, schema, transactional, concurrent)
        elif kind == "comment":
            transactional += _comment(difference, schema)
        else:
            beyond.append(difference)
    return Repair(tuple(transactional), tuple(concurrent), tuple(beyond))


def _only(difference: Difference, allowed: set[str]) -> bool:
    return difference.observed is None or all(name in allowed for name, _, _ in difference.attributes)


def _or_replace(definition: str) -> str:
    """``pg_get_functiondef`` prints CREATE OR REPLACE already; checked so that nothing else is ever sent."""
    if not definition.startswith(("CREATE OR REPLACE FUNCTION ", "CREATE OR REPLACE PROCEDURE ")):
        raise ValueError(f"not a function's definition: {definition[:60]}")
    return definition


def _trigger(difference: Difference, schema: str) -> list[Command]:
    expected = difference.expected or {}
    table, _, name = difference.object.removeprefix("trigger ").partition(".")
    create = expected["definition"].replace("CREATE TRIGGER ", "CREATE OR REPLACE TRIGGER ", 1)
    state = f'ALTER TABLE "{schema}"."{table}" {_STATE_CLAUSE[expected["state"]]} "{name}"'
    return [Command(create, place=difference.object), Command(state, place=difference.object)]


def _is_missing_or_invalid(difference: Difference) -> bool:
    return difference.observed is None or [name for name, _, _ in difference.attributes] == ["invalid"]


def _index(
    difference: Difference,
    actual: Catalog,
    schema: str,
    transactional: list[Command],
    concurrent: list[Command],
) -> None:
    expected = difference.expected or {}
    table = actual.entries.get(f"table {expected['table']}", {})
    name = difference.object.removeprefix("index ")
    drop = [Command(f'DROP INDEX CONCURRENTLY "{schema}"."{name}"')] if difference.observed else []
    if table.get("partition_key"):
        # PostgreSQL builds no index concurrently on a partitioned table.
        transactional.append(
            Command(expected["definition"].replace(" ON ONLY ", " ON ", 1), place=difference.object)
        )
        return
    create = expected["definition"].replace(" INDEX ", " INDEX CONCURRENTLY ", 1)
    concurrent += [*drop, Command(create, place=difference.object)]


def _comment(difference: Difference, schema: str) -> list[Command]:
    kind, _, name = difference.object.removeprefix("comment on ").partition(" ")
    text = "'" + str((difference.expected or {})["text"]).replace("'", "''") + "'"
    parts = name.split(".", 1)
    if kind in ("trigger", "constraint", "policy"):
        target = f'"{parts[1]}" ON "{schema}"."{parts[0]}"'
    elif kind == "function":
        target = f'"{schema}"."{name.partition("(")[0]}"({name.partition("(")[2]}'
    else:
        target = f'"{schema}".' + ".".join(f'"{part}"' for part in parts)
    return [Command(f"COMMENT ON {kind.upper()} {target} IS {text}", place=difference.object)]
