"""How long is watched, what is a gap, and when it is decided: tables, no clock."""

from typing import Any

import pytest
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.gate import BROKEN, GREEN, RED, Decision, Finding, Sample
from ansible.module_utils.rollout.watch import (
    Gap,
    Plan,
    clock,
    decide,
    gaps,
    live_line,
    pause,
    remarks,
    sample,
    watched,
)

#: Half an hour, every five minutes.
PLAN = Plan()
STOPPED = Finding("pm2", "worker", "not_online", "id 1: stopped")
LOGGED_OUT = Finding("whatsapp", "WhatsApp", "logged_out", "the session was logged out (401)", lasting=True)
NO_HOST = {"source": "host", "reason": "unreachable", "text": "no route to host"}
NO_PM2 = {"source": "pm2", "reason": "no_permission", "text": "may not talk to PM2"}


def look(at: float, *findings: Finding, broken: Any = (), continued: bool = False, **observed: Any) -> Sample:
    seen = {"continued": continued, "services": 7, "online": 7, "whatsapp": "connected", "new_errors": 0}
    return Sample(at, findings, tuple(broken), {**seen, **observed})


def seen(*looks: Sample, plan: Plan = PLAN) -> list[Sample]:
    """The looks with what each says of the time that was watched, as the loop completes them."""
    history: list[Sample] = []
    for one in looks:
        until_now = watched([*history, one], plan)
        known = {"watched_s": until_now, "number": plan.number(until_now)}
        history.append(Sample(one.at, one.findings, one.broken, {**one.observed, **known}))
    return history


def good(*times: float) -> list[Sample]:
    return [look(at) for at in times]


def decided(*looks: Sample, tried: int | None = None, plan: Plan = PLAN) -> Decision | None:
    history = seen(*looks, plan=plan)
    return decide(history, plan, tried=len(history) if tried is None else tried)


# --- the plan


@pytest.mark.parametrize(
    ("duration", "interval", "planned", "numbers"),
    [
        (1800, 300, 7, {0: 1, 299: 1, 300: 2, 1799: 6, 1800: 7, 1900: 7}),
        (1000, 300, 5, {0: 1, 900: 4, 999: 4, 1000: 5}),
        (300, 300, 2, {0: 1, 299.9: 1, 300: 2}),
        # As 0.15 and 0.025 minutes come out.
        (0.15 * 60, 0.025 * 60, 7, {0: 1, 7.5: 6, 9: 7}),
    ],
)
def test_samples_from_the_beginning_to_the_end(
    duration: float, interval: float, planned: int, numbers: dict[float, int]
) -> None:
    plan = Plan(duration, interval)
    assert plan.planned == planned
    assert {watched_s: plan.number(watched_s) for watched_s in numbers} == numbers


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"interval_s": 0}, "watch_interval_minutes"),
        ({"interval_s": 1801}, "watch_interval_minutes"),
        ({"duration_s": -5}, "watch_minutes"),
        ({"recheck_s": 0}, "watch_recheck_seconds"),
        ({"red_samples": 0}, "watch_red_samples"),
        ({"broken_samples": 0}, "watch_broken_samples"),
    ],
)
def test_a_plan_that_cannot_be_kept_is_refused(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(RolloutError, match=named):
        Plan(**wrong)


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        (good(0), 300),
        (good(0, 300, 600), 300),
        ([look(0, STOPPED)], 60),
        ([*good(0), look(290, STOPPED)], 10),
        ([*good(0), look(300, broken=[NO_HOST])], 60),
        # At the end of what was planned.
        ([*good(*range(0, 1800, 300)), look(1800, STOPPED)], 60),
        ([*good(*range(0, 1800, 300)), look(1800, broken=[NO_HOST])], 60),
    ],
)
def test_after_a_bad_look_the_next_one_comes_sooner(looks: list[Sample], expected: float) -> None:
    assert pause(seen(*looks), PLAN) == expected


def test_the_last_sample_comes_at_the_end_of_a_plan_that_does_not_divide() -> None:
    plan = Plan(1000, 300)
    assert pause(seen(*good(0, 300, 600, 900), plan=plan), plan) == 100


# --- gaps


def test_without_a_gap_all_time_is_watched() -> None:
    history = seen(*good(1000, 1300, 1600.5))
    assert [one.observed["watched_s"] for one in history] == [0, 300, 600]
    assert gaps(history, PLAN) == []


def test_looks_that_take_long_do_not_count_for_more_than_an_interval() -> None:
    history = seen(*good(0, 2000))
    assert history[-1].observed["watched_s"] == 300
    assert gaps(history, PLAN) == []


def test_a_look_that_could_not_be_made_is_a_gap_to_both_sides() -> None:
    history = seen(*good(0, 300), look(600, broken=[NO_HOST]), look(660, broken=[NO_HOST]), *good(720, 1020))
    assert gaps(history, PLAN) == [Gap(300, 720, "no route to host")]
    assert [one.observed["watched_s"] for one in history] == [0, 300, 300, 300, 300, 600]


def test_a_gap_at_the_beginning_and_one_that_goes_on() -> None:
    history = seen(
        look(0, broken=[NO_HOST]), *good(60, 360), look(660, broken=[NO_PM2]), look(720, broken=[NO_HOST])
    )
    assert gaps(history, PLAN) == [
        Gap(0, 60, "no route to host"),
        Gap(360, 720, "may not talk to PM2; no route to host"),
    ]
    assert history[-1].observed["watched_s"] == 300


def test_a_watch_that_was_interrupted_has_a_gap() -> None:
    history = seen(*good(0, 300), look(5000, continued=True), *good(5300))
    assert gaps(history, PLAN) == [Gap(300, 5000, "the watch was interrupted")]
    assert history[-1].observed["watched_s"] == 600
    # One that goes on before anything was missed has none.
    history = seen(*good(0, 300), look(640, continued=True))
    assert gaps(history, PLAN) == []
    assert history[-1].observed["watched_s"] == 600


def test_an_interruption_is_named_beside_what_could_not_be_read_after_it() -> None:
    history = seen(*good(0), look(5000, broken=[NO_HOST], continued=True), look(5060))
    (gap,) = gaps(history, PLAN)
    assert str(gap) == "nobody could look for 1:24:20: the watch was interrupted; no route to host"
    assert gap.as_result() == {"begin": 0, "end": 5060, "seconds": 5060, "reason": gap.reason}


# --- the decision


def test_half_an_hour_of_good_looks_is_green() -> None:
    assert decided(*good(*range(0, 1801, 300))) == Decision(GREEN, ())
    assert decided(*good(*range(0, 1501, 300))) is None


def test_what_lasts_is_red_at_once() -> None:
    assert decided(*good(0, 300), look(600, LOGGED_OUT)) == Decision(RED, (str(LOGGED_OUT),))


def test_a_flap_is_tolerated_and_told() -> None:
    flap = [*good(0, 300), look(600, STOPPED), look(660, STOPPED), *good(*range(900, 1801, 300))]
    assert decided(*flap) == Decision(GREEN, (f"tolerated: {STOPPED}",))
    assert decided(*flap[:4]) is None
    red = decided(*flap[:4], look(720, STOPPED))
    assert red == Decision(RED, (str(STOPPED), "3 of 5 looks were bad"))
    # Not necessarily in a row.
    assert decided(*flap[:6], look(1200, STOPPED)) == Decision(RED, (str(STOPPED), "3 of 7 looks were bad"))


def test_it_is_not_green_while_the_last_look_was_bad() -> None:
    looks = [*good(*range(0, 1501, 300)), look(1800, STOPPED)]
    assert decided(*looks) is None
    assert decided(*looks, look(1860)) == Decision(GREEN, (f"tolerated: {STOPPED}",))


def test_a_gap_prolongs_the_watch_and_is_told() -> None:
    looks = [*good(0, 300), look(600, broken=[NO_HOST]), *good(*range(660, 1861, 300))]
    assert decided(*looks) is None
    green = decided(*looks, look(2160))
    assert green == Decision(GREEN, ("nobody could look for 6:00: no route to host",))


def test_it_is_given_up_after_so_many_looks_in_a_row() -> None:
    plan = Plan(broken_samples=3)
    lost = [look(at, broken=[NO_HOST]) for at in (300, 360, 420)]
    assert decided(look(0), *lost[:2], plan=plan) is None
    assert decided(look(0), *lost, plan=plan) == Decision(BROKEN, ("no route to host",))
    assert decided(look(0), *lost[:2], look(420), look(720, broken=[NO_HOST]), plan=plan) is None
    # Those of before a watch was continued do not count.
    assert decided(look(0), *lost, look(900, broken=[NO_HOST], continued=True), plan=plan, tried=1) is None


def test_what_the_inventory_has_to_correct_is_broken_at_once() -> None:
    assert decided(look(0, broken=[NO_PM2])) == Decision(BROKEN, ("may not talk to PM2",))
    no_linux = {"source": "host", "reason": "no_proc", "text": "there is no /proc"}
    assert decided(look(0, broken=[no_linux])) == Decision(BROKEN, ("there is no /proc",))
    assert decided(look(0, broken=[NO_HOST])) is None


def test_red_wins_over_broken() -> None:
    assert decided(look(0, LOGGED_OUT, broken=[NO_PM2])) == Decision(RED, (str(LOGGED_OUT),))


# --- what is told


@pytest.mark.parametrize(
    ("last", "left", "line"),
    [
        (look(600), 1200, "watch 3/7 · 7/7 online · connected · 0 new errors · 20:00 left"),
        (
            look(600, online=6, new_errors=1),
            0.4,
            "watch 3/7 · 6/7 online · connected · 1 new error · 0:00 left",
        ),
        (
            look(600, online=None, services=None, whatsapp=None, new_errors=None, broken=[NO_HOST, NO_HOST]),
            3600,
            "watch 2/7 · could not read host · 1:00:00 left",
        ),
    ],
)
def test_the_live_line(last: Sample, left: float, line: str) -> None:
    assert live_line(seen(*good(0, 300), last), PLAN, left) == line


def test_remarks_are_findings_and_what_is_broken() -> None:
    assert remarks(look(0, STOPPED, STOPPED, broken=[NO_HOST])) == [str(STOPPED), "no route to host"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (59.6, "1:00"), (599, "9:59"), (3599.4, "59:59"), (5060, "1:24:20"), (-3, "0:00")],
)
def test_times_as_people_read_them(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_a_sample_is_read_back_as_it_was_recorded() -> None:
    one = seen(look(5, STOPPED, broken=[NO_HOST], host={"load1": 1.5}))[0]
    assert sample(one.as_result()) == one
