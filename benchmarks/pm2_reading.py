"""How long a reading of PM2 takes, against ``pm2 jlist`` in the same run.

    python -m benchmarks.pm2_reading

The ratio is that of the reading itself. library/pm2_info.py as a process of its own is measured, too; nearly all of its
time is Python's start and Ansible's own imports, as the empty module beside it shows.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ansible.module_utils.rollout import pm2_daemon

from benchmarks import ROOT
from tests.pm2_daemons import NEWEST, SCRIPTS, VERSIONS, Pm2Daemon

#: As many as production has.
SERVICES = 7
ROUNDS = 7

#: Runs the module as Ansible's wrapper does: arguments on standard input.
RUN_MODULE = (
    "import runpy, sys; from ansible.module_utils import basic; "
    "basic._ANSIBLE_ARGS = sys.stdin.buffer.read(); basic._ANSIBLE_PROFILE = 'legacy'; "
    "import ansible.module_utils; ansible.module_utils.__path__.append(sys.argv[2]); "
    "runpy.run_path(sys.argv[1], run_name='__main__')"
)


EMPTY_MODULE = """
from ansible.module_utils.basic import AnsibleModule
AnsibleModule(argument_spec={}).exit_json(changed=False)
"""


def seconds(action: Callable[[], object]) -> float:
    """Median of several runs; the first, which warms caches, does not count."""
    action()
    times = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        action()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def run_module(module: Path, arguments: Mapping[str, object]) -> None:
    """Run a module in a new interpreter.

    :raises subprocess.CalledProcessError: it failed
    """
    subprocess.run(
        [sys.executable, "-c", RUN_MODULE, str(module), str(ROOT / "module_utils")],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode(),
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )


def measure(version: str) -> tuple[float, float, float, float]:
    """Seconds of pm2 jlist, of a reading, of the module as a process, and of a module that does nothing."""
    with Pm2Daemon(version) as pm2:
        empty = pm2.folder / "empty.py"
        empty.write_text(EMPTY_MODULE)
        pm2.start(
            *({"name": f"service-{n}", "script": str(SCRIPTS / "ticking.js")} for n in range(SERVICES)),
        )
        home = str(pm2.home)
        return (
            seconds(lambda: pm2.cli("jlist")),
            seconds(lambda: pm2_daemon.read(home)),
            seconds(lambda: run_module(ROOT / "library/pm2_info.py", {"home": home})),
            seconds(lambda: run_module(empty, {})),
        )


def main() -> None:
    for version in sys.argv[1:] or (NEWEST,):
        if version not in VERSIONS:
            sys.exit(f"{version} is not among the versions that are tested: {', '.join(VERSIONS)}")
        listed, reading, module, empty = measure(version)
        print(
            f"PM2 {version}, {SERVICES} services: pm2 jlist {listed * 1000:.0f} ms, "
            f"reading {reading * 1000:.1f} ms (ratio {reading / listed:.3f}), "
            f"pm2_info as a process {module * 1000:.0f} ms, an empty module {empty * 1000:.0f} ms"
        )


if __name__ == "__main__":
    main()
