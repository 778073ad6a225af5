"""A checklist as a table for a terminal, or as a line for each item where there is none. Pure."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible.module_utils.rollout.findings import STATUSES, Finding
from rich.box import ROUNDED
from rich.console import Console
from rich.table import Table
from rich.text import Text

#: How each status is told: mark, word, colour of the terminal's own palette.
_SHOWN = {
    "failed": ("✗", "FAILED", "red"),
    "warning": ("!", "warning", "yellow"),
    "not_tested": ("-", "not tested", "cyan"),
    "passed": ("✓", "passed", "green"),
}
#: Characters of what was observed where it was told before.
_SHORT = 120
#: Wider than any line; a log is not broken into a terminal's lines.
_UNBROKEN = 100_000


@dataclass(frozen=True)
class Row:
    """An item as it was found on some hosts.

    :ivar hosts: empty when it is so on all of them
    """

    status: str
    title: str
    observed: str
    hosts: tuple[str, ...] = ()


def rows(findings: Mapping[str, Sequence[Finding]]) -> list[Row]:
    """The items of a checklist, the worst first; hosts on which the same was seen share a row.

    :param findings: by host
    """
    found: dict[tuple[str, str, str], list[str]] = {}
    for host, items in findings.items():
        for one in items:
            found.setdefault((one.status, one.title, one.observed), []).append(host)
    together = [
        Row(status, title, observed, () if len(hosts) == len(findings) else tuple(hosts))
        for (status, title, observed), hosts in found.items()
    ]
    titles = list(dict.fromkeys(row.title for row in together))
    return sorted(together, key=lambda row: (STATUSES.index(row.status), titles.index(row.title)))


def table(title: str, rows: Sequence[Row], *, width: int, colour: bool) -> str:
    """A table with a frame, for a terminal.

    :param width: of the terminal, in characters
    :param colour: whether escape codes may be used
    """
    drawn = Table(box=ROUNDED, title=title, title_justify="left", title_style="bold", header_style="bold")
    _fill(drawn, rows, mark=True)
    return _rendered(drawn, width, colour)


def lines(title: str, rows: Sequence[Row]) -> str:
    """A line for each item, in columns, for a log."""
    drawn = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    _fill(drawn, rows, mark=False)
    return f"{title}\n{_rendered(drawn, _UNBROKEN, False)}"


def _fill(drawn: Table, rows: Sequence[Row], *, mark: bool) -> None:
    drawn.add_column("", no_wrap=True)
    drawn.add_column("Item")
    drawn.add_column("Observed", overflow="fold")
    some = any(row.hosts for row in rows)
    if some:
        drawn.add_column("Hosts")
    for row in rows:
        sign, word, style = _SHOWN[row.status]
        observed = _in_short(row.observed) if row.status in ("failed", "warning") else row.observed
        observed = observed if mark else " ".join(observed.split())
        # Text, not str: what was observed may hold brackets, which rich would take for its own.
        cells = [Text(f"{sign} {word}" if mark else word, style), Text(row.title), Text(observed)]
        drawn.add_row(*cells, *([Text(", ".join(row.hosts) or "all")] if some else []))


def _in_short(observed: str) -> str:
    """What needs attention has been told with everything that was seen, where it was judged."""
    first = "".join(observed.splitlines()[:1])
    if len(first) > _SHORT:
        # At a word's end, unless it is one word.
        first = first[: _SHORT + 1].rpartition(" ")[0] or first[:_SHORT]
    return first if first == observed else f"{first.rstrip(' ,;:')} …"


def _rendered(drawn: Table, width: int, colour: bool) -> str:
    out = io.StringIO()
    Console(
        file=out,
        width=width,
        force_terminal=colour,
        color_system="standard" if colour else None,
        legacy_windows=False,
        highlight=False,
        emoji=False,
    ).print(drawn)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())
