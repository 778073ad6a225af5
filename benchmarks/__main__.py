"""``python -m benchmarks``: measure, print tables, write docs/performance.md.

The exit code is 1 when a required ratio is missed or could not be measured.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import ROOT, backup, first_apply, no_op, partitions, past, report
from benchmarks.bench import CACHE, Bench
from benchmarks.report import Section

DOCUMENT = ROOT / "docs" / "performance.md"

EXPERIMENTS: dict[str, Callable[[Bench, Callable[[str], None]], list[Section]]] = {
    "first-apply": first_apply.measure,
    "no-op": no_op.measure,
    "past": past.measure,
    "backup": backup.measure,
    "partitions": partitions.measure,
}


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmarks and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure, print tables, write docs/performance.md."
    )
    parser.add_argument(
        "--only",
        choices=[*EXPERIMENTS],
        action="append",
        help="run this experiment alone; docs/performance.md is then left as it is",
    )
    chosen = parser.parse_args(arguments)
    # As at Ctrl-C: the server is stopped on the way out.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:4.0f} s] {text}", flush=True)

    sections: list[Section] = []
    results = CACHE / "results" / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.json"
    with Bench() as bench:
        machine = bench.machine()
        print(machine, flush=True)
        for name in chosen.only or EXPERIMENTS:
            for section in EXPERIMENTS[name](bench, say):
                print(f"\n{report.as_text(section)}", flush=True)
                sections.append(section)
            # After each experiment: one that fails must not cost what the others found.
            _write_results(results, machine, sections)
    ratios = [ratio for section in sections for ratio in section.ratios]
    print(report.as_text(report.verdicts(ratios)))
    print(f"Every single measurement: {results}")
    if not chosen.only:
        report.write_document(DOCUMENT, report.document(machine, sections))
        print(f"Written: {DOCUMENT}")
    missed = [ratio for ratio in ratios if not ratio.held]
    for ratio in missed:
        measured = "" if ratio.value is None else f" ({ratio.value:.3f}, allowed {ratio.limit:.3g})"
        print(f"Missed: {ratio.name}: {ratio.verdict}{measured}", file=sys.stderr)
    return 1 if missed else 0


def _write_results(path: Path, machine: str, sections: list[Section]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    results = {
        "machine": machine,
        "ratios": [vars(ratio) | {"held": ratio.held} for section in sections for ratio in section.ratios],
        "samples": {section.title: section.samples for section in sections},
    }
    path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
