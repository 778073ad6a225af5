"""How long a window of a log takes to read, against reading the same bytes plainly, and the memory for a gigabyte.

python -m benchmarks.log_window [megabytes of the large log, 1024 by default]
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ansible.module_utils.rollout import log_patterns, log_window
from ansible.module_utils.rollout.log_bookmark import Bookmark, take

MEGABYTE = 1024 * 1024
ROUNDS = 7

#: As production logs: winston with colours and an object, now and then pino, noise and an error.
LINES = (
    *[
        "2025-11-09 21:30:00: \x1b[32minfo\x1b[39m: Batch processed successfully for 70000000003 "
        '{"env":"production","service":"ai-admin","timestamp":"2025-11-09T18:30:00.000Z"}'
    ]
    * 17,
    "Closing stale open session for new outgoing prekey bundle",
    '{"level":50,"time":1761641928097,"err":{"type":"PreKeyError","message":"Invalid PreKey ID"},"msg":"failed"}',
    '2025-11-09 21:30:00: \x1b[31merror\x1b[39m: Processing error: timeout {"timestamp":"2025-11-09T18:30:00.000Z"}',
)


def text(size: int) -> bytes:
    """Log lines of about so many bytes."""
    block = "".join(line + "\n" for line in LINES).encode()
    return block * (size // len(block))


def read_plainly(path: Path, start: int) -> None:
    """Read a file's end in chunks, as cat does."""
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while file.read(log_window.CHUNK):
            pass


def count(mark: Bookmark) -> int:
    """Count what came since a bookmark; returns the number of lines."""
    tally = log_window.Tally(mark.path, log_patterns.compile_patterns())
    log_window.read_since(mark, tally.count)
    return tally.lines


def seconds(action: Callable[[], object]) -> float:
    """Median of several runs."""
    times = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        action()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def memory() -> float:
    """The most that this process ever used, megabytes. Not ru_maxrss, which is inherited from the starting process."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmHWM"].split()[0]) / 1024


def main() -> None:
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 1024
    with tempfile.TemporaryDirectory(prefix="log-") as folder:
        log = Path(folder, "api-out.log")
        with log.open("wb") as file:
            for _ in range(megabytes - 1):
                file.write(text(MEGABYTE))
        mark, start = take(str(log)), log.stat().st_size
        with log.open("ab") as file:
            file.write(text(MEGABYTE))

        since, plain = seconds(lambda: count(mark)), seconds(lambda: read_plainly(log, start))
        print(
            f"1 MB since the bookmark, of {megabytes} MB: {since * 1000:.0f} ms; "
            f"plain reading {plain * 1000:.2f} ms (ratio {since / plain:.0f})"
        )
        os.sync()
        begun = time.perf_counter()
        lines = count(Bookmark(str(log), None))
        whole = time.perf_counter() - begun
        begun = time.perf_counter()
        read_plainly(log, 0)
        plain = time.perf_counter() - begun
        print(
            f"All {megabytes} MB, {lines} lines: {whole:.1f} s ({megabytes / whole:.0f} MB/s); "
            f"plain reading {plain:.2f} s (ratio {whole / plain:.0f}); "
            f"memory at most {memory():.0f} MB"
        )


if __name__ == "__main__":
    main()
