#!/usr/bin/python
"""Module host_resources_info: glue between Ansible and module_utils/rollout/host_resources.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_resources_info
short_description: CPU, load, memory and disks of a Linux host
description:
  - Reads C(/proc) and asks the file systems. Starts nothing.
  - CPU is measured over O(window), or since an earlier call.
  - In a container with a limit of its own, memory is that of the container; CPU and load are those of the machine.
options:
  paths:
    description: Paths whose file systems are measured. One that does not exist stands for its nearest parent that does.
    type: list
    elements: path
    default: []
  window:
    description: Time over which CPU is measured, seconds; 0.1 at least.
    type: float
    default: 1
  since:
    description:
      - C(counters) of an earlier call. CPU is then measured from that call on, and O(window) is not waited for.
      - Those of before a restart of the host are not used.
    type: dict
    default: {}
attributes:
  check_mode:
    support: full
    description: Changes nothing in either mode.
  diff_mode:
    support: none
    description: There is never a difference.
  idempotent:
    support: full
    description: Only reads.
author:
  - The rollout's founders (@rollout)
"""

EXAMPLES = r"""
- name: See how busy the host is
  host_resources_info:
    paths: [/, /srv/app]
    window: 2
  register: resources

- name: Refuse a busy host
  ansible.builtin.assert:
    that: resources.host.cpu_percent < 50
"""

RETURN = r"""
host:
  description: The resources. Sizes in bytes, shares in percent of all CPUs.
  type: dict
  returned: success
  contains:
    cpus:
      description: Number of CPUs that are online.
      type: int
    cpu_percent:
      description: Share of the time in which the CPUs were not there to be used; all but idle and waiting for a disk.
      type: float
    iowait_percent:
      description: Share of the time in which they waited for a disk.
      type: float
    steal_percent:
      description: Share that other guests of the same machine took. Part of RV(host.cpu_percent).
      type: float
    measured_s:
      description: Time that these shares are of, seconds.
      type: float
    load1:
      description: Load over the last minute, as are C(load5) and C(load15) over the last five and fifteen.
      type: float
    load5:
      description: Load over the last five minutes.
      type: float
    load15:
      description: Load over the last fifteen minutes.
      type: float
    mem_total:
      description: Memory.
      type: int
    mem_available:
      description: Memory that programs can have without swapping, as the kernel estimates it.
      type: int
    mem_limited:
      description: Whether these two are a container's and not the machine's.
      type: bool
    swap_used:
      description: Swap in use.
      type: int
    disks:
      description: For each of O(paths) its path, the path that was measured, free_bytes for an ordinary user (null when
        it could not be measured), and error.
      type: list
      elements: dict
    counters:
      description: To hand to a later call as O(since).
      type: dict
details:
  description: What is wrong, in reason.
  type: dict
  returned: failure
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.rollout import host_resources
from ansible.module_utils.rollout.errors import RolloutError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "paths": {"type": "list", "elements": "path", "default": []},
            "window": {"type": "float", "default": 1},
            "since": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        host = host_resources.read(given["paths"], given["window"], given["since"])
    except RolloutError as error:
        module.fail_json(msg=str(error), details=error.details)
    module.exit_json(changed=False, host=host)


if __name__ == "__main__":
    main()
