"""Programs that are started as their users start them, and the time until they end."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

#: Far more than anything here takes: a program that waits for ever must not.
TIMEOUT_S = 600
SHOWN_LINES = 40


def timed(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> tuple[float, str]:
    """Run a program and return its wall time in seconds and what it printed.

    :param environment: the whole environment
    :param folder: working directory
    :raises RuntimeError: it failed; holds the end of what it printed
    """
    began = time.perf_counter()
    done = subprocess.run(
        command,
        env=dict(environment),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    seconds = time.perf_counter() - began
    if done.returncode != 0:
        end = "\n".join(done.stdout.splitlines()[-SHOWN_LINES:])
        raise RuntimeError(f"{' '.join(command[:6])} … ended with code {done.returncode}:\n{end}")
    return seconds, done.stdout
