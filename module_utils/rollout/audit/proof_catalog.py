"""What the catalog alone says of a call: names that are not there, and columns that an insert leaves empty. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ansible.module_utils.rollout.audit.chain import Literal, PayloadColumn
from ansible.module_utils.rollout.audit.live_schema import Check, LiveSchema, TableFacts
from ansible.module_utils.rollout.audit.proof_result import Problem
from ansible.module_utils.rollout.audit.translate_draft import Use
from ansible.module_utils.rollout.audit.translate_result import Translation, Write
from ansible.module_utils.rollout.audit.translate_sql import JSON, identifier, literal, literal_text

UNDEFINED_TABLE, UNDEFINED_COLUMN, NOT_NULL_VIOLATION = "42P01", "42703", "23502"


def missing(schema: LiveSchema, uses: Iterable[Use]) -> list[Problem]:
    """Every table and column that is used and is not there."""
    problems: list[Problem] = []
    for use in uses:
        facts = schema.tables.get(use.table)
        if facts is None:
            problem = Problem(UNDEFINED_TABLE, f"there is no table {use.table}", use.table)
        elif use.column and use.column != "*" and use.column not in facts.columns:
            reason = f"table {use.table} has no column {use.column}"
            problem = Problem(UNDEFINED_COLUMN, reason, use.table, use.column, use.role)
        else:
            continue
        if problem not in problems:
            problems.append(problem)
    return problems


@dataclass(frozen=True)
class Emptiness:
    """What an insert leaves empty, or fills with NULL.

    :ivar unknown: what a trigger or the running code may fill
    """

    problems: tuple[Problem, ...] = ()
    unknown: tuple[str, ...] = ()


def empty_columns(schema: LiveSchema, translation: Translation) -> Emptiness:
    """Columns that are NOT NULL, have no default, and get no value.

    An upsert is an insert first: PostgreSQL checks the new row before it looks for the old one.
    """
    write = translation.query
    if not isinstance(write, Write) or write.operation == "delete" or write.table not in schema.tables:
        return Emptiness()
    facts = schema.tables[write.table]
    given = {column.name: column for column in write.payload.columns} if write.payload else {}
    problems = [
        Problem(
            NOT_NULL_VIOLATION,
            f"{write.table}.{name} is NOT NULL and gets null",
            write.table,
            name,
            "payload",
        )
        for name, column in given.items()
        if name in facts.columns and facts.columns[name].not_null and _is_null(column)
    ]
    if write.operation == "update" or facts.is_view:
        return Emptiness(tuple(problems))
    complete = write.payload is not None and write.payload.unknown is None
    unknown: list[str] = []
    for name, column_facts in facts.columns.items():
        if not column_facts.not_null or column_facts.filled:
            continue
        if name in given:
            if given[name].conditional:
                unknown.append(
                    f"{write.table}.{name} is NOT NULL without a default, and not given on every path"
                )
        elif not complete or facts.fills_rows:
            why = "a trigger may fill it" if facts.fills_rows else "the running code may give it"
            unknown.append(f"{write.table}.{name} is NOT NULL without a default; {why}")
        else:
            reason = f"{write.table}.{name} is NOT NULL, has no default, and is not given"
            problems.append(Problem(NOT_NULL_VIOLATION, reason, write.table, name, "payload"))
    return Emptiness(tuple(problems), tuple(unknown))


def _is_null(column: PayloadColumn) -> bool:
    return isinstance(column.value, Literal) and column.value.value is None


def check_queries(schema: LiveSchema, translation: Translation) -> list[tuple[Check, str]]:
    """For every CHECK whose columns are all written as literals, a query that gives its result.

    Others are not looked at: what a CHECK makes of a value that is not known is not known.
    """
    write = translation.query
    if not isinstance(write, Write) or write.payload is None or write.table not in schema.tables:
        return []
    facts = schema.tables[write.table]
    literals = {
        column.name: column.value.value
        for column in write.payload.columns
        if isinstance(column.value, Literal) and column.name in facts.columns
    }
    return [
        (check, _check_query(facts, check, literals))
        for check in facts.checks
        if check.columns and set(check.columns) <= set(literals)
    ]


def _check_query(facts: TableFacts, check: Check, literals: dict[str, object]) -> str:
    columns = []
    for name in check.columns:
        type_name = facts.columns[name].type
        value = literals[name]
        text = "NULL" if value is None else literal(literal_text(value, JSON, type_name))
        columns.append(f"CAST({text} AS {type_name}) AS {identifier(name)}")
    return f"SELECT ({check.expression}) FROM (SELECT {', '.join(columns)}) AS row"
