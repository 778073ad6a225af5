#!/usr/bin/python
"""Documentation of the action plugin application_watch; the looks are made by three modules on the target."""

from __future__ import annotations

DOCUMENTATION = r"""
module: application_watch
short_description: Go on looking at an application, its database and its host
description:
  - Looks again and again by M(application_info), M(pg_activity_info) and M(host_resources_info), judges each look
    against the baseline, prints a line, and keeps the section C(watch) of the run's record up to date.
  - A bad sample or two are a flap, and tolerated; after one, the next look comes after O(recheck). What time does not
    heal is red at once.
  - What cannot be looked at is a gap, which prolongs the watch. It says nothing about the application.
  - Never fails for what it sees. Judge RV(state).
options:
  state:
    description:
      - V(watched) watches.
      - V(begun) looks at nothing. It refuses a plan and limits that cannot be kept. For the beginning of a run.
    type: str
    choices: [begun, watched]
    default: watched
  look:
    description: Arguments of M(application_info), without bookmarks and baseline. Empty, no application is looked at.
    type: dict
    default: {}
  database:
    description: Arguments of M(pg_activity_info). Empty, the database is not looked at.
    type: dict
    default: {}
  host:
    description: Arguments of M(host_resources_info), without C(since). Empty, the host is not looked at.
    type: dict
    default: {}
  reference:
    description: RV(reference) of an M(application_gate) in this run, to compare with. Without it the first look is the
      baseline.
    type: dict
    default: {}
  baseline:
    description: What the database and the host were before; at (seconds since 1970), C(database) and C(host) as the
      modules return them. Without it the first look is the baseline.
    type: dict
    default: {}
  duration:
    description: Time to watch, seconds.
    type: float
    default: 1800
  interval:
    description: From one sample to the next, seconds.
    type: float
    default: 300
  recheck:
    description: From a bad sample, or one that could not be made, to the next look, seconds.
    type: float
    default: 60
  red_samples:
    description: Bad looks that make the watch red, not necessarily in a row.
    type: int
    default: 3
  broken_samples:
    description: Looks in a row that cannot be made, after which the watch is given up.
    type: int
    default: 10
  error_lines:
    description: New lines of level error that a service may log during the watch.
    type: int
    default: 20
  problem_lines:
    description: New lines of one problem pattern that a service may log.
    type: int
    default: 20
  problem_budgets:
    description: The same for single patterns, by name.
    type: dict
    default: {}
  rate_factor:
    description: How many times the baseline's rate of such lines is allowed besides.
    type: float
    default: 2
  errors_per_minute:
    description: Rate of such lines that is allowed besides where there is no baseline of a gate.
    type: float
    default: 1
  limits:
    description: Limits of the database's and the host's figures, by the names and units in docs/watch.md.
    type: dict
    default: {}
  on_red:
    description: What the caller will do when it is red; for the record.
    type: str
    choices: [fail, roll_back]
    default: fail
  alone:
    description:
      - Whether nothing but the watch is done now. Then an unfinished watch in the run's record is continued, and of a
        finished one the outcome is returned. A run that has other sections, but came neither to its watch nor to its
        end, is refused.
      - Otherwise the watch begins anew.
    type: bool
    default: false
  report_dir:
    description: Folder on the control node that holds one folder a run.
    type: path
    required: true
  run_id:
    description: The run.
    type: str
    required: true
attributes:
  check_mode:
    support: full
    description: Does nothing in check mode, not even wait.
  diff_mode:
    support: none
    description: There is never a difference.
  idempotent:
    support: full
    description: Only reads; a finished watch is not repeated.
author:
  - The rollout's founders (@rollout)
"""

EXAMPLES = r"""
- name: Watch for half an hour
  application_watch:
    look:
      pm2_home: "{{ pm2_home }}"
      services: "{{ pm2_services }}"
    database: "{{ pg_connection }}"
    host:
      paths: [/]
    report_dir: "{{ report_dir }}"
    run_id: "{{ run_id }}"
  register: watched
  failed_when: watched.state != 'green'
"""

RETURN = r"""
state:
  description: One of C(green), C(red) and C(broken).
  type: str
  returned: success, not in check mode
reasons:
  description: Why it is not green; when it is, what was tolerated and which gaps there were.
  type: list
  elements: str
  returned: success, not in check mode
gaps:
  description: Time in which nobody could look; begin, end, seconds and reason.
  type: list
  elements: dict
  returned: success, not in check mode
watched_s:
  description: Seconds that were watched, without gaps.
  type: float
  returned: success, not in check mode
continued:
  description: Whether another process had begun this watch.
  type: bool
  returned: success, not in check mode
over_before:
  description: Whether this watch had ended before, and its outcome was only read.
  type: bool
  returned: success, not in check mode
reference:
  description: To hand to a later M(application_gate) of this run as C(reference). Empty when nothing was looked at.
  type: dict
  returned: success, not in check mode
"""
