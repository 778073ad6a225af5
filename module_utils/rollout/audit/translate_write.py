"""Insert, upsert, update and delete."""

from __future__ import annotations

from ansible.module_utils.rollout.audit.chain import Chain, Literal
from ansible.module_utils.rollout.audit.live_schema import LiveSchema
from ansible.module_utils.rollout.audit.translate_draft import Draft, Use
from ansible.module_utils.rollout.audit.translate_filters import where
from ansible.module_utils.rollout.audit.translate_read import add_filters, build, select_sql
from ansible.module_utils.rollout.audit.translate_result import Answer, Write
from ansible.module_utils.rollout.audit.translate_sql import (
    JSON,
    Place,
    Sql,
    compact,
    identifier,
    joined,
    qualified,
)

#: The rows that a mutation wrote, for the SELECT of what is returned. PostgREST's name, so that plans look alike.
SOURCE = "pgrst_source"


def write_query(draft: Draft, chain: Chain, table: str, answer: Answer) -> Write:
    """The mutation of a chain."""
    draft.apply(chain.operation)
    draft.use(table, "", "table")
    payload = chain.payload
    if payload is not None:
        for column in payload.columns:
            draft.use(table, column.name, "payload")
        if payload.unknown is not None:
            reason = f"there may be more columns than are known: {payload.unknown.reason}"
            draft.refuse(chain.operation, reason, library=False)
    if _option(chain, "defaultToNull") is False and (payload is None or payload.bulk is not False):
        draft.refuse("insert.defaults", "defaultToNull: false with a list of rows")
    if draft.schema is not None and any(not _is_there(draft.schema, use) for use in draft.uses):
        draft.apply("mutation.unknown_name")
    root = build(draft, chain, table, table, f"{identifier(SOURCE)} AS {identifier(table)}")
    own: list[Sql] = []
    add_filters(draft, root, chain.filters, own)
    if own:
        draft.apply("mutation.filter")
    returned: Sql = ()
    if chain.select is not None:
        draft.apply("returning")
        returned = select_sql(draft, root, None)
    return Write(
        chain.operation,
        table,
        qualified(draft.schema_name, table),
        answer,
        payload=payload,
        conflict=_conflict(draft, chain, table) if chain.operation == "upsert" else None,
        merge=not _option(chain, "ignoreDuplicates"),
        where=where(own) if chain.operation in ("update", "delete") else (),
        returned=returned,
        counted=chain.option("count") is not None,
    )


def _is_there(schema: LiveSchema, use: Use) -> bool:
    facts = schema.tables.get(use.table)
    return facts is not None and (not use.column or use.column in facts.columns)


def _option(chain: Chain, name: str) -> object:
    value = chain.option(name)
    return value.value if isinstance(value, Literal) else None


def _conflict(draft: Draft, chain: Chain, table: str) -> tuple[str, ...] | None:
    if _option(chain, "ignoreDuplicates"):
        draft.apply("upsert.ignore")
    given = chain.option("onConflict")
    if given is not None:
        if not isinstance(given, Literal) or not isinstance(given.value, str):
            draft.refuse("upsert", "the columns of onConflict are known to the running code only")
            return None
        columns = tuple(name.strip().strip('"') for name in given.value.split(","))
        for column in columns:
            draft.use(table, column, "conflict")
        return columns
    draft.apply("upsert.key")
    if draft.schema is None:
        draft.refuse("schema.missing", "upsert without onConflict: the primary key is in the database")
        return None
    facts = draft.schema.tables.get(table)
    return facts.primary_key or None if facts else None


def write_sql(write: Write, schema: LiveSchema | None = None) -> Sql:
    """The mutation as one statement for the proof: with the columns that are known, and their values where they are.

    :param schema: says how a list or an object of the source is written for the column
    """
    values: list[Sql] = []
    names: list[str] = []
    for column in write.payload.columns if write.payload else ():
        facts = schema.column(write.table, column.name) if schema else None
        names.append(identifier(column.name))
        values.append((Place((column.value,), (column.name,), JSON, facts.type if facts else ""),))
    statement = {"update": _update, "delete": _delete}.get(write.operation, _insert)(write, names, values)
    if not write.returned:
        return compact(statement)
    return compact(
        (f"WITH {SOURCE} AS (", *statement, f" RETURNING {identifier(write.table)}.*) ", *write.returned)
    )


def _insert(write: Write, names: list[str], values: list[Sql]) -> Sql:
    start: Sql = (f"INSERT INTO {write.target} DEFAULT VALUES",)
    if names:
        start = (f"INSERT INTO {write.target} ({', '.join(names)}) VALUES (", *joined(", ", values), ")")
    if write.conflict is None:
        return start
    target = ", ".join(identifier(name) for name in write.conflict)
    action = "DO NOTHING"
    if write.merge and names:
        action = "DO UPDATE SET " + ", ".join(f"{name} = EXCLUDED.{name}" for name in names)
    return (*start, f" ON CONFLICT ({target}) {action}")


def _update(write: Write, names: list[str], values: list[Sql]) -> Sql:
    if not names:
        # Nothing to set is known. The filters still have to fit; FOR UPDATE would ask for a right to write.
        if write.returned:
            return (f"DELETE FROM {write.target}", *write.where)
        return (f"SELECT 1 FROM {write.target}", *write.where)
    pairs: list[Sql] = [(f"{name} = ", *value) for name, value in zip(names, values, strict=True)]
    return (f"UPDATE {write.target} SET ", *joined(", ", pairs), *write.where)


def _delete(write: Write, names: list[str], values: list[Sql]) -> Sql:
    return (f"DELETE FROM {write.target}", *write.where)
