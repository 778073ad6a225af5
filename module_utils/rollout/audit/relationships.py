"""Which foreign key an embedded resource goes along, as PostgREST 12 decides it (findRel in its Plan.hs)."""

from __future__ import annotations

from dataclasses import dataclass

from ansible.module_utils.rollout.audit.live_schema import ForeignKey, LiveSchema

MANY_TO_ONE, ONE_TO_MANY, ONE_TO_ONE, MANY_TO_MANY = (
    "many to one",
    "one to many",
    "one to one",
    "many to many",
)


@dataclass(frozen=True)
class Relationship:
    """A way from a table to another one.

    :ivar pairs: columns of ``table`` with those of ``foreign_table``, or, for many to many, with the table between
    :ivar between: that table, for many to many
    :ivar far_pairs: columns of ``foreign_table`` with those of the table between
    """

    kind: str
    table: str
    foreign_table: str
    constraint: str
    pairs: tuple[tuple[str, str], ...]
    between: str = ""
    far_pairs: tuple[tuple[str, str], ...] = ()

    @property
    def to_one(self) -> bool:
        return self.kind in (MANY_TO_ONE, ONE_TO_ONE)

    @property
    def is_self(self) -> bool:
        return self.table == self.foreign_table

    @property
    def description(self) -> str:
        return f"{self.constraint} ({self.kind})"


def find(schema: LiveSchema, table: str, target: str, hint: str = "") -> list[Relationship]:
    """The relationships that ``target!hint(…)`` in a select of ``table`` can mean: one when it is clear.

    :param target: a table, or a foreign key's name, or its column
    :param hint: a foreign key's name, its column, or the table between; empty for none
    """
    found = []
    for relationship in _all(schema, table):
        if relationship.is_self:
            chosen = _self_matches(relationship, target, hint)
        elif hint:
            chosen = target == relationship.foreign_table and (
                hint == relationship.between
                or (relationship.kind != MANY_TO_MANY and _names(relationship, hint, both_sides=True))
            )
        else:
            chosen = target == relationship.foreign_table or (
                relationship.kind != MANY_TO_MANY and _names(relationship, target, both_sides=False)
            )
        if chosen:
            found.append(relationship)
    return found


def _self_matches(relationship: Relationship, target: str, hint: str) -> bool:
    """Of a table's reference to itself: the children by the table's name, the parent by the column's."""
    if len(relationship.pairs) != 1:
        return not hint and target == relationship.foreign_table and relationship.kind == ONE_TO_MANY
    ((own, foreign),) = relationship.pairs
    if hint:
        return (
            target == relationship.foreign_table
            and relationship.kind == ONE_TO_MANY
            and hint in (own, foreign)
        )
    return (target == relationship.foreign_table and relationship.kind == ONE_TO_MANY) or (
        target == own and relationship.kind == MANY_TO_ONE
    )


def _names(relationship: Relationship, word: str, both_sides: bool) -> bool:
    """Whether a word is the foreign key's name or its single column."""
    if word == relationship.constraint:
        return True
    if len(relationship.pairs) != 1:
        return False
    ((own, foreign),) = relationship.pairs
    return word == own or (both_sides and word == foreign)


def _all(schema: LiveSchema, table: str) -> list[Relationship]:
    found = []
    for key in schema.foreign_keys:
        unique = _is_unique(schema, key)
        if key.table == table:
            pairs = tuple(zip(key.columns, key.foreign_columns, strict=True))
            kind = ONE_TO_ONE if unique else MANY_TO_ONE
            found.append(Relationship(kind, table, key.foreign_table, key.name, pairs))
        if key.foreign_table == table:
            pairs = tuple(zip(key.foreign_columns, key.columns, strict=True))
            kind = ONE_TO_ONE if unique else ONE_TO_MANY
            found.append(Relationship(kind, table, key.table, key.name, pairs))
    return found + _many_to_many(schema, table)


def _many_to_many(schema: LiveSchema, table: str) -> list[Relationship]:
    """Through a table with foreign keys to both, whose columns are part of its primary key."""
    found = []
    for near in schema.foreign_keys:
        if near.foreign_table != table or _is_unique(schema, near):
            continue
        for far in schema.foreign_keys:
            if far.table != near.table or far.name == near.name or _is_unique(schema, far):
                continue
            if set(near.columns) | set(far.columns) <= set(schema.tables[near.table].primary_key):
                found.append(
                    Relationship(
                        MANY_TO_MANY,
                        table,
                        far.foreign_table,
                        near.name,
                        tuple(zip(near.foreign_columns, near.columns, strict=True)),
                        near.table,
                        tuple(zip(far.foreign_columns, far.columns, strict=True)),
                    )
                )
    return found


def _is_unique(schema: LiveSchema, key: ForeignKey) -> bool:
    return any(set(unique) == set(key.columns) for unique in schema.tables[key.table].unique_constraints)
