"""report.html and index.html: pages without anything from elsewhere, and without a script."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ansible.module_utils.rollout.report.checks import told
from ansible.module_utils.rollout.report.reading import mapping, moment, text, texts
from ansible.module_utils.rollout.report.summary import host_of
from ansible.module_utils.rollout.report.view import host_view, pretty
from ansible.module_utils.rollout.report.wording import counted, day, duration, first_line, objects
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_FOLDER = Path(__file__).resolve().parent
_STATUS = {"succeeded": "passed", "failed": "failed"}
_SHORT_COMMIT = 12


def report_page(record: Mapping[str, Any]) -> str:
    """The page of a run.

    :param record: report.json with its summary
    """
    hosts = [
        host_view(name, host_of(mapping(part)), record) for name, part in mapping(record.get("hosts")).items()
    ]
    return _environment().get_template("page.html.j2").render(run=_run(record), hosts=hosts)


def index_page(runs: Sequence[Mapping[str, Any]], older: int) -> str:
    """The page that lists runs.

    :param runs: report.json of each, with its summary, and ``page``: whether it has a page; newest first
    :param older: how many more there are
    """
    return (
        _environment().get_template("index.html.j2").render(runs=[_listed(run) for run in runs], older=older)
    )


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        style=Markup((_FOLDER / "style.css").read_text(encoding="utf-8")),
        counted=counted,
        duration=duration,
        objects=objects,
        pretty=pretty,
    )
    return environment


def _run(record: Mapping[str, Any]) -> dict[str, Any]:
    summary, repository = mapping(record.get("summary")), mapping(record.get("repository"))
    begin, end = moment(record.get("began_at")), moment(summary.get("ended_at"))
    hosts = list(mapping(record.get("hosts")))
    commit = text(repository.get("commit"))[:_SHORT_COMMIT]
    if commit and not repository.get("clean", True):
        commit += " with changes that are not committed"
    facts = [
        ("Run", text(record.get("run_id"))),
        ("Host", hosts[0] if len(hosts) == 1 else "" if hosts else "none yet"),
        ("Began", f"{begin:%H:%M:%S} UTC" if begin else ""),
        ("Took", duration((end - begin).total_seconds()) if begin and end else ""),
        ("Limit", text(record.get("limit"))),
        ("Tags", ", ".join(tag for tag in texts(record.get("tags")) if tag != "all")),
        ("Commit", commit),
        ("ansible-core", text(record.get("ansible"))),
    ]
    return {
        "run_id": text(record.get("run_id")),
        "outcome": text(record.get("outcome")),
        "sentence": text(summary.get("sentence")),
        "playbook": ", ".join(texts(record.get("playbook"))) or "a playbook",
        "inventory": ", ".join(texts(record.get("inventory"))),
        "when": day(begin) if begin else "",
        "facts": [(label, value) for label, value in facts if value],
        "told": told(mapping(summary.get("counts"))),
    }


def _listed(record: Mapping[str, Any]) -> dict[str, str]:
    summary = mapping(record.get("summary"))
    begin = moment(record.get("began_at"))
    outcome, run_id = text(record.get("outcome")), text(record.get("run_id"))
    parts = [mapping(part) for part in mapping(summary.get("hosts")).values()]
    applied = list(dict.fromkeys(label for part in parts for label in texts(part.get("applied"))))
    undone = {label for part in parts for label in texts(part.get("taken_back"))}
    labels = ", ".join(f"{label} (taken back)" if label in undone else label for label in applied)
    about = (
        ", ".join(texts(record.get("playbook"))),
        ", ".join(texts(record.get("inventory"))),
        ", ".join(mapping(record.get("hosts"))),
        f"applied {labels}" if labels else "",
        run_id,
    )
    return {
        "run_id": run_id,
        "outcome": {"running": "not ended"}.get(outcome, outcome),
        "status": _STATUS.get(outcome, "not_tested"),
        "when": day(begin) if begin else "",
        "about": " · ".join(part for part in about if part),
        "sentence": first_line(text(summary.get("sentence"))),
        "link": f"{quote(run_id)}/{'report.html' if record.get('page') else 'report.json'}",
    }
