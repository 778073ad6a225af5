#!/usr/bin/python
"""Documentation of the action plugin run_record; the work is done on the control node, in action_plugins/."""

from __future__ import annotations

DOCUMENTATION = r"""
module: run_record
short_description: Keep the record of a run on the control node
description:
  - Begins a run's folder C(reports/<run id>/), and adds sections to its C(report.json), host by host.
  - Every section is on disk as soon as its task is over, so that a run that dies leaves what it knew.
  - Module arguments are never recorded, so no secret can be.
options:
  state:
    description: V(begun) makes the folder and the facts C(run_id) and C(run_folder); V(recorded) adds a section.
    type: str
    choices: [begun, recorded]
    default: recorded
  report_dir:
    description: Folder on the control node that holds one folder a run.
    type: path
    required: true
  run_id:
    description: The run. Empty with O(state=begun) makes a new one.
    type: str
    default: ""
  section:
    description: Name of the section, such as V(rehearsal). A later section of the same name replaces it.
    type: str
  data:
    description: What to record, usually a registered result.
    type: raw
attributes:
  check_mode:
    support: full
    description: Writes nothing.
  diff_mode:
    support: none
    description: A record of a run has no state to differ from.
  idempotent:
    support: full
    description: The same section is replaced.
author:
  - The rollout's founders (@rollout)
"""

EXAMPLES = r"""
- name: Begin the record
  run_record:
    state: begun
    report_dir: "{{ report_dir }}"
  run_once: true

- name: Record the rehearsal
  run_record:
    report_dir: "{{ report_dir }}"
    run_id: "{{ run_id }}"
    section: rehearsal
    data: "{{ rehearsal }}"
"""

RETURN = r"""
report:
  description: The file that holds the record so far.
  type: str
  returned: a section was recorded
"""
