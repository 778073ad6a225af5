"""Runs in the application's container: starts the sandbox's application there, breaks it, mends it, tells how it is."""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from sandbox.application import Application
from sandbox.breakage import BREAKS, break_application, mend
from sandbox.distant import DistantServer
from sandbox.errors import SandboxError
from sandbox.services import NAMES, Timing

HOME = Path("/opt/ai-admin")
PORT = 5432


def main() -> int:
    """Run one command and return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--host", required=True, help="name of the database's server, as its certificate has it"
    )
    parser.add_argument("--database", required=True)
    parser.add_argument("command", choices=["up", "break", "mend", "status"])
    parser.add_argument("what", nargs="?", choices=list(BREAKS))
    parser.add_argument("detail", nargs="?")
    chosen = parser.parse_args()
    application = Application(DistantServer(HOME, chosen.host, PORT), chosen.database)
    try:
        if chosen.command == "up":
            # As quick as in the sandbox's own tests.
            application.start(Timing(reconnect_ms=300, batch_idle_ms=300, answer_ms=100))
            _lay_out(application)
            print(json.dumps(application.variables))
        elif chosen.command == "break":
            break_application(application, chosen.what, chosen.detail)
        elif chosen.command == "mend":
            mend(application)
        else:
            print(json.dumps(_status(application)))
    except SandboxError as error:
        print(f"stand-in: {error}", file=sys.stderr)
        return 1
    return 0


def _status(application: Application) -> dict[str, Any]:
    """Return problems, how often PM2 restarted each service, and the clients that WhatsApp knows."""
    processes = application.pm2.processes()
    return {
        "problems": application.problems(),
        "restarts": {p["name"]: p["pm2_env"]["restart_time"] for p in processes if p["name"] in NAMES},
        "clients": application.outside.state()["clients"],
    }


def _lay_out(application: Application) -> None:
    """Make the application's folder what it is in production: a checkout that holds the authority's certificate."""
    certificate = application.folder / "certificates/database-ca.pem"
    certificate.parent.mkdir(exist_ok=True)
    certificate.write_bytes(application.server.ca_certificate.read_bytes())
    if (application.folder / ".git").exists():
        return
    # What a running application writes is not part of it.
    (application.folder / ".gitignore").write_text("*\n")
    author = ["-c", "user.name=stand-in", "-c", "user.email=stand-in@example.invalid"]
    for command in (
        ["init", "--quiet"],
        [*author, "commit", "--quiet", "--allow-empty", "--message=Stand-in"],
    ):
        subprocess.run(["git", *command], cwd=application.folder, check=True)


if __name__ == "__main__":
    sys.exit(main())
