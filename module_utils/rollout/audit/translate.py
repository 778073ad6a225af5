"""A supabase-js call as parameterized PostgreSQL, equal to what PostgREST 12 does with it.

One documented rule a construct (:mod:`translate_rules`). What cannot be translated is left out of the SQL and named as
a gap, so that the proof can still look at the rest. Needs no database; a :class:`LiveSchema` adds what is only there:
foreign keys for embedded resources, primary keys, functions' arguments.
"""

from __future__ import annotations

from dataclasses import replace

from ansible.module_utils.rollout.audit.chain import OPERATIONS, Chain, Dynamic, Known, Literal
from ansible.module_utils.rollout.audit.live_schema import LiveSchema
from ansible.module_utils.rollout.audit.translate_call import call_query
from ansible.module_utils.rollout.audit.translate_draft import Draft
from ansible.module_utils.rollout.audit.translate_read import add_filters, build, count_sql, select_sql
from ansible.module_utils.rollout.audit.translate_result import (
    ALL_ROWS,
    MAYBE_SINGLE,
    SINGLE,
    Answer,
    Query,
    Read,
    Translation,
)
from ansible.module_utils.rollout.audit.translate_sql import qualified
from ansible.module_utils.rollout.audit.translate_write import write_query

#: Supabase's ``db-max-rows``.
MAX_ROWS = 1000

_HANDLED = ("order", "limit", "range", "single", "maybeSingle", "throwOnError", "returns", "overrideTypes")
_REFUSED = {
    "csv": "format",
    "geojson": "format",
    "explain": "format",
    "rollback": "rollback",
    "maxAffected": "rollback",
    "abortSignal": "signal",
}


def translate(
    chain: Chain,
    schema: LiveSchema | None = None,
    schema_name: str = "public",
    max_rows: int | None = MAX_ROWS,
) -> tuple[Translation, ...]:
    """The translations of a chain: one a table that it is known to be for, or one without SQL when none is known.

    :param schema: the live schema; what needs it is a gap without it
    :param schema_name: that the tables are in, unless the chain names another
    :param max_rows: most rows that a select gives; ``None`` for no cap
    """
    own = chain.schema.value if isinstance(chain.schema, Known) else ""
    name = own or (schema.name if schema else schema_name)
    known = schema if schema is not None and schema.name == name else None

    def draft() -> Draft:
        made = Draft(known, name, max_rows)
        if schema is not None and known is None:
            made.refuse("schema.missing", f"schema {name} was not read", library=False)
        return made

    if not chain.tables:
        return (_unknown_table(draft(), chain),)
    return tuple(_one(draft(), chain, table) for table in chain.tables)


def _unknown_table(draft: Draft, chain: Chain) -> Translation:
    reason = chain.table.reason if isinstance(chain.table, Dynamic) else "no table"
    draft.refuse("table.unknown", f"the table is not known: {reason}")
    return _finished(draft, "", None)


def _one(draft: Draft, chain: Chain, table: str) -> Translation:
    if isinstance(chain.schema, Dynamic):
        draft.refuse("table.unknown", f"the schema is not known: {chain.schema.reason}")
    if isinstance(chain.table, Dynamic) and not chain.table.complete:
        draft.refuse("table.unknown", f"the table is chosen by the running code: {chain.table.reason}")
    if chain.operation not in OPERATIONS:
        draft.refuse("operation.unknown", "the operation is known to the running code only")
        draft.use(table, "", "table")
        return _finished(draft, table, None)
    for rule in _options(chain):
        draft.apply(rule)
    answer = _answer(draft, chain)
    query: Query | None
    if chain.operation == "select":
        query = _read(draft, chain, table, answer)
    elif chain.operation == "rpc":
        query = call_query(draft, chain, table, answer)
    else:
        query = write_query(draft, chain, table, answer)
    return _finished(draft, table, query)


def _finished(draft: Draft, table: str, query: Query | None) -> Translation:
    return Translation(table, query, tuple(draft.rules), tuple(draft.uses), tuple(draft.gaps))


def _options(chain: Chain) -> list[str]:
    rules = []
    count = chain.option("count")
    if count is not None:
        exact = isinstance(count, Literal) and count.value == "exact"
        rules.append("count" if exact else "count.estimate")
    if _is_head(chain):
        rules.append("head")
    return rules


def _is_head(chain: Chain) -> bool:
    head = chain.option("head")
    return isinstance(head, Literal) and bool(head.value)


def _answer(draft: Draft, chain: Chain) -> Answer:
    answer = Answer()
    for modifier in chain.modifiers:
        if modifier.name in _REFUSED:
            rule = _REFUSED[modifier.name]
            # A signal does not change the answer.
            draft.refuse(rule, f".{modifier.name}()")
        elif modifier.name not in _HANDLED:
            draft.refuse("modifier.unknown", f".{modifier.name}()")
        if modifier.name in (SINGLE, MAYBE_SINGLE):
            draft.apply("single" if modifier.name == SINGLE else "maybe_single")
            answer = replace(answer, shape=modifier.name)
            if modifier.conditional:
                draft.refuse("modifier.conditional", f".{modifier.name}() is not on every path")
        elif modifier.name == "throwOnError":
            draft.apply("throw")
            answer = replace(answer, throws=True)
        elif modifier.name in ("returns", "overrideTypes"):
            draft.apply("types")
    return answer


def _read(draft: Draft, chain: Chain, table: str, answer: Answer) -> Read:
    draft.use(table, "", "table")
    root = build(draft, chain, table, table, qualified(draft.schema_name, table))
    add_filters(draft, root, chain.filters, root.conditions)
    head = _is_head(chain)
    counted = chain.option("count") is not None
    return Read(
        rows=() if head and counted else select_sql(draft, root, draft.max_rows),
        count=count_sql(root) if counted else (),
        answer=Answer(ALL_ROWS, answer.throws) if head else answer,
        offset=root.offset,
        head=head,
    )
