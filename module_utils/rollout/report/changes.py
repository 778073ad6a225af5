"""What a run changed in the database, and what it locked for that. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.rollout.report.reading import (
    listing,
    mapping,
    mappings,
    number,
    seconds_of,
    text,
    texts,
)
from ansible.module_utils.rollout.report.sections import Section, of_kind
from ansible.module_utils.rollout.report.wording import first_line

#: Objects of the catalog in the order in which people count them.
KINDS = (
    "table",
    "column",
    "index",
    "constraint",
    "sequence",
    "function",
    "trigger",
    "view",
    "policy",
    "comment",
)

#: Characters of a statement's first line that are shown.
_STATEMENT = 120


@dataclass(frozen=True)
class Migration:
    """What became of one migration in this run.

    :ivar state: ``applied``, ``adopted``, ``completed``, ``repaired``, ``failed`` …
    :ivar applied: whether this run brought it into force
    :ivar created: names of the objects that it made, by kind
    :ivar locks: on each protected table the strongest mode that was held, and the one that was allowed
    :ivar other_locks: on other tables that existed before, the strongest mode that was held
    :ivar statements: place, first line and milliseconds of each
    :ivar sql: path of the rendered SQL below the run's folder
    """

    section: str
    label: str
    state: str
    applied: bool
    description: str
    created: Mapping[str, Sequence[str]]
    statements: Sequence[tuple[str, str, str]]
    seconds: float
    locks: Sequence[tuple[str, str, str]]
    other_locks: Sequence[tuple[str, str]]
    attempts: int
    sql: str
    message: str
    fingerprints: tuple[str, str] = ("", "")
    adopted: Sequence[str] = field(default_factory=tuple)


def migrations_of(sections: list[Section]) -> list[Migration]:
    """Every migration that the run had something to do with, in the order of the run."""
    return [_migration(section) for section in of_kind(sections, "migration")]


def _migration(section: Section) -> Migration:
    data, executed = section.data, mapping(section.data.get("executed"))
    described: Mapping[str, Any] = next(
        (one for one in mappings(data.get("migrations")) if one.get("label") == section.about), {}
    )
    held, budget = mapping(executed.get("locks")), mapping(executed.get("budget"))
    applied = bool(data.get("changed")) and not section.failed and bool(executed)
    return Migration(
        section=section.name,
        label=section.about,
        state=_state(section, executed, described),
        applied=applied,
        description=text(described.get("description")),
        created=_by_kind(texts(described.get("missing"))) if applied else {},
        statements=[
            (text(one.get("place")), first_line(text(one.get("sql")), _STATEMENT), text(one.get("ms")))
            for one in mappings(executed.get("statements"))
        ],
        seconds=seconds_of(data),
        locks=[(table, text(held.get(table)) or "none", text(mode)) for table, mode in budget.items()],
        other_locks=[(table, text(mode)) for table, mode in held.items() if table not in budget],
        attempts=int(number(executed.get("attempts")) or 0),
        sql=text(mapping(data.get("sql")).get("file")),
        message=text(data.get("msg")) or text(data.get("summary")),
        fingerprints=(text(executed.get("fingerprint_before")), text(executed.get("fingerprint_after"))),
        adopted=texts(described.get("standing")) if applied else (),
    )


def _state(section: Section, executed: Mapping[str, Any], described: Mapping[str, Any]) -> str:
    if section.failed:
        return "failed"
    if section.data.get("changed") and not executed:
        return "repaired"
    return text(executed.get("state")) or text(described.get("state"))


def _by_kind(names: Sequence[str]) -> dict[str, list[str]]:
    """``column bookings.cost`` is of the kind ``column``."""
    found: dict[str, list[str]] = {}
    for name in names:
        kind, _, rest = name.partition(" ")
        found.setdefault(kind, []).append(rest or name)
    order = {kind: at for at, kind in enumerate(KINDS)}
    return dict(sorted(found.items(), key=lambda item: (order.get(item[0], len(order)), item[0])))


def created(migrations: Sequence[Migration]) -> dict[str, int]:
    """How many objects of each kind the run made."""
    total: Counter[str] = Counter()
    for migration in migrations:
        total.update({kind: len(names) for kind, names in migration.created.items()})
    return dict(total)


@dataclass(frozen=True)
class Undone:
    """What was taken back.

    :ivar labels: migrations, in the order in which they were
    :ivar stays: migrations of the run, or of the request, that stay in force
    :ivar why: why they stay; empty when nobody wanted to take them back
    :ivar automatic: by a run that failed, not on request
    :ivar as_before: whether the schema is what it was before the run; None: not compared
    :ivar rows: of the tables that went, on request only
    :ivar export: folder of the proven backup that has these rows
    """

    labels: Sequence[str]
    stays: Sequence[str]
    why: str
    automatic: bool
    as_before: bool | None
    rows: Sequence[tuple[str, str]]
    export: str
    reason: str
    gate: str


def undone(sections: list[Section]) -> Undone | None:
    """What was taken back; None: nothing was to be."""
    steps = of_kind(sections, "rollback")
    whole = next((section for section in steps if not section.about), None)
    if whole is None:
        return None
    data, automatic = whole.data, "cause" in whole.data
    same = data.get("as_before")
    found = Undone(
        labels=texts(data.get("taken_back")),
        stays=texts(data.get("stays")),
        why=text(data.get("refused")),
        automatic=automatic,
        as_before=bool(same) if automatic and listing(data.get("taken_back")) else None,
        rows=[(table, text(count)) for table, count in mapping(data.get("rows")).items()],
        export=text(data.get("export")),
        reason=text(data.get("reason")),
        gate=text(data.get("gate")),
    )
    return found if found.labels or found.stays or not automatic else None
