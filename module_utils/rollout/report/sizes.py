"""How large the database was before, and after. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible.module_utils.rollout.report.reading import mapping, mappings, number
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
    """Before the run, and after what it did; what nobody measured is not there."""
    backups, watches = of_kind(sections, "backup"), of_kind(sections, "watch")
    grown = [
        evidence
        for section in of_kind(sections, "verify")
        for item in mappings(section.data.get("findings"))
        if "database_grown_bytes" in (evidence := mapping(item.get("evidence")))
    ]
    before = [
        *(section.data.get("database_bytes") for section in backups),
        *(_size(section.data.get("baseline")) for section in watches),
        *(
            now - more
            for evidence in grown
            if (now := number(evidence.get("database_bytes"))) is not None
            and (more := number(evidence.get("database_grown_bytes"))) is not None
        ),
    ]
    samples = [_size(sample) for section in watches for sample in mappings(section.data.get("samples"))]
    found = (
        ("before", [size for size in before if number(size) is not None][:1]),
        ("at the checklist", [evidence.get("database_bytes") for evidence in grown][-1:]),
        ("at the end of the watch", [size for size in samples if number(size) is not None][-1:]),
    )
    return [
        Size(when, size) for when, values in found for value in values if (size := number(value)) is not None
    ]


def _size(looked: Any) -> Any:
    return mapping(mapping(looked).get("database")).get("size")
