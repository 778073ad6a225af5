"""What happened to a service, in order, as its logs tell it since a bookmark. Memory does not grow with the logs.

Counts (log_window) do not say whether a connection came before or after it was lost. Here the order is kept, and of
each line nothing but which pattern it is, its time, and a disconnect code.
"""

from __future__ import annotations

import calendar
import heapq
import time
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.rollout import log_redaction
from ansible.module_utils.rollout.log_bookmark import Bookmark, bookmark, take
from ansible.module_utils.rollout.log_patterns import Pattern, classify, parse, trailing_object
from ansible.module_utils.rollout.log_window import CONTINUITIES, read_since

#: The newest events of a file that are kept: a service that reconnects for ever writes six lines a time.
KEPT = 1000


@dataclass(frozen=True)
class Event:
    """A line that is of one of the patterns asked for.

    :ivar name: of the pattern
    :ivar at: the line's own time, seconds since 1970; None when it has none
    :ivar code: its ``statusCode``, where it has one
    """

    name: str
    at: float | None = None
    code: int | None = None


@dataclass(frozen=True)
class EventReading:
    """The events of a service's logs.

    :ivar events: in order
    :ivar continuity: the worst of the files; see log_window.CONTINUITIES. ``no_log`` without any file
    :ivar bookmarks: for the next reading
    """

    events: tuple[Event, ...]
    continuity: str
    bookmarks: tuple[Bookmark, ...]


def read_events(
    paths: Sequence[str],
    bookmarks: Iterable[Mapping[str, Any]],
    patterns: tuple[Pattern, ...],
    names: Collection[str],
) -> EventReading:
    """Read what happened since the bookmarks; of a log without one, only its end is noted.

    The files of a service are merged by the lines' own times; a line without one stays behind the line before it.

    :param names: of the patterns whose lines are events
    :raises RolloutError: a bookmark is not one, or a log cannot be read
    """
    known = {one.path: one for one in map(bookmark, bookmarks)}
    found: list[deque[tuple[float, Event]]] = []
    after: list[Bookmark] = []
    continuities = []
    for path in dict.fromkeys(paths):
        if path not in known:
            after.append(take(path))
            continuities.append("new")
            continue
        collector = _Collector(patterns, names)
        reading = read_since(known[path], collector.take)
        found.append(collector.kept)
        after.append(reading.bookmark)
        continuities.append(reading.continuity)
    merged = heapq.merge(*found, key=lambda entry: entry[0])
    return EventReading(
        tuple(event for _, event in merged),
        max(continuities, key=CONTINUITIES.index, default="no_log"),
        tuple(after),
    )


class _Collector:
    """Keeps the events of one file with a time to merge by.

    :ivar kept: the newest, each with the latest time that was seen up to it: a file's own order is never changed
    """

    def __init__(self, patterns: tuple[Pattern, ...], names: Collection[str]) -> None:
        self.patterns = patterns
        self.names = names
        self.kept: deque[tuple[float, Event]] = deque(maxlen=KEPT)
        self._latest = 0.0

    def take(self, raw: bytes, _length: int) -> None:
        """Take a line; a log_window.Sink."""
        line = parse(raw)
        pattern = classify(line, self.patterns)
        if pattern is None or pattern.name not in self.names:
            return
        stamp = log_redaction.TIMESTAMP.search(line.message)
        at = seconds(stamp[1]) if stamp else None
        self._latest = max(self._latest, at or 0.0)
        code = log_redaction.fields(trailing_object(line)).get("statusCode")
        self.kept.append((self._latest, Event(pattern.name, at, int(code) if code else None)))


def seconds(stamp: str) -> float | None:
    """A line's UTC time as seconds since 1970; None when there is no such time.

    :param stamp: as ``2025-11-09T18:30:00.000Z``
    """
    whole, _, fraction = stamp.removesuffix("Z").partition(".")
    try:
        return calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + float(f"0.{fraction or 0}")
    except ValueError:
        return None
