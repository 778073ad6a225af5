#!/usr/bin/python
"""Module pg_partitions_job: glue between Ansible and module_utils/rollout/partition_cron.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_partitions_job
short_description: Let pg_cron keep the months of a table ahead
description:
  - Makes a job of pg_cron that calls C(maintain_<table>_partitions()), the function of the migration that made the
    table, and records what came of it in the ledger's schema, where M(pg_partitions) records its runs.
  - The job belongs to the login, and runs as it. What only M(pg_partitions) does (retention without a strong lock,
    archives, a look at bounds and indexes) it does not do.
options:
  schema:
    description: Schema of the table and of the function.
    type: str
    default: public
  table:
    description: The partitioned table.
    type: str
    required: true
  state:
    description: Whether there is to be a job.
    type: str
    choices: [present, absent]
    default: present
  unit:
    description: How long a period is. The functions keep months; another one is refused.
    type: str
    choices: [day, week, month, quarter, year]
    default: month
  zone:
    description: Name of the zone at whose midnight a month begins; for the record of how many lie ahead.
    type: str
    default: UTC
  schedule:
    description: When it runs, as pg_cron takes it; in UTC unless the server's C(cron.timezone) says otherwise.
    type: str
    default: 10 4 * * *
  ledger:
    description: Schema of the ledger.
    type: str
    default: rollout
extends_documentation_fragment: rollout_connection
attributes:
  check_mode:
    support: full
    description: The session is read-only on the server's side.
  diff_mode:
    support: full
    description: The job before and after.
  idempotent:
    support: full
    description: A job that is as it has to be is left alone.
author:
  - The rollout's founders (@rollout)
"""

EXAMPLES = r"""
- name: Keep the months of messages ahead, every night
  pg_partitions_job:
    service: sandbox
    table: messages

- name: Leave that to a timer of the host again
  pg_partitions_job:
    service: sandbox
    table: messages
    state: absent
"""

RETURN = r"""
name:
  description: The job's name in C(cron.job).
  type: str
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.rollout import options
from ansible.module_utils.rollout.errors import RolloutError

try:
    from ansible.module_utils.rollout import partition_cron
except ImportError as error:
    PSYCOPG_MISSING: ImportError | None = error
else:
    PSYCOPG_MISSING = None

OPTIONS = {
    "schema": {"type": "str", "default": "public"},
    "table": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "unit": {"type": "str", "choices": ["day", "week", "month", "quarter", "year"], "default": "month"},
    "zone": {"type": "str", "default": "UTC"},
    "schedule": {"type": "str", "default": "10 4 * * *"},
    "ledger": {"type": "str", "default": "rollout"},
}


def main() -> None:
    module = AnsibleModule(argument_spec={**OPTIONS, **options.CONNECTION}, supports_check_mode=True)
    if PSYCOPG_MISSING is not None:
        module.fail_json(msg=missing_required_lib("psycopg", reason="playbooks/runtime.yml installs it"))
    try:
        job, found = partition_cron.run(module.params, check=module.check_mode)
    except RolloutError as error:
        module.fail_json(msg=str(error), details=error.details)
    module.exit_json(
        changed=found.changed, name=job.name, diff={"before": found.before, "after": found.after}
    )


if __name__ == "__main__":
    main()
