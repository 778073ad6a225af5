"""Which backup counts, which may go, and what a record may say."""

import datetime
import json
from dataclasses import replace
from pathlib import Path

import pytest
from ansible.module_utils.rollout import backup_manifest
from ansible.module_utils.rollout.backup_contents import Identity, TableRows
from ansible.module_utils.rollout.backup_manifest import Manifest, Proof, StoredFile
from ansible.module_utils.rollout.errors import BackupRefused

NOW = datetime.datetime(2026, 1, 31, 12, 0, tzinfo=datetime.UTC)
HERE = Identity("default_db", 16384, "7000000000000000001", "18.0", "UTF8", "C.UTF-8", "C.UTF-8")


def manifest(hours_ago: float = 0, *, proven: bool = True, **changed: object) -> Manifest:
    """A record of a backup that was made some hours before NOW."""
    made = NOW - datetime.timedelta(hours=hours_ago)
    record = Manifest(
        folder=Path(f"/nowhere/{hours_ago}"),
        label="backup",
        run_id="run-1",
        identity=HERE,
        snapshot_at=made.isoformat(),
        finished_at=made.isoformat(),
        program="pg_dump 18.0",
        selected_schemas=(),
        selected_tables=(),
        tables={"public.clients": TableRows(2, 8192, "17")},
        sequences={"public.clients_id_seq": (2, True, 1)},
        extensions={},
        fingerprint="f",
        dump=StoredFile("database.dump", 3, "x"),
        catalog=StoredFile("catalog.json", 2, "y"),
        proof=Proof("local", "here", proven, 1.0),
    )
    return replace(record, **changed)  # type: ignore[arg-type]


def superseded(found: list[Manifest], count: int = 0, days: int = 0) -> list[str]:
    gone = backup_manifest.superseded(found, found[0], keep_count=count, keep_days=days, now=NOW)
    return [record.folder.name for record in gone]


@pytest.mark.parametrize(
    ("count", "days", "gone"),
    [
        (0, 0, []),
        (2, 0, ["30", "50"]),
        (0, 1, ["30", "50"]),
        (3, 1, ["30", "50"]),
        (1, 0, ["5", "30", "50"]),
        (9, 9, []),
    ],
)
def test_what_is_beyond_the_count_or_the_age_goes(count: int, days: int, gone: list[str]) -> None:
    assert superseded([manifest(hours) for hours in (0, 5, 30, 50)], count, days) == gone


def test_the_newest_proven_one_stays_whatever_the_limits() -> None:
    found = [manifest(0, proven=False), manifest(5, proven=False), manifest(500), manifest(600)]
    assert superseded(found, count=1, days=1) == ["5", "600"]


@pytest.mark.parametrize(
    "other",
    [
        {"label": "rollback"},
        {"identity": replace(HERE, name="other")},
        {"identity": replace(HERE, oid=1)},
        {"identity": replace(HERE, system_identifier="2")},
        {"selected_tables": ("public.clients",)},
        {"selected_schemas": ("public",)},
    ],
)
def test_backups_of_another_kind_are_never_removed(other: dict[str, object]) -> None:
    found = [manifest(0), manifest(100, **other), manifest(200)]  # type: ignore[arg-type]
    assert superseded(found, count=1, days=1) == ["200"]


def shortcomings(record: Manifest, identity: Identity = HERE, **given: object) -> list[str]:
    wanted = {"schemas": (), "tables": (), "max_age_minutes": 60, "now": NOW, **given}
    return backup_manifest.shortcomings(record, identity, **wanted)  # type: ignore[arg-type]


def test_a_young_proven_one_of_this_database_counts() -> None:
    assert shortcomings(manifest(0.5)) == []
    assert shortcomings(manifest(500), max_age_minutes=0) == []
    # Where the role may not read the system identifier, oid and name have to do.
    assert shortcomings(manifest(0.5), replace(HERE, system_identifier=None)) == []


@pytest.mark.parametrize(
    ("record", "identity", "reason"),
    [
        (manifest(1.5), HERE, "90 minutes old, allowed are 60"),
        (manifest(-1), HERE, "a clock is wrong"),
        (manifest(0, proven=False), HERE, "never proven"),
        (manifest(0), replace(HERE, oid=5), "another database"),
        (manifest(0), replace(HERE, name="x"), "another database"),
        (manifest(0), replace(HERE, system_identifier="9"), "another database"),
        (manifest(0, selected_schemas=("public",)), HERE, "another selection"),
        (manifest(0, selected_tables=("clients",)), HERE, "another selection"),
    ],
)
def test_each_shortcoming_is_told(record: Manifest, identity: Identity, reason: str) -> None:
    (told,) = shortcomings(record, identity)
    assert reason in told


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = manifest(0, folder=tmp_path)
    backup_manifest.write(record)
    assert backup_manifest.read(tmp_path) == record
    assert backup_manifest.read(tmp_path / "database.dump") == record
    assert (tmp_path / "manifest.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "spoilt",
    [
        {"format": 2},
        {"dump": {"name": "../other", "bytes": 1, "sha256": ""}},
        {"tables": {"public.clients": {"rows": 1}}},
        {"identity": {}},
        {"unknown": 1},
        {"proof": None},
    ],
)
def test_a_record_that_is_none_is_refused(tmp_path: Path, spoilt: dict[str, object]) -> None:
    backup_manifest.write(manifest(0, folder=tmp_path))
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **spoilt}))
    with pytest.raises(BackupRefused, match="not a record of format 1"):
        backup_manifest.read(tmp_path)


def test_a_folder_without_a_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackupRefused, match=r"holds no manifest\.json"):
        backup_manifest.read(tmp_path)


def test_damage_is_seen_in_either_file(tmp_path: Path) -> None:
    (tmp_path / "database.dump").write_bytes(b"abc")
    (tmp_path / "catalog.json").write_bytes(b"{}")
    record = manifest(
        0,
        folder=tmp_path,
        dump=backup_manifest.store(tmp_path / "database.dump"),
        catalog=backup_manifest.store(tmp_path / "catalog.json"),
    )
    assert backup_manifest.damage(record) == []
    (tmp_path / "catalog.json").write_bytes(b"[]")
    (tmp_path / "database.dump").write_bytes(b"abcd")
    assert [line.partition(" has ")[0].rpartition("/")[2] for line in backup_manifest.damage(record)] == [
        "database.dump",
        "catalog.json was changed: its SHA-256 is not the recorded one",
    ]
