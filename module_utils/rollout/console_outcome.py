"""How a run ended, in one sentence. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible.module_utils.rollout.console_failure import first_words
from ansible.module_utils.rollout.console_phases import duration


@dataclass(frozen=True)
class Failure:
    """A task that failed.

    :ivar phase: label of the phase
    """

    host: str
    phase: str
    message: str


def sentence(
    recap: Mapping[str, Mapping[str, int]], failures: Sequence[Failure], *, seconds: float, check: bool
) -> str:
    """The outcome.

    :param recap: Ansible's counts by host
    :param failures: in the order they came
    :param seconds: that the run took
    :param check: whether it was a dry run
    """
    took = duration(seconds)
    red = sorted(host for host, counts in recap.items() if counts["failures"] or counts["unreachable"])
    if red:
        first = next((one for one in failures if one.host in red), None)
        if first is None:
            return f"FAILED after {took} on {', '.join(red)}."
        # Where it began to go wrong, and what was said at the end of it: a rescue tells the whole.
        last = [one for one in failures if one.host == first.host][-1]
        where = f"{first.host} in {first.phase}" if first.phase else first.host
        some = f"{len(red)} of {len(recap)} hosts ({', '.join(red)}), first on " if len(recap) > 1 else ""
        return f"FAILED after {took} on {some}{where}: {first_words(last.message)}"
    if not recap:
        return "Nothing was done: no host was asked to do anything."
    changed = sum(counts["changed"] for counts in recap.values())
    rescued = sum(counts["rescued"] for counts in recap.values())
    after = f", after {_number(rescued, 'failure')} that the playbook handled" if rescued else ""
    if check:
        would = f"{_number(changed, 'task')} would change something" if changed else "nothing is to be done"
        return f"The dry run ended well after {took}{after}: nothing was changed, {would}."
    did = f"{_number(changed, 'task')} changed something" if changed else "nothing had to be changed"
    return f"The run ended well after {took}{after}: {did}."


def _number(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
