"""The checklist as a whole: its order, what is told when somebody does not answer, and the inventory's say on it."""

from typing import Any

import pytest
from ansible.module_utils.rollout.checklist_application import ITEMS, Seen
from ansible.module_utils.rollout.checklist_entries import DATABASE_OPTIONS, Entries, parse
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.findings import Finding, Verdict, failed, passed, warning
from ansible.module_utils.rollout.success_checklist import APPLICATION, OPTIONS, Answer, judge

NOBODY = Seen({"state": "not_tested", "reasons": ["no application"]}, {})
NOTHING = Entries({}, [])
OWN = {"id": "one_salon", "title": "There is one salon", "query": "SELECT 1", "expected": 1}
CATALOG = {
    "fingerprint": "f",
    "counts": {"table": 11, "index": 70},
    "recorded": ["0001_business_tables", "0002_messages"],
    "differences": [],
    "drift": "",
}


def answer(*own: str, catalog: dict[str, Any] | None = None, **verdicts: Verdict) -> Answer:
    """What pg_checklist_info returns; all is well but what is given."""
    findings = [
        Finding.of(item, f"title of {item}", verdicts.get(item, passed("a", "b")), 0.1).as_result()
        for item in (*DATABASE_OPTIONS, *own)
    ]
    result = {
        "findings": findings,
        "catalog": catalog or CATALOG,
        "seconds": 0.4,
        "round_trips": 9,
        "locks": {},
    }
    return Answer(result, seconds=0.9)


def judged(
    given: Answer, entries: Entries = NOTHING, *, pending: bool = False, seen: Seen = NOBODY
) -> dict[str, Finding]:
    found = judge(
        given,
        seen,
        ["api"],
        entries,
        schema="public",
        ledger="rollout",
        pending=pending,
        seconds={"services": 4.2},
    )
    return {one.id: one for one in found}


def of_status(found: dict[str, Finding], status: str) -> set[str]:
    return {name for name, one in found.items() if one.status == status}


def test_every_item_is_there_in_its_order() -> None:
    found = judged(answer("one_salon"), parse([OWN], OPTIONS))
    assert list(found) == ["database", *OPTIONS, "one_salon"]
    assert of_status(found, "failed") == set()
    assert found["indexes"].title == "title of indexes"
    assert found["database"].observed == "answered in 0.4 s"
    assert found["ledger"].observed == (
        "0001_business_tables, 0002_messages stand exactly as recorded (index 70, table 11)"
    )
    assert (found["services"].seconds, found["ledger"].seconds) == (4.2, 0.9)
    assert set(APPLICATION) < set(OPTIONS)


def test_a_database_that_does_not_answer_is_one_red_item() -> None:
    found = judged(Answer(error="Connection refused", seconds=0.2), parse([OWN], OPTIONS))
    assert of_status(found, "failed") == {"database"}
    assert found["database"].observed == "Connection refused"
    untold = {"ledger", *DATABASE_OPTIONS, "one_salon"}
    assert {found[item].observed for item in untold} == {"see database"}
    assert untold <= of_status(found, "not_tested")


def test_an_item_that_the_module_forgot_is_red() -> None:
    """A module of another version than the checklist."""
    given = answer()
    given.result["findings"].pop(2)
    found = judged(given)
    assert of_status(found, "failed") == {"indexes"}
    assert found["indexes"].observed == "pg_checklist_info has no finding on it"


def test_what_differs_from_the_ledger_is_red_with_every_difference() -> None:
    drift = "column bookings.cost: differs\n  - type: numeric(8,2)\n  + type: numeric(10,2)"
    found = judged(answer(catalog={**CATALOG, "differences": [{}], "drift": drift}))
    assert of_status(found, "failed") == {"ledger"}
    assert found["ledger"].observed.endswith(drift)
    empty = judged(answer(catalog={**CATALOG, "recorded": []}))
    assert of_status(empty, "failed") == {"ledger"}
    assert "nothing to compare with" in empty["ledger"].observed


def test_what_is_pending_is_no_failure_of_the_database_and_nothing_else_is_excused() -> None:
    entries = parse([OWN, {"id": "host_cpu", "percent": 1}], OPTIONS)
    lacking = answer(
        "one_salon",
        catalog={**CATALOG, "recorded": []},
        tables=failed("11 tables", "none", "apply"),
        indexes=warning("a", "two are redundant", ""),
        one_salon=failed("1", "no table", ""),
    )
    stopped = {
        "at": 1.0,
        "findings": [{"source": "pm2", "subject": "api", "text": "is stopped"}],
        "broken": [],
        "services": 1,
        "memory": 1,
        "whatsapp": None,
        "store": None,
        "continuity": {},
    }
    seen = Seen({"state": "red", "samples": [stopped]}, {})
    assert of_status(judged(lacking, entries, seen=seen), "failed") == {
        "ledger",
        "tables",
        "one_salon",
        "services",
    }
    found = judged(lacking, entries, seen=seen, pending=True)
    assert of_status(found, "failed") == {"services"}
    assert found["tables"].status == found["one_salon"].status == "not_tested"
    assert found["tables"].observed == "migrations are pending; before them: none"
    assert found["indexes"].status == "warning"
    assert of_status(judged(Answer(error="refused"), pending=True), "failed") == {"database"}


def test_the_inventory_weighs_and_switches_off() -> None:
    entries = parse(
        [
            {"id": "triggers", "severity": "warning"},
            {"id": "indexes", "severity": "failed"},
            {"id": "services", "enabled": False, "reason": "no PM2 here"},
        ],
        OPTIONS,
    )
    given = answer(triggers=failed("a", "one is off", ""), indexes=warning("a", "two are redundant", ""))
    found = judged(given, entries)
    assert of_status(found, "failed") == {"indexes"}
    assert of_status(found, "warning") == {"triggers"}
    assert found["services"].observed == "switched off in verify_checks: no PM2 here"
    assert of_status(judged(given), "failed") == {"triggers"}


def test_limits_come_from_the_inventory() -> None:
    host = {
        "cpus": 1, "cpu_percent": 40.0, "iowait_percent": 0.0, "steal_percent": 0.0, "measured_s": 1.0,
        "load1": 0.0, "load5": 0.0, "load15": 0.0, "mem_available": 2**30, "mem_total": 2**31,
        "mem_limited": False, "swap_used": 0,
    }  # fmt: skip
    seen = Seen(NOBODY.gate, {}, host=[host])
    assert of_status(judged(answer(), seen=seen), "failed") == set()
    tight = parse([{"id": "host_cpu", "percent": 40}, {"id": "memory", "available_mb": 1025}], OPTIONS)
    assert of_status(judged(answer(), tight, seen=seen), "failed") == {"host_cpu", "memory"}


# --- what the inventory may say ------------------------------------------------------------------------------------


def test_entries_are_understood() -> None:
    entries = parse(
        [
            {"id": "host_cpu", "percent": 30, "window": 0.5, "severity": "warning"},
            {"id": "size_growth", "allowance_mb": 5},
            {**OWN, "severity": "warning", "hint": "look"},
        ],
        OPTIONS,
    )
    assert entries.of("host_cpu").options == {"percent": 30, "window": 0.5}
    assert entries.of("size_growth").options == {"allowance_mb": 5}
    assert entries.of("one_salon").severity == "warning"
    assert entries.queries == [{**OWN, "hint": "look"}]
    assert entries.of("memory").enabled
    assert parse([], OPTIONS) == NOTHING


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("memory", "'memory' is no mapping with an id"),
        ({"percent": 3}, "it has no id"),
        ({"id": "memroy"}, "there is no such item; did you mean memory?"),
        ({"id": "database", "enabled": False, "reason": "x"}, "there is no such item"),
        ({"id": "memory", "percent": 3}, "there is no option percent"),
        ({"id": "memory", "avaliable_mb": 3}, "there is no option avaliable_mb; did you mean available_mb?"),
        ({"id": "memory", "severity": "warn"}, "severity is 'warn', not one of failed, warning"),
        ({"id": "memory", "enabled": "false", "reason": "x"}, "enabled is 'false', not true or false"),
        ({"id": "memory", "enabled": False}, "it is switched off without a reason"),
        ({"id": "memory", "reason": "x"}, "which only an item that is switched off has"),
        ({"id": "memory", "available_mb": -1}, "available_mb is -1, not a number of 0 or more"),
        ({"id": "memory", "available_mb": "1"}, "available_mb is '1', not a number of 0 or more"),
        ({"id": "memory", "available_mb": True}, "available_mb is True, not a number"),
        ({"id": "memory", "available_mb": float("nan")}, "available_mb is nan, not a number"),
        ({"id": "host_cpu", "percent": 101}, "percent is 101, not a number between 1 and 100"),
        ({"id": "host_cpu", "window": 0}, "window is 0, not a number between 0.1 and 600"),
        ({**OWN, "id": "memory"}, "an item of the checklist has this name"),
        ({**OWN, "id": "One salon"}, "a name of small letters, digits and underscores is needed"),
        ({"id": "one_salon", "query": "SELECT 1"}, "title is missing"),
        ({**OWN, "query": ""}, "query is '', not a text"),
        ({**OWN, "expceted": 1}, "there is no option expceted; did you mean expected?"),
        ({**OWN, "severity": "red"}, "severity is 'red'"),
        ({**OWN, "enabled": False}, "there is no option enabled"),
    ],
)
def test_an_entry_that_cannot_be_kept_is_refused_with_its_place(entry: Any, problem: str) -> None:
    with pytest.raises(RolloutError) as refused:
        parse([{"id": "tables", "severity": "warning"}, entry], OPTIONS)
    assert "verify_checks[1]" in refused.value.message
    assert problem in refused.value.message
    assert "group_vars/all/verify.yml" in refused.value.hint


def test_all_bad_entries_are_told_at_once_and_one_item_has_one_entry() -> None:
    with pytest.raises(RolloutError) as refused:
        parse([{"id": "memory"}, {"id": "memory"}, {"id": "memroy"}, 7], OPTIONS)
    lines = refused.value.message.splitlines()
    assert lines[0] == "verify_checks[1] (memory): there is an entry for it already"
    assert [line.split(":")[0] for line in lines[1:]] == ["verify_checks[2] (memroy)", "verify_checks[3]"]
    with pytest.raises(RolloutError, match="verify_checks is dict, not a list"):
        parse({"memory": {}}, OPTIONS)


def test_no_two_items_share_an_option_that_means_something_else() -> None:
    """Limits are handed to the judgement by name."""
    names = [name for item in ITEMS for name in item.options]
    assert len(names) == len(set(names))
