"""How large the database was before, and after. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from ansible.module_utils.rollout.report.reading import mapping, mappings, number, text
from ansible.module_utils.rollout.report.sections import Section, of_kind


@dataclass(frozen=True)
class Size:
    """The database at one moment.

    :ivar when: for people
    :ivar size: bytes
    """

    when: str
    size: float


def sizes_of(sections: list[Section]) -> list[Size]:
    """In the order of the run."""
    found: list[Size] = []

    def add(when: str, value: object) -> None:
        size = number(value)
        if size is not None:
            found.append(Size(when, size))

    for section in of_kind(sections, "backup"):
        add("before, at the backup", section.data.get("database_bytes"))
    for section in of_kind(sections, "verify"):
        for item in mappings(section.data.get("findings")):
            evidence = mapping(item.get("evidence"))
            add("before the run", evidence.get("bytes_before"))
            add("at the checklist", evidence.get("bytes_after"))
    for section in of_kind(sections, "watch"):
        baseline = mapping(section.data.get("baseline"))
        add(
            text(baseline.get("of")) or "baseline of the watch", mapping(baseline.get("database")).get("size")
        )
        samples = [mapping(sample.get("database")) for sample in mappings(section.data.get("samples"))]
        known = [sample.get("size") for sample in samples if number(sample.get("size")) is not None]
        add("at the end of the watch", known[-1] if known else None)
    return found
