"""What counts in the required ratio, and what stands beside it."""

import pytest

from benchmarks import first_apply
from benchmarks.distance import FAR, NEAR
from benchmarks.first_apply import PSQL, ROLLOUT, ROLLOUT_AND_VERIFY, Outcome
from benchmarks.rollout_run import COMPARISON, Phase

PHASES = (Phase("rehearsal", 0.6, 9), Phase("migration 0001_a", 0.2, 8), Phase(COMPARISON, 0.2, 7))
RUNS = {ROLLOUT: [Outcome(0.8, 17, PHASES)], PSQL: [Outcome(0.4, 147)]}


def test_the_comparison_stands_beside_the_apply_and_is_not_hidden() -> None:
    section = first_apply._comparison({NEAR: RUNS, FAR: RUNS}, "no apt-get")
    rows = {row[0]: list(row[1:]) for row in section.rows}
    assert rows[ROLLOUT] == ["800 ms", "2.00", "800 ms", "2.00", "17"]
    assert rows[ROLLOUT_AND_VERIFY] == ["1.00 s", "2.50", "1.00 s", "2.50", "24"]
    assert [ratio.value for ratio in section.ratios] == pytest.approx([2.0, 2.0])
    assert [ratio.held for ratio in section.ratios] == [True, False]
    assert section.notes == ["Sqitch was not measured: no apt-get."]


def test_the_phases_say_what_each_has_of_the_apply() -> None:
    section = first_apply._phases({NEAR: RUNS, FAR: RUNS})
    assert [row[2] for row in section.rows] == ["75%", "25%", "-"]
    assert "75% at 0 ms" in section.notes[0]
