"""The recorded calls of tests/fixtures/postgrest: what supabase-js sent, what PostgREST answered, and the chains."""

from __future__ import annotations

import json
import re
import shutil
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ansible.module_utils.rollout.audit.chain import Chain, Literal, Parameter, Value
from ansible.module_utils.rollout.audit.extraction import audit
from ansible.module_utils.rollout.audit.sources import Folder
from psycopg import sql

from sandbox.credentials import OWNER
from sandbox.server import PostgresServer, random_name
from tests.postgrest_recording import FOLDER, RECORDED, load_schema

CALLS = FOLDER / "calls.mjs"


@dataclass(frozen=True)
class Recorded:
    """One call of calls.mjs.

    :ivar chain: what the audit reads there
    :ivar request: what supabase-js sent
    :ivar answer: data, error and count as supabase-js gave them, and the changes of rows
    """

    name: str
    chain: Chain
    request: Mapping[str, Any]
    arguments: Mapping[str, Any]
    answer: Mapping[str, Any]

    @property
    def code(self) -> str:
        """Of the error that was answered; empty for none."""
        return self.answer["error"]["code"] if self.answer["error"] else ""

    @property
    def columns(self) -> list[str]:
        """Keys of a list of rows, as supabase-js named them."""
        query = urllib.parse.urlsplit(self.request["path"]).query
        found = re.search(r"columns=([^&]+)", query)
        return [name.strip('"') for name in found[1].split(",")] if found else []

    def value(self, value: Value) -> Any:
        """What a value of the chain was when the call was recorded; ``None`` also for undefined."""
        if isinstance(value, Literal):
            return list(value.value) if isinstance(value.value, tuple) else value.value
        if not isinstance(value, Parameter):
            raise TypeError(f"{self.name}: {value}")
        given = self.arguments.get(value.name)
        return str(given).join(value.template) if value.template else given

    def is_undefined(self, value: Value) -> bool:
        return isinstance(value, Parameter) and value.name not in self.arguments


def max_rows() -> int:
    """PostgREST's db-max-rows when the calls were recorded."""
    limit: int = json.loads(RECORDED.read_text(encoding="utf-8"))["max_rows"]
    return limit


@cache
def recorded_calls() -> tuple[Recorded, ...]:
    """All of them, each with the one chain that the audit finds on its line."""
    answers = json.loads(RECORDED.read_text(encoding="utf-8"))["calls"]
    with TemporaryDirectory() as folder:
        shutil.copyfile(CALLS, Path(folder) / CALLS.name)
        chains = {chain.line: chain for chain in audit(Folder(Path(folder))).chains}
    lines = [
        number
        for number, line in enumerate(CALLS.read_text(encoding="utf-8").splitlines(), 1)
        if line.startswith("  ['")
    ]
    assert len(lines) == len(answers)
    return tuple(
        Recorded(answer["name"], chains[line], answer["request"], answer["arguments"], answer)
        for line, answer in zip(lines, answers, strict=True)
    )


@contextmanager
def recorded_database(server: PostgresServer) -> Iterator[str]:
    """A database with the schema that the calls were recorded on; gives its name, drops it afterwards."""
    name = random_name("recorded")
    with server.connect() as admin:
        admin.execute(
            sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(OWNER))
        )
    try:
        with server.connect(OWNER, name) as owner:
            load_schema(owner)
        yield name
    finally:
        with server.connect() as admin:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
