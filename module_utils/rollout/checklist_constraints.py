"""Items that give tables what they must refuse: checks, foreign keys, unique keys, NOT NULL. Pure, but for ``attempt``.

What is tried follows from what the ledger recorded, never from the live catalog: a constraint that is gone is missed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.rollout.checklist_known import Attempt, Known, Trial, carry_out
from ansible.module_utils.rollout.checklist_probes import Came, Refusal, ask, do
from ansible.module_utils.rollout.checklist_recorded import differences
from ansible.module_utils.rollout.checklist_shape import Check, ForeignKey, UniqueKey
from ansible.module_utils.rollout.checklist_verdict import Judgement
from ansible.module_utils.rollout.findings import Verdict
from ansible.module_utils.rollout.partition_reading import quoted

_NOT_NULL, _FOREIGN, _UNIQUE, _CHECK = "23502", "23503", "23505", "23514"
#: How a server refuses to delete a row that others refer to; PostgreSQL 18 has a code of its own for RESTRICT.
_STILL_REFERRED = (_FOREIGN, "23001")
#: What deleting a parent does to its rows, by what was declared.
_DELETED = {
    "CASCADE": "removes its rows",
    "RESTRICT": "is refused",
    "NO ACTION": "is refused",
    "SET NULL": "sets NULL",
    "SET DEFAULT": "sets the default",
}
_ADD_SAMPLES = "Give it in samples.yml beside the migration; docs/migrations.md says how."


def checks(known: Known, attempt: Attempt) -> Verdict:
    """Every CHECK refuses bad values and accepts good ones."""
    judgement = Judgement("every CHECK refuses each bad value of the samples, and accepts each good one")
    differences(known, judgement, "checks")
    trials: list[Trial] = []
    tried = {"good": 0, "bad": 0}
    for check in known.shape.checks:
        sample = known.samples.checks.get(check.label)
        if sample is None:
            judgement.warn(f"{check.label} has no sample: {check.definition}", _ADD_SAMPLES)
            continue
        covered = {column for values in sample["bad"] for column in values}
        if missing := [column for column in check.columns if column not in covered]:
            judgement.warn(f"{check.label} has no bad value for {', '.join(missing)}", _ADD_SAMPLES)
        for kind in ("good", "bad"):
            for values in sample[kind]:
                tried[kind] += 1
                trials.append(_check_trial(known, judgement, check, kind == "bad", values))
    labels = {check.label for check in known.shape.checks}
    for label in sorted(set(known.samples.checks) - labels):
        judgement.warn(f"the samples name {label}, which is no CHECK of a migration in force", _ADD_SAMPLES)
    for other in known.shape.elsewhere:
        judgement.warn(f"{other} is on a table that no migration made; nothing is written there")
    tried_out = carry_out(known, judgement, attempt, trials)
    if tried_out is not None:
        _own_refusals(known, judgement, tried_out.refused, _CHECK)
    if not trials:
        judgement.leave_untried("no migration in force made a CHECK")
    return judgement.verdict(
        f"{len(known.shape.checks)} CHECKs refused {tried['bad']} bad values and accepted {tried['good']} good ones",
        **tried,
    )


def _check_trial(
    known: Known, judgement: Judgement, check: Check, bad: bool, values: Mapping[str, Any]
) -> Trial:
    told = ", ".join(f"{column} = {_shown(value)}" for column, value in values.items())

    def judge(came: Came) -> None:
        if bad and came.refusal is None:
            judgement.fail(f"{check.label} accepts {told}; recorded is {check.definition}")
        elif (
            bad and came.refusal and (came.refusal.sqlstate, came.refusal.constraint) != (_CHECK, check.name)
        ):
            judgement.fail(f"{check.label}: {told} is refused by something else: {_by(came.refusal)}")
        elif not bad and came.refusal is not None:
            judgement.fail(f"{check.label}: {told}, which is good, is refused: {_by(came.refusal)}")
        elif not bad and came.answers != (1,):
            judgement.fail(f"{check.label}: an UPDATE of the good row changed {came.answers[0]} rows")

    sql = known.rows.update(check.table, known.rows.literals(check.table, values))
    return Trial((check.table,), [do(sql)], judge)


def foreign_keys(known: Known, attempt: Attempt) -> Verdict:
    """Every foreign key refuses a parent that is not there, and does what was declared when one is deleted."""
    judgement = Judgement(
        "every foreign key refuses a missing parent, and acts as recorded when the parent is deleted"
    )
    differences(known, judgement, "foreign_keys")
    trials: list[Trial] = []
    for key in known.shape.foreign_keys:
        label = f"{key.table}.{key.name}"
        if key.parent not in known.shape.tables:
            judgement.warn(
                f"{label} refers to {key.parent}, which no migration made; nothing is written there"
            )
            continue
        if known.rows.why_not(key.table) or known.rows.why_not(key.parent):
            trials.append(Trial((key.table, key.parent), (), lambda came: None))
            continue
        numbers = [known.shape.tables[key.table][column]["type"] for column in key.columns]
        if any(kind not in ("integer", "bigint") for kind in numbers):
            judgement.warn(f"{label}: no value of type {', '.join(numbers)} is known to have no parent")
        else:
            trials.append(_orphan(known, judgement, key, label))
        if key.parent == key.table:
            judgement.warn(f"{label} refers to its own table: what a DELETE does there is not tried")
        else:
            trials.append(_parent_deleted(known, judgement, key, label))
    tried = carry_out(known, judgement, attempt, trials)
    if tried is not None:
        _own_refusals(known, judgement, tried.refused, _FOREIGN)
    if not trials:
        judgement.leave_untried("no migration in force made a foreign key")
    actions = [key.on_delete for key in known.shape.foreign_keys]
    counted = ", ".join(f"{actions.count(action)} {action}" for action in sorted(set(actions)))
    return judgement.verdict(f"{len(actions)} foreign keys act as recorded: {counted}")


def _orphan(known: Known, judgement: Judgement, key: ForeignKey, label: str) -> Trial:
    def judge(came: Came) -> None:
        if came.refusal is None:
            judgement.fail(f"{label} accepts a row without a parent in {key.parent}")
        elif came.refusal.sqlstate == _UNIQUE:
            judgement.leave(f"{label}: the row to try it with is refused: {_by(came.refusal)}")
        elif (came.refusal.sqlstate, came.refusal.constraint) != (_FOREIGN, key.name):
            judgement.fail(
                f"{label}: a row without a parent is refused by something else: {_by(came.refusal)}"
            )

    # A second row: the good one may be referred to itself.
    orphan = {**known.rows.another(key.table), **dict.fromkeys(key.columns, str(known.rows.nobody))}
    return Trial((key.table, key.parent), [do(known.rows.insert(key.table, orphan))], judge)


def _parent_deleted(known: Known, judgement: Judgement, key: ForeignKey, label: str) -> Trial:
    """A second parent, a second child that refers to it and that nothing refers to; then the parent is deleted."""
    parent, child = known.rows.another(key.parent), dict(known.rows.another(key.table))
    child.update({column: parent[referred] for column, referred in zip(key.columns, key.keys, strict=True)})
    where = known.rows.where(key.table, child)
    emptied = " AND ".join(f"{quoted(column)} IS NULL" for column in key.columns)
    kept = " AND ".join(f"{quoted(column)} = {child[column]}" for column in key.columns)
    steps = [
        do(known.rows.insert(key.parent, parent)),
        do(known.rows.insert(key.table, child)),
        do(f"DELETE FROM {quoted(key.parent)} WHERE {known.rows.where(key.parent, parent)}"),
        ask(f"SELECT {emptied} AS emptied, ({kept}) IS TRUE AS kept FROM {quoted(key.table)} WHERE {where}"),
    ]

    def judge(came: Came) -> None:
        refusal = came.refusal
        if refusal and len(came.answers) < 2:
            tell = judgement.leave if refusal.sqlstate == _UNIQUE else judgement.fail
            tell(f"{label}: the rows to try it with are refused: {_by(refusal)}")
            return
        if refusal and (refusal.sqlstate not in _STILL_REFERRED or refusal.constraint != key.name):
            judgement.fail(f"{label}: deleting the parent fails for another reason: {_by(refusal)}")
            return
        if refusal:
            seen = "is refused"
        elif not came.answers[3]:
            seen = "removes its rows"
        elif came.answers[3][0]["kept"]:
            seen = "leaves its rows without a parent"
        else:
            # A default may well be NULL.
            empties = came.answers[3][0]["emptied"] and key.on_delete != "SET DEFAULT"
            seen = "sets NULL" if empties else "sets the default"
        if seen != _DELETED[key.on_delete]:
            judgement.fail(
                f"{label}: deleting a row of {key.parent} {seen}; recorded is ON DELETE {key.on_delete}, which"
                f" {_DELETED[key.on_delete]}"
            )

    return Trial((key.table, key.parent), steps, judge)


def unique_keys(known: Known, attempt: Attempt) -> Verdict:
    """Of two rows that share a key, the second is refused; two that do not may stand side by side."""
    judgement = Judgement(
        "every primary key, UNIQUE and unique index refuses a second row that shares its columns"
    )
    differences(known, judgement, "unique_keys")
    trials: list[Trial] = []
    for table in dict.fromkeys(key.table for key in known.shape.unique_keys):
        if not known.rows.why_not(table):
            trials.append(_side_by_side(known, judgement, table))
    for key in known.shape.unique_keys:
        if known.rows.why_not(key.table):
            trials.append(Trial((key.table,), (), lambda came: None))
            continue
        row = known.rows.row(key.table)
        if empty := [column for column in key.columns if row.get(column) in (None, "NULL")]:
            judgement.warn(
                f"{key.table}.{key.name}: the sample row gives no {', '.join(empty)}, and NULL never collides",
                _ADD_SAMPLES,
            )
            continue
        trials.append(_twice(known, judgement, key, row))
    tried = carry_out(known, judgement, attempt, trials)
    if tried is not None:
        _own_refusals(known, judgement, tried.refused, _UNIQUE)
    if not trials:
        judgement.leave_untried("no migration in force made a unique key")
    return judgement.verdict(f"{len(known.shape.unique_keys)} keys refused a second row")


def _side_by_side(known: Known, judgement: Judgement, table: str) -> Trial:
    def judge(came: Came) -> None:
        if came.refusal:
            judgement.fail(
                f"{table}: a second row with other keys is refused: {_by(came.refusal)}",
                "If the samples are to blame: let 'another' differ in every unique key.",
            )

    return Trial((table,), [do(known.rows.insert(table, known.rows.another(table)))], judge)


def _twice(known: Known, judgement: Judgement, key: UniqueKey, row: Mapping[str, str]) -> Trial:
    label = f"{key.table}.{key.name}"

    def judge(came: Came) -> None:
        if came.refusal is None:
            judgement.fail(f"{label} accepts two rows with the same {', '.join(key.columns)}")
        elif came.refusal.sqlstate != key.sqlstate or came.refusal.constraint not in _reported(known, key):
            judgement.fail(f"{label}: the second row is refused by something else: {_by(came.refusal)}")

    shared = {column: row[column] for column in key.columns}
    second = {**known.rows.another(key.table), **shared}
    return Trial((key.table,), [do(known.rows.insert(key.table, second))], judge)


def _reported(known: Known, key: UniqueKey) -> set[str]:
    """The names under which PostgreSQL reports a violation: for a partitioned table, the partition's index."""
    partitions = {
        name.removeprefix("index ")
        for name, entry in known.catalog.entries.items()
        if name.startswith("index ") and entry.get("parent") == key.name
    }
    return {key.name, *partitions}


def not_null(known: Known, attempt: Attempt) -> Verdict:
    """Every NOT NULL column refuses NULL."""
    judgement = Judgement("every NOT NULL column refuses NULL")
    trials: list[Trial] = []
    for table, columns in known.shape.tables.items():
        for column, entry in columns.items():
            if entry.get("not_null") and "generated" not in entry:
                trials.append(_without(known, judgement, table, column, entry))
    tried = carry_out(known, judgement, attempt, trials)
    if tried is not None:
        _own_refusals(known, judgement, tried.refused, _NOT_NULL)
    if not trials:
        judgement.leave_untried("no migration in force made a NOT NULL column")
    return judgement.verdict(f"{len(trials)} columns refused NULL")


def _without(known: Known, judgement: Judgement, table: str, column: str, entry: Mapping[str, Any]) -> Trial:
    if known.rows.why_not(table):
        return Trial((table,), (), lambda came: None)
    routed = column in known.shape.partitioned.get(table, "")

    def judge(came: Came) -> None:
        refusal = came.refusal
        if refusal is None:
            judgement.fail(f"{table}.{column} accepts NULL")
        elif routed and (refusal.sqlstate, refusal.constraint) == (_CHECK, ""):
            pass  # a row without partition key finds no partition, before its NULL is noticed
        elif (refusal.sqlstate, refusal.column) != (_NOT_NULL, column):
            judgement.fail(f"{table}.{column}: NULL is refused by something else: {_by(refusal)}")

    if entry.get("identity") == "always":
        # Such a column can only be updated to its default.
        step = do(known.rows.insert(table, {**known.rows.another(table), column: "NULL"}))
    else:
        step = do(known.rows.update(table, {column: "NULL"}))
    return Trial((table,), [step], judge)


def _own_refusals(known: Known, judgement: Judgement, refused: Mapping[str, Refusal], sqlstate: str) -> None:
    """A good row that is refused for the very reason which an item is about."""
    for table, refusal in refused.items():
        parents = {key.parent for key in known.shape.foreign_keys_of(table)}
        if refusal.sqlstate == sqlstate and not parents & set(refused):
            judgement.fail(f"{table}: the good row is refused: {_by(refusal)}")


def _by(refusal: Refusal) -> str:
    by = (
        f" ({refusal.constraint})" if refusal.constraint and refusal.constraint not in refusal.message else ""
    )
    return f"{refusal}{by}"


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        ((kind, body),) = value.items()
        return str(body) if kind == "sql" else f"{kind} {body}"
    return "NULL" if value is None else repr(value)
