"""Runs in the application's container: a way to the database that takes as long as one through half a continent.

SIGUSR1 loses the answers of the present connections, SIGTERM breaks all and ends it.
"""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, "/opt/stand-in")

from sandbox.proxy import TcpProxy

WAITED_FOR = {signal.SIGUSR1, signal.SIGTERM}
signal.pthread_sigmask(signal.SIG_BLOCK, WAITED_FOR)
with TcpProxy(sys.argv[1], 5432, round_trip_ms=float(sys.argv[2]), listen_port=int(sys.argv[3])) as proxy:
    Path("/tmp/far.pid").write_text(str(os.getpid()))
    while signal.sigwait(WAITED_FOR) == signal.SIGUSR1:
        proxy.lose_answers()
