#!/usr/bin/python
"""Module pg_activity_info: glue between Ansible and module_utils/rollout/database_activity.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_activity_info
short_description: How busy a PostgreSQL database is at this moment
description:
  - Connections, open transactions, waits for locks, counters, size and replication lag. Figures, no judgement; the
    action M(application_watch) judges them.
  - Opens a read-only session, also outside check mode, and does not count it. The text of a query is never read.
extends_documentation_fragment: rollout_connection
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
- name: See what goes on in the database
  pg_activity_info:
    service: sandbox
  register: database

- name: Show who waits for whom
  ansible.builtin.debug:
    var: database.activity.waits
"""

RETURN = r"""
activity:
  description: The figures. Sizes in bytes, times in seconds.
  type: dict
  returned: success
  contains:
    started:
      description: When the server was started, seconds since 1970.
      type: float
    size:
      description: Size of the database.
      type: int
    commits:
      description: Transactions that were committed since C(counted_since).
      type: int
    rollbacks:
      description: Transactions that were rolled back since then; every SQLSTATE that a transaction failed with is among
        them.
      type: int
    deadlocks:
      description: Deadlocks since then.
      type: int
    temp_bytes:
      description: Bytes written to temporary files since then.
      type: int
    counted_since:
      description: When the counters were reset, seconds since 1970; null when they never were.
      type: float
    statistics_since:
      description: When the server's statistics began, seconds since 1970. Counters that were never reset count from
        then; crash recovery throws all of them away.
      type: float
    connections:
      description: Client sessions on the server.
      type: int
    connections_database:
      description: Client sessions in this database.
      type: int
    connections_max:
      description: Client sessions that an ordinary login may have on the server.
      type: int
    hidden_sessions:
      description: Sessions of other logins whose transactions this one may not see.
      type: int
    idle_in_transaction:
      description: Sessions of this database that are idle in a transaction.
      type: int
    transactions:
      description: Open transactions of this database, the oldest first, 20 at most; pid, application_name, state,
        seconds, and idle_s, the time that it has been idle in it.
      type: list
      elements: dict
    waiting_locks:
      description: Sessions of this database that wait for a lock.
      type: int
    waits:
      description: The longest of these waits, 20 at most; pid, application_name, seconds, mode, on (what is waited for)
        and held_by (pids).
      type: list
      elements: dict
    replicas:
      description: Replicas that are connected.
      type: int
    replication_lag_s:
      description: Lag of the slowest replica. Null where there is none, where nothing is to be sent, or where the login
        may not see it.
      type: float
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.rollout import options
from ansible.module_utils.rollout.errors import RolloutError

try:
    from ansible.module_utils.rollout import database_activity
    from ansible.module_utils.rollout.connection import Session
except ImportError as error:
    PSYCOPG_MISSING: ImportError | None = error
else:
    PSYCOPG_MISSING = None


def main() -> None:
    module = AnsibleModule(argument_spec=dict(options.CONNECTION), supports_check_mode=True)
    if PSYCOPG_MISSING is not None:
        module.fail_json(msg=missing_required_lib("psycopg", reason="playbooks/runtime.yml installs it"))
    given = module.params
    try:
        with Session(
            options.connection_options(given),
            given["application_name"],
            read_only=True,
            statement_timeout_ms=database_activity.TIMEOUT_MS,
        ) as session:
            figures = database_activity.read(session)
    except RolloutError as error:
        module.fail_json(msg=str(error), details=error.details)
    module.exit_json(changed=False, activity=figures)


if __name__ == "__main__":
    main()
