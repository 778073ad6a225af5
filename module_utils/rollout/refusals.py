"""What a migration may hold: the kinds of statements, the objects they may touch, and why everything else is refused.

Judged on the parse tree (pglast), on the control node, before any connection. It matters before the rehearsal too: a
statement that names another schema would there meet the real objects, not those of the scratch schema.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

from ansible.module_utils.rollout.errors import SourceError
from ansible.module_utils.rollout.migration import SCHEMA_PLACEHOLDER
from pglast import ast, enums

#: What a migration is made of: kinds whose effect the catalog comparison sees, and those that change rows alone.
_ALLOWED = frozenset(
    {
        "AlterDomainStmt",
        "AlterEnumStmt",
        "AlterFunctionStmt",
        "AlterOwnerStmt",
        "AlterPolicyStmt",
        "AlterSeqStmt",
        "AlterStatsStmt",
        "AlterTableStmt",
        "CommentStmt",
        "CompositeTypeStmt",
        "CreateDomainStmt",
        "CreateEnumStmt",
        "CreateForeignTableStmt",
        "CreateFunctionStmt",
        "CreatePolicyStmt",
        "CreateRangeStmt",
        "CreateSeqStmt",
        "CreateStatsStmt",
        "CreateStmt",
        "CreateTableAsStmt",
        "CreateTrigStmt",
        "DefineStmt",
        "DeleteStmt",
        "DropStmt",
        "GrantStmt",
        "IndexStmt",
        "InsertStmt",
        "MergeStmt",
        "RefreshMatViewStmt",
        "RenameStmt",
        "SelectStmt",
        "UpdateStmt",
        "ViewStmt",
    }
)
_SERVER_WIDE = "it belongs to the whole server"
_DATABASE_WIDE = "it belongs to the whole database"
#: Why the refused kinds that people try most are refused.
_REASONS = {
    "DoStmt": "what its body does cannot be read; write the statements, or SELECT a function",
    "TransactionStmt": "the rollout opens and ends the transaction itself",
    "VariableSetStmt": "the rollout sets search_path, role and timeouts itself",
    "LockStmt": "the rollout proves which locks a migration takes; statements take those that they need",
    "CallStmt": "a procedure may end the rollout's transaction; SELECT a function",
    "CopyStmt": "data does not travel with a migration",
    "TruncateStmt": "a migration never empties a table",
    "AlterObjectSchemaStmt": "a migration works in one schema",
    "CreateSchemaStmt": "a migration works in one schema, which already exists",
    "DropOwnedStmt": "it drops what this migration did not name",
    "ReassignOwnedStmt": "it changes what this migration did not name",
    "AlterTableMoveAllStmt": "it changes what this migration did not name",
    "CreateExtensionStmt": f"{_DATABASE_WIDE} and cannot be rehearsed beside itself",
    "AlterExtensionStmt": _DATABASE_WIDE,
    "CreateEventTrigStmt": _DATABASE_WIDE,
    "CreatePublicationStmt": _DATABASE_WIDE,
    "AlterPublicationStmt": _DATABASE_WIDE,
    "CreateSubscriptionStmt": _DATABASE_WIDE,
    "CreateRoleStmt": _SERVER_WIDE,
    "AlterRoleStmt": _SERVER_WIDE,
    "AlterRoleSetStmt": _SERVER_WIDE,
    "DropRoleStmt": _SERVER_WIDE,
    "GrantRoleStmt": _SERVER_WIDE,
    "CreatedbStmt": _SERVER_WIDE,
    "DropdbStmt": _SERVER_WIDE,
    "AlterDatabaseStmt": _SERVER_WIDE,
    "AlterDatabaseSetStmt": _SERVER_WIDE,
    "AlterSystemStmt": _SERVER_WIDE,
    "CreateTableSpaceStmt": _SERVER_WIDE,
    "DropTableSpaceStmt": _SERVER_WIDE,
    "VacuumStmt": "maintenance is not part of a migration",
    "ReindexStmt": "maintenance is not part of a migration",
    "ClusterStmt": "it rewrites a table under ACCESS EXCLUSIVE",
    "RuleStmt": "it rewrites the application's queries; write a trigger",
}
_NAME_EACH = "Name each object."
_OTHER_REASON = "it reaches beyond the schema, or leaves nothing there that can be compared"

#: What the catalog comparison calls the kinds of objects that a migration may drop, rename, describe or give away.
_KINDS = {
    enums.ObjectType.OBJECT_TABLE: "table",
    enums.ObjectType.OBJECT_FOREIGN_TABLE: "foreign table",
    enums.ObjectType.OBJECT_INDEX: "index",
    enums.ObjectType.OBJECT_VIEW: "view",
    enums.ObjectType.OBJECT_MATVIEW: "view",
    enums.ObjectType.OBJECT_SEQUENCE: "sequence",
    enums.ObjectType.OBJECT_TYPE: "type",
    enums.ObjectType.OBJECT_DOMAIN: "type",
    enums.ObjectType.OBJECT_FUNCTION: "function",
    enums.ObjectType.OBJECT_PROCEDURE: "function",
    enums.ObjectType.OBJECT_ROUTINE: "function",
    enums.ObjectType.OBJECT_AGGREGATE: "function",
    enums.ObjectType.OBJECT_STATISTIC_EXT: "statistics",
    enums.ObjectType.OBJECT_COLUMN: "column",
    enums.ObjectType.OBJECT_ATTRIBUTE: "column",
    enums.ObjectType.OBJECT_TABCONSTRAINT: "constraint",
    enums.ObjectType.OBJECT_TRIGGER: "trigger",
    enums.ObjectType.OBJECT_POLICY: "policy",
}
#: Kinds that are named by their table and a name of their own.
_PARTS = ("column", "constraint", "trigger", "policy")
_DROPPED_PARTS = {
    enums.AlterTableType.AT_DropColumn: "column",
    enums.AlterTableType.AT_DropConstraint: "constraint",
}
#: Where a statement keeps the objects that it changes, and of which kind they are.
_OBJECTS: dict[str, tuple[str, Any]] = {
    "DropStmt": ("objects", "removeType"),
    "GrantStmt": ("objects", "objtype"),
    "CommentStmt": ("object", "objtype"),
    "RenameStmt": ("object", "renameType"),
    "AlterOwnerStmt": ("object", "objectType"),
    "AlterFunctionStmt": ("func", "objtype"),
    "AlterEnumStmt": ("typeName", enums.ObjectType.OBJECT_TYPE),
    "AlterDomainStmt": ("typeName", enums.ObjectType.OBJECT_DOMAIN),
    "AlterStatsStmt": ("defnames", enums.ObjectType.OBJECT_STATISTIC_EXT),
}
#: Schemas that a migration may read from, beside its own.
_READABLE = (None, SCHEMA_PLACEHOLDER, "pg_catalog", "information_schema")
# They separate the parts of a name in the catalog comparison: "trigger bookings.touch", "function f(integer)".
_SEPARATORS = re.compile(r'[.(")]')


def refuse(statement: Any, place: str, allowed_drops: Collection[str]) -> None:
    """Refuse a statement that has no place in a migration.

    :param statement: the statement's node of the parse tree
    :param place: template and line, for the error
    :param allowed_drops: what ``migration.yml`` lists under ``drops``, as ``"index idx_old"``
    :raises SourceError: what is not allowed, and why
    """
    kind = type(statement).__name__
    not_aggregate = kind == "DefineStmt" and statement.kind != enums.ObjectType.OBJECT_AGGREGATE
    if kind not in _ALLOWED or not_aggregate:
        raise SourceError(
            f"{place}: {kind} is not allowed in a migration: {_REASONS.get(kind, _OTHER_REASON)}"
        )
    if kind == "GrantStmt" and statement.targtype != enums.GrantTargetType.ACL_TARGET_OBJECT:
        raise SourceError(
            f"{place}: GRANT ON ALL is not allowed: it reaches what nobody named", hint=_NAME_EACH
        )
    for node in nodes(statement):
        _refuse_node(node, place, in_function=kind == "CreateFunctionStmt")
    for schema, name in _targets(statement, place):
        own_name(schema, name, place)
    for drop in _drops(statement):
        if drop not in allowed_drops:
            raise SourceError(
                f"{place}: drops {drop}, which migration.yml does not list",
                hint=f"Add {drop!r} to 'drops' in migration.yml if that is meant.",
            )


def own_name(schema: str | None, name: str, place: str) -> str:
    """The name of an object, when it lies in the migration's schema.

    :param schema: what is written before the name; None where nothing is
    :raises SourceError: it lies elsewhere
    """
    if schema not in (None, SCHEMA_PLACEHOLDER):
        raise SourceError(
            f"{place}: {schema}.{name} lies outside the migration's schema",
            hint="Write {{ schema }}. before the name; a migration works in one schema.",
        )
    return name


def new_name(schema: str | None, name: str, place: str) -> str:
    """The name of an object that a statement creates: in the migration's schema, and fit for the catalog comparison.

    :raises SourceError: it lies elsewhere, or holds a character that separates names from each other there
    """
    found = _SEPARATORS.search(own_name(schema, name, place))
    if found:
        raise SourceError(
            f"{place}: the name {name} must not hold {found[0]!r}: the rollout compares by name"
        )
    return name


def _refuse_node(node: Any, place: str, in_function: bool) -> None:
    kind = type(node).__name__
    if kind == "SelectStmt" and node.intoClause:
        raise SourceError(f"{place}: SELECT INTO is not allowed: write CREATE TABLE and INSERT")
    if getattr(node, "behavior", None) == enums.DropBehavior.DROP_CASCADE:
        raise SourceError(f"{place}: CASCADE is not allowed: it reaches what nobody named", hint=_NAME_EACH)
    if kind == "PartitionCmd" and node.concurrent:
        raise SourceError(
            f"{place}: DETACH PARTITION CONCURRENTLY is not allowed: it leaves a CHECK constraint on the partition,"
            " which the rehearsal cannot foretell",
            hint="Write DETACH PARTITION; it waits for lock_timeout at most, and is tried again.",
        )
    if kind == "RangeVar":
        if node.schemaname not in _READABLE:
            own_name(node.schemaname, node.relname, place)
        if node.relpersistence == "t":
            raise SourceError(f"{place}: {node.relname} is temporary: it would end with the session")
    if kind == "FuncCall" and node.funcname[-1].sval == "set_config" and not in_function:
        raise SourceError(f"{place}: set_config is not allowed in a migration: {_REASONS['VariableSetStmt']}")


def nodes(root: Any) -> Iterator[Any]:
    """All nodes of a parse tree. Without recursion: a long chain of operators is a deep tree."""
    waiting = [root]
    while waiting:
        item = waiting.pop()
        if isinstance(item, tuple):
            waiting.extend(item)
        elif isinstance(item, ast.Node):
            yield item
            waiting.extend(getattr(item, member) for member in item)


def _targets(statement: Any, place: str) -> Iterator[tuple[str | None, str]]:
    """Schema and name of every object that a statement changes without creating it.

    :raises SourceError: an object of a kind that belongs to no schema, or that the catalog comparison does not see
    """
    for member in ("relation", "table", "view", "sequence"):
        relation = getattr(statement, member, None)
        if isinstance(relation, ast.RangeVar):
            yield relation.schemaname, str(relation.relname)
    statement_kind = type(statement).__name__
    if statement_kind not in _OBJECTS:
        return
    objects_in, kind_in = _OBJECTS[statement_kind]
    objects = getattr(statement, objects_in) or ()
    kind = getattr(statement, kind_in) if isinstance(kind_in, str) else kind_in
    if kind not in _KINDS:
        label = kind.name.removeprefix("OBJECT_").replace("_", " ").lower()
        raise SourceError(
            f"{place}: {statement_kind} of a {label} is not allowed in a migration: {_OTHER_REASON}"
        )
    for target in objects if statement_kind in ("DropStmt", "GrantStmt") else (objects,) if objects else ():
        yield _schema_and_name(target, _KINDS[kind])


def _schema_and_name(target: Any, kind: str) -> tuple[str | None, str]:
    if isinstance(target, ast.RangeVar):
        return target.schemaname, str(target.relname)
    if isinstance(target, ast.ObjectWithArgs):
        target = target.objname
    if isinstance(target, ast.TypeName):
        target = target.names
    parts = [part.sval for part in target]
    own = 2 if kind in _PARTS else 1
    return ".".join(parts[:-own]) or None, ".".join(parts[-own:])


def _drops(statement: Any) -> list[str]:
    """Kind and name of everything that a statement drops."""
    kind = type(statement).__name__
    if kind == "DropStmt":
        dropped = _KINDS[statement.removeType]
        return [f"{dropped} {_schema_and_name(target, dropped)[1]}" for target in statement.objects]
    if kind == "AlterTableStmt":
        return [
            f"{_DROPPED_PARTS[command.subtype]} {statement.relation.relname}.{command.name}"
            for command in statement.cmds
            if command.subtype in _DROPPED_PARTS
        ]
    if kind == "AlterDomainStmt" and statement.subtype == "X":  # DROP CONSTRAINT
        return [f"constraint {_schema_and_name(statement.typeName, 'type')[1]}.{statement.name}"]
    return []
