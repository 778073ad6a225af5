"""``python -m sandbox.screenshots``: makes docs/images anew, from a run of the main job in a sandbox of its own."""

from __future__ import annotations

import io
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from sandbox.browser import Look, look
from sandbox.errors import SandboxError
from sandbox.terminal import run_in_terminal

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs/images"
#: Paths are to be seen in the pictures, so this one says nothing about the machine.
FOLDER = Path("/tmp/rollout")
COMMAND = ("ansible-playbook", "apply.yml", "-i", "inventory/sandbox")
COLUMNS = 120
#: Lines of the picture: from the beginning, from the recap on, and to the end. What is between is left out, and a mark
#: says so.
BEGINNING, RECAP, END = 41, 14, 18
RUN_TIMEOUT_S = 1200

THEME = TerminalTheme(
    background=(22, 27, 34),
    foreground=(201, 209, 217),
    normal=[
        (72, 79, 88),
        (255, 123, 114),
        (63, 185, 80),
        (210, 153, 34),
        (88, 166, 255),
        (188, 140, 255),
        (57, 197, 207),
        (177, 186, 196),
    ],
)
# No font from the network: a picture that is opened asks nobody for anything.
_SVG = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace(
    "Fira Code, monospace", "'DejaVu Sans Mono', Menlo, Consolas, monospace"
)


def terminal_picture(shown: str, title: str) -> str:
    """What a terminal shows, as SVG.

    :param shown: what was written to it, with escape codes
    :param title: of its window
    """
    console = Console(
        record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="standard"
    )
    lines = list(Text.from_ansi(shown.strip("\n")).wrap(console, COLUMNS))
    recap = next((at for at, line in enumerate(lines) if line.plain.startswith("PLAY RECAP")), 0)
    parts = [lines[:BEGINNING], lines[recap : recap + RECAP], lines[-END:]]
    if len(lines) > sum(map(len, parts)):
        lines = [line for part in parts for line in (*part, Text("    ⋮"))][:-1]
    console.print(Text("\n").join(lines))
    return console.export_svg(title=title, theme=THEME, code_format=_SVG, unique_id="terminal")


def main() -> int:
    """Make the pictures."""
    try:
        with _project() as folder:
            _take(folder)
    except SandboxError as error:
        print(f"screenshots: {error}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def _project() -> Iterator[Path]:
    """A copy of the repository with a sandbox that is up; both are gone afterwards."""
    try:
        FOLDER.mkdir(mode=0o700)
    except FileExistsError as error:
        raise SandboxError(
            f"{FOLDER} is there already. Somebody makes pictures; otherwise remove it."
        ) from error
    try:
        _copy(FOLDER)
        _sandbox("up", "--application")
        try:
            yield FOLDER
        finally:
            _sandbox("down")
    finally:
        shutil.rmtree(FOLDER)


def _copy(folder: Path) -> None:
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        source, target = ROOT / name, folder / name
        if source.is_symlink() or source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    # Node.js's packages are fetched once.
    (folder / ".cache").symlink_to(ROOT / ".cache")


def _environment() -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    return {
        **inherited,
        "ANSIBLE_CONFIG": str(FOLDER / "ansible.cfg"),
        "ANSIBLE_STDOUT_CALLBACK": "rollout",
        "LC_ALL": "C.UTF-8",
    }


def _sandbox(*arguments: str) -> None:
    command = [sys.executable, "-m", "sandbox", *arguments]
    if subprocess.run(command, cwd=FOLDER, env=_environment(), check=False).returncode:
        raise SandboxError(f"{' '.join(command[1:])} failed; see above")


def _take(folder: Path) -> None:
    program = Path(sys.executable).parent / COMMAND[0]
    print(f"Running {' '.join(COMMAND)} in {folder}", flush=True)
    shown = run_in_terminal(
        [str(program), *COMMAND[1:]],
        columns=COLUMNS,
        folder=folder,
        environment=_environment(),
        timeout_s=RUN_TIMEOUT_S,
    )
    if shown.code != 0:
        raise SandboxError(f"the run failed, and a red run is no picture:\n{shown.text}")
    IMAGES.mkdir(exist_ok=True)
    page = (folder / "reports/latest/report.html").as_uri()
    wide = Look(
        page, width=1440, height=1000, screenshot=str(IMAGES / "report.png"), whole=False, audit=False
    )
    phone = Look(
        page,
        width=360,
        height=760,
        scale=2,
        screenshot=str(IMAGES / "report-phone.png"),
        whole=False,
        audit=False,
    )
    seen = look([wide, phone])
    require_neutral([shown.text, *(one.text for one in seen)])
    picture = IMAGES / "terminal.svg"
    picture.write_text(terminal_picture(shown.text, " ".join(COMMAND)), encoding="utf-8")
    for path in sorted(IMAGES.iterdir()):
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size // 1024} kB")


def require_neutral(texts: Sequence[str]) -> None:
    """Refuse pictures that tell where they were made.

    :raises SandboxError: naming what is seen
    """
    told = [word for word in (str(ROOT).strip("/"), socket.gethostname()) if word != "localhost"]
    found = sorted({word for word in told for text in texts if re.search(rf"\b{re.escape(word)}\b", text)})
    if found:
        raise SandboxError(f"the pictures would show {', '.join(found)}")


if __name__ == "__main__":
    sys.exit(main())
