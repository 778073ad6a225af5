"""The proof of calls against a live schema: what it finds, what it leaves alone, and the proposal that mends it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from ansible.module_utils.rollout.audit.chain import Chain, to_json
from ansible.module_utils.rollout.audit.live_schema import LiveSchema
from ansible.module_utils.rollout.audit.proof import prove
from ansible.module_utils.rollout.audit.proof_result import FAILS, RUNS, UNKNOWN, CallsWouldFail, Proof, gate
from ansible.module_utils.rollout.audit.proof_statements import Statement, try_all
from ansible.module_utils.rollout.audit.proposal import proposal
from ansible.module_utils.rollout.connection import Session
from ansible.module_utils.rollout.options import ConnectionOptions

from sandbox.databases import Database
from sandbox.server import PostgresServer
from tests import traces
from tests.audited_calls import chains_of
from tests.integration import module_run

TABLES = """
CREATE TABLE clients (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    phone text NOT NULL UNIQUE,
    company_id integer NOT NULL,
    name text,
    mood text CHECK (mood IN ('calm', 'hurried')),
    visits integer NOT NULL DEFAULT 0 CHECK (visits < 100),
    born date,
    tags text[],
    data jsonb
);
CREATE UNIQUE INDEX ON clients (company_id) WHERE name IS NOT NULL;
CREATE TABLE bookings (id integer PRIMARY KEY, client_id bigint REFERENCES clients (id), at timestamptz);
CREATE TABLE filled (id integer PRIMARY KEY, note text NOT NULL);
CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN NEW.note := coalesce(NEW.note, ''''); RETURN NEW; END';
CREATE TRIGGER fill BEFORE INSERT ON filled FOR EACH ROW EXECUTE FUNCTION fill();
CREATE FUNCTION count_visits(client bigint, since date DEFAULT NULL) RETURNS integer LANGUAGE sql AS 'SELECT 1';
"""


@pytest.fixture
def stocked(database: Database) -> Database:
    with database.connect() as owner:
        owner.execute(TABLES)
    return database


def proven(database: Database, chains: Sequence[Chain], readonly: bool = True) -> Proof:
    options = database.readonly_options if readonly else database.options
    with Session(ConnectionOptions(**options), "rollout test", read_only=True) as session:
        return prove(session, "public", chains)[0]


#: A call, and what becomes of it: nothing for one that runs, ? for one of which it is not known.
VERDICTS = [
    ("db.from('clients').select('id, name').eq('phone', value).order('born')", ""),
    ("db.from('clients').select('*').in('company_id', list).or('name.is.null,visits.gt.3')", ""),
    ("db.from('nowhere').select('*')", "42P01"),
    ("db.from('clients').select('surname')", "42703"),
    ("db.from('clients').select('id').eq('surname', value)", "42703"),
    ("db.from('clients').select('id').order('surname')", "42703"),
    ("db.from('clients').select('id').or('surname.eq.x,id.eq.1')", "42703"),
    ("db.from('clients').select('id').eq('visits', 'many')", "22P02"),
    ("db.from('clients').select('id').eq('visits', null)", "22P02"),
    ("db.from('clients').select('id').eq('born', new Date())", "22007"),
    ("db.from('clients').select('id').in('visits', [1, 'x'])", "22P02"),
    ("db.from('clients').select('id').ilike('visits', value)", "42883"),
    ("db.from('clients').select('id').contains('data', [1])", "22P02"),
    ("db.from('clients').select('id, bookings(at)').eq('bookings.at', value)", ""),
    ("db.from('clients').select('id, bookings(missing)')", "42703"),
    ("db.from('clients').select('id, filled(note)')", "PGRST200"),
    ("db.from('clients').select('id').eq('bookings.at', value)", "PGRST108"),
    ("db.from('clients').insert({ phone: value, company_id: 1 })", ""),
    ("db.from('clients').insert({ phone: value })", "23502"),
    ("db.from('clients').insert({ phone: null, company_id: 1 })", "23502"),
    ("db.from('clients').insert({ phone: value, company_id: 1, surname: 'x' })", "42703"),
    ("db.from('clients').insert({ phone: value, company_id: 1, mood: 'angry' })", "23514"),
    ("db.from('clients').insert({ phone: value, company_id: 1, mood: 'calm', visits: 0 })", ""),
    ("db.from('clients').insert({ phone: value, company_id: 1, visits: 100 })", "23514"),
    ("db.from('clients').insert({ id: 5, phone: value, company_id: 1 })", "428C9"),
    ("db.from('clients').insert({ phone: value, company_id: 1, tags: ['a', 'b'], data: [1, 2] })", ""),
    ("db.from('clients').insert(row)", "?"),
    ("db.from('filled').insert({ id: 1 })", "?"),
    ("db.from('clients').upsert({ phone: value, company_id: 1 }, { onConflict: 'phone' })", ""),
    (
        "db.from('clients').upsert({ phone: value, company_id: 1 }, { onConflict: 'phone,company_id' })",
        "42P10",
    ),
    ("db.from('clients').upsert({ phone: value, company_id: 1 }, { onConflict: 'company_id' })", "42P10"),
    ("db.from('clients').upsert({ phone: value, visits: 1 }, { onConflict: 'phone' })", "23502"),
    ("db.from('clients').update({ name: value }).eq('id', 1).select('id').single()", ""),
    ("db.from('clients').update({ company_id: null }).eq('id', 1)", "23502"),
    ("db.from('clients').update({ visits: true }).eq('id', 1)", "22P02"),
    ("db.from('clients').delete().lt('born', value)", ""),
    ("db.from('clients').delete().lt('surname', value)", "42703"),
    ("db.from('clients').select('*', { count: 'exact', head: true }).eq('surname', 1)", "42703"),
    ("db.rpc('count_visits', { client: value })", ""),
    ("db.rpc('count_visits', { client: value, until: value })", "PGRST202"),
    ("db.rpc('count_visits', { client: 'x' })", "22P02"),
    ("db.rpc('missing')", "PGRST202"),
    ("db.from(value).select('*')", "?"),
    ("db.schema('other').from('clients').select('surname')", "?"),
]


@pytest.mark.parametrize("login", ["reader", "owner"])
def test_every_call_gets_its_verdict_and_nothing_is_written(
    stocked: Database, server: PostgresServer, tmp_path: Path, login: str
) -> None:
    chains = chains_of(tmp_path, *(call for call, _ in VERDICTS))
    seen: list[Proof] = []
    stocked.mark_log()
    with traces.without_autovacuum(server):
        left = traces.left_by(
            stocked, lambda: seen.append(proven(stocked, chains, readonly=login == "reader"))
        )
    assert left == set()
    assert stocked.ddl_log() == []
    found = {}
    for (call, _), verdict in zip(VERDICTS, seen[-1].verdicts, strict=True):
        codes = sorted({problem.code for problem in verdict.problems})
        found[call] = {RUNS: "", UNKNOWN: "?", FAILS: ",".join(codes)}[verdict.outcome]
    assert found == dict(VERDICTS)


def test_executing_a_call_would_be_found(stocked: Database, server: PostgresServer) -> None:
    """The control of the traces: what the proof only plans does leave some when it is executed."""

    def execute() -> None:
        with stocked.connect() as owner:
            owner.execute("INSERT INTO bookings VALUES (1) ON CONFLICT DO NOTHING")
            owner.execute("DELETE FROM bookings")

    with traces.without_autovacuum(server):
        assert {"next_transaction", "tuples"} <= traces.left_by(stocked, execute)


def test_all_missing_columns_are_named_with_their_calls(stocked: Database, tmp_path: Path) -> None:
    chains = chains_of(
        tmp_path,
        "db.from('clients').select('one, two').eq('three', value)",
        "db.from('clients').insert({ one: 1, phone: value, company_id: 2 })",
    )
    proof = proven(stocked, chains)
    lacks = {lack.name: lack.calls for lack in proof.lacks}
    assert lacks == {
        "one": ("src/calls.js:4", "src/calls.js:5"),
        "two": ("src/calls.js:4",),
        "three": ("src/calls.js:4",),
    }
    assert {(lack.table, lack.kind, lack.code) for lack in proof.lacks} == {("clients", "column", "42703")}


def test_a_missing_unique_key_is_named_by_its_columns(stocked: Database, tmp_path: Path) -> None:
    call = "db.from('clients').upsert({ phone: value, company_id: 1 }, { onConflict: 'phone,company_id' })"
    (lack,) = proven(stocked, chains_of(tmp_path, call)).lacks
    assert (lack.kind, lack.name) == ("unique key", "phone,company_id")
    assert lack.reason == "table clients has no unique key of exactly phone,company_id"


def test_the_gate_says_how_many_calls_would_fail(stocked: Database, tmp_path: Path) -> None:
    chains = chains_of(
        tmp_path,
        "db.from('nowhere').select('*')",
        "db.from('clients').select('id')",
        "db.from(value).select()",
    )
    proof = proven(stocked, chains)
    sentence = "1 of 3 calls of the code would fail on this schema; of 1 it is not known."
    assert proof.sentence == sentence
    with pytest.raises(CallsWouldFail, match=r"42P01 there is no table nowhere: src/calls\.js:4"):
        gate(proof, "missing")
    gate(proof, "none")
    gate(proven(stocked, chains[1:]), "missing")
    with pytest.raises(ValueError, match="audit_fail_on"):
        gate(proof, "sometimes")


def test_calls_of_tests_do_not_count(stocked: Database, tmp_path: Path) -> None:
    chains = chains_of(tmp_path, "db.from('nowhere').select('*')", test=True)
    proof = proven(stocked, chains)
    assert proof.sentence == "0 of 0 calls of the code would fail on this schema."
    assert proof.verdicts[0].outcome == FAILS
    assert proof.lacks == ()
    assert proposal(LiveSchema("public"), chains, proof.verdicts).endswith("-- Nothing is missing.\n")
    gate(proof, "missing")


def test_what_is_proposed_turns_the_proof_green(stocked: Database, tmp_path: Path) -> None:
    calls = [
        "db.from('reviews').insert({ id: 1, client_id: 5, stars: 4.5, shown: true, at: new Date().toISOString() })",
        "db.from('reviews').select('id, text').gt('stars', 3).order('at')",
        "db.from('clients').select('id, segment').is('blocked', true)",
        "db.from('clients').upsert({ phone: value, company_id: 1 }, { onConflict: 'phone,company_id' })",
        "db.from('reviews').upsert({ id: 1, stars: 3 }, { onConflict: 'client_id,at' })",
        "db.from('clients').update({ sources: rows.map((one) => one.id) }).eq('id', 1)",
    ]
    chains = chains_of(tmp_path, *calls)
    before = proven(stocked, chains)
    assert [verdict.outcome for verdict in before.verdicts] == [FAILS] * len(calls)
    with Session(ConnectionOptions(**stocked.options), "test", read_only=True) as session:
        proof, schema = prove(session, "public", chains)
        text = proposal(schema, chains, proof.verdicts)
    for at in range(len(calls)):
        assert f"-- src/calls.js:{at + 4}\n" in text
    with stocked.connect() as owner:
        owner.execute(text.encode())
    after = proven(stocked, chains)
    assert [verdict.problems for verdict in after.verdicts] == [()] * len(calls)
    with Session(ConnectionOptions(**stocked.options), "test", read_only=True) as session:
        proof, schema = prove(session, "public", chains)
        assert proposal(schema, chains, proof.verdicts).endswith("-- Nothing is missing.\n")


def test_what_cannot_be_proposed_is_a_comment(stocked: Database, tmp_path: Path) -> None:
    chains = chains_of(tmp_path, "db.rpc('missing', { a: 1 })", "db.from('clients').insert({ phone: 'x' })")
    with Session(ConnectionOptions(**stocked.options), "test", read_only=True) as session:
        proof, schema = prove(session, "public", chains)
    text = proposal(schema, chains, proof.verdicts)
    assert all(line.startswith("--") for line in text.splitlines() if line)
    assert "-- PGRST202: there is no function missing that takes a" in text
    assert "-- 23502: clients.company_id is NOT NULL, has no default, and is not given" in text


def test_hostile_names_stay_names(stocked: Database, tmp_path: Path) -> None:
    """Names and values of the code go into SQL; none of them ends what it stands in."""
    chains = chains_of(
        tmp_path,
        """db.from('cl"; DROP TABLE clients; --').select('*')""",
        """db.from('clients').select('id').eq('na"me', "it's $loop0$ $items0$")""",
        """db.from('clients').select('id').eq('name', "it's $loop0$ $items0$ {tag} {items} {proven} \\\\' --")""",
        """db.from('new\\nDROP TABLE clients; --').insert({ 'a" int); DROP TABLE clients; --': 1 })""",
    )
    with Session(ConnectionOptions(**stocked.options), "test", read_only=True) as session:
        proof, schema = prove(session, "public", chains)
    assert [verdict.outcome for verdict in proof.verdicts] == [FAILS, FAILS, RUNS, FAILS]
    with stocked.connect() as owner:
        owner.execute(proposal(schema, chains, proof.verdicts).encode())
        assert owner.execute("SELECT to_regclass('clients') IS NOT NULL").fetchone() == (True,)


def test_a_lock_that_is_not_had_is_no_verdict(stocked: Database) -> None:
    statement = Statement("SELECT 1 FROM clients")
    with stocked.connect(autocommit=False) as owner:
        owner.execute("LOCK TABLE clients")
        options = ConnectionOptions(**stocked.readonly_options)
        with Session(options, "test", read_only=True, lock_timeout_ms=50) as session:
            failures = try_all(session, "public", [statement])
            assert failures[statement].sqlstate == "55P03"


def test_no_lock_of_planning_outlives_its_statement(stocked: Database) -> None:
    held = (
        "SELECT {} EXISTS (SELECT FROM pg_locks WHERE pid = pg_backend_pid() AND mode = 'RowExclusiveLock')"
    )
    statements = [
        Statement("DELETE FROM clients"),
        Statement(held.format("NOT"), check=True),
        # The control: the look at the locks does see what is there.
        Statement(held.format(""), check=True),
    ]
    with Session(ConnectionOptions(**stocked.options), "test", read_only=True) as session:
        failures = try_all(session, "public", statements)
    assert list(failures) == statements[2:]


def test_planning_a_call_does_not_execute_a_function(stocked: Database, tmp_path: Path) -> None:
    with stocked.connect() as owner:
        owner.execute(
            "CREATE FUNCTION loud(a integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS"
            " 'BEGIN RAISE EXCEPTION ''executed''; END'"
        )
    proof = proven(stocked, chains_of(tmp_path, "db.rpc('loud', { a: 1 })"))
    assert proof.verdicts[0].outcome == RUNS


@pytest.fixture
def connection_arguments(stocked: Database) -> Iterator[dict[str, Any]]:
    with stocked.connect() as owner:
        owner.execute("SELECT 1")
    yield dict(stocked.readonly_options)


def test_the_module_fails_only_when_it_is_a_gate(
    connection_arguments: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chains = [
        to_json(chain)
        for chain in chains_of(tmp_path, "db.from('nowhere').select('*')", "db.from('clients').select('id')")
    ]
    arguments = {**connection_arguments, "chains": chains}
    result = module_run.run("query_proof", capsys, check=True, **arguments)
    assert result["sentence"] == "1 of 2 calls of the code would fail on this schema."
    assert [verdict["outcome"] for verdict in result["verdicts"]] == [FAILS, RUNS]
    assert 'CREATE TABLE "public"."nowhere"' in result["proposal"]
    assert not result["changed"]
    assert module_run.documented("query_proof") <= set(result)
    failed = module_run.run("query_proof", capsys, **arguments, fail_on="missing")
    assert failed["failed"]
    assert failed["msg"].startswith("1 of 2 calls of the code would fail on this schema.")
    assert failed["verdicts"] == result["verdicts"]


def test_a_session_that_may_write_is_not_needed(stocked: Database) -> None:
    """The control: the login of the tests above may really only read."""
    with stocked.connect_readonly() as reader:
        reader.execute("SET default_transaction_read_only = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("INSERT INTO bookings VALUES (1)")
