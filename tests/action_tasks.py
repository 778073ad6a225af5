"""Runs an action plugin's own code the way a task does, without a play and without a connection."""

from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play_context import PlayContext  # type: ignore[import-untyped]
from ansible.playbook.task import Task  # type: ignore[import-untyped]
from ansible.plugins.action import ActionBase
from ansible.template import Templar


class NoShell:
    tmpdir = "/nowhere"


class NoConnection:
    """What an action asks of a connection that it does not use."""

    _shell = NoShell()
    has_pipelining = False
    transport = "local"


def make_action(plugin: type[ActionBase], arguments: dict[str, Any], *, check: bool = False) -> Any:
    """An action as Ansible makes it for a task.

    :param arguments: the task's arguments, templated already
    :param check: whether the task runs in check mode
    """
    task = Task()
    task.action = plugin.__module__.rpartition(".")[2]
    task.args = arguments
    task.check_mode = check
    task.async_val = 0
    return plugin(
        task=task,
        connection=NoConnection(),
        play_context=PlayContext(),
        loader=DataLoader(),
        templar=Templar(),
        shared_loader_obj=None,
    )
