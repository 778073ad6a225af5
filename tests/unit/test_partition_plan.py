"""What partitions are wanted, found wrong, made, detached: examples, and properties over clocks, zones, histories."""

import datetime
import itertools
from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest
from ansible.module_utils.rollout import partition_calendar as calendar
from ansible.module_utils.rollout import partition_plan as plans
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.partition_plan import HIGHEST, LOWEST, Desired, Partition, Plan
from ansible.module_utils.rollout.partition_repair import Repair, names_to_give, plan_repair
from hypothesis import given, settings
from hypothesis import strategies as st

# Summer time, half hours, both ends of the world, an island that has no 2011-12-30, and one whose midnight is skipped.
ZONES = (
    "UTC",
    "Europe/Moscow",
    "Europe/Berlin",
    "America/Sao_Paulo",
    "Asia/Kolkata",
    "Pacific/Auckland",
    "Pacific/Tongatapu",
    "Pacific/Apia",
    "Pacific/Pago_Pago",
    "Africa/Cairo",
)
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def instant(moment: datetime.datetime) -> int:
    return (moment - _EPOCH) // datetime.timedelta(microseconds=1)


def midnight(day: datetime.date, zone: str) -> int:
    return instant(datetime.datetime.combine(day, datetime.time(), ZoneInfo(zone)))


def plan_at(
    desired: Desired, now: datetime.datetime, zone: str, seen: list[Partition], occupied: tuple[str, ...] = ()
) -> Plan:
    today = now.astimezone(ZoneInfo(zone)).date()
    at = {day: midnight(day, zone) for day in plans.days_to_ask(desired, today)}
    return plans.make_plan(desired, today, at, seen, occupied)


def after(plan: Plan, seen: list[Partition], count: int | None = None) -> list[Partition]:
    """The table after the first ``count`` actions: a run that was interrupted there."""
    found = list(seen)
    for action in plan.actions[:count]:
        if action.kind == plans.CREATE:
            found.append(Partition(action.name, action.lower, action.upper, empty=True))
        else:
            found = [partition for partition in found if partition.name != action.name]
    return found


def mended(repair: Repair, seen: list[Partition]) -> list[Partition]:
    gone = {*repair.replaced, *(name for group in repair.rebuilt for name in group.sources)}
    kept = [partition for partition in seen if partition.name not in gone]
    rebuilt = [Partition(p.name, p.lower, p.upper, empty=False) for g in repair.rebuilt for p in g.targets]
    return [*kept, *rebuilt, *(Partition(p.name, p.lower, p.upper, empty=True) for p in repair.filled)]


def assert_each_instant_once(plan: Plan, seen: list[Partition]) -> None:
    """Every instant from the first to the horizon has exactly one partition."""
    attached = sorted((p for p in seen if not p.default), key=lambda p: p.lower)
    for one, other in itertools.pairwise(attached):
        assert one.upper <= other.lower, (one, other)
    assert plans.uncovered(plan.periods[0].lower, plan.periods[-1].upper, attached) == []
    assert len({p.name for p in seen}) == len(seen)


MONTHS = Desired("messages", "month", datetime.date(2025, 11, 1), ahead=3)
NOW = datetime.datetime(2026, 2, 10, tzinfo=datetime.UTC)


def month(number: int, zone: str = "UTC", empty: bool | None = None) -> Partition:
    """The month that many after November 2025."""
    start = calendar.later(datetime.date(2025, 11, 1), "month", number)
    end = calendar.later(start, "month", 1)
    name = f"messages_{calendar.suffix(start, 'month')}"
    return Partition(name, midnight(start, zone), midnight(end, zone), empty=empty)


def kinds(plan: Plan) -> list[tuple[str, str]]:
    return [(found.kind, found.name) for found in plan.findings]


def test_missing_months_are_made_and_nothing_else() -> None:
    plan = plan_at(MONTHS, NOW, "UTC", [month(0), month(2)])
    assert [(a.kind, a.name) for a in plan.actions] == [
        ("create", f"messages_{m}") for m in ("2025_12", "2026_02", "2026_03", "2026_04", "2026_05")
    ]
    assert (plan.findings, plan.ahead) == ((), 3)
    assert plans.shown(plan.covered_until or 0) == "2026-06-01 00:00:00+00"


def test_fewer_ahead_than_the_alarm_says_is_red() -> None:
    existing = [month(n) for n in range(6)]
    alarm = replace(MONTHS, alarm=3)
    assert kinds(plan_at(alarm, NOW, "UTC", existing, occupied=("messages_2026_05",))) == [
        ("occupied", "messages_2026_05"),
        ("not enough ahead", "messages"),
    ]
    assert kinds(plan_at(alarm, NOW, "UTC", [*existing, month(6)])) == []


def test_the_wrong_zone_is_told_from_other_odd_bounds() -> None:
    seen = [month(0, "Europe/Moscow"), month(1, "Europe/Moscow", empty=False)]
    plan = plan_at(MONTHS, NOW, "UTC", seen)
    assert kinds(plan) == [("gap", "messages_2025_12"), *(("wrong zone", p.name) for p in seen)]
    texts = {found.name: found for found in plan.findings if found.kind == "wrong zone"}
    assert "-3 h off" in texts["messages_2025_11"].text
    assert texts["messages_2025_11"].alarming and not texts["messages_2025_12"].alarming
    odd = Partition("odd", month(0).lower, month(0).lower + 5_000_000_000)
    assert ("off grid", "odd") in kinds(plan_at(MONTHS, NOW, "UTC", [odd]))
    berlin = [month(n, "Europe/Berlin") for n in range(4, 6)]
    found = [f for f in plan_at(MONTHS, NOW, "UTC", berlin).findings if f.kind == "wrong zone"]
    # March begins in winter and ends in summer time: one hour off, then two.
    assert "-2 h, -1 h off" in found[0].text


def test_one_partition_for_many_months_is_as_good() -> None:
    year = Partition("messages_until_now", month(0).lower, month(3).upper)
    plan = plan_at(MONTHS, NOW, "UTC", [year])
    assert [a.name for a in plan.actions] == ["messages_2026_03", "messages_2026_04", "messages_2026_05"]
    assert plan.findings == ()


def test_retention_goes_by_bounds() -> None:
    before_time = Partition("old", LOWEST, month(0).lower)
    endless = Partition("endless", month(6).upper, HIGHEST)
    seen = [before_time, *(month(n) for n in range(7)), endless]
    plan = plan_at(replace(MONTHS, retention=2), NOW, "UTC", seen)
    assert [(a.kind, a.name) for a in plan.actions] == [("detach", "old"), ("detach", "messages_2025_11")]
    assert plan_at(MONTHS, NOW, "UTC", seen).actions == ()
    # A first month later than what retention keeps makes nothing older expire.
    later = replace(MONTHS, first=datetime.date(2026, 2, 1), retention=12)
    assert plan_at(later, NOW, "UTC", seen[1:]).actions == ()
    default = Partition("others", default=True, empty=True)
    blocked = plan_at(replace(MONTHS, retention=2), NOW, "UTC", [*seen, default])
    assert ([a.kind for a in blocked.actions], kinds(blocked)) == ([], [("default blocks detach", "others")])


def test_rows_in_default_stop_their_month_only() -> None:
    today = NOW.date()
    at = {day: midnight(day, "UTC") for day in plans.days_to_ask(MONTHS, today)}
    default = Partition("others", default=True, empty=False)
    seen = [*(month(n) for n in range(4)), default]
    plan = plans.make_plan(MONTHS, today, at, seen, in_default={"messages_2026_04": 7})
    assert [a.name for a in plan.actions] == ["messages_2026_03", "messages_2026_05"]
    assert kinds(plan) == [("rows in default", "others")]
    repair = plan_repair("messages", plan, seen, in_default={"messages_2026_04": 7})
    assert [p.name for p in repair.emptied] == ["messages_2026_04"]
    assert repair.beyond == ()


def test_a_pending_detach_is_finished_first() -> None:
    seen = [replace(month(0), pending=True), *(month(n) for n in range(1, 7))]
    plan = plan_at(replace(MONTHS, first=datetime.date(2025, 12, 1)), NOW, "UTC", seen)
    assert [(a.kind, a.name) for a in plan.actions] == [("finalize", "messages_2025_11")]
    wanted = plan_at(MONTHS, NOW, "UTC", seen)
    assert [(a.kind, a.name) for a in wanted.actions] == [
        ("finalize", "messages_2025_11"),
        ("create", "messages_2025_11"),
    ]
    assert wanted.findings == ()


def test_foreign_tables_and_lacking_indexes_are_told() -> None:
    seen = [month(n) for n in range(7)]
    seen[0] = replace(seen[0], foreign=True)
    seen[1] = replace(seen[1], lacks=("idx_messages_phone",))
    plan = plan_at(MONTHS, NOW, "UTC", seen)
    assert kinds(plan) == [("foreign table", seen[0].name), ("index", seen[1].name)]
    assert [f.kind for f in plan.alarming] == ["index"]
    assert plan_repair("messages", plan, seen).indexed == ((seen[1].name, "idx_messages_phone"),)


def test_only_what_is_over_and_alone_is_rebuilt() -> None:
    """Three months of Moscow with rows; the present month is February."""
    seen = [month(number, "Europe/Moscow", empty=False) for number in range(4)]

    def rebuilt(partitions: list[Partition], occupied: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
        plan = plan_at(MONTHS, NOW, "UTC", partitions)
        return [group.sources for group in plan_repair("messages", plan, partitions, occupied).rebuilt]

    names = tuple(p.name for p in seen)
    assert rebuilt(seen) == [names[:3]]
    assert rebuilt([seen[0], *seen[2:]]) == [(names[0],), (names[2],)]
    assert rebuilt([*seen, Partition("others", default=True, empty=True)]) == []
    assert rebuilt([replace(seen[0], foreign=True), *seen[1:]]) == [names[1:3]]
    assert rebuilt([replace(seen[0], lower=LOWEST), *seen[1:]]) == [names[1:3]]
    assert rebuilt(seen, ("messages_2025_10_31t210000",)) == []


def test_a_name_that_would_be_cut_off_is_refused() -> None:
    with pytest.raises(RolloutError, match="more than 63 bytes"):
        plan_at(replace(MONTHS, table="m" * 60), NOW, "UTC", [])


CLOCKS = st.one_of(
    st.datetimes(datetime.datetime(2011, 1, 1), datetime.datetime(2031, 1, 1)),
    st.sampled_from(
        [
            datetime.datetime(2024, 2, 28, 23, 59, 59, 999999),
            datetime.datetime(2024, 2, 29, 23, 59, 59, 999999),
            datetime.datetime(2023, 2, 28, 23, 59, 59, 999999),
            datetime.datetime(2025, 12, 31, 23, 59, 59, 999999),
            datetime.datetime(2026, 1, 1),
            datetime.datetime(2011, 12, 30, 9, 59, 59, 999999),
            datetime.datetime(2025, 3, 30, 0, 59, 59, 999999),
            datetime.datetime(2018, 11, 4, 2, 59, 59, 999999),
        ]
    ),
).map(lambda naive: naive.replace(tzinfo=datetime.UTC))
DESIRED = st.builds(
    Desired,
    table=st.just("messages"),
    unit=st.sampled_from(calendar.UNITS),
    first=st.one_of(st.none(), st.dates(datetime.date(2023, 1, 1), datetime.date(2027, 1, 1))),
    ahead=st.integers(0, 6),
    retention=st.integers(0, 5),
    alarm=st.just(0),
)


def nearby(desired: Desired, now: datetime.datetime) -> Desired:
    """With a first period at most some hundred before or after now, so that days stay few."""
    if desired.first is None:
        return desired
    shift = (desired.first - datetime.date(2025, 1, 1)).days // 5
    return replace(desired, first=now.date() + datetime.timedelta(days=shift))


@settings(max_examples=100, deadline=None)
@given(
    DESIRED,
    st.sampled_from(ZONES),
    CLOCKS,
    st.lists(st.tuples(st.integers(0, 90), st.integers(0, 9)), max_size=5),
)
def test_whatever_the_clock_each_instant_has_one_partition(
    desired: Desired, zone: str, now: datetime.datetime, history: list[tuple[int, int]]
) -> None:
    """After runs on earlier days that were cut short anywhere, one whole run puts everything right."""
    desired = nearby(desired, now)
    seen: list[Partition] = []
    for days, done in sorted(history, reverse=True):
        seen = after(plan_at(desired, now - datetime.timedelta(days=days), zone, seen), seen, done)
    plan = plan_at(desired, now, zone, seen)
    assert plan.alarming == ()
    given_names = set(names_to_give("messages", plan, seen))
    assert {action.name for action in plan.actions if action.kind == plans.CREATE} <= given_names
    seen = after(plan, seen)
    assert_each_instant_once(plan, seen)
    present = instant(now)
    assert sum(p.lower <= present < p.upper for p in seen) == 1
    again = plan_at(desired, now, zone, seen)
    assert (again.actions, again.findings) == ((), ())
    assert (again.covered_until, again.ahead) == (plan.covered_until, plan.ahead)
    assert names_to_give("messages", again, seen) == []


@settings(max_examples=100, deadline=None)
@given(
    DESIRED.map(lambda d: replace(d, retention=0)),
    st.sampled_from(ZONES),
    st.lists(
        st.tuples(st.sampled_from(ZONES), st.integers(0, 90), st.integers(0, 9), st.booleans()), max_size=4
    ),
    CLOCKS,
)
def test_a_table_of_many_zones_is_repaired_without_losing_a_row(
    desired: Desired, zone: str, history: list[tuple[str, int, int, bool]], now: datetime.datetime
) -> None:
    desired = nearby(desired, now)
    seen: list[Partition] = []
    for other, days, done, filled in sorted(history, key=lambda one: -one[1]):
        made = after(plan_at(desired, now - datetime.timedelta(days=days), other, seen), seen, done)
        seen = [replace(p, empty=False) if filled and p not in seen else p for p in made]
    seen = after(plan_at(desired, now, zone, seen), seen)
    plan = plan_at(desired, now, zone, seen)
    repair = plan_repair("messages", plan, seen)
    periods = [*repair.filled, *(p for group in repair.rebuilt for p in group.targets)]
    assert {p.name for p in periods} <= set(names_to_give("messages", plan, seen))
    with_rows = [p for p in seen if p.empty is False]
    seen = mended(repair, seen)
    # Whatever instant a row has, it has a place; what still takes rows keeps the one that it has.
    ordered = sorted(seen, key=lambda p: p.lower)
    assert [p for p in with_rows if plans.uncovered(p.lower, p.upper, ordered)] == []
    assert [p for p in with_rows if p.upper > plan.present and p not in seen] == []
    assert_each_instant_once(plan, seen)
    again = plan_at(desired, now, zone, seen)
    assert (again.actions, again.alarming) == ((), ())
    assert [f.name for f in again.findings if f.name not in {p.name for p in with_rows}] == []
    assert not plan_repair("messages", again, seen).needed


def test_a_literal_that_is_read_in_the_sessions_zone_leaves_holes() -> None:
    """The control of the property above: what the original did."""
    seen = [month(0, "Europe/Moscow"), month(2, "UTC")]
    with pytest.raises(AssertionError):
        assert_each_instant_once(
            plan_at(replace(MONTHS, ahead=0), NOW, "UTC", seen), [*seen, month(1), month(3)]
        )


def test_a_day_that_a_zone_skipped_needs_no_partition() -> None:
    """Samoa crossed the date line at the end of 2011-12-29; its next day was 2011-12-31."""
    days = Desired("events", "day", datetime.date(2011, 12, 29), ahead=2)
    plan = plan_at(days, datetime.datetime(2011, 12, 29, 23, tzinfo=datetime.UTC), "Pacific/Apia", [])
    assert [action.name for action in plan.actions] == ["events_2011_12_29", "events_2011_12_31"]
    assert [period.name for period in plan.periods] == ["events_2011_12_29", "events_2011_12_31"]
