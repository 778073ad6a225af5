"""Trying things out on the server without leaving anything: one round trip for all probes of an item.

A DO block carries out every probe in a subtransaction of its own, which ends with an exception that undoes it, and
collects what came of it. So a refusal ends nobody else's probe, and everything is rolled back twice: each probe by its
exception, all of them by the transaction.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.rollout import transaction
from ansible.module_utils.rollout.catalog import search_path
from ansible.module_utils.rollout.connection import Command, Session
from ansible.module_utils.rollout.errors import StatementFailed
from ansible.module_utils.rollout.locks import TableLock

#: What undoes a probe; no function of a schema raises it.
_UNDO = "RL0UN"

# Orders and answers travel in settings of the transaction: DO takes no parameters and returns nothing.
_BLOCK = f"""
DO $rollout$
DECLARE
    orders CONSTANT jsonb := current_setting('rollout.orders');
    setting jsonb;
    probe jsonb;
    step jsonb;
    answer jsonb;
    answers jsonb;
    came jsonb := '[]';
    refused jsonb := '{{}}';
    explained json;
    changed bigint;
    state text;
    told text;
    its_constraint text;
    its_table text;
    its_column text;
    locked jsonb;
BEGIN
    FOR setting IN SELECT value FROM jsonb_array_elements(orders -> 'setting') LOOP
        BEGIN
            EXECUTE setting ->> 1;
        EXCEPTION WHEN OTHERS OR assert_failure THEN
            GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, told = MESSAGE_TEXT, its_constraint = CONSTRAINT_NAME,
                its_table = TABLE_NAME, its_column = COLUMN_NAME;
            refused := refused || jsonb_build_object(setting ->> 0, jsonb_build_object('sqlstate', state,
                'message', told, 'constraint', its_constraint, 'table', its_table, 'column', its_column));
        END;
    END LOOP;
    FOR probe IN SELECT value FROM jsonb_array_elements(orders -> 'probes') LOOP
        answers := '[]';
        locked := NULL;
        BEGIN
            FOR step IN SELECT value FROM jsonb_array_elements(probe) LOOP
                IF step ->> 0 = 'ask' THEN
                    EXECUTE format('SELECT coalesce(jsonb_agg(to_jsonb(answer)), ''[]'') FROM (%s) AS answer',
                        step ->> 1) INTO answer;
                ELSIF step ->> 0 = 'explain' THEN
                    EXECUTE 'EXPLAIN (FORMAT JSON) ' || (step ->> 1) INTO explained;
                    answer := explained;
                ELSE
                    EXECUTE step ->> 1;
                    GET DIAGNOSTICS changed = ROW_COUNT;
                    answer := to_jsonb(changed);
                END IF;
                answers := answers || jsonb_build_array(answer);
            END LOOP;
            SELECT jsonb_agg(DISTINCT mode) INTO locked FROM pg_locks
                WHERE pid = pg_backend_pid() AND relation::bigint = ANY (SELECT value::bigint
                    FROM jsonb_array_elements_text(orders -> 'protected'));
            RAISE EXCEPTION USING ERRCODE = '{_UNDO}';
        EXCEPTION
            WHEN SQLSTATE '{_UNDO}' THEN
                came := came || jsonb_build_array(jsonb_build_object('answers', answers, 'protected', locked));
            WHEN OTHERS OR assert_failure THEN
                GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, told = MESSAGE_TEXT,
                    its_constraint = CONSTRAINT_NAME, its_table = TABLE_NAME, its_column = COLUMN_NAME;
                came := came || jsonb_build_array(jsonb_build_object('answers', answers, 'refusal', jsonb_build_object(
                    'sqlstate', state, 'message', told, 'constraint', its_constraint, 'table', its_table,
                    'column', its_column)));
        END;
    END LOOP;
    PERFORM set_config('rollout.came', jsonb_build_object('came', came, 'refused', refused)::text, true);
END
$rollout$
"""


@dataclass(frozen=True)
class Step:
    """One statement of a probe.

    :ivar kind: ``do`` for the number of rows that it changes, ``ask`` for its rows, ``explain`` for its plan
    """

    kind: str
    sql: str


def do(sql: str) -> Step:
    return Step("do", sql)


def ask(sql: str) -> Step:
    return Step("ask", sql)


@dataclass(frozen=True)
class Refusal:
    """PostgreSQL's error, without the DETAIL that can hold values of rows."""

    sqlstate: str
    message: str
    constraint: str = ""
    table: str = ""
    column: str = ""

    def __str__(self) -> str:
        return f"SQLSTATE {self.sqlstate}: {self.message}"


@dataclass(frozen=True)
class Came:
    """What came of a probe.

    :ivar answers: of the steps that succeeded: rows as mappings, or a number of rows
    :ivar refusal: the error that ended it
    :ivar protected: lock modes that it held on protected tables
    """

    answers: tuple[Any, ...]
    refusal: Refusal | None = None
    protected: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tried:
    """What came of all probes of an item.

    :ivar came: in the order of the probes
    :ivar refused: sample rows that could not be inserted, by table
    :ivar locks: that were held at the end on relations of users
    """

    came: tuple[Came, ...]
    refused: Mapping[str, Refusal]
    locks: tuple[TableLock, ...] = ()


def attempt(
    session: Session,
    schema: str,
    protected: Sequence[int],
    setting: Sequence[tuple[str, str]],
    probes: Sequence[Sequence[Step]],
    *,
    read_only: bool = False,
) -> Tried:
    """Carry out probes in one round trip, in a transaction that is rolled back.

    :param protected: oids of tables that nobody may lock
    :param setting: name and statement of what stands before each probe; one that is refused does not stop the others
    :param read_only: the server refuses every write
    :raises StatementFailed: the whole was cancelled, by statement_timeout or by somebody
    """
    orders = {
        "setting": [list(one) for one in setting],
        "probes": [[[step.kind, step.sql] for step in probe] for probe in probes],
        "protected": list(protected),
    }
    commands = [
        Command("BEGIN READ ONLY" if read_only else "BEGIN READ WRITE"),
        search_path(schema),
        # What is deferred would be noticed at COMMIT, which never comes.
        Command("SET CONSTRAINTS ALL IMMEDIATE"),
        Command("SELECT set_config('rollout.orders', %s, true)", (json.dumps(orders, ensure_ascii=False),)),
        Command(_BLOCK),
        Command("SELECT current_setting('rollout.came')"),
        transaction.held_locks(schema),
        Command("ROLLBACK"),
    ]
    try:
        answers = session.run(commands)
    except StatementFailed as error:
        # Which statement of the block it was is not known, and the block itself says nothing to anybody.
        details = {"sqlstate": error.details["sqlstate"]}
        raise StatementFailed(error.message.splitlines()[0], hint=error.hint, details=details) from None
    finally:
        session.rollback()
    told = json.loads(answers[-3][0][0])
    return Tried(
        tuple(_came(one) for one in told["came"]),
        {name: _refusal(one) for name, one in told["refused"].items()},
        tuple(transaction.locks_from_rows(answers[-2])),
    )


def _came(told: Mapping[str, Any]) -> Came:
    refusal = told.get("refusal")
    return Came(
        tuple(told["answers"]),
        _refusal(refusal) if refusal else None,
        tuple(told.get("protected") or ()),
    )


def _refusal(told: Mapping[str, Any]) -> Refusal:
    return Refusal(**{name: value or "" for name, value in told.items()})
