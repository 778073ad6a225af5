"""Podman or Docker: which one works on this machine, and how it is called."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from containers.errors import ContainerError, NoContainers

VARIABLE = "CONTAINER_ENGINE"
PROGRAMS = ("podman", "docker")
RESTRICTED = Path(__file__).with_name("restricted.conf")
# netavark and aardvark-dns are only recommended by podman; runc and mmdebstrap are for restricted machines.
PACKAGES = ("podman", "runc", "netavark", "aardvark-dns", "iptables", "mmdebstrap", "openssh-client")
TIMEOUT_S = 600


@dataclass(frozen=True)
class Engine:
    """A program that runs containers.

    Attributes: ``program`` podman or docker; ``settings`` a file for CONTAINERS_CONF, None where its own settings do.
    """

    program: str
    settings: Path | None = None

    def run(self, *arguments: str, stdin: str | None = None, timeout_s: float = TIMEOUT_S) -> str:
        """Run one of its commands and return the output.

        :raises ContainerError: it failed, or did not end in time; holds what it said.
        """
        code, output = self.attempt(*arguments, stdin=stdin, timeout_s=timeout_s)
        if code != 0:
            # Never the standard input: it may hold a password.
            shown = " ".join(arguments[:6])
            raise ContainerError(
                f"{self.program} {shown} … failed with code {code}: {output.strip()[-2000:]}"
            )
        return output

    def attempt(
        self, *arguments: str, stdin: str | None = None, timeout_s: float = TIMEOUT_S
    ) -> tuple[int, str]:
        """The same, but return exit code and output, with what it said when it failed."""
        try:
            done = subprocess.run(
                [self.program, *arguments],
                input=stdin or "",
                capture_output=True,
                text=True,
                timeout=timeout_s,
                env=self.environment,
                check=False,
            )
        except FileNotFoundError:
            return 127, f"there is no program {self.program}"
        except subprocess.TimeoutExpired:
            return 124, f"{self.program} {arguments[0]} did not end within {timeout_s:.0f} s"
        return done.returncode, done.stdout + ("" if done.returncode == 0 else done.stderr)

    @property
    def environment(self) -> dict[str, str]:
        """Environment that its commands need."""
        return dict(os.environ) | ({"CONTAINERS_CONF": str(self.settings)} if self.settings else {})


def find_engine(install: Callable[[], None] | None = None) -> Engine:
    """Return the first engine that answers; the one that CONTAINER_ENGINE names, when it is set.

    :param install: called when none does, before asking once more.
    :raises NoContainers: there is none; says what was tried.
    """
    chosen = os.environ.get(VARIABLE)
    refused = []
    for program in [chosen] if chosen else PROGRAMS:
        # A docker client without a daemon is common: only one that answers counts.
        code, output = Engine(program).attempt("info", timeout_s=60)
        if code == 0:
            return Engine(program)
        refused.append(f"{program}: {output.strip().splitlines()[-1] if output.strip() else f'code {code}'}")
    if install is not None:
        install()
        return find_engine()
    raise NoContainers(f"no container engine answers ({'; '.join(refused)}). Install Podman or Docker.")


def installer() -> Callable[[], None] | None:
    """Return what installs Podman here, or None where that is not possible (no root, no apt)."""
    return _install if os.geteuid() == 0 and shutil.which("apt-get") else None


def _install() -> None:
    print(f"Installing what runs containers: apt-get install {' '.join(PACKAGES)}", flush=True)
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *PACKAGES]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (install, ["apt-get", "update"], install):
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if command is install and done.returncode == 0:
            return
    raise NoContainers(f"apt-get could not install {' '.join(PACKAGES)}: {done.stderr.strip()[-500:]}")


def settle(engine: Engine, image: str) -> Engine:
    """Return the engine with the settings under which a container of this image runs.

    :raises NoContainers: none does; holds what was said each time.
    """
    refused = []
    for candidate in (engine, Engine(engine.program, RESTRICTED)):
        code, output = candidate.attempt("run", "--rm", image, "true", timeout_s=60)
        if code == 0:
            return candidate
        refused.append(output.strip())
        if engine.program != "podman":
            break
    raise NoContainers(f"{engine.program} runs no container here: {' / '.join(refused)}")
