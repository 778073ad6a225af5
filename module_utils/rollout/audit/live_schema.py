"""A schema as PostgREST sees it: tables, keys and functions by name, without what only a catalog comparison needs.

Read on the target, carried as JSON, and looked into by the translation (embedded resources, primary keys, functions'
arguments) and by the proof (what is missing).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ansible.module_utils.rollout.connection import Command

#: What a function gives, by whether PostgREST makes rows, one object, values or one value of it.
ROWS, OBJECT, VALUES, VALUE, NOTHING = "rows", "object", "values", "value", "nothing"


@dataclass(frozen=True)
class ColumnFacts:
    """One column.

    :ivar type: as ``format_type`` prints it: ``numeric(10,2)``, ``text[]``
    :ivar not_null: NULL is refused
    :ivar filled: has a value of its own when none is given: default, identity or generated
    :ivar generated: must not be written: generated, or identity ALWAYS
    """

    type: str
    not_null: bool = False
    filled: bool = False
    generated: bool = False

    @property
    def is_array(self) -> bool:
        return self.type.endswith("[]")


@dataclass(frozen=True)
class Check:
    """A CHECK constraint.

    :ivar columns: those that the expression looks at
    :ivar expression: SQL over the bare column names
    """

    name: str
    columns: tuple[str, ...]
    expression: str


@dataclass(frozen=True)
class TableFacts:
    """One table, partitioned table, view or foreign table.

    :ivar primary_key: its columns, in order
    :ivar unique_keys: columns of every constraint or whole-table index that ON CONFLICT could name
    :ivar unique_constraints: those of them that are constraints: only these make a relationship one-to-one
    :ivar fills_rows: a trigger may fill columns before a row is checked
    """

    columns: Mapping[str, ColumnFacts]
    is_view: bool = False
    primary_key: tuple[str, ...] = ()
    unique_keys: tuple[tuple[str, ...], ...] = ()
    unique_constraints: tuple[tuple[str, ...], ...] = ()
    checks: tuple[Check, ...] = ()
    fills_rows: bool = False


@dataclass(frozen=True)
class ForeignKey:
    """``columns`` of ``table`` refer to ``foreign_columns`` of ``foreign_table``, in the same order."""

    name: str
    table: str
    columns: tuple[str, ...]
    foreign_table: str
    foreign_columns: tuple[str, ...]


@dataclass(frozen=True)
class Argument:
    """One input argument of a function.

    :ivar name: empty for one without a name
    :ivar required: has no default
    """

    name: str
    type: str
    required: bool = True
    variadic: bool = False


@dataclass(frozen=True)
class FunctionFacts:
    """One function; overloaded ones are several.

    :ivar gives: :data:`ROWS`, :data:`OBJECT`, :data:`VALUES`, :data:`VALUE` or :data:`NOTHING` (void)
    :ivar result: name of the type of a row: a table's, or ``record``; of a value otherwise
    """

    name: str
    arguments: tuple[Argument, ...]
    gives: str
    result: str = ""


@dataclass(frozen=True)
class LiveSchema:
    """One schema.

    :ivar functions: in the order of their names
    """

    name: str
    tables: Mapping[str, TableFacts] = field(default_factory=dict)
    foreign_keys: tuple[ForeignKey, ...] = ()
    functions: tuple[FunctionFacts, ...] = ()

    def column(self, table: str, column: str) -> ColumnFacts | None:
        facts = self.tables.get(table)
        return facts.columns.get(column) if facts else None

    def as_json(self) -> dict[str, Any]:
        """Plain JSON types; :func:`from_json` is the inverse."""
        loaded: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return loaded


def from_json(value: Mapping[str, Any]) -> LiveSchema:
    """What :meth:`LiveSchema.as_json` made."""
    return LiveSchema(
        name=value["name"],
        tables={
            name: TableFacts(
                columns={column: ColumnFacts(**facts) for column, facts in table["columns"].items()},
                is_view=table["is_view"],
                primary_key=tuple(table["primary_key"]),
                unique_keys=tuple(tuple(key) for key in table["unique_keys"]),
                unique_constraints=tuple(tuple(key) for key in table["unique_constraints"]),
                checks=tuple(
                    Check(check["name"], tuple(check["columns"]), check["expression"])
                    for check in table["checks"]
                ),
                fills_rows=table["fills_rows"],
            )
            for name, table in value["tables"].items()
        },
        foreign_keys=tuple(
            ForeignKey(
                key["name"],
                key["table"],
                tuple(key["columns"]),
                key["foreign_table"],
                tuple(key["foreign_columns"]),
            )
            for key in value["foreign_keys"]
        ),
        functions=tuple(
            FunctionFacts(
                function["name"],
                tuple(Argument(**argument) for argument in function["arguments"]),
                function["gives"],
                function["result"],
            )
            for function in value["functions"]
        ),
    )


_COLUMNS = """
SELECT c.relname, c.relkind IN ('v', 'm'), a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
       a.atthasdef OR a.attidentity <> '', a.attgenerated <> '' OR a.attidentity = 'a'
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
 WHERE n.nspname = %s AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
 ORDER BY c.relname, a.attnum
"""
_CHECKS = """
SELECT c.relname, o.conname, pg_get_expr(o.conbin, o.conrelid),
       (SELECT array_agg(a.attname::text ORDER BY k.position) FROM unnest(o.conkey) WITH ORDINALITY k(number, position)
          JOIN pg_attribute a ON a.attrelid = o.conrelid AND a.attnum = k.number)
  FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %s AND o.contype = 'c' ORDER BY c.relname, o.conname
"""
# A unique index is what ON CONFLICT infers from, whether a constraint owns it or not. One with a WHERE or with
# expressions is inferred only by a clause that postgrest-js cannot send.
_KEYS = """
SELECT c.relname, i.indisprimary,
       (SELECT array_agg(a.attname::text ORDER BY k.position) FROM unnest(i.indkey) WITH ORDINALITY k(number, position)
          JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
         WHERE k.position <= i.indnkeyatts),
       EXISTS (SELECT FROM pg_constraint o WHERE o.conindid = i.indexrelid AND o.contype IN ('p', 'u'))
  FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %s AND i.indisunique AND i.indimmediate AND i.indisvalid AND i.indpred IS NULL
   AND i.indexprs IS NULL AND NOT c.relispartition
 ORDER BY c.relname, i.indexrelid
"""
_FOREIGN_KEYS = """
SELECT o.conname, c.relname,
       (SELECT array_agg(a.attname::text ORDER BY k.position) FROM unnest(o.conkey) WITH ORDINALITY k(number, position)
          JOIN pg_attribute a ON a.attrelid = o.conrelid AND a.attnum = k.number),
       f.relname,
       (SELECT array_agg(a.attname::text ORDER BY k.position) FROM unnest(o.confkey) WITH ORDINALITY k(number, position)
          JOIN pg_attribute a ON a.attrelid = o.confrelid AND a.attnum = k.number)
  FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid JOIN pg_class f ON f.oid = o.confrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %s AND f.relnamespace = n.oid AND o.contype = 'f' AND o.conparentid = 0
 ORDER BY c.relname, o.conname
"""
# BEFORE INSERT, FOR EACH ROW: bits 1, 2 and 4 of tgtype (src/include/catalog/pg_trigger.h).
_FILLING_TRIGGERS = """
SELECT DISTINCT c.relname FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %s AND NOT g.tgisinternal AND g.tgenabled <> 'D' AND g.tgtype & 7 = 7
"""
# As PostgREST reads them (its SchemaCache.hs): OUT, INOUT and TABLE arguments make the result composite.
_FUNCTIONS = """
SELECT p.proname, p.proretset, t.typtype = 'c' OR coalesce(p.proargmodes::text[] && '{t,b,o}', false),
       p.prorettype = 'void'::regtype, coalesce(r.relname, t.typname),
       p.proargnames, p.proargmodes::text[], p.pronargs, p.pronargdefaults,
       (SELECT array_agg(CASE WHEN x.type IN (1560, 1561, 1042, 1014) THEN
                           replace(replace(format_type(x.type, NULL), 'character', 'character varying'),
                                   'bit', 'bit varying')
                         ELSE format_type(x.type, NULL) END ORDER BY x.position)
          FROM unnest(p.proargtypes) WITH ORDINALITY x(type, position))
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
  JOIN pg_type w ON w.oid = p.prorettype
  JOIN pg_type t ON t.oid = CASE WHEN w.typtype = 'd' THEN w.typbasetype ELSE w.oid END
  LEFT JOIN pg_class r ON r.oid = t.typrelid
 WHERE n.nspname = %s AND p.prokind = 'f' AND p.prorettype <> 'trigger'::regtype
   AND p.prorettype <> 'event_trigger'::regtype
 ORDER BY p.proname, p.oid
"""
_QUERIES = (_COLUMNS, _CHECKS, _KEYS, _FOREIGN_KEYS, _FILLING_TRIGGERS, _FUNCTIONS)


def commands(schema: str) -> list[Command]:
    """The queries that read a schema, to be sent together; :func:`from_rows` takes their answers."""
    return [Command(query, (schema,)) for query in _QUERIES]


def from_rows(schema: str, answers: list[list[tuple[Any, ...]]]) -> LiveSchema:
    """Build the schema from the answers to :func:`commands`, in the same order."""
    columns, checks, keys, foreign_keys, filling, functions = answers
    tables: dict[str, dict[str, Any]] = {}
    for table, is_view, name, type_name, not_null, filled, generated in columns:
        facts = tables.setdefault(
            table,
            {"columns": {}, "is_view": is_view, "unique_keys": (), "unique_constraints": (), "checks": ()},
        )
        if name is not None:
            facts["columns"][name] = ColumnFacts(type_name, not_null, filled, generated)
    # Partitions are left out above; their constraints and keys are those of the table they belong to.
    for table, name, expression, names in checks:
        if table in tables:
            tables[table]["checks"] += (Check(name, tuple(names or ()), expression),)
    for table, is_primary, names, is_constraint in keys:
        if table in tables:
            tables[table]["unique_keys"] += (tuple(names),)
            if is_constraint:
                tables[table]["unique_constraints"] += (tuple(names),)
            if is_primary:
                tables[table]["primary_key"] = tuple(names)
    triggered = {table for (table,) in filling}
    return LiveSchema(
        name=schema,
        tables={name: TableFacts(**facts, fills_rows=name in triggered) for name, facts in tables.items()},
        foreign_keys=tuple(
            ForeignKey(name, table, tuple(names), foreign, tuple(foreign_names))
            for name, table, names, foreign, foreign_names in foreign_keys
            if table in tables and foreign in tables
        ),
        functions=tuple(_function(row) for row in functions),
    )


def _function(row: tuple[Any, ...]) -> FunctionFacts:
    name, is_set, is_composite, is_void, result, names, modes, count, defaults, types = row
    # proargnames covers the OUT arguments too, proargtypes only those that are given.
    inputs = [
        (names[at] if names else "", modes[at] if modes else "i")
        for at in range(len(modes or names or types or ()))
        if not modes or modes[at] in ("i", "b", "v")
    ]
    if is_void:
        gives = NOTHING
    elif is_composite:
        gives = ROWS if is_set else OBJECT
    else:
        gives = VALUES if is_set else VALUE
    return FunctionFacts(
        name=name,
        arguments=tuple(
            Argument(argument, type_name, required=at < count - defaults, variadic=mode == "v")
            for at, ((argument, mode), type_name) in enumerate(zip(inputs, types or (), strict=True))
        ),
        gives=gives,
        result=result,
    )
