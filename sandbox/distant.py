"""A PostgreSQL server that runs elsewhere, in a container: only how to connect to it."""

from pathlib import Path
from typing import Any

from sandbox.server import PostgresServer


class DistantServer(PostgresServer):
    """Not started or stopped from here. It speaks TLS.

    :param home: folder with ``pgpass`` (the passwords) and ``ca.crt`` (the authority that signed its certificate).
    :param host: the name in its certificate.
    :param address: where it is reached, when that is not ``host``.
    :param port: its port there.
    """

    has_tls = True

    def __init__(self, home: Path, host: str, port: int, address: str = "") -> None:
        super().__init__(home)
        self.host = host
        self.address = address or host
        self._port = port

    @property
    def port(self) -> int:
        """TCP port."""
        return self._port

    def public_options(self, role: str, dbname: str) -> dict[str, Any]:
        """Return libpq connection keywords without the password."""
        # libpq compares the certificate with the host and connects to hostaddr.
        elsewhere = {} if self.address == self.host else {"hostaddr": self.address}
        return super().public_options(role, dbname) | elsewhere
