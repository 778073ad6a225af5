#!/usr/bin/python
"""Module pm2_info: glue between Ansible and module_utils/rollout/pm2_daemon.py and pm2_services.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pm2_info
short_description: How services under PM2 are, without starting anything
description:
  - Asks the daemon over the socket in its home. Never runs C(pm2), which would start a daemon where none is.
  - Takes from the answer what is named below and nothing else. The services' environment stays where it is.
  - Works with the daemons 5, 6 and 7. Needs nothing but Python's standard library.
  - A crash loop mostly reads C(online). Give O(window), or the RV(reading) of an earlier call as O(baseline).
options:
  home:
    description: PM2_HOME of the daemon, such as C(~/.pm2) of the user that PM2 runs as.
    type: path
    required: true
  services:
    description: Names of the services to judge. Empty means all that the daemon knows, without PM2's own modules.
    type: list
    elements: str
    default: []
  user:
    description:
      - User that the daemon and the services have to run as.
      - Without it the daemon must belong to the owner of O(home), and nothing is said about the services' users.
    type: str
  window:
    description: Seconds to wait between two readings that are compared. 0 means one reading.
    type: float
    default: 0
  baseline:
    description: RV(reading) of an earlier call, to compare with. Excludes O(window).
    type: dict
  timeout:
    description: Longest wait for the daemon's answer, seconds.
    type: float
    default: 5
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
- name: See how the services are before anything is changed
  pm2_info:
    home: "{{ pm2_home }}"
    services: "{{ pm2_services }}"
    window: 3
  register: before

- name: Refuse to start on an application that is not well
  ansible.builtin.assert:
    that: before.healthy
    fail_msg: "{{ before.problems | map(attribute='text') | join('; ') }}"

- name: See whether a service was restarted since
  pm2_info:
    home: "{{ pm2_home }}"
    services: "{{ pm2_services }}"
    baseline: "{{ before.reading }}"
"""

RETURN = r"""
healthy:
  description: Whether there are neither problems nor unexpected changes.
  type: bool
  returned: success
daemon:
  description: The daemon that answered; home, pid, user, uid and version.
  type: dict
  returned: success
services:
  description: The judged services by name.
  type: dict
  returned: success
  contains:
    state:
      description: One of online, idle (stopped between two scheduled runs), restarting, down and missing.
      type: str
    online:
      description: Whether every instance is online and none has just come back from a crash.
      type: bool
    instances:
      description: Number of entries in PM2's list.
      type: int
    configured_instances:
      description: Number of instances as configured. C(pm2 scale) does not change it.
      type: int
    pids:
      description: Process ids of the running instances.
      type: list
      elements: int
    restarts:
      description: Restarts of all instances since PM2 knows them. Judge its change, never the number.
      type: int
    uptime:
      description: Seconds since the youngest instance started; null when none runs.
      type: float
    memory:
      description: Bytes, all instances together.
      type: int
    cpu:
      description: Percent of one core, all instances together.
      type: float
    cron:
      description: Whether PM2 restarts it by a schedule.
      type: bool
    autorestart:
      description: Whether PM2 starts it again when it ends.
      type: bool
    logs:
      description:
        - Its log files, path (absolute), streams (out, err) and the other services that write to the same file.
        - A stream that PM2 discards is not listed.
      type: list
      elements: dict
    processes:
      description: The instances one by one.
      type: list
      elements: dict
    problems:
      description: What is not as it should be with this service.
      type: list
      elements: dict
problems:
  description: >-
    All problems; service, code (missing, duplicated, not_online, restarting, process_gone, other_user, mixed_users)
    and text.
  type: list
  elements: dict
  returned: success
changes:
  description: >-
    Differences to the baseline or within the window; service, code (daemon_replaced, vanished, appeared, restarted,
    started_again, pid_changed, status_changed), text and whether a schedule explains it (expected).
  type: list
  elements: dict
  returned: success
elsewhere:
  description: For missing services, the other homes whose daemons know a service of that name.
  type: dict
  returned: success
modules:
  description: PM2's own modules, such as pm2-logrotate. They are no services.
  type: list
  elements: str
  returned: success
reading:
  description: To hand to a later call as O(baseline).
  type: dict
  returned: success
details:
  description: >-
    Why the daemon could not be asked, in reason; one of no_home, no_daemon, stale_socket, no_permission, timeout,
    connection_lost, other_user, unexpected_answer, no_such_user and bad_baseline.
  type: dict
  returned: failure
"""

import time
from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.rollout import pm2_daemon, pm2_services
from ansible.module_utils.rollout.errors import RolloutError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "home": {"type": "path", "required": True},
            "services": {"type": "list", "elements": "str", "default": []},
            "user": {"type": "str"},
            "window": {"type": "float", "default": 0},
            "baseline": {"type": "dict"},
            "timeout": {"type": "float", "default": 5},
        },
        supports_check_mode=True,
    )
    given = module.params
    if given["baseline"] is not None and given["window"]:
        module.fail_json(
            msg="baseline and window exclude each other: a baseline already is the first reading"
        )
    home, user = given["home"], given["user"]
    try:
        baseline = given["baseline"]
        if given["window"] > 0:
            daemon, processes = pm2_daemon.read(home, user=user, timeout=given["timeout"])
            baseline = pm2_services.reading(processes, daemon.pid)
            time.sleep(given["window"])
        daemon, processes = pm2_daemon.read(home, user=user, timeout=given["timeout"])
        wanted = given["services"] or sorted({one.name for one in processes if not one.is_module})
        services = pm2_services.judge(
            processes,
            wanted,
            now_ms=int(time.time() * 1000),
            user=(pm2_daemon.user_id(user), user) if user else None,
        )
        reading = pm2_services.reading(processes, daemon.pid)
        changes = [] if baseline is None else pm2_services.compare(baseline, reading, wanted)
        elsewhere = pm2_daemon.elsewhere(
            [name for name, service in services.items() if service.state == "missing"], home
        )
    except RolloutError as error:
        module.fail_json(msg=str(error), details=error.details)
    problems = [asdict(problem) for service in services.values() for problem in service.problems]
    module.exit_json(
        changed=False,
        # Nothing judged is not healthy: an empty list is what a wrong home answers.
        healthy=bool(services) and not problems and all(change.expected for change in changes),
        daemon=daemon.as_result(),
        services={name: pm2_services.as_result(service) for name, service in services.items()},
        problems=problems,
        changes=[asdict(change) for change in changes],
        elsewhere=elsewhere,
        modules=sorted({one.name for one in processes if one.is_module}),
        reading=reading,
    )


if __name__ == "__main__":
    main()
