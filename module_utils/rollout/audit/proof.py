"""Would the code's calls run on this schema? Read-only, two round trips, one verdict a call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ansible.module_utils.rollout.audit import live_schema
from ansible.module_utils.rollout.audit.chain import Chain
from ansible.module_utils.rollout.audit.live_schema import LiveSchema
from ansible.module_utils.rollout.audit.proof_catalog import check_queries, empty_columns, missing
from ansible.module_utils.rollout.audit.proof_result import Lack, Problem, Proof, Verdict, verdict
from ansible.module_utils.rollout.audit.proof_statements import (
    CHECK_VIOLATION,
    INSUFFICIENT_PRIVILEGE,
    Failure,
    Statement,
    try_all,
)
from ansible.module_utils.rollout.audit.translate import MAX_ROWS, translate
from ansible.module_utils.rollout.audit.translate_call import call_sql
from ansible.module_utils.rollout.audit.translate_result import Read, Translation, Write
from ansible.module_utils.rollout.audit.translate_sql import Sql, prepared
from ansible.module_utils.rollout.audit.translate_write import write_sql
from ansible.module_utils.rollout.connection import Command, Session

#: Gaps that stand in the way of a function in the library, but not of the proof: everything conditional is proven as
#: if it were there, and these do not touch names.
_NO_MATTER = frozenset(
    {"modifier.conditional", "modifier.unknown", "format", "rollback", "signal", "rpc.get", "rpc.count"}
    | {"insert.defaults", "limit.mutation"}
)
#: Classes of SQLSTATE that are about the statement and the schema. Others (no memory, a lock not had, an internal
#: error) say nothing about the call.
_ABOUT_THE_SCHEMA = ("0A", "21", "22", "23", "2B", "42", "44", "55000")


#: ON CONFLICT finds no unique key.
NO_UNIQUE_KEY = "42P10"


@dataclass
class Case:
    """One call for one table, while it is being proven."""

    translation: Translation
    problems: list[Problem] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)
    checks: dict[Statement, str] = field(default_factory=dict)


def read_schema(session: Session, schema: str) -> LiveSchema:
    """The schema as it is, in one round trip."""
    answers = session.run([Command("BEGIN READ ONLY"), *live_schema.commands(schema), Command("ROLLBACK")])
    return live_schema.from_rows(schema, answers[1:-1])


def prove(
    session: Session, schema_name: str, chains: Sequence[Chain], max_rows: int | None = MAX_ROWS
) -> tuple[Proof, LiveSchema]:
    """Prove all calls against a schema.

    :param session: may be read-only, and of a login that may only read
    :param max_rows: as of :func:`translate.translate`
    :returns: the proof, and the schema that it was made against
    :raises RolloutError: the database cannot be asked
    """
    schema = read_schema(session, schema_name)
    cases = [
        [prepare_case(schema, translation) for translation in translate(chain, schema, max_rows=max_rows)]
        for chain in chains
    ]
    failures = try_all(
        session,
        schema_name,
        [statement for group in cases for case in group for statement in (*case.statements, *case.checks)],
    )
    verdicts = tuple(_verdict(group, failures) for group in cases)
    counted = tuple(not chain.test for chain in chains)
    return Proof(schema_name, verdicts, counted, _lacks(schema, chains, verdicts)), schema


def prepare_case(schema: LiveSchema, translation: Translation) -> Case:
    """What the catalog says of a translation, and what is still to be asked."""
    case = Case(translation)
    for gap in translation.gaps:
        if gap.code:
            case.problems.append(Problem(gap.code, gap.reason, translation.table))
        elif gap.rule not in _NO_MATTER:
            case.unknown.append(gap.reason)
    if any(gap.rule == "schema.missing" for gap in translation.gaps):
        return case
    absent = missing(schema, translation.uses)
    case.problems += absent
    emptiness = empty_columns(schema, translation)
    case.problems += emptiness.problems
    case.unknown += emptiness.unknown
    if absent or translation.query is None:
        return case
    query = translation.query
    if isinstance(query, Read):
        for sql in (query.rows, query.count):
            if sql:
                case.statements.append(_statement(sql))
    elif isinstance(query, Write):
        case.statements.append(_statement(write_sql(query, schema)))
    else:
        # Planning a function's call may execute it.
        case.statements.append(replace(_statement(call_sql(query)), explain=False))
    for check, text in check_queries(schema, translation):
        case.checks[Statement(text, check=True)] = (
            f"CHECK {check.name} of {translation.table} refuses the value"
        )
    return case


def _statement(sql: Sql) -> Statement:
    made = prepared(sql)
    return Statement(made.text, made.parameters)


def _verdict(cases: Sequence[Case], failures: dict[Statement, Failure]) -> Verdict:
    problems: list[Problem] = []
    unknown: list[str] = []
    for case in cases:
        problems += case.problems
        unknown += case.unknown
        for statement in (*case.statements, *case.checks):
            failure = failures.get(statement)
            if failure is None:
                continue
            problem = _problem(case, statement, failure)
            if problem is not None:
                problems.append(problem)
            elif failure.sqlstate != INSUFFICIENT_PRIVILEGE or not failure.planned:
                unknown.append(f"SQLSTATE {failure.sqlstate}: {failure.message}")
    return verdict(problems, unknown)


def _problem(case: Case, statement: Statement, failure: Failure) -> Problem | None:
    if failure.sqlstate == INSUFFICIENT_PRIVILEGE or not failure.sqlstate.startswith(_ABOUT_THE_SCHEMA):
        return None
    table, query = case.translation.table, case.translation.query
    if failure.sqlstate == NO_UNIQUE_KEY and isinstance(query, Write) and query.conflict:
        columns = ",".join(query.conflict)
        unmatched = f"table {table} has no unique key of exactly {columns}"
        return Problem(failure.sqlstate, unmatched, table, columns, "conflict")
    reason = case.checks.get(statement) if failure.sqlstate == CHECK_VIOLATION else None
    return Problem(failure.sqlstate, reason or failure.message, table)


_KINDS = {
    "42P01": "table",
    "42703": "column",
    NO_UNIQUE_KEY: "unique key",
    "PGRST200": "foreign key",
    "PGRST202": "function",
}


def _lacks(schema: LiveSchema, chains: Sequence[Chain], verdicts: Sequence[Verdict]) -> tuple[Lack, ...]:
    """What every table lacks, with the calls that want it: missing tables first, then by name."""
    calls: dict[Lack, list[str]] = {}
    for chain, one in zip(chains, verdicts, strict=True):
        for problem in () if chain.test else one.problems:
            kind = _KINDS.get(problem.code, "other")
            lack = Lack(problem.table, kind, problem.column, problem.code, problem.reason)
            place = f"{chain.file}:{chain.line}"
            if place not in calls.setdefault(lack, []):
                calls[lack].append(place)
    order = [*_KINDS.values(), "other"]
    found = [replace(lack, calls=tuple(places)) for lack, places in calls.items()]
    return tuple(
        sorted(
            found,
            key=lambda lack: (lack.table in schema.tables, lack.table, order.index(lack.kind), lack.name),
        )
    )
