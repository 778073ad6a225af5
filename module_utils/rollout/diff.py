"""Differences between what a catalog must hold and what it holds, object by object, and how a person reads them."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.rollout.catalog import RELATION_KINDS, Catalog, Entry, table_of


@dataclass(frozen=True)
class Difference:
    """One object that is not as it must be.

    :ivar object: entry name, such as ``column bookings.cost``
    :ivar kind: ``missing``, ``extra``, ``changed`` or ``occupied`` (the name belongs to something else)
    :ivar expected: attributes as they must be; None for ``extra``
    :ivar observed: attributes as they are; None for ``missing``
    """

    object: str
    kind: str
    expected: Entry | None
    observed: Entry | None

    @property
    def attributes(self) -> list[tuple[str, Any, Any]]:
        """Which attributes differ: name, expected, observed."""
        expected, observed = self.expected or {}, self.observed or {}
        names = sorted(set(expected) | set(observed))
        return [(n, expected.get(n), observed.get(n)) for n in names if expected.get(n) != observed.get(n)]

    def as_json(self) -> dict[str, Any]:
        """The difference for a machine; of what is wholly missing or extra, the name says enough."""
        differing = self.attributes if self.kind in ("changed", "occupied") else []
        return {
            "object": self.object,
            "kind": self.kind,
            "attributes": {name: {"expected": want, "observed": is_} for name, want, is_ in differing},
        }


def compare(
    expected: Mapping[str, Entry], made: Collection[str], actual: Catalog, grows: tuple[str, ...] = ()
) -> list[Difference]:
    """Compare what is managed with what is there.

    Objects that nobody manages do not count, but what was added *to* a managed object does: a column, constraint,
    index, trigger, policy or partition on a managed table, an overload of a managed function, a comment.

    :param expected: the managed entries
    :param made: those of them that migrations created; of the others, which they only altered, additions do not count
    :param actual: the whole schema as it is
    :param grows: partitioned tables to which others may add partitions
    """
    found = []
    for name, entry in sorted(expected.items()):
        observed = actual.entries.get(name)
        if observed == entry:
            continue
        if observed is not None:
            found.append(Difference(name, "changed", entry, observed))
            continue
        occupant = occupied_by(name, actual)
        kind = "occupied" if occupant else "missing"
        found.append(Difference(name, kind, entry, {"is": occupant} if occupant else None))
    return found + extras(expected, made, actual, grows)


def extras(
    expected: Mapping[str, Entry], made: Collection[str], actual: Catalog, grows: tuple[str, ...] = ()
) -> list[Difference]:
    """What stands on tables that migrations made, or beside their functions, without being managed itself."""
    tables = {name.removeprefix("table ") for name in made if name.startswith("table ")}
    functions = {name.partition("(")[0] for name in made if name.startswith("function ")}
    found = []
    for name, entry in sorted(actual.entries.items()):
        if name in expected:
            continue
        if name.startswith("table "):
            if entry.get("parent") in tables and entry["parent"] not in grows:
                found.append(Difference(name, "extra", None, entry))
            continue
        if name.startswith("comment on "):
            if name.removeprefix("comment on ") in made:
                found.append(Difference(name, "extra", None, entry))
            continue
        table = table_of(name, entry)
        if entry.get("parent") and f"index {entry['parent']}" not in expected and name.startswith("index "):
            continue  # follows an index of the partitioned table, which is told already
        if table in tables or name.partition("(")[0] in functions:
            found.append(Difference(name, "extra", None, entry))
    return found


def occupied_by(name: str, actual: Catalog) -> str | None:
    """What stands in the place of a missing relation: tables, views, sequences and indexes share their names.

    A table or view has a row type of its own name, so that a type can stand in its way too, and the other way round.
    """
    kind = kind_of(name)
    if kind not in RELATION_KINDS:
        return None
    for other in RELATION_KINDS:
        occupant = f"{other} {name.removeprefix(kind + ' ')}"
        apart = "type" in (kind, other) and not {kind, other} & {"table", "foreign table", "view"}
        if occupant != name and occupant in actual.entries and not apart:
            return occupant
    return None


def kind_of(name: str) -> str:
    """The kind of an entry, from its name: ``table``, ``foreign table``, ``index``, ``comment``, ..."""
    words = name.split(" ", 2)
    return " ".join(words[:2]) if words[0] == "foreign" else words[0]


def as_text(differences: Iterable[Difference]) -> str:
    """Differences for a person: one line an object, then its attributes, ``-`` as it is, ``+`` as it must be."""
    lines: list[str] = []
    for difference in differences:
        if difference.kind == "missing":
            lines.append(f"{difference.object}: missing")
        elif difference.kind == "extra":
            lines.append(f"{difference.object}: is not part of any migration")
        elif difference.kind == "occupied":
            lines.append(f"{difference.object}: its name is taken by {(difference.observed or {})['is']}")
        else:
            lines.append(f"{difference.object}: differs")
            for name, expected, observed in difference.attributes:
                lines += _attribute(name, expected, observed)
    return "\n".join(lines)


def _attribute(name: str, expected: Any, observed: Any) -> list[str]:
    texts = [value for value in (expected, observed) if isinstance(value, str) and "\n" in value]
    if texts:
        before, after = (_lines(value) for value in (observed, expected))
        # The first two lines name files, lines with @@ positions.
        changed = list(difflib.unified_diff(before, after, n=0, lineterm=""))[2:]
        return [
            f"    {name}:",
            *(f"      {line[0]} {line[1:]}" for line in changed if not line.startswith("@@")),
        ]
    return [f"  - {name}: {_shown(observed)}", f"  + {name}: {_shown(expected)}"]


def _lines(value: Any) -> list[str]:
    """A text's lines; line ends of another system are made visible, they may be all that differs."""
    return [] if value is None else str(value).replace("\r", "\\r").split("\n")


def _shown(value: Any) -> str:
    return "(none)" if value is None else str(value)


def listing(entries: Mapping[str, Entry]) -> str:
    """Entries as text, for Ansible's ``--diff``: one line an object, its attributes below."""
    lines = []
    for name, entry in sorted(entries.items()):
        lines.append(name)
        for attribute, value in sorted(entry.items()):
            if attribute in ("grants", "owner", "persistence", "position"):
                continue
            shown = "\n      ".join(str(value).splitlines())
            lines.append(f"    {attribute}: {shown}")
    return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True)
class Change:
    """What one migration does to one object.

    :ivar object: entry name
    :ivar before: attributes before the migration; None when it creates the object
    :ivar after: attributes after it; None when it drops the object
    """

    object: str
    before: Entry | None
    after: Entry | None

    @property
    def action(self) -> str:
        if self.before is None:
            return "created"
        return "dropped" if self.after is None else "altered"


def changes(before: Catalog, after: Catalog) -> list[Change]:
    """Every object whose attributes differ between two readings of a schema."""
    names = sorted(set(before.entries) | set(after.entries))
    return [
        Change(name, before.entries.get(name), after.entries.get(name))
        for name in names
        if before.entries.get(name) != after.entries.get(name)
    ]


def summary(found: Sequence[Change]) -> str:
    """Changes in one line: ``created 10 tables, 58 indexes; altered 1 function``."""
    parts = []
    for action in ("created", "altered", "dropped"):
        counts: dict[str, int] = {}
        for change in found:
            if change.action == action:
                kind = kind_of(change.object)
                counts[kind] = counts.get(kind, 0) + 1
        if counts:
            listed = ", ".join(f"{count} {_plural(kind, count)}" for kind, count in sorted(counts.items()))
            parts.append(f"{action} {listed}")
    return "; ".join(parts) or "nothing"


def _plural(kind: str, count: int) -> str:
    irregular = {"index": "indexes", "policy": "policies", "statistics": "statistics"}
    return kind if count == 1 else irregular.get(kind, kind + "s")
