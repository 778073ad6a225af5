"""What the other tools are given: the same objects, in the form that they take."""

import shutil
from pathlib import Path

import pytest
from ansible.module_utils.rollout.migration import Migration
from ansible.module_utils.rollout.source import load_migrations
from pglast import parse_sql

from benchmarks import community_postgresql, sqitch
from benchmarks.bench import MIGRATIONS


@pytest.fixture(scope="module")
def migrations() -> list[Migration]:
    return load_migrations(MIGRATIONS, {})


@pytest.mark.parametrize(
    ("text", "again"),
    [
        ("CREATE TABLE t (a int)", "CREATE TABLE IF NOT EXISTS t (a int)"),
        ("CREATE INDEX i ON t (a)", "CREATE INDEX IF NOT EXISTS i ON t (a)"),
        ("CREATE UNIQUE INDEX i ON t (a)", "CREATE UNIQUE INDEX IF NOT EXISTS i ON t (a)"),
        ("CREATE FUNCTION f() RETURNS TABLE (a int)", "CREATE OR REPLACE FUNCTION f() RETURNS TABLE (a int)"),
        ("-- CREATE TABLE\ncreate function f()", "-- CREATE TABLE\ncreate OR REPLACE function f()"),
        ("CREATE TRIGGER g BEFORE", "CREATE OR REPLACE TRIGGER g BEFORE"),
        ("COMMENT ON TABLE t IS 'x'", "COMMENT ON TABLE t IS 'x'"),
    ],
)
def test_a_statement_is_made_repeatable(text: str, again: str) -> None:
    assert community_postgresql.repeatable(text) == again


def test_what_cannot_be_repeated_is_refused() -> None:
    with pytest.raises(ValueError, match="CREATE SEQUENCE s"):
        community_postgresql.repeatable("CREATE SEQUENCE s")


def test_every_statement_becomes_one_item(migrations: list[Migration]) -> None:
    found = community_postgresql.objects(migrations, "public")
    assert sum(len(items) for items in found.values()) == sum(len(m.statements) for m in migrations)
    assert all(found.values())
    assert "id integer PRIMARY KEY" in found["tables"][0]["columns"]
    partial = next(item for item in found["indexes"] if item["name"] == "idx_messages_failed")
    assert partial == {
        "name": "idx_messages_failed",
        "table": "messages",
        "type": "btree",
        "unique": False,
        "columns": ["company_id", "created_at DESC"],
        "condition": "status = 'failed'",
    }


def test_a_kind_without_a_task_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "0001_view"
    folder.mkdir()
    (folder / "migration.yml").write_text('---\nid: "0001"\ndescription: A view.\n')
    (folder / "010.sql.j2").write_text("CREATE VIEW {{ schema }}.v AS SELECT 1 AS one;\n")
    with pytest.raises(ValueError, match=r"0001_view/010.sql.j2:1.*no task for ViewStmt"):
        community_postgresql.objects(load_migrations(tmp_path, {}), "public")


def test_scripts_hold_the_same_statements(migrations: list[Migration], tmp_path: Path) -> None:
    paths = community_postgresql.scripts(migrations, "public", tmp_path)
    for migration, path in zip(migrations, paths, strict=True):
        assert len(parse_sql(Path(path).read_text())) == len(migration.statements)


def test_a_sqitch_project_holds_the_same_statements(migrations: list[Migration], tmp_path: Path) -> None:
    sqitch.write_project(tmp_path / "project", migrations, "public", "/usr/bin/psql")
    plan = (tmp_path / "project" / "sqitch.plan").read_text().splitlines()
    assert [line.split()[0] for line in plan[3:]] == [migration.name for migration in migrations]
    for migration in migrations:
        text = (tmp_path / "project" / "deploy" / f"{migration.name}.sql").read_text()
        assert len(parse_sql(text)) == len(migration.statements) + len(["BEGIN", "COMMIT"])


def test_sqitch_is_left_out_where_it_cannot_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    assert "no apt-get" in sqitch.unavailable()
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "sqitch" else f"/usr/bin/{name}")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert "needs root" in sqitch.unavailable()
