"""Findings of a checklist: their order, their counts and their text."""

import pytest
from ansible.errors import AnsibleAction
from ansible.module_utils.rollout.findings import (
    STATUSES,
    WIDTH,
    Finding,
    Verdict,
    counts,
    failed,
    not_tested,
    ordered,
    passed,
    summary,
    text,
    warning,
)

from action_plugins.checklist import ActionModule
from tests.action_tasks import make_action


def finding(id: str, verdict: Verdict) -> Finding:
    return Finding.of(id, f"Title of {id}", verdict, 0.12345)


GOOD = finding("good", passed("a", "a"))
UNASKED = finding("unasked", not_tested("", "not configured", "Configure it."))
ODD = finding("odd", warning("a", "b", "Look at it."))
BAD = finding("bad", failed("a", "b", "Mend it.", row=1))
WORSE = finding("worse", failed("c", "d", "Mend that."))


def test_the_worst_come_first_and_the_heaviest_of_them() -> None:
    assert ordered([GOOD, UNASKED, BAD, ODD, WORSE]) == [BAD, WORSE, ODD, UNASKED, GOOD]
    assert ordered([WORSE, BAD]) == [WORSE, BAD], (
        "of one status, the order of the checklist is that of the weight"
    )


def test_they_are_counted() -> None:
    assert counts([GOOD, BAD, WORSE]) == {"failed": 2, "warning": 0, "not_tested": 0, "passed": 1}
    assert summary([GOOD, UNASKED, BAD]) == "1 failed, 1 not tested, 1 passed"
    assert summary([ODD, ODD]) == "2 warnings"
    assert summary([]) == "nothing was asked"


def test_a_finding_has_the_same_shape_everywhere() -> None:
    assert BAD.as_result() == {
        "id": "bad",
        "title": "Title of bad",
        "status": "failed",
        "expected": "a",
        "observed": "b",
        "hint": "Mend it.",
        "evidence": {"row": 1},
        "seconds": 0.123,
    }


def test_another_status_is_refused() -> None:
    with pytest.raises(ValueError, match="'green' is none of failed, warning, not_tested, passed"):
        Verdict("green", "", "")
    assert [Verdict(status, "", "").status for status in STATUSES] == list(STATUSES)


def test_the_text_has_a_paragraph_for_each_that_needs_attention() -> None:
    assert text([GOOD, UNASKED, ODD, BAD]).split("\n\n") == [
        "1. FAILED  bad: Title of bad\n   expected: a\n   observed: b\n   what to do: Mend it.",
        "2. WARNING  odd: Title of odd\n   expected: a\n   observed: b\n   what to do: Look at it.",
        "Not tested:\n  unasked: not configured Configure it.",
        "Passed: good",
    ]


def test_one_reason_is_told_once_for_all_that_it_kept_from_being_tested() -> None:
    others = [finding(id, not_tested("", "the host does not answer")) for id in ("one", "two")]
    assert text([others[0], UNASKED, others[1]]) == (
        "Not tested:\n  one, two: the host does not answer\n  unasked: not configured Configure it."
    )


def test_long_lines_are_broken_between_words_only() -> None:
    path = "/" + "x" * WIDTH
    long = finding("long", failed("word " * 60, f"first line\nsecond {path}", "word " * 60))
    lines = text([long]).splitlines()
    assert path in [line.strip() for line in lines], "a path stays whole"
    assert max(len(line) for line in lines if path not in line) <= WIDTH
    assert "      second" in lines, "a line break of the text stays one"


def act(*findings: Finding) -> dict[str, object]:
    arguments = {"name": "precheck", "findings": [one.as_result() for one in findings]}
    result: dict[str, object] = make_action(ActionModule, arguments).run(task_vars={})
    return result


def test_a_checklist_without_a_failed_item_is_shown_and_green() -> None:
    result = act(GOOD, ODD, UNASKED)
    assert not result.get("failed")
    assert str(result["msg"]).startswith("precheck: 1 warning, 1 not tested, 1 passed\n\n1. WARNING  odd")
    assert result["_ansible_verbose_always"], "without it nobody sees the warnings"


def test_a_failed_item_fails_once_with_the_whole_list() -> None:
    with pytest.raises(AnsibleAction) as refused:
        act(GOOD, WORSE, UNASKED, BAD)
    said = str(refused.value)
    for one in (GOOD, WORSE, UNASKED, BAD):
        assert one.id in said
    assert said.index("worse") < said.index("bad") < said.index("unasked") < said.index("good")


def test_an_empty_checklist_is_no_success() -> None:
    with pytest.raises(AnsibleAction, match="nothing was asked"):
        act()
