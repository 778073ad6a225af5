"""Mend drift where that touches no data: functions, triggers, missing indexes, comments. Pure; says what to send.

Tables, columns, constraints, sequences and anything extra are never mended: that could lose rows or surprise a reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ansible.module_utils.rollout.catalog import Catalog, Entry
from ansible.module_utils.rollout.comments import comment_command
from ansible.module_utils.rollout.connection import Command
from ansible.module_utils.rollout.diff import Difference

_STATE_CLAUSE = {
    "enabled": "ENABLE TRIGGER",
    "disabled": "DISABLE TRIGGER",
    "replica only": "ENABLE REPLICA TRIGGER",
    "always": "ENABLE ALWAYS TRIGGER",
}
#: What CREATE OR REPLACE FUNCTION can change without dropping anything.
_REPLACEABLE = {"definition", "volatility", "security", "settings"}


@dataclass(frozen=True)
class Repair:
    """What would mend a set of differences.

    :ivar transactional: to be sent in one transaction
    :ivar concurrent: to be sent one by one after it
    :ivar comments: to be sent in a transaction at the end, when everything stands that they describe
    :ivar beyond: differences that are not mended automatically
    """

    transactional: tuple[Command, ...]
    concurrent: tuple[Command, ...]
    comments: tuple[Command, ...]
    beyond: tuple[Difference, ...]


def plan_repair(differences: Sequence[Difference], actual: Catalog, schema: str) -> Repair:
    """Sort differences into what can be mended, and how, and what cannot.

    :param actual: the catalog as it is; decides whether an index can be built concurrently
    :param schema: target schema
    """
    # In the order in which they can be sent: a trigger needs its function, a comment what it is about.
    functions: list[Command] = []
    triggers: list[Command] = []
    indexes: list[Command] = []
    comments: list[Command] = []
    concurrent: list[Command] = []
    beyond: list[Difference] = []
    built = {d.object for d in differences if _is_built_concurrently(d, actual)}
    for difference in differences:
        kind, expected = difference.object.partition(" ")[0], difference.expected
        if expected is None:
            beyond.append(difference)
        elif kind == "function" and _only(difference, _REPLACEABLE) and "definition" in expected:
            functions.append(_function(difference, expected))
        elif kind == "trigger" and (difference.observed is None or _is_replaceable(expected)):
            triggers += _trigger(difference, expected, schema)
        elif difference.object in built:
            concurrent += _index(difference, expected, schema)
        elif kind == "index" and _comes_with_its_parent(expected, differences):
            continue
        elif kind == "index" and difference.observed is None and _is_on_partitioned(expected, actual):
            # PostgreSQL builds no index concurrently on a partitioned table.
            definition = expected["definition"].replace(" ON ONLY ", " ON ", 1)
            indexes.append(Command(definition, place=difference.object))
        elif kind == "comment":
            comments.append(comment_command(difference.object, expected["text"], actual, schema))
        else:
            beyond.append(difference)
    if concurrent:
        concurrent.insert(0, _session_path(schema))
    transactional = (*functions, *triggers, *indexes)
    return Repair(transactional, tuple(concurrent), tuple(comments), tuple(beyond))


def _only(difference: Difference, allowed: set[str]) -> bool:
    return difference.observed is None or all(name in allowed for name, _, _ in difference.attributes)


def _function(difference: Difference, expected: Entry) -> Command:
    """``pg_get_functiondef`` prints CREATE OR REPLACE already; checked so that nothing else is ever sent."""
    definition = expected["definition"]
    if not definition.startswith(("CREATE OR REPLACE FUNCTION ", "CREATE OR REPLACE PROCEDURE ")):
        raise ValueError(f"not a function's definition: {definition[:60]}")
    return Command(definition, place=difference.object)


def _is_replaceable(expected: Entry) -> bool:
    """PostgreSQL has no CREATE OR REPLACE CONSTRAINT TRIGGER."""
    return bool(expected["definition"].startswith("CREATE TRIGGER "))


def _trigger(difference: Difference, expected: Entry, schema: str) -> list[Command]:
    table, _, name = difference.object.removeprefix("trigger ").partition(".")
    create = expected["definition"].replace("CREATE TRIGGER ", "CREATE OR REPLACE TRIGGER ", 1)
    state = f"ALTER TABLE {_quoted(schema, table)} {_STATE_CLAUSE[expected['state']]} {_quoted(name)}"
    return [Command(create, place=difference.object), Command(state, place=difference.object)]


def _is_built_concurrently(difference: Difference, actual: Catalog) -> bool:
    """A missing or invalid index of its own on a plain table or materialized view."""
    expected = difference.expected or {}
    if not difference.object.startswith("index ") or not expected:
        return False
    if expected.get("parent") or expected.get("replica_identity") or _is_on_partitioned(expected, actual):
        return False
    return difference.observed is None or [name for name, _, _ in difference.attributes] == ["invalid"]


def _is_on_partitioned(expected: Entry, actual: Catalog) -> bool:
    return bool(actual.entries.get(f"table {expected['table']}", {}).get("partition_key"))


def _comes_with_its_parent(expected: Entry, differences: Sequence[Difference]) -> bool:
    """Indexes of partitions are made with the partitioned index, when that is missing too."""
    parent = f"index {expected.get('parent')}"
    return any(d.object == parent and d.kind == "missing" for d in differences)


def _index(difference: Difference, expected: Entry, schema: str) -> list[Command]:
    name = difference.object.removeprefix("index ")
    create = expected["definition"].replace(" INDEX ", " INDEX CONCURRENTLY ", 1)
    commands = [Command(create, place=difference.object)]
    if difference.observed:
        drop = f"DROP INDEX CONCURRENTLY {_quoted(schema, name)}"
        commands.insert(0, Command(drop, place=difference.object))
    return commands


def _session_path(schema: str) -> Command:
    """Definitions are written for this path; outside a transaction it has to hold for the session."""
    return Command("SELECT set_config('search_path', quote_ident(%s) || ', pg_temp', false)", (schema,))


def _quoted(*names: str) -> str:
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)
