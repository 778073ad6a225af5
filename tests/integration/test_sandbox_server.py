"""The life of the sandbox's server, with what may go wrong in it; each test has a server of its own."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from sandbox.__main__ import EXIT_NOT_RUNNING, main
from sandbox.errors import SandboxError
from sandbox.server import ADDRESS, PostgresServer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="sandbox life "))  # a path with spaces must do
    yield folder / "run"
    PostgresServer(folder / "run").stop()
    shutil.rmtree(folder)


def sandbox(command: str, home: Path) -> int:
    return main([command, "--home", str(home)])


def contents(home: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in home.iterdir()
        if path.is_file() and path.name not in {"server.log", "pg_ctl.out"}
    }


def test_up_twice_down_twice(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sandbox("status", home) == EXIT_NOT_RUNNING
    assert not home.exists(), "asking for the status must not make anything"
    assert sandbox("down", home) == 0
    assert "was not running" in capsys.readouterr().out

    assert sandbox("up", home) == 0
    first = capsys.readouterr().out
    assert "started" in first and "psql service=sandbox " in first
    server = PostgresServer(home)
    pid, files, logged = server.pid, contents(home), server.log.read_text()

    assert sandbox("up", home) == 0
    assert "already running" in capsys.readouterr().out
    assert (server.pid, contents(home)) == (pid, files)
    assert server.log.read_text() == logged, "the second call must send no DDL"
    assert sandbox("status", home) == 0

    port = server.port
    assert sandbox("down", home) == 0
    assert "stopped" in capsys.readouterr().out
    assert sandbox("down", home) == 0
    assert "was not running" in capsys.readouterr().out
    assert sandbox("status", home) == EXIT_NOT_RUNNING
    with pytest.raises(psycopg.OperationalError):
        server.connect()

    assert sandbox("up", home) == 0
    assert server.port == port
    assert contents(home) == files


def test_services_and_files_keep_the_passwords_secret(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sandbox("up", home)
    server = PostgresServer(home)
    shown = capsys.readouterr().out + "".join(
        path.read_text() for path in home.iterdir() if path.is_file() and path.name != "pgpass"
    )
    for role in ("postgres", "gen_user", "auditor"):
        assert server.options(role, "default_db")["password"] not in shown
    for name in ("pgpass", "server.log", *(["server.key"] if server.has_tls else [])):
        assert stat.S_IMODE((home / name).stat().st_mode) == 0o600, name
    environment = {"PATH": os.environ["PATH"], "PGSERVICEFILE": str(home / "pg_service.conf")}
    for service, expected in (
        ("sandbox", "gen_user|default_db|f"),
        ("sandbox_admin", "postgres|default_db|t"),
        ("sandbox_readonly", "auditor|default_db|f"),
    ):
        answer = subprocess.run(
            [
                server.binaries.program("psql"),
                f"service={service}",
                "--no-psqlrc",
                "--tuples-only",
                "--no-align",
                "--command",
                "SELECT usename, current_database(), usesuper FROM pg_user WHERE usename = current_user",
            ],
            capture_output=True,
            text=True,
            env=environment,
            check=True,
        )
        assert answer.stdout.strip() == expected


def test_without_tls_or_password_nobody_comes_in(home: Path) -> None:
    sandbox("up", home)
    server = PostgresServer(home)
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        server.connect(password=None, passfile="/dev/null")
    if server.has_tls:
        with pytest.raises(psycopg.OperationalError, match="no encryption"):
            server.connect(sslmode="disable", sslrootcert=None)
    with server.connect() as admin:
        methods = admin.execute("SELECT DISTINCT type, auth_method FROM pg_hba_file_rules").fetchall()
    assert methods == [("hostssl" if server.has_tls else "host", "scram-sha-256")]


def test_up_right_after_the_main_process_was_killed(home: Path) -> None:
    """Without waiting for its death: the dying process must not be taken for a running server."""
    server = PostgresServer(home)
    server.start()
    for _ in range(5):
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        assert server.start() is True
        server.connect().close()


def test_up_while_a_child_of_a_killed_server_works_on(home: Path) -> None:
    server = PostgresServer(home)
    server.start()
    with server.connect() as busy, server.connect() as witness:
        # A child that computes does not notice that the main process is gone.
        failures: list[psycopg.Error] = []
        statement = threading.Thread(target=_endless_statement, args=(busy, failures))
        statement.start()
        wait_for_sql(
            witness,
            "SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%1e9%' AND pid <> pg_backend_pid()",
        )
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        assert sandbox("up", home) == 0
        statement.join()
        assert len(failures) == 1
    with server.connect() as admin:
        assert admin.execute("SELECT 1").fetchone() == (1,)


def _endless_statement(connection: psycopg.Connection, failures: list[psycopg.Error]) -> None:
    try:
        connection.execute("SELECT sum(n) FROM generate_series(1, 1e9) n")
    except psycopg.OperationalError as error:
        failures.append(error)


def wait_for_sql(connection: psycopg.Connection, condition: str) -> None:
    deadline = time.monotonic() + 10
    while connection.execute(condition).fetchone() != (True,):
        assert time.monotonic() < deadline, condition
        time.sleep(0.02)


def test_up_after_it_was_killed_between_start_and_database(home: Path) -> None:
    """SIGKILL at moments spread over the whole of a first call; the next call ends it well each time."""
    for delay_s in (0.7, 1.0, 1.3):
        up = subprocess.Popen(
            [sys.executable, "-m", "sandbox", "up", "--home", str(home)], cwd=ROOT, stdout=subprocess.DEVNULL
        )
        time.sleep(delay_s)
        up.kill()
        up.wait()
        assert sandbox("up", home) == 0, delay_s
        server = PostgresServer(home)
        with server.connect("gen_user", "default_db") as owner:
            assert owner.execute("SELECT count(*) FROM whatsapp_keys").fetchone() == (200,)
        server.stop()
        shutil.rmtree(home)


def test_up_when_the_pid_file_names_a_foreign_process(home: Path) -> None:
    server = PostgresServer(home)
    server.start()
    pid_file = server.data / "postmaster.pid"
    text = pid_file.read_text()
    server.stop()
    with subprocess.Popen(["sleep", "60"]) as stranger:
        pid_file.write_text(text.replace(text.split("\n", 1)[0], str(stranger.pid), 1))
        assert not server.is_running()
        assert server.stop() is False
        assert server.start() is True
        assert stranger.poll() is None, "the foreign process must not be touched"
        stranger.terminate()


def test_up_after_an_interrupted_initdb(home: Path) -> None:
    up = subprocess.Popen([sys.executable, "-m", "sandbox", "up", "--home", str(home)], cwd=ROOT)
    partial = home / "data.partial"
    deadline = time.monotonic() + 30
    while not (partial / "base").exists():
        assert time.monotonic() < deadline
        time.sleep(0.002)
    up.kill()
    up.wait()
    assert not (home / "data").exists()
    # initdb may still be running: the next call waits for it instead of working against it.
    assert sandbox("up", home) == 0
    assert not partial.exists()
    assert not (home / "initial-password").exists()


def test_up_after_an_interruption_before_the_database_was_filled(home: Path) -> None:
    server = PostgresServer(home)
    server.start()
    assert sandbox("up", home) == 0
    with server.connect("gen_user", "default_db") as owner:
        assert owner.execute("SELECT count(*) FROM whatsapp_keys").fetchone() == (200,)


def test_two_calls_at_once(home: Path) -> None:
    command = [sys.executable, "-m", "sandbox", "up", "--home", str(home)]
    calls = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [call.communicate(timeout=60) for call in calls]
    assert [call.returncode for call in calls] == [0, 0], outputs
    assert sorted("already running" in out for out, _ in outputs) == [False, True]


def test_an_occupied_port_is_replaced(home: Path) -> None:
    server = PostgresServer(home)
    server.start()
    port = server.port
    server.stop()
    with socket.socket() as occupant:
        occupant.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        occupant.bind((ADDRESS, port))
        occupant.listen()
        assert sandbox("up", home) == 0
    assert server.port != port
    assert f"port={server.port}\n" in (home / "pg_service.conf").read_text()


def test_a_server_that_cannot_start_says_why(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = PostgresServer(home)
    server.create()
    (server.data / "postgresql.auto.conf").write_text("no_such_setting = 1\n")
    assert sandbox("up", home) == 1
    assert "no_such_setting" in capsys.readouterr().err


def test_an_open_passfile_is_refused(home: Path) -> None:
    server = PostgresServer(home)
    server.create()
    server.passfile.chmod(0o644)
    with pytest.raises(SandboxError, match="chmod 0600"):
        server.start()


def test_logs_who_did_what(home: Path) -> None:
    sandbox("up", home)
    server = PostgresServer(home)
    with server.connect("gen_user", "default_db", application_name="rollout/42") as owner:
        owner.execute("CREATE TABLE anything (id integer)")
        owner.execute("INSERT INTO anything VALUES (1)")
    with server.connect() as admin:
        settings: dict[str, str] = dict(
            admin.execute(
                "SELECT name, setting FROM pg_settings WHERE name IN ('TimeZone', 'lc_messages', 'log_lock_waits', "
                "'track_commit_timestamp', 'unix_socket_directories', 'listen_addresses', 'fsync')"
            ).fetchall()
        )
    log = server.log.read_text()
    assert "app=rollout/42 user=gen_user db=default_db LOG:  statement: CREATE TABLE anything" in log
    assert "INSERT INTO anything" not in log
    assert settings == {
        "TimeZone": "UTC",
        "lc_messages": "C",
        "log_lock_waits": "on",
        "track_commit_timestamp": "off",
        "listen_addresses": ADDRESS,
        "unix_socket_directories": "",
        "fsync": "on",
    }
