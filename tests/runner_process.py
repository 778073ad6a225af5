"""A runner in a process of its own, so that it can be killed; its orders come by standard input, never by argv."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def start(runner: "Runner") -> "subprocess.Popen[str]":
    """Begin ``runner.apply()``; the caller waits for the process, or kills it.

    It prints the summary of every migration, and ends with 1 and the error's text when the run fails.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.runner_process"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdin is not None
    with process.stdin as orders:
        json.dump({**dataclasses.asdict(runner), "folder": str(runner.folder)}, orders)
    process.stdin = None  # closed: communicate() would try to flush it
    return process


def main() -> int:
    """Do what standard input says."""
    orders = json.load(sys.stdin)
    orders.update(folder=Path(orders["folder"]), protected=tuple(orders["protected"]))
    try:
        applied = Runner(**orders).apply()
    except RolloutError as error:
        print(error, flush=True)
        return 1
    for outcome in applied.outcomes:
        print(outcome.summary)
    return 0


if __name__ == "__main__":
    import ansible.module_utils

    ansible.module_utils.__path__.append(str(ROOT / "module_utils"))

from ansible.module_utils.rollout.errors import RolloutError  # noqa: E402

from tests.runner import Runner  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
