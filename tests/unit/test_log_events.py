"""The order of what happened: within a file, across both files of a service, with codes and without anything else."""

from pathlib import Path

import pytest
from ansible.module_utils.rollout.log_bookmark import take
from ansible.module_utils.rollout.log_events import KEPT, Event, EventReading, read_events, seconds
from ansible.module_utils.rollout.log_patterns import compile_patterns

NAMES = ("connected", "connection_closed")
INFO, WARN = "\x1b[32minfo\x1b[39m: ", "\x1b[33mwarn\x1b[39m: "


def line(second: int | None, message: str) -> str:
    level = WARN if "closed" in message else INFO
    code = '"statusCode":428,' if "closed" in message else ""
    stamp = "" if second is None else f' {{{code}"timestamp":"2025-11-09T18:30:{second:02}.500Z"}}'
    return f"2025-11-09 21:30:00: {level}{message}{stamp}\n"


OPEN, CLOSED = "✅ WhatsApp connected for company 1", "Connection closed for company 1"


class Logs:
    """Both files of a service, read from their ends on."""

    def __init__(self, folder: Path) -> None:
        self.out, self.err = folder / "out.log", folder / "error.log"
        for file in (self.out, self.err):
            file.write_text("old\n")
        self.bookmarks = [take(str(file)).as_result() for file in (self.out, self.err)]

    def since(self) -> EventReading:
        return read_events([str(self.out), str(self.err)], self.bookmarks, compile_patterns(), NAMES)


@pytest.fixture
def logs(tmp_path: Path) -> Logs:
    return Logs(tmp_path)


def add(file: Path, *lines: str) -> None:
    with file.open("a") as opened:
        opened.writelines(lines)


def test_events_are_in_order_with_time_and_code(logs: Logs) -> None:
    add(logs.out, line(1, CLOSED), line(2, "Webhook received request"), line(3, OPEN), line(None, CLOSED))
    found = logs.since()
    begin = seconds("2025-11-09T18:30:00Z")
    assert begin is not None
    assert found.events == (
        Event("connection_closed", begin + 1.5, 428),
        Event("connected", begin + 3.5),
        Event("connection_closed"),
    )
    assert found.continuity == "proven"


def test_both_files_are_merged_by_time(logs: Logs) -> None:
    add(logs.out, line(1, OPEN), line(5, OPEN))
    # A line without a time stays behind the one before it.
    add(logs.err, line(3, CLOSED), line(None, CLOSED))
    names = [event.name for event in logs.since().events]
    assert names == ["connected", "connection_closed", "connection_closed", "connected"]


def test_a_clock_that_goes_back_does_not_change_a_files_order(logs: Logs) -> None:
    add(logs.out, line(5, CLOSED), line(1, OPEN))
    assert [event.name for event in logs.since().events] == ["connection_closed", "connected"]


def test_only_the_newest_are_kept(logs: Logs) -> None:
    add(logs.out, *[line(1, CLOSED)] * (KEPT + 5), line(2, OPEN))
    events = logs.since().events
    assert (len(events), events[-1].name) == (KEPT, "connected")


def test_the_next_reading_goes_on(logs: Logs) -> None:
    add(logs.out, line(1, CLOSED))
    logs.bookmarks = [one.as_result() for one in logs.since().bookmarks]
    assert logs.since().events == ()
    logs.out.rename(logs.out.with_name("out.log.1"))
    add(logs.out.with_name("out.log.1"), line(2, CLOSED))
    add(logs.out, line(3, OPEN))
    found = logs.since()
    assert [event.name for event in found.events] == ["connection_closed", "connected"]
    assert found.continuity == "unproven"


def test_without_a_bookmark_only_the_end_is_noted(logs: Logs) -> None:
    add(logs.out, line(1, CLOSED))
    found = read_events([str(logs.out)], [], compile_patterns(), NAMES)
    assert (found.events, found.continuity) == ((), "new")
    assert [one.path for one in found.bookmarks] == [str(logs.out)]
    assert read_events([], [], compile_patterns(), NAMES).continuity == "no_log"


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        ("1970-01-02T00:00:00Z", 86400.0),
        ("1970-01-01T00:00:01.25Z", 1.25),
        ("2025-99-09T18:30:00Z", None),
    ],
)
def test_a_time_is_utc(stamp: str, expected: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Moscow")
    assert seconds(stamp) == expected
