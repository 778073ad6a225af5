"""Charts of a watch as SVG without script and colours of its own: the page's style sheet gives it both themes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from ansible.module_utils.rollout.report.reading import mapping, number
from ansible.module_utils.rollout.report.wording import size

#: Seconds since the first sample, and the value; None where it could not be read.
Points = Sequence[tuple[float, "float | None"]]
_WIDTH, _HEIGHT = 360, 150
#: Space for half of the last label below the axis.
_RIGHT = 24
#: From here on the axis has minutes.
_LONG_S = 600
_NICE = (1.0, 2.0, 2.5, 5.0, 10.0)
#: What is drawn for nobody but the library's own script and style.
_DROPPED = ("script", "style", "desc", "title")


@dataclass(frozen=True)
class Chart:
    """One chart.

    :ivar said: the first value, the last one and the highest
    :ivar svg: the picture; empty when no sample has a value
    """

    title: str
    said: str
    svg: str


@dataclass(frozen=True)
class _Kind:
    title: str
    value: Callable[[Mapping[str, Any]], float | None]
    word: Callable[[float], str]
    from_zero: bool


def _flat(name: str) -> Callable[[Mapping[str, Any]], float | None]:
    return lambda sample: number(sample.get(name))


def _database(name: str) -> Callable[[Mapping[str, Any]], float | None]:
    return lambda sample: number(mapping(sample.get("database")).get(name))


def _plain(value: float) -> str:
    return f"{value:.0f}"


def _percent(value: float) -> str:
    return f"{value:.0f} %" if value >= 10 or value == round(value) else f"{value:.1f} %"


_KINDS = (
    _Kind("Memory of the services", _flat("memory"), size, from_zero=False),
    _Kind("CPU of the services, of one CPU", _flat("cpu"), _percent, from_zero=True),
    _Kind("Connections to the server", _database("connections"), _plain, from_zero=True),
    _Kind("Size of the database", _database("size"), size, from_zero=False),
    _Kind("New errors since the baseline", _flat("new_errors"), _plain, from_zero=True),
)


def charts_of(samples: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """The charts of a watch's samples; one whose values were never read says so."""
    times = [number(sample.get("at")) for sample in samples]
    begin = next((at for at in times if at is not None), 0.0)
    found = []
    for kind in _KINDS:
        points = [
            (at - begin, kind.value(sample))
            for at, sample in zip(times, samples, strict=True)
            if at is not None
        ]
        known = [value for _, value in points if value is not None]
        if not known:
            found.append(Chart(kind.title, "not read", ""))
            continue
        said = f"{kind.word(known[0])} → {kind.word(known[-1])}, at most {kind.word(max(known))}"
        found.append(Chart(kind.title, said, _drawn(kind, points, known, said)))
    return found


def ticks(low: float, high: float, most: int = 4) -> list[float]:
    """Round numbers from at most ``low`` to at least ``high``."""
    if high <= low:
        high = low + 1
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * nice for nice in _NICE if power * nice >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [at * step for at in range(first, last + 1)]


def _scale(kind: _Kind, known: Sequence[float]) -> list[float]:
    low, high = min(known), max(known)
    if kind.word is size:
        # Noise of a few kilobytes must not look like a mountain: the axis spans a tenth of the value at least.
        middle, span = (low + high) / 2, max(high - low, high * 0.1, 1.0)
        low, high = max(0.0, min(low, middle - span / 2)), max(high, middle + span / 2)
        unit = 1024.0 ** max(0, math.floor(math.log(max(high, 1.0), 1024)))
        return [tick * unit for tick in ticks(low / unit, high / unit)]
    whole = kind.word is _plain
    found = ticks(0.0 if kind.from_zero else low, max(high, 4.0 if whole else 1.0))
    return [tick for tick in found if not whole or tick == round(tick)]


def _drawn(kind: _Kind, points: Points, known: Sequence[float], said: str) -> str:
    # Only where there is something to draw: a run without a watch needs no plotting library.
    from pygal import XY

    scale = _scale(kind, known)
    span = max((at for at, _ in points), default=0.0) or 1.0
    chart = XY(
        width=_WIDTH,
        height=_HEIGHT,
        margin=4,
        margin_right=_RIGHT,
        js=(),
        show_legend=False,
        dots_size=2.5,
        allow_interruptions=True,
        value_formatter=kind.word,
        x_value_formatter=_minutes if span >= _LONG_S else _seconds,
        x_labels=[0, span / 2, span],
        y_labels=scale,
        xrange=(0, span),
        range=(scale[0], scale[-1]),
    )
    chart.add("", list(points))
    root = chart.render_tree()
    for element in list(root.iter()):
        for child in list(element):
            if child.tag in _DROPPED or not isinstance(child.tag, str):
                element.remove(child)
    root.attrib.pop("id", None)
    root.set("class", "chart")
    root.set("role", "img")
    root.set("aria-label", f"{kind.title}: {said}")
    return ElementTree.tostring(root, encoding="unicode")


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min"


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s"
