#!/usr/bin/python
"""Documentation of the action plugin precheck; it runs on the control node and executes modules on the host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: precheck
short_description: Ask everything that a rollout rests on, and judge it
description:
  - Asks the control node itself, and the host, the database and the application by M(host_precheck_info),
    M(pg_precheck_info), M(pm2_info) and M(baileys_info). Returns a finding for every item and never fails because of
    what was found; the action M(checklist) does. Role C(precheck) describes the items.
  - What cannot be reached is a finding, also a host.
options:
  connection:
    description: How to reach the database, with the option names of M(pg_precheck_info).
    type: dict
    required: true
  application_name:
    description: What C(pg_stat_activity) shows of the session.
    type: str
    default: rollout
  required_variables:
    description: What the inventory must have, as M(required_variables) takes it.
    type: list
    elements: dict
    default: []
  schema:
    description: Schema that the migrations work in.
    type: str
    default: public
  ledger:
    description: Schema of the ledger.
    type: str
    default: rollout
  owner_role:
    description: Role that is to own what is created. Empty for the login.
    type: str
    default: ""
  protected:
    description: Tables of the application that must not be locked.
    type: list
    elements: str
    default: []
  migrations_path:
    description: Folder on the control node that holds the migrations.
    type: path
    required: true
  migration_variables:
    description: Values of their variables.
    type: dict
    default: {}
  runtime_venv:
    description: Folder of the modules' Python environment on the host.
    type: str
    required: true
  base_python:
    description: Interpreter on the host that is asked where there is no environment.
    type: str
    default: /usr/bin/python3
  disk_paths:
    description: Paths on the host whose file systems must have room.
    type: list
    elements: str
    default: []
  disk_free_mb:
    description: More than this must be free on each, in units of 1,048,576 bytes.
    type: int
    default: 2048
  backup_dir:
    description: Folder on the host that backups go to. Empty is not asked.
    type: str
    default: ""
  backup_free_mb:
    description: More than this must be free there, beside the size of the database.
    type: int
    default: 1024
  app_dir:
    description: Folder of the application on the host. Empty is not asked.
    type: str
    default: ""
  checkout:
    description: Whether it is a Git checkout.
    type: bool
    default: true
  commit:
    description: Commit that it has to be at, whole or its beginning. Empty is reported only.
    type: str
    default: ""
  tools:
    description: PostgreSQL's client programs that must be there.
    type: list
    elements: str
    default: [pg_dump, pg_restore, psql]
  bin_dir:
    description: Folder that has them. Empty takes those on PATH.
    type: str
    default: ""
  flags:
    description: Variables of the application's environment, as role C(precheck) takes them.
    type: list
    elements: dict
    default: []
  jobs:
    description: What else acts at a time of day, as role C(precheck) takes it.
    type: list
    elements: dict
    default: []
  maintained:
    description: Tables that are partitioned by time, as role C(maintain) takes them.
    type: list
    elements: dict
    default: []
  max_age_days:
    description: A last maintenance of them longer ago than this is a warning.
    type: int
    default: 3
  window_minutes:
    description: How long the rollout may take.
    type: int
    default: 60
  writes:
    description: Whether the run that follows writes. If not, rights that only writing needs are a warning.
    type: bool
    default: true
  sslmode:
    description: The weakest sslmode that is accepted.
    type: str
    choices: [disable, allow, prefer, require, verify-ca, verify-full]
    default: verify-full
  connections_needed:
    description: Sessions that the rollout may have open at once.
    type: int
    default: 5
  application_connections:
    description: Sessions that the application may have open. 0 is not known.
    type: int
    default: 0
  shortest_timeout_s:
    description: A limit on sessions that the server sets must be this long, seconds.
    type: int
    default: 60
  time_zone:
    description: The server's TimeZone. Empty is reported only.
    type: str
    default: ""
  encoding:
    description: The database's encoding.
    type: str
    default: UTF8
  long_transaction_s:
    description: A transaction that is open for this long is one too many, seconds.
    type: int
    default: 60
  idle_in_transaction_s:
    description: So is a session that is idle in a transaction for this long, seconds.
    type: int
    default: 10
  pm2_home:
    description: PM2_HOME, to find the processes of O(flags).
    type: str
    default: ""
  pm2:
    description: Arguments of M(pm2_info). Without C(services) it is not asked.
    type: dict
    default: {}
  baileys:
    description: Arguments of M(baileys_info). Without C(health_url) it is not asked.
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
- name: Ask everything
  precheck:
    connection: "{{ pg_connection }}"
    migrations_path: roles/schema/migrations
    runtime_venv: /opt/rollout/venv
  register: precheck

- name: Judge it
  checklist:
    name: precheck
    findings: "{{ precheck.findings }}"
"""

RETURN = r"""
findings:
  description:
    - One for every item, the worst first, with C(id), C(title), C(status) (V(failed), V(warning), V(not_tested) or
      V(passed)), C(expected), C(observed), C(hint), C(evidence) and C(seconds).
  type: list
  elements: dict
  returned: success
counts:
  description: How many findings each status has.
  type: dict
  returned: success
summary:
  description: The same in words.
  type: str
  returned: success
seconds:
  description: Time that all questions took.
  type: float
  returned: success
"""
