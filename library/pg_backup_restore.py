#!/usr/bin/python
"""Module pg_backup_restore: glue between Ansible and module_utils/rollout/restore.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_backup_restore
short_description: Bring back from a proven backup what is missing
description:
  - Restores a backup of M(pg_backup) beside first, compares the copy with its record, and only then works on the
    database, in one transaction that ends with another comparison of every row and object.
  - A table that is not there is made with its rows, indexes, constraints, triggers, sequences, comments, grants and
    the functions and types that it needs. A table that is there and empty gets its rows. Other rows are never mixed
    with the backup's.
  - Nothing is ever dropped or emptied. Protected tables are never touched.
options:
  source:
    description: The backup, by its folder, its C(manifest.json) or its C(database.dump), on the host.
    type: path
    required: true
  confirm:
    description: Name of the database to restore into, typed by a person.
    type: str
    required: true
  tables:
    description:
      - Only these tables, as C(schema.table) or C(table), with their partitions. Empty takes all that the backup was
        made for, and functions, types, views and sequences of it that are missing.
    type: list
    elements: str
    default: []
  replace:
    description:
      - Move tables that hold other rows into a schema of their own, V(rollout_replaced_...), and make them anew from
        the backup. The old ones are kept there.
    type: bool
    default: false
  protected_tables:
    description: Tables, as C(schema.table), that are never touched where they exist.
    type: list
    elements: str
    default: []
  other_database:
    description: Allow a backup of another database, for example after a move to a new server.
    type: bool
    default: false
  scratch:
    description: Where the backup is restored beside, as in M(pg_backup).
    type: str
    choices: [auto, database, local]
    default: auto
  bin_dir:
    description: Folder of C(pg_restore) on the host. Empty looks for it, as M(pg_backup) does.
    type: path
    default: ""
  run_id:
    description: The run, for C(pg_stat_activity).
    type: str
    default: by hand
  lock_timeout_ms:
    description: Longest wait for one lock, milliseconds.
    type: int
    default: 1500
  lock_attempts:
    description: How often the transaction is tried when a lock cannot be had.
    type: int
    default: 5
  timeout_s:
    description: Longest run of one program and of one statement, seconds.
    type: int
    default: 3600
extends_documentation_fragment: rollout_connection
attributes:
  check_mode:
    support: full
    description: Says what would be done, in a read-only session. Nothing is restored beside.
  diff_mode:
    support: none
    description: What is made is listed in the result.
  idempotent:
    support: full
    description: A table that holds exactly the rows of the backup is left as it is.
author:
  - The rollout's founders (@rollout)
"""

EXAMPLES = r"""
- name: Bring back what a rollback removed
  pg_backup_restore:
    source: /var/backups/rollout/20260101T000000Z-rollback-4f1c
    confirm: default_db
    service: sandbox
"""

RETURN = r"""
summary:
  description: What was done, or would be, in one sentence.
  type: str
  returned: success
backup:
  description: The backup, as RV(pg_backup#module:backup) describes it.
  type: dict
  returned: success
created:
  description: Tables that were made, with their rows.
  type: list
  elements: str
  returned: success
filled:
  description: Tables that were there and got their rows.
  type: list
  elements: str
  returned: success
moved_aside:
  description: Tables that were moved into RV(side_schema).
  type: list
  elements: str
  returned: success
side_schema:
  description: Schema that keeps the tables that were replaced. Empty where none was.
  type: str
  returned: success
equal:
  description: Tables that held the backup's rows already.
  type: list
  elements: str
  returned: success
left_alone:
  description: Protected tables that the backup holds.
  type: list
  elements: str
  returned: success
objects:
  description: What was made beside tables, such as functions.
  type: list
  elements: str
  returned: success
rows:
  description: How many rows came back.
  type: int
  returned: success
reworded:
  description: Objects that are the recorded ones, but that PostgreSQL prints with other words.
  type: list
  elements: str
  returned: success
locks:
  description: Strongest lock on each table that existed before.
  type: dict
  returned: success
seconds:
  description: Time for everything, seconds.
  type: float
  returned: success
details:
  description: What failed, for a machine.
  type: dict
  returned: failure
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.rollout import options
from ansible.module_utils.rollout.errors import RolloutError

try:
    from ansible.module_utils.rollout.restore import restore
    from ansible.module_utils.rollout.restore_plan import RestoreSettings
except ImportError as error:
    PSYCOPG_MISSING: ImportError | None = error
else:
    PSYCOPG_MISSING = None

OPTIONS = {
    "source": {"type": "path", "required": True},
    "confirm": {"type": "str", "required": True},
    "tables": {"type": "list", "elements": "str", "default": []},
    "replace": {"type": "bool", "default": False},
    "protected_tables": {"type": "list", "elements": "str", "default": []},
    "other_database": {"type": "bool", "default": False},
    "scratch": {"type": "str", "choices": ["auto", "database", "local"], "default": "auto"},
    "bin_dir": {"type": "path", "default": ""},
    "run_id": {"type": "str", "default": "by hand"},
    "lock_timeout_ms": {"type": "int", "default": 1500},
    "lock_attempts": {"type": "int", "default": 5},
    "timeout_s": {"type": "int", "default": 3600},
}


def main() -> None:
    module = AnsibleModule(argument_spec={**OPTIONS, **options.CONNECTION}, supports_check_mode=True)
    if PSYCOPG_MISSING is not None:
        module.fail_json(msg=missing_required_lib("psycopg", reason="playbooks/runtime.yml installs it"))
    given = module.params
    settings = RestoreSettings(
        source=given["source"],
        confirm=given["confirm"],
        tables=tuple(given["tables"]),
        replace=given["replace"],
        protected=tuple(given["protected_tables"]),
        other_database=given["other_database"],
        scratch=given["scratch"],
        bin_dir=given["bin_dir"],
        run_id=given["run_id"],
        application_name=given["application_name"],
        lock_timeout_ms=given["lock_timeout_ms"],
        attempts=given["lock_attempts"],
        timeout_s=given["timeout_s"],
    )
    try:
        outcome = restore(options.connection_options(given), settings, check=module.check_mode)
    except RolloutError as error:
        module.fail_json(msg=str(error), details=error.details)
    module.exit_json(**outcome.as_json())


if __name__ == "__main__":
    main()
