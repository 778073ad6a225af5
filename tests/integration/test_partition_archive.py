"""Archives of detached partitions: written, proven by reading them back, and only then, if told so, a drop."""

import errno
import gzip
import hashlib
import io
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from ansible.module_utils.rollout import partition_archive, partition_changes
from ansible.module_utils.rollout.errors import RolloutError, StatementFailed
from ansible.module_utils.rollout.observation import observe
from ansible.module_utils.rollout.partitions import Outcome

from sandbox.databases import Database
from sandbox.server import PostgresServer
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


def archived(folder: Path) -> list[Path]:
    """The archives in a folder, in order of their names."""
    return sorted(folder.glob("*.copy.gz"))


def exists(owner: psycopg.Connection, table: str) -> bool:
    return one(owner, "SELECT to_regclass(%s) IS NOT NULL", [f"public.{table}"]) is True


def test_an_archive_is_proven_recorded_and_restorable(
    job: Maintenance, owner: psycopg.Connection, tmp_path: Path
) -> None:
    done = job.archive(tmp_path / "archive", retention=2)
    assert [a["action"] for a in done.actions] == ["detached", "archived"]
    file = tmp_path / "archive" / f"{job.database.name}.public.{KEPT}.1.copy.gz"
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
    (file,) = archived(tmp_path)
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
    # The first archive is still what it was.
    assert len(archived(tmp_path)) == 2
    assert file.read_bytes() == whole


def test_a_month_that_is_archived_again_keeps_its_first_archive(
    job: Maintenance, owner: psycopg.Connection, tmp_path: Path
) -> None:
    """Archived and dropped, made anew for rows that came late, archived under the same name."""
    job.archive(tmp_path, drop=True, retention=2)
    (first,) = archived(tmp_path)
    whole = first.read_bytes()
    job.run()
    owner.execute("INSERT INTO public.events (at, what) VALUES ('2025-11-05 00:00:00+00', 'late')")
    job.archive(tmp_path, drop=True, retention=2)
    assert first.read_bytes() == whole
    (second,) = set(archived(tmp_path)) - {first}
    assert b"late" in gzip.decompress(second.read_bytes())
    records = owner.execute("SELECT kept, archive->>'file' FROM rollout.detached ORDER BY seq").fetchall()
    assert records == [(KEPT, str(first)), (KEPT, str(second))]


def test_a_month_that_is_partitioned_itself_is_archived_whole(
    job: Maintenance, owner: psycopg.Connection, tmp_path: Path
) -> None:
    owner.execute(
        "ALTER TABLE public.events DETACH PARTITION public.events_2025_11;"
        "ALTER TABLE public.events_2025_11 RENAME TO plain;"
        "CREATE TABLE public.events_2025_11 PARTITION OF public.events FOR VALUES FROM ('2025-11-01 00:00:00+00')"
        " TO ('2025-12-01 00:00:00+00') PARTITION BY HASH (id);"
        "CREATE TABLE public.half PARTITION OF public.events_2025_11 FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
        "CREATE TABLE public.other_half PARTITION OF public.events_2025_11 FOR VALUES WITH (MODULUS 2, REMAINDER 1);"
        "INSERT INTO public.events (id, at, what) SELECT id, at, what FROM public.plain"
    )
    job.archive(tmp_path, retention=2)
    (file,) = archived(tmp_path)
    assert len(gzip.decompress(file.read_bytes()).splitlines()) == 100
    dropped = job.archive(tmp_path, drop=True, retention=2)
    assert [(a["action"], a["rows"]) for a in dropped.actions] == [("dropped", "100")]
    assert not exists(owner, KEPT) and not exists(owner, "half")


def test_rows_that_a_policy_hides_are_not_lost(
    job: Maintenance, owner: psycopg.Connection, tmp_path: Path
) -> None:
    """The archive would hold half of them, and prove equal to the half that is seen."""
    owner.execute(
        "ALTER TABLE public.events_2025_11 ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
        "CREATE POLICY even ON public.events_2025_11 USING (id % 2 = 0)"
    )
    with pytest.raises(StatementFailed, match="affected by row-level security policy"):
        job.archive(tmp_path, drop=True, retention=2)
    assert archived(tmp_path) == []
    owner.execute(f"ALTER TABLE public.{KEPT} NO FORCE ROW LEVEL SECURITY".encode())
    assert len(rows(owner, KEPT)) == 100
    done = job.archive(tmp_path, drop=True, retention=2)
    assert [(a["action"], a["rows"]) for a in done.actions if "rows" in a] == [("dropped", "100")]


def test_check_mode_foretells_archives_drops_and_what_is_finished(
    job: Maintenance, owner: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first detach, after an interrupted one, with one that waits for its archive, with one for its drop."""

    def told(done: Outcome) -> list[tuple[str, str]]:
        return [(action["action"], action["partition"]) for action in done.actions]

    def foretold(drop: bool = False) -> list[tuple[str, str]]:
        return told(job.archive(tmp_path, drop=drop, check=True, retention=2))

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    whole = [("archive", KEPT), ("drop", KEPT)]
    assert foretold(drop=True) == [("detach", "events_2025_11"), *whole]
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(partition_changes, "finish", killed)
        job.run(retention=2)
    assert foretold(drop=True) == [("finish", "events_2025_11"), *whole]
    # No longer wanted away, so it is made anew once the old one has another name.
    again = job.archive(tmp_path, check=True)
    assert told(again) == [("finish", "events_2025_11"), ("create", "events_2025_11"), whole[0]]
    assert again.healthy
    job.run(retention=2)
    assert foretold(drop=True) == whole
    job.archive(tmp_path, retention=2)
    assert foretold() == []
    assert foretold(drop=True) == whole[1:]
    job.archive(tmp_path, drop=True, retention=2)
    assert foretold(drop=True) == []


def test_others_go_on_while_an_archive_is_written(
    job: Maintenance, owner: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can take hours: months are made meanwhile, and migrations run; only a second archive has to wait."""
    prove = partition_archive._prove
    seen: list[object] = []

    def meanwhile(*arguments: Any) -> tuple[int, str]:
        if not seen:
            seen.append([action["partition"] for action in job.run(ahead=4, retention=2).actions])
            with job.open() as session:
                seen.append(observe(session, "public", "rollout", alone=True).database)
            second = job.archive(tmp_path, ahead=4, retention=2)
            seen.append((second.changed, second.healthy, [f["kind"] for f in second.findings]))
        return prove(*arguments)

    monkeypatch.setattr(partition_archive, "_prove", meanwhile)
    done = job.archive(tmp_path, retention=2)
    assert seen == [
        ["events_2026_05", "events_2026_06"],
        job.database.name,
        (False, True, ["archiving elsewhere"]),
    ]
    assert [a["action"] for a in done.actions] == ["detached", "archived"]
    assert len(archived(tmp_path)) == 1


class FullDisk(io.RawIOBase):
    """What a file on a full disk does."""

    def writable(self) -> bool:
        return True

    def write(self, _: object, /) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("trouble", ["no folder", "full disk"])
def test_a_folder_that_takes_no_file_fails_the_run_and_says_why(
    job: Maintenance,
    owner: psycopg.Connection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trouble: str,
) -> None:
    """Told and recorded as any failure; the next run goes on."""
    (tmp_path / "file").touch()
    folder = tmp_path / "file/archive" if trouble == "no folder" else tmp_path
    # Beyond what is gathered before it is written: the disk is full in the middle of COPY.
    owner.execute(
        "INSERT INTO public.events (at, what) SELECT '2025-11-02 00:00:00+00', md5(i::text)"
        " FROM generate_series(1, 9900) i"
    )
    with monkeypatch.context() as patched:
        if trouble == "full disk":
            patched.setattr(os, "fdopen", lambda *_, **__: FullDisk())
        with pytest.raises(RolloutError, match=f"{KEPT} cannot be archived in .*(Not a dir|No space)"):
            job.archive(folder, drop=True, retention=2)
    outcome, message = owner.execute(
        "SELECT outcome, message FROM rollout.maintenance ORDER BY seq DESC LIMIT 1"
    ).fetchall()[0]
    assert outcome == "failed" and "cannot be archived" in message
    assert len(rows(owner, KEPT)) == 10_000
    assert archived(tmp_path) == []
    assert [a["action"] for a in job.archive(tmp_path, drop=True, retention=2).actions] == [
        "archived",
        "dropped",
    ]


def test_what_a_killed_run_left_of_the_same_archive_is_removed(
    job: Maintenance, owner: psycopg.Connection, tmp_path: Path
) -> None:
    job.run(retention=2)
    stem = f"{job.database.name}.public.{KEPT}"
    (tmp_path / f"{stem}.1.earlier.partial").write_text("half")
    (tmp_path / f"{stem}.11.earlier.partial").write_text("of another record")
    job.archive(tmp_path, retention=2)
    assert [one.name for one in tmp_path.glob("*.partial")] == [f"{stem}.11.earlier.partial"]


def test_two_databases_may_share_a_folder(
    job: Maintenance, owner: psycopg.Connection, tmp_path: Path, server: PostgresServer
) -> None:
    (tmp_path / "other").mkdir()
    other = Database.create(server, tmp_path / "other")
    try:
        with other.connect() as connection:
            make_events(connection)
        twin = Maintenance(other)
        twin.run()
        job.archive(tmp_path, drop=True, retention=2)
        (first,) = archived(tmp_path)
        whole = first.read_bytes()
        twin.archive(tmp_path, drop=True, retention=2)
    finally:
        other.drop()
    assert first.read_bytes() == whole
    assert [one.name.partition(".")[0] for one in archived(tmp_path)] == sorted(
        [job.database.name, other.name]
    )
