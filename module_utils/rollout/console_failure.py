"""What a failed task has to say, each thing once: its result and Ansible's own error repeat each other. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

#: What Ansible puts before every error, in this order.
_FRAME = ("Task failed", "Action failed", "Module failed")


def message(said: str, event: Any | None) -> str:
    """The whole message of a failure.

    :param said: ``msg`` of the task's result
    :param event: Ansible's error of the task, with what caused it; None: there is none
    """
    parts: list[str] = []
    for text in (said, *(text for one in _chain(event) for text in (one.msg, one.help_text))):
        text = _unframed((text or "").strip())
        bare = text.rstrip(".")
        if not bare or any(bare in part for part in parts):
            continue
        parts = [part for part in parts if part.rstrip(".") not in text]
        parts.append(text)
    return "\n".join(parts)


def origins(event: Any | None) -> list[str]:
    """Where it comes from, such as ``/srv/roles/gate/tasks/main.yml:60:7``, the task first."""
    contexts = [one.formatted_source_context or "" for one in _chain(event)]
    lines = [context.splitlines()[0] for context in contexts if context]
    return list(dict.fromkeys(line.removeprefix("Origin: ") for line in lines))


def tracebacks(event: Any | None) -> list[str]:
    """Python's, where Ansible was told to keep them."""
    return [one.formatted_traceback.strip() for one in _chain(event) if one.formatted_traceback]


def first_words(text: str) -> str:
    """The beginning of a message, for a sentence: its first line, or two where the first only announces."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return "it says nothing"
    told = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    return told if len(told) <= 200 else f"{told[:199].rstrip()}…"


def _unframed(text: str) -> str:
    for frame in _FRAME:
        text = "" if text.rstrip(".") == frame else text.removeprefix(f"{frame}: ")
    return text


def _chain(event: Any | None) -> Iterator[Any]:
    while event is not None:
        yield event
        for part in event.events or ():
            yield from _chain(part)
        event = event.chain.event if event.chain else None
