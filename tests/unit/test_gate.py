"""The gate's judgement: what each source may say and how it is read, and the decision over several looks."""

import re
from collections.abc import Sequence
from typing import Any

import pytest
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.gate import (
    BROKEN,
    CONNECTION_PATTERNS,
    GREEN,
    RED,
    Before,
    Counts,
    Decision,
    Finding,
    Limits,
    Sample,
    by_service,
    counts,
    decide,
    judge,
    live_line,
)
from hypothesis import given
from hypothesis import strategies as st

NOW = 1_000_000.0
API, WORKER, CLIENT = "api", "worker", "whatsapp-client"
OUT = {API: "/logs/api-out.log", WORKER: "/logs/worker-out.log", CLIENT: "/logs/client-out.log"}
LIMITS = Limits(problem_budgets={"database_error": 0})
#: A minute of a quiet application.
QUIET = Before(baseline_s=60.0, since_s=10.0)


def service(state: str = "online", pid: int = 7) -> dict[str, Any]:
    return {
        "state": state,
        "online": state == "online",
        "pids": [pid],
        "restarts": 0,
        "uptime": 100.0,
        "memory": 1000,
        "cpu": 0.5,
    }


def log(levels: dict[str, int] | None = None, continuity: str = "proven", **patterns: int) -> dict[str, Any]:
    """What a log says; a pattern's kind is told by its name."""
    kinds = {"out_of_memory": "fatal", "logged_out": "fatal", "connected": "sign"}
    return {
        "lines": 1000,
        "levels": levels or {},
        "patterns": {
            name: {"kind": kinds.get(name, "problem"), "count": count, "last": []}
            for name, count in patterns.items()
        },
        "continuity": continuity,
    }


def look(files: dict[str, dict[str, Any]] | None = None, **others: Any) -> dict[str, Any]:
    """What application_info says of a healthy application, besides what is given.

    :param files: by service, what its log says
    """
    given = {name: log(connected=1) for name in OUT} | (files or {})
    return {
        "services": {API: service(), WORKER: service(pid=8), CLIENT: service(pid=9)},
        "problems": [],
        "changes": [],
        "elsewhere": {},
        "files": {OUT[name]: {"services": [name], **found} for name, found in given.items()},
        "logs": {name: {**found, "samples": []} for name, found in given.items()},
        "whatsapp": {"verdict": "connected", "reason": "all say so", "terminal": False},
        "store": {"state": "untouched", "findings": []},
        "broken": [],
        "seconds": 0.02,
        **others,
    }


def judged(seen: dict[str, Any], before: Before = QUIET, limits: Limits = LIMITS) -> Sample:
    return judge(seen, at=NOW, limits=limits, before=before)


def problem(code: str, text: str) -> dict[str, Any]:
    return {"service": API, "code": code, "text": text}


def change(text: str, *, expected: bool = False, name: str = API) -> dict[str, Any]:
    return {"service": name, "code": "restarted", "text": text, "expected": expected}


def without(seen: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in seen.items() if key not in keys}


# --- one look, by source -------------------------------------------------------------------------------------------

#: Nothing is found in these, though some of them look like what is below.
HEALTHY: dict[str, dict[str, Any]] = {
    "all is well": look(),
    "no WhatsApp client": without(look(), "whatsapp", "store"),
    "no PM2": look(services={}),
    "a first look, without a bookmark": look(files=None, logs={}) | {"files": {}},
    "cron ran": look(
        changes=[change("id 3: pid 5, now 0", expected=True)],
        services={API: service("idle")},
    ),
    "rotated logs": look({name: log(continuity="unproven", connected=3) for name in OUT}),
    "flushed logs": look({name: log(continuity="broken") for name in OUT}),
    "a few errors": look({API: log({"error": 5}, exception=5)}),
    "lines of the connection, which the verdict weighs": look(
        {CLIENT: log({"warn": 30}, connection_closed=10, disconnected=10, reconnecting=10)}
    ),
    "a store that was only looked at": look(store={"state": "sound", "findings": []}),
    "a company that nobody names while the client is asked in vain": look(
        store={"state": "unknown_company", "findings": []}
    ),
}

#: What was seen; the finding's source, subject, code, whether it lasts, and a part of its text.
SICK: dict[str, tuple[dict[str, Any], tuple[str, str, str, bool, str]]] = {
    "stopped": (
        look(problems=[problem("not_online", "id 0: stopped, 0 restarts")], services={API: service("down")}),
        ("pm2", API, "not_online", False, "id 0: stopped"),
    ),
    "missing, and known elsewhere": (
        look(
            problems=[problem("missing", "PM2 knows no service of this name")],
            elsewhere={API: ["/srv/other/.pm2 (user root)"]},
        ),
        ("pm2", API, "missing", False, "no service of this name; known to /srv/other/.pm2 (user root)"),
    ),
    "restarted": (
        look(changes=[change("id 0: 3 restarts, now 4"), change("id 0: pid 7, now 11")]),
        ("pm2", API, "restarted", True, "is not the process that it was: id 0: 3 restarts, now 4; id 0: pid"),
    ),
    "PM2 replaced": (
        look(changes=[change("PM2's daemon is another process", name="")]),
        ("pm2", "PM2", "restarted", True, "another process"),
    ),
    "reconnecting": (
        look(whatsapp={"verdict": "reconnecting", "reason": "closed with 428", "terminal": False}),
        ("whatsapp", "WhatsApp", "reconnecting", False, "closed with 428"),
    ),
    "logged out": (
        look(whatsapp={"verdict": "logged_out", "reason": "401", "terminal": True}),
        ("whatsapp", "WhatsApp", "logged_out", True, "401"),
    ),
    "store touched": (
        look(store={"state": "touched", "findings": [{"what": "keys", "expected": 10, "observed": 2}]}),
        ("store", "WhatsApp session", "touched", True, "keys: expected 10, observed 2"),
    ),
    "fatal line": (
        look({API: log(out_of_memory=1)}),
        ("logs", API, "out_of_memory", True, "1 new line of out_of_memory since the baseline"),
    ),
    "too many errors": (
        look({WORKER: log({"error": 4, "fatal": 2})}),
        ("logs", WORKER, "error", True, "6 new lines of level error in 10 s; up to 5 would be normal"),
    ),
    "a database error, of which none is allowed": (
        look({WORKER: log({"error": 1}, database_error=1)}),
        ("logs", WORKER, "database_error", True, "1 new line of database_error"),
    ),
    "too many lines of a problem": (
        look({WORKER: log(exception=6)}),
        ("logs", WORKER, "exception", True, "6 new lines of exception"),
    ),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_look_has_no_finding(name: str) -> None:
    """The control of the table below."""
    sample = judged(HEALTHY[name])
    assert (sample.findings, sample.bad, sample.broken) == ((), False, ())


@pytest.mark.parametrize("name", SICK)
def test_what_is_wrong_is_found_and_named(name: str) -> None:
    seen, (source, subject, code, lasting, text) = SICK[name]
    (finding,) = judged(seen).findings
    assert (finding.source, finding.subject, finding.code, finding.lasting) == (
        source,
        subject,
        code,
        lasting,
    )
    assert text in finding.text
    assert str(finding) == f"{subject}: {finding.text}"


def test_everything_that_is_wrong_is_found() -> None:
    seen = look({API: log(out_of_memory=1), WORKER: log({"error": 9})}, **_merged("restarted", "logged out"))
    assert {finding.code for finding in judged(seen).findings} == {
        "restarted",
        "logged_out",
        "out_of_memory",
        "error",
    }


def _merged(*names: str) -> dict[str, Any]:
    parts = {"restarted": "changes", "logged out": "whatsapp"}
    return {parts[name]: SICK[name][0][parts[name]] for name in names}


def test_what_could_not_be_read_is_no_finding() -> None:
    broken = [{"source": "pm2", "reason": "no_daemon", "text": "No PM2 daemon"}]
    sample = judged(look(broken=broken, services={}))
    assert (sample.bad, list(sample.broken)) == (False, broken)


def test_without_a_verdict_on_a_client_lines_of_the_connection_count() -> None:
    seen = without(
        look({CLIENT: log(None, "proven", **dict.fromkeys(CONNECTION_PATTERNS, 6))}), "whatsapp", "store"
    )
    assert {finding.code for finding in judged(seen).findings} == CONNECTION_PATTERNS


def test_a_sample_of_the_lines_is_quoted() -> None:
    seen = look({WORKER: log({"error": 9}, database_error=1)})
    seen["logs"][WORKER]["samples"] = [
        {"pattern": None, "level": "warn", "text": "slow"},
        {"pattern": None, "level": "error", "text": "first"},
        {"pattern": None, "level": "error", "text": "second"},
        {"pattern": "database_error", "level": "error", "text": 'relation "x" does not exist'},
    ]
    texts = {finding.code: finding.text for finding in judged(seen).findings}
    assert texts["error"].endswith(", such as 'second'")
    assert texts["database_error"].endswith(""", such as 'relation "x" does not exist'""")


def test_a_sample_goes_into_the_record_whole() -> None:
    told = judged(SICK["restarted"][0]).as_result()
    assert told["at"] == NOW
    assert told["findings"][0]["source"] == "pm2"
    assert (told["online"], told["services"], told["whatsapp"], told["store"]) == (
        3,
        3,
        "connected",
        "untouched",
    )
    assert told["pids"] == {API: [7], WORKER: [8], CLIENT: [9]}
    assert (told["memory"], told["new_errors"]) == (3000, 0)
    assert told["continuity"] == dict.fromkeys(OUT, "proven")


# --- budgets and rates ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "allowed"),
    [
        pytest.param(QUIET, 5, id="a quiet baseline: the budget"),
        pytest.param(
            Before(normal={API: Counts(errors=60)}, baseline_s=60, since_s=10),
            5 + 2 * 10,
            id="twice the rate of the baseline besides",
        ),
        pytest.param(
            Before(normal={WORKER: Counts(errors=60)}, baseline_s=60, since_s=10), 5, id="another's rate"
        ),
        pytest.param(
            Before({OUT[API]: Counts(errors=60)}, baseline_s=60, since_s=10),
            60 + 5,
            id="lines that were there already",
        ),
        pytest.param(Before(since_s=10), 5 + 5, id="while the baseline is taken: 30 a minute"),
        pytest.param(Before(), 5, id="at its first look"),
    ],
)
def test_so_many_lines_are_normal_and_one_more_is_not(before: Before, allowed: int) -> None:
    assert not judged(look({API: log({"error": allowed})}), before).bad
    assert judged(look({API: log({"error": allowed + 1})}), before).bad


def test_a_pattern_has_a_budget_of_its_own() -> None:
    limits = Limits(problem_lines=3, problem_budgets={"exception": 1})
    seen = look({API: log(exception=2, reply_failed=3)})
    assert [finding.code for finding in judged(seen, limits=limits).findings] == ["exception"]


def test_lines_before_a_truncation_do_not_hide_those_after_it() -> None:
    """Its bookmark's text is gone, and with it the lines that were counted before."""
    counted = Before({OUT[API]: Counts(errors=100, problems={"exception": 100})}, baseline_s=60, since_s=10)
    assert not judged(look({API: log({"error": 103}, exception=103)}), counted).bad
    lost = look({API: log({"error": 6}, exception=6, continuity="broken")})
    assert {finding.code for finding in judged(lost, counted).findings} == {"error", "exception"}


def test_a_log_that_was_truncated_before_is_compared_with_what_it_held_then() -> None:
    before = Before({OUT[API]: Counts(errors=100, continuity="broken")}, baseline_s=60, since_s=10)
    assert not judged(look({API: log({"error": 103}, continuity="broken")}), before).bad
    # And once more: fewer lines than before are no negative number of new ones.
    assert judged(look({API: log({"error": 3}, continuity="broken")}), before).observed["new_errors"] == 0


def test_a_log_that_has_fewer_lines_than_before_was_truncated() -> None:
    """A log that was empty when it was bookmarked is never called broken."""
    shorter = look({API: {**log({"error": 6}, continuity="unproven"), "lines": 6}})
    before = {OUT[API]: Counts(read=100, errors=50)}
    assert judged(shorter, Before(before, baseline_s=60, since_s=10)).bad
    longer = look({API: {**log({"error": 53}, continuity="unproven"), "lines": 103}})
    assert not judged(longer, Before(before, baseline_s=60, since_s=10)).bad


def test_only_the_truncated_one_of_two_logs_counts_anew() -> None:
    files = {
        "/out": {"services": [API], **log({"error": 100})},
        "/err": {"services": [API], **log({"error": 2}, continuity="broken")},
    }
    before = {"/out": Counts(errors=100), "/err": Counts(errors=50)}
    assert by_service(files, counts(files, connection=True), before)[API].errors == 2


def test_lines_of_a_shared_log_count_for_each_of_its_services() -> None:
    files = {"/both": {"services": [API, WORKER], **log({"error": 4})}}
    assert {
        name: one.errors for name, one in by_service(files, counts(files, connection=True), {}).items()
    } == {
        API: 4,
        WORKER: 4,
    }


def test_what_is_fatal_is_never_old() -> None:
    before = Before({OUT[API]: Counts(fatal={"out_of_memory": 1})}, baseline_s=60, since_s=10)
    assert judged(look({API: log(out_of_memory=1)}), before).bad


def test_each_line_is_one_in_the_figures() -> None:
    seen = look({API: log({"error": 3}, exception=3), WORKER: log({"error": 1})})
    assert judged(seen).observed["new_errors"] == 4


@pytest.mark.parametrize(
    ("samples", "red_samples"), [(0, 1), (3, 0), (3, 4)], ids=["no look", "no bad look", "more than all"]
)
def test_limits_that_cannot_be_kept_are_refused(samples: int, red_samples: int) -> None:
    with pytest.raises(RolloutError, match=f"samples {samples} and red_samples {red_samples}"):
        Limits(samples=samples, red_samples=red_samples)
    Limits(samples=3, red_samples=3)


@pytest.mark.parametrize("name", ["error_lines", "problem_lines", "rate_factor", "errors_per_minute"])
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf")])
def test_a_limit_that_is_no_limit_is_refused(name: str, value: float) -> None:
    wrong: dict[str, Any] = {name: value}
    least: dict[str, Any] = {name: 0}
    with pytest.raises(RolloutError, match=rf"the limit {name} is {value}\n.*gate_{name}, or watch_{name}"):
        Limits(**wrong)
    Limits(**least)


@pytest.mark.parametrize("lines", ["2", 2.5, -1, True, None])
def test_a_budget_that_is_no_number_of_lines_is_refused(lines: Any) -> None:
    with pytest.raises(RolloutError, match=f"the budget of exception is {re.escape(repr(lines))}"):
        Limits(problem_budgets={"exception": lines})
    Limits(problem_budgets={"exception": 2})


# --- the decision --------------------------------------------------------------------------------------------------

FLAP = Finding("whatsapp", "WhatsApp", "reconnecting", "closed with 428")
GONE = Finding("whatsapp", "WhatsApp", "logged_out", "logged out (401)", lasting=True)
HANGS = {"source": "pm2", "reason": "timeout", "text": "PM2 did not answer"}
NO_HOME = {"source": "pm2", "reason": "no_home", "text": "PM2_HOME is no folder"}


def sample(*findings: Finding, broken: Sequence[dict[str, str]] = ()) -> Sample:
    return Sample(NOW, findings, tuple(broken), judged(look()).observed)


WELL, BAD, LASTING = sample(), sample(FLAP), sample(GONE)
UNREAD, WRONG = sample(broken=[HANGS]), sample(broken=[NO_HOME])
BOTH = sample(FLAP, broken=[HANGS])
THREE_OF_SIX = Limits(samples=6, red_samples=3)


@pytest.mark.parametrize(
    ("history", "state", "reasons"),
    [
        pytest.param([WELL] * 6, GREEN, (), id="well"),
        pytest.param([WELL] * 5, None, (), id="not long enough"),
        pytest.param([BAD, BAD, *[WELL] * 4], GREEN, ("tolerated: WhatsApp: closed with 428",), id="flap"),
        pytest.param([*[WELL] * 5, BAD], None, (), id="bad at last: go on"),
        pytest.param(
            [*[WELL] * 5, BAD, WELL], GREEN, ("tolerated: WhatsApp: closed with 428",), id="well after that"
        ),
        pytest.param(
            [BAD, WELL, BAD, WELL, BAD],
            RED,
            ("WhatsApp: closed with 428", "3 of 5 looks were bad"),
            id="three bad ones, not in a row",
        ),
        pytest.param([LASTING], RED, ("WhatsApp: logged out (401)",), id="lasting: at once"),
        pytest.param(
            [WELL, sample(FLAP, GONE)],
            RED,
            ("WhatsApp: logged out (401)",),
            id="only what lasts is the reason",
        ),
        pytest.param([UNREAD, UNREAD], None, (), id="unread twice: go on"),
        pytest.param([UNREAD] * 3, BROKEN, ("PM2 did not answer",), id="unread is broken, not red"),
        pytest.param([WRONG], BROKEN, ("PM2_HOME is no folder",), id="misconfigured: at once"),
        pytest.param(
            [UNREAD, UNREAD, *[WELL] * 4], GREEN, ("tolerated: PM2 did not answer",), id="unread for a moment"
        ),
        pytest.param([*[WELL] * 5, UNREAD], None, (), id="unread at last: go on"),
        pytest.param(
            [BOTH] * 3,
            RED,
            ("WhatsApp: closed with 428", "3 of 3 looks were bad"),
            id="bad and unread is bad",
        ),
        pytest.param(
            [sample(GONE, broken=[NO_HOME])], RED, ("WhatsApp: logged out (401)",), id="both at once"
        ),
    ],
)
def test_the_decision(history: list[Sample], state: str | None, reasons: tuple[str, ...]) -> None:
    assert decide(history, THREE_OF_SIX) == (None if state is None else Decision(state, reasons))


@st.composite
def looks(draw: st.DrawFn) -> tuple[Limits, list[Sample]]:
    """Limits, and as many looks as a gate may ever take."""
    samples = draw(st.integers(1, 8))
    limits = Limits(samples=samples, red_samples=draw(st.integers(1, samples)))
    kinds = st.sampled_from([WELL, WELL, WELL, BAD, UNREAD, BOTH, LASTING, WRONG])
    most = samples + 2 * (limits.red_samples - 1)
    return limits, draw(st.lists(kinds, min_size=most, max_size=most))


@given(looks())
def test_it_always_ends_and_is_red_if_and_only_if_the_application_suffered(
    drawn: tuple[Limits, list[Sample]],
) -> None:
    limits, taken = drawn
    for length in range(1, len(taken) + 1):
        decision = decide(taken[:length], limits)
        if decision is not None:
            break
    assert decision is not None, "it did not end"
    history = taken[:length]
    bad, broken = sum(one.bad for one in history), sum(bool(one.broken) for one in history)
    suffered = bad >= limits.red_samples or history[-1] is LASTING
    unreadable = broken >= limits.red_samples or history[-1] is WRONG
    assert (decision.state == RED) == suffered
    assert (decision.state == BROKEN) == (unreadable and not suffered)
    if decision.state == GREEN:
        assert length >= limits.samples
        assert history[-1] is WELL
        assert bool(decision.reasons) == bool(bad or broken)


# --- what the operator sees ----------------------------------------------------------------------------------------


def test_a_line_says_where_it_stands() -> None:
    assert (
        live_line("after 0001", [WELL, WELL], THREE_OF_SIX, 19.6)
        == "gate after 0001 2/6 · 3/3 online · connected · 0 new errors · 20 s left"
    )


def test_a_line_says_what_could_not_be_read_and_counts_looks_beyond_the_last() -> None:
    unread = Sample(NOW, (), (HANGS,), judged(without(look(services={}), "whatsapp")).observed)
    assert (
        live_line("before", [WELL] * 6 + [unread], THREE_OF_SIX, -5)
        == "gate before 7/7 · 0 new errors · could not read pm2 · 0 s left"
    )


def test_reasons_fit_a_line_each() -> None:
    """The role indents them as a list."""
    texts = [str(finding) for seen, _ in SICK.values() for finding in judged(seen).findings]
    assert texts
    assert not [text for text in texts if re.search(r"\n", text)]
