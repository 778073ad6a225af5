"""The image that everything is built upon: pulled where a registry can be reached, else made of Debian's packages."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from containers.distributions import Distribution
from containers.engine import Engine
from containers.errors import NoContainers

PULL_TIMEOUT_S = 120
BOOTSTRAP_TIMEOUT_S = 600


def base_image(engine: Engine, distribution: Distribution) -> str:
    """Return the name of the base image, making it first where it is not there.

    :raises NoContainers: it can neither be pulled nor be made; says why.
    """
    bootstrapped = f"localhost/rollout-base:{distribution.codename}"
    for name in (bootstrapped, distribution.image):
        if engine.attempt("image", "inspect", name)[0] == 0:
            return name
    print(f"Fetching the base image {distribution.image}", flush=True)
    code, pulled = engine.attempt("pull", "--quiet", distribution.image, timeout_s=PULL_TIMEOUT_S)
    if code == 0:
        return distribution.image
    if shutil.which("mmdebstrap") is None:
        raise NoContainers(
            f"{distribution.image} cannot be pulled ({pulled.strip()[-300:]}), and there is no mmdebstrap to make one"
        )
    print(f"No registry: making the base image with mmdebstrap {distribution.codename}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "base.tar")
        _bootstrap(distribution, archive)
        engine.run("import", str(archive), bootstrapped)
    return bootstrapped


def _bootstrap(distribution: Distribution, archive: Path) -> None:
    command = [
        "mmdebstrap",
        "--variant=minbase",
        "--include=ca-certificates",
        # The lists of a release that is not out yet may have run out on the mirror, or by the machine's clock.
        '--aptopt=Acquire::Check-Valid-Until "false"',
        distribution.codename,
        str(archive),
    ]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=BOOTSTRAP_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise NoContainers(f"mmdebstrap did not end within {BOOTSTRAP_TIMEOUT_S} s") from None
    if done.returncode != 0:
        raise NoContainers(f"mmdebstrap {distribution.codename} failed: {done.stderr.strip()[-500:]}")
