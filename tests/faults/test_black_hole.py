"""The network swallows everything, without an end of the connection: bounded waits on both sides."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.rollout import connection
from ansible.module_utils.rollout.errors import ConnectionFailed

from sandbox.databases import Database
from sandbox.proxy import TcpProxy
from tests.migration_folders import write_migration
from tests.runner import Runner
from tests.waiting import until, until_gone, until_somebody_waits_for


def test_connecting_gives_up_and_names_what_to_look_at(
    plain_options: dict[str, Any], proxy: TcpProxy
) -> None:
    proxy.black_hole()
    began = time.monotonic()
    with pytest.raises(ConnectionFailed) as failed:
        Runner({**plain_options, "connect_timeout": 2}).rehearse()
    assert time.monotonic() - began < 5
    assert f"localhost:{proxy.port}" in str(failed.value)
    assert "Look at pg_host, pg_port and the firewall" in str(failed.value)


def test_a_server_that_hears_nothing_more_frees_the_locks(
    database: Database,
    plain_options: dict[str, Any],
    proxy: TcpProxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The statements arrived, the answers do not: the transaction would stay open, with its locks, for ever."""
    monkeypatch.setattr(connection, "_IDLE_IN_TRANSACTION_MS", 1_000)
    with database.connect() as owner:
        owner.execute("CREATE TABLE prices (id integer PRIMARY KEY)")
    folder = tmp_path / "migrations"
    write_migration(
        folder,
        "0001",
        "offers",
        "CREATE TABLE {{ schema }}.offers (id integer REFERENCES {{ schema }}.prices (id));\n",
        existing_tables=["prices"],
    )
    failures: list[ConnectionFailed] = []

    def run() -> None:
        try:
            Runner(plain_options, folder, lock_timeout_ms=60_000).apply()
        except ConnectionFailed as failure:
            failures.append(failure)

    running = threading.Thread(target=run)
    with database.connect(autocommit=False) as application, database.connect() as witness:
        application.execute("INSERT INTO prices VALUES (1)")
        running.start()
        backend = until_somebody_waits_for("prices", witness)
        proxy.black_hole()
        application.commit()
        state = "SELECT state FROM pg_stat_activity WHERE pid = %s"
        until(
            lambda: witness.execute(state, [backend]).fetchone() == ("idle in transaction",),
            "the server did not carry out what had arrived",
        )
        until_gone(backend, witness)
        assert running.is_alive(), "the runner still waits for its answer"
        assert Runner(database.options, folder).apply().states == ["absent"], (
            "another runner need not wait for it"
        )
    proxy.restore()
    running.join()
    assert len(failures) == 1


def test_both_sides_give_up_by_themselves(database: Database) -> None:
    """The real limits: the test above shortens one of them, and no test can wait for the others."""
    with Runner(database.options).open() as session:
        ((limit,),) = session.run(["SHOW idle_in_transaction_session_timeout"])[0]
        client = session._connection.info.get_parameters()
    assert limit == "1min"
    assert 0 < int(client["tcp_user_timeout"]) <= 60_000
    silence = int(client["keepalives_idle"])
    silence += int(client["keepalives_interval"]) * int(client["keepalives_count"])
    assert 0 < silence <= 60
