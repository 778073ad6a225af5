"""The one number that may be written to: spellings of it, other numbers, and what is no number."""

import re
from typing import Any

import pytest
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.phone_number import canonical, masked, require_configured, require_same
from hypothesis import given
from hypothesis import strategies as st

NUMBER, OTHER = "12025550199", "12025550198"
numbers = st.from_regex(r"[1-9][0-9]{7,14}", fullmatch=True)


@pytest.mark.parametrize(
    "spelling",
    [
        NUMBER,
        f"+{NUMBER}",
        f"00{NUMBER}",
        "+1 (202) 555-0199",
        "1-202-555-0199",
        " 1 202 555 01 99 ",
        int(NUMBER),
    ],
)
def test_spellings_of_one_number(spelling: Any) -> None:
    assert canonical(spelling, "phone") == NUMBER
    assert require_same(NUMBER, spelling) == require_same(spelling, NUMBER) == NUMBER


@pytest.mark.parametrize(
    "value",
    [
        "0",
        "02025550199",
        "+02025550199",
        "1234567",
        "1" * 16,
        12025550199.0,
        "12025550199.0",
        "12025550199,12025550198",
        "12025550199;1",
        "12025550199@s.whatsapp.net",
        "1202555019\u0663",
        "++12025550199",
        "12025550199+",
        "{{ test_phone }}",
        True,
        [NUMBER],
    ],
)
def test_what_is_no_number_is_refused_without_being_shown(value: Any) -> None:
    with pytest.raises(RolloutError) as error:
        canonical(value, "phone")
    assert error.value.details == {"reason": "bad_phone"}
    assert str(value) not in re.sub(r"\(\d+ characters\)|8 to 15", "", str(error.value))
    with pytest.raises(RolloutError):
        require_same(value, value)


@pytest.mark.parametrize("nothing", ["", None, " ", "()"])
def test_nothing_reaches_nobody(nothing: Any) -> None:
    assert require_same(nothing, nothing) == ""
    require_configured(NUMBER, nothing, "phone")


@pytest.mark.parametrize("asked", [OTHER, f"+{OTHER}", NUMBER[:-1], f"{NUMBER}0", f"8{NUMBER[1:]}"])
def test_a_second_number_is_refused_and_masked(asked: str) -> None:
    for configured in (NUMBER, ""):
        with pytest.raises(RolloutError) as error:
            require_configured(configured, asked, "phone")
        assert error.value.details == {"reason": "second_number"}
        assert not re.search(r"\d{3}", str(error.value))


def test_a_number_is_not_replaced_by_none() -> None:
    with pytest.raises(RolloutError, match="phone is empty"):
        require_same(NUMBER, "")


@given(numbers, numbers, st.sampled_from(["", "+", "00"]), st.sampled_from(["", " ", "-", "(", ") "]))
def test_two_numbers_are_never_taken_for_one(first: str, second: str, prefix: str, separator: str) -> None:
    written = prefix + separator.join(second)
    if first == second:
        assert require_same(first, written) == first
    else:
        with pytest.raises(RolloutError):
            require_same(first, written)


@given(numbers)
def test_a_masked_number_keeps_two_digits(number: str) -> None:
    shown = masked(number)
    assert len(shown) == len(number)
    assert re.fullmatch(r"\*+\d\d", shown)
    assert masked("") == ""
