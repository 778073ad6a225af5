"""One number for a catalog: the same for the same, another for anything else."""

from typing import Any

import pytest
from ansible.module_utils.rollout.fingerprint import fingerprint
from hypothesis import given, settings
from hypothesis import strategies as st

ENTRIES: dict[str, Any] = {
    "table t": {"owner": "gen_user", "grants": ["a", "b"]},
    "column t.a": {"position": 1, "type": "text", "default": "'я'::text", "not_null": True},
}

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def test_it_is_a_sha256_that_stays() -> None:
    """The ledger keeps it: another number for the same catalog would read as drift."""
    assert fingerprint({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert fingerprint(ENTRIES) == "fa596b351ad5b2c4b6b7bbbea20bad40f5ce972e1c08623030bc5f51f3a1e49f"


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(), values, max_size=4))
def test_the_order_of_names_does_not_count(entries: dict[str, Any]) -> None:
    assert fingerprint(dict(reversed(entries.items()))) == fingerprint(entries)


@pytest.mark.parametrize(
    "other",
    [
        {**ENTRIES, "table u": {}},
        {"table t": ENTRIES["table t"]},
        {**ENTRIES, "table t": {**ENTRIES["table t"], "owner": "postgres"}},
        {**ENTRIES, "table t": {**ENTRIES["table t"], "grants": ["b", "a"]}},
        {**ENTRIES, "table t": {"owner": "gen_user"}},
        {**ENTRIES, "column t.a": {**ENTRIES["column t.a"], "position": 2}},
        {**ENTRIES, "column t.a": {**ENTRIES["column t.a"], "position": "1"}},
        {**ENTRIES, "column t.a": {**ENTRIES["column t.a"], "default": "'Я'::text"}},
        {**ENTRIES, "column t.a": {**ENTRIES["column t.a"], "not_null": None}},
    ],
)
def test_every_attribute_counts(other: dict[str, Any]) -> None:
    assert fingerprint(other) != fingerprint(ENTRIES)
