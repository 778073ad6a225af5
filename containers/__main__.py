"""``python -m containers``: the machines of a Molecule scenario, for its create.yml and destroy.yml."""

import argparse
import sys

from containers.errors import ContainerError
from containers.site import Site
from sandbox.errors import SandboxError


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return the exit code."""
    chosen = _parser().parse_args(arguments)
    site = Site(chosen.scenario)
    try:
        match chosen.command:
            case "up":
                site.up()
            case "down":
                site.down()
            case "restart":
                site.restart(chosen.container)
            case "break":
                site.stand_in(chosen.container, "break", *chosen.what)
            case "mend":
                for container in site.applications:
                    site.stand_in(container, "mend")
    except (ContainerError, SandboxError) as error:
        print(f"containers: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    scenario = argparse.ArgumentParser(add_help=False)
    scenario.add_argument("scenario", help="a folder of molecule/")
    container = argparse.ArgumentParser(add_help=False)
    container.add_argument("container", help="db, app, or another of the scenario's vars/containers.yml")
    parser = argparse.ArgumentParser(prog="python -m containers", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    commands.add_parser("up", parents=[scenario], help="make the containers of a scenario anew")
    commands.add_parser("down", parents=[scenario], help="remove them")
    commands.add_parser(
        "restart", parents=[scenario, container], help="restart one, and wait for the database"
    )
    breaks = commands.add_parser(
        "break",
        parents=[scenario, container],
        help="break the application in one, as python -m sandbox break does",
    )
    breaks.add_argument("what", nargs="+", help="one of its ways, and which service")
    commands.add_parser(
        "mend", parents=[scenario], help="undo that, and wait until every application is healthy"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
