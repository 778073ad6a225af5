"""Rendered SQL, cut into statements by PostgreSQL's own parser, with what each one is and creates.

The parser (pglast, which wraps libpg_query) is needed on the control node only; the target host never parses SQL.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Callable, Collection, Iterable
from typing import Any

from ansible.module_utils.rollout.errors import SourceError
from ansible.module_utils.rollout.migration import Statement
from ansible.module_utils.rollout.refusals import new_name, refuse
from ansible.module_utils.rollout.variables import IDENTIFIER_BYTES
from pglast import enums, parse_sql, parser

#: What creates a relation or a named object: its kind, and the member of the parse tree that names it.
_RELATIONS = {
    "CreateStmt": ("table", "relation"),
    "ViewStmt": ("view", "view"),
    "CreateSeqStmt": ("sequence", "sequence"),
    "CompositeTypeStmt": ("type", "typevar"),
}
_NAMED = {
    "CreateFunctionStmt": ("function", "funcname"),
    "DefineStmt": ("function", "defnames"),  # an aggregate
    "CreateEnumStmt": ("type", "typeName"),
    "CreateRangeStmt": ("type", "typeName"),
    "CreateDomainStmt": ("type", "domainname"),
}
_COMMENTS = ("SQL_COMMENT", "C_COMMENT")


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
        # There is no offset when the text ends too early.
        offset = error.args[1] if isinstance(error.args[1], int) else max(len(sql.rstrip()) - 1, 0)
        shown = "" if error.args[1] is None else f", at: {_line_at(sql, offset)}"
        raise SourceError(
            f"{template}:{line_of(offset)}: PostgreSQL's parser: {error.args[0]}{shown}",
            hint="psql's own commands (\\i, \\copy) are not SQL." if sql[offset : offset + 1] == "\\" else "",
        ) from None
    found = []
    for raw in parsed:
        # A length of 0 means "to the end of the text" (libpg_query).
        start = raw.stmt_location or 0
        end = start + raw.stmt_len if raw.stmt_len else len(sql)
        text, begin = _trimmed(sql[start:end], start)
        place = f"{template}:{line_of(begin)}"
        refuse(raw.stmt, place, allowed_drops)
        _refuse_cut_names(text, place)
        concurrent = _is_concurrent(raw.stmt)
        found.append(
            Statement(
                text=text,
                template=template,
                line=line_of(begin),
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
        for token in _tokens(statement.text):
            digest.update(statement.text[token.start : token.end + 1].encode() + b"\x00")
        digest.update(b"\x01")
    return digest.hexdigest()


def _line_at(sql: str, offset: int) -> str:
    return sql[offset:].partition("\n")[0][:80]


def _tokens(text: str) -> list[parser.Token]:
    return [token for token in parser.scan(text) if token.name not in _COMMENTS]


def _trimmed(text: str, offset: int) -> tuple[str, int]:
    """A statement without the comments around it, and where it then begins: a semicolon can be put behind it."""
    tokens = _tokens(text)
    return text[tokens[0].start : tokens[-1].end + 1], offset + tokens[0].start


def line_counter(offsets: list[int], lines: list[int]) -> Callable[[int], int]:
    """A function from an offset to a line, given where in the rendered text each template line begins.

    :param offsets: ascending offsets in the rendered text, characters
    :param lines: the template line that begins at each of them
    """

    def line_of(offset: int) -> int:
        at = bisect.bisect_right(offsets, offset) - 1
        return lines[at] if at >= 0 else 1

    return line_of


def _refuse_cut_names(text: str, place: str) -> None:
    """PostgreSQL cuts a long name with a mere notice; two names may then become one."""
    for token in _tokens(text):
        if token.name == "IDENT":
            name = text[token.start : token.end + 1]
            if name.startswith('"'):
                name = name[1:-1].replace('""', '"')
            if len(name.encode()) > IDENTIFIER_BYTES:
                raise SourceError(
                    f"{place}: the name {name} has {len(name.encode())} bytes; PostgreSQL would cut it"
                    f" after {IDENTIFIER_BYTES}"
                )


def _is_concurrent(node: Any) -> bool:
    return type(node).__name__ in ("IndexStmt", "DropStmt") and bool(node.concurrent)


def _without_concurrently(text: str) -> str:
    """The same statement in the form that a transaction accepts; the resulting catalog is the same."""
    word = next(token for token in _tokens(text) if token.name == "CONCURRENTLY")
    return text[: word.start] + text[word.end + 1 :]


def _creates(node: Any, place: str) -> list[str]:
    """Names of what a statement creates, from its parse tree."""
    kind = type(node).__name__
    if kind in ("IndexStmt", "CreateStatsStmt"):
        names = [node.idxname] if kind == "IndexStmt" else [part.sval for part in node.defnames or ()]
        label = "index" if kind == "IndexStmt" else "statistics"
        if not names or not names[-1]:
            raise SourceError(
                f"{place}: {label} without a name", hint="Name it: the rollout compares by name."
            )
        return [f"{label} {_new(names, place)}"]
    if kind == "CreateTrigStmt":
        return [f"trigger {_new_relation(node.relation, place)}.{node.trigname}"]
    if kind == "CreatePolicyStmt":
        return [f"policy {_new_relation(node.table, place)}.{node.policy_name}"]
    if kind == "CreateTableAsStmt":
        label = "view" if node.objtype == enums.ObjectType.OBJECT_MATVIEW else "table"
        return [f"{label} {_new_relation(node.into.rel, place)}"]
    if kind == "CreateForeignTableStmt":
        return [f"foreign table {_new_relation(node.base.relation, place)}"]
    if kind in _RELATIONS:
        label, member = _RELATIONS[kind]
        return [f"{label} {_new_relation(getattr(node, member), place)}"]
    if kind in _NAMED:
        label, member = _NAMED[kind]
        return [f"{label} {_new([part.sval for part in getattr(node, member)], place)}"]
    return []


def _new_relation(relation: Any, place: str) -> str:
    return new_name(relation.schemaname, relation.relname, place)


def _new(parts: list[str], place: str) -> str:
    return new_name(".".join(parts[:-1]) or None, parts[-1], place)
