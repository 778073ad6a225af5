"""Samples beside a migration: what is read, refused, and how several migrations' add up."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.rollout.checklist_samples import Samples, dump, parse, together
from ansible.module_utils.rollout.checklist_samples_source import load_samples
from ansible.module_utils.rollout.errors import SourceError
from ansible.module_utils.rollout.source import load_migrations

from tests.migration_folders import write_migration
from tests.runner import MIGRATIONS

Write = Callable[[Any], Path]
ROWS = {"t": {"id": {"free": 1}, "word": "x"}}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a migration with these samples; returns the folder that holds it."""

    def write(samples: Any) -> Path:
        migration = write_migration(
            tmp_path,
            "0001",
            "x",
            "CREATE TABLE {{ schema }}.t (id integer);",
            variables={"keep": {"type": "integer", "default": 0}},
        )
        text = samples if isinstance(samples, str) else yaml.safe_dump(samples, allow_unicode=True)
        (migration / "samples.yml").write_text(text)
        return tmp_path

    return write


def test_everything_arrives(write: Write) -> None:
    given = {
        "rows": ROWS,
        "another": {"t": {"word": "y"}},
        "checks": {"t.t_word_check": {"good": [{"word": "z"}], "bad": [{"word": ""}, {"word": None}]}},
        "triggers": {"f()": {"set": {"word": "z"}, "then": "word = 'Z'"}},
        "round_trip": [
            {"table": "t", "values": {"word": "ё", "tags": ["a", None], "body": {"json": {"a": [1]}}}}
        ],
        "calls": [
            {
                "function": "g(integer)",
                "steps": [{"do": "DELETE FROM t"}, {"ask": "SELECT g(1)", "returns": []}],
            }
        ],
        "access_paths": [{"title": "All", "query": "SELECT * FROM t WHERE id = {t.id}", "index": ["t_pkey"]}],
        "story": [{"say": "How many", "ask": "SELECT count(*) FROM t", "returns": [{"count": 1}]}],
    }
    (found,) = load_samples(write(given), {})
    assert found.migration == "0001"
    assert found.rows == given["rows"]
    assert found.another == given["another"]
    assert found.checks == given["checks"]
    assert found.triggers == given["triggers"]
    assert list(found.round_trip) == given["round_trip"]
    assert [call["steps"] for call in found.calls] == [given["calls"][0]["steps"]]  # type: ignore[index]
    assert list(found.access_paths) == given["access_paths"]
    assert list(found.story) == given["story"]
    assert parse(dump([found])) == [found]


def test_samples_are_no_part_of_the_migration(write: Write) -> None:
    """They may be improved after it was applied."""
    folder = write({"rows": ROWS})
    before = load_migrations(folder, {})
    (folder / "0001_x/samples.yml").write_text("rows: {}")
    assert load_migrations(folder, {}) == before
    (folder / "0001_x/samples.yml").unlink()
    assert load_migrations(folder, {}) == before
    assert load_samples(folder, {}) == []


def test_a_call_can_depend_on_a_variable(write: Write) -> None:
    call = {"function": "g()", "only_if": {"keep": 0}, "steps": [{"ask": "SELECT g()", "returns": []}]}
    folder = write({"calls": [call]})
    assert [load_samples(folder, {"keep": keep})[0].calls[0]["skipped"] for keep in (0, 3)] == [
        "",
        "keep is 3",
    ]


@pytest.mark.parametrize(
    ("samples", "told"),
    [
        ("rows: [", "cannot be read"),
        ("[]", "must be a mapping, not \\[\\]"),
        ({"row": {}}, "unknown key 'row'"),
        ({"rows": []}, "rows: must be a dict"),
        ({"rows": {"t": 1}}, "rows: t: is a mapping from column to value, not 1"),
        (
            {"rows": {"t": {"a": {"sqll": "now()"}}}},
            "rows: t: a: a mapping has one key, one of sql, free, json",
        ),
        ({"rows": {"t": {"a": {"sql": "now()", "free": 1}}}}, "a mapping has one key"),
        ({"rows": {"t": {"a": {"sql": "now("}}}}, "PostgreSQL's parser"),
        (
            {"rows": {"t": {"a": {"sql": "1); DELETE FROM t; SELECT (1"}}}},
            "must be one statement of kind SelectStmt",
        ),
        ({"rows": {"t": {"a": {"free": 0}}}}, "free is a number from 1 to"),
        ({"rows": {"t": {"a": {"free": True}}}}, "free is a number from 1 to"),
        ({"rows": {"t": {"a": [[1]]}}}, "a list holds plain values"),
        ("rows: {t: {a: 2030-01-15}}", "rows: t: a: 2030-01-15 is a date"),
        ("rows: {t: {a: {json: [2030-01-15 12:00:00]}}}", "is a datetime"),
        ({"rows": {"t": {1: "x"}}}, "1 is not a text"),
        ({"checks": {"word_check": {"bad": [{"a": 1}]}}}, "is named <table>.<constraint>"),
        ({"checks": {"t.c": {"good": [{"a": 1}]}}}, "checks: t.c: bad is missing"),
        ({"checks": {"t.c": {"bad": []}}}, "bad is a list of mappings"),
        ({"checks": {"t.c": {"bad": [1]}}}, "bad: is a mapping from column to value"),
        ({"triggers": {"f()": {"set": {"a": 1}}}}, "triggers: f\\(\\): then is missing"),
        ({"triggers": {"f()": {"set": {"a": 1}, "then": "a ="}}}, "PostgreSQL's parser"),
        ({"round_trip": [{"table": "nowhere", "values": {}}]}, "'nowhere' has no row in the samples"),
        ({"calls": [{"function": "g()", "steps": []}]}, "steps is a list of steps"),
        ({"calls": [{"function": "g()", "steps": [{"ask": "SELECT 1", "returns": []}]}]}, "no step calls g"),
        ({"calls": [{"function": "g()", "only_if": {"keeps": 1}, "steps": []}]}, "unknown key 'keeps'"),
        ({"access_paths": [{"title": "x", "query": "DELETE FROM t", "index": ["i"]}]}, "of kind SelectStmt"),
        ({"access_paths": [{"title": "x", "query": "SELECT 1", "index": []}]}, "index is a list of names"),
        ({"access_paths": [{"title": "x", "query": "SELECT 1"}]}, "index is missing"),
        ({"story": [{"say": "x"}]}, "story\\[0\\]: needs either do or ask"),
        ({"story": [{"ask": "SELECT 1"}]}, "ask and returns go together"),
        ({"story": [{"ask": "SELECT 1", "returns": [1]}]}, "returns is a list of rows"),
        ({"story": [{"do": "DROP TABLE t"}]}, "of kind InsertStmt, UpdateStmt, DeleteStmt"),
        ({"story": [{"do": "DELETE FROM other"}]}, "'other' has no row in the samples"),
        ({"rows": ROWS, "story": [{"do": "DELETE FROM elsewhere.t"}]}, "names the schema elsewhere"),
        ({"story": [{"ask": "SELECT {free.0}", "returns": []}]}, "a number from 1 to"),
        ({"story": [{"ask": "SELECT {nowhere.id}", "returns": []}]}, "'nowhere' has no row in the samples"),
    ],
)
def test_what_is_not_right_is_named_with_file_and_key(write: Write, samples: Any, told: str) -> None:
    with pytest.raises(SourceError, match=f"^0001_x/samples.yml.*{told}"):
        load_samples(write(samples), {})


def test_what_writes_names_rows_of_this_or_an_earlier_migration(write: Write) -> None:
    folder = write({"rows": ROWS})
    later = write_migration(folder, "0002", "y", "CREATE TABLE {{ schema }}.u (id integer);")
    (later / "samples.yml").write_text(yaml.safe_dump({"story": [{"do": "DELETE FROM t WHERE id = {t.id}"}]}))
    assert [one.migration for one in load_samples(folder, {})] == ["0001", "0002"]


def test_what_is_in_force_adds_up() -> None:
    first = Samples("0001", rows={"t": {"a": 1}}, story=({"say": "one"},), checks={"t.c": {"bad": [1]}})
    second = Samples("0002", rows={"t": {"b": 2}, "u": {}}, story=({"say": "two"},))
    third = Samples("0003", rows={"t": {"c": 3}})
    found = together([first, second, third], {"0001", "0002"})
    assert found.rows == {"t": {"a": 1, "b": 2}, "u": {}}
    assert [step["say"] for step in found.story] == ["one", "two"]
    assert first.rows == {"t": {"a": 1}}


def test_the_documented_example_can_be_read(tmp_path: Path) -> None:
    page = (MIGRATIONS.parents[2] / "docs/migrations.md").read_text()
    example = page.partition("## samples.yml")[2].partition("```yaml\n")[2].partition("```")[0]
    earlier = write_migration(tmp_path, "0001", "base", "CREATE TABLE {{ schema }}.companies (id integer);")
    (earlier / "samples.yml").write_text("rows: {companies: {id: {free: 1}}, clients: {}}")
    keep = {"keep_months": {"type": "integer", "default": 12}}
    later = write_migration(
        tmp_path, "0003", "reviews", "CREATE TABLE {{ schema }}.reviews (id integer);", variables=keep
    )
    (later / "samples.yml").write_text(example)
    found = load_samples(tmp_path, {})[1]
    assert found.rows["reviews"]["stars"] == 5
    assert found.calls[0]["skipped"] == ""
    assert len(found.story) == len(found.access_paths) == 1


def test_the_roles_samples_can_be_read() -> None:
    assert [one.migration for one in load_samples(MIGRATIONS, {})] == ["0001", "0002"]
