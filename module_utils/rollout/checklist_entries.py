"""The inventory's say on the success checklist: items switched off or tightened, and checks of one's own. Pure."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.rollout.errors import RolloutError

#: Items of pg_checklist_info, with what may be set for each.
DATABASE_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "tables": (),
    "partitions": (),
    "indexes": (),
    "functions": (),
    "triggers": (),
    "checks": (),
    "foreign_keys": (),
    "unique_keys": (),
    "not_null": (),
    "round_trip": (),
    "partition_routing": (),
    "pruning": (),
    "access_paths": ("few_rows",),
    "row_counts": (),
    "server_errors": (),
    "size_growth": ("allowance_mb",),
    "sample_story": (),
    "unchanged_neighbours": (),
}
#: What an item that does not hold counts as.
SEVERITIES = ("failed", "warning")
_OF_ANY = ("enabled", "id", "reason", "severity")
_OF_QUERY = ("expected", "hint", "id", "query", "severity", "title")
_REQUIRED_OF_QUERY = ("title", "query", "expected")
#: Least and most that a limit may be, where it is not any number of 0 or more: one that nothing reaches is no limit.
_RANGES = {"percent": (1.0, 100.0), "window": (0.1, 600.0)}
_ID = re.compile(r"[a-z][a-z0-9_]{0,62}")


@dataclass(frozen=True)
class Setting:
    """What the inventory says of one item.

    :ivar reason: why it is switched off
    :ivar severity: ``failed``: its warnings are failures; ``warning``: its failures are warnings; empty: as found
    :ivar options: limits of its own, by name
    """

    enabled: bool = True
    reason: str = ""
    severity: str = ""
    options: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Entries:
    """The inventory's list, understood.

    :ivar settings: by item, checks of one's own included
    :ivar queries: checks of one's own, as ``pg_checklist_info`` takes them
    """

    settings: Mapping[str, Setting]
    queries: Sequence[Mapping[str, Any]]

    def of(self, item: str) -> Setting:
        """What is said of an item; the default where nothing is."""
        return self.settings.get(item, Setting())


def parse(checks: Any, options: Mapping[str, Collection[str]]) -> Entries:
    """Understand ``verify_checks``.

    :param options: the items that there are, with the names of what may be set for each
    :raises RolloutError: naming every entry that cannot be kept
    """
    if not isinstance(checks, list):
        raise RolloutError(f"verify_checks is {type(checks).__name__}, not a list", hint=_hint(options))
    settings: dict[str, Setting] = {}
    queries: list[Mapping[str, Any]] = []
    problems = []
    for number, entry in enumerate(checks):
        wrong = list(_problems(entry, options, settings))
        named = f" ({entry['id']})" if isinstance(entry, Mapping) and isinstance(entry.get("id"), str) else ""
        problems += [f"verify_checks[{number}]{named}: {problem}" for problem in wrong]
        if wrong:
            continue
        settings[str(entry["id"])] = Setting(
            enabled=entry.get("enabled", True),
            reason=str(entry.get("reason", "")),
            severity=str(entry.get("severity", "")),
            options={name: entry[name] for name in options.get(entry["id"], ()) if name in entry},
        )
        if "query" in entry:
            queries.append({name: value for name, value in entry.items() if name != "severity"})
    if problems:
        raise RolloutError("\n".join(problems), hint=_hint(options))
    return Entries(settings, queries)


def _hint(options: Mapping[str, Collection[str]]) -> str:
    return (
        "Correct verify_checks in the inventory (group_vars/all/verify.yml). The items are"
        f" {', '.join(options)}. An entry with a query is a check of your own: {', '.join(_OF_QUERY)}. The others take"
        " enabled with a reason, severity, and the item's own limits; roles/verify/README.md lists them."
    )


def _problems(entry: Any, options: Mapping[str, Collection[str]], before: Collection[str]) -> Iterator[str]:
    if not isinstance(entry, Mapping):
        yield f"{entry!r} is no mapping with an id"
        return
    item = entry.get("id")
    if not isinstance(item, str) or not item:
        yield "it has no id"
        return
    if item in before:
        yield "there is an entry for it already"
    own = "query" in entry
    if own:
        if item in options:
            yield "an item of the checklist has this name; a check of your own needs another"
        elif not _ID.fullmatch(item):
            yield "a name of small letters, digits and underscores is needed"
        yield from (f"{name} is missing" for name in _REQUIRED_OF_QUERY if name not in entry)
        yield from (
            f"{name} is {entry[name]!r}, not a text"
            for name in ("title", "query", "hint")
            if name in entry and not (isinstance(entry[name], str) and entry[name].strip())
        )
    elif item not in options:
        yield f"there is no such item{_nearest(item, options)}"
        return
    allowed = _OF_QUERY if own else (*_OF_ANY, *options[item])
    for name in entry:
        if name not in allowed:
            yield f"there is no option {name}{_nearest(str(name), allowed)}; it takes {', '.join(sorted(allowed))}"
    severity = entry.get("severity", "failed")
    if severity not in SEVERITIES:
        yield f"severity is {severity!r}, not one of {', '.join(SEVERITIES)}"
    if own:
        return
    enabled = entry.get("enabled", True)
    if not isinstance(enabled, bool):
        yield f"enabled is {enabled!r}, not true or false"
    elif not enabled and not str(entry.get("reason") or "").strip():
        yield "it is switched off without a reason"
    elif enabled and "reason" in entry:
        yield "it has a reason, which only an item that is switched off has (enabled: false)"
    for name in options[item]:
        least, most = _RANGES.get(name, (0.0, math.inf))
        value = entry.get(name, least)
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or not least <= value <= most:
            allowed_range = f"between {least:g} and {most:g}" if name in _RANGES else "of 0 or more"
            yield f"{name} is {value!r}, not a number {allowed_range}"


def _nearest(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""
