"""What the record of a run that ends without a last word of its own has to say. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.rollout.report.reading import mapping


@dataclass(frozen=True)
class Stop:
    """The task that a host's part of the run ended with.

    :ivar message: what the task said
    :ivar unreachable: whether nobody answered
    """

    task: str
    message: str
    unreachable: bool = False


def closing(
    record: Mapping[str, Any],
    hosts: Iterable[str],
    stops: Mapping[str, Stop],
    interrupted_in: str | None = None,
) -> dict[str, dict[str, Any]]:
    """A section for each host that ended badly while no section of it says so.

    :param record: report.json as it is
    :param hosts: that took part
    :param stops: hosts whose failure nobody rescued
    :param interrupted_in: the task during which the whole run was interrupted; None: it was not
    """
    known = mapping(record.get("hosts"))
    outcomes = {host: mapping(known.get(host)).get("outcome", "running") for host in {*hosts, *stops, *known}}
    found: dict[str, dict[str, Any]] = {}
    for host in sorted(outcomes):
        stop = stops.get(host)
        if outcomes[host] == "failed":
            continue
        if stop:
            found[host] = {
                "failed": True,
                "unreachable": stop.unreachable,
                "task": stop.task,
                "msg": stop.message,
            }
        elif interrupted_in is not None and outcomes[host] == "running":
            found[host] = {
                "failed": True,
                "interrupted": True,
                "task": interrupted_in,
                "msg": f"The run was interrupted in the task “{interrupted_in}”. What that task had begun may go on for"
                " a while; look at playbooks/verify.yml before the next run.",
            }
        elif stops and outcomes[host] == "running":
            first = next(iter(stops))
            found[host] = {
                "failed": True,
                "task": "",
                "msg": f"The run failed on another host ({first}), and was stopped on this one.",
            }
    return found
