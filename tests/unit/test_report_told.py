"""What a report says of a run: its checks, the outcome in a sentence, what to do next, and how things are worded."""

from typing import Any

import pytest
from ansible.module_utils.rollout.report import wording
from ansible.module_utils.rollout.report.changes import created
from ansible.module_utils.rollout.report.charts import charts_of, ticks
from ansible.module_utils.rollout.report.checks import counts, told
from ansible.module_utils.rollout.report.closing import Stop, closing
from ansible.module_utils.rollout.report.sentence import Host, next_steps, sentence
from ansible.module_utils.rollout.report.sizes import sizes_of
from ansible.module_utils.rollout.report.summary import host_of, summarize
from ansible.module_utils.rollout.report.timeline import phases

from tests import recorded_runs
from tests.recorded_runs import FIRST, SECOND, finding, gate, green, migration, red_item, rolled_back, section

RUN = {"inventory": ["inventory/prod"], "run_id": "r-1", "began_at": recorded_runs.iso(recorded_runs.BEGAN)}
END = {"end": section(99.0, 0)}


def host(sections: dict[str, Any], outcome: str = "") -> Host:
    failed = any(one.get("failed") or one.get("unreachable") for one in sections.values())
    known = outcome or ("failed" if failed else "succeeded" if "end" in sections else "running")
    return host_of({"outcome": known, "sections": sections})


def statuses(sections: dict[str, Any]) -> dict[str, str]:
    return {check.id: check.status for check in host(sections).checks}


# --- checks


def test_a_green_run_has_a_check_for_everything_that_was_asked() -> None:
    found = statuses(green())
    assert len([own for own in found if own.startswith("precheck.")]) == 35
    assert {own: status for own, status in found.items() if not own.startswith(("precheck.", "verify."))} == {
        "rehearsal": "passed",
        "message before": "passed",
        "backup": "passed",
        "gate before": "passed",
        f"migration {FIRST}": "passed",
        f"gate after migration {FIRST}": "passed",
        f"migration {SECOND}": "passed",
        f"gate after migration {SECOND}": "passed",
        "gate after the run": "passed",
        "message after the run": "passed",
        "audit": "warning",
        "watch": "passed",
        "run": "passed",
    }
    assert told(counts(host(green()).checks)) == "52 passed, 3 warnings, 2 not tested"


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"gate x": gate(1, "x", "green")}, {"gate x": "passed"}),
        ({"gate x": gate(1, "x", "red")}, {"gate x": "failed"}),
        ({"gate x": gate(1, "x", "broken")}, {"gate x": "failed"}),
        # Known, and no reason to stop: somebody takes a migration back for it.
        ({"gate x": gate(1, "x", "red", failed=False)}, {"gate x": "warning"}),
        ({"gate x": gate(1, "x", "not_tested")}, {"gate x": "not_tested"}),
        ({"gate x": {"failed": True}}, {"gate x": "failed"}),
        ({"backup": section(1, 1, overridden=True, by="me", reason="restored")}, {"backup": "warning"}),
        ({"backup": section(1, 1, overridden=True, failed=True)}, {"backup": "failed"}),
        ({"backup": section(1, 1, backup={"proven": False})}, {"backup": "failed"}),
        ({"backup": section(1, 1, backup={})}, {"backup": "not_tested"}),
        ({"backup": section(1, 1, failed=True, msg="no disk")}, {"backup": "failed"}),
        (
            {"message x": section(1, 1, status="not_tested", reason="gate_enabled is false")},
            {"message x": "not_tested"},
        ),
        ({"message x": section(1, 1, failed=True, msg="nobody answers")}, {"message x": "failed"}),
        ({"verify": section(1, 1, counts={"table": 2})}, {"verify": "passed"}),
        ({"verify": section(1, 1, differences=[{"object": "index x"}])}, {"verify": "warning"}),
        ({"verify": section(1, 1, failed=True, differences=[{"object": "index x"}])}, {"verify": "failed"}),
        (
            {
                "verify": section(
                    1, 1, findings=[finding("a", "A", "passed")], failed=True, msg="the ledger is gone"
                )
            },
            {"verify.a": "passed", "verify": "failed"},
        ),
        (
            {"precheck": section(1, 1, findings=[finding("a", "A", "failed"), finding("a", "A", "passed")])},
            {"precheck.a": "failed", "precheck.a#2": "passed"},
        ),
        ({"precheck": section(1, 1, findings=[], failed=True, msg="no")}, {"precheck": "failed"}),
        ({"audit": section(1, 1, sentence="", counts={})}, {"audit": "not_tested"}),
        ({"audit": section(1, 1, sentence="x", counts={"fails": 0})}, {"audit": "passed"}),
        (
            {"audit": section(1, 1, sentence="x", counts={"fails": 1}, failed=True, msg="x")},
            {"audit": "failed"},
        ),
        ({"watch": section(1, 1, state="running")}, {"watch": "not_tested"}),
        ({"weather": section(1, 1, failed=True, msg="rain")}, {"weather": "failed"}),
        ({"rollback": section(1, 1, failed=True, cause="x", taken_back=[], stays=[])}, {}),
        (
            {"rollback": section(1, 1, failed=True, cause="x", taken_back=["a"], stays=[], as_before=True)},
            {"rollback": "passed"},
        ),
        (
            {"rollback": section(1, 1, failed=True, cause="x", taken_back=["a"], stays=[], as_before=False)},
            {"rollback": "failed"},
        ),
        (
            {"rollback": section(1, 1, failed=True, cause="x", taken_back=[], stays=["a"])},
            {"rollback": "warning"},
        ),
        (
            {"rollback": section(1, 1, failed=True, cause="x", taken_back=[], stays=["a"], refused="rows")},
            {"rollback": "failed"},
        ),
        ({"rollback": section(1, 1, taken_back=["a"], stays=[])}, {"rollback": "passed"}),
        ({"rollback": section(1, 1, failed=True, reason="rows", taken_back=[])}, {"rollback": "failed"}),
    ],
)
def test_each_section_is_judged_by_what_it_says(sections: dict[str, Any], expected: dict[str, str]) -> None:
    found = statuses({**sections, **END})
    run = "failed" if any(one.get("failed") for one in sections.values()) else "passed"
    assert found == {**expected, "run": run}


def test_a_failed_run_has_a_failed_check_and_a_reason() -> None:
    (run,) = [check for check in host(rolled_back()).checks if check.id == "run"]
    assert run.status == "failed"
    assert "logged out (401)" in run.observed
    assert statuses({"rehearsal": section(1, 1)})["run"] == "not_tested"


# --- the sentence


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        (
            green(),
            f"Rolled out: {FIRST} and {SECOND} are in force since this run; checks: 52 passed, 3 warnings,"
            " 2 not tested.",
        ),
        (
            rolled_back(),
            f"Failed: the application was not well after migration {FIRST}: WhatsApp: the session was logged out (401)"
            f" and no connection came after it (and 1 more); {FIRST} was taken back, and the schema is exactly as"
            " it was before.",
        ),
        (
            red_item(),
            f"Failed: 1 of 9 items of the checklist failed (triggers); {FIRST} and {SECOND} stay in force.",
        ),
        (
            {
                "precheck": section(
                    1, 1, failed=True, findings=[finding("tls", "TLS", "failed"), finding("a", "", "passed")]
                )
            },
            "Failed: 1 of 2 items of the precheck failed (tls); nothing was changed.",
        ),
        (
            {"rehearsal": section(1, 1, failed=True, msg="the schema is not what it was.\nLine 2")},
            "Failed: the rehearsal was refused: the schema is not what it was; nothing was changed.",
        ),
        (
            {
                "rehearsal": section(1, 1),
                f"migration {FIRST}": migration(FIRST, 2, failed=True, changed=False, msg="locked"),
            },
            f"Failed: migration {FIRST} failed: locked.",
        ),
        (
            {"stopped": section(1, 0, failed=True, unreachable=True, task="Look", msg="no route")},
            "Failed: the host could not be reached in the task “Look”.",
        ),
        (
            {"stopped": section(1, 0, failed=True, interrupted=True, task="Look", msg="x")},
            "Failed: the run was interrupted in the task “Look”.",
        ),
        (
            {"stopped": section(1, 0, failed=True, task="Look", msg="it has no eyes.\nmore")},
            "Failed: it has no eyes.",
        ),
        (
            {
                "rehearsal": section(
                    1, 1, summary="nothing to do: 2 migrations are in force; no DDL was sent"
                ),
                **END,
            },
            "Nothing to do: 2 migrations are in force; checks: 2 passed.",
        ),
        (
            {
                "rehearsal": section(1, 1, summary=f"to repair: {FIRST}"),
                f"migration {FIRST}": section(
                    2, 1, changed=True, summary=f"{FIRST} repaired: index x", executed={}
                ),
                **END,
            },
            f"Mended: {FIRST} repaired: index x; checks: 3 passed.",
        ),
        (
            {"rehearsal": section(1, 1, summary=f"{FIRST} (absent): apply"), **END},
            f"Rehearsed, and nothing was changed: {FIRST} (absent): apply.",
        ),
        ({"backup": recorded_runs.backup(1), **END}, "The backup is taken and proven; checks: 2 passed."),
        (
            {"rollback": section(1, 1, taken_back=[SECOND, FIRST], stays=[]), **END},
            f"Taken back: {SECOND} and {FIRST}; checks: 2 passed.",
        ),
        (
            {"watch": recorded_runs.watch(1800), **END},
            "The application stayed well for 30 min; checks: 2 passed.",
        ),
        ({"restore": section(1, 1, summary="2 tables came back."), **END}, "Restored: 2 tables came back."),
        (END, "Every step ended well; checks: 1 passed."),
        ({"precheck": section(1, 1, findings=[])}, "Not ended: what was recorded last is “Precheck”."),
        ({}, "Not ended: nothing was recorded yet."),
    ],
)
def test_the_outcome_is_one_sentence(sections: dict[str, Any], expected: str) -> None:
    assert sentence(host(sections)) == expected


def test_a_run_that_changed_something_never_says_that_nothing_was_changed() -> None:
    sections = {"precheck": section(1, 1), "restore": section(2, 1, failed=True, msg="half of it")}
    assert "nothing was changed" not in sentence(host(sections))
    sections = {"precheck": section(1, 1), "weather": section(2, 1, failed=True, msg="half of it")}
    assert "nothing was changed" not in sentence(host(sections))


def test_what_stays_although_it_should_go_is_said_with_why() -> None:
    sections = rolled_back()
    sections["rollback"] = section(
        30,
        0,
        failed=True,
        cause="red_gate",
        reason="RED",
        taken_back=[],
        stays=[FIRST],
        refused="clients has 3 rows.",
    )
    told_ = sentence(host(sections))
    assert told_.endswith(f"; {FIRST} stays in force.")
    steps = next_steps(host(sections), RUN)
    assert f"{FIRST} could not be taken back: clients has 3 rows." in steps[0]
    assert "ansible-playbook playbooks/rollback.yml -i inventory/prod --check" in steps[0]


def test_what_to_do_next() -> None:
    assert next_steps(host(red_item()), RUN)[0] == (
        "verify.triggers: ALTER TABLE clients ENABLE TRIGGER update_clients_updated_at"
    )
    assert next_steps(host({}), RUN) == [
        "If it runs no more: ansible-playbook playbooks/report.yml -i inventory/prod -e run_id=r-1"
    ]
    applied = {f"migration {FIRST}": migration(FIRST, 1), **END}
    assert next_steps(host(applied), RUN) == [
        "Watch the application: ansible-playbook playbooks/watch.yml -i inventory/prod"
    ]
    assert next_steps(host({**applied, "watch": recorded_runs.watch(3)}), RUN) == []


def test_several_hosts_in_one_sentence() -> None:
    def record(**hosts: Host) -> dict[str, Any]:
        return {
            **RUN,
            "hosts": {
                name: {
                    "outcome": one.outcome,
                    "sections": {part.name: dict(part.data) for part in one.sections},
                }
                for name, one in hosts.items()
            },
        }

    well, bad, open_ = host(END), host(rolled_back()), host({})
    assert (
        summarize(record(a=well, b=well))["sentence"]
        == "On 2 hosts: Every step ended well; checks: 1 passed."
    )
    assert summarize(record(a=well, b=bad))["sentence"].startswith(
        "Failed on 1 of 2 hosts, b: the application was not"
    )
    assert summarize(record(a=well, b=open_))["sentence"].startswith("Not ended on 1 of 2 hosts, b: nothing")
    assert (
        summarize(record(a=well, b=host(green())))["sentence"]
        == "2 hosts ended well; checks: 53 passed, 3 warnings, 2 not tested."
    )
    assert summarize({"hosts": {}})["sentence"] == "Not ended: nothing was recorded yet."


# --- what changed


def test_what_was_created_locked_and_how_large_it_became() -> None:
    known = host(green())
    assert created(known.migrations)["index"] == 116
    assert list(created(known.migrations))[:2] == ["table", "column"]
    first, second = known.migrations
    assert list(first.locks) == [
        ("whatsapp_auth", "none", "ACCESS SHARE"),
        ("whatsapp_keys", "none", "ACCESS SHARE"),
    ]
    assert list(second.other_locks) == [("companies", "SHARE ROW EXCLUSIVE")]
    assert [(one.when, wording.size(one.size)) for one in sizes_of(known.sections)] == [
        ("before", "9.8 MiB"),
        ("at the end of the watch", "11.5 MiB"),
    ]


def test_the_size_of_the_database_is_taken_from_whoever_measured_it() -> None:
    grown = finding(
        "size_growth", "", "passed", evidence={"database_bytes": 300, "database_grown_bytes": 100}
    )
    measured = host({"verify": recorded_runs.verify(1, [grown])})
    assert [(one.when, one.size) for one in sizes_of(measured.sections)] == [
        ("before", 200),
        ("at the checklist", 300),
    ]
    assert sizes_of(host({"verify": recorded_runs.verify(1, [])}).sections) == []


def test_the_timeline_is_in_order_and_does_not_drown_in_the_watch() -> None:
    known = host(green())
    found = phases(known.sections, known.checks, RUN)
    assert [phase.title for phase in found][:3] == [
        "Precheck",
        "Rehearsal",
        "Message to the test phone before",
    ]
    assert found[-1].title == "Watch"
    assert (found[-1].took, found[-1].beyond) == ("30 min", True)
    assert max(phase.width for phase in found if not phase.beyond) > 10
    assert all(0 <= phase.left <= 100 and phase.left + phase.width <= 100.1 for phase in found)
    red = host(rolled_back())
    assert {phase.title: phase.status for phase in phases(red.sections, red.checks, RUN)}[
        f"Gate after migration {FIRST}"
    ] == "failed"
    assert phases(known.sections, known.checks, {}) == []


# --- charts


def test_a_chart_is_drawn_of_what_was_read() -> None:
    samples = recorded_runs.watch(1840)["samples"]
    memory, cpu, connections, size, errors = charts_of(samples)
    assert memory.said.startswith("428 MiB → ")
    assert errors.said == "0 → 3, at most 3"
    for chart in (memory, cpu, connections, size, errors):
        assert chart.svg.startswith("<svg ")
        assert "<script" not in chart.svg and "<style" not in chart.svg and "#" not in chart.svg
        assert "0 min" in chart.svg and "30 min" in chart.svg
        assert f'aria-label="{chart.title}: {chart.said}"' in chart.svg
    # One look without memory and CPU: a gap in these two, and nowhere else.
    assert [chart.svg.count("<circle") for chart in (memory, cpu, connections)] == [6, 6, 7]
    assert [chart.svg.count("line reactive") for chart in (memory, cpu, connections)] == [2, 2, 1]


def test_a_chart_of_nothing_says_so() -> None:
    assert {(chart.said, chart.svg) for chart in charts_of([{"at": 1.0}, {"memory": 5}])} == {
        ("not read", "")
    }
    assert charts_of([{"at": 1.0, "new_errors": 0}])[-1].svg.count("<circle") == 1


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 4, [0, 1, 2, 3, 4]),
        (0, 30, [0, 10, 20, 30]),
        (403, 446, [400, 420, 440, 460]),
        (0.2, 0.9, [0.2, 0.4, 0.6, 0.8, 1.0]),
        (5, 5, [5, 5.25, 5.5, 5.75, 6]),
    ],
)
def test_the_axis_has_round_numbers_around_the_values(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


# --- the last word


def test_a_record_is_closed_where_nobody_said_why() -> None:
    record = {
        "hosts": {
            "well": {"outcome": "succeeded"},
            "said": {"outcome": "failed"},
            "half": {"outcome": "running"},
            "late": {"outcome": "succeeded"},
        }
    }
    stops = {
        "said": Stop("Apply", "x"),
        "gone": Stop("Look", "no route to host", unreachable=True),
        "late": Stop("Write the report", "no disk"),
    }
    found = closing(record, ["well", "half", "said"], stops)
    assert set(found) == {"gone", "half", "late"}
    assert found["gone"] == {"failed": True, "unreachable": True, "task": "Look", "msg": "no route to host"}
    assert "another host (said)" in found["half"]["msg"]
    assert closing(record, ["well", "half"], {}) == {}


def test_an_interrupted_run_is_closed_for_every_host_that_had_not_ended() -> None:
    record = {"hosts": {"well": {"outcome": "succeeded"}, "half": {"outcome": "running"}}}
    found = closing(record, ["well", "half", "new"], {}, interrupted_in="Back up")
    assert set(found) == {"half", "new"}
    assert all(one["interrupted"] and "“Back up”" in one["msg"] for one in found.values())


# --- words


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (wording.size(0), "0 B"),
        (wording.size(70843), "69.2 KiB"),
        (wording.size(10263911), "9.8 MiB"),
        (wording.size(444125184), "424 MiB"),
        (wording.duration(0.062), "62 ms"),
        (wording.duration(4.24), "4.2 s"),
        (wording.duration(59.7), "1 min"),
        (wording.duration(312), "5 min 12 s"),
        (wording.duration(7380), "2 h 3 min"),
        (wording.listed([]), ""),
        (wording.listed(["a"]), "a"),
        (wording.listed(["a", "b", "c"]), "a, b and c"),
        (wording.objects(2, "index"), "2 indexes"),
        (wording.objects(1, "policy"), "1 policy"),
        (wording.first_line("\n  a b\nc"), "a b"),
        (wording.first_line("word " * 30, 20), "word word word word …"),
    ],
)
def test_how_things_are_written(found: str, expected: str) -> None:
    assert found == expected
