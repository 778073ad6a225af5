#!/usr/bin/python
"""Documentation of the action plugin checklist; the work is done on the control node, in action_plugins/."""

from __future__ import annotations

DOCUMENTATION = r"""
module: checklist
short_description: Show the findings of a checklist, and fail once
description:
  - Shows all findings, the worst first; for each that needs attention what was expected, what was observed and what to
    do. Fails when one of them failed, or when there are none.
  - A warning, or an item that was not tested, is shown and does not fail.
options:
  name:
    description: Name of the checklist, for the first line.
    type: str
    required: true
  findings:
    description:
      - The findings, each with C(id), C(title), C(status) (V(failed), V(warning), V(not_tested) or V(passed)),
        C(expected), C(observed), C(hint), C(evidence) and C(seconds).
    type: list
    elements: dict
    required: true
attributes:
  check_mode:
    support: full
    description: Changes nothing in either mode.
  diff_mode:
    support: none
    description: There is never a difference.
  idempotent:
    support: full
    description: Only shows.
author:
  - The rollout's founders (@rollout)
"""

EXAMPLES = r"""
- name: Judge the precheck
  checklist:
    name: precheck
    findings: "{{ precheck.findings }}"
"""

RETURN = r"""
msg:
  description: The findings as text.
  type: str
  returned: success
"""
