"""Functions: ``.rpc(name, arguments)``."""

from __future__ import annotations

from ansible.module_utils.rollout.audit.chain import Chain
from ansible.module_utils.rollout.audit.live_schema import OBJECT, ROWS, FunctionFacts, LiveSchema
from ansible.module_utils.rollout.audit.translate_draft import Draft
from ansible.module_utils.rollout.audit.translate_read import add_filters, build, select_sql
from ansible.module_utils.rollout.audit.translate_result import Answer, Call
from ansible.module_utils.rollout.audit.translate_sql import (
    JSON,
    Place,
    Sql,
    compact,
    identifier,
    joined,
    qualified,
)

#: Stands in a call's SQL for the function with its arguments, which depend on the keys that the caller gives. No name
#: and no text in SQL holds it.
FUNCTION = "\0"


def call_query(draft: Draft, chain: Chain, name: str, answer: Answer) -> Call | None:
    """The call of a chain, or ``None``; the draft says why."""
    draft.apply("rpc")
    if draft.schema is None:
        draft.refuse("schema.missing", f"function {name}: its arguments are in the database")
        return None
    for option, rule in (("get", "rpc.get"), ("head", "rpc.get"), ("count", "rpc.count")):
        if chain.option(option) is not None:
            draft.refuse(rule, f"{{ {option}: … }}")
    function = _function(draft, chain, draft.schema, name)
    if function is None:
        return None
    draft.apply("rpc.rows" if function.gives in (ROWS, OBJECT) else "rpc.value")
    # A row of the result is called by its type, as a table's rows are by the table.
    reference = function.result if function.gives in (ROWS, OBJECT) else name
    root = build(draft, chain, reference, reference, f"{FUNCTION} AS {identifier(reference)}")
    # What a function gives is not in the catalog as columns of a table, but for a table's rows.
    known = reference in draft.schema.tables
    add_filters(draft, root, chain.filters, root.conditions)
    if not known:
        draft.uses = [use for use in draft.uses if use.table != reference]
    rows = select_sql(draft, root, draft.max_rows)
    return Call(function, qualified(draft.schema_name, name), rows, answer, payload=chain.payload)


def _function(draft: Draft, chain: Chain, schema: LiveSchema, name: str) -> FunctionFacts | None:
    named = [function for function in schema.functions if function.name == name]
    payload = chain.payload
    given = {column.name for column in payload.columns} if payload else set()
    if payload is not None and payload.unknown is not None:
        draft.refuse("rpc", f"the arguments are not known: {payload.unknown.reason}", library=len(named) != 1)
        if len(named) == 1:
            return named[0]
        if not named:
            draft.refuse("rpc", f"there is no function {name}", "PGRST202")
        return None
    optional = {column.name for column in payload.columns if column.conditional} if payload else set()
    found = [function for function in named if _takes(function, given)]
    if not found and optional:
        found = [function for function in named if _takes(function, given - optional)]
    if len(found) == 1:
        return found[0]
    if found:
        draft.refuse("rpc", f"{len(found)} functions {name} take these arguments", "PGRST203")
        return None
    wanted = ", ".join(sorted(given)) or "no arguments"
    there = "; ".join(f"{name}({', '.join(argument.name for argument in one.arguments)})" for one in named)
    reason = f"there is no function {name} that takes {wanted}" + (f"; there is {there}" if there else "")
    draft.refuse("rpc", reason, "PGRST202")
    return None


def _takes(function: FunctionFacts, given: set[str]) -> bool:
    """Whether PostgREST would call this function with these names (findProc in its Plan.hs)."""
    names = {argument.name for argument in function.arguments}
    required = {argument.name for argument in function.arguments if argument.required}
    if not function.arguments:
        return not given
    if len(function.arguments) == 1 and not function.arguments[0].name:
        return function.arguments[0].type in ("json", "jsonb")
    return required <= given <= names


def call_sql(call: Call) -> Sql:
    """The call as one statement for the proof."""
    arguments = {argument.name: argument for argument in call.function.arguments}
    pieces: list[Sql] = []
    for column in call.payload.columns if call.payload else ():
        argument = arguments.get(column.name)
        if argument is not None:
            variadic = "VARIADIC " if argument.variadic else ""
            place = Place((column.value,), (column.name,), JSON, argument.type)
            pieces.append((f"{variadic}{identifier(column.name)} := ", place))
    called: Sql = (f"{call.target}(", *joined(", ", pieces), ")")
    if call.function.gives in (ROWS, OBJECT):
        source: Sql = ("SELECT pgrst_call.* FROM ", *called, " pgrst_call")
    else:
        source = ("SELECT ", *called, " AS pgrst_scalar")
    parts: list[str | Place] = []
    for part in call.rows:
        if isinstance(part, str) and FUNCTION in part:
            before, after = part.split(FUNCTION)
            parts += [before + "(", *source, ")" + after]  # type: ignore[list-item]
        else:
            parts.append(part)  # type: ignore[arg-type]
    return compact(tuple(parts))
