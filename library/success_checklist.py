#!/usr/bin/python
"""Documentation of the action plugin success_checklist; the judgement is made on the control node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: success_checklist
short_description: Judge a rollout item by item
description:
  - Calls M(pg_checklist_info) and M(host_resources_info) on the target, takes what a gate and a message saw of the
    application, and judges every item, never ending at the first that does not hold.
  - What cannot be reached is a finding too. Never fails for what was found; M(checklist) does.
  - The items are C(database), C(ledger), those of M(pg_checklist_info), C(whatsapp), C(services), C(test_message),
    C(new_errors), C(whatsapp_untouched), C(host_cpu) and C(memory), in this order, then the checks of O(checks).
options:
  state:
    description:
      - V(judged) evaluates the checklist.
      - V(begun) connects to nothing. It refuses O(checks), O(application_items), O(demands), O(partitions) and samples
        that are not right, and looks for what to compare the application with. For the beginning of a run.
    type: str
    choices: [begun, judged]
    default: judged
  checks:
    description:
      - What the inventory says of the items, a list of mappings with C(id). C(enabled) set to V(false), with a
        C(reason), switches an item off; C(severity) V(warning) counts its failures as warnings, V(failed) its warnings
        as failures.
      - Limits are C(percent) and C(window) (seconds) of C(host_cpu), C(services_mb) and C(available_mb) of C(memory),
        and those of M(pg_checklist_info).
      - An entry with C(query) is a check of your own, with C(id), C(title) and C(expected), as M(pg_checklist_info)
        takes it, and optionally C(hint) and C(severity).
    type: raw
    default: []
  application_items:
    description: Items whose failure says that the application suffers.
    type: list
    elements: str
    default: [whatsapp, services, test_message, new_errors, whatsapp_untouched]
  demands:
    description: With O(state=begun), C(demands) of M(pg_checklist_info), to be refused where they are not right.
    type: raw
    default: {}
  partitions:
    description: With O(state=begun), C(partitions) of M(pg_checklist_info), to be refused where they are not right.
    type: raw
    default: []
  report_dir:
    description: With O(state=begun), the folder of all runs' records, where an earlier gate is looked for.
    type: path
    default: ""
  reference_max_age_minutes:
    description: With O(state=begun), how old that gate may be, a day (1440) at most. With 0 none is looked for.
    type: float
    default: 0
  migrations_path:
    description: Folder of the migrations, on the control node. What makes behaviour testable is beside them.
    type: path
    required: true
  migration_variables:
    description: Values for the variables of the migrations.
    type: dict
    default: {}
  database:
    description: Arguments of M(pg_checklist_info), without C(items), C(checks) and C(samples).
    type: dict
    default: {}
  gate:
    description: What M(application_gate) returned. With the state C(not_tested) nobody looked, and C(reasons) say why.
    type: dict
    default: {}
  message:
    description: What M(message_probe) returned. With the status C(unreadable) the bot could not be asked.
    type: dict
    default: {}
  since:
    description: What O(gate) compared with, for people, to follow the word "since".
    type: str
    default: the first look
  services:
    description: Names of the services that have to be online. Without any, services are not tested.
    type: list
    elements: str
    default: []
  pending:
    description: Whether migrations are still to be applied. What the database lacks is then not tested, not failed.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Judges what can be read; what has to be tried out is not tested.
  diff_mode:
    support: none
    description: There is never a difference.
  idempotent:
    support: full
    description: Leaves nothing behind.
author:
  - The rollout's founders (@rollout)
"""

EXAMPLES = r"""
- name: Evaluate the success checklist
  success_checklist:
    migrations_path: roles/schema/migrations
    database:
      service: sandbox
      demands: {indexes: 70}
    gate: "{{ gate_result }}"
    message: "{{ gate_message }}"
    services: "{{ pm2_services }}"
    checks:
      - {id: host_cpu, percent: 30}
      - {id: size_growth, enabled: false, reason: data is being loaded}
      - {id: one_salon, title: There is one salon, query: SELECT count(*) FROM companies, expected: 1}
  register: success

- name: Fail once, with all of it
  checklist:
    name: success checklist
    findings: "{{ success.findings }}"
"""

RETURN = r"""
findings:
  description: >-
    One for each item, in the order of the checklist, each with C(id), C(title), C(status) (V(failed), V(warning),
    V(not_tested) or V(passed)), C(expected), C(observed), C(hint), C(evidence) and C(seconds).
  type: list
  elements: dict
  returned: O(state=judged)
counts:
  description: How many findings each status has.
  type: dict
  returned: O(state=judged)
summary:
  description: The same in one line.
  type: str
  returned: O(state=judged)
state:
  description: >-
    What O(application_items) say, in the words of M(application_gate). V(red) when one failed, V(broken) when one could
    not be read, else V(green).
  type: str
  returned: O(state=judged)
reasons:
  description: Why it is not green.
  type: list
  elements: str
  returned: O(state=judged)
catalog:
  description: The comparison with the ledger, as M(pg_checklist_info) returns it. Empty when it did not answer.
  type: dict
  returned: O(state=judged)
locks:
  description: Strongest lock that the items took on each relation of users, as M(pg_checklist_info) returns it.
  type: dict
  returned: O(state=judged)
round_trips:
  description: How often the database was waited for, without connecting.
  type: int
  returned: O(state=judged)
seconds:
  description: Time that it took, without the gate and the message.
  type: float
  returned: O(state=judged)
reference:
  description: For M(application_gate), what the latest gate of an earlier run saw. Empty when there is none.
  type: dict
  returned: O(state=begun)
since:
  description: The same for people, for O(since).
  type: str
  returned: O(state=begun)
"""
