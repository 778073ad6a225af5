"""A migration as it travels from the control node, which reads it, to the target host, which runs it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

#: Stands in rendered SQL where the schema's name goes: the same text runs in the scratch schema and in the real one.
SCHEMA_PLACEHOLDER = "@schema@"


@dataclass(frozen=True)
class Statement:
    """One SQL statement of a migration.

    :ivar text: the statement, with :data:`SCHEMA_PLACEHOLDER` where the schema's name goes, without the semicolon
    :ivar template: the file it comes from, relative to the migration's folder
    :ivar line: the line of that file on which it begins, from 1
    :ivar kind: what PostgreSQL's parser calls it, such as ``CreateStmt``
    :ivar creates: names of what it creates, as ``"table companies"``; a name only, the shape comes from the rehearsal
    :ivar transactional: false for what PostgreSQL refuses inside a transaction block (CREATE INDEX CONCURRENTLY)
    :ivar rehearsal_text: the text to run in the scratch schema; differs only for non-transactional statements
    """

    text: str
    template: str
    line: int
    kind: str
    creates: tuple[str, ...]
    transactional: bool
    rehearsal_text: str

    @property
    def place(self) -> str:
        return f"{self.template}:{self.line}"


@dataclass(frozen=True)
class Migration:
    """A migration as it travels to the target host.

    :ivar id: the number in the folder's name; the order of a run
    :ivar checksum: SHA-256 over the tokens of the rendered SQL (comments and white space do not count)
    :ivar source_sha256: SHA-256 over the rendered text to the letter
    :ivar existing_tables: tables made by somebody else that this SQL refers to; stubs stand for them in the rehearsal
    :ivar locks: existing table -> strongest lock mode that this migration may take on it
    :ivar grows: partitioned tables to which others add partitions later
    :ivar creates: kind ("tables", "functions") -> names that the rehearsal must find created
    :ivar variables: the values it was rendered with, JSON-compatible
    """

    id: str
    name: str
    description: str
    checksum: str
    source_sha256: str
    statements: tuple[Statement, ...]
    depends: tuple[str, ...] = ()
    existing_tables: tuple[str, ...] = ()
    locks: Mapping[str, str] = field(default_factory=dict)
    grows: tuple[str, ...] = ()
    creates: Mapping[str, list[str]] = field(default_factory=dict)
    variables: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"{self.id}_{self.name}"

    def sql(self, schema: str) -> str:
        """The whole migration as a script that psql could run, for the run record.

        :param schema: name of the target schema
        """
        return "".join(f"{in_schema(statement.text, schema)};\n\n" for statement in self.statements)


def in_schema(text: str, schema: str) -> str:
    """Put a schema's name where the placeholder stands.

    Raw replacement is right inside double and single quotes alike, because ``check_identifier`` let neither kind of
    quote into the name.
    """
    return text.replace(SCHEMA_PLACEHOLDER, schema)


def dump(migrations: Iterable[Migration]) -> str:
    """Migrations as the JSON text that travels to the target host."""
    return json.dumps([asdict(migration) for migration in migrations], ensure_ascii=False)


def parse(text: str) -> list[Migration]:
    """The reverse of :func:`dump`."""
    return [_migration(body) for body in json.loads(text)]


def _migration(body: Mapping[str, Any]) -> Migration:
    # JSON knows lists only.
    statements = tuple(Statement(**{**one, "creates": tuple(one["creates"])}) for one in body["statements"])
    tuples = {name: tuple(body[name]) for name in ("depends", "existing_tables", "grows")}
    return Migration(**{**body, **tuples, "statements": statements})
