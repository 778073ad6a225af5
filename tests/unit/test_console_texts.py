"""What a run says at its end: failures, the checklist's table, the outcome."""

import re
from typing import Any

import pytest
from ansible.module_utils.rollout import console_checklist, console_failure
from ansible.module_utils.rollout.console_outcome import Failure, sentence
from ansible.module_utils.rollout.findings import Finding, Verdict, failed, not_tested, passed, warning

from action_plugins.checklist import ActionModule
from tests.action_tasks import make_action


class Chain:
    def __init__(self, event: Any) -> None:
        self.event = event


class Event:
    """Ansible's error as far as it is read."""

    def __init__(
        self, msg: str, cause: "Event | None" = None, *, help_text: str | None = None, at: str = ""
    ) -> None:
        self.msg = msg
        self.help_text = help_text
        self.formatted_source_context = f"Origin: {at}\n\n1 - name: x" if at else None
        self.formatted_traceback = None
        self.events = None
        self.chain = Chain(cause) if cause else None


def framed(cause: Event) -> Event:
    return Event("Task failed.", Event("Module failed.", cause), at="/srv/main.yml:7:3")


@pytest.mark.parametrize(
    ("said", "event", "told"),
    [
        ("no such table", None, "no such table"),
        ("no such table", framed(Event("no such table")), "no such table"),
        ("no such table.", framed(Event("no such table")), "no such table."),
        ("cannot run.", framed(Event("cannot run.", Event("[Errno 2] x"))), "cannot run.\n[Errno 2] x"),
        ("not JSON", framed(Event("not JSON", help_text="See stderr.")), "not JSON\nSee stderr."),
        ("Task failed: a: b", framed(Event("a.", Event("b"))), "a: b"),
        ("Task failed: Action failed: a", None, "a"),
        ("short", framed(Event("short, and the rest of it")), "short, and the rest of it"),
        ("", framed(Event("only here")), "only here"),
        ("", None, ""),
    ],
)
def test_a_failure_says_everything_once(said: str, event: Event | None, told: str) -> None:
    assert console_failure.message(said, event) == told


def test_errors_inside_an_error_are_told() -> None:
    outer = Event("several")
    outer.events = (Event("one"), Event("two"))  # type: ignore[assignment]
    assert console_failure.message("", outer) == "several\none\ntwo"


def test_where_it_failed() -> None:
    event = Event("a", Event("b", at="/srv/main.yml:9:1"), at="/srv/main.yml:7:3")
    assert console_failure.origins(event) == ["/srv/main.yml:7:3", "/srv/main.yml:9:1"]
    assert console_failure.origins(None) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("one\ntwo", "one"),
        ("RED after x:\n  a service is gone\nmore", "RED after x: a service is gone"),
        ("\n \n", "it says nothing"),
        ("x" * 300, "x" * 199 + "…"),
    ],
)
def test_the_beginning_of_a_message(text: str, words: str) -> None:
    assert console_failure.first_words(text) == words


def finding(id: str, verdict: Verdict) -> Finding:
    return Finding.of(id, f"Title of {id}", verdict, 0.1)


GOOD = finding("good", passed("x", "11 of 11 [all]"))
BAD = finding("bad", failed("x", "column\nbookings.cost", "Mend it."))
ODD = finding("odd", warning("x", "slow", "Look."))
UNASKED = finding("unasked", not_tested("x", "no phone"))


def test_rows_begin_with_the_worst() -> None:
    rows = console_checklist.rows({"a": [GOOD, UNASKED, ODD, BAD]})
    assert [row.status for row in rows] == ["failed", "warning", "not_tested", "passed"]
    assert {row.hosts for row in rows} == {()}


def test_hosts_share_a_row_where_they_saw_the_same() -> None:
    other = finding("good", passed("x", "12 of 12"))
    rows = console_checklist.rows({"a": [GOOD, BAD], "b": [GOOD, BAD], "c": [other, BAD]})
    told = [(row.title, row.observed, row.hosts) for row in rows]
    assert told == [
        ("Title of bad", "column\nbookings.cost", ()),
        ("Title of good", "11 of 11 [all]", ("a", "b")),
        ("Title of good", "12 of 12", ("c",)),
    ]


def test_lines_for_a_log() -> None:
    rows = console_checklist.rows({"a": [GOOD, BAD, UNASKED]})
    assert console_checklist.lines("checks", rows).splitlines() == [
        "checks",
        "FAILED      Title of bad      column …",
        "not tested  Title of unasked  no phone",
        "passed      Title of good     11 of 11 [all]",
    ]


@pytest.mark.parametrize(
    ("observed", "shown"),
    [
        ("a b", "a b"),
        ("x" * 120, "x" * 120),
        ("x" * 121, "x" * 120 + " …"),
        ("one, " * 30, "one, " * 23 + "one …"),
        ("", ""),
    ],
)
def test_what_was_told_before_is_told_in_short(observed: str, shown: str) -> None:
    rows = [console_checklist.Row("warning", "Title", observed)]
    assert console_checklist.lines("checks", rows).splitlines()[1] == f"warning  Title  {shown}".rstrip()


def test_a_table_keeps_every_word_in_its_width() -> None:
    long = finding("long", passed("x", "one " * 60 + "unbreakable" * 12))
    drawn = console_checklist.table(
        "checks", console_checklist.rows({"a": [long, BAD]}), width=70, colour=False
    )
    assert max(len(line) for line in drawn.splitlines()) <= 70
    assert drawn.count("one") == 60
    cells = [line.split("│")[3].strip() for line in drawn.splitlines() if line.count("│") == 4]
    assert "unbreakable" * 12 in "".join(cells)
    assert "\x1b" not in drawn


def test_a_table_in_colour_says_the_same() -> None:
    rows = console_checklist.rows({"a": [GOOD, BAD], "b": [GOOD]})
    drawn = console_checklist.table("checks", rows, width=90, colour=True)
    assert "\x1b[31m✗ FAILED" in drawn
    plain = "\n".join(line.rstrip() for line in re.sub(r"\x1b\[[\d;]*m", "", drawn).splitlines())
    assert plain == console_checklist.table("checks", rows, width=90, colour=False)


def test_the_action_hands_its_findings_on() -> None:
    arguments = {"name": "checks", "findings": [GOOD.as_result()]}
    assert make_action(ActionModule, arguments).run()["invocation"]["module_args"] == arguments


def counts(**given: int) -> dict[str, int]:
    return {
        "ok": 3,
        "changed": 0,
        "unreachable": 0,
        "failures": 0,
        "skipped": 0,
        "rescued": 0,
        "ignored": 0,
    } | given


WENT_WRONG = [
    Failure("a", "(3/8) Apply", "RED after 0001:\na service is gone"),
    Failure("a", "(rescue) Mend", "RED after 0001:\na service is gone\nTaken back: 0001"),
]


@pytest.mark.parametrize(
    ("recap", "failures", "check", "told"),
    [
        ({"a": counts()}, [], False, "The run ended well after 4.2 s: nothing had to be changed."),
        ({"a": counts(changed=1)}, [], False, "The run ended well after 4.2 s: 1 task changed something."),
        (
            {"a": counts(changed=1), "b": counts(changed=2, rescued=1)},
            [Failure("b", "(1/2) Try", "x")],
            False,
            "The run ended well after 4.2 s, after 1 failure that the playbook handled: 3 tasks changed something.",
        ),
        (
            {"a": counts()},
            [],
            True,
            "The dry run ended well after 4.2 s: nothing was changed, nothing is to be done.",
        ),
        (
            {"a": counts(changed=2)},
            [],
            True,
            "The dry run ended well after 4.2 s: nothing was changed, 2 tasks would change something.",
        ),
        (
            {"a": counts(failures=1, rescued=1)},
            WENT_WRONG,
            False,
            "FAILED after 4.2 s on a in (3/8) Apply: RED after 0001: a service is gone",
        ),
        (
            {"a": counts(), "b": counts(unreachable=1)},
            [Failure("a", "(1/8) Try", "handled"), Failure("b", "(2/8) Ask", "no route to host")],
            True,
            "FAILED after 4.2 s on 1 of 2 hosts (b), first on b in (2/8) Ask: no route to host",
        ),
        ({"a": counts(failures=1)}, [], False, "FAILED after 4.2 s on a."),
        ({}, [], False, "Nothing was done: no host was asked to do anything."),
    ],
)
def test_the_outcome(
    recap: dict[str, dict[str, int]], failures: list[Failure], check: bool, told: str
) -> None:
    assert sentence(recap, failures, seconds=4.2, check=check) == told


def test_no_sentence_looks_like_a_recap() -> None:
    """Molecule searches the whole output for it, to tell whether a second run changed something."""
    assert not re.search(r"changed=[1-9]", sentence({"a": counts(changed=9)}, [], seconds=1, check=False))
