"""Partitions beside a writing application: how long a writer waits, what many partitions cost, what indexes cost.

``python -m benchmarks.partitions`` prints the tables; ``--only many --partitions 1000 --rows 50000000`` is the large
one.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Callable, Sequence

from benchmarks import partition_indexes, partition_size, partition_waits
from benchmarks.bench import Bench
from benchmarks.report import Section, as_text

_PARTS = ("waits", "many", "inserts")


def measure(
    bench: Bench,
    say: Callable[[str], None],
    parts: Sequence[str] = _PARTS,
    counts: Sequence[int] = partition_size.PARTITIONS,
    rows: int = partition_size.ROWS,
) -> list[Section]:
    """Waits of writers, many partitions, inserts.

    :param parts: which of them
    :param counts: how many partitions are many
    :param rows: how many rows they hold together
    """
    found = []
    if "waits" in parts:
        found.append(partition_waits.measure(bench, say))
    if "many" in parts:
        found.append(partition_size.measure(bench, say, counts, rows))
    if "inserts" in parts:
        found.append(partition_indexes.measure(bench, say))
    return found


def main() -> int:
    """Measure, print, and return 1 when a ratio is missed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.partitions", description="Measure partitions."
    )
    parser.add_argument("--only", choices=_PARTS, action="append", help="measure this alone")
    parser.add_argument("--partitions", type=int, action="append", help="how many; more than once to compare")
    parser.add_argument("--rows", type=int, default=partition_size.ROWS, help="rows that they hold together")
    chosen = parser.parse_args()
    ratios = []
    with Bench() as bench:
        print(bench.machine(), flush=True)
        say = functools.partial(print, flush=True)
        counts = chosen.partitions or partition_size.PARTITIONS
        for section in measure(bench, say, chosen.only or _PARTS, counts, chosen.rows):
            print(f"\n{as_text(section)}", flush=True)
            print(json.dumps(section.samples), flush=True)
            ratios += section.ratios
    for ratio in ratios:
        print(f"{ratio.name}: {ratio.value:.3f}, allowed {ratio.limit:.3g}: {ratio.verdict}")
    return 0 if all(ratio.held for ratio in ratios) else 1


if __name__ == "__main__":
    sys.exit(main())
