"""Where a log was read up to, and where it goes on after a rotation.

A log is not one file but a family: the file at the path, and what rotation left beside it. A bookmark holds a position
in each file of the family that may still matter, by device and inode, with a hash of the bytes just before it: only
when these are still there does the file go on from the position. So

* appended: same inode, same bytes before the position;
* renamed (``mv``, logrotate): the old inode under another name goes on, then the new file from its beginning;
* copied and truncated (pm2-logrotate, ``copytruncate``): the copy ``name__DATE.log`` has the bytes before the position;
  it goes on there, then the file from its beginning;
* truncated (``pm2 flush``): nobody has these bytes any more. What came since the bookmark and was truncated is lost.

A position is always the beginning of a line: a line that was half written is read again, whole, the next time.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import os
import re
import stat
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.rollout.errors import RolloutError

#: Bytes before the position that are hashed.
TAIL = 16 * 1024

#: Bytes at the beginning that are hashed. Few, because a copy that was given up may be short.
HEAD = 64

#: Looked for the beginning of the last line at most so far back, bytes; a longer unfinished line is given up.
LONGEST_UNFINISHED = 1024 * 1024

#: A file's time moves in ticks of up to 10 ms: one that is unchanged since proves nothing about changes within a tick.
CLOCK_TICK_NS = 20_000_000

#: Rotated files that a bookmark holds positions in: the newest. Older ones are told from new ones by their time.
KEPT_POSITIONS = 8

#: A rotation between looking and reading makes it necessary to look again; more than this many in a row do not happen.
ATTEMPTS = 5

UNREADABLE_ARCHIVE = (EOFError, gzip.BadGzipFile, zlib.error)


class LogUnreadable(RolloutError):
    """A log cannot be read: no permission, or not a file."""


class FamilyChanged(Exception):
    """The log was rotated while it was looked at. Look again."""


@dataclass(frozen=True)
class Position:
    """A place in one file.

    :ivar offset: where the first line that is not yet counted begins, bytes
    :ivar size: up to where it was seen; ``offset`` to ``size`` is an unfinished line
    :ivar tail_length: how many bytes before ``size`` are hashed; 0 only for an empty or a compressed file
    :ivar head_length: how many bytes at the file's beginning are hashed; copies are known by them
    :ivar mid_line: ``offset`` is within a line that is counted already
    """

    device: int
    inode: int
    offset: int
    size: int
    mtime_ns: int
    tail_length: int
    tail_hash: str
    head_length: int
    head_hash: str
    mid_line: bool = False

    @property
    def identity(self) -> tuple[int, int]:
        return self.device, self.inode


@dataclass(frozen=True)
class Bookmark:
    """Where a log was read up to.

    :ivar live: position in the file at ``path``; None when there was none
    :ivar rotated: positions in the newest rotated files
    :ivar copies: rotated files that were copies of the live one, which was not truncated yet: when it is, either they
        go on where it ended, or rotation was given up, and they hold nothing new
    :ivar newest_ns: last change of any file of the family, nanoseconds since the epoch
    :ivar taken_ns: when it was taken, nanoseconds since the epoch
    """

    path: str
    live: Position | None
    rotated: tuple[Position, ...] = ()
    copies: tuple[Position, ...] = ()
    newest_ns: int = 0
    taken_ns: int = 0

    @property
    def positions(self) -> tuple[Position, ...]:
        """All positions."""
        return (*self.rotated, *self.copies, *([self.live] if self.live else ()))

    def as_result(self) -> dict[str, Any]:
        """JSON-compatible; :func:`bookmark` reads it back."""
        return asdict(self)


def bookmark(value: Mapping[str, Any]) -> Bookmark:
    """Read back what :meth:`Bookmark.as_result` returned.

    :raises RolloutError: it is not a bookmark
    """
    try:
        found = Bookmark(
            path=value["path"],
            live=None if value["live"] is None else Position(**value["live"]),
            rotated=tuple(Position(**position) for position in value["rotated"]),
            copies=tuple(Position(**position) for position in value["copies"]),
            newest_ns=value["newest_ns"],
            taken_ns=value["taken_ns"],
        )
        numbers = [found.newest_ns, found.taken_ns]
        for position in found.positions:
            numbers += [position.offset, position.size, position.tail_length, position.size - position.offset]
            numbers.append(position.head_length)
            if not isinstance(position.tail_hash, str) or not isinstance(position.head_hash, str):
                raise TypeError
        if not isinstance(found.path, str) or any(number < 0 for number in numbers):
            raise ValueError
    except (KeyError, TypeError, ValueError) as error:
        raise RolloutError(
            f"Not a bookmark: {type(error).__name__}",
            hint="Pass the values that log_window_info returned as 'bookmarks', unchanged.",
            details={"reason": "bad_bookmark"},
        ) from None
    return found


class Source:
    """One file of a family, held open: a rename does not matter to it.

    :ivar path: its name when it was opened
    :ivar size: bytes when it was opened; of an archive, compressed
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # O_NONBLOCK: a pipe would otherwise block until somebody writes.
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        self.status = os.fstat(self._descriptor)
        self.archive = path.suffix == ".gz"

    @property
    def identity(self) -> tuple[int, int]:
        return self.status.st_dev, self.status.st_ino

    @property
    def size(self) -> int:
        return self.status.st_size

    @property
    def mtime_ns(self) -> int:
        return self.status.st_mtime_ns

    @property
    def is_regular(self) -> bool:
        return stat.S_ISREG(self.status.st_mode)

    def close(self) -> None:
        os.close(self._descriptor)

    @functools.cached_property
    def tail(self) -> bytes:
        """The bytes before the size when it was opened. Kept, because a truncation would make them another's."""
        length = 0 if self.archive else min(TAIL, self.size)
        return self.at(self.size - length, length) if length else b""

    @functools.cached_property
    def head(self) -> bytes:
        """The bytes at its beginning; kept for the same reason."""
        return b"" if self.archive else self.at(0, min(HEAD, self.size))

    def shrank(self) -> bool:
        """Whether it was truncated since it was opened."""
        return os.fstat(self._descriptor).st_size < self.size

    def at(self, offset: int, length: int) -> bytes:
        """The bytes at an offset of the text, fewer at its end.

        :raises EOFError, gzip.BadGzipFile, zlib.error: an archive is incomplete or damaged
        """
        if not self.archive:
            return os.pread(self._descriptor, length, offset)
        with self._unpacked(offset) as text:
            return text.read(length)

    def chunks(self, offset: int, chunk: int) -> Iterator[bytes]:
        """The text from an offset up to the size when it was opened.

        :param chunk: bytes at a time, at most
        :raises EOFError, gzip.BadGzipFile, zlib.error: an archive is incomplete or damaged
        """
        if self.archive:
            with self._unpacked(offset) as text:
                while piece := text.read(chunk):
                    yield piece
            return
        while offset < self.size and (piece := self.at(offset, min(chunk, self.size - offset))):
            offset += len(piece)
            yield piece

    @contextlib.contextmanager
    def _unpacked(self, offset: int) -> Iterator[gzip.GzipFile]:
        with (
            open(self._descriptor, "rb", closefd=False) as packed,
            gzip.GzipFile(fileobj=packed) as text,
        ):
            packed.seek(0)
            text.seek(offset)
            yield text


@dataclass(frozen=True)
class Segment:
    """A part of the log to read: one file from an offset to its end.

    :ivar mid_line: the text begins within a line that is counted already
    """

    source: Source
    start: int
    mid_line: bool = False


@dataclass(frozen=True)
class Continuation:
    """How a log goes on from a bookmark.

    :ivar continuity: ``proven``, nothing but appending happened; ``unproven``, a file was read from its beginning, or
        continued in a copy, so that something may have been truncated unseen; ``broken``, something was truncated that
        had not been read, and no copy of it was found
    :ivar reason: for people
    """

    segments: tuple[Segment, ...]
    continuity: str
    reason: str


@dataclass
class Family:
    """The files of a log as they are now, open; a context manager that closes them.

    :ivar rotated: by last change, oldest first
    :ivar newest_ns: last change of any of them
    :ivar opened_ns: when it was looked at, nanoseconds since the epoch
    """

    path: str
    live: Source | None
    rotated: list[Source]
    newest_ns: int
    opened_ns: int
    discarded: bool = False

    def __enter__(self) -> Family:
        return self

    def __exit__(self, *_: object) -> None:
        for source in self.sources:
            source.close()

    @property
    def sources(self) -> list[Source]:
        """The rotated files, then the live one."""
        return [*self.rotated, *([self.live] if self.live else [])]

    def duplicates_live(self, source: Source) -> bool:
        """Whether a rotated file is a copy of the live one that has not been truncated yet.

        Its text is read where it is, in the live file; and where the copy is still growing, it has no position.
        """
        return source.size == 0 or (self.live is not None and _is_copy(source, self.live))


def _is_copy(source: Source, other: Source) -> bool:
    """Whether a file is, as far as it goes, a copy of another; an archive that cannot be read counts as one."""
    if other.size == 0 or (source.archive and other.archive):
        return False
    if other.archive:
        return _is_within_archive(source, other)
    if source.archive:
        try:
            head = source.at(0, TAIL)
        except UNREADABLE_ARCHIVE:
            # Still being written, or damaged: either way there is no position in it.
            return True
        return head == other.at(0, len(head))
    if source.size > other.size:
        return False
    length = min(TAIL, source.size)
    return all(source.at(offset, length) == other.at(offset, length) for offset in (0, source.size - length))


def _is_within_archive(source: Source, archive: Source) -> bool:
    """Whether an archive begins with all that a plain file has."""
    length = min(TAIL, source.size)
    try:
        return all(
            source.at(offset, length) == archive.at(offset, length) for offset in (0, source.size - length)
        )
    except UNREADABLE_ARCHIVE:
        return False


def observe(path: str, known: Bookmark | None = None) -> Family:
    """Open a log and what rotation left of it.

    :param known: rotated files that are older than it, and have no position in it, are left out
    :raises LogUnreadable: the log exists and cannot be read
    """
    name = Path(path)
    opened_ns = time.time_ns()
    # First: what is truncated after this was copied before, so that the list below shows the copy.
    live = _open(name)
    if live is not None and not live.is_regular:
        live.close()
        if not stat.S_ISCHR(live.status.st_mode):
            raise LogUnreadable(
                f"Log {path} is not a file",
                hint="Name the file that PM2 writes.",
                details={"reason": "not_a_file"},
            )
        return Family(path, None, [], 0, opened_ns, discarded=True)
    listed = _rotated(name)
    newest = max([status.st_mtime_ns for status, _ in listed] + ([live.mtime_ns] if live else []), default=0)
    rotated: list[Source] = []
    for status, sibling in _relevant(listed, known):
        source = _open(sibling)
        if source is None or source.identity != (status.st_dev, status.st_ino):
            # Renamed or removed since it was listed.
            for opened in (source, live, *rotated):
                if opened is not None:
                    opened.close()
            raise FamilyChanged
        # Under its new name the live file is in the list, when it was renamed since it was opened.
        if live is not None and source.identity == live.identity:
            for opened in (source, live, *rotated):
                opened.close()
            raise FamilyChanged
        rotated.append(source)
    return Family(path, live, rotated, newest, opened_ns)


def _open(path: Path) -> Source | None:
    try:
        return Source(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LogUnreadable(
            f"Log {path} cannot be read: {error.strerror}",
            hint="Become the user that PM2 runs as (become_user).",
            details={"reason": "unreadable", "path": str(path)},
        ) from None


def _rotated(path: Path) -> list[tuple[os.stat_result, Path]]:
    """Rotated files beside a log, by last change, oldest first.

    Named by pm2-logrotate (``api-out__2025-11-09_00-00-00.log``), or by logrotate (``api-out.log.1``,
    ``api-out.log-20251109``); each may be compressed.
    """
    shape = re.compile(
        rf"{re.escape(path.stem)}__.+{re.escape(path.suffix)}(?:\.gz)?|{re.escape(path.name)}[.-].+",
        re.DOTALL,
    )
    found = []
    try:
        names = os.listdir(path.parent)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise LogUnreadable(
            f"The folder of log {path} cannot be listed: {error.strerror}",
            hint="Become the user that PM2 runs as (become_user).",
            details={"reason": "unreadable", "path": str(path)},
        ) from None
    for name in names:
        if shape.fullmatch(name):
            try:
                # Not through a link: it may lead to the live file.
                status = os.lstat(path.parent / name)
            except FileNotFoundError:
                continue  # removed by retention since
            if stat.S_ISREG(status.st_mode):
                found.append((status, path.parent / name))
    return sorted(found, key=lambda one: (one[0].st_mtime_ns, one[1].name))


def _relevant(
    listed: list[tuple[os.stat_result, Path]], known: Bookmark | None
) -> list[tuple[os.stat_result, Path]]:
    if known is None:
        return listed[-KEPT_POSITIONS:]
    identities = {position.identity for position in known.positions}
    return [
        (status, path)
        for status, path in listed
        if status.st_mtime_ns >= known.newest_ns or (status.st_dev, status.st_ino) in identities
    ]


def take(path: str) -> Bookmark:
    """A bookmark at the end of a log, which need not exist.

    :raises LogUnreadable: it exists and cannot be read
    """
    for _ in range(ATTEMPTS):
        try:
            with observe(path) as family:
                return advanced(family, {})
        except FamilyChanged:
            continue
    raise _restless(path)


def _restless(path: str) -> LogUnreadable:
    return LogUnreadable(
        f"Log {path} was rotated {ATTEMPTS} times while it was looked at",
        hint="Look at the configuration of the rotation.",
        details={"reason": "rotating", "path": path},
    )


def advanced(family: Family, consumed: Mapping[tuple[int, int], tuple[int, bool]]) -> Bookmark:
    """The bookmark after reading.

    :param consumed: by identity, the offset of the first line that was not counted, and whether it is within a line;
        a file that was not read is taken as read to the beginning of its last, unfinished line
    :raises FamilyChanged: the log was truncated before it was read
    """
    rotated, copies = [], []
    for source in family.rotated:
        if source.identity in consumed or not family.duplicates_live(source):
            rotated.append(_position(source, consumed.get(source.identity)))
        elif source.size:
            copies.append(_position(source, None))
    live = None if family.live is None else _position(family.live, consumed.get(family.live.identity))
    if not consumed and family.live is not None and family.live.shrank():
        raise FamilyChanged
    return Bookmark(
        path=family.path,
        live=live,
        rotated=tuple(rotated[-KEPT_POSITIONS:]),
        copies=tuple(copies),
        newest_ns=family.newest_ns,
        taken_ns=family.opened_ns,
    )


def _position(source: Source, consumed: tuple[int, bool] | None) -> Position:
    device, inode = source.identity
    if source.archive:
        # Nobody appends to an archive: its identity and size say all.
        return Position(device, inode, source.size, source.size, source.mtime_ns, 0, "", 0, "")
    offset, mid_line = consumed or _last_line(source)
    return Position(
        device=device,
        inode=inode,
        offset=offset,
        size=source.size,
        mtime_ns=source.mtime_ns,
        tail_length=len(source.tail),
        tail_hash=_hash(source.tail),
        head_length=len(source.head),
        head_hash=_hash(source.head),
        mid_line=mid_line,
    )


def _last_line(source: Source) -> tuple[int, bool]:
    """Where the last, unfinished line begins: the size when there is none."""
    end = source.size
    while end > max(0, source.size - LONGEST_UNFINISHED):
        start = max(0, end - 64 * 1024)
        newline = source.at(start, end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1, False
        end = start
    return (0, False) if end == 0 else (source.size, True)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _goes_on(source: Source, position: Position) -> bool:
    """Whether a file has, before the position, what it had there."""
    try:
        tail = source.at(position.size - position.tail_length, position.tail_length)
    except UNREADABLE_ARCHIVE:
        return False
    return len(tail) == position.tail_length and _hash(tail) == position.tail_hash


def continuation(known: Bookmark, family: Family) -> Continuation:
    """Find what of a family came since a bookmark.

    :raises FamilyChanged: the log was truncated meanwhile
    """
    positions = {position.identity: position for position in known.rotated}
    if known.live is not None:
        positions[known.live.identity] = known.live
    segments: list[Segment] = []
    new: list[Source] = []
    followed: Source | None = None
    for source in family.sources:
        position = positions.get(source.identity)
        if position is None or not _same_file(source, position):
            new.append(source)
            continue
        if known.live is not None and position.identity == known.live.identity:
            followed = source
        if not source.archive:
            segments.append(Segment(source, position.offset, position.mid_line))
    new = _compressed_since(known, family, new, segments)
    found = _place(known, family, followed, new, segments)
    _look_at_tails(family)
    if family.live is not None and family.live.shrank():
        raise FamilyChanged
    return found


def _look_at_tails(family: Family) -> None:
    """Keep the ends of all files as they are now, before it is checked that none was truncated."""
    for source in family.sources:
        _ = source.tail, source.head


def _compressed_since(
    known: Bookmark, family: Family, new: list[Source], segments: list[Segment]
) -> list[Source]:
    """Take the files that are a known rotated one, compressed since, out of the new ones: they are counted already."""
    here = {source.identity for source in family.sources}
    gone = [one for one in known.rotated if one.identity not in here and one.tail_length]
    remaining = []
    for source in new:
        position = next((one for one in gone if source.archive and _goes_on(source, one)), None)
        if position is None:
            remaining.append(source)
        else:
            segments.append(Segment(source, position.offset, position.mid_line))
    return remaining


def _is_read_elsewhere(source: Source, family: Family, new: list[Source]) -> bool:
    """Whether a new rotated file has nothing that another file does not have: rotation copied, and was given up."""
    if family.duplicates_live(source):
        return True
    return any(
        other is not source
        and _is_copy(source, other)
        and (other not in new or _has_more(other, source, family))
        for other in family.rotated
    )


def _has_more(other: Source, source: Source, family: Family) -> bool:
    """Which of two files with the same text is read: the longer one; of equal ones the archive, or the newer."""
    if other.archive:
        return True  # it begins with all that the plain file has
    if source.archive:
        return not _is_within_archive(other, source)
    order = family.rotated.index
    return (other.size, order(other)) > (source.size, order(source))


def _may_begin_like(source: Source, position: Position) -> bool:
    """Whether a file begins with what was counted already: a copy that was given up before it reached the position."""
    try:
        head = source.at(0, position.head_length)
    except UNREADABLE_ARCHIVE:
        return True
    return len(head) < position.head_length or _hash(head) == position.head_hash


def _same_file(source: Source, position: Position) -> bool:
    if source.archive:
        return source.size == position.size
    return source.size >= position.size and _goes_on(source, position)


def _place(
    known: Bookmark, family: Family, followed: Source | None, new: list[Source], segments: list[Segment]
) -> Continuation:
    """Decide which of the new files are read, and what that proves."""
    live = known.live
    rotated = [source for source in new if source is not family.live]
    # Anything that appeared may have been written to and truncated since; also what is empty now.
    copies = {position.identity: position for position in known.copies}
    appeared = [
        source
        for source in rotated
        if not (source.identity in copies and _same_file(source, copies[source.identity]))
    ]
    from_start = [source for source in appeared if not _is_read_elsewhere(source, family, new)]
    if family.live is not None and family.live in new:
        appeared.append(family.live)
    copy: Source | None = None
    if live is None:
        continuity, reason = "proven", "there was no file"
    elif followed is not None and live.size > 0:
        continuity, reason = "proven", "appended" if followed is family.live else "renamed"
        if followed is family.live:
            # It has all that came since; what is beside it was compressed or copied there.
            appeared, from_start = [], []
    elif live.size == 0:
        untouched = (
            followed is not None
            and (followed.size, followed.mtime_ns) == (0, live.mtime_ns)
            and live.mtime_ns < known.taken_ns - CLOCK_TICK_NS
        )
        continuity, reason = ("proven", "empty as before") if untouched else ("unproven", "was empty")
    else:
        # The last: an earlier one is of a rotation that was given up before it truncated.
        copy = next((source for source in reversed(rotated) if _goes_on(source, live)), None)
        if copy is None:
            from_start = [one for one in from_start if not _may_begin_like(one, live)]
            continuity, reason = "broken", "truncated or removed, and no copy goes on where it was read up to"
        else:
            segments.append(Segment(copy, live.offset, live.mid_line))
            from_start = [one for one in from_start if rotated.index(one) > rotated.index(copy)]
            continuity, reason = "unproven", f"rotated by copying to {copy.path.name}"
    if family.live is not None and family.live in new:
        from_start.append(family.live)
    segments += [Segment(source, 0) for source in from_start if source.size]
    if continuity == "proven" and appeared:
        continuity, reason = "unproven", f"{reason}, and there is a new file"
    order = {source.identity: number for number, source in enumerate(family.sources)}
    return Continuation(
        tuple(sorted(segments, key=lambda segment: order[segment.source.identity])), continuity, reason
    )
