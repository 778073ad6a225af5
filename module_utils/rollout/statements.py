"""Rendered SQL, cut into statements by PostgreSQL's own parser, with what each one is and may not be.

The parser (pglast, which wraps libpg_query) is needed on the control node only; the target host never parses SQL.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.rollout.errors import SourceError
from ansible.module_utils.rollout.migration import SCHEMA_PLACEHOLDER, Statement
from pglast import ast, enums, parse_sql, parser

#: Statement kinds that have no place in a migration, each with the reason told to its author.
_REFUSED = {
    "TransactionStmt": "the rollout opens and ends the transaction itself",
    "VariableSetStmt": "the rollout sets search_path, role and timeouts itself",
    "DiscardStmt": "it would throw away the session's settings",
    "CopyStmt": "data does not travel with a migration",
    "TruncateStmt": "a migration never empties a table",
    "DropOwnedStmt": "it drops what this migration did not name",
    "ReassignOwnedStmt": "it changes what this migration did not name",
    "DropRoleStmt": "roles belong to the whole server",
    "CreateRoleStmt": "roles belong to the whole server",
    "AlterRoleStmt": "roles belong to the whole server",
    "AlterRoleSetStmt": "roles belong to the whole server",
    "GrantRoleStmt": "roles belong to the whole server",
    "CreatedbStmt": "databases belong to the whole server",
    "DropdbStmt": "databases belong to the whole server",
    "AlterDatabaseStmt": "databases belong to the whole server",
    "AlterDatabaseSetStmt": "databases belong to the whole server",
    "AlterSystemStmt": "settings belong to the whole server",
    "CreateTableSpaceStmt": "tablespaces belong to the whole server",
    "DropTableSpaceStmt": "tablespaces belong to the whole server",
    "CreateExtensionStmt": "an extension belongs to the whole database and cannot be rehearsed beside itself",
    "CreateSchemaStmt": "a migration works in one schema, which already exists",
    "CreateEventTrigStmt": "an event trigger belongs to the whole database",
    "CreatePublicationStmt": "a publication belongs to the whole database",
    "CreateSubscriptionStmt": "a subscription belongs to the whole database",
    "VacuumStmt": "maintenance is not part of a migration",
    "ClusterStmt": "it rewrites a table under ACCESS EXCLUSIVE",
    "LoadStmt": "it loads code into the server",
    "ListenStmt": "a session's subscriptions end with the session",
    "PrepareStmt": "prepared statements end with the session",
}

_RELATION_KINDS = {
    enums.ObjectType.OBJECT_TABLE: "table",
    enums.ObjectType.OBJECT_INDEX: "index",
    enums.ObjectType.OBJECT_VIEW: "view",
    enums.ObjectType.OBJECT_MATVIEW: "view",
    enums.ObjectType.OBJECT_SEQUENCE: "sequence",
}
_DROP_KINDS = {
    **_RELATION_KINDS,
    enums.ObjectType.OBJECT_TYPE: "type",
    enums.ObjectType.OBJECT_FUNCTION: "function",
    enums.ObjectType.OBJECT_PROCEDURE: "function",
    enums.ObjectType.OBJECT_TRIGGER: "trigger",
    enums.ObjectType.OBJECT_POLICY: "policy",
}

_DROPPED_PARTS = {
    enums.AlterTableType.AT_DropColumn: "column",
    enums.AlterTableType.AT_DropConstraint: "constraint",
}


def split(
    sql: str,
    template: str,
    line_of: Callable[[int], int],
    allowed_drops: Collection[str] = (),
) -> list[Statement]:
    """Cut a rendered file into statements and refuse what a migration may not hold.

    :param sql: the rendered file
    :param template: its name, for errors
    :param line_of: turns an offset in ``sql`` (characters) into a line of the template
    :param allowed_drops: what ``migration.yml`` lists under ``drops``
    :raises SourceError: a syntax error, or a statement that is not allowed, with template and line
    """
    try:
        parsed = parse_sql(sql)
    except parser.ParseError as error:
        offset = error.args[1] if len(error.args) > 1 and isinstance(error.args[1], int) else 0
        line = line_of(offset)
        shown = sql[offset:].splitlines()[0][:80] if sql[offset:] else "the end of the file"
        raise SourceError(
            f"{template}:{line}: PostgreSQL's parser: {error.args[0]}, at: {shown}",
            hint="psql's own commands (\\i, \\copy) are not SQL." if "\\" in shown else "",
        ) from None
    found = []
    for raw in parsed:
        # A length of 0 means "to the end of the text" (libpg_query).
        end = raw.stmt_location + raw.stmt_len if raw.stmt_len else len(sql)
        text = sql[raw.stmt_location : end].strip()
        place = f"{template}:{line_of(raw.stmt_location)}"
        _refuse(raw.stmt, place, allowed_drops)
        concurrent = _is_concurrent(raw.stmt)
        found.append(
            Statement(
                text=text,
                template=template,
                line=line_of(raw.stmt_location),
                kind=type(raw.stmt).__name__,
                creates=tuple(_creates(raw.stmt, place)),
                transactional=not concurrent,
                rehearsal_text=_without_concurrently(text) if concurrent else text,
            )
        )
    return found


def checksum(statements: Iterable[Statement]) -> str:
    """SHA-256 over the tokens of all statements: comments, white space and file names do not count.

    Text inside a dollar-quoted body counts to the letter, because PostgreSQL keeps it to the letter.
    """
    digest = hashlib.sha256()
    for statement in statements:
        for token in parser.scan(statement.text):
            if token.name not in ("SQL_COMMENT", "C_COMMENT"):
                digest.update(statement.text[token.start : token.end + 1].encode() + b"\x00")
        digest.update(b"\x01")
    return digest.hexdigest()


def line_counter(offsets: list[int], lines: list[int]) -> Callable[[int], int]:
    """A function from an offset to a line, given where in the rendered text each template line begins.

    :param offsets: ascending offsets in the rendered text, characters
    :param lines: the template line that begins at each of them
    """

    def line_of(offset: int) -> int:
        at = bisect.bisect_right(offsets, offset) - 1
        return lines[at] if at >= 0 else 1

    return line_of


def _refuse(node: Any, place: str, allowed_drops: Collection[str]) -> None:
    kind = type(node).__name__
    if kind in _REFUSED:
        raise SourceError(f"{place}: {kind} is not allowed in a migration: {_REFUSED[kind]}")
    if isinstance(node, ast.SelectStmt) and node.intoClause:
        raise SourceError(f"{place}: SELECT INTO is not allowed: write CREATE TABLE and INSERT")
    if any(drop.cascade for drop in _drops(node)):
        raise SourceError(
            f"{place}: CASCADE is not allowed: it removes what nobody named", hint="Drop by name."
        )
    for drop in _drops(node):
        if drop.name not in allowed_drops:
            raise SourceError(
                f"{place}: drops {drop.name}, which migration.yml does not list",
                hint=f"Add {drop.name!r} to 'drops' in migration.yml if that is meant.",
            )


@dataclass(frozen=True)
class _Drop:
    name: str
    cascade: bool


def _drops(node: Any) -> list[_Drop]:
    if isinstance(node, ast.DropStmt):
        kind = _DROP_KINDS.get(node.removeType, node.removeType.name.removeprefix("OBJECT_").lower())
        return [_Drop(f"{kind} {_dropped_name(target)}", _cascades(node)) for target in node.objects]
    if isinstance(node, ast.AlterTableStmt):
        return [
            _Drop(
                f"{_DROPPED_PARTS[command.subtype]} {node.relation.relname}.{command.name}",
                _cascades(command),
            )
            for command in node.cmds
            if command.subtype in _DROPPED_PARTS
        ]
    return []


def _cascades(node: Any) -> bool:
    return bool(node.behavior == enums.DropBehavior.DROP_CASCADE)


def _dropped_name(target: Any) -> str:
    if isinstance(target, ast.ObjectWithArgs):
        target = target.objname
    if isinstance(target, ast.TypeName):
        target = target.names
    parts = [part.sval for part in target] if isinstance(target, tuple | list) else [target.sval]
    return ".".join(part for part in parts if part != SCHEMA_PLACEHOLDER)


def _is_concurrent(node: Any) -> bool:
    if isinstance(node, ast.IndexStmt | ast.DropStmt):
        return bool(node.concurrent)
    if isinstance(node, ast.ReindexStmt):
        return any(option.defname == "concurrently" for option in node.params or ())
    if isinstance(node, ast.AlterTableStmt):
        return any(
            isinstance(command.def_, ast.PartitionCmd) and command.def_.concurrent for command in node.cmds
        )
    return False


def _without_concurrently(text: str) -> str:
    """The same statement in the form that a transaction accepts; the resulting catalog is the same."""
    for token in parser.scan(text):
        if token.name == "CONCURRENTLY":
            return text[: token.start] + text[token.end + 1 :]
    return text


def _creates(node: Any, place: str) -> list[str]:
    """Names of what a statement creates, from its parse tree."""
    if isinstance(node, ast.CreateStmt):
        return [f"table {_in_schema(node.relation, place)}"]
    if isinstance(node, ast.CreateTableAsStmt):
        kind = "view" if node.objtype == enums.ObjectType.OBJECT_MATVIEW else "table"
        return [f"{kind} {_in_schema(node.into.rel, place)}"]
    if isinstance(node, ast.IndexStmt):
        if not node.idxname:
            raise SourceError(
                f"{place}: an index without a name", hint="Name it: the rollout compares by name."
            )
        _in_schema(node.relation, place)
        return [f"index {node.idxname}"]
    if isinstance(node, ast.ViewStmt):
        return [f"view {_in_schema(node.view, place)}"]
    if isinstance(node, ast.CreateSeqStmt):
        return [f"sequence {_in_schema(node.sequence, place)}"]
    if isinstance(node, ast.CreateTrigStmt):
        return [f"trigger {_in_schema(node.relation, place)}.{node.trigname}"]
    if isinstance(node, ast.CreatePolicyStmt):
        return [f"policy {_in_schema(node.table, place)}.{node.policy_name}"]
    if isinstance(node, ast.CreateFunctionStmt):
        return [f"function {_qualified(node.funcname, place)}"]
    if isinstance(node, ast.CreateEnumStmt | ast.CreateRangeStmt):
        return [f"type {_qualified(node.typeName, place)}"]
    if isinstance(node, ast.CompositeTypeStmt):
        return [f"type {_in_schema(node.typevar, place)}"]
    if isinstance(node, ast.CreateDomainStmt):
        return [f"type {_qualified(node.domainname, place)}"]
    return []


def _in_schema(relation: Any, place: str) -> str:
    return _own_name(relation.schemaname, relation.relname, place)


def _qualified(names: Any, place: str) -> str:
    parts = [part.sval for part in names]
    return _own_name(parts[0] if len(parts) > 1 else None, parts[-1], place)


def _own_name(schema: str | None, name: str, place: str) -> str:
    if schema not in (None, SCHEMA_PLACEHOLDER):
        raise SourceError(
            f"{place}: {schema}.{name} lies outside the migration's schema",
            hint="Write {{ schema }}. before the name; a migration works in one schema.",
        )
    return name
