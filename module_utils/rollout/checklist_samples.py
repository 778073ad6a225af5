"""The data that makes a migration's behaviour testable, as it travels to the target host.

It stands beside the migration, in samples.yml (docs/migrations.md), and is no part of it: it may be improved after the
migration was applied.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

#: ``{table.column}``: the value of a sample row; ``{free.3}``: a number that no real row has.
PLACEHOLDER = re.compile(r"\{([a-z_][a-z0-9_$]*)\.([a-z0-9_$]+)\}")


@dataclass(frozen=True)
class Samples:
    """What one migration's file says, or all of them together.

    :ivar migration: the migration's id; empty for several
    :ivar rows: table -> one good row
    :ivar another: table -> how a second row differs that may stand beside it
    :ivar checks: ``table.constraint`` -> ``good`` and ``bad`` values, each a mapping from column to value
    :ivar triggers: trigger function -> ``set`` (what an UPDATE sets) and ``then`` (what must hold of the row)
    :ivar round_trip: each with ``table`` and ``values``
    :ivar calls: each with ``function`` and ``steps``, or with ``skipped``, why it is not called
    :ivar access_paths: each with ``title``, ``query`` and ``index``, a list of which one must be used
    :ivar story: steps
    """

    migration: str = ""
    rows: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    another: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    checks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    triggers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    round_trip: tuple[Mapping[str, Any], ...] = ()
    calls: tuple[Mapping[str, Any], ...] = ()
    access_paths: tuple[Mapping[str, Any], ...] = ()
    story: tuple[Mapping[str, Any], ...] = ()


def dump(samples: Iterable[Samples]) -> str:
    """Samples as the JSON text that travels."""
    return json.dumps([asdict(one) for one in samples], ensure_ascii=False)


def parse(text: str) -> list[Samples]:
    """The reverse of :func:`dump`."""
    lists = ("round_trip", "calls", "access_paths", "story")
    # JSON knows lists only.
    return [Samples(**{**one, **{name: tuple(one[name]) for name in lists}}) for one in json.loads(text)]


def together(samples: Iterable[Samples], in_force: Collection[str]) -> Samples:
    """The samples of the migrations that are in force, in order: a later one adds to the rows of an earlier one.

    :param in_force: ids of migrations
    """
    chosen = [one for one in samples if one.migration in in_force]
    return Samples(
        rows=_merged(one.rows for one in chosen),
        another=_merged(one.another for one in chosen),
        checks=_merged(one.checks for one in chosen),
        triggers=_merged(one.triggers for one in chosen),
        round_trip=tuple(entry for one in chosen for entry in one.round_trip),
        calls=tuple(entry for one in chosen for entry in one.calls),
        access_paths=tuple(entry for one in chosen for entry in one.access_paths),
        story=tuple(entry for one in chosen for entry in one.story),
    )


def _merged(parts: Iterable[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for part in parts:
        for name, values in part.items():
            found.setdefault(name, {}).update(values)
    return found
