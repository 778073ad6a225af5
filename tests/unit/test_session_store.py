"""What speaks against an untouched session store, and what is normal life."""

import json
from dataclasses import replace
from typing import Any

import pytest
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.session_store import (
    StoreReading,
    compare,
    from_result,
    spellings,
)

THEN = 1_000_000.0
HOUR = 3600.0
# 100 rows have expired already, 30 expire in half an hour, 20 after the next reading.
BEFORE = StoreReading(
    tables_fingerprint="shape",
    identities={"100001": "pairing", "100002": "somebody else"},
    keys=1000,
    newest_update=THEN - 5,
    read_at=THEN,
    expiries=(*[THEN - HOUR] * 100, *[THEN + HOUR / 2] * 30, *[THEN + 2 * HOUR] * 20),
)
# An hour later, and nothing happened.
NOW = replace(BEFORE, read_at=THEN + HOUR)


def found(now: StoreReading, before: StoreReading = BEFORE, company: str = "100001") -> list[str]:
    return [one["what"] for one in compare(before, now, spellings(company), 0.1)]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        # A quarter of the rows is written anew in a day, without a change of their number.
        {"newest_update": THEN + HOUR - 1},
        {"keys": 1300},
        # A cleanup removes what has expired, by the server's clock at the second reading.
        {"keys": 1000 - 130},
        # And used pre-keys vanish besides.
        {"keys": 1000 - 130 - 100},
        # Another company comes, or is paired anew: that is not ours.
        {"identities": {"100001": "pairing"}},
        {"identities": {"100001": "pairing", "100002": "new", "100003": ""}},
        # The same pairing under the newer spelling.
        {"identities": {"company_100001": "pairing"}},
    ],
)
def test_normal_life_is_no_finding(changes: dict[str, Any]) -> None:
    assert found(replace(NOW, **changes)) == []


SHAPE = "the tables of the session store have another shape"
IDENTITY = "the identity of the session (a new pairing has another)"
CREDENTIALS = "credentials of the company in use"
VANISHED = "key rows vanished that had not expired"
BACK = "the newest change of a key went back"


@pytest.mark.parametrize(
    ("changes", "findings"),
    [
        ({"tables_fingerprint": "other"}, [SHAPE]),
        ({"identities": {"100001": "new"}}, [IDENTITY]),
        ({"identities": {"company_100001": "new"}}, [IDENTITY]),
        ({"identities": {"100001": "pairing", "company_100001": "pairing"}}, [CREDENTIALS]),
        ({"identities": {"100001": "pairing", "company_100001": "new"}}, [CREDENTIALS, IDENTITY]),
        ({"identities": {"100002": "somebody else"}}, [CREDENTIALS]),
        ({"identities": {}}, [CREDENTIALS]),
        # Credentials that hold no keys.
        ({"identities": {"100001": ""}}, [CREDENTIALS, IDENTITY]),
        ({"keys": 1000 - 130 - 101}, [VANISHED]),
        ({"keys": 0, "newest_update": None}, [VANISHED, BACK]),
        ({"newest_update": THEN - 6}, [BACK]),
    ],
)
def test_each_finding(changes: dict[str, Any], findings: list[str]) -> None:
    assert found(replace(NOW, **changes)) == findings


def test_a_cleanup_explains_only_what_has_expired_by_then() -> None:
    """The 30 rows that expire in half an hour explain nothing ten minutes later."""
    early = replace(NOW, read_at=THEN + HOUR / 6, keys=1000 - 100 - 101)
    assert found(early) == [VANISHED]
    assert found(replace(early, keys=1000 - 100 - 100)) == []


def test_a_finding_says_what_was_expected_and_observed() -> None:
    [finding] = compare(BEFORE, replace(NOW, keys=500), spellings("100001"), 0.1)
    assert finding == {
        "what": VANISHED,
        "expected": "at most 100 of 1000",
        "observed": "370 (1000 before, 130 of them expired, 500 now)",
    }


def test_a_reading_compared_with_itself_shows_what_is_wrong_anyway() -> None:
    assert found(BEFORE) == []
    assert found(BEFORE, BEFORE, company="100009") == [CREDENTIALS]
    unpaired = replace(BEFORE, identities={"100001": ""})
    assert found(unpaired, unpaired) == [CREDENTIALS]


def test_credentials_that_came_are_no_new_pairing() -> None:
    """Nothing was there to compare them with."""
    assert found(NOW, replace(BEFORE, identities={})) == []


def test_an_empty_store_stays_one() -> None:
    empty = replace(BEFORE, keys=0, newest_update=None, expiries=())
    assert found(replace(empty, read_at=THEN + HOUR), empty) == []
    assert found(NOW, empty) == []


@pytest.mark.parametrize(
    ("company", "expected"),
    [
        ("100001", ("100001", "company_100001")),
        ("company_100001", ("100001", "company_100001")),
        ("", ()),
        ("company_", ()),
    ],
)
def test_a_company_has_two_spellings(company: str, expected: tuple[str, ...]) -> None:
    assert spellings(company) == expected


def test_a_reading_survives_json() -> None:
    assert from_result(json.loads(json.dumps(BEFORE.as_result()))) == BEFORE
    empty = replace(BEFORE, newest_update=None, expiries=())
    assert from_result(json.loads(json.dumps(empty.as_result()))) == empty


@pytest.mark.parametrize(
    "changes", [{"keys": "many"}, {"identities": ["100001"]}, {"expiries": 1}, {"read_at": None}]
)
def test_what_is_no_reading_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(RolloutError, match=r"baseline\.store is not a reading") as caught:
        from_result({**BEFORE.as_result(), **changes})
    assert caught.value.details == {"reason": "bad_baseline"}
    with pytest.raises(RolloutError, match="KeyError"):
        from_result({})
