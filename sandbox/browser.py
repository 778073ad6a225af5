"""A real browser without a window: opens pages, takes pictures, audits accessibility.

``look`` takes any number of looks and starts the browser once. Debian's package ``chromium`` is installed where nothing
else is there and the caller may do that.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sandbox.errors import SandboxError
from sandbox.lock import locked
from sandbox.node import find_node
from sandbox.packages import CACHE, ensure_packages

PROGRAM_VARIABLE = "SANDBOX_BROWSER"
SOURCE = Path(__file__).resolve().with_name("browsing")
#: Chromium and its kin; the driver speaks their protocol only.
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge")
PACKAGE = "chromium"
TIMEOUT_S = 300


class NoBrowser(SandboxError):
    """There is no browser on this machine, and none can be installed."""


@dataclass(frozen=True)
class Look:
    """How to look at a page.

    Attributes: ``url``, of a file too; ``scheme`` light or dark; ``width`` and ``height`` of the window in CSS pixels;
    ``scale`` device pixels in one of them; ``unfold`` whether everything is unfolded first; ``screenshot`` where the
    picture goes, ``whole`` whether it holds the page or the window; ``audit`` whether accessibility is audited.
    """

    url: str
    scheme: str = "light"
    width: int = 1440
    height: int = 900
    scale: float = 1
    unfold: bool = False
    screenshot: str = ""
    whole: bool = True
    audit: bool = True


@dataclass(frozen=True)
class Seen:
    """What was seen.

    Attributes: ``title``; ``text`` as it is shown; ``width`` that the content needs; ``wide`` elements that stick out;
    ``background`` colour; ``errors`` of the console, of scripts, and dialogs; ``requests`` beyond the page itself;
    ``violations`` of accessibility, each with ``id``, ``impact``, ``help`` and ``where``.
    """

    title: str
    text: str
    width: int
    background: str
    wide: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    violations: list[dict[str, object]] = field(default_factory=list)


def find_browser() -> Path:
    """Return the browser's program; install it where that is possible.

    :raises NoBrowser: nothing was found, and nothing can be installed here
    :raises SandboxError: what SANDBOX_BROWSER names is no program
    """
    chosen = os.environ.get(PROGRAM_VARIABLE)
    if chosen:
        if os.access(chosen, os.X_OK):
            return Path(chosen)
        raise SandboxError(f"{PROGRAM_VARIABLE}={chosen} is no program. Change or unset it.")
    found = _on_path()
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        with locked(CACHE / "browser.lock", f"installing {PACKAGE}"):
            found = _on_path() or _install()
    if found is None:
        raise NoBrowser(
            f"no browser on this machine (looked for {', '.join(PROGRAMS)}). Debian and Ubuntu: sudo apt-get install"
            f" {PACKAGE}. Another one of its kin: name its program in {PROGRAM_VARIABLE}."
        )
    return found


def _on_path() -> Path | None:
    return next((Path(found) for name in PROGRAMS if (found := shutil.which(name))), None)


def _install() -> Path | None:
    print(f"No browser on this machine: installing it (apt-get install {PACKAGE})", flush=True)
    install = ["apt-get", "install", "--yes", "--no-install-recommends", PACKAGE]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (install, ["apt-get", "update"], install):
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if command is install and answer.returncode == 0:
            return _on_path()
    raise NoBrowser(f"apt-get could not install {PACKAGE}: {answer.stderr.strip() or answer.stdout.strip()}")


def look(looks: Sequence[Look]) -> list[Seen]:
    """Open pages one after the other; the answers come in the same order.

    :raises SandboxError: the browser or its driver failed; holds what they said
    """
    program, node = find_browser(), find_node()
    modules = ensure_packages(node, SOURCE)
    # Packages are found beside the script that imports them, so it lies with them.
    script = modules.parent / "look.mjs"
    with locked(CACHE / "browser.lock", "copying the browser's driver"):
        shutil.copyfile(SOURCE / "look.mjs", script)
    task = {
        "browser": str(program),
        "axe": str(modules / "axe-core/axe.min.js"),
        "looks": [asdict(one) for one in looks],
    }
    answer = subprocess.run(
        [str(node.program), str(script)],
        input=json.dumps(task),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if answer.returncode != 0:
        raise SandboxError(f"{program} could not be driven: {answer.stderr.strip() or answer.stdout.strip()}")
    return [Seen(**one) for one in json.loads(answer.stdout)]
