"""A generated library running in Node beside a test."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sandbox.credentials import OWNER
from sandbox.node import Node, find_node
from sandbox.packages import ensure_packages
from sandbox.ports import ADDRESS
from sandbox.server import PostgresServer

REPLAY = Path(__file__).resolve().parent / "fixtures/postgrest/replay.mjs"


def place_library(folder: Path, text: str) -> Node:
    """Write a library where Node finds pg beside it; the packages are those of the sandbox's application."""
    node = find_node()
    (folder / "library.cjs").write_text(text, encoding="utf-8")
    (folder / "node_modules").symlink_to(ensure_packages(node))
    return node


def environment(server: PostgresServer, dbname: str, role: str = OWNER) -> dict[str, str]:
    """Variables with which pg reaches a database; the password is read from a file."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return kept | {
        "PGHOST": ADDRESS,
        "PGPORT": str(server.port),
        "PGDATABASE": dbname,
        "PGUSER": role,
        "PGPASSFILE": str(server.passfile),
    }


class RunningLibrary:
    """Calls one function after the other."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def call(self, function: str, arguments: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        """What a function resolves to.

        :param more: ``payload`` and ``columns`` of a mutation
        """
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("no pipes to replay.mjs")
        self._process.stdin.write(json.dumps({"function": function, "arguments": arguments, **more}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"replay.mjs ended in {function}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def running_library(
    folder: Path, text: str, server: PostgresServer, dbname: str, role: str = OWNER
) -> Iterator[RunningLibrary]:
    """A library in a process of its own, until the end of the block."""
    node = place_library(folder, text)
    with subprocess.Popen(
        [node.program, REPLAY],
        cwd=folder,
        env=environment(server, dbname, role),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield RunningLibrary(process)
        if process.stdin is not None:
            process.stdin.close()
