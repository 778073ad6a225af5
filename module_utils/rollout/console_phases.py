"""The phases of a playbook, and how a run gets on through them. On the control node; nothing here prints.

A phase is what the playbook itself names: a role of a play, or a task of it. What these bring in belongs to them. The
list is read from the playbook that runs, so it cannot differ from it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible.errors import AnsibleError


@dataclass(frozen=True)
class Phase:
    """A part of a run that has a name of its own.

    :ivar tasks: Ansible's ids of the tasks that the playbook lists for it
    :ivar rescue: only entered when something failed
    """

    title: str
    tasks: frozenset[str]
    rescue: bool = False


def of_playbook(plays: Iterable[Any]) -> list[Phase]:
    """The phases that the tags select, in the order of the playbook.

    :param plays: Ansible's plays
    """
    return [phase for play in plays for phase in _of_play(play)]


def _of_play(play: Any) -> list[Phase]:
    listed = [
        *_of_tasks(play.pre_tasks),
        *(_of_role(role) for role in play.roles if not role.from_include),
        *_of_tasks(play.tasks),
        *_of_tasks(play.post_tasks),
    ]
    if len(listed) == 1:
        # What the play does as a whole is better told by its own name.
        listed = [(play.get_name(), *listed[0][1:])]
    phases = []
    for title, tasks, rescue in listed:
        selected = frozenset(task._uuid for task in tasks if _is_selected(task, play))
        if selected:
            phases.append(Phase(title, selected, rescue))
    return phases


def _of_role(role: Any) -> tuple[str, list[Any], bool]:
    return role.get_name(), [task for block in role.get_task_blocks() for task in block.get_tasks()], False


def _of_tasks(items: Iterable[Any], *, rescue: bool = False) -> Iterator[tuple[str, list[Any], bool]]:
    for _, together in itertools.groupby(items, _listed_as):
        item, *others = together
        if not hasattr(item, "rescue"):
            # What Ansible adds itself, such as running handlers, is never announced.
            if item.action not in ("meta", "ansible.builtin.meta"):
                yield item.get_name(), [item], rescue
        elif item._role is not None:
            # import_role has put the role's blocks here; its own name is the one that the playbook gives.
            yield (
                item._parent.get_name(),
                [task for one in (item, *others) for task in one.get_tasks()],
                rescue,
            )
        else:
            yield from _of_tasks(item.block, rescue=rescue)
            yield from _of_tasks(item.rescue, rescue=True)
            yield from _of_tasks(item.always, rescue=rescue)


def _listed_as(item: Any) -> str:
    imported = hasattr(item, "rescue") and item._role is not None
    return str(item._parent._uuid if imported else item._uuid)


def _is_selected(task: Any, play: Any) -> bool:
    try:
        return bool(task.evaluate_tags(play.only_tags, play.skip_tags, all_vars={}))
    except AnsibleError:
        # A tag that is made of variables: known when the play begins, which is too late for counting.
        return True


def rescue_of(task: Any) -> str | None:
    """The name of the first task that handles a failure of this one; None: the failure is the host's end.

    :param task: Ansible's task, which knows the blocks around it
    """
    inner, outer = task, task._parent
    while outer is not None:
        if getattr(outer, "rescue", None) and any(one._uuid == inner._uuid for one in outer.block):
            return str(outer.rescue[0].get_name())
        inner, outer = outer, outer._parent
    return None


@dataclass
class _Passage:
    """What came of one phase."""

    phase: Phase
    began: float
    changed: int = 0
    ran: set[str] = field(default_factory=set)
    skipped: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)


class Progress:
    """Where a run is.

    :ivar current: the phase that runs; None between plays
    """

    def __init__(self, phases: Sequence[Phase], clock: Callable[[], float]) -> None:
        """Begin before the first phase.

        :param clock: seconds of a clock that nobody sets
        """
        self._phases = phases
        self._clock = clock
        self._began = clock()
        self._of_task = {task: phase for phase in phases for task in phase.tasks}
        self._passage: _Passage | None = None

    @property
    def current(self) -> Phase | None:
        return self._passage.phase if self._passage else None

    @property
    def seconds(self) -> float:
        """Since the beginning of the run."""
        return self._clock() - self._began

    def begins(self, task: str) -> Phase | None:
        """The phase that begins with this task; None when it belongs to the phase that runs."""
        phase = self._of_task.get(task)
        return None if phase is None or phase == self.current else phase

    def begin(self, phase: Phase) -> None:
        self._passage = _Passage(phase, self._clock())

    def label(self, phase: Phase) -> str:
        """Such as ``(3/8) rehearse``. What runs only after a failure has no number."""
        counted = [one for one in self._phases if not one.rescue]
        if phase.rescue:
            return f"(rescue) {phase.title}"
        return f"({counted.index(phase) + 1}/{len(counted)}) {phase.title}"

    def note(self, host: str, outcome: str, *, changed: bool = False) -> None:
        """Count a task's result.

        :param outcome: ``ran``, ``skipped`` or ``failed``
        """
        if self._passage is None:
            return
        self._passage.changed += changed
        getattr(self._passage, outcome).add(host)

    def end(self) -> str:
        """End the phase that runs; how long it took and what came of it, such as ``0.4 s, 2 changed``."""
        passage = self._passage
        if passage is None:
            return ""
        self._passage = None
        only_skipped = passage.skipped - passage.ran - passage.failed
        told = [duration(self._clock() - passage.began)]
        if passage.changed:
            told.append(f"{passage.changed} changed")
        if passage.failed:
            told.append("FAILED on " + ", ".join(sorted(passage.failed)))
        if only_skipped:
            some = passage.ran or passage.failed
            told.append("skipped" + (" on " + ", ".join(sorted(only_skipped)) if some else ""))
        return ", ".join(told)


def duration(seconds: float) -> str:
    """Such as ``0.4 s`` or ``12 min 05 s``."""
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s"
