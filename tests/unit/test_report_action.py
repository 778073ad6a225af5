"""Action run_report: what it writes, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail

from action_plugins.run_report import ActionModule
from tests import recorded_runs
from tests.action_tasks import make_action


def act(folder: Path, run_id: str, *, check: bool = False) -> dict[str, Any]:
    action = make_action(ActionModule, {"report_dir": str(folder), "run_id": run_id}, check=check)
    result: dict[str, Any] = action.run(task_vars={})
    return result


def test_it_writes_all_files_and_changes_nothing(tmp_path: Path) -> None:
    folder = recorded_runs.write(tmp_path, "r-1", {"app": recorded_runs.red_item()})
    result = act(tmp_path, "r-1")
    assert not result["changed"]
    assert result["files"] == [
        str(folder / name) for name in ("report.json", "report.md", "junit.xml", "report.html")
    ]
    assert all(Path(name).is_file() for name in (*result["files"], tmp_path / "index.html"))
    assert (result["outcome"], result["page"]) == ("failed", str(folder / "report.html"))
    assert result["sentence"].startswith("Failed: 1 of 9 items of the checklist failed (triggers)")
    assert result["counts"]["failed"] == 2


def test_check_mode_writes_nothing(tmp_path: Path) -> None:
    folder = recorded_runs.write(tmp_path, "r-1", {})
    assert act(tmp_path, "r-1", check=True) == {"changed": False}
    assert not (folder / "report.html").exists()
    assert not (tmp_path / "index.html").exists()


@pytest.mark.parametrize("run_id", ["nobody", "", "../outside"])
def test_a_run_that_is_none_is_refused(tmp_path: Path, run_id: str) -> None:
    with pytest.raises(AnsibleActionFail, match=r"was not begun|must have letters"):
        act(tmp_path, run_id)
