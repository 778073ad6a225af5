"""What the benchmarks found, as a table for the terminal and for docs/performance.md, and whether it is good enough."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BEGIN = "<!-- measured: begin. Written by make bench; changes made here are lost. -->"
END = "<!-- measured: end -->"


@dataclass(frozen=True)
class Ratio:
    """A required ratio of two times that were measured in the same run.

    :ivar value: what was measured; None when it could not be
    :ivar limit: the highest value that is accepted
    :ivar reason: why it could not be measured
    """

    name: str
    value: float | None
    limit: float
    reason: str = ""

    @property
    def held(self) -> bool:
        """Whether the requirement is met. What was not measured is not."""
        return self.value is not None and self.value <= self.limit

    @property
    def verdict(self) -> str:
        """``held``, ``MISSED``, or why it was not measured."""
        if self.value is None:
            return f"NOT MEASURED: {self.reason}"
        return "held" if self.held else "MISSED"


@dataclass
class Section:
    """One experiment's outcome.

    :ivar columns: headings; the first column holds what was measured
    :ivar notes: sentences below the table
    :ivar samples: every single measurement, JSON-compatible, for the results file
    """

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    ratios: list[Ratio] = field(default_factory=list)
    samples: dict[str, Any] = field(default_factory=dict)


def median(samples: Iterable[float]) -> float:
    """The median: one disturbed measurement does not move it."""
    return statistics.median(list(samples))


def duration(seconds: float) -> str:
    """Seconds for a person: milliseconds below one second."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def as_text(section: Section) -> str:
    """A section for the terminal."""
    table = [section.columns, *section.rows]
    widths = [max(len(row[at]) for row in table) for at in range(len(section.columns))]
    lines = [section.title, "-" * len(section.title)]
    for row in table:
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        lines.append("  ".join(cells).rstrip())
    lines += [f"  {note}" for note in section.notes]
    return "\n".join(lines) + "\n"


def as_markdown(section: Section) -> str:
    """A section for the document."""
    lines = [f"### {section.title}", ""]
    lines.append(_markdown_row(section.columns))
    lines.append("|---|" + "---:|" * (len(section.columns) - 1))
    lines += [_markdown_row(row) for row in section.rows]
    for note in section.notes:
        lines += ["", note]
    return "\n".join(lines) + "\n"


def verdicts(ratios: Sequence[Ratio]) -> Section:
    """All required ratios as a section of their own."""
    return Section(
        title="Required ratios",
        columns=("Ratio", "Measured", "Allowed", "Verdict"),
        rows=[
            (
                ratio.name,
                "-" if ratio.value is None else f"{ratio.value:.2f}",
                f"{ratio.limit:.3g}",
                ratio.verdict,
            )
            for ratio in ratios
        ],
    )


def document(machine: str, sections: Sequence[Section]) -> str:
    """Everything that goes between the marks of docs/performance.md.

    :param machine: one paragraph: when, on what, with which versions
    """
    ratios = [ratio for section in sections for ratio in section.ratios]
    return "\n".join([machine + "\n", *(as_markdown(section) for section in [verdicts(ratios), *sections])])


def between_marks(text: str, content: str) -> str:
    """A document with what stands between the two marks replaced.

    :raises ValueError: the marks are not there exactly once, in order
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(
            f"the document must hold these two lines, once each and in this order:\n{BEGIN}\n{END}"
        )
    return f"{text[: text.index(BEGIN)]}{BEGIN}\n\n{content}\n{text[text.index(END) :]}"


def write_document(path: Path, content: str) -> None:
    """Put the measured part into the document."""
    path.write_text(between_marks(path.read_text(encoding="utf-8"), content), encoding="utf-8")


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
