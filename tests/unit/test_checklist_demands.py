"""What the inventory demands: what cannot be kept is refused, with its place and what is meant."""

from typing import Any

import pytest
from ansible.module_utils.rollout.checklist_demands import require_demands, wanted
from ansible.module_utils.rollout.errors import RolloutError

from tests.database_checklist import DEMANDS, MESSAGES

PLACE = "verify_demands"


@pytest.mark.parametrize(
    "demands",
    [
        {},
        DEMANDS,
        {"rows": {"clients": {"at_least": 1, "at_most": 1}, "staff": {"at_most": 0}}},
        {"indexes": "70", "rows": {"clients": "12"}},
    ],
)
def test_what_can_be_kept_is_taken(demands: dict[str, Any]) -> None:
    require_demands(demands, PLACE)


@pytest.mark.parametrize(
    ("demands", "told"),
    [
        ([], "verify_demands is [], not a mapping"),
        ({"tabels": []}, "verify_demands: unknown key 'tabels'; did you mean tables?"),
        ({"tables": "clients"}, "verify_demands: tables is 'clients', not a list of names"),
        ({"functions": [1]}, "verify_demands: functions is [1], not a list of names"),
        ({"indexes": "viele"}, "verify_demands: indexes is 'viele', not a number of 0 or more"),
        ({"triggers": True}, "verify_demands: triggers is True, not a number of 0 or more"),
        ({"indexes": 1.5}, "verify_demands: indexes is 1.5, not a number of 0 or more"),
        ({"rows": ["clients"]}, "verify_demands: rows is ['clients'], not a mapping of tables"),
        (
            {"rows": {"clients": "viele"}},
            "verify_demands: rows: clients is 'viele', not a number of 0 or more",
        ),
        ({"rows": {"clients": True}}, "verify_demands: rows: clients is True, not a number of 0 or more"),
        ({"rows": {"clients": -1}}, "verify_demands: rows: clients is -1, not a number of 0 or more"),
        ({"rows": {"clients": {}}}, "verify_demands: rows: clients names neither at_least nor at_most"),
        (
            {"rows": {"clients": {"at_mots": 5}}},
            "verify_demands: rows: clients: unknown key 'at_mots'; did you mean at_most?",
        ),
        (
            {"rows": {"clients": {"at_most": None}}},
            "verify_demands: rows: clients: at_most is None, not a number of 0 or more",
        ),
        (
            {"rows": {"clients": {"at_least": 2, "at_most": 1}}},
            "verify_demands: rows: clients: at_least is 2, more than at_most, 1",
        ),
    ],
)
def test_what_cannot_be_kept_is_refused(demands: Any, told: str) -> None:
    with pytest.raises(RolloutError) as refused:
        require_demands(demands, PLACE)
    assert refused.value.message == told
    assert "Correct verify_demands." in refused.value.hint


def test_everything_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(RolloutError) as refused:
        require_demands({"indexes": -1, "rows": {"a": -1, "b": -1}}, PLACE)
    assert len(refused.value.message.splitlines()) == 3


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"table": "messages"}, "verify_partitions is {'table': 'messages'}, not a list of mappings"),
        (["messages"], "verify_partitions is ['messages'], not a list of mappings"),
        ([{**MESSAGES, "counts": 1}], "verify_partitions: unknown key 'counts'; did you mean count?"),
        (
            [{**MESSAGES, "count": "viele"}],
            "verify_partitions: messages: count is 'viele', not a number of 0 or more",
        ),
        (
            [{**MESSAGES, "ahead": True}],
            "verify_partitions: messages: ahead is True, not a number of 0 or more",
        ),
        ([{**MESSAGES, "alarm": -1}], "verify_partitions: messages: alarm is -1, not a number of 0 or more"),
        ([{**MESSAGES, "first": "November"}], "the first period is 'November', which is no day"),
    ],
)
def test_partitions_that_cannot_be_meant_are_refused(given: Any, told: str) -> None:
    with pytest.raises(RolloutError) as refused:
        wanted(given, "public", "verify_partitions")
    assert refused.value.message == told


def test_partitions_are_understood() -> None:
    (one,) = wanted([{**MESSAGES, "count": "6", "zone": "Europe/Moscow"}], "salon")
    assert (one.schema, one.zone, one.count, one.max_age_days) == ("salon", "Europe/Moscow", 6, 3)
    assert (one.desired.table, one.desired.ahead, one.desired.alarm) == ("messages", 3, 2)
