"""How long the proof of an application's calls takes, near the database and 30 ms away.

python -m benchmarks.query_proof [number of calls, 600 by default]
"""

from __future__ import annotations

import itertools
import statistics
import sys
import time
from dataclasses import replace

from ansible.module_utils.rollout.audit.chain import Chain, Filter, Known, Literal
from ansible.module_utils.rollout.audit.proof import prove
from ansible.module_utils.rollout.connection import Session
from ansible.module_utils.rollout.options import ConnectionOptions

from benchmarks.bench import Bench
from benchmarks.distance import FAR, NEAR, way_to
from sandbox.credentials import READER
from tests.recorded_calls import recorded_calls, recorded_database

ROUNDS = 7
#: What the proof may take, by the length of a round trip in milliseconds; seconds.
LIMITS = {NEAR: 1.0, FAR: 3.0}


def calls(number: int) -> list[Chain]:
    """So many calls, of all kinds; those with filters all different, as an application's are not even."""
    kinds = itertools.cycle([call.chain for call in recorded_calls()])
    return [_different(next(kinds), at) for at in range(number)]


def _different(chain: Chain, at: int) -> Chain:
    if chain.operation not in ("select", "update", "delete") or chain.tables == ("nowhere",):
        return chain
    return replace(chain, filters=(*chain.filters, Filter("neq", Known("id"), Literal(at))))


def main() -> int:
    """Measure, print, and say by the exit code whether the limits are held."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 600
    chains = calls(number)
    missed = False
    with Bench() as bench, recorded_database(bench.server) as name:
        print(bench.machine())
        for distance, limit in LIMITS.items():
            with way_to(bench.server, distance) as way:
                options = ConnectionOptions(**{**bench.server.options(READER, name), "port": way.port})
                times = []
                for _ in range(ROUNDS):
                    begun = time.perf_counter()
                    with Session(options, "rollout benchmark", read_only=True) as session:
                        proof, _ = prove(session, "api", chains)
                    times.append(time.perf_counter() - begun)
            taken = statistics.median(times)
            missed |= taken > limit
            verdict = "held" if taken <= limit else "MISSED"
            print(
                f"{number} calls at {distance} ms: {taken:.3f} s (limit {limit:g} s, {verdict}),"
                f" {session.round_trips} round trips without connecting; {proof.sentence}"
            )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
