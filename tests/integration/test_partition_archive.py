"""Archives of detached partitions: written, proven by reading them back, and only then, if told so, a drop."""

import gzip
import hashlib
import json
import stat
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from ansible.module_utils.rollout import partition_archive
from ansible.module_utils.rollout.errors import RolloutError

from sandbox.databases import Database
from tests.partitioned import Maintenance, make_events, one

KEPT = "events_2025_11_detached"


@pytest.fixture
def owner(database: Database) -> Iterator[psycopg.Connection]:
    with database.connect() as connection:
        make_events(connection)
        yield connection


@pytest.fixture
def job(database: Database, owner: psycopg.Connection) -> Maintenance:
    found = Maintenance(database)
    found.run()
    owner.execute(
        "INSERT INTO public.events (at, what) SELECT timestamptz '2025-11-01 00:00:00+00' + i * interval '1 hour',"
        " CASE i % 3 WHEN 0 THEN E'tab\\tand\\nline' WHEN 1 THEN 'Привет' ELSE E'back\\\\slash \\\\N' END"
        " FROM generate_series(0, 99) i"
    )
    return found


def rows(owner: psycopg.Connection, table: str) -> list[tuple[object, ...]]:
    return owner.execute(f"SELECT * FROM public.{table} ORDER BY id".encode()).fetchall()


def exists(owner: psycopg.Connection, table: str) -> bool:
    return one(owner, "SELECT to_regclass(%s) IS NOT NULL", [f"public.{table}"]) is True


def test_an_archive_is_proven_recorded_and_restorable(
    job: Maintenance, owner: psycopg.Connection, tmp_path: Path
) -> None:
    done = job.archive(tmp_path / "archive", retention=2)
    assert [a["action"] for a in done.actions] == ["detached", "archived"]
    file = tmp_path / "archive" / f"public.{KEPT}.copy.gz"
    record = one(owner, "SELECT archive FROM rollout.detached WHERE state = 'archived'")
    assert record["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (record["rows"], record["file"]) == (100, str(file))
    assert json.loads(file.with_suffix(".json").read_text()) == record
    assert {stat.S_IMODE(one.stat().st_mode) for one in file.parent.iterdir()} == {0o600}
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert len(list(file.parent.iterdir())) == 2
    # Nothing goes without an explicit setting; a second run does nothing.
    assert len(rows(owner, KEPT)) == 100
    assert not job.archive(tmp_path / "archive", retention=2).changed

    owner.execute(f"CREATE TABLE public.back (LIKE public.{KEPT} INCLUDING GENERATED)".encode())
    columns = ", ".join(column.split()[0] for column in record["columns"])
    with owner.cursor().copy(f"COPY public.back ({columns}) FROM STDIN".encode()) as copy:
        copy.write(gzip.decompress(file.read_bytes()))
    assert rows(owner, "back") == rows(owner, KEPT)

    dropped = job.archive(tmp_path / "archive", drop=True, retention=2)
    assert [(a["action"], a["rows"]) for a in dropped.actions] == [("dropped", "100")]
    assert not exists(owner, KEPT)
    assert (
        one(owner, "SELECT archive->>'sha256' FROM rollout.detached WHERE state = 'dropped'")
        == record["sha256"]
    )
    assert not job.archive(tmp_path / "archive", drop=True, retention=2).changed


def test_a_file_that_does_not_hold_all_rows_is_no_archive(
    job: Maintenance, owner: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Truncated, and complete but with one row less: both are found, and nothing is left or dropped."""
    prove = partition_archive._prove

    def cut(session, one_, kept, listed, file):
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2])
        return prove(session, one_, kept, listed, file)

    def short(session, one_, kept, listed, file):
        lines = gzip.decompress(file.read_bytes()).splitlines(keepends=True)
        file.write_bytes(gzip.compress(b"".join(lines[:-1])))
        return prove(session, one_, kept, listed, file)

    for spoil, message in ((cut, "cannot be read back"), (short, "99 rows came back, 100 are there")):
        monkeypatch.setattr(partition_archive, "_prove", spoil)
        with pytest.raises(RolloutError, match=message):
            job.archive(tmp_path, drop=True, retention=2)
        assert list(tmp_path.glob("*.copy.gz*")) == []
        assert len(rows(owner, KEPT)) == 100
    monkeypatch.undo()
    assert [a["action"] for a in job.archive(tmp_path, drop=True, retention=2).actions] == [
        "archived",
        "dropped",
    ]


def test_nothing_is_dropped_whose_archive_or_rows_changed(
    job: Maintenance, owner: psycopg.Connection, tmp_path: Path
) -> None:
    job.archive(tmp_path, retention=2)
    file = tmp_path / f"public.{KEPT}.copy.gz"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + b"x")
    with pytest.raises(RolloutError, match="is not on this host as it was proven"):
        job.archive(tmp_path, drop=True, retention=2)
    file.unlink()
    with pytest.raises(RolloutError, match="is not on this host as it was proven"):
        job.archive(tmp_path, drop=True, retention=2)
    file.write_bytes(whole)
    owner.execute(f"UPDATE public.{KEPT} SET what = 'late' WHERE id = 1".encode())
    with pytest.raises(RolloutError, match="written to after it was archived") as refusal:
        job.archive(tmp_path, drop=True, retention=2)
    assert exists(owner, KEPT)
    owner.execute(refusal.value.hint.partition(": ")[2].encode())
    assert [a["action"] for a in job.archive(tmp_path, drop=True, retention=2).actions] == [
        "archived",
        "dropped",
    ]
    assert not exists(owner, KEPT)
