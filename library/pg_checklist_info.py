#!/usr/bin/python
"""Module pg_checklist_info: glue between Ansible and module_utils/rollout/checklist_database.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_checklist_info
short_description: The database's half of the success checklist
description:
  - Evaluates every item and never stops at the first that is not well. What a migration made is compared with what the
    ledger recorded, and tried out. Every function is called, every trigger fired, every CHECK, key and foreign key is
    given what it must refuse. Messages are routed, values come back as they went in, queries find their indexes.
  - Nothing of it stays. Each item that writes does so in a transaction of its own that is rolled back, with keys that
    no real row has. Sequences do not move, and no item locks a protected table. What stays is what every rolled back
    INSERT leaves; dead rows for autovacuum, and the first pages of files that were empty.
  - Such a transaction holds ROW EXCLUSIVE on the tables of the migrations and locks the rows that it makes. Functions
    that delete what is expired lock those rows too, and the one that makes a partition takes SHARE UPDATE EXCLUSIVE
    on its table. Each is over within a second; whoever holds a lock longer than O(lock_timeout_ms) is not waited for.
  - The items are C(tables), C(partitions), C(indexes), C(functions), C(triggers), C(checks), C(foreign_keys),
    C(unique_keys), C(not_null), C(round_trip), C(partition_routing), C(pruning), C(access_paths), C(row_counts),
    C(server_errors), C(size_growth), C(sample_story) and C(unchanged_neighbours), in this order, then those of
    O(checks).
  - On a standby, with a login that may not write, and in check mode, what has to write is not tested, and says so.
options:
  schema:
    description: Schema that the migrations work in.
    type: str
    default: public
  ledger:
    description: Schema of the ledger.
    type: str
    default: rollout
  state:
    description:
      - V(checked) evaluates the checklist.
      - V(noted) evaluates nothing. It returns in RV(reference) what a later look compares with, and is meant for the
        moment before a run.
    type: str
    choices: [checked, noted]
    default: checked
  samples:
    description:
      - What makes behaviour testable, as JSON text, from the files samples.yml beside the migrations. On the control
        node, C(checklist_samples_source.load_samples) reads them and C(checklist_samples.dump) makes the text.
    type: str
    default: "[]"
  partitions:
    description:
      - Tables that are partitioned by time, with the names of role C(maintain)'s C(maintain_tables). C(table), and
        optionally C(schema), C(unit), C(zone), C(first), C(ahead), C(alarm), C(retention). C(archive_dir) and
        C(drop_archived) are taken and not used.
      - C(count) says how many periods from C(first) on must exist besides those around the present.
      - C(max_age_days), 3 unless given, is how old the last maintenance may be.
    type: list
    elements: dict
    default: []
  demands:
    description: What must be there whatever the ledger says.
    type: dict
    default: {}
    suboptions:
      tables:
        description: Tables that must exist, by name.
        type: list
        elements: str
        default: []
      functions:
        description: Functions that must exist, by name, each exactly once.
        type: list
        elements: str
        default: []
      indexes:
        description: The fewest indexes on the tables of the migrations, partitions' included. 0 demands nothing.
        type: int
        default: 0
      triggers:
        description: The fewest triggers on them. 0 demands nothing.
        type: int
        default: 0
      rows:
        description:
          - For a table, the fewest rows that it holds once it holds any, or a mapping of C(at_least) and C(at_most).
        type: dict
        default: {}
  items:
    description:
      - Settings by item. C(enabled) set to V(false) switches it off; it is then not tested, and C(reason) says why.
      - C(size_growth) takes C(allowance_mb), 0 unless given; so much may the application write into the tables
        meanwhile.
      - C(access_paths) takes C(few_rows), 1000 unless given; tables with fewer rows are asked without sequential scans.
    type: dict
    default: {}
  checks:
    description:
      - Checks of your own. C(id), C(title), C(query), C(expected) (rows, each a list of values; one value alone stands
        for one row of one value), and optionally C(status_if_not) (V(failed) unless V(warning)) and C(hint).
      - Each query runs alone, in a read-only transaction that is rolled back. More than 100 rows are never right.
    type: list
    elements: dict
    default: []
  reference:
    description: The RV(reference) of an earlier look. Without it, what compares with an earlier moment is not tested.
    type: dict
    default: {}
  protected_tables:
    description: Tables of the application that must be as in O(reference).
    type: list
    elements: str
    default: []
  lock_timeout_ms:
    description: Longest wait for one lock, milliseconds.
    type: int
    default: 1500
  statement_timeout_ms:
    description: Longest run of one item or query, milliseconds.
    type: int
    default: 10000
extends_documentation_fragment: rollout_connection
attributes:
  check_mode:
    support: full
    description: The session is read-only on the server's side; what has to write is not tested.
  diff_mode:
    support: none
    description: There is never a change.
  idempotent:
    support: full
    description: Leaves nothing behind.
author:
  - The rollout's founders (@rollout)
"""

EXAMPLES = r"""
- name: Note how things are before the run
  pg_checklist_info:
    service: sandbox
    state: noted
    protected_tables: [whatsapp_auth, whatsapp_keys]
  register: before

- name: Evaluate the database's half of the checklist
  pg_checklist_info:
    service: sandbox
    reference: "{{ before.reference }}"
    protected_tables: [whatsapp_auth, whatsapp_keys]
    demands:
      tables: [companies, clients]
      indexes: 70
      rows:
        clients: 1299
    items:
      access_paths:
        few_rows: 200
      size_growth:
        enabled: false
        reason: data is being loaded
    checks:
      - id: one_salon
        title: There is one salon
        query: SELECT count(*) FROM companies
        expected: 1
"""

RETURN = r"""
findings:
  description: One for each item, in the order of the list, each with C(id), C(title), C(status), C(expected),
    C(observed), C(hint), C(evidence) and C(seconds). Empty with O(state=noted).
  type: list
  elements: dict
  returned: success
reference:
  description: What a later look compares with.
  type: dict
  returned: success
catalog:
  description: The comparison with the ledger; C(fingerprint), C(counts) by kind, C(recorded) migrations,
    C(differences), and C(drift), the same for a person.
  type: dict
  returned: success
locks:
  description: >-
    Strongest lock that the items took on each relation of users, while they read and made the rows that an attempt
    stands on. What an attempt itself locked is not among them; its subtransaction was rolled back, with its locks.
  type: dict
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
    from ansible.module_utils.rollout import checklist_database
except ImportError as error:
    PSYCOPG_MISSING: ImportError | None = error
else:
    PSYCOPG_MISSING = None

_DEMANDS = {
    "tables": {"type": "list", "elements": "str", "default": []},
    "functions": {"type": "list", "elements": "str", "default": []},
    "indexes": {"type": "int", "default": 0},
    "triggers": {"type": "int", "default": 0},
    "rows": {"type": "dict", "default": {}},
}
OPTIONS = {
    "schema": {"type": "str", "default": "public"},
    "ledger": {"type": "str", "default": "rollout"},
    "state": {"type": "str", "choices": ["checked", "noted"], "default": "checked"},
    "samples": {"type": "str", "default": "[]"},
    "partitions": {"type": "list", "elements": "dict", "default": []},
    "demands": {"type": "dict", "default": {}, "options": _DEMANDS},
    "items": {"type": "dict", "default": {}},
    "checks": {"type": "list", "elements": "dict", "default": []},
    "reference": {"type": "dict", "default": {}},
    "protected_tables": {"type": "list", "elements": "str", "default": []},
    "lock_timeout_ms": {"type": "int", "default": 1500},
    "statement_timeout_ms": {"type": "int", "default": 10_000},
}


def main() -> None:
    module = AnsibleModule(argument_spec={**OPTIONS, **options.CONNECTION}, supports_check_mode=True)
    if PSYCOPG_MISSING is not None:
        module.fail_json(msg=missing_required_lib("psycopg", reason="playbooks/runtime.yml installs it"))
    try:
        outcome = checklist_database.run(module.params, check=module.check_mode)
    except RolloutError as error:
        module.fail_json(msg=str(error), details=error.details)
    module.exit_json(changed=False, **asdict(outcome))


if __name__ == "__main__":
    main()
