#!/usr/bin/python
"""Module pg_partitions: glue between Ansible and module_utils/rollout/partitions.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_partitions
short_description: Keep the partitions of a table ahead of time
description:
  - For any table that is partitioned by RANGE on one column of type C(timestamptz) or C(date), by day, week, month,
    quarter or year. Periods begin at midnight of a pinned zone, whoever runs it; now is the server's now.
  - Makes every period from the first to so many ahead of the present one that nothing takes yet, and detaches those
    beyond retention. Reports whatever else is wrong, and leaves it alone.
  - A partition is made on its own and attached, which takes SHARE UPDATE EXCLUSIVE on the table and stops neither
    readers nor writers; that is proven before COMMIT. It is detached CONCURRENTLY and kept under another name.
  - A run that was interrupted is finished by the next one. Each run is recorded in the ledger's schema.
options:
  schema:
    description: Schema of the table.
    type: str
    default: public
  table:
    description: The partitioned table.
    type: str
    required: true
  state:
    description:
      - V(maintained) makes and detaches what has to be.
      - V(repaired) mends, before that, what an ordinary run does not touch. Gaps are filled; empty partitions with odd
        bounds are replaced, those with rows rebuilt when their time is over; rows are taken out of a DEFAULT partition;
        missing indexes are built. Rows are copied batch by batch.
      - V(checked) changes nothing, and says whether enough is ahead and maintenance ran of late.
    type: str
    choices: [maintained, repaired, checked]
    default: maintained
  confirmed:
    description: Whether V(repaired) may begin. Without it, it fails and tells what it would do and lock.
    type: bool
    default: false
  unit:
    description: How long a period is.
    type: str
    choices: [day, week, month, quarter, year]
    default: month
  zone:
    description: Name of the zone at whose midnight a period begins.
    type: str
    default: UTC
  first:
    description: The first period, such as V(2025-11) or a day in it. Empty begins at the present one.
    type: str
    default: ""
  ahead:
    description: How many periods after the present one exist.
    type: int
    default: 3
  alarm:
    description: Fewer whole periods ahead than this, after the run, are an alarming finding.
    type: int
    default: 1
  retention:
    description: How many whole periods before the present one stay attached. 0 keeps all.
    type: int
    default: 0
  archive_dir:
    description:
      - Folder on the target host, absolute. Detached partitions are written there, compressed, and read back into a
        scratch table to prove it. No file that lies there is overwritten. Empty archives nothing.
    type: path
    default: ""
  drop_archived:
    description: Whether a detached partition is dropped once its archive is proven. Needs O(archive_dir).
    type: bool
    default: false
  batch_rows:
    description: How many rows V(repaired) copies in one transaction.
    type: int
    default: 10000
  max_age_days:
    description: With O(state=checked), a last run longer ago than this is an alarming finding.
    type: int
    default: 3
  ledger:
    description: Schema of the ledger; made when it is not there.
    type: str
    default: rollout
  protected_tables:
    description: Tables that may not be locked beyond ACCESS SHARE.
    type: list
    elements: str
    default: []
  lock_timeout_ms:
    description: Longest wait for one lock, milliseconds; 1 or more.
    type: int
    default: 1500
  lock_attempts:
    description: How often a lock is tried.
    type: int
    default: 5
  statement_timeout_ms:
    description: Longest run of one statement, milliseconds; 1 or more. Reading a whole partition is not limited by it.
    type: int
    default: 60000
  run_id:
    description: What the record and C(pg_stat_activity) call this run.
    type: str
    default: manual
extends_documentation_fragment: rollout_connection
attributes:
  check_mode:
    support: full
    description: The session is read-only on the server's side.
  diff_mode:
    support: full
    description: Partitions and their bounds before and after.
  idempotent:
    support: full
    description: A second run sends no DDL.
author:
  - The rollout's founders (@rollout)
"""

EXAMPLES = r"""
- name: Keep three months ahead
  pg_partitions:
    service: sandbox
    table: messages
    first: "2025-11"

- name: Keep two years attached, and archive what is older
  pg_partitions:
    service: sandbox
    table: messages
    retention: 24
    archive_dir: /var/lib/rollout/archive

- name: Tell what a repair would do and lock
  pg_partitions:
    service: sandbox
    table: messages
    state: repaired
  check_mode: true
"""

RETURN = r"""
healthy:
  description: Whether no finding is alarming.
  type: bool
  returned: success
findings:
  description: What is not as it must be, each with kind, name, text, remedy, alarming.
  type: list
  elements: dict
  returned: success
actions:
  description: What was done, or would be in check mode.
  type: list
  elements: dict
  returned: success
covered_until:
  description: The first instant from now on that no partition takes, in UTC; empty when now is not covered.
  type: str
  returned: success
ahead:
  description: Whole periods ahead that are covered.
  type: int
  returned: success
partitions:
  description: How many there are.
  type: int
  returned: success
summary:
  description: One line for people, such as C(3 whole periods ahead, covers until 2026-10-01 00:00:00+00).
  type: str
  returned: success
last_run:
  description: With O(state=checked), what the newest run recorded; empty when there was none.
  type: dict
  returned: success
locks:
  description: Strongest lock on each relation that existed before.
  type: dict
  returned: success
attempts:
  description: The most attempts that a lock took; 0 when nothing was to be locked.
  type: int
  returned: success
round_trips:
  description: How often the module waited for the database, without connecting.
  type: int
  returned: success
seconds:
  description: Time from opening the connection to the end, seconds.
  type: float
  returned: success
"""

from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.rollout import options
from ansible.module_utils.rollout.errors import RolloutError

try:
    from ansible.module_utils.rollout import partitions
except ImportError as error:
    PSYCOPG_MISSING: ImportError | None = error
else:
    PSYCOPG_MISSING = None

OPTIONS = {
    "schema": {"type": "str", "default": "public"},
    "table": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["maintained", "repaired", "checked"], "default": "maintained"},
    "confirmed": {"type": "bool", "default": False},
    "unit": {"type": "str", "choices": ["day", "week", "month", "quarter", "year"], "default": "month"},
    "zone": {"type": "str", "default": "UTC"},
    "first": {"type": "str", "default": ""},
    "ahead": {"type": "int", "default": 3},
    "alarm": {"type": "int", "default": 1},
    "retention": {"type": "int", "default": 0},
    "archive_dir": {"type": "path", "default": ""},
    "drop_archived": {"type": "bool", "default": False},
    "batch_rows": {"type": "int", "default": 10000},
    "max_age_days": {"type": "int", "default": 3},
    "ledger": {"type": "str", "default": "rollout"},
    "protected_tables": {"type": "list", "elements": "str", "default": []},
    "lock_timeout_ms": {"type": "int", "default": 1500},
    "lock_attempts": {"type": "int", "default": 5},
    "statement_timeout_ms": {"type": "int", "default": 60_000},
    "run_id": {"type": "str", "default": "manual"},
}


def main() -> None:
    module = AnsibleModule(argument_spec={**OPTIONS, **options.CONNECTION}, supports_check_mode=True)
    if PSYCOPG_MISSING is not None:
        module.fail_json(msg=missing_required_lib("psycopg", reason="playbooks/runtime.yml installs it"))
    try:
        outcome = partitions.run(module.params, check=module.check_mode)
    except RolloutError as error:
        module.fail_json(msg=str(error), details=error.details)
    result = asdict(outcome)
    texts = {"before": result.pop("before"), "after": result.pop("after")}
    module.exit_json(**result, diff=texts)


if __name__ == "__main__":
    main()
