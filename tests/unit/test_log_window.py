"""Counting what a window of a log holds: both files of a service, noise apart, samples, bounded memory."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.log_patterns import compile_patterns
from ansible.module_utils.rollout.log_window import LONGEST_LINE, LineSplitter, read_services
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
PATTERNS = compile_patterns()

INFO, WARN, ERROR = ("\x1b[32minfo\x1b[39m: ", "\x1b[33mwarn\x1b[39m: ", "\x1b[31merror\x1b[39m: ")


class Service:
    """The logs of one service, and reading them."""

    def __init__(self, folder: Path) -> None:
        self.out, self.err = folder / "baileys-out.log", folder / "baileys-error.log"
        self.logs: dict[str, Any] = {"baileys": [str(self.out), str(self.err)]}
        self.out.write_text("old\n")
        self.err.write_text("old\n")
        self.bookmarks = self.read(None)["bookmarks"]

    def read(self, bookmarks: Any, samples: int = 3) -> dict[str, Any]:
        return read_services(self.logs, bookmarks, PATTERNS, samples)

    def write(self, *lines: str, path: Path | None = None) -> None:
        with (path or self.out).open("a") as file:
            file.writelines(line + "\n" for line in lines)

    def since(self, **arguments: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.read(self.bookmarks, **arguments)["services"]["baileys"]
        return found


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


def test_the_first_call_only_notes_the_ends(service: Service) -> None:
    found = service.read(None)
    assert found["services"] == {}
    assert {file["continuity"] for file in found["files"].values()} == {"new"}
    assert [mark["path"] for mark in found["bookmarks"]] == service.logs["baileys"]


def test_nothing_is_counted_where_nothing_came(service: Service) -> None:
    found = service.since()
    assert (found["lines"], found["levels"], found["patterns"], found["continuity"]) == (0, {}, {}, "proven")
    assert (found["fatal"], found["problems"], found["samples"]) == ([], [], [])


def test_both_files_are_counted_by_the_line_and_not_by_the_file(service: Service) -> None:
    service.write(ERROR + "Processing error: x", INFO + "fine")
    service.write("info: on standard error", "Closing stale open session for new", path=service.err)
    found = service.since()
    assert found["lines"] == 4
    assert found["levels"] == {"error": 1, "info": 2}
    assert found["noise"] == {"stale_session": 1}
    assert found["problems"] == ["processing_error"]


def test_noise_is_counted_apart_even_with_the_level_of_errors(service: Service) -> None:
    service.write('{"level":50,"err":{"type":"PreKeyError","message":"Invalid PreKey ID"},"msg":"failed"}')
    found = service.since()
    assert (found["lines"], found["levels"], found["noise"]) == (1, {}, {"invalid_prekey": 1})
    assert found["samples"] == []
    service.write('{"level":50,"err":{"type":"PreKeyError","message":"another"},"msg":"failed"}')
    assert service.since()["levels"] == {"error": 1}


def test_what_came_last_is_told(service: Service) -> None:
    """Closed and connected again is not the same as connected and closed."""
    closed = (
        WARN + 'Connection closed for company 1 {"statusCode":428,"timestamp":"2025-11-09T18:30:00.000Z"}'
    )
    service.write(closed, INFO + "✅ WhatsApp connected for company 1")
    patterns = service.since()["patterns"]
    (closed_last,), (connected_last,) = patterns["connection_closed"]["last"], patterns["connected"]["last"]
    assert closed_last == {"path": str(service.out), "line": 1, "time": "2025-11-09T18:30:00.000Z"}
    assert connected_last == {"path": str(service.out), "line": 2, "time": None}
    assert (patterns["connected"]["kind"], patterns["connected"]["count"]) == ("sign", 1)


def test_samples_are_few_different_and_redacted(service: Service) -> None:
    service.write(*[ERROR + f'🤖 Bot response to 7000000{n:04} (error): "Sorry {n}"' for n in range(50)])
    service.write(*[ERROR + f"number {word}" for word in ("one", "two", "three", "four", "five")])
    service.write(WARN + 'Connection closed for company 1 {"statusCode":428,"user":"70000000001"}')
    service.write(INFO + "information is no sample", "    at stack (/srv/app.js:1:1)")
    found = service.since()
    assert [(one["pattern"], one["text"]) for one in found["samples"]] == [
        ("reply_failed", 'Bot response to [number] (error): "[text]"'),
        (None, "number one"),
        (None, "number two"),
        (None, "number three"),
        ("connection_closed", "Connection closed for company 1"),
    ]
    assert found["samples"][-1]["fields"] == {"statusCode": "428"}
    assert found["patterns"]["reply_failed"]["count"] == 50
    assert service.since(samples=0)["samples"] == []


def test_private_keys_are_never_copied(service: Service) -> None:
    """libsignal prints a session over many lines; winston prints one as the object of an error."""
    secret = "mKx3Zq7LwPz1VdT9sYb2Rf5uHj8Gc0Na"
    service.write(
        "Closing session: SessionEntry {",
        "  _chains: {",
        f"    privKey: <Buffer 08 {secret}>,",
        f"error:   rootKey: {secret}",
        "}",
        ERROR + f'Closing session: SessionEntry {{ privKey: "{secret}" }}',
        ERROR + f'Failed to save creds {{"noiseKey":{{"private":"{secret}"}}}}',
        ERROR + f"Error: bad key {secret}",
        f'{{"level":50,"err":{{"type":"Error","message":"{secret}"}},"privKey":"{secret}","msg":"x"}}',
        path=service.err,
    )
    found = service.read(service.bookmarks)
    assert found["services"]["baileys"]["noise"] == {"session_dump": 2}
    assert found["services"]["baileys"]["samples"]
    assert secret not in repr(found) and secret in service.err.read_text()


def test_huge_and_binary_lines_are_counted_as_such(service: Service) -> None:
    service.write(ERROR + "x" * (2 * LONGEST_LINE), "a\0b", "short")
    found = service.since()
    assert (found["lines"], found["huge_lines"], found["binary_lines"]) == (3, 1, 1)
    assert found["levels"] == {"error": 1, "none": 2}


def test_a_file_that_services_share_is_read_once_and_told_to_each(service: Service) -> None:
    service.logs = {"a": [str(service.out)], "b": [str(service.out), "/dev/null"], "silent": []}
    service.bookmarks = service.read(None)["bookmarks"]
    service.write(ERROR + "x")
    found = service.read(service.bookmarks)
    assert found["services"]["a"]["levels"] == found["services"]["b"]["levels"] == {"error": 1}
    assert found["files"][str(service.out)]["services"] == ["a", "b"]
    assert found["files"]["/dev/null"]["discarded"] is True
    assert [found["services"][name]["continuity"] for name in ("a", "silent")] == ["proven", "no_log"]


def test_a_log_without_a_bookmark_is_told_and_not_read(service: Service) -> None:
    service.bookmarks = service.bookmarks[:1]
    service.write(ERROR + "x", path=service.err)
    found = service.read(service.bookmarks)
    assert found["files"][str(service.err)]["continuity"] == "new"
    assert (found["services"]["baileys"]["lines"], found["services"]["baileys"]["continuity"]) == (0, "new")


def test_the_worst_continuity_is_the_services(service: Service) -> None:
    service.out.write_text("")
    found = service.read(service.bookmarks)
    assert found["files"][str(service.err)]["continuity"] == "proven"
    assert found["services"]["baileys"]["continuity"] == "broken"


@pytest.mark.parametrize("logs", [{"a": "/x"}, {"a": None}, {"a": ["relative.log"]}, {"a": [1]}])
def test_what_are_no_logs(logs: dict[str, Any]) -> None:
    with pytest.raises(RolloutError, match=r"logs\.a ") as caught:
        read_services(logs, None, PATTERNS, 3)
    assert caught.value.details == {"reason": "bad_logs"}


@given(st.lists(st.binary(max_size=40)), st.lists(st.integers(1, 30)))
def test_lines_do_not_depend_on_where_the_stream_is_cut(pieces: list[bytes], cuts: list[int]) -> None:
    stream = b"\n".join(pieces)
    lines: list[bytes] = []
    splitter = LineSplitter(lambda raw, length: lines.append(raw))
    start = 0
    for cut in [*cuts, len(stream)]:
        splitter.feed(stream[start : start + cut])
        start += cut
    assert lines == stream.split(b"\n")[:-1]
    assert splitter.unfinished == len(stream.split(b"\n")[-1])


MEMORY = r"""
import re, sys
import ansible.module_utils
ansible.module_utils.__path__.append(sys.argv[1])
from ansible.module_utils.rollout import log_bookmark, log_patterns, log_window
mark = log_bookmark.Bookmark(sys.argv[2], None)
tally = log_window.Tally(sys.argv[2], log_patterns.compile_patterns())
log_window.read_since(mark, tally.count)
# Not ru_maxrss, which a process inherits from the one that started it.
print(tally.lines, tally.huge, re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1])
"""


def test_memory_does_not_grow_with_the_log(tmp_path: Path) -> None:
    """A quarter of a gigabyte: lines, then a hole without a newline, which reads as zeros."""
    log = tmp_path / "huge-out.log"
    lines = 20_000
    with log.open("wb") as file:
        file.write(f"{ERROR}Failed to load {'x' * 100}\n".encode() * lines)
        file.seek(256 * 1024 * 1024)
        file.write(b"\nlast\n")
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(ROOT / "module_utils"), str(log)],
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
    )
    counted, huge, kilobytes = (int(word) for word in done.stdout.split())
    assert (counted, huge) == (lines + 2, 1)
    assert kilobytes < 64 * 1024


def test_a_megabyte_since_the_bookmark_takes_little_time(service: Service) -> None:
    line = (
        INFO
        + 'Batch processed {"env":"production","service":"ai-admin","timestamp":"2025-11-09T18:30:00.000Z"}'
    )
    service.write(*[line] * (1024 * 1024 // len(line)))
    begun = time.process_time()
    assert service.since()["lines"] > 5000
    # Processor time, so that a busy machine does not matter; benchmarks/log_window.py prints what it takes.
    assert time.process_time() - begun < 0.2
