"""What to do about each migration: decided from the ledger, the rehearsal and the live catalog. Pure, no database.

State decides, not the ledger alone: a migration that nobody recorded may stand already, whole or in part, and one that
was recorded may have been damaged since.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ansible.module_utils.rollout import diff
from ansible.module_utils.rollout.catalog import Catalog, Entry, table_of
from ansible.module_utils.rollout.diff import Change, Difference
from ansible.module_utils.rollout.errors import DriftFound, SourceError
from ansible.module_utils.rollout.ledger import Ledger
from ansible.module_utils.rollout.migration import Migration, Statement

ABSENT = "absent"
APPLIED = "applied"
EQUAL = "unrecorded, equal"
PARTIAL = "unrecorded, partial"
DRIFTED = "drifted"
UNFINISHED = "unfinished"
#: Check mode cannot rehearse (it writes nothing), so it compares what is pending by kind and name only.
BY_NAME = "unrecorded, present by name"

_TO_DO = {
    ABSENT: "apply",
    EQUAL: "adopt",
    PARTIAL: "complete",
    UNFINISHED: "finish",
    BY_NAME: "complete",
    APPLIED: "nothing",
    DRIFTED: "refuse",
}


@dataclass(frozen=True)
class Verdict:
    """What stands of one migration.

    :ivar state: one of the constants above
    :ivar differences: why it is drifted; empty otherwise
    :ivar standing: names of its objects that exist already, when it is pending
    :ivar missing: names of its objects that do not exist yet, when it is pending
    """

    migration: Migration
    state: str
    differences: tuple[Difference, ...] = ()
    standing: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def action(self) -> str:
        """``apply``, ``adopt``, ``complete``, ``finish``, ``nothing`` or ``refuse``."""
        return _TO_DO[self.state]

    @property
    def pending(self) -> bool:
        return self.action not in ("nothing", "refuse")


@dataclass(frozen=True)
class Rehearsed:
    """What one migration does, as seen in the scratch schema, with the target schema's name put in.

    :ivar changes: by its transactional statements
    :ivar late_changes: by the statements that run outside a transaction, after them
    :ivar late_steps: the same, statement by statement
    :ivar seconds: server time of its statements
    :ivar between: shapes that an object has between two statements of the migration, by object; only filled for a
        migration that was begun by hand
    """

    changes: tuple[Change, ...]
    late_changes: tuple[Change, ...] = ()
    late_steps: tuple[tuple[Change, ...], ...] = ()
    seconds: float = 0.0
    between: Mapping[str, Sequence[Entry | None]] = field(default_factory=dict)

    @property
    def all_changes(self) -> tuple[Change, ...]:
        return self.changes + self.late_changes


@dataclass
class _Versions:
    """The shapes that pending migrations give to one object, in order."""

    shapes: list[Entry | None] = field(default_factory=list)
    made_by: list[str] = field(default_factory=list)


def check_history(migrations: Sequence[Migration], ledger: Ledger) -> None:
    """Compare the folder with the ledger, before anything else.

    :raises SourceError: a migration was removed, renumbered, changed after it was applied, or added out of order
    """
    known = {migration.id: migration for migration in migrations}
    by_checksum = {
        migration.checksum: migration for migration in migrations if migration.id not in ledger.rows
    }
    for row in ledger.rows.values():
        migration = known.get(row.id)
        if migration is None:
            moved = by_checksum.get(row.checksum)
            raise SourceError(
                f"migration {row.id}_{row.name} was applied at {row.applied_at}, but its folder is gone",
                hint=f"{moved.label} has the same SQL: give it its old number back."
                if moved
                else "Put the folder back; a migration that was applied stays in the repository.",
            )
        if migration.checksum != row.checksum:
            raise SourceError(
                f"migration {migration.label} was changed after it was applied at {row.applied_at}"
                f" (run {row.run_id}): {_what_changed(migration, row.variables)}",
                hint="Undo the change and write a new migration. Comments and white space may change freely.",
                details={"id": row.id, "recorded": row.checksum, "now": migration.checksum},
            )
    newest = max(ledger.rows, key=int, default="0")
    late = [m.label for m in migrations if m.id not in ledger.rows and int(m.id) < int(newest)]
    if late:
        raise SourceError(
            f"out of order: {', '.join(late)} came after {newest}, which is applied already",
            hint="Give the new migration a higher number than every applied one.",
        )


def _what_changed(migration: Migration, recorded: Mapping[str, object]) -> str:
    names = sorted(set(recorded) | set(migration.variables))
    changed = [
        f"{name} was {recorded.get(name)!r} and is now {migration.variables.get(name)!r}"
        for name in names
        if recorded.get(name) != migration.variables.get(name)
    ]
    return "; ".join(changed) or "its SQL is another one"


def decide(
    migrations: Sequence[Migration],
    ledger: Ledger,
    actual: Catalog,
    rehearsed: Mapping[str, Rehearsed] | None,
) -> list[Verdict]:
    """The verdict for every migration, in order.

    :param rehearsed: by id, at least for those that are not in the ledger; None in check mode
    :raises SourceError: see :func:`check_history`
    """
    check_history(migrations, ledger)
    grows = tuple(table for migration in migrations for table in migration.grows)
    pending = [m for m in migrations if m.id not in ledger.rows or ledger.rows[m.id].state == UNFINISHED]
    versions = _versions(pending, rehearsed or {}, ledger)
    drift = _drift(ledger, actual, grows, versions, pending, rehearsed)
    compared = {
        migration.id: _compare(rehearsed[migration.id], migration.id, ledger, actual, versions, grows)
        for migration in pending
        if rehearsed is not None and migration.id not in ledger.rows
    }
    verdicts = []
    for migration in migrations:
        found = tuple(drift.get(migration.id, ()))
        if found:
            verdicts.append(Verdict(migration, DRIFTED, found))
        elif migration.id in ledger.rows:
            verdicts.append(Verdict(migration, UNFINISHED if migration in pending else APPLIED))
        elif rehearsed is None:
            verdicts.append(_by_name(migration, actual))
        else:
            verdicts.append(_by_shape(migration, compared))
    return verdicts


def _versions(
    pending: Sequence[Migration], rehearsed: Mapping[str, Rehearsed], ledger: Ledger
) -> dict[str, _Versions]:
    found: dict[str, _Versions] = {}
    for migration in pending:
        body = rehearsed.get(migration.id)
        if body is None:
            continue
        unfinished = migration.id in ledger.rows
        for change in body.late_changes if unfinished else body.all_changes:
            versions = found.setdefault(change.object, _Versions([change.before], [""]))
            shapes = [*body.between.get(change.object, ()), change.after]
            if unfinished and change.after:
                # An index whose concurrent build was interrupted is dropped and built again.
                shapes.insert(0, {**change.after, "invalid": True})
            versions.shapes += shapes
            versions.made_by += [migration.id] * len(shapes)
    return found


def _drift(
    ledger: Ledger,
    actual: Catalog,
    grows: tuple[str, ...],
    versions: Mapping[str, _Versions],
    pending: Sequence[Migration],
    rehearsed: Mapping[str, Rehearsed] | None,
) -> dict[str, list[Difference]]:
    """Differences on recorded objects, by the migration that recorded them last."""
    by_name_only = (
        {name for m in pending for s in m.statements for name in s.creates} if rehearsed is None else set()
    )
    found: dict[str, list[Difference]] = {}
    for difference in diff.compare(ledger.expected, ledger.made, actual, grows):
        ahead = versions.get(difference.object)
        if ahead and difference.observed in ahead.shapes:
            continue  # a pending migration was begun by hand; judged with that migration
        if difference.kind == "extra" and difference.object in by_name_only:
            continue
        found.setdefault(_owner(difference, ledger), []).append(difference)
    return found


def _owner(difference: Difference, ledger: Ledger) -> str:
    """Which migration a difference belongs to: the one that recorded the object, or what the object was added to."""
    described = difference.object.removeprefix("comment on ")
    table = table_of(described, difference.observed)
    parent = (difference.observed or {}).get("parent")
    for name in (difference.object, described, f"table {table}", f"table {parent}"):
        if name in ledger.owners:
            return ledger.owners[name]
    name = difference.object.partition("(")[0]
    return next(owner for other, owner in ledger.owners.items() if other.partition("(")[0] == name)


def _by_name(migration: Migration, actual: Catalog) -> Verdict:
    """Without a rehearsal: what a migration's statements create, looked up by kind and name."""
    names = [name for statement in migration.statements for name in statement.creates]
    functions = {name.partition("(")[0] for name in actual.entries if name.startswith("function ")}
    standing, missing, occupied = [], [], []
    for name in names:
        occupant = diff.occupied_by(name, actual)
        if name in actual.entries or name in functions:
            standing.append(name)
        elif occupant:
            occupied.append(Difference(name, "occupied", {}, {"is": occupant}))
        else:
            missing.append(name)
    if occupied:
        return Verdict(migration, DRIFTED, tuple(occupied), tuple(standing), tuple(missing))
    return Verdict(migration, BY_NAME if standing else ABSENT, (), tuple(standing), tuple(missing))


@dataclass
class _Compared:
    """A pending migration's objects, by whether they are as it leaves them.

    :ivar unsure: those that look the same before and after, because a later migration undoes this one's work on them
    :ivar begun: whether an object is as it is between two of its statements
    """

    standing: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unsure: list[str] = field(default_factory=list)
    wrong: list[Difference] = field(default_factory=list)
    begun: bool = False


def _compare(
    rehearsed: Rehearsed,
    migration_id: str,
    ledger: Ledger,
    actual: Catalog,
    versions: Mapping[str, _Versions],
    grows: tuple[str, ...],
) -> _Compared:
    """Compare the live objects with every shape that pending migrations give them."""
    found = _Compared()
    changes = {change.object: change for change in rehearsed.all_changes}
    occupied = {name for name in changes if _is_occupied(name, versions, actual)}
    for name, change in changes.items():
        if f"table {table_of(name, change.after)}" in occupied - {name}:
            continue  # what belongs to a table whose name is taken is not worth a line of its own
        reached = _reached(actual.entries.get(name), versions[name], migration_id)
        if not reached or name in occupied:
            found.wrong.append(_difference(change, actual))
        elif reached == {"before", "after"}:
            found.unsure.append(name)
        elif "after" in reached:
            found.standing.append(name)
        else:
            found.missing.append(name)
            found.begun = found.begun or "between" in reached
    found.wrong += _half_made_extras(ledger, actual, rehearsed, versions, grows, found.standing)
    return found


def _by_shape(migration: Migration, compared: Mapping[str, _Compared]) -> Verdict:
    found = compared[migration.id]
    numbers = list(compared)
    until, onward = numbers[: numbers.index(migration.id) + 1], numbers[numbers.index(migration.id) :]
    # What does not tell by itself stands when this or a later migration surely has begun and nothing before is missing.
    stands = any(compared[one].standing for one in onward) and not any(compared[one].missing for one in until)
    standing = found.standing + (found.unsure if stands else [])
    missing = found.missing + ([] if stands else found.unsure)
    if found.wrong:
        return Verdict(migration, DRIFTED, tuple(found.wrong), tuple(standing), tuple(missing))
    # A migration that changes rows only leaves nothing in the catalog to stand, and is absent.
    state = ABSENT if not standing and not found.begun else PARTIAL if missing else EQUAL
    return Verdict(migration, state, (), tuple(standing), tuple(missing))


def _is_occupied(name: str, versions: Mapping[str, _Versions], actual: Catalog) -> bool:
    """Whether a name is taken by something that no pending migration put there."""
    occupant = diff.occupied_by(name, actual)
    if occupant is None:
        return False
    return occupant not in versions or actual.entries[occupant] not in versions[occupant].shapes


def _reached(live: Entry | None, versions: _Versions, migration_id: str) -> set[str]:
    """How far a migration has come with an object: ``before``, ``between`` two of its statements, or ``after``.

    :returns: ``before`` and ``after`` when the shape does not tell; nothing when no migration gives it that shape
    """
    first = versions.made_by.index(migration_id)
    last = len(versions.made_by) - 1 - versions.made_by[::-1].index(migration_id)
    found = {"after"} if live in versions.shapes[last:] else set()
    if live in versions.shapes[:first]:
        found.add("before")
    return found or ({"between"} if live in versions.shapes[first:last] else set())


def _difference(change: Change, actual: Catalog) -> Difference:
    observed = actual.entries.get(change.object)
    occupant = None if observed else diff.occupied_by(change.object, actual)
    if occupant:
        return Difference(change.object, "occupied", change.after, {"is": occupant})
    kind = "changed" if observed is not None else "missing"
    return Difference(change.object, kind, change.after, observed)


def _half_made_extras(
    ledger: Ledger,
    actual: Catalog,
    rehearsed: Rehearsed,
    versions: Mapping[str, _Versions],
    grows: tuple[str, ...],
    standing: Sequence[str],
) -> list[Difference]:
    """Objects on this migration's tables, or overloads of its functions, that no migration makes."""
    mine = {
        change.object: change.after
        for change in rehearsed.all_changes
        if change.after is not None and (change.object in standing or change.object.startswith("function "))
    }
    foreseen = set(ledger.expected) | set(versions)
    made = [name for name in mine if versions[name].shapes[0] is None and name not in ledger.expected]
    return [found for found in diff.extras(mine, made, actual, grows) if found.object not in foreseen]


def shapes_between(by_statement: Sequence[Sequence[Change]]) -> dict[str, list[Entry | None]]:
    """The shapes that objects have between two statements of a migration.

    :param by_statement: what each statement does to the catalog
    """
    found: dict[str, list[Entry | None]] = {}
    for changed in by_statement:
        for change in changed:
            found.setdefault(change.object, []).append(change.after)
    return {name: shapes[:-1] for name, shapes in found.items() if len(shapes) > 1}


def statements_to_run(
    migration: Migration,
    by_statement: Sequence[Sequence[Change]],
    actual: Catalog,
    standing: Collection[str] = (),
) -> list[tuple[int, Statement]]:
    """For a migration that stands in part: the statements whose effect is still missing, with their positions.

    :param by_statement: what each statement does to the catalog, from a rehearsal statement by statement
    :param standing: objects that are as this migration leaves them, or as a later one does
    :raises DriftFound: a statement's effect stands in part, or cannot be seen in the catalog at all
    """
    shapes: dict[str, list[Entry | None]] = {}
    for changed in by_statement:
        for change in changed:
            shapes.setdefault(change.object, [change.before]).append(change.after)
    seen: dict[str, int] = dict.fromkeys(shapes, 0)
    chosen = []
    for at, (statement, changed) in enumerate(zip(migration.statements, by_statement, strict=True)):
        done: list[str] = []
        todo: list[str] = []
        for change in changed:
            seen[change.object] += 1
            later = shapes[change.object][seen[change.object] :]
            stands = change.object in standing or actual.entries.get(change.object) in later
            (done if stands else todo).append(change.object)
        if statement.kind == "SelectStmt":
            # A function that a migration calls must bear being called again; docs/migrations.md says so.
            chosen.append((at, statement))
        elif not changed:
            raise DriftFound(
                f"{statement.place}: the migration stands in part, and whether this statement ran cannot be seen"
                f" in the catalog ({statement.kind})",
                hint="Finish the migration by hand or remove what stands of it, then run again.",
            )
        elif done and todo:
            raise DriftFound(
                f"{statement.place}: its effect stands in part: {', '.join(done)} there, {', '.join(todo)} missing",
                hint="Finish it by hand or remove it, then run again.",
            )
        elif todo:
            chosen.append((at, statement))
    return chosen
