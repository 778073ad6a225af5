"""How long the database's half of the success checklist takes, near the database and 30 ms away.

python -m benchmarks.checklist
"""

from __future__ import annotations

import statistics
import sys

from benchmarks.bench import Bench
from benchmarks.distance import FAR, NEAR, way_to
from sandbox.databases import Database
from tests.database_checklist import Checklist
from tests.runner import Runner

ROUNDS = 7
#: What it may take, by the length of a round trip in milliseconds; seconds, connecting included.
LIMITS = {NEAR: 2.5, FAR: 5.0}


def main() -> int:
    """Measure, print, and say by the exit code whether the limits are held."""
    missed = False
    with Bench() as bench:
        print(bench.machine())
        database = Database.create(bench.server, bench.scratch)
        Runner(database.options).apply()
        for distance, limit in LIMITS.items():
            with way_to(bench.server, distance) as way:
                checklist = Checklist(database, {"port": way.port})
                outcomes = [checklist.run() for _ in range(ROUNDS)]
            taken = statistics.median(outcome.seconds for outcome in outcomes)
            missed |= taken > limit
            verdict = "held" if taken <= limit else "MISSED"
            print(
                f"{len(outcomes[0].findings)} items at {distance} ms: {taken:.2f} s (limit {limit:g} s, {verdict}),"
                f" {outcomes[0].round_trips} round trips without connecting"
            )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
