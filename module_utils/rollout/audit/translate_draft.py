"""What a translation collects on its way: rules used, names used, arguments, and what stands in its way."""

from __future__ import annotations

from dataclasses import dataclass

from ansible.module_utils.rollout.audit.chain import Value
from ansible.module_utils.rollout.audit.live_schema import LiveSchema
from ansible.module_utils.rollout.audit.translate_rules import BY_ID
from ansible.module_utils.rollout.audit.translate_sql import TEXT, Place, argument_name


@dataclass(frozen=True)
class Gap:
    """Why a part of a chain was left out of its SQL.

    :ivar rule: of :mod:`translate_rules`
    :ivar code: the error that PostgREST or PostgreSQL gives instead of rows; empty when the part is merely not known
    :ivar library: the library cannot have a function for it; False when only the proof has less to look at
    """

    rule: str
    reason: str
    code: str = ""
    library: bool = True


@dataclass(frozen=True)
class Use:
    """A name that has to be in the schema.

    :ivar column: empty for the table itself
    :ivar role: ``select``, ``filter``, ``order``, ``payload``, ``conflict`` or ``table``
    """

    table: str
    column: str
    role: str


class Draft:
    """One translation under way.

    :param schema: the live one; ``None`` when it is not known
    :param schema_name: that the names belong to
    :param max_rows: PostgREST's ``db-max-rows``; ``None`` for no cap
    """

    def __init__(self, schema: LiveSchema | None, schema_name: str, max_rows: int | None) -> None:
        self.schema = schema
        self.schema_name = schema_name
        self.max_rows = max_rows
        self.rules: list[str] = []
        self.uses: list[Use] = []
        self.gaps: list[Gap] = []
        self._arguments: set[str] = set()

    def apply(self, rule: str) -> None:
        """Note that a rule was used.

        :raises KeyError: there is no such rule
        """
        if BY_ID[rule].id not in self.rules:
            self.rules.append(rule)

    def refuse(self, rule: str, reason: str, code: str = "", library: bool = True) -> None:
        """Note what is left out, and why."""
        self.apply(rule)
        gap = Gap(rule, reason, code, library)
        if gap not in self.gaps:
            self.gaps.append(gap)

    def use(self, table: str, column: str, role: str) -> None:
        """Note that a column of a table has to be there."""
        use = Use(table, column, role)
        if use not in self.uses:
            self.uses.append(use)

    def column_type(self, table: str, column: str) -> str:
        facts = self.schema.column(table, column) if self.schema else None
        return facts.type if facts else ""

    def argument(self, *words: str) -> str:
        """A name for one more argument of the generated function."""
        wanted = argument_name(*words)
        name, number = wanted, 1
        while name in self._arguments:
            number += 1
            name = f"{wanted}_{number}"
        self._arguments.add(name)
        return name

    def place(self, value: Value, *words: str, form: str = TEXT, column_type: str = "") -> Place:
        """Where one value goes."""
        return Place((value,), (self.argument(*words),), form, column_type)
