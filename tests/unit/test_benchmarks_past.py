"""The generated past: migrations that load, and rounds in which none touches what another one does."""

from pathlib import Path

import pytest
from ansible.module_utils.rollout.source import load_migrations

from benchmarks.bench import MIGRATIONS
from benchmarks.history import TABLES, record_rounds, revisions, write_history


@pytest.mark.parametrize("growing", [False, True])
def test_generated_migrations_load_after_the_roles_own(tmp_path: Path, growing: bool) -> None:
    revised = revisions(120, growing=growing)
    write_history(MIGRATIONS, tmp_path / "past", revised)
    loaded = load_migrations(tmp_path / "past", {})
    own = len(list(MIGRATIONS.glob("*/migration.yml")))
    assert len(loaded) == own + 120
    assert [migration.id for migration in loaded[own:]] == [revision.id for revision in revised]
    assert len({migration.checksum for migration in loaded}) == len(loaded)


def test_a_past_that_does_not_grow_changes_the_same_objects_again() -> None:
    kinds = 4
    for count in (100, 1000):
        assert len({revision.touches for revision in revisions(count)}) == kinds * len(TABLES)
        columns_and_indexes = [
            revision.touches
            for revision in revisions(count, growing=True)
            if revision.touches.startswith(("column ", "index "))
        ]
        assert len(set(columns_and_indexes)) == len(columns_and_indexes) == count / 2


def test_a_past_of_another_length_begins_alike() -> None:
    assert revisions(8) == revisions(998)[:8]


def test_no_round_touches_an_object_twice(tmp_path: Path) -> None:
    revised = revisions(200)
    write_history(MIGRATIONS, tmp_path / "past", revised)
    touched = {revision.id: revision.touches for revision in revised}
    generated = [m for m in load_migrations(tmp_path / "past", {}) if m.id in touched]
    rounds = record_rounds(generated, touched)
    assert [migration for group in rounds for migration in group] == generated
    for group in rounds:
        assert len({touched[migration.id] for migration in group}) == len(group)
    assert len(rounds) == 6
