"""What a log says since a bookmark: counted, never copied whole. Memory does not grow with the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.rollout import log_redaction
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.log_bookmark import (
    ATTEMPTS,
    LONGEST_UNFINISHED,
    UNREADABLE_ARCHIVE,
    Bookmark,
    FamilyChanged,
    LogUnreadable,
    Segment,
    advanced,
    bookmark,
    continuation,
    observe,
    take,
)
from ansible.module_utils.rollout.log_patterns import Line, Pattern, classify, parse, trailing_object

CHUNK = 256 * 1024

#: A longer line is judged by its beginning; bytes.
LONGEST_LINE = 16 * 1024

#: Levels and kinds that samples are taken of.
SAMPLED_LEVELS = ("fatal", "error", "warn")
SAMPLED_KINDS = ("fatal", "problem")

#: The same sample is not taken twice; after so many lines of a pattern or level, no other is looked for.
LINES_TRIED = 100

#: Called with a line's first LONGEST_LINE bytes, and its whole length.
Sink = Callable[[bytes, int], None]


class LineSplitter:
    """Cuts a stream into lines, keeping of each no more than LONGEST_LINE bytes.

    :param mid_line: the stream begins within a line that is counted already; its rest is passed over
    :ivar unfinished: bytes since the last newline
    """

    def __init__(self, sink: Sink, *, mid_line: bool = False) -> None:
        self.sink = sink
        self.passing_over = mid_line
        self.unfinished = 0
        self._kept = b""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes, and hand every line that they end to the sink."""
        *ended, rest = chunk.split(b"\n")
        for piece in ended:
            self._add(piece)
            if not self.passing_over:
                self.sink(self._kept, self.unfinished)
            self._kept, self.unfinished, self.passing_over = b"", 0, False
        self._add(rest)

    def _add(self, piece: bytes) -> None:
        self.unfinished += len(piece)
        if len(self._kept) < LONGEST_LINE:
            self._kept += piece[: LONGEST_LINE - len(self._kept)]

    def give_up(self) -> bool:
        """Count an unfinished line that has become too long to be read again; returns whether it was."""
        if self.unfinished <= LONGEST_UNFINISHED:
            return False
        if not self.passing_over:
            self.sink(self._kept, self.unfinished)
        return True


@dataclass(frozen=True)
class Reading:
    """What was done to read a log.

    :ivar bookmark: for the next reading
    :ivar continuity: proven, unproven or broken; see log_bookmark.Continuation
    :ivar size: bytes read, of an archive uncompressed
    :ivar unfinished: bytes of a last line without newline; it is counted when it is complete
    :ivar files: names of the files that were read, in order
    :ivar discarded: the path is a device; there is no log
    """

    bookmark: Bookmark
    continuity: str
    reason: str
    size: int
    unfinished: int
    files: tuple[str, ...]
    discarded: bool = False


def read_since(known: Bookmark, sink: Sink) -> Reading:
    """Hand every complete line since a bookmark to a sink, each once.

    :raises LogUnreadable: the log exists and cannot be read
    """
    for _ in range(ATTEMPTS):
        try:
            family = observe(known.path, known)
        except FamilyChanged:
            continue
        with family:
            try:
                found = continuation(known, family)
            except FamilyChanged:
                continue
            if family.discarded:
                return Reading(known, "proven", "discarded", 0, 0, (), discarded=True)
            continuity, reason = found.continuity, found.reason
            consumed: dict[tuple[int, int], tuple[int, bool]] = {}
            size = unfinished = 0
            files: list[str] = []
            for segment in found.segments:
                read, splitter, complete = _read(segment, sink)
                size += read
                unfinished = splitter.unfinished
                end = segment.start + read
                within_line = splitter.give_up() or splitter.passing_over
                consumed[segment.source.identity] = (
                    (end, True) if within_line else (end - splitter.unfinished, False)
                )
                if not complete:
                    continuity, reason = "broken", f"{segment.source.path.name} is damaged"
                if read:
                    files.append(segment.source.path.name)
            return Reading(
                advanced(family, consumed),
                continuity,
                reason,
                size,
                unfinished,
                tuple(files),
            )
    raise LogUnreadable(
        f"Log {known.path} was rotated {ATTEMPTS} times while it was looked at",
        hint="Look at the configuration of the rotation.",
        details={"reason": "rotating", "path": known.path},
    )


def _read(segment: Segment, sink: Sink) -> tuple[int, LineSplitter, bool]:
    """Read a segment; returns its bytes, its splitter, and whether it could be read.

    A file that is truncated while it is read ends early. That is no loss: the bookmark stays where it ended, and the
    next reading goes on there in the copy.
    """
    splitter = LineSplitter(sink, mid_line=segment.mid_line)
    read = 0
    try:
        for chunk in segment.source.chunks(segment.start, CHUNK):
            read += len(chunk)
            splitter.feed(chunk)
    except UNREADABLE_ARCHIVE:
        return read, splitter, False
    return read, splitter, True


@dataclass(frozen=True)
class Match:
    """The last line of a pattern.

    :ivar line: its number among the lines of this reading of this file
    :ivar time: the line's own UTC time; None when it has none
    """

    path: str
    line: int
    time: str | None


@dataclass
class Tally:
    """Counts of lines.

    :param path: of the log, for the samples
    :param samples_each: samples of each pattern, and of each level's other lines, at most
    :ivar levels: by level, noise left out
    :ivar noise: by pattern
    :ivar found: by pattern, noise left out
    :ivar huge: lines longer than LONGEST_LINE, judged by their beginning
    :ivar binary: lines with a zero byte
    """

    path: str
    patterns: tuple[Pattern, ...]
    samples_each: int = 3
    lines: int = 0
    huge: int = 0
    binary: int = 0
    levels: Counter[str] = field(default_factory=Counter)
    noise: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    last: dict[str, Match] = field(default_factory=dict)
    samples: list[dict[str, Any]] = field(default_factory=list)
    _sampled: Counter[tuple[str, str]] = field(default_factory=Counter)
    _tried: Counter[tuple[str, str]] = field(default_factory=Counter)

    def count(self, raw: bytes, length: int) -> None:
        """Count a line; a :data:`Sink`."""
        self.lines += 1
        self.huge += length > len(raw)
        self.binary += b"\0" in raw
        line = parse(raw)
        pattern = classify(line, self.patterns)
        if pattern is not None and pattern.kind == "noise":
            self.noise[pattern.name] += 1
            return
        self.levels[line.level] += 1
        if pattern is not None:
            self.found[pattern.name] += 1
            self.last[pattern.name] = Match(self.path, self.lines, _time(line))
        if line.level in SAMPLED_LEVELS or (pattern is not None and pattern.kind in SAMPLED_KINDS):
            self._sample(line, pattern)

    def _sample(self, line: Line, pattern: Pattern | None) -> None:
        name = pattern.name if pattern else None
        seen = (name or "", line.level)
        self._tried[seen] += 1
        if self._sampled[seen] >= self.samples_each or self._tried[seen] > LINES_TRIED:
            return
        sample = {
            "pattern": name,
            "level": line.level,
            "text": log_redaction.sample(line.message),
            "fields": log_redaction.fields(trailing_object(line)),
        }
        if any(all(one[key] == value for key, value in sample.items()) for one in self.samples):
            return
        self._sampled[seen] += 1
        self.samples.append({**sample, "path": self.path, "line": self.lines, "time": _time(line)})


def _time(line: Line) -> str | None:
    found = log_redaction.TIMESTAMP.search(line.message)
    return found[1] if found else None


def summary(tallies: Iterable[Tally], kinds: Mapping[str, str]) -> dict[str, Any]:
    """The counts of several logs together, such as both of a service, for a module's result.

    :param kinds: kind by name of pattern
    """
    tallies = list(tallies)
    found = _added(tally.found for tally in tallies)
    return {
        "lines": sum(tally.lines for tally in tallies),
        "huge_lines": sum(tally.huge for tally in tallies),
        "binary_lines": sum(tally.binary for tally in tallies),
        "levels": _added(tally.levels for tally in tallies),
        "noise": _added(tally.noise for tally in tallies),
        "patterns": {
            name: {
                "kind": kinds[name],
                "count": count,
                "last": [vars(tally.last[name]) for tally in tallies if name in tally.last],
            }
            for name, count in found.items()
        },
        "fatal": sorted(name for name in found if kinds[name] == "fatal"),
        "problems": sorted(name for name in found if kinds[name] == "problem"),
        "samples": [sample for tally in tallies for sample in tally.samples],
    }


def _added(counters: Iterator[Counter[str]] | Iterable[Counter[str]]) -> dict[str, int]:
    return dict(sorted(sum(counters, Counter()).items()))


#: From the best to the worst.
CONTINUITIES = ("proven", "unproven", "new", "broken")


def read_services(
    logs: Mapping[str, Any],
    bookmarks: Iterable[Mapping[str, Any]] | None,
    patterns: tuple[Pattern, ...],
    samples_each: int,
) -> dict[str, Any]:
    """Read the logs of services since their bookmarks; a log that several share is read once.

    :param logs: list of paths by service
    :param bookmarks: of an earlier call; None: only note where the logs end
    :returns: services, files and bookmarks, as the module log_window_info returns them
    :raises RolloutError: an argument is not what it has to be, or a log cannot be read
    """
    services = _services_by_path(logs)
    known = {one.path: one for one in map(bookmark, bookmarks or ())}
    tallies: dict[str, Tally] = {}
    files: dict[str, dict[str, Any]] = {}
    after: list[Bookmark] = []
    for path, names in services.items():
        if path not in known:
            after.append(take(path))
            files[path] = {"services": names, "continuity": "new", "reason": "no bookmark: its end was noted"}
            continue
        tallies[path] = Tally(path, patterns, samples_each)
        reading = read_since(known[path], tallies[path].count)
        after.append(reading.bookmark)
        files[path] = {
            "services": names,
            "continuity": reading.continuity,
            "reason": reading.reason,
            "bytes": reading.size,
            "unfinished_bytes": reading.unfinished,
            "read": list(reading.files),
            "discarded": reading.discarded,
        }
    kinds = {pattern.name: pattern.kind for pattern in patterns}
    return {
        "services": {
            name: {
                **summary((tallies[path] for path in paths if path in tallies), kinds),
                "continuity": max(
                    (files[path]["continuity"] for path in paths), key=CONTINUITIES.index, default="no_log"
                ),
            }
            for name, paths in logs.items()
        }
        if bookmarks is not None
        else {},
        "files": files,
        "bookmarks": [one.as_result() for one in after],
    }


def _services_by_path(logs: Mapping[str, Any]) -> dict[str, list[str]]:
    services: dict[str, list[str]] = {}
    for name, paths in logs.items():
        if not isinstance(paths, list):
            raise _bad_logs(f"logs.{name} is {type(paths).__name__}, not a list of paths")
        for path in paths:
            if not isinstance(path, str) or not path.startswith("/"):
                raise _bad_logs(f"logs.{name} holds {path!r}, which is not an absolute path")
            services.setdefault(path, []).append(name)
    return services


def _bad_logs(problem: str) -> RolloutError:
    return RolloutError(
        problem,
        hint="Name each service's files, such as api: [/srv/app/logs/api-out.log]; pm2_info returns them.",
        details={"reason": "bad_logs"},
    )
