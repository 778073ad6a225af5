"""Migration folders: what is read and refused, templates, and the line of everything that goes wrong."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.rollout import source
from ansible.module_utils.rollout.errors import SourceError
from ansible.module_utils.rollout.migration import Migration
from ansible.module_utils.rollout.source import load_migrations

VARIABLES = {
    "first_month": {"type": "month", "default": "2025-11"},
    "n": {"type": "integer", "default": 3, "minimum": -5},
    "flag": {"type": "boolean", "default": True},
    "zone": {"type": "timezone", "default": "UTC"},
}
Write = Callable[..., Path]
Load = Callable[[str | bytes], Migration]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a migration's folder; returns the folder that holds it."""

    def write(label: str = "0001_x", sql: str | bytes | None = "SELECT 1;", **header: Any) -> Path:
        migration = tmp_path / label
        migration.mkdir()
        described = {"id": label.partition("_")[0], "description": "Invented.", **header}
        (migration / "migration.yml").write_text(yaml.safe_dump(described))
        if sql is not None:
            (migration / "010.sql.j2").write_bytes(sql if isinstance(sql, bytes) else sql.encode())
        return tmp_path

    return write


@pytest.fixture
def load(write: Write) -> Load:
    """Load a migration that consists of one template, with a variable of most types."""

    def load(sql: str | bytes) -> Migration:
        return load_migrations(write(sql=sql, variables=VARIABLES), {})[0]

    return load


def lines(migration: Migration) -> list[tuple[int, str]]:
    return [(statement.line, statement.text) for statement in migration.statements]


# --- folders


def test_folders_are_read_in_the_order_of_their_numbers(write: Write) -> None:
    for label in ("10000_last", "0002_second", "9999_almost", "_draft", ".hidden"):
        write(label)
    assert [migration.label for migration in load_migrations(write("0001_first"), {})] == [
        "0001_first",
        "0002_second",
        "9999_almost",
        "10000_last",
    ]


@pytest.mark.parametrize(
    "label",
    [
        "1_short",
        "x_no_number",
        "0001",
        "0001_",
        "0001_Capital",
        "0001-dash",
        "0001_ä",
        "٠٠٠١_x",
        "0001_x y",
        "0001_x.bak",
    ],
)
def test_a_folder_with_another_name_is_refused(tmp_path: Path, label: str) -> None:
    (tmp_path / label).mkdir()
    with pytest.raises(SourceError, match=re.escape(label)):
        load_migrations(tmp_path, {})


@pytest.mark.parametrize(("one", "other"), [("0001_a", "0001_b"), ("0001_a", "00001_b")])
def test_two_folders_with_one_number_are_refused(write: Write, one: str, other: str) -> None:
    write(one)
    with pytest.raises(SourceError, match="have the same number"):
        load_migrations(write(other), {})


@pytest.mark.parametrize("name", ["0002_y.sql", "0002_y.sql.j2", "migration.yml"])
def test_a_file_beside_the_folders_would_not_be_run(write: Write, name: str) -> None:
    (write() / name).write_text("SELECT 1")
    with pytest.raises(SourceError, match=f"{name} would not be run"):
        load_migrations(write("0003_z"), {})


def test_a_readme_beside_the_folders_is_welcome(write: Write) -> None:
    (write() / "README.md").write_text("About these migrations.")
    (write("0002_y") / ".sql").write_text("SELECT 1")
    assert len(load_migrations(write("0003_z"), {})) == 3


def test_a_folder_that_is_missing_or_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is not a folder"):
        load_migrations(tmp_path / "nowhere", {})
    with pytest.raises(SourceError, match="holds no migration"):
        load_migrations(tmp_path, {})
