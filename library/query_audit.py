#!/usr/bin/python
"""Documentation of the action plugin of the same name: it runs on the control node, and query_proof on the target."""

from __future__ import annotations

DOCUMENTATION = r"""
module: query_audit
short_description: Every supabase-js call of the application's code, found and proven against the schema
description:
  - Reads the application's code on the control node with a JavaScript parser, and finds every call of supabase-js with
    its table, operation, columns, filters, rows, modifiers and options.
  - Has M(query_proof) ask the target's database whether it could run them. Nothing is executed.
  - Writes the report - C(audit.json), C(audit.sarif), C(audit.md), C(audit.html), C(queries.cjs), and with a proof
    C(audit.sql).
  - docs/audit.md says what is found, what the words of the report mean, and what is not followed.
options:
  source:
    description:
      - Folder with the code on the control node, or a git repository when O(commit) is given. Relative to the folder
        that ansible-playbook was started in.
    type: path
    required: true
  commit:
    description:
      - Hash, branch or tag to read. The repository may be bare; its work tree is not touched. Empty reads the files as
        they lie in the folder.
    type: str
    default: ""
  exclude:
    description: Names or paths of folders to leave out, besides C(node_modules) and C(.git).
    type: list
    elements: str
    default: []
  entry_points:
    description: First files of the services, relative to O(source). Empty takes those of PM2's configuration in it.
    type: list
    elements: str
    default: []
  destination:
    description: Folder on the control node for the report. Without it, and in check mode, nothing is written.
    type: path
  prove:
    description: Whether the calls are proven against the database. Without, the connection options are not used.
    type: bool
    default: true
  schema:
    description: Schema to prove against.
    type: str
    default: public
  max_rows:
    description: Most rows that a select gives, PostgREST's C(db-max-rows). 0 for no limit.
    type: int
    default: 1000
  fail_on:
    description: Whether calls that would fail are a failure. The report is written either way.
    type: str
    choices: [missing, none]
    default: none
extends_documentation_fragment: rollout_connection
attributes:
  check_mode:
    support: full
    description: Changes nothing in either mode; in check mode the report is not written.
  diff_mode:
    support: none
    description: There is never a change.
  idempotent:
    support: full
    description: Only reads.
author:
  - The rollout's founders (@rollout)
"""

EXAMPLES = r"""
- name: Prove the code of a release against the database, and fail when calls would fail
  query_audit:
    source: /srv/checkouts/application
    commit: v2.4.0
    destination: "{{ run_folder }}"
    service: sandbox
    fail_on: missing

- name: Only find the calls
  query_audit:
    source: ../application/src
    prove: false
  register: audit
"""

RETURN = r"""
totals:
  description: Counts of calls by operation, certainty, verdict and lint, and the account of the text search.
  type: dict
  returned: when the code could be read
sentence:
  description: How many calls would fail, for a person. Empty without a proof.
  type: str
  returned: when the code could be read
files:
  description: Names of the files written to O(destination).
  type: list
  elements: str
  returned: when the code could be read
commit:
  description: Hash of the commit that was read. Empty for a folder.
  type: str
  returned: when the code could be read
chains:
  description: The calls, for M(query_proof).
  type: list
  elements: dict
  returned: when O(prove) is false
counts:
  description: Calls by verdict, without those of tests.
  type: dict
  returned: when the calls were proven
lacks:
  description: What each table lacks, with C(file:line) of the calls that want it.
  type: list
  elements: dict
  returned: when the calls were proven
round_trips:
  description: How often the proof waited for the database, without connecting.
  type: int
  returned: when the calls were proven
seconds:
  description: Time of the proof from opening the connection to the end, seconds.
  type: float
  returned: when the calls were proven
"""
