"""What a schema holds, exactly, as data that can be compared: one entry an object, one attribute a property.

An entry's name says kind and name: ``table companies``, ``column companies.name``, ``index idx_clients_phone``,
``function get_messages_stats()``, ``comment on table companies``. Columns, constraints and comments are entries of
their own, so that a difference is told by the smallest thing that differs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.rollout.connection import Command, Session

Entry = dict[str, Any]

_SORTED_ACL = "(SELECT array_agg(item::text ORDER BY item::text) FROM unnest({acl}) AS item)"
_COLUMN_ACL = _SORTED_ACL.format(acl="a.attacl")


def _acl(column: str, default: str) -> str:
    """Grants as sorted text; NULL for the built-in default, written out or not: later servers have other defaults."""
    sorted_default = _SORTED_ACL.format(acl=default)
    return f"nullif({_SORTED_ACL.format(acl=f'coalesce({column}, {default})')}, {sorted_default})"


_RELATION_ACL = _acl(
    "c.relacl", "acldefault(CASE c.relkind WHEN 'S' THEN 's'::\"char\" ELSE 'r' END, c.relowner)"
)
_TYPE_ACL = _acl("t.typacl", "acldefault('T', t.typowner)")
_FUNCTION_ACL = _acl("p.proacl", "acldefault('f', p.proowner)")

_RELATIONS = f"""
SELECT c.oid::bigint, c.relname, c.relkind, pg_get_userbyid(c.relowner),
       {_RELATION_ACL},
       c.relpersistence, c.relrowsecurity, c.relforcerowsecurity, c.reloptions, c.relreplident,
       CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END,
       (SELECT p.relname FROM pg_inherits h JOIN pg_class p ON p.oid = h.inhparent
         WHERE h.inhrelid = c.oid ORDER BY h.inhseqno LIMIT 1),
       pg_get_expr(c.relpartbound, c.oid),
       (SELECT h.inhdetachpending FROM pg_inherits h WHERE h.inhrelid = c.oid LIMIT 1),
       CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END,
       s.seqtypid::regtype::text, s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache, s.seqcycle,
       (SELECT t.relname || '.' || a.attname FROM pg_depend d JOIN pg_class t ON t.oid = d.refobjid
          JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
         WHERE c.relkind = 'S' AND d.classid = 'pg_class'::regclass AND d.objid = c.oid
           AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') LIMIT 1),
       obj_description(c.oid, 'pg_class')
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_sequence s ON s.seqrelid = c.oid
 WHERE n.nspname = %s AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
 ORDER BY c.relname
"""

_COLUMNS = f"""
SELECT c.relname, a.attname, row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum),
       format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid),
       a.attidentity, a.attgenerated, CASE WHEN a.attcollation <> t.typcollation THEN l.collname END,
       {_COLUMN_ACL}, col_description(a.attrelid, a.attnum)
  FROM pg_attribute a
  JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  LEFT JOIN pg_collation l ON l.oid = a.attcollation
 WHERE n.nspname = %s AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY c.relname, a.attnum
"""

# NOT NULL has rows of its own in pg_constraint since PostgreSQL 18; here it is an attribute of the column everywhere.
_CONSTRAINTS = """
SELECT c.relname, o.conname, pg_get_constraintdef(o.oid), o.convalidated, obj_description(o.oid, 'pg_constraint')
  FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %s AND o.contype IN ('c', 'f', 'p', 'u', 'x')
 ORDER BY c.relname, o.conname
"""

_INDEXES = """
SELECT i.relname, t.relname, pg_get_indexdef(i.oid), x.indisvalid AND x.indisready, x.indisreplident,
       (SELECT p.relname FROM pg_inherits h JOIN pg_class p ON p.oid = h.inhparent WHERE h.inhrelid = i.oid),
       obj_description(i.oid, 'pg_class')
  FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
  JOIN pg_namespace n ON n.oid = i.relnamespace
 WHERE n.nspname = %s ORDER BY i.relname
"""

_TRIGGERS = """
SELECT c.relname, g.tgname, pg_get_triggerdef(g.oid), g.tgenabled, obj_description(g.oid, 'pg_trigger')
  FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %s AND NOT g.tgisinternal ORDER BY c.relname, g.tgname
"""

_FUNCTIONS = f"""
SELECT p.proname, oidvectortypes(p.proargtypes), pg_get_function_result(p.oid), l.lanname, p.prokind, p.provolatile,
       p.prosecdef, p.proconfig, pg_get_userbyid(p.proowner),
       {_FUNCTION_ACL},
       CASE WHEN p.prokind <> 'a' THEN pg_get_functiondef(p.oid) END, obj_description(p.oid, 'pg_proc')
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
 WHERE n.nspname = %s ORDER BY p.proname, 2
"""

_TYPES = f"""
SELECT t.typname, t.typtype, pg_get_userbyid(t.typowner),
       (SELECT array_agg(e.enumlabel::text ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid),
       CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) END, t.typnotnull, t.typdefault,
       (SELECT array_agg(pg_get_constraintdef(o.oid) ORDER BY o.conname) FROM pg_constraint o
         WHERE o.contypid = t.oid AND o.contype = 'c'),
       (SELECT array_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod) ORDER BY a.attnum)
          FROM pg_attribute a WHERE a.attrelid = t.typrelid AND t.typtype = 'c' AND NOT a.attisdropped),
       (SELECT format_type(r.rngsubtype, NULL) FROM pg_range r WHERE r.rngtypid = t.oid), {_TYPE_ACL},
       obj_description(t.oid, 'pg_type')
  FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_class c ON c.oid = t.typrelid
 WHERE n.nspname = %s AND (t.typtype IN ('e', 'd', 'r') OR (t.typtype = 'c' AND c.relkind = 'c'))
 ORDER BY t.typname
"""

_POLICIES = """
SELECT c.relname, y.polname, y.polcmd, y.polpermissive,
       (SELECT array_agg(CASE r WHEN 0 THEN 'public' ELSE pg_get_userbyid(r) END ORDER BY 1) FROM unnest(y.polroles) r),
       pg_get_expr(y.polqual, y.polrelid), pg_get_expr(y.polwithcheck, y.polrelid),
       obj_description(y.oid, 'pg_policy')
  FROM pg_policy y JOIN pg_class c ON c.oid = y.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %s ORDER BY c.relname, y.polname
"""

_STATISTICS = """
SELECT s.stxname, c.relname, pg_get_statisticsobjdef(s.oid)
  FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace JOIN pg_class c ON c.oid = s.stxrelid
 WHERE n.nspname = %s ORDER BY s.stxname
"""

_RULES = """
SELECT c.relname, r.rulename, pg_get_ruledef(r.oid), r.ev_enabled
  FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %s AND r.rulename <> '_RETURN' ORDER BY c.relname, r.rulename
"""

_RELATION_KIND = {"r": "table", "p": "table", "f": "foreign table", "v": "view", "m": "view", "S": "sequence"}
#: Kinds that share one space of names in a schema (a table's row type has the table's name): a view or a type in a
#: table's place is found by this.
RELATION_KINDS = ("table", "foreign table", "view", "sequence", "index", "type")
_FUNCTION_KIND = {"f": "function", "p": "procedure", "w": "window function", "a": "aggregate"}
_VOLATILITY = {"i": "immutable", "s": "stable", "v": "volatile"}
_ENABLED = {"O": "enabled", "D": "disabled", "R": "replica only", "A": "always"}
_PERSISTENCE = {"p": "permanent", "u": "unlogged", "t": "temporary"}
_COMMAND = {"*": "ALL", "r": "SELECT", "a": "INSERT", "w": "UPDATE", "d": "DELETE"}


@dataclass(frozen=True)
class Catalog:
    """The objects of one schema.

    :ivar entries: entry name -> attributes; JSON-compatible
    """

    entries: Mapping[str, Entry] = field(default_factory=dict)

    def table_of(self, name: str) -> str | None:
        """The table that an entry belongs to, or None for what belongs to none (functions, types, views)."""
        return table_of(name, self.entries.get(name))

    def partitions_of(self, parents: tuple[str, ...]) -> set[str]:
        """Names of the tables that are partitions of one of ``parents``."""
        return {
            name.removeprefix("table ")
            for name, entry in self.entries.items()
            if name.startswith("table ") and entry.get("parent") in parents
        }

    def renamed(self, scratch: str, target: str) -> Catalog:
        """The same catalog as it would read in another schema.

        Raw replacement is exact: the scratch schema's name is unique, and quoted wherever the target's would be.
        """
        return Catalog(
            {
                name.replace(scratch, target): _replace(entry, scratch, target)
                for name, entry in self.entries.items()
            }
        )


def table_of(name: str, entry: Mapping[str, Any] | None) -> str | None:
    """The table that an entry belongs to.

    :param name: the entry's name
    :param entry: its attributes; needed for indexes, sequences and statistics, whose name does not hold the table
    """
    kind, _, rest = name.removeprefix("comment on ").partition(" ")
    if kind == "table":
        return rest
    if kind in ("column", "constraint", "trigger", "policy", "rule"):
        return rest.partition(".")[0]
    if kind in ("index", "sequence", "statistics") and entry is not None:
        owner = entry.get("table") or entry.get("owned_by") or ""
        return owner.partition(".")[0] or None
    return None


def commands(schema: str) -> list[Command]:
    """The queries that read a schema, to be sent together; :func:`from_rows` takes their answers."""
    return [Command(query, (schema,)) for query, _ in _READERS]


def from_rows(answers: list[list[tuple[Any, ...]]]) -> Catalog:
    """Build the catalog from the answers to :func:`commands`, in the same order."""
    entries: dict[str, Entry] = {}
    for rows, (_, reader) in zip(answers, _READERS, strict=True):
        for row in rows:
            reader(entries, row)
    return Catalog(entries)


def read(session: Session, schema: str) -> Catalog:
    """Read a schema in one round trip, in a transaction of its own.

    :param schema: name; when there is none of that name, the catalog is empty
    """
    answers = session.run(["BEGIN READ ONLY", search_path(schema), *commands(schema), "COMMIT"])
    return from_rows(answers[2:-1])


def search_path(schema: str) -> Command:
    """Set the path under which names in definitions are printed, until the transaction ends."""
    return Command("SELECT set_config('search_path', quote_ident(%s) || ', pg_temp', true)", (schema,))


def _compact(**attributes: Any) -> Entry:
    """Attributes without those that say nothing: absent, false, empty."""
    return {
        name: value
        for name, value in attributes.items()
        if value is not None and value is not False and value != "" and value != []
    }


def _comment(entries: dict[str, Entry], name: str, text: str | None) -> None:
    if text is not None:
        entries[f"comment on {name}"] = {"text": text}


def _relation(entries: dict[str, Entry], row: tuple[Any, ...]) -> None:
    (_oid, name, kind, owner, grants, persistence, row_security, forced, options, identity, partition_key, parent,
     bounds, detach_pending, definition, *sequence, comment) = row  # fmt: skip
    label = f"{_RELATION_KIND[kind]} {name}"
    entry = _compact(
        owner=owner,
        grants=grants,
        persistence=_PERSISTENCE[persistence],
        row_security=row_security,
        row_security_forced=forced,
        options=options,
        replica_identity=None if identity in ("d", "n") else identity,
        partition_key=partition_key,
        parent=parent,
        bounds=bounds,
        detach_pending=detach_pending,
        materialized=kind == "m",
        definition=definition,
    )
    if kind == "S":
        names = ("type", "start", "increment", "minimum", "maximum", "cache", "cycle", "owned_by")
        entry.update(_compact(**dict(zip(names, sequence, strict=True))))
    entries[label] = entry
    _comment(entries, label, comment)


def _column(entries: dict[str, Entry], row: tuple[Any, ...]) -> None:
    table, name, position, type_name, not_null, default, identity, generated, collation, grants, comment = row
    label = f"column {table}.{name}"
    entries[label] = _compact(
        position=position,
        type=type_name,
        not_null=not_null,
        default=default,
        identity={"a": "always", "d": "by default"}.get(identity),
        generated={"s": "stored", "v": "virtual"}.get(generated),
        collation=collation,
        grants=grants,
    )
    _comment(entries, label, comment)


def _constraint(entries: dict[str, Entry], row: tuple[Any, ...]) -> None:
    table, name, definition, valid, comment = row
    label = f"constraint {table}.{name}"
    entries[label] = _compact(definition=definition, not_valid=not valid)
    _comment(entries, label, comment)


def _index(entries: dict[str, Entry], row: tuple[Any, ...]) -> None:
    name, table, definition, valid, replica_identity, parent, comment = row
    label = f"index {name}"
    entries[label] = _compact(
        table=table,
        definition=definition,
        invalid=not valid,
        replica_identity=replica_identity,
        parent=parent,
    )
    _comment(entries, label, comment)


def _trigger(entries: dict[str, Entry], row: tuple[Any, ...]) -> None:
    table, name, definition, enabled, comment = row
    label = f"trigger {table}.{name}"
    entries[label] = {"definition": definition, "state": _ENABLED[enabled]}
    _comment(entries, label, comment)


def _function(entries: dict[str, Entry], row: tuple[Any, ...]) -> None:
    (
        name,
        arguments,
        result,
        language,
        kind,
        volatility,
        definer,
        settings,
        owner,
        grants,
        definition,
        comment,
    ) = row
    label = f"function {name}({arguments})"
    entries[label] = _compact(
        kind=_FUNCTION_KIND[kind],
        returns=result,
        language=language,
        volatility=_VOLATILITY[volatility],
        security="definer" if definer else "invoker",
        settings=settings,
        definition=definition,
        owner=owner,
        grants=grants,
    )
    _comment(entries, label, comment)


def _type(entries: dict[str, Entry], row: tuple[Any, ...]) -> None:
    name, kind, owner, labels, base, not_null, default, checks, columns, subtype, grants, comment = row
    label = f"type {name}"
    entries[label] = _compact(
        kind={"e": "enum", "d": "domain", "r": "range", "c": "composite"}[kind],
        owner=owner,
        labels=labels,
        base=base,
        not_null=not_null,
        default=default,
        checks=checks,
        columns=columns,
        subtype=subtype,
        grants=grants,
    )
    _comment(entries, label, comment)


def _policy(entries: dict[str, Entry], row: tuple[Any, ...]) -> None:
    table, name, command, permissive, roles, using, check, comment = row
    label = f"policy {table}.{name}"
    entries[label] = _compact(
        command=_COMMAND[command], restrictive=not permissive, roles=roles, using=using, check=check
    )
    _comment(entries, label, comment)


def _statistics(entries: dict[str, Entry], row: tuple[Any, ...]) -> None:
    name, table, definition = row
    entries[f"statistics {name}"] = {"table": table, "definition": definition}


def _rule(entries: dict[str, Entry], row: tuple[Any, ...]) -> None:
    table, name, definition, enabled = row
    entries[f"rule {table}.{name}"] = {"definition": definition, "state": _ENABLED[enabled]}


_READERS: list[tuple[str, Callable[[dict[str, Entry], tuple[Any, ...]], None]]] = [
    (_RELATIONS, _relation),
    (_COLUMNS, _column),
    (_CONSTRAINTS, _constraint),
    (_INDEXES, _index),
    (_TRIGGERS, _trigger),
    (_FUNCTIONS, _function),
    (_TYPES, _type),
    (_POLICIES, _policy),
    (_STATISTICS, _statistics),
    (_RULES, _rule),
]


def _replace(value: Any, scratch: str, target: str) -> Any:
    if isinstance(value, str):
        return value.replace(scratch, target)
    if isinstance(value, list):
        return [_replace(item, scratch, target) for item in value]
    if isinstance(value, dict):
        return {name: _replace(item, scratch, target) for name, item in value.items()}
    return value
