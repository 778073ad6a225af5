"""The connection dies in COMMIT: the server is asked what became of the transaction, and believed."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.rollout import execution
from ansible.module_utils.rollout.connection import Session
from ansible.module_utils.rollout.errors import ConnectionFailed, RolloutError

from sandbox.databases import Database
from sandbox.proxy import TcpProxy
from tests.migration_folders import write_migration
from tests.runner import Runner

LAST_COMMANDS = 'INSERT INTO "rollout".change'


@dataclass(frozen=True)
class Cut:
    """Breaks the connection just before a session sends its ledger row and COMMIT."""

    proxy: TcpProxy
    monkeypatch: pytest.MonkeyPatch

    def before_commit(self, black_hole: bool = False) -> None:
        """From now on.

        :param black_hole: the server becomes unreachable for good; otherwise a new connection is possible
        """
        proxy, real = self.proxy, Session.run

        def run(session: Session, commands: Any) -> Any:
            sent = list(commands)
            if any(LAST_COMMANDS in str(getattr(command, "sql", command)) for command in sent):
                proxy.cut()
                if black_hole:
                    proxy.black_hole()
            return real(session, sent)

        self.monkeypatch.setattr(Session, "run", run)


@pytest.fixture
def cut(proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cut]:
    yield Cut(proxy, monkeypatch)


@pytest.fixture
def runner(plain_options: dict[str, Any], tmp_path: Path) -> Runner:
    """A runner through the proxy, over one small migration."""
    folder = tmp_path / "migrations"
    write_migration(folder, "0001", "one", "CREATE TABLE {{ schema }}.one (id integer);\n")
    return Runner({**plain_options, "connect_timeout": 2}, folder)


def test_a_committed_transaction_is_success_and_not_repeated(
    database: Database, plain_options: dict[str, Any], proxy: TcpProxy
) -> None:
    """Of the real migrations, each; the answer to both COMMITs is lost."""
    proxy.drop_replies_when(LAST_COMMANDS.encode())
    applied = Runner(plain_options).apply()
    assert [outcome.changed for outcome in applied.outcomes] == [True, True]
    for outcome in applied.outcomes:
        assert outcome.executed["commit_verdict"] == "committed, as pg_xact_status says; its answer was lost"
        assert "its answer was lost" in outcome.summary
    proxy.restore()
    database.mark_log()
    again = Runner(plain_options).apply()
    assert not again.changed
    assert again.states == ["applied", "applied"]
    assert database.ddl_log() == []


def test_an_aborted_transaction_is_a_failure_that_left_nothing(
    database: Database, runner: Runner, cut: Cut, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut.before_commit()
    with pytest.raises(ConnectionFailed) as failed:
        runner.apply()
    assert "0001_one: the connection was lost in COMMIT, and the server rolled it back" in str(failed.value)
    assert "Nothing was changed. Run again." in str(failed.value)
    monkeypatch.undo()
    with database.connect() as witness:
        assert witness.execute("SELECT to_regclass('one'), to_regnamespace('rollout')").fetchone() == (
            None,
            None,
        )
    assert runner.apply().changed
    assert not runner.apply().changed


def test_when_nobody_can_be_asked_the_outcome_is_called_unknown(
    runner: Runner, cut: Cut, proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "_VERDICT_PATIENCE_S", 1.0)
    cut.before_commit(black_hole=True)
    with pytest.raises(ConnectionFailed) as failed:
        runner.apply()
    assert "its outcome is not known" in str(failed.value)
    assert "Run again" in str(failed.value)
    assert failed.value.details["xid"].isdigit()
    monkeypatch.undo()
    proxy.restore()
    assert runner.apply().changed


def test_statements_outside_the_transaction_are_left_to_the_next_run(
    database: Database, plain_options: dict[str, Any], proxy: TcpProxy, tmp_path: Path
) -> None:
    folder = tmp_path / "migrations"
    write_migration(
        folder,
        "0001",
        "late",
        "CREATE TABLE {{ schema }}.late (id integer);\nCREATE INDEX CONCURRENTLY late_id ON {{ schema }}.late (id);\n",
    )
    proxy.drop_replies_when(LAST_COMMANDS.encode())
    runner = Runner(plain_options, folder)
    with pytest.raises(RolloutError, match="the ledger says 'unfinished' and the next run goes on there"):
        runner.apply()
    proxy.restore()
    assert runner.apply().states == ["unfinished"]
    assert "index late_id" in runner.inspect().entries
    assert not runner.apply().changed


def test_a_removal_that_was_committed_is_not_called_rolled_back(
    database: Database, runner: Runner, proxy: TcpProxy
) -> None:
    runner.apply()
    proxy.drop_replies_when(b"SET rolled_back_at")
    outcome = runner.take_back("0001")
    assert outcome.changed
    assert "its answer was lost" in outcome.summary
    proxy.restore()
    with database.connect() as witness:
        assert witness.execute("SELECT to_regclass('one')").fetchone() == (None,)
    assert not runner.take_back("0001").changed
