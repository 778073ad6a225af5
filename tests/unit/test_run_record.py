"""The record of a run: what is kept, what never is, and that writers do not lose each other's sections."""

import datetime
import json
import multiprocessing
import os
import re
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible.module_utils.rollout import log_patterns
from ansible.module_utils.rollout import record as records
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.record import assemble, new_run_id, outcome, pruned

from action_plugins.run_record import ActionModule
from tests.action_tasks import make_action

SECRET = "hunter2"


def act(folder: Path, host: str = "app", check: bool = False, **arguments: Any) -> dict[str, Any]:
    action = make_action(ActionModule, {"report_dir": str(folder), **arguments}, check=check)
    result: dict[str, Any] = action.run(task_vars={"inventory_hostname": host})
    return result


def begin(folder: Path, run_id: str = "") -> str:
    facts = act(folder, state="begun", run_id=run_id)["ansible_facts"]
    assert facts["run_folder"] == str(folder / facts["run_id"])
    return str(facts["run_id"])


def report(folder: Path, run_id: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / run_id / "report.json").read_text())
    return read


# --- outcome


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({}, "running"),
        ({"rehearsal": {"changed": False}}, "running"),
        ({"rehearsal": {"failed": False}, "end": {}}, "succeeded"),
        ({"rehearsal": {"failed": True}}, "failed"),
        ({"rehearsal": {"failed": True}, "end": {}}, "failed"),
        ({"rehearsal": {"unreachable": True}}, "failed"),
        ({"end": {"failed": True}}, "failed"),
    ],
)
def test_one_failed_section_is_a_failed_host(sections: dict[str, Any], expected: str) -> None:
    assert outcome(sections) == expected


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ({}, "running"),
        ({"a": {"end": {}}, "b": {"end": {}}}, "succeeded"),
        ({"a": {"end": {}}, "b": {}}, "running"),
        ({"a": {"end": {}}, "b": {"x": {"failed": True}}}, "failed"),
        ({"a": {}, "b": {"x": {"failed": True}}}, "failed"),
    ],
)
def test_a_run_is_as_its_worst_host(hosts: dict[str, Any], expected: str) -> None:
    record = assemble({"run_id": "1"}, hosts)
    assert record["outcome"] == expected
    assert record["run_id"] == "1"
    assert list(record["hosts"]) == sorted(hosts)


# --- what is kept


def test_arguments_and_bookkeeping_are_never_kept_however_deep() -> None:
    result = {
        "changed": True,
        "invocation": {"module_args": {"password": SECRET}},
        "results": [
            {"summary": "done", "invocation": {"module_args": {"password": SECRET}}, "_ansible_item": SECRET}
        ],
        "exception": f"Traceback … {SECRET}",
        "ansible_facts": {"x": SECRET},
        "diff": {"before": "", "after": "many lines"},
        "rehearsal": "long",
        "_ansible_no_log": False,
        "warnings": ["w"],
        "deprecations": [],
        "notices": ({"message": "n"},),
    }
    kept = pruned(result)
    assert kept == {"changed": True, "results": [{"summary": "done"}], "notices": [{"message": "n"}]}
    assert SECRET in json.dumps(result)
    assert SECRET not in json.dumps(kept)


def test_names_of_ansible_further_down_are_somebody_elses() -> None:
    reference = {"normal": {"bot": {"problems": {one["name"]: 3 for one in log_patterns.DEFAULTS}}}}
    section = {"reference": reference, "limits": {"problem_budgets": {"exception": 0}}, "warnings": ["w"]}
    assert pruned(section) == {name: section[name] for name in ("reference", "limits")}


def test_values_become_json() -> None:
    class Tagged(str):
        """Ansible's texts are of types of its own."""

    kept = pruned(
        {1: Tagged("x"), "when": datetime.date(2025, 11, 9), "none": None, "nan": float("nan"), "n": 1.5}
    )
    assert kept == {"1": "x", "when": "2025-11-09", "none": None, "nan": "nan", "n": 1.5}
    assert type(kept["1"]) is str
    json.dumps(kept, allow_nan=False)


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, object()])
def test_what_has_no_form_in_json_is_told_by_its_type_alone(value: Any) -> None:
    with pytest.raises(RolloutError, match=f"a value of type {type(value).__name__} cannot be recorded"):
        pruned({"deep": [value]})


# --- runs


def test_run_ids_sort_by_time_and_do_not_repeat() -> None:
    moment = datetime.datetime(2025, 11, 9, 18, 30, tzinfo=datetime.UTC)
    names = {new_run_id(moment) for _ in range(50)}
    assert len(names) > 45
    assert all(re.fullmatch(r"20251109T183000Z-[0-9a-f]{4}", name) for name in names)
    assert max(names) < new_run_id(moment + datetime.timedelta(seconds=1))
    assert all(records._RUN_ID.fullmatch(name) for name in names)


def test_a_run_begins_with_its_facts(tmp_path: Path) -> None:
    run_id = begin(tmp_path)
    record = report(tmp_path, run_id)
    assert record["outcome"] == "running"
    assert record["run_id"] == run_id
    assert record["format"] == records.FORMAT
    assert datetime.datetime.fromisoformat(record["began_at"]).tzinfo is not None
    assert (tmp_path / "latest").resolve() == (tmp_path / run_id).resolve()


def test_a_second_begin_of_the_same_run_keeps_what_is_there(tmp_path: Path) -> None:
    run_id = begin(tmp_path, "run-1")
    act(tmp_path, run_id=run_id, section="a", data={"x": 1})
    first = report(tmp_path, run_id)
    begin(tmp_path, "run-1")
    assert report(tmp_path, run_id) == first


def test_latest_follows_the_newest_run_also_after_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 7)
    (tmp_path / ".latest-7").symlink_to("left by a process that died")
    for run_id in ("run-1", "run-2"):
        begin(tmp_path, run_id)
        assert (tmp_path / "latest").readlink() == Path(run_id)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "run-1", "run-2"]


@pytest.mark.parametrize("run_id", ["latest", "../x", ".", "..", "a/b", "-x", "a b", "x" * 42, "a\n", "é"])
def test_a_run_id_that_is_no_plain_folder_is_refused(tmp_path: Path, run_id: str) -> None:
    with pytest.raises(AnsibleActionFail, match="run_id"):
        act(tmp_path, state="begun", run_id=run_id)
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_begun_without_git_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert report(tmp_path / "reports", begin(tmp_path / "reports"))["repository"] == {}


# --- sections


def test_sections_are_kept_by_host_and_replaced_by_name(tmp_path: Path) -> None:
    run_id = begin(tmp_path)
    act(tmp_path, "b", run_id=run_id, section="rehearsal", data={"failed": True, "invocation": SECRET})
    act(tmp_path, "b", run_id=run_id, section="rehearsal", data={"failed": False})
    act(tmp_path, "a", run_id=run_id, section="migration 0001_x", data=["plain"])
    result = act(tmp_path, "b", run_id=run_id, section="end", data={"summary": "well"})
    assert result == {"changed": False, "report": str(tmp_path / run_id / "report.json")}
    hosts = report(tmp_path, run_id)["hosts"]
    assert list(hosts) == ["a", "b"]
    assert hosts["a"]["sections"]["migration 0001_x"]["value"] == ["plain"]
    assert list(hosts["b"]["sections"]) == ["end", "rehearsal"]
    assert [hosts[host]["outcome"] for host in hosts] == ["running", "succeeded"]
    assert SECRET not in "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())


def test_sql_goes_into_a_file_of_its_own(tmp_path: Path) -> None:
    run_id = begin(tmp_path)
    act(tmp_path, run_id=run_id, section="migration 0001_x", data={"sql": "SELECT 'я';\n", "changed": True})
    section = report(tmp_path, run_id)["hosts"]["app"]["sections"]["migration 0001_x"]
    assert section["changed"] is True
    assert (tmp_path / run_id / section["sql"]["file"]).read_text() == "SELECT 'я';\n"
    assert len(section["sql"]["sha256"]) == 64


@pytest.mark.parametrize("host", ["db.example.invalid", "::1", "a/b", "../../x", ".hidden", "ä b", "%2F"])
def test_any_host_name_has_its_file_inside_the_folder(tmp_path: Path, host: str) -> None:
    folder = tmp_path / "reports"
    run_id = begin(folder)
    act(folder, host, run_id=run_id, section="a", data={"sql": "SELECT 1"})
    assert list(report(folder, run_id)["hosts"]) == [host]
    assert [path.name for path in tmp_path.iterdir()] == ["reports"]
    assert (
        len(list((folder / run_id / "sql").iterdir()))
        == len(list((folder / run_id / "hosts").iterdir()))
        == 1
    )


@pytest.mark.parametrize("section", ["../x", "a/b", "", ".x", "a\nb", "x" * 200])
def test_a_section_that_is_no_plain_name_is_refused(tmp_path: Path, section: str) -> None:
    run_id = begin(tmp_path)
    with pytest.raises(AnsibleActionFail, match="section"):
        act(tmp_path, run_id=run_id, section=section, data={"sql": "SELECT 1"})


def test_a_run_that_was_not_begun_is_told(tmp_path: Path) -> None:
    with pytest.raises(AnsibleActionFail, match=r"run nowhere was not begun: .* has no run\.json"):
        act(tmp_path, run_id="nowhere", section="a", data={})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", ["run_id", "section", "data"])
def test_a_section_needs_run_name_and_data(tmp_path: Path, missing: str) -> None:
    arguments: dict[str, Any] = {"run_id": begin(tmp_path), "section": "a", "data": {}}
    del arguments[missing]
    with pytest.raises(AnsibleActionFail, match=missing):
        act(tmp_path, **arguments)


def test_check_mode_writes_nothing(tmp_path: Path) -> None:
    facts = act(tmp_path, check=True, state="begun")["ansible_facts"]
    assert facts["run_id"]
    result = act(tmp_path, check=True, run_id=facts["run_id"], section="a", data={"sql": "SELECT 1"})
    assert result == {"changed": False}
    assert list(tmp_path.iterdir()) == []


# --- several writers


def _write_sections(folder: str, run_id: str, host: str, count: int) -> None:
    for number in range(count):
        act(Path(folder), host, run_id=run_id, section=f"step {number}", data={"number": number})


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    """Forks of ansible-playbook are processes; two of these even write for one host."""
    run_id = begin(tmp_path)
    fork = multiprocessing.get_context("fork")
    writers = [
        fork.Process(target=_write_sections, args=(str(tmp_path), run_id, host, 10))
        for host in ("a", "b", "c")
    ]
    for writer in writers:
        writer.start()
    for number in range(10):
        act(tmp_path, "a", run_id=run_id, section=f"other {number}", data={})
        report(tmp_path, run_id)  # whole at any moment
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    hosts = report(tmp_path, run_id)["hosts"]
    assert {host: len(body["sections"]) for host, body in hosts.items()} == {"a": 20, "b": 10, "c": 10}
    left = [path.name for path in (tmp_path / run_id).rglob(".*")]
    assert left == [".lock"], "temporary files stayed"


# --- a run that is continued


@pytest.mark.parametrize(("watched", "expected"), [("running", "succeeded"), ("green", "failed")])
def test_a_watch_that_was_stopped_can_be_continued_and_nothing_else(
    tmp_path: Path, watched: str, expected: str
) -> None:
    run_id = begin(tmp_path)
    record = records.Record(tmp_path, run_id)
    record.add("app", "watch", {"state": watched})
    record.add("app", "stopped", {"failed": True, "interrupted": True, "task": "Watch", "msg": "Ctrl-C"})
    assert report(tmp_path, run_id)["outcome"] == "failed"
    begin(tmp_path, run_id)
    record.add("app", "end", {})
    whole = report(tmp_path, run_id)
    assert whole["outcome"] == expected
    kept = whole["hosts"]["app"]["sections"]["stopped before" if expected == "succeeded" else "stopped"]
    assert kept["msg"] == "Ctrl-C"


# --- conclusion


def test_a_conclusion_stands_in_the_report_until_something_is_added(tmp_path: Path) -> None:
    run_id = begin(tmp_path)
    record = records.Record(tmp_path, run_id)
    record.add("app", "rehearsal", {})
    whole = record.conclude(lambda found: {"sentence": f"{found['outcome']}; call 12025550199"})
    assert whole["summary"] == {"sentence": "running; call *********99"}
    assert report(tmp_path, run_id) == whole
    record.add("app", "end", {})
    assert "summary" not in report(tmp_path, run_id)
    with pytest.raises(RolloutError, match="was not begun"):
        records.Record(tmp_path, "another").conclude(lambda found: {})
