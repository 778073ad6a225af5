"""One process at a time: a lock on a file that ends with the process that holds it."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox.errors import SandboxError

WAIT_S = 120


@contextmanager
def locked(file: Path, doing: str) -> Iterator[int]:
    """Hold the lock; yields the descriptor of the lock file, which a child may inherit to hold it, too.

    :param file: the lock file, made with its folder when absent.
    :param doing: what the holder does, for the message: ``starting or stopping /x``.
    :raises SandboxError: another process has held it for WAIT_S seconds.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as descriptor:
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise SandboxError(f"another process has been {doing} for {WAIT_S} s") from None
                time.sleep(0.1)
        yield descriptor.fileno()
