"""What the latest gate of earlier runs saw, for a look that has no baseline of its own run. Reads the records."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.gate import GREEN
from ansible.module_utils.rollout.record import Record

_SECTION = "gate "


@dataclass(frozen=True)
class Recorded:
    """What to compare with.

    :ivar reference: for ``application_gate``; empty: there is none, and the first look is what later ones are compared
        with
    :ivar since: the same for people, to follow the word "since"
    """

    reference: Mapping[str, Any] = field(default_factory=dict)
    since: str = "the first look"


def latest(report_dir: Path, host: str, max_age_s: float) -> Recorded:
    """The latest gate of a host that any run recorded, when it was green and is not too old.

    After a red one everything may have been mended or not: nobody knows what to compare with.

    :param report_dir: folder with one folder a run
    :param max_age_s: since its last look, seconds; 0: none is wanted
    """
    now = time.time()
    found = [
        (float(section["samples"][-1]["at"]), run, section)
        for run, section in _gates(report_dir, host, now - max_age_s)
        if section.get("samples")
    ]
    if not found:
        return Recorded()
    at, run, section = max(found, key=lambda one: one[0])
    if section["state"] != GREEN or not 0 <= now - at < max_age_s:
        return Recorded()
    # Its clock was that of another process, perhaps of another machine.
    reference = {**section["reference"], "completed_at": time.monotonic() - (now - at)}
    moment = datetime.datetime.fromtimestamp(at, datetime.timezone.utc)
    return Recorded(reference, f"run {run} ({moment:%Y-%m-%d %H:%M} UTC)")


def _gates(report_dir: Path, host: str, oldest: float) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Gates in records that were written since, with the run's name."""
    if not report_dir.is_dir():
        return
    for folder in report_dir.iterdir():
        if folder.is_symlink() or not folder.is_dir() or folder.stat().st_mtime < oldest:
            continue
        try:
            sections = Record(report_dir, folder.name).sections(host)
        except RolloutError:
            continue  # no run's folder
        for name, section in sections.items():
            if name.startswith(_SECTION):
                yield folder.name, section
