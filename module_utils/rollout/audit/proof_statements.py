"""Statements tried on the server without being executed: PREPARE finds what does not fit, EXPLAIN EXECUTE what
cannot be planned. One round trip for all of them, in a transaction that cannot write.

A statement that fails would end a pipeline, so the loop is on the server: in PL/pgSQL every statement has a
subtransaction of its own. Subtransactions that write nothing take no transaction id and leave no WAL. Each is rolled
back, so that the locks of planning are let go at once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from ansible.module_utils.rollout.connection import Command, Session

CHECK_VIOLATION = "23514"
#: Raised when nothing failed. Of a class that PostgreSQL does not use.
_PROVEN = "RP000"
#: The plan was made; what is lacking is this login's right to execute it. EXPLAIN looks at rights last.
INSUFFICIENT_PRIVILEGE = "42501"

_TRY_ALL = """
DO {tag}
DECLARE
    item jsonb;
    step text;
    fulfilled boolean;
    failures jsonb := '[]';
    sqlstate_seen text;
    message_seen text;
BEGIN
    FOR item IN SELECT * FROM jsonb_array_elements({items}) LOOP
        BEGIN
            step := 'prepare';
            IF item ? 'check' THEN
                EXECUTE item ->> 'check' INTO fulfilled;
                IF fulfilled IS FALSE THEN
                    RAISE EXCEPTION USING ERRCODE = 'check_violation', MESSAGE = 'the CHECK is not fulfilled';
                END IF;
            ELSE
                EXECUTE 'PREPARE rollout_proof AS ' || (item ->> 'sql');
                IF item ? 'explain' THEN
                    step := 'explain';
                    EXECUTE 'EXPLAIN EXECUTE rollout_proof' || (item ->> 'explain');
                END IF;
            END IF;
            RAISE EXCEPTION USING ERRCODE = '{proven}';
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS sqlstate_seen = RETURNED_SQLSTATE, message_seen = MESSAGE_TEXT;
            IF sqlstate_seen <> '{proven}' THEN
                failures := failures || jsonb_build_array(
                    jsonb_build_array(item -> 'at', sqlstate_seen, message_seen, step));
            END IF;
        END;
        DEALLOCATE ALL;
    END LOOP;
    PERFORM set_config('rollout.proof_failures', failures::text, true);
END
{tag}
"""


@dataclass(frozen=True)
class Statement:
    """Something to try.

    :ivar sql: with ``$1``, …; for a check a query that gives one boolean
    :ivar parameters: how many
    :ivar explain: also plan it, with NULL for every parameter; not for functions, which planning may execute
    :ivar check: execute it: it must not give false
    """

    sql: str
    parameters: int = 0
    explain: bool = True
    check: bool = False


@dataclass(frozen=True)
class Failure:
    """How a statement failed.

    :ivar planned: it could be prepared
    """

    sqlstate: str
    message: str
    planned: bool


def try_all(session: Session, schema: str, statements: Sequence[Statement]) -> dict[Statement, Failure]:
    """Try statements in one read-only transaction, and say which failed.

    Takes the locks that planning takes (ROW EXCLUSIVE on what a mutation names), each for its statement only.

    :raises StatementFailed: the whole could not be done
    """
    distinct = list(dict.fromkeys(statements))
    if not distinct:
        return {}
    items = [_item(at, statement) for at, statement in enumerate(distinct)]
    text = json.dumps(items, ensure_ascii=False)
    quote, tag = _tag("items", text), _tag("loop", text)
    script = _TRY_ALL.replace("{proven}", _PROVEN).replace("{tag}", tag)
    # Last, because the text may hold anything.
    script = script.replace("{items}", f"{quote}{text}{quote}")
    answers = session.run(
        [
            Command("BEGIN READ ONLY"),
            # As PostgREST sets it: the schema, then its db-extra-search-path.
            Command(
                "SELECT set_config('search_path', quote_ident(%s) || ', public, pg_temp', true)", (schema,)
            ),
            Command(script),
            Command("SELECT current_setting('rollout.proof_failures')"),
            Command("ROLLBACK"),
        ]
    )
    ((failures,),) = answers[3]
    return {
        distinct[at]: Failure(sqlstate, message, step == "explain")
        for at, sqlstate, message, step in json.loads(failures)
    }


def _item(at: int, statement: Statement) -> dict[str, object]:
    if statement.check:
        return {"at": at, "check": statement.sql}
    item: dict[str, object] = {"at": at, "sql": statement.sql}
    if statement.explain:
        nulls = ", ".join(["NULL"] * statement.parameters)
        item["explain"] = f"({nulls})" if nulls else ""
    return item


def _tag(word: str, text: str) -> str:
    """A dollar quote that does not occur in a text."""
    number = 0
    while f"${word}{number}$" in text:
        number += 1
    return f"${word}{number}$"
