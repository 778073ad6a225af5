"""COMMENT ON for an object as the catalog reading names it."""

from __future__ import annotations

from ansible.module_utils.rollout.catalog import Catalog
from ansible.module_utils.rollout.connection import Command


def comment_command(entry: str, text: str | None, actual: Catalog, schema: str) -> Command:
    """Set or remove a comment.

    :param entry: the comment's entry, such as ``comment on column bookings.cost``
    :param text: the new text; None removes the comment
    :param actual: the catalog as it is; tells a materialized view from a view
    :param schema: schema of the object
    """
    described = entry.removeprefix("comment on ")
    kind, _, name = described.partition(" ")
    if kind == "foreign":
        kind, name = "foreign table", name.removeprefix("table ")
    owner, _, part = name.partition(".")
    if kind in ("trigger", "constraint", "policy"):
        target = f"{_quoted(part)} ON {_quoted(schema, owner)}"
    elif kind == "column":
        target = _quoted(schema, owner, part)
    elif kind == "function":
        label, _, arguments = name.partition("(")
        # ROUTINE: what is called a function here may be a procedure or an aggregate.
        kind, target = "routine", f"{_quoted(schema, label)}({arguments}"
    else:
        target = _quoted(schema, name)
    if actual.entries.get(described, {}).get("materialized"):
        kind = "materialized view"
    literal = "NULL" if text is None else "'" + text.replace("'", "''") + "'"
    return Command(f"COMMENT ON {kind.upper()} {target} IS {literal}", place=entry)


def _quoted(*names: str) -> str:
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)
