"""The generated library and the proof against what supabase-js with a real PostgREST 12 answered."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from ansible.module_utils.rollout.audit.javascript import RUNTIME, Library, Member, library
from ansible.module_utils.rollout.audit.live_schema import LiveSchema
from ansible.module_utils.rollout.audit.proof import prove, read_schema
from ansible.module_utils.rollout.audit.proof_result import FAILS, Verdict
from ansible.module_utils.rollout.audit.translate import translate
from ansible.module_utils.rollout.audit.translate_result import Call, Read, Write
from ansible.module_utils.rollout.audit.translate_sql import Place, places
from ansible.module_utils.rollout.connection import Session
from ansible.module_utils.rollout.options import ConnectionOptions

from sandbox.credentials import OWNER
from sandbox.server import PostgresServer
from tests.generated_library import RunningLibrary, running_library
from tests.postgrest_recording import RECORDED, changes, fingerprint, reset, rows_of
from tests.recorded_calls import Recorded, max_rows, recorded_calls, recorded_database

CALLS = recorded_calls()
NAMES = [call.name for call in CALLS]

#: Where the library answers otherwise, and what.
DIFFERENT_CODES = {
    "insert missing column": "42703",  # PostgREST asks its own copy of the schema first: PGRST204
    "head of a missing table": "42P01",  # a HEAD's answer has no body, so supabase-js gives no error
    "insert into a missing table": "42P01",  # PostgREST says 404 without a body, which supabase-js takes for success
    "or with a comma in a value": "",  # PostgREST takes what is behind the comma for another filter: PGRST100
}
#: Where the library's rows are others, and which.
DIFFERENT_DATA = {
    "or with a comma in a value": [{"id": 1}],
    "in with quotes in a value": [],  # PostgREST takes the quotes off
}
#: Calls whose error comes from values that only the running code or the rows know.
FAILS_WHILE_RUNNING = {
    "eq Date",
    "limit below zero",
    "range past the end with count",
    "single of none",
    "single of many",
    "maybeSingle of many",
    "insert twice",
    "insert two, single",
    "upsert one key twice",
    "update single of many",
    "delete single of many",
    "delete what is referred to",
}


@pytest.fixture(scope="module")
def recorded(server: PostgresServer) -> Iterator[str]:
    with recorded_database(server) as name:
        yield name


@pytest.fixture(scope="module")
def owner(server: PostgresServer, recorded: str) -> Iterator[psycopg.Connection]:
    with server.connect(OWNER, recorded) as connection:
        yield connection


@pytest.fixture(scope="module")
def schema(server: PostgresServer, recorded: str) -> LiveSchema:
    with Session(ConnectionOptions(**server.options(OWNER, recorded)), "test", read_only=True) as session:
        return read_schema(session, "api")


@pytest.fixture(scope="module")
def members(schema: LiveSchema) -> dict[str, Member]:
    found = {}
    for call in CALLS:
        (translation,) = translate(call.chain, schema, max_rows=max_rows())
        found[call.name] = Member(call.chain, translation)
    return found


@pytest.fixture(scope="module")
def generated(members: dict[str, Member]) -> Library:
    return library(members.values(), RUNTIME.read_text(encoding="utf-8"), max_rows())


@pytest.fixture(scope="module")
def running(
    generated: Library, server: PostgresServer, recorded: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningLibrary]:
    folder: Path = tmp_path_factory.mktemp("library")
    with running_library(folder, generated.text, server, recorded) as process:
        yield process


@pytest.fixture(scope="module")
def verdicts(server: PostgresServer, recorded: str) -> dict[str, Verdict]:
    with Session(ConnectionOptions(**server.options(OWNER, recorded)), "test", read_only=True) as session:
        proof, _ = prove(session, "api", [call.chain for call in CALLS], max_rows())
    return dict(zip(NAMES, proof.verdicts, strict=True))


def function_of(generated: Library, member: Member) -> str | None:
    names = [function.name for function in generated.functions if member.place in function.calls]
    return names[0] if names else None


def arguments_of(call: Recorded, member: Member) -> dict[str, Any]:
    query = member.translation.query
    found: list[Place] = []
    if isinstance(query, Read):
        found = [*places(query.rows), *places(query.count)]
    elif isinstance(query, Write):
        found = [*places(query.where), *places(query.returned)]
    elif isinstance(query, Call):
        found = list(places(query.rows))
    return {
        name: call.value(value)
        for place in found
        for value, name in zip(place.values, place.names, strict=True)
        if not call.is_undefined(value)
    }


def test_the_recording_is_of_these_calls() -> None:
    recorded_from = json.loads(RECORDED.read_text(encoding="utf-8"))["recorded_from"]
    assert recorded_from == fingerprint(), "make record-postgrest, and look at what changed in calls.json"


@pytest.mark.parametrize("call", CALLS, ids=NAMES)
def test_the_library_answers_as_postgrest_did(
    call: Recorded,
    members: dict[str, Member],
    generated: Library,
    running: RunningLibrary,
    owner: psycopg.Connection,
) -> None:
    member = members[call.name]
    function = function_of(generated, member)
    if function is None:
        # No function, because PostgREST refuses the request itself.
        assert call.code in {gap.code for gap in member.translation.gaps if gap.code}
        return
    more = {"payload": call.request["body"], "columns": call.columns} if "body" in call.request else {}
    before = rows_of(owner)
    answer = running.call(function, arguments_of(call, member), **more)
    changed = changes(before, rows_of(owner))
    if changed:
        reset(owner)
    code = answer["error"]["code"] if answer["error"] else ""
    assert code == DIFFERENT_CODES.get(call.name, call.code), answer["error"]
    assert answer["data"] == DIFFERENT_DATA.get(call.name, call.answer["data"])
    assert answer["count"] == call.answer["count"]
    assert changed == call.answer["changes"]


def test_a_library_that_differs_is_found(
    members: dict[str, Member],
    server: PostgresServer,
    recorded: str,
    owner: psycopg.Connection,
    tmp_path: Path,
) -> None:
    """The control: with another cap the answer is not the recorded one."""
    (call,) = (call for call in CALLS if call.name == "limit above the cap")
    member = members[call.name]
    uncapped = library([member], RUNTIME.read_text(encoding="utf-8"), max_rows() + 1)
    reset(owner)
    with running_library(tmp_path, uncapped.text, server, recorded) as process:
        answer = process.call(uncapped.functions[0].name, {})
    assert answer["error"] is None
    assert len(answer["data"]) == len(call.answer["data"]) + 1


@pytest.mark.parametrize("call", CALLS, ids=NAMES)
def test_the_proof_foretells_what_postgrest_said(call: Recorded, verdicts: dict[str, Verdict]) -> None:
    verdict = verdicts[call.name]
    expected = DIFFERENT_CODES.get(call.name, call.code)
    if not expected or call.name in FAILS_WHILE_RUNNING:
        assert verdict.outcome != FAILS, verdict
    else:
        assert verdict.outcome == FAILS
        assert expected in {problem.code for problem in verdict.problems}
