"""Free TCP ports on loopback."""

import random
import socket
from pathlib import Path

from sandbox.errors import SandboxError

ADDRESS = "127.0.0.1"
LOWEST = 10240
EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
ATTEMPTS = 1000


def is_free(port: int) -> bool:
    """Whether a server could listen there; connections that linger after a stop do not count, as for PostgreSQL."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((ADDRESS, port))
        except OSError:
            return False
    return True


def choose_ports(count: int) -> list[int]:
    """Return ports that are free now.

    Not from the range that outgoing connections take theirs from: until a service listens, one of those could take it.

    :raises SandboxError: too few were found.
    """
    below = int(EPHEMERAL_RANGE.read_text().split()[0])
    candidates = range(LOWEST, below) if below - LOWEST > ATTEMPTS else range(LOWEST, 65536)
    chosen: list[int] = []
    for port in random.SystemRandom().sample(candidates, ATTEMPTS):
        if is_free(port):
            chosen.append(port)
        if len(chosen) == count:
            return chosen
    raise SandboxError(f"fewer than {count} free ports on {ADDRESS} among {ATTEMPTS} that were tried")
