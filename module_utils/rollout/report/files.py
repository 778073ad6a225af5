"""The four files of a run and the list of all runs, written beside its record."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ansible.module_utils.rollout.record import Record
from ansible.module_utils.rollout.report.junit import report_xml
from ansible.module_utils.rollout.report.markdown import report_text
from ansible.module_utils.rollout.report.page import index_page, report_page
from ansible.module_utils.rollout.report.reading import mapping
from ansible.module_utils.rollout.report.summary import summarize

#: The page is written last: while it is older than report.json, the other files may be too.
NAMES = ("report.json", "report.md", "junit.xml", "report.html")
#: Runs that the list names; it reads the record of each.
MOST_LISTED = 200


def render(report_dir: str | Path, run_id: str) -> dict[str, Any]:
    """Write all files of a run, and the list of runs.

    :param report_dir: folder that holds one folder a run
    :returns: what report.json holds
    :raises RolloutError: the run was not begun
    """
    record = Record(report_dir, run_id)
    whole = record.conclude(summarize)
    for name, content in (
        ("report.md", report_text(whole)),
        ("junit.xml", report_xml(whole)),
        ("report.html", report_page(whole)),
    ):
        _write(record.folder / name, content)
    write_index(Path(report_dir))
    return whole


def is_rendered(folder: Path) -> bool:
    """Whether the files of a run show all that was recorded."""
    page, record = folder / "report.html", folder / "report.json"
    return page.is_file() and record.is_file() and page.stat().st_mtime_ns >= record.stat().st_mtime_ns


def write_index(report_dir: Path) -> Path:
    """Write the list of all runs.

    :param report_dir: folder that holds one folder a run
    """
    folders = sorted(
        (path.parent for path in report_dir.glob("*/run.json") if not path.parent.is_symlink()),
        key=lambda folder: (_began(folder), folder.name),
        reverse=True,
    )
    runs = [_run(folder) for folder in folders[:MOST_LISTED]]
    index = report_dir / "index.html"
    _write(index, index_page(runs, max(0, len(folders) - MOST_LISTED)))
    return index


def _began(folder: Path) -> str:
    return str(_read(folder / "run.json").get("began_at", ""))


def _run(folder: Path) -> dict[str, Any]:
    record = _read(folder / "report.json")
    if not record:
        return {"run_id": folder.name, "outcome": "not readable", "began_at": _began(folder)}
    if "summary" not in record:
        record["summary"] = summarize(record)
    return {**record, "run_id": folder.name, "page": (folder / "report.html").is_file()}


def _read(path: Path) -> dict[str, Any]:
    """A JSON object; empty for what is none: a run that is damaged must not hide the others."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return dict(mapping(found))


def _write(path: Path, content: str) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(content, encoding="utf-8")
    fresh.replace(path)
