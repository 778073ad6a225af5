"""Debian's packages, unpacked into a folder of our own: nothing is installed into the system, and no root is needed."""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from sandbox.lock import locked

CACHE = Path(__file__).resolve().parent.parent / ".cache"
DOWNLOAD_TIMEOUT_S = 100


def unpacked(name: str, packages: Sequence[str]) -> Path:
    """The packages' files, below a folder that stands for /; unpacked where they are not yet.

    :param name: of the folder in the cache
    :raises subprocess.CalledProcessError: apt could not fetch them; what it said was printed
    :raises FileNotFoundError: there is no apt-get
    """
    # Packages are made for one release of the distribution, and the checkout may be moved to another.
    release = platform.freedesktop_os_release()
    cache = CACHE / name
    folder = cache / f"{release['ID']}-{release.get('VERSION_ID', 'unknown')}-{platform.machine()}"
    with locked(cache / "lock", f"unpacking {', '.join(packages)} into {cache}"):
        if not folder.exists():
            partial = cache / "partial"
            if partial.exists():
                shutil.rmtree(partial)
            _unpack(partial, packages)
            partial.rename(folder)
    return folder / "root"


def _unpack(folder: Path, packages: Sequence[str]) -> None:
    (folder / "lists/partial").mkdir(parents=True)
    options: list[str] = []
    try:
        _download(folder, packages, options)
    except subprocess.CalledProcessError:
        # This machine's lists of packages are old or were never fetched: ours are fetched, as any user may.
        options = [
            *("-o", f"Dir::State::Lists={folder}/lists"),
            *("-o", f"Dir::Cache={folder}"),
            *("-o", "APT::Sandbox::User="),
        ]
        _run(folder, "apt-get", *options, "update")
        _download(folder, packages, options)
    depends = [_run(folder, "dpkg-deb", "-f", str(archive), "Depends") for archive in folder.glob("*.deb")]
    missing = sorted({library for entry in depends for library in _libraries(entry)})
    if missing:
        _download(folder, missing, options)
    for archive in folder.glob("*.deb"):
        _run(folder, "dpkg-deb", "-x", str(archive), str(folder / "root"))
        archive.unlink()
    shutil.rmtree(folder / "lists")


def library_folders(root: Path) -> list[Path]:
    """Where the unpacked libraries are."""
    return sorted({file.parent for file in root.rglob("lib*.so.*")})


def _libraries(depends: str) -> list[str]:
    """Those of the libraries that a package depends on which this machine lacks."""
    names = [re.split(r"[ :(|]", entry.strip())[0] for entry in depends.split(",")]
    return [name for name in names if name.startswith("lib") and not _installed(name)]


def _installed(package: str) -> bool:
    answer = subprocess.run(
        ["dpkg-query", "-W", "-f", "${db:Status-Status}", package],
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.stdout == "installed"


def _download(folder: Path, packages: Sequence[str], options: list[str]) -> None:
    _run(folder, "apt-get", *options, "download", *packages)


def _run(folder: Path, *command: str) -> str:
    answer = subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DOWNLOAD_TIMEOUT_S,
        env={**os.environ, "LC_ALL": "C"},
        check=False,
    )
    if answer.returncode != 0:
        # What the program said is what somebody needs who has to install the packages by hand.
        print(f"{' '.join(command)}:\n{answer.stdout}{answer.stderr}")
        answer.check_returncode()
    return answer.stdout
