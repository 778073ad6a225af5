"""The operating systems that the containers may have: each brings one PostgreSQL."""

import os
from dataclasses import dataclass

from containers.errors import ContainerError

VARIABLE = "PG_VERSION"


@dataclass(frozen=True)
class Distribution:
    """One release of Debian.

    Attributes: ``codename`` as mmdebstrap takes it, ``image`` to be pulled, ``postgresql`` the version that its
    packages have.
    """

    codename: str
    image: str
    postgresql: int


DISTRIBUTIONS = (
    Distribution("bookworm", "docker.io/library/debian:bookworm-slim", 15),
    Distribution("trixie", "docker.io/library/debian:trixie-slim", 17),
    # What becomes the next release: packages change until then.
    Distribution("forky", "docker.io/library/debian:forky-slim", 18),
)


def chosen_distribution() -> Distribution:
    """Return the one whose PostgreSQL the environment variable PG_VERSION names; the oldest without it.

    :raises ContainerError: none has that version.
    """
    version = os.environ.get(VARIABLE, "")
    for distribution in DISTRIBUTIONS:
        if version in ("", str(distribution.postgresql)):
            return distribution
    known = ", ".join(str(distribution.postgresql) for distribution in DISTRIBUTIONS)
    raise ContainerError(
        f"{VARIABLE} is {version}; there are containers for {known}. Choose one of these, or unset it."
    )
