"""Runs a command in a terminal of its own, and keeps what it showed there."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

#: What the terminal says it is.
TERM = "xterm-256color"
ROWS = 50


@dataclass(frozen=True)
class Shown:
    """What a command showed.

    :ivar code: its exit code
    :ivar text: with escape codes; lines end with a newline alone
    """

    code: int
    text: str


def run_in_terminal(
    command: Sequence[str], *, columns: int, folder: Path, environment: Mapping[str, str], timeout_s: float
) -> Shown:
    """Run a command that believes in a person before it.

    :param columns: width of the terminal, in characters
    :param folder: to run it in
    :param environment: the whole of it, but for TERM
    :raises subprocess.TimeoutExpired: it took longer; it was killed
    """
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
    with os.fdopen(ours, "rb", buffering=0) as screen:
        try:
            process = subprocess.Popen(
                command, stdin=its, stdout=its, stderr=its, cwd=folder, env={**environment, "TERM": TERM}
            )
        finally:
            os.close(its)
        with process:
            seen = _read(screen.fileno(), time.monotonic() + timeout_s)
            if seen is None:
                process.kill()
                raise subprocess.TimeoutExpired(command, timeout_s)
    return Shown(process.returncode, seen.decode().replace("\r\n", "\n"))


def _read(screen: int, until: float) -> bytes | None:
    """All that is shown until nobody has the terminal open; None: that took too long."""
    seen = bytearray()
    while select.select([screen], [], [], max(0.0, until - time.monotonic()))[0]:
        try:
            seen += os.read(screen, 65536)
        except OSError:  # EIO is how Linux says that the other side is closed.
            return bytes(seen)
    return None
