#!/usr/bin/python
"""Documentation of the action plugin run_report; the work is done on the control node, in action_plugins/."""

from __future__ import annotations

DOCUMENTATION = r"""
module: run_report
short_description: Write the report of a run from its record
description:
  - Completes C(reports/<run id>/report.json) with a summary and writes C(report.html), C(report.md) and C(junit.xml)
    beside it, and C(reports/index.html), the list of all runs. docs/report.md describes them.
  - Can be repeated at any time, for any run.
options:
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
    description: Writes nothing.
  diff_mode:
    support: none
    description: The files follow from the record, which is what can differ.
  idempotent:
    support: full
    description: The same record gives the same files.
author:
  - The rollout's founders (@rollout)
"""

EXAMPLES = r"""
- name: Write the report
  run_report:
    report_dir: "{{ report_dir }}"
    run_id: "{{ run_id }}"
  run_once: true
"""

RETURN = r"""
files:
  description: What was written, the list of all runs not included.
  type: list
  elements: str
  returned: not in check mode
page:
  description: The file for people.
  type: str
  returned: not in check mode
outcome:
  description: V(succeeded), V(failed) or V(running).
  type: str
  returned: not in check mode
sentence:
  description: The outcome in one sentence.
  type: str
  returned: not in check mode
counts:
  description: How many checks failed, were warned of, not tested and passed.
  type: dict
  returned: not in check mode
"""
