#!/usr/bin/python
"""Documentation of the action plugin application_gate; the looks are made by module application_info."""

from __future__ import annotations

DOCUMENTATION = r"""
module: application_gate
short_description: Look at an application several times, and decide whether it suffers
description:
  - Calls M(application_info) on the target again and again, prints a line each time, and decides.
  - A bad look or two are a flap, and tolerated. What time does not heal is red at once.
  - A source that cannot be read makes the gate C(broken), not red. It says nothing about the application.
  - Never fails for what it sees. Judge RV(state).
options:
  label:
    description: What the gate is after, for the printed lines.
    type: str
    required: true
  look:
    description: Arguments of M(application_info), without bookmarks and baseline.
    type: dict
    required: true
  reference:
    description: RV(reference) of an earlier gate to compare with. Without it this gate is the baseline.
    type: dict
    default: {}
  samples:
    description: Looks, at least.
    type: int
    default: 6
  interval:
    description: From one look to the next, seconds.
    type: float
    default: 5
  red_samples:
    description: Bad looks that make the gate red, and broken ones that make it broken.
    type: int
    default: 3
  error_lines:
    description: New lines of level error that a service may log.
    type: int
    default: 5
  problem_lines:
    description: New lines of one problem pattern that a service may log.
    type: int
    default: 5
  problem_budgets:
    description: The same for single patterns, by name.
    type: dict
    default: {}
  rate_factor:
    description: How many times the baseline's rate of such lines is allowed besides.
    type: float
    default: 2
  errors_per_minute:
    description: Rate of such lines that is allowed while the baseline is taken.
    type: float
    default: 30
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
- name: See how the application is
  application_gate:
    label: before
    look: &look
      pm2_home: "{{ pm2_home }}"
      services: "{{ pm2_services }}"
  register: before

- name: See whether it suffers
  application_gate:
    label: after the change
    look: *look
    reference: "{{ before.reference }}"
  register: after
  failed_when: after.state != 'green'
"""

RETURN = r"""
state:
  description: One of C(green), C(red) and C(broken).
  type: str
  returned: success
reasons:
  description: Why it is not green; when it is, what was tolerated.
  type: list
  elements: str
  returned: success
samples:
  description: Every look; at (seconds since 1970), findings, broken, and what was seen in figures.
  type: list
  elements: dict
  returned: success
reference:
  description: To hand to a later gate as O(reference).
  type: dict
  returned: success
seconds:
  description: Time that it took.
  type: float
  returned: success
"""
