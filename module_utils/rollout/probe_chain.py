"""Whether a message was answered, as the services' logs tell it: an ordered chain of lines, each after its cause. Pure.

One line proves nothing: a job "completes" also when it failed, and the WhatsApp client sends messages to the same phone
for other reasons. So every step has to be there, for the same phone, the first with the message's nonce, and each after
the step that causes it. Which lines are steps is data.

The order of two lines of one file is that of the file; that of two files is told by the lines' own UTC times. Where one
has no such time it is not known, and not held against them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.rollout import log_events, log_patterns, log_redaction
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.log_patterns import LEVELS, Line, Pattern, trailing_object

_WORKER, _CLIENT = "ai-admin-worker-v2", "baileys-whatsapp-service"
#: A customer's line break begins a line without a level, whose text may look like anything.
_LEVELLED = [level for level in LEVELS if level != "none"]

#: The booking assistant's steps. The client says "sent" before the worker, which waits for it, says "accepted".
DEFAULT_CHAIN: tuple[Mapping[str, Any], ...] = (
    {
        "name": "processing",
        "service": _WORKER,
        "regex": r"(?:\[WHATSAPP\] )?Processing message from {phone}: .*{nonce}",
        "levels": _LEVELLED,
    },
    {
        "name": "sending",
        "service": _WORKER,
        "regex": r"Bot sending [1-9]\d* messages? to {phone}",
        "levels": _LEVELLED,
    },
    {
        "name": "accepted",
        "service": _WORKER,
        "regex": r"Message sent successfully via API",
        "levels": _LEVELLED,
    },
    {
        "name": "sent",
        "service": _CLIENT,
        "regex": r"Message sent to {phone}@s\.whatsapp\.net",
        "after": "sending",
        "levels": _LEVELLED,
    },
)

#: What the booking assistant's services say when there is no reply, or only something like one.
DEFAULT_INSTEAD: tuple[Mapping[str, Any], ...] = (
    {
        "name": "error_reply",
        "service": _WORKER,
        "regex": r"Bot response to {phone} \(error\)",
        "final": True,
        "levels": _LEVELLED,
    },
    {"name": "reaction", "service": _WORKER, "regex": r"(?:Sending r|R)eaction (?:sent )?to {phone}"},
    # Failures complete, too.
    {"name": "job_completed", "service": _WORKER, "regex": r"Job \S+ completed"},
    {
        "name": "other_message",
        "service": _WORKER,
        "regex": r"(?:\[WHATSAPP\] )?Processing message from {phone}: (?!.*{nonce})",
    },
    {"name": "send_failed", "service": _CLIENT, "regex": r"Failed to send message to {phone}"},
)

#: Fields of a line's object that say whom it is about, where its message does not.
_PHONE_FIELDS = ("phone", "to", "from", "recipient")
_KEYS = {"name", "service", "regex", "levels"}


@dataclass(frozen=True)
class Sign:
    """A kind of line.

    :ivar service: whose log it is in
    :ivar after: of a step: the name of the step that causes it; empty for the first
    :ivar final: of what may be seen instead: no reply comes any more
    """

    name: str
    service: str
    pattern: Pattern
    after: str = ""
    final: bool = False


@dataclass(frozen=True)
class Sighting:
    """A line of a kind that matters.

    :ivar path: of the log
    :ivar number: of the line, among all of this log since the bookmark
    :ivar at: the line's own time, seconds since 1970; None when it has none
    :ivar seen_at: when it was read, seconds since 1970
    """

    name: str
    service: str
    path: str
    number: int
    at: float | None
    seen_at: float


@dataclass(frozen=True)
class Chain:
    """What to look for, for one message.

    :ivar instead: kinds of lines that are no step and tell why one is missing
    :ivar phone: canonical
    """

    steps: tuple[Sign, ...]
    instead: tuple[Sign, ...]
    phone: str

    @property
    def services(self) -> list[str]:
        """The services whose logs are needed."""
        return list(dict.fromkeys(sign.service for sign in (*self.steps, *self.instead)))

    def sightings(
        self, services: Iterable[str], path: str, number: int, line: Line, seen_at: float
    ) -> list[Sighting]:
        """What a line is: mostly nothing.

        :param services: whose log it is in
        """
        found = [
            sign
            for sign in (*self.steps, *self.instead)
            if sign.service in services and sign.pattern.matches(line)
        ]
        if not found or self._is_about_another(line):
            return []
        stamp = log_redaction.TIMESTAMP.search(line.message)
        at = log_events.seconds(stamp[1]) if stamp else None
        return [Sighting(sign.name, sign.service, path, number, at, seen_at) for sign in found]

    def _is_about_another(self, line: Line) -> bool:
        """Whether the object behind a message names another phone: several customers are answered at a time."""
        data = trailing_object(line)
        named = (re.match(r"\+?([0-9]{8,15})\b", str(data.get(name, ""))) for name in _PHONE_FIELDS)
        return any(number is not None and number[1] != self.phone for number in named)


@dataclass(frozen=True)
class Progress:
    """How far a message has come.

    :ivar found: the steps that were seen in order, by name
    :ivar missing: the first step that was not; empty when none is missing
    :ivar instead: the newest line of each kind that is no step, since the first step where that was seen
    :ivar final: the one after which no reply comes any more; a step seen beside it does not make up for it
    """

    found: Mapping[str, Sighting]
    missing: str
    instead: tuple[Sighting, ...]
    final: Sighting | None

    @property
    def complete(self) -> bool:
        return not self.missing and self.final is None


def follows(later: Sighting, earlier: Sighting) -> bool:
    """Whether a line may have been written after another."""
    if later.path == earlier.path:
        return later.number > earlier.number
    return later.at is None or earlier.at is None or later.at >= earlier.at


def judge(chain: Chain, sightings: Sequence[Sighting]) -> Progress:
    """Follow the chain: of each step the first line after its cause.

    :param sightings: each file's in its order; the files in any order
    """
    found: dict[str, Sighting] = {}
    for step in chain.steps:
        cause = found.get(step.after)
        if step.after and cause is None:
            continue
        for one in sightings:
            if one.name == step.name and (cause is None or follows(one, cause)):
                found[step.name] = one
                break
    first = found.get(chain.steps[0].name)
    kinds = {sign.name: sign for sign in chain.instead}
    newest: dict[str, Sighting] = {}
    for one in sightings:
        if one.name in kinds and (first is None or follows(one, first)):
            newest[one.name] = one
    return Progress(
        found=found,
        missing=next((step.name for step in chain.steps if step.name not in found), ""),
        instead=tuple(newest.values()),
        final=next((one for one in newest.values() if first is not None and kinds[one.name].final), None),
    )


def make_chain(
    steps: Sequence[Mapping[str, Any]], instead: Sequence[Mapping[str, Any]], phone: str, nonce: str
) -> Chain:
    """Make the lines to look for out of their description.

    :param steps: name, service, regex with ``{phone}`` and ``{nonce}`` in it, optionally after and levels; a step
        comes after the one before it in the list, unless it says otherwise
    :param instead: name, service, regex, optionally final and levels
    :param phone: canonical
    :raises RolloutError: an entry is not what it must be; says which and why
    """
    named: list[str] = []
    for place, entries, more in (("chain", steps, "after"), ("instead", instead, "final")):
        for number, entry in enumerate(entries):
            _check(f"{place}[{number}]", entry, more, named)
            named.append(entry["name"])
    if not steps or "{nonce}" not in steps[0]["regex"] or "{phone}" not in steps[0]["regex"]:
        raise _bad("chain", "its first step needs {phone} and {nonce}: else any message's line would do")
    made: list[Sign] = []
    for number, entry in enumerate(steps):
        before = [step.name for step in made]
        after = entry.get("after") or (before[-1] if before else "")
        if after and after not in before:
            raise _bad(f"chain[{number}]", f"after names {after!r}, which is no step before it")
        made.append(_sign(entry, "sign", phone, nonce, after=after))
    return Chain(
        tuple(made),
        tuple(_sign(entry, "problem", phone, nonce, final=bool(entry.get("final"))) for entry in instead),
        phone,
    )


def _check(place: str, entry: Mapping[str, Any], more: str, named: Sequence[str]) -> None:
    unknown = sorted(set(entry) - _KEYS - {more})
    if unknown:
        raise _bad(place, f"unknown key {unknown[0]!r}; the keys are {', '.join(sorted({*_KEYS, more}))}")
    if not all(isinstance(entry.get(key), str) and entry[key] for key in ("name", "service", "regex")):
        raise _bad(place, "name, service and regex have to be given")
    if entry["name"] in named:
        raise _bad(place, f"name {entry['name']!r} is given twice")


def _sign(
    entry: Mapping[str, Any], kind: str, phone: str, nonce: str, after: str = "", final: bool = False
) -> Sign:
    regex = entry["regex"].replace("{phone}", rf"(?<!\d){re.escape(phone)}(?!\d)")
    regex = regex.replace("{nonce}", re.escape(nonce))
    pattern = {"name": entry["name"], "kind": kind, "regex": regex, "levels": entry.get("levels")}
    (compiled,) = log_patterns.compile_patterns([pattern], defaults=False)
    return Sign(entry["name"], entry["service"], compiled, after, final)


def _bad(place: str, problem: str) -> RolloutError:
    return RolloutError(
        f"{place}: {problem}",
        hint="See options chain and instead in ansible-doc -t module message_probe.",
        details={"reason": "bad_chain", "place": place},
    )
