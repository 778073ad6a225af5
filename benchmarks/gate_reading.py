"""How long one look of the gate takes, at a real application: seven services, 1 MB of log since the baseline.

    python -m benchmarks.gate_reading

The look's own work must stay below half a second. library/application_info.py as a process of its own is measured, too;
most of the rest is Python's start and the imports, as the empty module beside it shows.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.rollout import application_reading
from ansible.module_utils.rollout.application_reading import Request, WhatsApp
from ansible.module_utils.rollout.log_patterns import compile_patterns
from ansible.module_utils.rollout.options import ConnectionOptions

from benchmarks import ROOT
from benchmarks.log_window import MEGABYTE, text
from benchmarks.pm2_reading import EMPTY_MODULE, run_module, seconds
from sandbox.__main__ import DATABASE
from sandbox.__main__ import main as sandbox
from sandbox.application import Application
from sandbox.credentials import OWNER
from sandbox.server import PostgresServer
from sandbox.services import BAILEYS, NAMES

LIMIT_S = 0.5


def measure(application: Application) -> dict[str, float]:
    """Seconds of a look, of its module as a process, and of a module that does nothing."""
    options = application.server.options(OWNER, application.database)
    whatsapp = {
        "service": BAILEYS,
        "health_url": application.health_url,
        "never_port": application.variables["app_port"],
    }
    home = str(application.pm2.home)

    def look(**earlier: Any) -> dict[str, Any]:
        found = application_reading.look(
            Request(
                pm2_home=home,
                services=NAMES,
                user=None,
                logs={},
                patterns=compile_patterns(),
                whatsapp=WhatsApp(**whatsapp),
                store=ConnectionOptions(**options),
                **earlier,
            )
        )
        assert not found["broken"], found["broken"]
        return found

    before = look()
    earlier = {"bookmarks": before["bookmarks"], "baseline": before["reading"]}
    quiet = seconds(lambda: look(**earlier))
    with application.log_files(NAMES[0])[0].open("ab") as log:
        log.write(text(MEGABYTE))
    busy = seconds(lambda: look(**earlier))
    arguments = {"pm2_home": home, "services": NAMES, "whatsapp": whatsapp, **options, **earlier}
    empty = application.home / "empty.py"
    empty.write_text(EMPTY_MODULE)
    return {
        "quiet": quiet,
        "busy": busy,
        "module": seconds(lambda: run_module(ROOT / "library/application_info.py", arguments)),
        "empty": seconds(lambda: run_module(empty, {})),
        "size": len(json.dumps(arguments)),
    }


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="gate-") as folder:
        os.chmod(folder, 0o755)
        begun = time.monotonic()
        sandbox(["up", "--application", "--home", folder])
        print(f"The application was started in {time.monotonic() - begun:.0f} s.", flush=True)
        try:
            found = measure(Application(PostgresServer(Path(folder)), DATABASE))
        finally:
            sandbox(["down", "--home", folder])
    print(
        f"A look at {len(NAMES)} services: {found['quiet'] * 1000:.0f} ms; with 1 MB of log since the baseline"
        f" {found['busy'] * 1000:.0f} ms (limit {LIMIT_S * 1000:.0f} ms); application_info as a process"
        f" {found['module'] * 1000:.0f} ms, an empty module {found['empty'] * 1000:.0f} ms;"
        f" {found['size'] / 1024:.0f} kB are sent to it"
    )
    if found["busy"] > LIMIT_S:
        sys.exit(f"a look takes longer than {LIMIT_S} s")


if __name__ == "__main__":
    main()
