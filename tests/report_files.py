"""Reads back what each file of a report says, on its own, so that they can be compared."""

import html.parser
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = json.loads((ROOT / "docs/report.schema.json").read_text())
#: Status by what JUnit has instead.
_JUNIT = {"failure": "failed", "skipped": "not_tested", "system-out": "warning"}


@dataclass(frozen=True)
class Said:
    """What one file says.

    :ivar counts: checks by status
    :ivar ids: of the checks, with how often each stands there
    """

    outcome: str
    counts: Mapping[str, int]
    ids: Mapping[str, int]


class Page(html.parser.HTMLParser):
    """The page's checks, by their attributes; and everything that a page must not have."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.outcome = ""
        self.checks: list[tuple[str, str]] = []
        self.forbidden: list[str] = []
        self.tags: Counter[str] = Counter()
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags[tag] += 1
        self.outcome = given.get("data-outcome") or self.outcome
        if given.get("data-check"):
            self.checks.append((str(given["data-check"]), str(given["data-status"])))
        outside = [
            value
            for name in ("src", "href", "srcset", "action")
            if (value := given.get(name)) and re.match(r"(?i)\s*([a-z]+:|//)", value)
        ]
        handlers = [name for name in given if name.startswith("on")]
        if (
            tag in ("script", "iframe", "object", "embed", "link", "img", "base", "form")
            or outside
            or handlers
        ):
            self.forbidden.append(f"{tag} {attrs}")

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def validate(report: Any) -> None:
    """Compare report.json with its schema."""
    jsonschema.Draft202012Validator(SCHEMA).validate(report)


def from_json(folder: Path) -> Said:
    """Of report.json: counted from the checks, compared with the counts that stand there."""
    report = json.loads((folder / "report.json").read_text())
    checks = [check for host in report["summary"]["hosts"].values() for check in host["checks"]]
    counts = Counter(check["status"] for check in checks)
    assert {status: n for status, n in report["summary"]["counts"].items() if n} == counts
    return Said(report["outcome"], counts, Counter(check["id"] for check in checks))


def from_markdown(folder: Path) -> Said:
    """Of report.md: the rows of its tables of checks, and the precheck's items that passed."""
    text = (folder / "report.md").read_text()
    (outcome,) = re.findall(r"^Outcome: \*\*(\w+)\*\*", text, re.MULTILINE)
    rows = re.findall(
        r"^\| (failed|passed|warning|not tested) \|.*\| (.*?) \|$", text, re.MULTILINE | re.IGNORECASE
    )
    checks = [(status.lower().replace(" ", "_"), re.sub(r"\\(.)", r"\1", own)) for status, own in rows]
    for number, items in re.findall(r"^Of the precheck, (\d+) passed: (.*)\.$", text, re.MULTILINE):
        named = re.sub(r"\\(.)", r"\1", items).split(", ")
        assert len(named) == int(number)
        checks += [("passed", f"precheck.{name}") for name in named]
    return Said(outcome, Counter(status for status, _ in checks), Counter(own for _, own in checks))


def from_junit(folder: Path) -> Said:
    """Of junit.xml: its cases, compared with the totals that stand there."""
    root = ElementTree.parse(folder / "junit.xml").getroot()
    cases = list(root.iter("testcase"))
    checks = []
    for case in cases:
        (status,) = [_JUNIT[child.tag] for child in case if child.tag in _JUNIT] or ["passed"]
        checks.append((status, case.attrib["name"].partition(": ")[0]))
    counts = Counter(status for status, _ in checks)
    assert int(root.attrib["tests"]) == len(cases)
    assert int(root.attrib["failures"]) == counts["failed"]
    assert int(root.attrib["skipped"]) == counts["not_tested"]
    outcomes = {one.attrib["value"] for one in root.iter("property") if one.attrib["name"] == "outcome"}
    (outcome,) = outcomes
    return Said(outcome, counts, Counter(own for _, own in checks))


def from_page(folder: Path) -> Said:
    """Of report.html: every check has its place, once."""
    page = Page((folder / "report.html").read_text())
    assert page.forbidden == []
    return Said(
        page.outcome, Counter(status for _, status in page.checks), Counter(own for own, _ in page.checks)
    )


def agreed(folder: Path) -> Said:
    """What all four files of a run say; they say the same, and report.json is as its schema says."""
    validate(json.loads((folder / "report.json").read_text()))
    said = from_json(folder)
    assert from_markdown(folder) == said
    assert from_junit(folder) == said
    assert from_page(folder) == said
    return said
