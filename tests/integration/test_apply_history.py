"""The folder of migrations against the ledger: what was applied may be reformatted, but neither changed nor removed."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from ansible.module_utils.rollout.errors import SourceError

from sandbox.databases import Database
from tests.migration_folders import write_migration
from tests.runner import Runner

SQL = "CREATE TABLE {{ schema }}.visits (\n    id integer,\n    note text DEFAULT 'a  b'\n);\n"


@pytest.fixture
def applied(database: Database, tmp_path: Path) -> Runner:
    """A runner whose two small migrations are in force."""
    folder = tmp_path / "migrations"
    write_migration(folder, "0001", "visits", SQL)
    write_migration(
        folder, "0005", "views", "CREATE VIEW {{ schema }}.seen AS SELECT id FROM {{ schema }}.visits;\n"
    )
    runner = Runner(database.options, folder)
    runner.apply()
    return runner


@pytest.mark.parametrize(
    "text",
    [
        "-- why\n" + SQL,
        SQL.replace("\n    ", " "),
        SQL.replace("\n", "\r\n"),
        "\ufeff" + SQL,
        SQL.replace("id integer", "id /* a number */ integer").rstrip("\n"),
        "{# of the template #}\n" + SQL,
    ],
    ids=["comment", "white space", "CRLF", "BOM", "inner comment", "template comment"],
)
def test_what_does_not_change_the_sql_may_change(applied: Runner, text: str) -> None:
    (applied.folder / "0001_visits/010_all.sql.j2").write_text(text, newline="")
    assert not applied.apply().changed


@pytest.mark.parametrize(
    "text",
    [
        SQL.replace("'a  b'", "'a b'"),
        SQL.replace("integer", "bigint"),
        SQL + "CREATE INDEX more ON visits (id);",
    ],
    ids=["text constant", "type", "statement more"],
)
@pytest.mark.parametrize("drift", ["fail", "repair"])
def test_changed_sql_is_refused_never_repaired(applied: Runner, text: str, drift: str) -> None:
    (applied.folder / "0001_visits/010_all.sql.j2").write_text(text)
    with pytest.raises(
        SourceError, match=r"0001_visits was changed after it was applied at .* \(run run-1\)"
    ):
        replace(applied, drift=drift).apply()


def test_a_changed_variable_is_named_with_both_values(finished: Database) -> None:
    with pytest.raises(SourceError, match="retention_months was 0 and is now 12"):
        Runner(finished.options, variables={"retention_months": 12}).rehearse(check=True)


def test_a_removed_folder_is_missed(applied: Runner) -> None:
    shutil.rmtree(applied.folder / "0005_views")
    with pytest.raises(SourceError, match=r"migration 0005_views was applied at .* but its folder is gone"):
        applied.apply()


def test_a_renumbered_folder_is_recognized(applied: Runner) -> None:
    shutil.rmtree(applied.folder / "0005_views")
    write_migration(
        applied.folder,
        "0006",
        "views",
        "CREATE VIEW {{ schema }}.seen AS SELECT id FROM {{ schema }}.visits;\n",
    )
    with pytest.raises(SourceError, match="0006_views has the same SQL: give it its old number back"):
        applied.apply()


def test_a_migration_that_comes_late_is_refused(applied: Runner) -> None:
    write_migration(applied.folder, "0003", "late", "CREATE TABLE {{ schema }}.late (id integer);\n")
    with pytest.raises(SourceError, match="out of order: 0003_late came after 0005"):
        applied.apply()


def test_the_next_migration_builds_on_those_before(applied: Runner) -> None:
    write_migration(
        applied.folder,
        "0006",
        "more",
        "ALTER TABLE {{ schema }}.visits ADD COLUMN length integer;\n"
        "CREATE INDEX visits_length ON {{ schema }}.visits (length);\n",
    )
    again = applied.apply()
    assert again.states == ["applied", "applied", "absent"]
    assert again.changed
    assert not applied.apply().changed
    assert applied.inspect().differences == []
    assert applied.inspect().recorded == ["0001_visits", "0005_views", "0006_more"]
