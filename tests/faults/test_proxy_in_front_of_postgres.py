"""The proxy's distance and faults as PostgreSQL and its clients feel them."""

import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from sandbox.databases import Database
from sandbox.proxy import TcpProxy

STATEMENTS = 20
ROUND_TRIP_S = 0.030


def test_pipelined_statements_pay_one_round_trip(
    database: Database, make_proxy: Callable[..., TcpProxy]
) -> None:
    proxy = make_proxy(round_trip_ms=ROUND_TRIP_S * 1000)
    with database.connect(port=proxy.port) as connection:
        connection.execute("SELECT 1")
        started = time.perf_counter()
        for _ in range(STATEMENTS):
            connection.execute("SELECT 1")
        one_by_one = time.perf_counter() - started
        before = proxy.round_trips
        started = time.perf_counter()
        with connection.pipeline():
            for _ in range(STATEMENTS):
                connection.execute("SELECT 1")
        pipelined = time.perf_counter() - started
        assert proxy.round_trips - before <= 3
    assert STATEMENTS * ROUND_TRIP_S <= one_by_one < 2 * STATEMENTS * ROUND_TRIP_S
    assert ROUND_TRIP_S <= pipelined < 5 * ROUND_TRIP_S


def test_a_lost_answer_to_commit_leaves_a_committed_transaction(
    database: Database, proxy: TcpProxy, plain_options: dict[str, Any]
) -> None:
    with psycopg.connect(**plain_options) as runner:
        runner.execute("CREATE TABLE kept (id integer)")
        (xid,) = runner.execute("SELECT pg_current_xact_id()::text").fetchone() or ("",)
        proxy.drop_replies_when(b"COMMIT")
        with pytest.raises(psycopg.OperationalError):
            runner.commit()
        assert runner.broken
    with database.connect() as witness:
        assert witness.execute("SELECT pg_xact_status(%s::xid8)", [xid]).fetchone() == ("committed",)
        assert witness.execute("SELECT to_regclass('kept')::text").fetchone() == ("kept",)


def test_a_cut_before_commit_leaves_nothing(
    database: Database, proxy: TcpProxy, plain_options: dict[str, Any]
) -> None:
    runner = psycopg.connect(**plain_options)
    runner.execute("CREATE TABLE lost (id integer)")
    (xid,) = runner.execute("SELECT pg_current_xact_id()::text").fetchone() or ("",)
    proxy.cut()
    with pytest.raises(psycopg.OperationalError):
        runner.commit()
    with database.connect() as witness:
        deadline = time.monotonic() + 5
        while witness.execute("SELECT pg_xact_status(%s::xid8)", [xid]).fetchone() == ("in progress",):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert witness.execute("SELECT pg_xact_status(%s::xid8)", [xid]).fetchone() == ("aborted",)
        assert witness.execute("SELECT to_regclass('lost')").fetchone() == (None,)


def test_a_black_hole_hangs_until_the_client_gives_up(proxy: TcpProxy, plain_options: dict[str, Any]) -> None:
    with psycopg.connect(**plain_options, autocommit=True) as runner:
        runner.execute("SELECT 1")
        proxy.black_hole()
        with pytest.raises(psycopg.OperationalError, match="timeout"):
            psycopg.connect(**plain_options, connect_timeout=2)
        proxy.restore()
        with pytest.raises(psycopg.OperationalError):
            runner.execute("SELECT 1")
    with psycopg.connect(**plain_options, autocommit=True) as another:
        assert another.execute("SELECT 1").fetchone() == (1,)
