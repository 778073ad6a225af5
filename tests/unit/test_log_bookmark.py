"""Bookmarks on real files: every line is counted exactly once, or its loss is reported, whatever happens to the log."""

import gzip
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest
from ansible.module_utils.rollout import log_bookmark
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.log_bookmark import (
    LONGEST_UNFINISHED,
    Bookmark,
    LogUnreadable,
    bookmark,
    take,
)
from ansible.module_utils.rollout.log_window import LONGEST_LINE, Reading, read_since
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule


class Log:
    """A log and what rotates it; every line is another one.

    :ivar path: the live file
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "api-out.log"
        self.number = 0
        self.rotations = 0

    def line(self, text: str = "") -> bytes:
        self.number += 1
        return f"{self.number} {text}".encode()

    def append(self, *lines: bytes, end: bytes = b"\n") -> None:
        with self.path.open("ab") as file:
            file.write(b"\n".join(lines) + end)

    def _rotated(self, suffix: str = "") -> Path:
        self.rotations += 1
        return self.path.with_name(f"api-out__2025-11-09_{self.rotations:06d}.log{suffix}")

    def rename(self) -> Path:
        return self.path.rename(self._rotated())

    def copy(self) -> Path:
        """The first half of pm2-logrotate's work."""
        return Path(shutil.copyfile(self.path, self._rotated()))

    def copy_compressed(self) -> Path:
        copy = self._rotated(".gz")
        copy.write_bytes(gzip.compress(self.path.read_bytes()))
        return copy

    def flush(self) -> None:
        """As pm2 flush, and the second half of pm2-logrotate's work."""
        os.truncate(self.path, 0)

    def copytruncate(self) -> Path:
        copy = self.copy()
        self.flush()
        return copy


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


def since(known: Bookmark) -> tuple[list[str], Reading]:
    """The lines since a bookmark, which travels as JSON in between, and how they were read."""
    travelled = bookmark(json.loads(json.dumps(known.as_result())))
    assert travelled == known
    lines: list[str] = []
    reading = read_since(travelled, lambda raw, _: lines.append(raw.decode()))
    return lines, reading


# --- what happens to logs, one by one


def test_what_was_appended(log: Log) -> None:
    log.append(b"old")
    mark = take(str(log.path))
    assert since(mark)[0] == []
    log.append(b"a", b"b")
    lines, reading = since(mark)
    assert (lines, reading.continuity, reading.size) == (["a", "b"], "proven", 4)
    assert since(reading.bookmark)[0] == []
    # The same bookmark again gives the same lines: a bookmark is a value.
    assert since(mark)[0] == ["a", "b"]


def test_a_log_that_is_not_there_yet(log: Log) -> None:
    mark = take(str(log.path))
    lines, reading = since(mark)
    assert (lines, reading.continuity, reading.reason) == ([], "proven", "there was no file")
    log.append(b"a")
    lines, reading = since(mark)
    assert (lines, reading.continuity) == (["a"], "unproven")
    # Nor is its folder.
    assert since(take(str(log.path.parent / "no folder/api-out.log")))[0] == []


def test_a_rename(log: Log) -> None:
    log.append(b"old")
    mark = take(str(log.path))
    log.append(b"a")
    log.rename()
    lines, reading = since(mark)
    assert (lines, reading.continuity, reading.reason) == (["a"], "proven", "renamed")
    assert reading.files == ("api-out__2025-11-09_000001.log",)


def test_the_writer_keeps_the_old_file_until_it_reloads(log: Log) -> None:
    log.append(b"old")
    mark = take(str(log.path))
    with log.path.open("ab", buffering=0) as writer:
        log.rename()
        writer.write(b"a\n")
        _, reading = since(mark)
        writer.write(b"b\n")
        log.append(b"c")
        lines, reading = since(reading.bookmark)
        assert lines == ["b", "c"]
        writer.write(b"d\n")
        assert since(reading.bookmark)[0] == ["d"]


def test_names_of_logrotate(log: Log) -> None:
    log.append(b"old")
    mark = take(str(log.path))
    log.append(b"a")
    log.path.rename(f"{log.path}.1")
    log.append(b"b")
    assert since(mark)[0] == ["a", "b"]


def test_copying_and_truncating(log: Log) -> None:
    log.append(b"old")
    mark = take(str(log.path))
    log.append(b"a")
    copy = log.copytruncate()
    log.append(b"b")
    lines, reading = since(mark)
    assert (lines, reading.continuity) == (["a", "b"], "unproven")
    assert reading.reason == f"rotated by copying to {copy.name}"
    assert reading.files == (copy.name, "api-out.log")


def test_several_rotations_between_two_readings(log: Log) -> None:
    log.append(b"old")
    mark = take(str(log.path))
    for line in (b"a", b"b", b"c"):
        log.append(line)
        log.copytruncate()
    log.append(b"d")
    assert since(mark)[0] == ["a", "b", "c", "d"]


def test_a_log_that_grew_beyond_its_old_size_after_it_was_truncated(log: Log) -> None:
    """Its size tells nothing; the bytes before the position do."""
    log.append(b"old")
    mark = take(str(log.path))
    log.copytruncate()
    log.append(b"something much longer than before")
    assert since(mark)[0] == ["something much longer than before"]


def test_a_copy_that_is_compressed(log: Log) -> None:
    log.append(b"old")
    mark = take(str(log.path))
    log.append(b"a")
    log.copy_compressed()
    log.flush()
    log.append(b"b")
    lines, reading = since(mark)
    assert (lines, reading.continuity) == (["a", "b"], "unproven")
    assert since(reading.bookmark)[0] == []


def test_a_copy_that_is_damaged(log: Log) -> None:
    log.append(b"old")
    mark = take(str(log.path))
    log.append(b"a")
    copy = log.copy_compressed()
    log.flush()
    log.append(b"b")
    copy.write_bytes(copy.read_bytes()[:-9])
    lines, reading = since(mark)
    assert reading.continuity == "broken"
    assert lines[-1:] == ["b"]


@pytest.mark.parametrize("compressed", [False, True])
def test_between_copying_and_truncating(log: Log, compressed: bool) -> None:
    log.append(b"old")
    mark = take(str(log.path))
    log.append(b"a")
    (log.copy_compressed if compressed else log.copy)()
    lines, reading = since(mark)
    assert (lines, reading.continuity) == (["a"], "proven")
    log.flush()
    log.append(b"b")
    assert since(reading.bookmark)[0] == ["b"]


def test_a_bookmark_taken_while_the_copy_grows(log: Log) -> None:
    log.append(b"old", b"a", b"b")
    copy = log.copy()
    os.truncate(copy, 5)
    mark = take(str(log.path))
    log.append(b"c")
    copy.write_bytes(log.path.read_bytes())
    assert since(mark)[0] == ["c"]
    log.flush()
    log.append(b"d")
    assert since(mark)[0] == ["c", "d"]


def test_a_rotation_that_was_given_up_after_copying(log: Log) -> None:
    log.append(b"old")
    log.copy()
    mark = take(str(log.path))
    log.append(b"lost")
    log.flush()
    log.append(b"a")
    lines, reading = since(mark)
    # The copy may as well have been completed before the log was truncated.
    assert (lines, reading.continuity) == (["a"], "unproven")


def test_a_rotation_that_was_given_up_before_one_that_was_not(log: Log) -> None:
    log.append(b"old")
    log.copy()
    mark = take(str(log.path))
    log.append(b"a")
    log.copytruncate()
    assert since(mark)[0] == ["a"]


def test_a_rotated_log_that_is_compressed_later_is_not_counted_again(log: Log) -> None:
    log.append(b"old")
    mark = take(str(log.path))
    log.append(b"a")
    renamed = log.rename()
    log.path.touch()
    _, reading = since(mark)
    packed = Path(f"{renamed}.gz")
    packed.write_bytes(gzip.compress(renamed.read_bytes()))
    renamed.unlink()
    assert since(reading.bookmark)[0] == []
    log.append(b"b")
    assert since(reading.bookmark)[0] == ["b"]


def test_older_rotated_logs_are_not_read(log: Log) -> None:
    log.append(b"older")
    log.copytruncate()
    log.append(b"old")
    mark = take(str(log.path))
    log.append(b"a")
    log.copytruncate()
    assert since(mark)[0] == ["a"]


def test_more_rotated_logs_than_a_bookmark_holds(log: Log) -> None:
    for number in range(3 * log_bookmark.KEPT_POSITIONS):
        log.append(b"old %d" % number)
        log.copytruncate()
        os.utime(log.path.with_name(f"api-out__2025-11-09_{log.rotations:06d}.log"), ns=(number, number))
    log.append(b"old")
    mark = take(str(log.path))
    assert len(mark.rotated) == log_bookmark.KEPT_POSITIONS
    log.append(b"a")
    log.copytruncate()
    log.append(b"b")
    assert since(mark)[0] == ["a", "b"]


def test_a_flush_is_a_loss_that_is_reported(log: Log) -> None:
    log.append(b"old")
    mark = take(str(log.path))
    log.append(b"lost")
    log.flush()
    log.append(b"a")
    lines, reading = since(mark)
    assert (lines, reading.continuity) == (["a"], "broken")
    assert "no copy" in reading.reason


def test_a_copy_that_retention_removed_is_a_loss_that_is_reported(log: Log) -> None:
    log.append(b"old")
    mark = take(str(log.path))
    log.append(b"lost")
    log.copytruncate().unlink()
    assert since(mark)[1].continuity == "broken"


def test_an_empty_log_proves_nothing_once_it_was_written_to(log: Log) -> None:
    log.path.touch()
    # Just made, its time may stay the same when it is changed: files' times move in ticks.
    assert since(take(str(log.path)))[1].continuity == "unproven"
    os.utime(log.path, (1, 1))
    mark = take(str(log.path))
    assert since(mark)[1].continuity == "proven"
    log.append(b"unseen")
    log.flush()
    log.append(b"a")
    lines, reading = since(mark)
    assert (lines, reading.continuity) == (["a"], "unproven")


def test_another_file_with_the_same_inode_is_another_file(log: Log) -> None:
    log.append(b"old")
    mark = take(str(log.path))
    inode = log.path.stat().st_ino
    log.path.write_bytes(b"another file, longer than the first\n")
    assert log.path.stat().st_ino == inode
    lines, reading = since(mark)
    assert (lines, reading.continuity) == (["another file, longer than the first"], "broken")


def test_names_that_belong_to_another_log(log: Log) -> None:
    log.append(b"old")
    mark = take(str(log.path))
    for name in ("api-out-1.log", "api-outer.log", "xapi-out__1.log", "api-error__1.log"):
        log.path.with_name(name).write_bytes(b"another log\n")
    log.path.with_name("api-out__latest.log").symlink_to(log.path)
    log.append(b"a")
    assert since(mark)[0] == ["a"]


# --- lines


def test_a_line_that_is_half_written_is_counted_when_it_is_complete(log: Log) -> None:
    log.append(b"old", b"begun", end=b"")
    mark = take(str(log.path))
    assert since(mark)[0] == []
    log.append(b" and ended", b"half", end=b"")
    lines, reading = since(mark)
    assert (lines, reading.unfinished) == (["begun and ended"], 4)
    log.append(b" whole")
    assert since(reading.bookmark)[0] == ["half whole"]


def test_a_half_line_is_completed_in_the_copy(log: Log) -> None:
    log.append(b"old", b"begun", end=b"")
    mark = take(str(log.path))
    log.append(b" and ended")
    log.copytruncate()
    assert since(mark)[0] == ["begun and ended"]


def test_huge_lines_are_cut_and_counted_once(log: Log) -> None:
    log.append(b"old")
    mark = take(str(log.path))
    huge = b"x" * (3 * LONGEST_UNFINISHED)
    log.append(huge, b"a")
    lengths: list[tuple[int, int]] = []
    read_since(mark, lambda raw, length: lengths.append((len(raw), length)))
    assert lengths == [(LONGEST_LINE, len(huge)), (1, 1)]


def test_a_huge_unfinished_line_is_counted_once(log: Log) -> None:
    log.append(b"old")
    mark = take(str(log.path))
    log.append(b"x" * (LONGEST_UNFINISHED + 1), end=b"")
    lines, reading = since(mark)
    assert len(lines) == 1
    lines, reading = since(reading.bookmark)
    assert lines == []
    log.append(b"y" * LONGEST_UNFINISHED, end=b"")
    lines, reading = since(reading.bookmark)
    assert lines == []
    log.append(b"its end", b"a")
    assert since(reading.bookmark)[0] == ["a"]
    # A bookmark that is taken within such a line passes over its rest.
    log.append(b"x" * (2 * LONGEST_UNFINISHED), end=b"")
    mark = take(str(log.path))
    log.append(b"its end", b"b")
    assert since(mark)[0] == ["b"]


def test_binary_lines_are_lines(log: Log) -> None:
    log.append(b"old")
    mark = take(str(log.path))
    log.append(b"\0\1\2\xff", b"\r", b"")
    found: list[bytes] = []
    read_since(mark, lambda raw, _: found.append(raw))
    assert found == [b"\0\1\2\xff", b"\r", b""]


# --- what cannot be read


def test_a_device_is_no_log() -> None:
    reading = since(take("/dev/null"))[1]
    assert (reading.discarded, reading.continuity) == (True, "proven")


def test_what_is_not_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.log")
    begun = time.monotonic()
    for name in ("pipe.log", ""):
        with pytest.raises(LogUnreadable, match="is not a file") as caught:
            take(str(tmp_path / name))
        assert caught.value.details["reason"] == "not_a_file"
    assert time.monotonic() - begun < 5


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_log_of_somebody_else(log: Log) -> None:
    log.append(b"old")
    log.path.chmod(0)
    with pytest.raises(LogUnreadable, match="cannot be read: Permission denied") as caught:
        take(str(log.path))
    assert caught.value.details["reason"] == "unreadable"


@pytest.mark.parametrize(
    "change",
    [
        {"live": None, "rotated": None},
        {"path": 1},
        {"newest_ns": "1"},
        {"newest_ns": -1},
        {"live": {}},
        {"live": {"device": 1}},
        {"rotated": [1]},
    ],
)
def test_what_is_not_a_bookmark(log: Log, change: dict[str, object]) -> None:
    log.append(b"old")
    good = take(str(log.path)).as_result()
    assert bookmark(good).as_result() == good
    with pytest.raises(RolloutError, match="Not a bookmark") as caught:
        bookmark({**good, **change})
    assert caught.value.details == {"reason": "bad_bookmark"}


# --- any sequence of all that


class AnySequence(RuleBasedStateMachine):
    """Appending, rotating and reading in any order. Losing without a word, and counting twice, are the defects.

    :ivar expected: numbers of the lines that were completed since the bookmark
    :ivar half: number of a line that is half written
    :ivar growing: a copy of the log that is being made
    :ivar flushed: whether something was truncated without a copy since the bookmark
    """

    @initialize(exists=st.booleans(), empty=st.booleans())
    def begin(self, exists: bool, empty: bool) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="log-"))
        self.log = Log(self.folder)
        self.expected: list[int] = []
        self.half: int | None = None
        self.growing: Path | None = None
        self.flushed = False
        if exists:
            self.log.path.touch()
            if not empty:
                self.log.append(self.log.line("before"))
        self.mark = take(str(self.log.path))

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    def may_rotate(self) -> bool:
        """Whether there is a log, and no line is half written, and nothing is being copied."""
        return self.log.path.exists() and self.half is None and self.growing is None

    def may_copy(self) -> bool:
        # pm2-logrotate leaves empty logs alone.
        return self.may_rotate() and self.log.path.stat().st_size > 0

    @rule(count=st.integers(1, 5), width=st.sampled_from([0, 3, 40, 2000]))
    def append(self, count: int, width: int) -> None:
        if self.half is not None:
            self.log.append(b" and its end")
            self.expected.append(self.half)
            self.half = None
        for _ in range(count):
            self.log.append(self.log.line("x" * width))
            self.expected.append(self.log.number)

    @precondition(lambda self: self.half is None)
    @rule()
    def append_half_a_line(self) -> None:
        self.log.append(self.log.line("half"), end=b"")
        self.half = self.log.number

    @precondition(may_rotate)
    @rule()
    def rename(self) -> None:
        self.log.rename()

    @precondition(may_copy)
    @rule(compressed=st.booleans())
    def copytruncate(self, compressed: bool) -> None:
        (self.log.copy_compressed if compressed else self.log.copy)()
        self.log.flush()

    @precondition(may_copy)
    @rule(part=st.floats(0, 1))
    def begin_to_copy(self, part: float) -> None:
        self.growing = self.log.copy()
        os.truncate(self.growing, int(part * self.growing.stat().st_size))

    @precondition(lambda self: self.growing is not None and self.half is None)
    @rule()
    def finish_copying_and_truncate(self) -> None:
        assert self.growing is not None
        self.growing.write_bytes(self.log.path.read_bytes())
        self.log.flush()
        self.growing = None

    @precondition(lambda self: self.growing is not None)
    @rule()
    def give_up_copying(self) -> None:
        self.growing = None

    @precondition(may_rotate)
    @rule()
    def flush(self) -> None:
        self.log.flush()
        self.flushed = True

    @rule()
    def read(self) -> None:
        lines, reading = since(self.mark)
        seen = [int(line.split()[0]) for line in lines]
        assert len(set(seen)) == len(seen), "counted twice"
        assert set(seen) <= set(self.expected), "counted what was counted before"
        if reading.continuity == "proven" or not self.flushed:
            assert sorted(seen) == self.expected, f"lost, and {reading.continuity}"
        if not self.flushed:
            assert reading.continuity != "broken", "a loss where there is none"
        self.mark, self.expected, self.flushed = reading.bookmark, [], False


TestAnySequence = AnySequence.TestCase
# Steps of files take time that varies; the number of examples bounds it.
TestAnySequence.settings = settings(
    max_examples=120,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
