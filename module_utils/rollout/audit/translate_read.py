"""What is read: columns, embedded resources, order and number of rows, for a select and for what a mutation returns."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import partial

from ansible.module_utils.rollout.audit.chain import (
    Chain,
    Column,
    Dynamic,
    Embed,
    Filter,
    Group,
    Known,
    Literal,
    Modifier,
    Selection,
    Value,
)
from ansible.module_utils.rollout.audit.relationships import MANY_TO_MANY, Relationship, find
from ansible.module_utils.rollout.audit.translate_draft import Draft
from ansible.module_utils.rollout.audit.translate_filters import (
    column_sql,
    filter_sql,
    group_sql,
    path_keys,
    resource_path,
    split_path,
    when_given,
    where,
)
from ansible.module_utils.rollout.audit.translate_sql import (
    DIRECTION,
    LIMIT,
    OFFSET,
    SPAN,
    Place,
    Sql,
    compact,
    identifier,
    joined,
    qualified,
)

_CAST = re.compile(r"[\w $]+")
_RELATED = re.compile(r'"?([\w$-]+)"?\((.+)\)')
_ALL = Selection((Column("*"),))


@dataclass
class Node:
    """One SELECT of a tree of embedded resources.

    :ivar table: that it reads
    :ivar reference: what the table is called in it
    :ivar source: what stands after FROM
    :ivar name: of the key in the parent's row; of the root: empty
    :ivar alias: what its rows are called in the parent's SELECT
    """

    table: str
    reference: str
    source: str
    selection: Selection
    name: str = ""
    target: str = ""
    alias: str = ""
    relationship: Relationship | None = None
    inner: bool = False
    spread: bool = False
    conditions: list[Sql] = field(default_factory=list)
    order: list[Sql] = field(default_factory=list)
    limit: Place | None = None
    offset: Place | None = None
    children: list[Node] = field(default_factory=list)

    def child(self, name: str) -> Node | None:
        """The embedded resource of this name or alias."""
        return next((child for child in self.children if name in (child.name, child.target)), None)


def build(draft: Draft, chain: Chain, table: str, reference: str, source: str) -> Node:
    """The tree of SELECTs of a chain, with the embedded resources' filters, orders and limits in it.

    :param source: what the root reads from
    """
    selection = chain.select or _ALL
    if selection.unknown is not None:
        draft.refuse("select.unknown", f"the columns are not known: {selection.unknown.reason}")
    if selection.conditional and chain.operation != "select":
        draft.refuse("modifier.conditional", "whether rows are returned depends on the running code")
    if not selection.columns and not selection.embeds and selection.unknown is None:
        selection = _ALL
    root = Node(table, reference, source, selection)
    _embed(draft, root, selection.embeds, 1)
    is_mutation = chain.operation not in ("select", "rpc")
    for modifier in chain.modifiers:
        if modifier.name == "order" and is_mutation:
            draft.apply("order.mutation")
        elif modifier.name == "order":
            _order(draft, root, modifier)
        elif modifier.name in ("limit", "range") and is_mutation:
            _mutation_limit(draft, chain, modifier)
        elif modifier.name in ("limit", "range"):
            _limit(draft, root, modifier)
    return root


def _embed(draft: Draft, parent: Node, embeds: tuple[Embed, ...], depth: int) -> None:
    for embed in embeds:
        if draft.schema is None:
            draft.refuse(
                "schema.missing", f"embedded resource {embed.table}: the foreign keys are in the database"
            )
            continue
        if parent.table not in draft.schema.tables:
            draft.use(parent.table, "", "table")
            continue
        if draft.schema.tables[parent.table].is_view:
            draft.refuse("embed.view", f"{parent.table} is a view")
            continue
        found = find(draft.schema, parent.table, embed.table, embed.hint)
        if len(found) != 1:
            _no_relationship(draft, parent.table, embed, found)
            continue
        (relationship,) = found
        child = _child(draft, parent, embed, relationship, depth)
        if child is not None:
            parent.children.append(child)
            _embed(draft, child, embed.embeds, depth + 1)


def _no_relationship(draft: Draft, table: str, embed: Embed, found: list[Relationship]) -> None:
    wanted = embed.table + (f"!{embed.hint}" if embed.hint else "")
    if found:
        ways = ", ".join(relationship.description for relationship in found)
        draft.refuse(
            "embed.one", f"{table} and {wanted} are related in more than one way: {ways}", "PGRST201"
        )
        return
    if draft.schema is not None and embed.table not in draft.schema.tables:
        draft.use(embed.table, "", "table")
    draft.refuse("embed.one", f"there is no foreign key between {table} and {wanted}", "PGRST200")


def _child(draft: Draft, parent: Node, embed: Embed, relationship: Relationship, depth: int) -> Node | None:
    table = relationship.foreign_table
    if embed.spread and not relationship.to_one:
        draft.refuse("embed.spread", f"{embed.table} is not to one row", "PGRST119")
        return None
    draft.apply("embed.one" if relationship.to_one else "embed.many")
    for used, rule in (
        (embed.hint, "embed.hint"),
        (embed.join == "inner", "embed.inner"),
        (embed.spread, "embed.spread"),
    ):
        if used:
            draft.apply(rule)
    reference = f"{table}_{depth}"
    source = f"{qualified(draft.schema_name, table)} AS {identifier(reference)}"
    if relationship.kind == MANY_TO_MANY:
        between = identifier(_between(relationship, depth))
        source += f", {qualified(draft.schema_name, relationship.between)} AS {between}"
    child = Node(
        table,
        reference,
        source,
        Selection(embed.columns, embed.embeds),
        name=embed.alias or embed.table,
        target=embed.table,
        alias=f"{parent.table}_{embed.alias or embed.table}_{depth}",
        relationship=relationship,
        inner=embed.join == "inner",
        spread=embed.spread,
    )
    child.conditions.append((_join_condition(parent, child, depth),))
    return child


def _between(relationship: Relationship, depth: int) -> str:
    return f"{relationship.between}_{depth}_between"


def _join_condition(parent: Node, child: Node, depth: int) -> str:
    relationship = child.relationship
    if relationship is None:
        raise TypeError("a child has a relationship")
    near = _between(relationship, depth) if relationship.kind == MANY_TO_MANY else child.reference
    conditions = [
        f"{identifier(near)}.{identifier(theirs)} = {identifier(parent.reference)}.{identifier(own)}"
        for own, theirs in relationship.pairs
    ]
    conditions += [
        f"{identifier(child.reference)}.{identifier(own)} = {identifier(near)}.{identifier(theirs)}"
        for own, theirs in relationship.far_pairs
    ]
    return " AND ".join(conditions)


# Filters, order and limit


def add_filters(draft: Draft, root: Node, filters: tuple[Filter | Group, ...], own: list[Sql]) -> None:
    """Put every filter where it belongs.

    :param own: takes those of the chain's own table: of a mutation they are not the SELECT's
    """
    for item in filters:
        if isinstance(item, Group):
            path = tuple(item.table.split(".")) if item.table else ()
            node = _resource(draft, root, path)
            if node is None:
                continue
            condition = group_sql(draft, item, partial(_one, draft, node))
            words: tuple[str, ...] = (item.operator,)
        else:
            found = resource_path(item.column)
            if found is None:
                draft.refuse("filter.unknown", f"the column of a filter is not known: {_reason(item.column)}")
                continue
            node = _resource(draft, root, found[0])
            if node is None:
                continue
            condition = _one(draft, node, replace(item, column=Known(found[1])))
            words = (found[1],)
        if condition is None:
            continue
        if item.conditional:
            condition = when_given(draft, condition, *words)
        (own if node is root else node.conditions).append(condition)


def _reason(name: Known | Dynamic) -> str:
    return name.reason if isinstance(name, Dynamic) else ""


def _one(draft: Draft, node: Node, item: Filter) -> Sql | None:
    if isinstance(item.column, Dynamic):
        draft.refuse("filter.unknown", f"the column of a filter is not known: {item.column.reason}")
        return None
    column = item.column.value
    child = node.child(column)
    if (
        child is not None
        and item.operator == "is"
        and isinstance(item.value, Literal)
        and item.value.value in (None, "null")
    ):
        draft.apply("embed.null")
        negation = "" if item.negated else "NOT "
        return (f"{identifier(child.alias)} IS {negation}DISTINCT FROM NULL",)
    return filter_sql(draft, item, column, node.table, node.reference)


def _resource(draft: Draft, root: Node, path: tuple[str, ...]) -> Node | None:
    node = root
    for name in path:
        child = node.child(name)
        if child is None:
            # A resource that could not be embedded was refused already; one that is not selected is an error.
            if not any(gap.rule.startswith(("embed.", "schema.", "select.")) for gap in draft.gaps):
                draft.refuse("embed.filter", f"{name} is filtered or ordered, but not selected", "PGRST108")
            return None
        node = child
    if path:
        draft.apply("embed.filter")
    return node


def _text(value: Value | None) -> str | None:
    return value.value if isinstance(value, Literal) and isinstance(value.value, str) else None


def _target(draft: Draft, root: Node, modifier: Modifier) -> Node | None:
    resource = modifier.option("referencedTable") or modifier.option("foreignTable")
    if resource is None:
        return root
    name = _text(resource)
    if name is None:
        draft.refuse(
            "modifier.conditional", f"the resource of .{modifier.name}() is known to the running code only"
        )
        return None
    return _resource(draft, root, tuple(name.split(".")))


def _order(draft: Draft, root: Node, modifier: Modifier) -> None:
    column = _text(modifier.arguments[0]) if modifier.arguments else None
    if column is None:
        draft.refuse("order.unknown", "the column of .order() is known to the running code only")
        return
    if modifier.conditional:
        draft.refuse("modifier.conditional", ".order() is not on every path")
    node = _target(draft, root, modifier)
    if node is None:
        return
    draft.apply("order" if node is root else "order.embedded")
    for item in column.split(","):
        field_sql = _order_column(draft, node, item.strip())
        if field_sql is not None:
            node.order.append((field_sql, *_direction(draft, modifier)))


def _order_column(draft: Draft, node: Node, column: str) -> str | None:
    related = _RELATED.fullmatch(column)
    if related is None:
        name, path = split_path(column)
        draft.use(node.table, name, "order")
        return column_sql(draft, node.table, node.reference, name, path)
    child = node.child(related[1])
    if child is None or child.relationship is None or not child.relationship.to_one:
        draft.refuse("order.related", f"{related[1]} is not selected, or not to one row", "PGRST118")
        return None
    draft.apply("order.related")
    return f"{identifier(child.alias)}.{identifier(related[2])}"


def _direction(draft: Draft, modifier: Modifier) -> Sql:
    ascending = modifier.option("ascending")
    nulls = modifier.option("nullsFirst")
    direction: Sql = (" ASC",)
    if isinstance(ascending, Literal):
        direction = (" ASC" if ascending.value else " DESC",)
    elif ascending is not None:
        direction = (" ", draft.place(ascending, "ascending", form=DIRECTION))
    if isinstance(nulls, Literal):
        return (*direction, " NULLS FIRST" if nulls.value else " NULLS LAST")
    if nulls is not None:
        draft.refuse("modifier.conditional", "the place of NULLs in the order depends on the running code")
    return direction


def _mutation_limit(draft: Draft, chain: Chain, modifier: Modifier) -> None:
    """Of a mutation PostgREST looks only at the limit of an update's or a delete's own rows."""
    embedded = modifier.option("referencedTable") or modifier.option("foreignTable")
    if chain.operation in ("update", "delete") and embedded is None:
        code = "" if chain.modifier("order") else "PGRST109"
        draft.refuse("limit.mutation", f".{modifier.name}() on {chain.operation}", code)


def _limit(draft: Draft, root: Node, modifier: Modifier) -> None:
    node = _target(draft, root, modifier)
    if node is None:
        return
    word = () if node is root else (node.name,)
    if modifier.name == "limit":
        draft.apply("limit" if node is root else "limit.embedded")
        value = modifier.arguments[0] if modifier.arguments else Dynamic("no number given")
        node.limit = draft.place(value, *word, "limit", form=LIMIT)
        return
    draft.apply("range" if node is root else "limit.embedded")
    if len(modifier.arguments) != 2:
        draft.refuse("range", ".range() wants two numbers")
        return
    first, last = modifier.arguments
    names = (draft.argument(*word, "from"), draft.argument(*word, "to"))
    node.limit = Place((first, last), names, SPAN)
    # The same argument: written twice in the SQL, given once.
    node.offset = Place((first,), names[:1], OFFSET)


# SQL


def select_sql(draft: Draft, node: Node, max_rows: int | None) -> Sql:
    """The SELECT of a node with everything below it.

    :param max_rows: most rows that each level gives; ``None`` for no limit, as for what a mutation returns
    """
    items: list[Sql] = [(item,) for item in _columns(draft, node)]
    items += [(item,) for child in node.children for item in _embedded_items(child)]
    joins: list[Sql] = [_join(draft, child, max_rows) for child in node.children]
    return compact(
        (
            "SELECT ",
            *(joined(", ", items) if items else ("1",)),
            f"\nFROM {node.source}",
            *(part for join in joins for part in ("\n", *join)),
            *where(node.conditions),
            *(("\nORDER BY ", *joined(", ", node.order)) if node.order else ()),
            *_limit_sql(draft, node, max_rows),
        )
    )


def _limit_sql(draft: Draft, node: Node, max_rows: int | None) -> Sql:
    if node.limit is None:
        if max_rows is None:
            return ()
        draft.apply("limit.none")
        return (f"\nLIMIT {max_rows}",)
    offset: Sql = (" OFFSET ", node.offset) if node.offset else ()
    return ("\nLIMIT ", node.limit, *offset)


def count_sql(node: Node) -> Sql:
    """How many rows there are without LIMIT. An inner embedded resource keeps only the parents that have one."""
    return compact(("SELECT count(*)\nFROM (", *_counted(node), ') AS "counted"'))


def _counted(node: Node) -> Sql:
    conditions = list(node.conditions)
    conditions += [("EXISTS (", *_counted(child), ")") for child in node.children if child.inner]
    null_filters = {
        f"{identifier(child.alias)} IS {word}DISTINCT FROM NULL": (child, word)
        for child in node.children
        for word in ("", "NOT ")
    }
    for at, condition in enumerate(conditions):
        if len(condition) == 1 and condition[0] in null_filters:
            child, word = null_filters[condition[0]]
            conditions[at] = (f"{word}EXISTS (", *_counted(child), ")")
    return compact(("SELECT 1\nFROM ", node.source, *where(conditions)))


def _columns(draft: Draft, node: Node) -> list[str]:
    items = []
    for column in node.selection.columns:
        item = _column(draft, node, column)
        if item is not None:
            items.append(item)
    return items


def _column(draft: Draft, node: Node, column: Column) -> str | None:
    if column.aggregate == "count" and not column.name:
        if len(node.selection.columns) + len(node.selection.embeds) > 1:
            draft.refuse("select.count", "count beside other columns", "42803")
            return None
        draft.apply("select.count")
        return f"count(*) AS {identifier(column.alias or 'count')}"
    if column.aggregate:
        draft.refuse("select.aggregate", f"{column.aggregate}() of {column.name}", "PGRST123")
        return None
    if column.name == "*":
        draft.apply("select.all")
        return f"{identifier(node.reference)}.*"
    draft.apply("select.columns")
    draft.use(node.table, column.name, "select")
    sql = column_sql(draft, node.table, node.reference, column.name, column.path)
    alias = column.alias
    if column.path:
        draft.apply("select.path")
        alias = alias or _path_alias(column)
    if column.cast:
        draft.apply("select.cast")
        if not _CAST.fullmatch(column.cast):
            draft.refuse("select.cast", f"not the name of a type: {column.cast!r}", "PGRST100")
            return None
        sql = f"CAST({sql} AS {column.cast})"
    if column.alias:
        draft.apply("select.alias")
    return f"{sql} AS {identifier(alias)}" if alias else sql


def _path_alias(column: Column) -> str:
    names = [key for _, key in path_keys(column.path) if not re.fullmatch(r"-?\d+", key)]
    return names[-1] if names else column.name


def _embedded_items(child: Node) -> list[str]:
    if child.relationship is None:
        raise TypeError("a child has a relationship")
    alias = identifier(child.alias)
    if child.spread:
        return (
            [f"{alias}.*"]
            if any(column.name == "*" for column in child.selection.columns)
            else [f"{alias}.{identifier(name)}" for name in _spread_names(child)]
        )
    if not child.selection.columns and not child.children:
        return []
    if child.relationship.to_one:
        return [f"row_to_json({alias}.*)::jsonb AS {identifier(child.name)}"]
    return [f"coalesce({alias}.{alias}, '[]') AS {identifier(child.name)}"]


def _spread_names(child: Node) -> list[str]:
    names = [
        column.alias or (_path_alias(column) if column.path else column.name)
        for column in child.selection.columns
    ]
    for grandchild in child.children:
        names += _spread_names(grandchild) if grandchild.spread else [grandchild.name]
    return names


def _join(draft: Draft, child: Node, max_rows: int | None) -> Sql:
    if child.relationship is None:
        raise TypeError("a child has a relationship")
    alias = identifier(child.alias)
    kind = "INNER" if child.inner else "LEFT"
    subquery = select_sql(draft, child, max_rows)
    if child.spread or child.relationship.to_one:
        return (f"{kind} JOIN LATERAL (", *subquery, f") AS {alias} ON TRUE")
    condition = f"{alias} IS NOT NULL" if child.inner else "TRUE"
    return (
        f"{kind} JOIN LATERAL (SELECT json_agg({alias})::jsonb AS {alias} FROM (",
        *subquery,
        f") AS {alias}) AS {alias} ON {condition}",
    )
