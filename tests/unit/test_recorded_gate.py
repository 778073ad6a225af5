"""What an earlier run's gate saw is found again in its record, when it can be compared with."""

import time
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.rollout.log_patterns import DEFAULTS
from ansible.module_utils.rollout.record import Record
from ansible.module_utils.rollout.recorded_gate import Recorded, latest

HOUR_S = 3600.0


def record(folder: Path, run: str, section: str, age_s: float, **values: Any) -> None:
    """A run with one gate whose last look was so long ago."""
    kept = Record(folder, run)
    kept.begin({})
    at = time.time() - age_s
    kept.add(
        "app",
        section,
        {
            "state": "green",
            "samples": [{"at": at - 5}, {"at": at}],
            "reference": {"bookmarks": [run], "completed_at": 4e9},
            **values,
        },
    )


def test_the_latest_green_gate_is_found_and_its_clock_is_ours(tmp_path: Path) -> None:
    record(tmp_path, "older", "gate after the run", 1800)
    record(tmp_path, "newer", "gate before", 600)
    Record(tmp_path, "present").begin({})
    found = latest(tmp_path, "app", HOUR_S)
    assert found.reference["bookmarks"] == ["newer"]
    assert time.monotonic() - found.reference["completed_at"] == pytest.approx(600, abs=5)
    assert found.since.startswith("run newer (")
    assert found.since.endswith(" UTC)")
    assert latest(tmp_path, "other", HOUR_S) == Recorded()


def test_each_pattern_that_was_counted_is_found_again(tmp_path: Path) -> None:
    counted = {one["name"]: 10 for one in DEFAULTS}
    of_all = {"read": 500, "errors": 10, "problems": counted, "fatal": counted, "continuity": "proven"}
    reference = {"counts": {"/var/log/bot.log": of_all}, "normal": {"bot": of_all}}
    record(tmp_path, "run", "gate after the run", 600, reference=reference)
    found = latest(tmp_path, "app", HOUR_S).reference
    assert {name: found[name] for name in reference} == reference


@pytest.mark.parametrize("state", ["red", "broken"])
def test_after_a_gate_that_was_not_green_there_is_nothing_to_compare_with(tmp_path: Path, state: str) -> None:
    record(tmp_path, "older", "gate after the run", 1800)
    record(tmp_path, "newer", "gate after the rollback", 600, state=state)
    assert latest(tmp_path, "app", HOUR_S) == Recorded()


def test_what_is_too_old_or_in_the_future_is_not_taken(tmp_path: Path) -> None:
    record(tmp_path, "old", "gate after the run", 601)
    assert latest(tmp_path, "app", 600) == Recorded()
    assert latest(tmp_path, "app", 660).reference
    record(tmp_path, "future", "gate after the run", -600)
    assert latest(tmp_path, "app", HOUR_S) == Recorded()


def test_other_sections_and_other_folders_are_passed_over(tmp_path: Path) -> None:
    record(tmp_path, "run", "message after the run", 60)
    record(tmp_path, "unasked", "gate before", 60, state="not_tested", samples=[])
    (tmp_path / "notes").mkdir()
    (tmp_path / "no run's name!").mkdir()
    assert latest(tmp_path, "app", HOUR_S) == Recorded()
    assert latest(tmp_path / "nowhere", "app", HOUR_S) == Recorded()
