"""The table of contents of a ``pg_dump`` archive: read from ``pg_restore --list``, and compared with the catalog.

A line is ``dump id; catalog oid, object oid, kind, schema or -, name, owner`` (pg_backup_archiver.c, PrintTOCSummary).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from ansible.module_utils.rollout.catalog import Entry

#: Kinds with more than one word; the others have one.
_LONG_KINDS = (
    "ACCESS METHOD", "BLOB COMMENTS", "BLOB METADATA", "CHECK CONSTRAINT", "DATABASE PROPERTIES", "DEFAULT ACL",
    "EVENT TRIGGER", "FK CONSTRAINT", "FOREIGN DATA WRAPPER", "FOREIGN SERVER", "FOREIGN TABLE", "INDEX ATTACH",
    "LARGE OBJECT", "MATERIALIZED VIEW DATA", "MATERIALIZED VIEW", "OPERATOR CLASS", "OPERATOR FAMILY",
    "PROCEDURAL LANGUAGE", "PUBLICATION TABLES IN SCHEMA", "PUBLICATION TABLE", "ROW SECURITY", "SECURITY LABEL",
    "SEQUENCE OWNED BY", "SEQUENCE SET", "SHELL TYPE", "STATISTICS DATA", "SUBSCRIPTION TABLE", "TABLE ATTACH",
    "TABLE DATA", "TEXT SEARCH CONFIGURATION", "TEXT SEARCH DICTIONARY", "TEXT SEARCH PARSER", "TEXT SEARCH TEMPLATE",
    "USER MAPPING",
)  # fmt: skip
_LINE = re.compile(r"^(?P<id>\d+); \d+ \d+ (?P<kind>" + "|".join(_LONG_KINDS) + r"|\S+) (?P<text>.*)$")
_DEPENDS = re.compile(r"^;\s+depends on: (?P<ids>[\d ]+)$")
_HEADER = re.compile(
    r"^;\s+(?P<name>dbname|Dumped from database version|Dumped by pg_dump version): (?P<value>.*)$"
)
#: What belongs to the server or reaches out of the database: a scratch target gets none of it.
_NOT_IN_SCRATCH = (
    "EVENT TRIGGER", "EXTENSION", "FOREIGN DATA WRAPPER", "FOREIGN SERVER", "PROCEDURAL LANGUAGE", "PUBLICATION",
    "PUBLICATION TABLE", "PUBLICATION TABLES IN SCHEMA", "SUBSCRIPTION", "SUBSCRIPTION TABLE", "USER MAPPING",
)  # fmt: skip
#: How an archive calls what the catalog reading calls by the first word of an entry's name.
_KINDS = {"table": "TABLE", "view": "VIEW", "sequence": "SEQUENCE"}


@dataclass(frozen=True)
class Item:
    """One entry.

    :ivar schema: ``-`` for what is in none
    :ivar rest: name and owner; the name may hold spaces
    :ivar line: as it was listed, for ``pg_restore --use-list``
    :ivar depends: dump ids of what has to be there before
    """

    id: int
    kind: str
    schema: str
    rest: str
    line: str
    depends: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """The name without the owner; right unless the owner's name holds a space."""
        return self.rest.rpartition(" ")[0]

    @property
    def owner(self) -> str:
        return self.rest.rpartition(" ")[2]


@dataclass(frozen=True)
class Archive:
    """A dump's table of contents.

    :ivar database: the name of the database that was dumped
    :ivar server_version: of that server
    :ivar program_version: of pg_dump
    """

    database: str
    server_version: str
    program_version: str
    items: tuple[Item, ...]


def parse(listing: str, schemas: Collection[str]) -> Archive:
    """Read the answer of ``pg_restore --list --verbose``.

    :param schemas: names of the schemas, because one that holds a space cannot be told from the text alone
    """
    longest_first = sorted(schemas, key=len, reverse=True)
    header: dict[str, str] = {}
    items: list[Item] = []
    for line in listing.splitlines():
        told = _HEADER.match(line)
        depends = _DEPENDS.match(line)
        entry = _LINE.match(line)
        if told:
            header[told["name"]] = told["value"].strip()
        elif depends and items:
            last = items[-1]
            ids = tuple(int(number) for number in depends["ids"].split())
            items[-1] = Item(last.id, last.kind, last.schema, last.rest, last.line, last.depends + ids)
        elif entry:
            text = entry["text"]
            known = next((schema for schema in longest_first if text.startswith(f"{schema} ")), None)
            schema = text.partition(" ")[0] if known is None else known
            items.append(Item(int(entry["id"]), entry["kind"], schema, text[len(schema) + 1 :], line))
    return Archive(
        database=header.get("dbname", ""),
        server_version=header.get("Dumped from database version", ""),
        program_version=header.get("Dumped by pg_dump version", ""),
        items=tuple(items),
    )


def for_scratch(archive: Archive, schemas: Collection[str]) -> list[str]:
    """The lines to restore into a scratch target: everything that lies in schemas, and nothing of the server's.

    :param schemas: schemas that the target has already
    """
    return [
        item.line
        for item in archive.items
        if item.kind not in _NOT_IN_SCRATCH
        and not (item.kind == "SCHEMA" and item.name in schemas)
        and not (
            item.kind in ("COMMENT", "SECURITY LABEL")
            and item.schema == "-"
            and (item.rest.startswith("SCHEMA public ") or item.rest.startswith(_NOT_IN_SCRATCH))
        )
    ]


def lacking(
    archive: Archive,
    catalogs: Mapping[str, Mapping[str, Entry]],
    with_rows: Iterable[tuple[str, str]],
) -> list[str]:
    """What the catalog has and the archive does not, or not with the same owner; empty when it is complete.

    :param catalogs: schema -> entries of the catalog reading
    :param with_rows: schema and name of the tables whose rows must be in it
    """
    listed = {(item.kind, item.schema, item.rest) for item in archive.items}
    functions = Counter(
        (item.schema, item.rest.partition("(")[0])
        for item in archive.items
        if item.kind in ("FUNCTION", "PROCEDURE", "AGGREGATE")
    )
    lines = []
    for schema, entries in catalogs.items():
        wanted = Counter(name[9:].partition("(")[0] for name in entries if name.startswith("function "))
        lines += [
            f"function {name} in schema {schema}: {count} in the catalog, {functions[schema, name]} in the dump"
            for name, count in sorted(wanted.items())
            if functions[schema, name] < count
        ]
        for name, entry in sorted(entries.items()):
            kind = _KINDS.get(name.partition(" ")[0])
            if kind is None:
                continue
            if kind == "VIEW" and entry.get("materialized"):
                kind = "MATERIALIZED VIEW"
            owned = f"{name.partition(' ')[2]} {entry['owner']}"
            if (kind, schema, owned) not in listed:
                lines.append(f"{name} of {entry['owner']} in schema {schema} is not in the dump")
            plain = name.partition(" ")[2]
            quoted = '"' + plain.replace('"', '""') + '"'
            word = "SEQUENCE" if kind == "SEQUENCE" else "TABLE"
            # Here the archive quotes a name as SQL does, where it has to.
            granted = {("ACL", schema, f"{word} {text} {entry['owner']}") for text in (plain, quoted)}
            if entry.get("grants") and not granted & listed:
                lines.append(f"the grants on {name} in schema {schema} are not in the dump")
    for schema, table in with_rows:
        owner = catalogs[schema][f"table {table}"]["owner"]
        if ("TABLE DATA", schema, f"{table} {owner}") not in listed:
            lines.append(f"the rows of {table} in schema {schema} are not in the dump")
    return lines
