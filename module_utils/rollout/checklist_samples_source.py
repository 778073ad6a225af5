"""Reads and checks the files samples.yml beside the migrations, on the control node, before any connection."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NoReturn

import yaml
from ansible.module_utils.rollout.checklist_samples import PLACEHOLDER, Samples
from ansible.module_utils.rollout.errors import SourceError
from ansible.module_utils.rollout.migration import Migration
from ansible.module_utils.rollout.refusals import nodes
from ansible.module_utils.rollout.source import SAMPLES, load_migrations
from pglast import ast, parse_sql, parser

#: A value that is not written out: an SQL expression, a number that no real row has, JSON.
_SPECIAL = ("sql", "free", "json")
#: Numbers of ``free`` that one set of samples may use.
MOST_FREE = 200

_SECTIONS: dict[str, type] = {
    "rows": dict,
    "another": dict,
    "checks": dict,
    "triggers": dict,
    "round_trip": list,
    "calls": list,
    "access_paths": list,
    "story": list,
}


def load_samples(folder: Path, values: Mapping[str, Any]) -> list[Samples]:
    """The samples of every migration that has some, in order.

    :param folder: holds one folder a migration
    :param values: the inventory's variables by name
    :raises SourceError: anything that is not right, with file and key
    """
    found: list[Samples] = []
    known: set[str] = set()
    for migration in load_migrations(folder, values):
        file = folder / migration.label / SAMPLES
        if file.is_file():
            reader = _Reader(f"{migration.label}/{SAMPLES}", migration, known)
            found.append(reader.samples(file))
    return found


class _Reader:
    """Reads one file.

    :param known: tables that have a row; those of this file are added
    """

    def __init__(self, where: str, migration: Migration, known: set[str]) -> None:
        self._where = where
        self._migration = migration
        self._known = known

    def samples(self, file: Path) -> Samples:
        try:
            given = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, ValueError) as error:
            raise SourceError(f"{self._where} cannot be read: {error}") from None
        given = self._mapping(given, "", known=_SECTIONS)
        for section, kind in _SECTIONS.items():
            if not isinstance(given.get(section, kind()), kind):
                self._refuse(section, f"must be a {kind.__name__}, not {given[section]!r}")
        self._known.update(str(table) for table in given.get("rows", {}))
        return Samples(
            migration=self._migration.id,
            rows=self._rows("rows", given),
            another=self._rows("another", given),
            checks=self._each("checks", given, self._check),
            triggers=self._each("triggers", given, self._trigger),
            round_trip=self._list("round_trip", given, self._round_trip),
            calls=self._list("calls", given, self._call),
            access_paths=self._list("access_paths", given, self._path),
            story=self._list("story", given, self._step),
        )

    def _rows(self, section: str, given: Mapping[str, Any]) -> dict[str, Any]:
        return self._each(section, given, lambda where, row, _: self._row(where, row))

    def _each(
        self, section: str, given: Mapping[str, Any], read: Callable[[str, Any, str], Any]
    ) -> dict[str, Any]:
        return {
            self._text(f"{section}", name): read(f"{section}: {name}", body, name)
            for name, body in given.get(section, {}).items()
        }

    def _list(
        self, section: str, given: Mapping[str, Any], read: Callable[[str, Any], Any]
    ) -> tuple[Any, ...]:
        return tuple(read(f"{section}[{at}]", body) for at, body in enumerate(given.get(section, [])))

    def _check(self, where: str, body: Any, label: str) -> dict[str, Any]:
        if not re.fullmatch(r"[^.]+\.[^.]+", label):
            self._refuse(where, "is named <table>.<constraint>")
        self._mapping(body, where, known=("good", "bad"), needed=("bad",))
        found = {}
        for kind in ("good", "bad"):
            rows = body.get(kind, [])
            if not isinstance(rows, list) or (kind == "bad" and not rows):
                self._refuse(where, f"{kind} is a list of mappings from column to value")
            found[kind] = [self._row(f"{where}: {kind}", row) for row in rows]
        return found

    def _trigger(self, where: str, body: Any, _name: str) -> dict[str, Any]:
        self._mapping(body, where, known=("set", "then"), needed=("set", "then"))
        return {
            "set": self._row(f"{where}: set", body["set"]),
            "then": self._expression(f"{where}: then", body["then"]),
        }

    def _round_trip(self, where: str, body: Any) -> dict[str, Any]:
        self._mapping(body, where, known=("table", "values"), needed=("table", "values"))
        return {
            "table": self._table(where, body["table"]),
            "values": self._row(f"{where}: values", body["values"]),
        }

    def _call(self, where: str, body: Any) -> dict[str, Any]:
        self._mapping(body, where, known=("function", "only_if", "steps"), needed=("function", "steps"))
        function = self._text(where, body["function"])
        conditions = self._mapping(
            body.get("only_if", {}), f"{where}: only_if", known=self._migration.variables
        )
        unmet = [
            f"{name} is {self._migration.variables[name]}"
            for name, value in conditions.items()
            if self._migration.variables[name] != value
        ]
        steps = body["steps"]
        if not isinstance(steps, list) or not steps:
            self._refuse(where, "steps is a list of steps")
        read = [self._step(f"{where}.steps[{at}]", step) for at, step in enumerate(steps)]
        bare = function.partition("(")[0]
        if not any(
            re.search(rf"\b{re.escape(bare)}\s*\(", step.get("ask", step.get("do", ""))) for step in read
        ):
            self._refuse(where, f"no step calls {bare}")
        return {"function": function, "skipped": ", ".join(unmet), "steps": read}

    def _path(self, where: str, body: Any) -> dict[str, Any]:
        keys = ("title", "query", "index")
        self._mapping(body, where, known=keys, needed=keys)
        index = body["index"]
        if not isinstance(index, list) or not index or not all(isinstance(name, str) for name in index):
            self._refuse(where, "index is a list of names, of which one must be used")
        return {
            "title": self._text(where, body["title"]),
            "query": self._sql(f"{where}: query", body["query"], ("SelectStmt",)),
            "index": index,
        }

    def _step(self, where: str, body: Any) -> dict[str, Any]:
        self._mapping(body, where, known=("say", "do", "ask", "returns"))
        if ("do" in body) == ("ask" in body):
            self._refuse(where, "needs either do or ask")
        if ("ask" in body) != ("returns" in body):
            self._refuse(where, "ask and returns go together")
        found = {"say": self._text(where, body["say"])} if "say" in body else {}
        if "do" in body:
            kinds = ("InsertStmt", "UpdateStmt", "DeleteStmt")
            return {**found, "do": self._sql(f"{where}: do", body["do"], kinds)}
        returns = body["returns"]
        if not isinstance(returns, list) or not all(isinstance(row, dict) for row in returns):
            self._refuse(where, "returns is a list of rows, each a mapping from column to value")
        for row in returns:
            for column, value in row.items():
                self._plain(f"{where}: returns: {column}", value)
        return {**found, "ask": self._sql(f"{where}: ask", body["ask"], ("SelectStmt",)), "returns": returns}

    def _row(self, where: str, row: Any) -> dict[str, Any]:
        if not isinstance(row, dict):
            self._refuse(where, f"is a mapping from column to value, not {row!r}")
        for column, value in row.items():
            self._text(where, column)
            self._value(f"{where}: {column}", value)
        return dict(row)

    def _value(self, where: str, value: Any) -> None:
        if isinstance(value, dict):
            if len(value) != 1 or next(iter(value)) not in _SPECIAL:
                self._refuse(where, f"a mapping has one key, one of {', '.join(_SPECIAL)}")
            ((kind, body),) = value.items()
            if kind == "sql":
                self._expression(where, body)
            elif kind == "free" and (type(body) is not int or not 1 <= body <= MOST_FREE):
                self._refuse(where, f"free is a number from 1 to {MOST_FREE}, not {body!r}")
            elif kind == "json":
                self._plain(where, body)
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, list | dict):
                    self._refuse(where, "a list holds plain values; write JSON as {json: …}")
                self._plain(where, item)
        else:
            self._plain(where, value)

    def _plain(self, where: str, value: Any) -> None:
        """Refuse what YAML makes of a date: it would arrive as something else than was written."""
        if isinstance(value, list):
            for item in value:
                self._plain(where, item)
        elif isinstance(value, dict):
            for item in value.values():
                self._plain(where, item)
        elif value is not None and not isinstance(value, bool | int | float | str):
            self._refuse(where, f"{value} is a {type(value).__name__}", hint="Put it in quotes.")

    def _expression(self, where: str, text: Any) -> str:
        self._sql(where, f"SELECT ({self._text(where, text)})", ("SelectStmt",))
        return str(text)

    def _sql(self, where: str, text: Any, kinds: Collection[str]) -> str:
        """One statement that names no schema; what it writes to has a row in the samples."""
        sql = self._text(where, text)
        for table, column in PLACEHOLDER.findall(sql):
            if table == "free":
                if not column.isdigit() or not 1 <= int(column) <= MOST_FREE:
                    self._refuse(where, f"{{free.{column}}}: a number from 1 to {MOST_FREE} follows")
            else:
                self._table(where, table)
        try:
            parsed = parse_sql(PLACEHOLDER.sub("NULL", sql))
        except parser.ParseError as error:
            self._refuse(where, f"PostgreSQL's parser: {error.args[0]}")
        if len(parsed) != 1 or type(parsed[0].stmt).__name__ not in kinds:
            self._refuse(where, f"must be one statement of kind {', '.join(kinds)}")
        for node in nodes(parsed[0].stmt):
            if isinstance(node, ast.RangeVar) and node.schemaname not in (None, "pg_catalog"):
                self._refuse(
                    where, f"names the schema {node.schemaname}", hint="Names stand without a schema."
                )
            if isinstance(node, ast.InsertStmt | ast.UpdateStmt | ast.DeleteStmt) and node.relation:
                self._table(where, node.relation.relname)
        return sql

    def _table(self, where: str, table: Any) -> str:
        if table not in self._known:
            self._refuse(
                where,
                f"{table!r} has no row in the samples",
                hint="Only tables under 'rows', here or in an earlier migration, are written to.",
            )
        return str(table)

    def _text(self, where: str, text: Any) -> str:
        if not isinstance(text, str) or not text.strip():
            self._refuse(where, f"{text!r} is not a text")
        return text

    def _mapping(
        self, body: Any, where: str, *, known: Collection[str], needed: Collection[str] = ()
    ) -> Mapping[str, Any]:
        if not isinstance(body, dict):
            self._refuse(where, f"must be a mapping, not {body!r}")
        for key in body:
            if key not in known:
                self._refuse(where, f"unknown key {key!r}", hint=f"Known are: {', '.join(known) or 'none'}.")
        for key in needed:
            if key not in body:
                self._refuse(where, f"{key} is missing")
        return body

    def _refuse(self, where: str, why: str, hint: str = "") -> NoReturn:
        raise SourceError(f"{self._where}: {where + ': ' if where else ''}{why}", hint=hint)
