"""The four files of a report: that they agree, hold nothing foreign, and survive whatever a record holds."""

import copy
import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema  # type: ignore[import-untyped]
import pytest
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.record import Record, assemble
from ansible.module_utils.rollout.report import files
from ansible.module_utils.rollout.report.files import NAMES, is_rendered, render, write_index
from ansible.module_utils.rollout.report.junit import report_xml
from ansible.module_utils.rollout.report.markdown import report_text
from ansible.module_utils.rollout.report.page import report_page
from ansible.module_utils.rollout.report.summary import summarize

from tests import recorded_runs
from tests.report_files import Page, agreed, from_json, from_page, validate

RUN = "20261122T215134Z-167e"
#: Words of the record that decide what is shown, and are no free text.
WORDS = {"status", "state", "recorded_at", "began_at", "snapshot_at", "format", "kind"}
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "</style></title></pre></details>",
    "|| `x` **b** [a](javascript:alert(1)) <!-- ",
    "\x00\x1b[31m\ud800\uffff".encode("utf-8", "replace").decode() + "\x00\x07\ufffe",
    "Привет, «мир» — ёж 🙂",
    "w" * 400,
)


def hosts_of(**named: Any) -> dict[str, Any]:
    return {host.replace("_", "-"): sections for host, sections in named.items()}


CASES: dict[str, Callable[[], dict[str, Any]]] = {
    "green": lambda: {"app": recorded_runs.green()},
    "rolled back": lambda: {"app": recorded_runs.rolled_back()},
    "one red item": lambda: {"app": recorded_runs.red_item()},
    "nothing recorded": dict,
    "precheck alone": lambda: {"app": {"precheck": recorded_runs.green()["precheck"]}},
    "several hosts": lambda: hosts_of(
        app_1=recorded_runs.green(),
        app_2=recorded_runs.rolled_back(),
        app_3={"end": recorded_runs.section(9, 0)},
    ),
    "a section of tomorrow": lambda: {
        "app": {"weather": {"recorded_at": recorded_runs.iso(recorded_runs.BEGAN), "wind": 3, "failed": True}}
    },
}


def rendered(folder: Path, hosts: dict[str, Any], **run: Any) -> Path:
    written = recorded_runs.write(folder, RUN, hosts, **run)
    render(folder, RUN)
    return written


def poisoned(value: Any, poison: str, key: str = "") -> Any:
    """The record with every free text of it, and every name that comes from outside, replaced."""
    if isinstance(value, dict):
        return {name: poisoned(item, poison, name) for name, item in value.items()}
    if isinstance(value, list):
        return [poisoned(item, poison, key) for item in value]
    return poison if isinstance(value, str) and key not in WORDS else value


def whole(sections: dict[str, Any]) -> dict[str, Any]:
    """A record with its summary, without a folder."""
    run = {
        "format": 2,
        "run_id": RUN,
        "began_at": recorded_runs.iso(recorded_runs.BEGAN),
        "playbook": ["apply.yml"],
    }
    record = assemble(run, {"app": sections})
    return {**record, "summary": summarize(record)}


# --- they agree


@pytest.mark.parametrize("case", [name for name in CASES if name != "nothing recorded"])
def test_all_four_files_name_the_same_checks_and_the_same_outcome(tmp_path: Path, case: str) -> None:
    said = agreed(rendered(tmp_path, CASES[case]()))
    assert sum(said.ids.values()) == sum(said.counts.values()) > 0


def test_a_run_that_recorded_nothing_has_its_files_too(tmp_path: Path) -> None:
    folder = rendered(tmp_path, {})
    assert sorted(
        path.name for path in folder.iterdir() if path.suffix in (".json", ".md", ".xml", ".html")
    ) == [
        "junit.xml",
        "report.html",
        "report.json",
        "report.md",
        "run.json",
    ]
    assert "nothing was recorded yet" in (folder / "report.html").read_text()
    validate(json.loads((folder / "report.json").read_text()))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("report.md", lambda text: text.replace("| FAILED |", "| passed |", 1)),
        ("report.md", lambda text: text.replace("verify.rows", "verify.other")),
        ("junit.xml", lambda text: text.replace("verify.rows", "verify.other")),
        ("report.html", lambda text: text.replace('data-status="failed"', 'data-status="passed"', 1)),
        ("report.html", lambda text: text.replace('data-outcome="failed"', 'data-outcome="succeeded"')),
        ("report.json", lambda text: text.replace('"outcome": "failed"', '"outcome": "running"')),
    ],
)
def test_files_that_do_not_agree_are_noticed(tmp_path: Path, name: str, change: Callable[[str], str]) -> None:
    """Control of the comparison."""
    folder = rendered(tmp_path, {"app": recorded_runs.red_item()})
    text = (folder / name).read_text()
    assert change(text) != text
    (folder / name).write_text(change(text))
    with pytest.raises(AssertionError):
        agreed(folder)


@pytest.mark.parametrize(
    "damage",
    [
        lambda report: report.update(format=1),
        lambda report: report.update(outcome="green"),
        lambda report: report["hosts"]["app"]["sections"]["precheck"].pop("findings"),
        lambda report: report["hosts"]["app"]["sections"]["watch"].update(state="purple"),
        lambda report: report["hosts"]["app"]["sections"]["backup"].pop("recorded_at"),
        lambda report: report["summary"]["counts"].pop("passed"),
        lambda report: report.update(began_at="yesterday"),
    ],
)
def test_the_schema_notices_another_shape(tmp_path: Path, damage: Callable[[Any], Any]) -> None:
    report = json.loads((rendered(tmp_path, {"app": recorded_runs.green()}) / "report.json").read_text())
    validate(report)
    damage(report)
    with pytest.raises(jsonschema.ValidationError):
        validate(report)


# --- nothing foreign


@pytest.mark.parametrize("poison", HOSTILE)
def test_no_text_of_a_record_becomes_markup(tmp_path: Path, poison: str) -> None:
    clean = Page(
        (rendered(tmp_path / "clean", {"app": recorded_runs.red_item()}) / "report.html").read_text()
    )
    folder = rendered(
        tmp_path / "hostile",
        {poison[:40].replace("/", "_").replace("\x00", ""): poisoned(recorded_runs.red_item(), poison)},
        playbook=[poison],
        inventory=[poison],
        limit=poison,
        tags=[poison],
        repository={"commit": poison, "clean": False},
    )
    page = Page((folder / "report.html").read_text())
    assert page.forbidden == []
    # The same elements, but for one more fact (limit, tags) and places that one text for all ids makes fewer.
    assert set(page.tags) == set(clean.tags)
    assert page.tags["style"] == page.tags["title"] == page.tags["body"] == 1
    ElementTree.parse(folder / "junit.xml")
    validate(json.loads((folder / "report.json").read_text()))
    index = Page((tmp_path / "hostile/index.html").read_text())
    assert index.forbidden == []
    # Raw HTML in a ticket would be markup there.
    assert not re.search(r"(?<!\\)<(?!\\)", (folder / "report.md").read_text())


def test_each_text_is_looked_at_on_its_own() -> None:
    """One hostile text at a time, so that none hides behind another."""
    poison = HOSTILE[1]
    record = recorded_runs.rolled_back() | {"weather": {"recorded_at": "", "wind": "strong", "by": ["x"]}}
    for path in texts_of(record):
        changed = copy.deepcopy(record)
        holder: Any = changed
        for step in path[:-1]:
            holder = holder[step]
        holder[path[-1]] = poison
        assert Page(report_page(whole(changed))).forbidden == [], path


def texts_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the texts of a record are; of a list only the first."""
    items = (
        value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    )
    for key, item in items:
        if isinstance(item, str):
            yield (*path, key)
        else:
            yield from texts_of(item, (*path, key))


def test_the_test_notices_markup() -> None:
    """Control: what a template without escaping would let through."""
    for text in (
        "<script>1</script>",
        '<img src="x">',
        '<p onclick="x">',
        '<a href="https://a.invalid">',
        "<iframe>",
    ):
        assert Page(f"<body>{text}").forbidden, text
    assert Page('<body><a href="report.json">x</a><p>&lt;script&gt;').forbidden == []


def test_numbers_of_people_are_masked_in_all_files(tmp_path: Path) -> None:
    number, secret = "12025550199", "hunter2"
    record = Record(tmp_path, RUN)
    record.begin({"playbook": ["apply.yml"], "inventory": ["prod"], "limit": "", "tags": [], "ansible": "2"})
    for name, data in poisoned(recorded_runs.red_item(), f"sent to {number}, password={secret}").items():
        data.pop("sql", None)
        # SQL is kept as it was sent; no migration has anybody's number in it.
        data.get("executed", {}).pop("statements", None)
        record.add("app", name, data)
    render(tmp_path, RUN)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in written} > {*NAMES, "app.json", "index.html"}
    assert [path.name for path in written if number in path.read_text() or secret in path.read_text()] == []
    assert "*********99" in (record.folder / "report.html").read_text()


def test_cyrillic_stays_as_it_is(tmp_path: Path) -> None:
    folder = rendered(tmp_path, {"салон": recorded_runs.green()})
    for name in NAMES:
        content = (folder / name).read_text(encoding="utf-8")
        assert "Имена клиентов читаются как записаны" in content, name
        assert "салон" in content, name


# --- whatever a record holds

ALIEN: tuple[Any, ...] = (None, True, 0, -1, 1e308, 1 << 70, "", "x", [], [None], [{}], {}, {"a": 1})


def distorted(chance: random.Random, value: Any) -> Any:
    """The record with some values replaced by anything."""
    if chance.random() < 0.05:
        return chance.choice(ALIEN)
    if isinstance(value, dict):
        return {name: distorted(chance, item) for name, item in value.items()}
    if isinstance(value, list):
        return [distorted(chance, item) for item in value]
    return value


@pytest.mark.parametrize("seed", range(10))
def test_a_record_of_another_shape_is_shown_all_the_same(seed: int) -> None:
    chance = random.Random(seed)
    known = recorded_runs.rolled_back() | recorded_runs.green()
    for _ in range(12):
        sections = {
            name: {key: distorted(chance, value) for key, value in data.items()}
            for name, data in known.items()
        }
        record = whole(sections)
        assert Page(report_page(record)).forbidden == []
        ElementTree.fromstring(report_xml(record))
        assert report_text(record).startswith("# ")


# --- the folder


def test_rendering_again_gives_the_same_files(tmp_path: Path) -> None:
    folder = rendered(tmp_path, {"app": recorded_runs.green()})
    first = {name: (folder / name).read_bytes() for name in NAMES}
    render(tmp_path, RUN)
    assert {name: (folder / name).read_bytes() for name in NAMES} == first


def test_what_is_recorded_later_makes_the_page_old(tmp_path: Path) -> None:
    folder = rendered(tmp_path, {"app": recorded_runs.green()})
    assert is_rendered(folder)
    Record(tmp_path, RUN).add("app", "watch", recorded_runs.watch(3000.0, "red"))
    assert not is_rendered(folder)
    assert "summary" not in json.loads((folder / "report.json").read_text())
    render(tmp_path, RUN)
    assert is_rendered(folder)
    assert from_page(folder) == from_json(folder)


def test_a_run_that_was_not_begun_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RolloutError, match="was not begun"):
        render(tmp_path, "nobody")


def test_the_index_lists_all_runs_newest_first(tmp_path: Path) -> None:
    for day, hosts in ((20, recorded_runs.green()), (22, recorded_runs.rolled_back()), (21, {})):
        recorded_runs.write(
            tmp_path, f"202611{day}T000000Z-0000", {"app": hosts}, began_at=f"2026-11-{day}T00:00:00+00:00"
        )
        render(tmp_path, f"202611{day}T000000Z-0000")
    (tmp_path / "latest").symlink_to("20261122T000000Z-0000")
    recorded_runs.write(tmp_path, "broken", {}, began_at="2026-11-19T00:00:00+00:00")
    (tmp_path / "broken/report.json").write_text("{")
    index = write_index(tmp_path).read_text()
    assert re.findall(r'<a href="([^"]+)"', index) == [
        "20261122T000000Z-0000/report.html",
        "20261121T000000Z-0000/report.html",
        "20261120T000000Z-0000/report.html",
        "broken/report.json",
    ]
    assert re.findall(r'class="mark \w+">([^<]+)<', index) == [
        "failed",
        "not ended",
        "succeeded",
        "not readable",
    ]
    assert "0001_business_tables (taken back)" in index
    assert "0001_business_tables, 0002_messages" in index


def test_the_index_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_LISTED", 1)
    for name in ("a", "b", "c"):
        recorded_runs.write(tmp_path, name, {})
    index = write_index(tmp_path).read_text()
    assert len(re.findall("<a href=", index)) == 1
    assert "2 older ones are not listed" in index
