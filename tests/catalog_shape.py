"""Tables as the catalog has them, in the notation of fixtures/expected_shape.yml, for comparison with it."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
import yaml
from psycopg import sql

EXPECTED: dict[str, dict[str, Any]] = yaml.safe_load(
    (Path(__file__).resolve().parent / "fixtures/expected_shape.yml").read_text()
)

SHORT_TYPES = {
    "character varying": "varchar",
    "timestamp with time zone": "timestamptz",
    "time without time zone": "time",
}


class Shape:
    """Reads tables of one schema in the notation of expected_shape.yml."""

    def __init__(self, connection: psycopg.Connection, schema: str) -> None:
        self._connection = connection
        self._schema = schema
        # With it, catalog functions print names of this schema without the schema, and instants in UTC.
        connection.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(schema)))
        connection.execute("SET timezone = 'UTC'")

    def table(self, name: str) -> dict[str, list[str]]:
        """Everything on a table, as one list of lines a kind; columns in their order, all else sorted."""
        shape = {
            "columns": self._columns(name),
            "constraints": self._constraints(name),
            "indexes": self._indexes(name),
            "triggers": self._triggers(name),
            "partition_by": self._lines("SELECT pg_get_partkeydef(%s::regclass)", name),
        }
        return {kind: lines if kind == "columns" else sorted(lines) for kind, lines in shape.items() if lines}

    def differences(self, expected: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Every line that is missing or should not be there, with its table and kind."""
        found = []
        for table, kinds in expected.items():
            actual = self.table(table)
            for kind in sorted({*kinds, *actual}):
                place = f"{table}: {kind}"
                wanted = kinds.get(kind, [])
                wanted_lines = Counter([wanted] if isinstance(wanted, str) else wanted)
                actual_lines = Counter(actual.get(kind, []))
                found += [f"{place}: missing: {line}" for line in (wanted_lines - actual_lines).elements()]
                found += [f"{place}: unexpected: {line}" for line in (actual_lines - wanted_lines).elements()]
        return found

    def _lines(self, query: str, table: str) -> list[str]:
        rows = self._connection.execute(query.encode(), [table]).fetchall()
        return [row[0] for row in rows if row[0] is not None]

    def _columns(self, table: str) -> list[str]:
        rows = self._connection.execute(
            """
            SELECT attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid),
                attidentity::text || attgenerated::text, attcollation = typcollation
            FROM pg_attribute
            JOIN pg_type ON pg_type.oid = atttypid
            LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
            WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped
            ORDER BY attnum
            """,
            [table],
        ).fetchall()
        lines = []
        for name, type_name, not_null, default, special, plain_collation in rows:
            for long, short in SHORT_TYPES.items():
                type_name = type_name.replace(long, short)
            line = f"{name} {type_name}"
            if not_null:
                line += " not null"
            if default is not None:
                line += " default " + re.sub(r"^('.*')::character varying$", r"\1", default)
            if special:
                line += f" identity or generated {special}"
            if not plain_collation:
                line += " collate"
            lines.append(line)
        return lines

    def _constraints(self, table: str) -> list[str]:
        # Filtered by kind: PostgreSQL 18 has a row (contype n) for each NOT NULL column as well.
        return self._lines(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE conrelid = %s::regclass AND contype IN ('p', 'u', 'f', 'c', 'x')",
            table,
        )

    def _indexes(self, table: str) -> list[str]:
        definitions = self._lines(
            """
            SELECT pg_get_indexdef(indexrelid)
                || CASE WHEN indisvalid AND indisready THEN '' ELSE ' INVALID' END
            FROM pg_index
            WHERE indrelid = %s::regclass
                AND NOT EXISTS (
                    SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u', 'x')
                )
            """,
            table,
        )
        return [
            re.sub(r"^CREATE INDEX ", "", self._unqualified(line))
            .replace(" ON ONLY ", " ON ")
            .replace("USING btree ", "")
            for line in definitions
        ]

    def _triggers(self, table: str) -> list[str]:
        rows = self._connection.execute(
            "SELECT pg_get_triggerdef(oid), tgenabled FROM pg_trigger"
            " WHERE tgrelid = %s::regclass AND NOT tgisinternal",
            [table],
        ).fetchall()
        return [
            re.sub(
                r"^CREATE TRIGGER (\S+) (.+) ON \S+ FOR EACH ROW EXECUTE FUNCTION (.+)$",
                r"\1: \2, each row -> \3",
                self._unqualified(definition),
            )
            + ("" if enabled == "O" else f" enabled {enabled}")
            for definition, enabled in rows
        ]

    def _unqualified(self, definition: str) -> str:
        quoted = sql.Identifier(self._schema).as_string(self._connection)
        return definition.replace(f"{quoted}.", "").replace(f"{self._schema}.", "")
