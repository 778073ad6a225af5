"""Which section of a record is what, and in which order a run goes through them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.rollout.report.reading import mapping

#: Kinds by the first word of a section's name, and how the kind is called for people.
TITLES = {
    "precheck": "Precheck",
    "rehearsal": "Rehearsal",
    "message": "Message to the test phone",
    "backup": "Backup",
    "gate": "Gate",
    "migration": "Migration",
    "verify": "Checklist",
    "audit": "Audit of the code's queries",
    "watch": "Watch",
    "rollback": "Rollback",
    "restore": "Restore",
    "maintain": "Partitions",
    "stopped": "Stopped",
    "end": "End",
}
#: Kinds of which a report says so when they are not there. The others are particular to a playbook.
EXPECTED = ("precheck", "rehearsal", "backup", "gate", "message", "migration", "verify", "watch", "audit")


@dataclass(frozen=True)
class Section:
    """One section of a host.

    :ivar name: as recorded, such as ``gate after migration 0001_business_tables``
    :ivar kind: one of :data:`TITLES`, or empty: nobody here knows it
    :ivar about: the rest of the name
    """

    name: str
    kind: str
    about: str
    data: Mapping[str, Any]

    @property
    def failed(self) -> bool:
        """Whether the run failed for it."""
        return bool(self.data.get("failed") or self.data.get("unreachable"))

    @property
    def title(self) -> str:
        """For people."""
        if not self.kind:
            return self.name
        return f"{TITLES[self.kind]} {self.about}".strip()


def sections_of(host: Mapping[str, Any]) -> list[Section]:
    """The sections of a host, as they were recorded one after the other."""
    found = []
    for name, data in mapping(host.get("sections")).items():
        first, _, rest = name.partition(" ")
        known = first in TITLES
        found.append(Section(name, first if known else "", rest if known else "", mapping(data)))
    return sorted(found, key=lambda section: (str(section.data.get("recorded_at", "")), section.name))


def of_kind(sections: list[Section], kind: str) -> list[Section]:
    """Those of one kind, in their order."""
    return [section for section in sections if section.kind == kind]
