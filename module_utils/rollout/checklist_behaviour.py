"""Items that use the schema: triggers, functions, values that come back, the story. Pure, but for ``attempt``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.module_utils.rollout.checklist_known import LOCK_NOT_AVAILABLE, Attempt, Known, Trial, carry_out
from ansible.module_utils.rollout.checklist_probes import Came, Step, ask, do
from ansible.module_utils.rollout.checklist_recorded import differences
from ansible.module_utils.rollout.checklist_rows import text_literal
from ansible.module_utils.rollout.checklist_shape import Trigger
from ansible.module_utils.rollout.checklist_verdict import Judgement
from ansible.module_utils.rollout.findings import Verdict
from ansible.module_utils.rollout.partition_reading import quoted

#: Values are written in one and read in another: half an hour off the hour, and on both sides of the date line.
_WRITTEN_IN, _READ_IN = "Pacific/Chatham", "America/St_Johns"
_TEXTS = ("text", "character varying", "character")
_ADD_SAMPLES = "Give it in samples.yml beside the migration; docs/migrations.md says how."


def triggers(known: Known, attempt: Attempt) -> Verdict:
    """Every trigger stands as recorded, is enabled, and does what it is for."""
    least = known.demands.get("triggers", 0)
    judgement = Judgement(
        "every trigger as recorded, enabled, and seen to act" + (f"; {least} or more" if least else "")
    )
    differences(known, judgement, "triggers")
    standing = [trigger for trigger in known.shape.triggers if _stands(known, trigger)]
    if len(standing) < least:
        judgement.fail(f"{len(standing)} triggers, fewer than the {least} that the inventory demands")
    trials = []
    for trigger in known.shape.triggers:
        label = f"{trigger.table}.{trigger.name}"
        if trigger.function not in known.samples.triggers:
            judgement.warn(f"{label}: what {trigger.function} does is not in the samples", _ADD_SAMPLES)
        else:
            trials.append(_fired(known, judgement, trigger, label))
    carry_out(known, judgement, attempt, trials)
    return judgement.verdict(f"{len(standing)} triggers fired", triggers=len(standing))


def _stands(known: Known, trigger: Trigger) -> bool:
    return f"trigger {trigger.table}.{trigger.name}" in known.catalog.entries


def _fired(known: Known, judgement: Judgement, trigger: Trigger, label: str) -> Trial:
    if known.rows.why_not(trigger.table):
        return Trial((trigger.table,), (), lambda came: None)
    sample = known.samples.triggers[trigger.function]
    where = known.rows.where(trigger.table)
    then = known.rows.fill(sample["then"])

    def judge(came: Came) -> None:
        if came.refusal:
            judgement.fail(f"{label}: an UPDATE fails: {came.refusal}")
        elif came.answers[1] != [{"holds": True}]:
            judgement.fail(f"{label} does not act: after an UPDATE, {then} does not hold")

    steps = [
        do(known.rows.update(trigger.table, known.rows.literals(trigger.table, sample["set"]))),
        ask(f"SELECT ({then}) IS TRUE AS holds FROM {quoted(trigger.table)} WHERE {where}"),
    ]
    return Trial((trigger.table,), steps, judge)


def functions(known: Known, attempt: Attempt) -> Verdict:
    """Every function stands as recorded, exactly once, and gives what it has to when it is called."""
    demanded = known.demands.get("functions", [])
    also = f"; among them the {len(demanded)} that the inventory demands" if demanded else ""
    judgement = Judgement(f"every function as recorded, exactly one of its name, called and right{also}")
    differences(known, judgement, "functions")
    for name in demanded:
        same = [entry for entry in known.catalog.entries if entry.startswith(f"function {name}(")]
        if len(same) != 1:
            told = ", ".join(sorted(same)) or "none"
            judgement.fail(f"{name}, which the inventory demands once, exists {len(same)} times: {told}")
    trials: list[Trial] = []
    called = set()
    for call in known.samples.calls:
        function = call["function"]
        if function not in known.shape.functions:
            judgement.warn(f"the samples call {function}, which no migration in force made", _ADD_SAMPLES)
            continue
        called.add(function)
        if call["skipped"]:
            judgement.warn(f"{function} was not called, because {call['skipped']}")
        else:
            trials.append(_steps(known, judgement, function, call["steps"]))
    for function in sorted(known.shape.trigger_functions):
        uses = [trigger for trigger in known.shape.triggers if trigger.function == function]
        able = [trigger for trigger in uses if not known.rows.why_not(trigger.table)]
        if able and function in known.samples.triggers:
            called.add(function)
            trials.append(_fired(known, judgement, able[0], f"{function} by {able[0].name}"))
    for function in sorted(set(known.shape.functions) - called):
        judgement.warn(f"{function} has no call in the samples", _ADD_SAMPLES)
    # A function may look at any table.
    carry_out(known, judgement, attempt, trials, standing=list(known.shape.tables))
    return judgement.verdict(
        f"{len(called)} functions called, each gave what it has to", functions=sorted(called)
    )


def story(known: Known, attempt: Attempt) -> Verdict:
    """A row in every table, and the questions that an application would ask of them."""
    judgement = Judgement("a row in every table, and every question of the samples answered as written there")
    trials = []
    if known.samples.story:
        trials.append(_steps(known, judgement, "", known.samples.story))
    else:
        judgement.warn("the samples tell no story", _ADD_SAMPLES)
    tried = carry_out(known, judgement, attempt, trials, standing=list(known.shape.tables))
    if tried is not None:
        for table, refusal in tried.refused.items():
            tell = judgement.leave if refusal.sqlstate == LOCK_NOT_AVAILABLE else judgement.fail
            tell(f"{table}: the good row is refused: {refusal}")
    asked = sum("ask" in step for step in known.samples.story)
    rows = len(known.rows.order())
    return judgement.verdict(f"{rows} tables took their row, {asked} questions were answered right")


def _steps(known: Known, judgement: Judgement, label: str, steps: Sequence[Mapping[str, Any]]) -> Trial:
    """The steps of a call or of the story, in one probe: each sees what those before it did."""
    texts = [step.get("ask", step.get("do", "")) for step in steps]
    words = {word for text in texts for word in re.findall(r"\w+", text)}
    tables = tuple(table for table in known.shape.tables if table in words)
    if any(known.rows.why_not(table) for table in tables):
        return Trial(tables, (), lambda came: None)
    probe = [
        Step("ask" if "ask" in step else "do", known.rows.fill(text))
        for step, text in zip(steps, texts, strict=True)
    ]

    def judge(came: Came) -> None:
        for step, answer in zip(steps, came.answers, strict=False):
            if "ask" in step and not same_rows(answer, step["returns"]):
                judgement.fail(
                    f"{_told(label, step)}: gives {_shown(answer)} instead of {_shown(step['returns'])}"
                )
        if came.refusal:
            judgement.fail(f"{_told(label, steps[len(came.answers)])}: fails: {came.refusal}")

    return Trial(tables, probe, judge)


def _told(label: str, step: Mapping[str, Any]) -> str:
    said = step.get("say") or " ".join(step.get("ask", step.get("do", "")).split())[:200]
    return f"{label}: {said}" if label else str(said)


def same_rows(answer: Sequence[Mapping[str, Any]], wanted: Sequence[Mapping[str, Any]]) -> bool:
    """Whether an answer is what a sample says; numbers by value, so that 1500.00 is 1500."""
    return bool(list(answer) == [dict(row) for row in wanted])


def _shown(rows: Any) -> str:
    text = json.dumps(rows, ensure_ascii=False)
    return text if len(text) <= 300 else f"{text[:300]}…"


def round_trip(known: Known, attempt: Attempt) -> Verdict:
    """Values of every type come back as they went in, read under another time zone than they were written under."""
    judgement = Judgement(
        f"a value of every column type comes back as it went in, written under {_WRITTEN_IN} and read under {_READ_IN}"
    )
    trials = []
    # A row that is found by its key shows that the key came back.
    types = {
        base_type(str(known.shape.tables[table][column]["type"]))
        for table in known.samples.rows
        if table in known.shape.tables
        for column in known.shape.primary_key(table)
    }
    for sample in known.samples.round_trip:
        table, columns = sample["table"], known.shape.tables.get(sample["table"])
        if columns is None:
            judgement.warn(
                f"the samples give values for {table}, which no migration in force made", _ADD_SAMPLES
            )
            continue
        types |= {base_type(str(columns[column]["type"])) for column in sample["values"] if column in columns}
        trials.append(_there_and_back(known, judgement, table, sample["values"]))
    wanted = {
        base_type(str(entry["type"])) for columns in known.shape.tables.values() for entry in columns.values()
    }
    if missing := sorted(wanted - types):
        judgement.warn(f"no sample value of type {', '.join(missing)}", _ADD_SAMPLES)
    carry_out(known, judgement, attempt, trials)
    values = sum(len(sample["values"]) for sample in known.samples.round_trip)
    return judgement.verdict(
        f"{values} values of {len(types)} types came back unchanged", types=sorted(types)
    )


def base_type(printed: str) -> str:
    """A printed type without its length or precision: ``numeric(5,2)`` -> ``numeric``."""
    return re.sub(r"\(\d+(?:,\d+)?\)", "", printed)


def _there_and_back(known: Known, judgement: Judgement, table: str, values: Mapping[str, Any]) -> Trial:
    if known.rows.why_not(table):
        return Trial((table,), (), lambda came: None)
    columns = known.shape.tables[table]
    literals = known.rows.literals(table, values)
    texts = {
        column: value
        for column, value in values.items()
        if isinstance(value, str) and base_type(str(columns[column]["type"])) in _TEXTS
    }
    pairs = [
        f"jsonb_build_array(({quoted(column)})::text, (({literal})::{columns[column]['type']})::text)"
        f" AS {quoted(column)}"
        for column, literal in literals.items()
    ]
    lengths = [f"char_length({quoted(column)}) AS {quoted(f'length of {column}')}" for column in texts]
    where = known.rows.where(table)
    steps = [
        ask(f"SELECT set_config('timezone', {text_literal(_WRITTEN_IN)}, true)"),
        do(known.rows.update(table, literals)),
        ask(f"SELECT set_config('timezone', {text_literal(_READ_IN)}, true)"),
        ask(f"SELECT {', '.join([*pairs, *lengths])} FROM {quoted(table)} WHERE {where}"),
    ]

    def judge(came: Came) -> None:
        if came.refusal:
            judgement.fail(f"{table}: the values are refused: {came.refusal}")
        elif len(came.answers[3]) != 1:
            judgement.fail(f"{table}: the row with the values is not found again")
        else:
            _compare(judgement, table, came.answers[3][0], texts)

    return Trial((table,), steps, judge)


def _compare(judgement: Judgement, table: str, row: Mapping[str, Any], texts: Mapping[str, str]) -> None:
    for column, pair in row.items():
        if isinstance(pair, list) and pair[0] != pair[1]:
            judgement.fail(f"{table}.{column}: {pair[1]!r} came back as {pair[0]!r}")
    for column, text in texts.items():
        if row[column][0] != text:
            judgement.fail(f"{table}.{column}: {text!r} came back as {row[column][0]!r}")
        elif row[f"length of {column}"] != len(text):
            judgement.fail(
                f"{table}.{column}: {text!r} has {len(text)} characters, the server counts"
                f" {row[f'length of {column}']}",
                "Look at the database's encoding: SELECT getdatabaseencoding().",
            )
