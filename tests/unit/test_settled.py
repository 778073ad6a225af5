"""Array casts as PostgreSQL prints them before and after a dump was restored."""

import pytest
from ansible.module_utils.rollout.settled import settled, unsettled

#: (printed for what a person wrote with IN, printed after a restore)
PAIRS = [
    (
        "CHECK (((status)::text = ANY ((ARRAY['a'::character varying, 'b'::character varying])::text[])))",
        "CHECK (((status)::text = ANY (ARRAY[('a'::character varying)::text, ('b'::character varying)::text])))",
    ),
    (
        "((x)::text = ANY ((ARRAY['it''s, (one'::character varying, 'two]'::character varying])::text[]))",
        "((x)::text = ANY (ARRAY[('it''s, (one'::character varying)::text, ('two]'::character varying)::text]))",
    ),
    (
        "(n = ANY ((ARRAY[1, f(2, 3)])::numeric(10,2)[]))",
        "(n = ANY (ARRAY[(1)::numeric(10,2), (f(2, 3))::numeric(10,2)]))",
    ),
]


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_both_printings_settle_to_one(before: str, after: str) -> None:
    assert before != after
    assert settled(before) == after
    assert settled(after) == after
    assert settled({"a": 1}) == {"a": 1}
    assert settled([before, None]) == [after, None]


@pytest.mark.parametrize(
    "text",
    [
        "CHECK ((status)::text = ANY (ARRAY['a'::text]))",
        "(ARRAY[1, 2])",
        "(ARRAY['never ends",
        "(ARRAY[1, 2])::text",
        "",
    ],
)
def test_anything_else_stays(text: str) -> None:
    assert settled(text) == text
    assert unsettled(text) == text


def test_other_values_stay_different() -> None:
    one, other = PAIRS[0][0], PAIRS[0][0].replace("'b'", "'c'")
    assert settled(one) != settled(other)


def test_the_cast_is_left_to_postgresql() -> None:
    expected = "CHECK (((status)::text = ANY (ARRAY['a'::character varying, 'b'::character varying])))"
    assert unsettled(PAIRS[0][0]) == expected
