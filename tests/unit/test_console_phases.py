"""Phases: those of every playbook, read from its YAML here and by Ansible there; and the way through them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.rollout.console_phases import Phase, Progress, duration

ROOT = Path(__file__).resolve().parent.parent.parent
PLAYBOOKS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "playbooks").glob("*.yml"))


def phases(*files: str, tags: str = "all") -> dict[str, list[tuple[str, bool]]]:
    """What the callback finds: title, and whether it is a rescue."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.playbook_phases", *files, "--tags", tags],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    return {file: [(title, rescue) for title, rescue in found[file]] for file in files}


def listed(path: Path) -> Iterator[tuple[str, bool]]:
    """The same, from the playbook's text alone."""
    for play in yaml.safe_load(path.read_text()):
        if imported := play.get("ansible.builtin.import_playbook"):
            yield from listed(path.parent / imported)
            continue
        names = [(role["role"], False) for role in play.get("roles", [])]
        names += tasks(play.get("tasks", []))
        yield from [(play["name"], names[0][1])] if len(names) == 1 else names


def tasks(items: list[dict[str, Any]], rescue: bool = False) -> Iterator[tuple[str, bool]]:
    for item in items:
        if "block" in item:
            yield from tasks(item["block"], rescue)
            yield from tasks(item.get("rescue", []), True)
            yield from tasks(item.get("always", []), rescue)
        else:
            yield item["name"], rescue


@pytest.fixture(scope="module")
def found() -> dict[str, list[tuple[str, bool]]]:
    return phases("apply.yml", *PLAYBOOKS)


def test_the_phases_of_every_playbook_are_what_it_lists(found: dict[str, list[tuple[str, bool]]]) -> None:
    assert "playbooks/apply.yml" in PLAYBOOKS
    for playbook in PLAYBOOKS:
        assert found[playbook] == list(listed(ROOT / playbook)), playbook
    assert found["apply.yml"] == found["playbooks/apply.yml"]


def test_no_two_phases_of_a_playbook_have_one_name(found: dict[str, list[tuple[str, bool]]]) -> None:
    for playbook, mine in found.items():
        assert len(set(mine)) == len(mine), playbook


def test_phases_that_the_tags_leave_out_are_not_counted() -> None:
    mine = [title for title, rescue in phases("apply.yml", tags="verify")["apply.yml"] if not rescue]
    assert "Verify" in mine
    assert "Rehearse what is pending" not in mine


def test_roles_that_are_imported_are_one_phase(tmp_path: Path) -> None:
    playbook = tmp_path / "imports.yml"
    playbook.write_text(
        "- name: Two\n  hosts: localhost\n  tasks:\n"
        "    - name: Brought in\n      ansible.builtin.import_role: {name: inventory_check}\n"
        "    - name: Afterwards\n      ansible.builtin.debug:\n"
    )
    assert phases(str(playbook))[str(playbook)] == [("Brought in", False), ("Afterwards", False)]


class Clock:
    """Shows what it is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


FIRST = Phase("first", frozenset({"1", "2"}))
SECOND = Phase("second", frozenset({"3"}))
RESCUE = Phase("mend", frozenset({"4"}), rescue=True)


def test_a_phase_begins_once_and_is_timed() -> None:
    clock = Clock()
    progress = Progress([FIRST, RESCUE, SECOND], clock)
    begun = progress.begins("1")
    assert begun == FIRST
    progress.begin(begun)
    assert progress.label(begun) == "(1/2) first"
    assert progress.begins("2") is None, "it belongs to the phase that runs"
    assert progress.begins("brought in later") is None
    clock.now += 0.44
    assert progress.end() == "0.4 s"
    assert progress.begins("2") == FIRST, "a second batch of hosts goes through it again"
    assert progress.label(SECOND) == "(2/2) second"
    assert progress.label(RESCUE) == "(rescue) mend"
    clock.now += 1
    assert progress.seconds == pytest.approx(1.44)


@pytest.mark.parametrize(
    ("notes", "told"),
    [
        ([("a", "ran", False), ("a", "skipped", False)], "0.0 s"),
        ([("a", "ran", True), ("b", "ran", True)], "0.0 s, 2 changed"),
        ([("a", "skipped", False), ("b", "skipped", False)], "0.0 s, skipped"),
        ([("a", "ran", False), ("b", "skipped", False)], "0.0 s, skipped on b"),
        ([("b", "failed", False), ("a", "failed", False)], "0.0 s, FAILED on a, b"),
    ],
)
def test_what_came_of_it(notes: list[tuple[str, str, bool]], told: str) -> None:
    progress = Progress([FIRST], Clock())
    progress.begin(FIRST)
    for host, outcome, changed in notes:
        progress.note(host, outcome, changed=changed)
    assert progress.end() == told
    assert progress.end() == ""


def test_results_outside_of_any_phase_are_nobodys() -> None:
    progress = Progress([], Clock())
    progress.note("a", "ran")
    assert progress.end() == ""


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.04, "0.0 s"), (99.94, "99.9 s"), (99.95, "1 min 40 s"), (725.4, "12 min 05 s")]
)
def test_durations(seconds: float, told: str) -> None:
    assert duration(seconds) == told
