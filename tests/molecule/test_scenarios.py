"""Each Molecule scenario, two at a time; skipped, with the reason, where no containers can run."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from containers.distributions import chosen_distribution
from containers.engine import Engine, find_engine, installer
from containers.errors import NoContainers
from containers.images import ROOT, ensure_images, wheelhouse
from containers.scenarios import chosen_scenarios, run_scenario
from containers.site import LABEL, full_name

AT_ONCE = 2
#: Images are built first where they are not there; then others may be before one in the queue.
pytestmark = pytest.mark.timeout(3600)
LOGS = ROOT / ".cache/molecule-logs"
#: Set where a machine without containers is a fault: in continuous integration.
REQUIRED = "CONTAINERS_REQUIRED"
BROKEN = "default, with a broken role"


@pytest.fixture(scope="module")
def engine() -> Engine:
    try:
        usable, images = ensure_images(find_engine(installer()), chosen_distribution())
    except NoContainers as reason:
        if os.environ.get(REQUIRED):
            raise
        pytest.skip(f"containers cannot run here: {reason}")
    wheelhouse(usable, images["app"])
    return usable


@pytest.fixture(scope="module")
def outcomes(
    engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[list[str]]]]:
    """Why each failed, when it has ended; all are begun at once, two run at a time."""
    jobs: dict[str, Callable[[], list[str]]] = {
        name: partial(run_scenario, name, LOGS / f"{name}.log") for name in chosen_scenarios()
    }
    if "default" in jobs:
        jobs[BROKEN] = run_broken
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {name: pool.submit(job) for name, job in jobs.items()}


def run_broken() -> list[str]:
    """The default scenario of a copy in which one column of a migration is shorter than described.

    The package itself cannot notice: it applies and verifies what the migration says.
    """
    # Not pytest's folder: it removes older ones, and this takes a while.
    with tempfile.TemporaryDirectory(prefix="rollout-broken-") as folder:
        return run_scenario("default", LOGS / "broken.log", broken_copy(Path(folder)))


def broken_copy(copy: Path) -> Path:
    """Fill a folder with this checkout, and break the copy."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if os.path.lexists(ROOT / name):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name, follow_symlinks=False)
    (copy / ".cache").mkdir()
    (copy / ".cache/containers").symlink_to(ROOT / ".cache/containers")
    template = copy / "roles/schema/migrations/0001_business_tables/010_tables.sql.j2"
    sound = template.read_text()
    assert "email varchar(255)," in sound
    template.write_text(sound.replace("email varchar(255),", "email varchar(254),"))
    scenario = copy / "molecule/default/molecule.yml"
    steps = ("create", "prepare", "converge", "verify", "destroy")
    scenario.write_text(f"{scenario.read_text()}  test_sequence: [{', '.join(steps)}]\n")
    return copy


@pytest.mark.parametrize("name", chosen_scenarios())
def test_scenario(name: str, outcomes: dict[str, Future[list[str]]]) -> None:
    found = outcomes[name].result()
    log = LOGS / f"{name}.log"
    assert not found, f"{'; '.join(found)}\n{log.read_text(errors='replace')}\nThis log: {log}"


@pytest.mark.skipif("default" not in chosen_scenarios(), reason="the scenario default was not chosen")
def test_a_broken_role_makes_the_scenario_fail(outcomes: dict[str, Future[list[str]]]) -> None:
    assert outcomes[BROKEN].result() == ["molecule ended with code 2"]
    log = (LOGS / "broken.log").read_text(errors="replace")
    assert "companies: columns: missing: email varchar(255)" in log
    assert "converge: Executed: Successful" in log


def test_nothing_is_left_behind(engine: Engine, outcomes: dict[str, Future[list[str]]]) -> None:
    for name, outcome in outcomes.items():
        outcome.result()
        if name != BROKEN:
            mark = f"--filter=label={LABEL}={full_name(name)}"
            assert engine.run("ps", "--all", mark, "--format={{.Names}}").split() == []
            assert engine.run("network", "ls", mark, "--format={{.Name}}").split() == []
