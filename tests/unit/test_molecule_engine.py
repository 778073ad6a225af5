"""Podman or Docker, whichever answers; and what a machine without any is told."""

from pathlib import Path

import pytest

from containers import images
from containers.distributions import DISTRIBUTIONS
from containers.engine import RESTRICTED, Engine, find_engine, settle
from containers.errors import ContainerError, NoContainers

FAILS = "#!/bin/sh\necho 'no daemon' >&2\nexit 1\n"
WORKS = "#!/bin/sh\necho ok\n"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CONTAINER_ENGINE", raising=False)
    monkeypatch.delenv("CONTAINERS_CONF", raising=False)
    return folder


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


def test_the_first_that_answers_is_taken(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(programs, "docker", WORKS)
    assert find_engine() == Engine("docker")
    program(programs, "podman", FAILS)
    assert find_engine() == Engine("docker")
    program(programs, "podman", WORKS)
    assert find_engine() == Engine("podman")
    monkeypatch.setenv("CONTAINER_ENGINE", "docker")
    assert find_engine() == Engine("docker")


def test_a_machine_without_any_is_told_what_was_tried(programs: Path) -> None:
    # A docker client alone is no engine.
    program(programs, "docker", FAILS)
    with pytest.raises(NoContainers, match=r"podman: there is no program podman; docker: no daemon\)"):
        find_engine()


def test_one_is_installed_where_that_is_possible(programs: Path) -> None:
    assert find_engine(lambda: program(programs, "podman", WORKS)) == Engine("podman")
    (programs / "podman").unlink()
    with pytest.raises(NoContainers):
        find_engine(lambda: None)


def test_other_settings_are_used_only_where_its_own_fail(programs: Path) -> None:
    program(programs, "podman", WORKS)
    assert settle(Engine("podman"), "image").settings is None
    program(programs, "podman", f'#!/bin/sh\n[ "$CONTAINERS_CONF" = {RESTRICTED} ]\n')
    assert settle(Engine("podman"), "image").settings == RESTRICTED
    program(programs, "podman", FAILS)
    with pytest.raises(NoContainers, match="podman runs no container here: no daemon / no daemon"):
        settle(Engine("podman"), "image")


def test_an_error_says_which_command_and_what_was_said_but_not_its_input(programs: Path) -> None:
    program(programs, "podman", FAILS)
    with pytest.raises(ContainerError, match="podman exec db … failed with code 1: no daemon") as caught:
        Engine("podman").run("exec", "db", stdin="PASSWORD 'x'")
    assert "PASSWORD" not in str(caught.value)


def test_a_program_that_hangs_is_given_up(programs: Path) -> None:
    program(programs, "podman", "#!/bin/sh\nexec /bin/sleep 60\n")
    assert Engine("podman").attempt("info", timeout_s=0.2) == (124, "podman info did not end within 0 s")


def test_an_image_is_another_one_when_its_inputs_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("molecule/images/Containerfile", "sandbox/pm2.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("one")
    monkeypatch.setattr(images, "ROOT", tmp_path)
    monkeypatch.setattr(images, "RECIPE", tmp_path / "molecule/images")
    oldest, newest = DISTRIBUTIONS[0], DISTRIBUTIONS[-1]

    def identities() -> list[str]:
        return [images.identity(kind, oldest) for kind in images.KINDS]

    before = identities()
    assert before == identities()
    assert len({*before, images.identity("db", newest)}) == 3
    (tmp_path / "sandbox/run").mkdir()
    (tmp_path / "sandbox/run/anything").write_text("left by a sandbox")
    assert identities() == before
    (tmp_path / "sandbox/pm2.py").write_text("two")
    assert [now == then for now, then in zip(identities(), before, strict=True)] == [True, False]
    (tmp_path / "molecule/images/Containerfile").write_text("two")
    assert identities()[0] != before[0]
