#!/usr/bin/python
"""Module pg_migration: glue between Ansible and module_utils/rollout/migrate.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_migration
short_description: Apply, rehearse or take back a migration of a PostgreSQL schema
description:
  - A migration is a folder with C(migration.yml) and templated SQL. It is rendered, checked and parsed on the control
    node; the target host gets statements, never files.
  - The state is decided from the ledger, a rehearsal in a scratch schema and the live catalog. Where nothing is to do,
    nothing is sent. What stands already is adopted when it is exactly what the migration would make.
  - Each migration runs in one transaction together with its ledger row. Before COMMIT it is proven that no protected
    table was locked beyond its budget, and that the catalog is what the rehearsal foretold.
options:
  path:
    description: Folder on the control node that holds one folder a migration.
    type: path
    required: true
  variables:
    description: Values of the variables that the migrations declare.
    type: dict
    default: {}
  state:
    description:
      - V(rehearsed) says what stands of every migration and runs what is pending in a scratch schema, inside a
        transaction that is rolled back.
      - V(present) brings the migration O(id) into force.
      - V(absent) takes the migration O(id) back. Refused when its tables hold rows or others depend on it.
      - V(removable) says of each migration in force, the newest first, what taking it back would drop and how many rows
        would go. Reads only.
    type: str
    choices: [present, absent, rehearsed, removable]
    default: present
  id:
    description: Number of the migration, as in its folder's name. Required with V(present) and V(absent).
    type: str
  exported:
    description:
      - With O(state=absent), a proven backup on the target host, by its folder or a file in it. The tables may then
        hold rows, exactly those of the backup; they are compared under the lock under which the tables are dropped.
    type: path
  keep_shared:
    description: With O(state=absent), whether what others depend on stays, instead of being a reason to refuse.
    type: bool
    default: false
  schema:
    description: Schema that the migrations work in. It must exist.
    type: str
    default: public
  ledger:
    description: Schema of the ledger. Created with the first migration.
    type: str
    default: rollout
  owner_role:
    description: Role that is to own what is created. Empty for the login role.
    type: str
    default: ""
  protected_tables:
    description: Tables of the running application that must not be locked beyond ACCESS SHARE.
    type: list
    elements: str
    default: []
  drift:
    description:
      - What to do when recorded objects are not as they were recorded.
      - V(fail) lists the differences and fails. V(repair) mends functions, triggers, missing indexes and comments,
        and fails on anything else.
    type: str
    choices: [fail, repair]
    default: fail
  rehearsal:
    description: RV(rehearsal) of an earlier task with O(state=rehearsed), so that it is not done again.
    type: str
    default: ""
  run_id:
    description: The run, for the ledger and C(pg_stat_activity).
    type: str
    default: by hand
  lock_timeout_ms:
    description: Longest wait for one lock, milliseconds. Below deadlock_timeout (1 s) autovacuum never gives way.
    type: int
    default: 1500
  lock_attempts:
    description: How often the transaction is tried when a lock cannot be had.
    type: int
    default: 5
  statement_timeout_ms:
    description: Longest run of one statement, milliseconds.
    type: int
    default: 60000
  migrations:
    description: The rendered migrations. Set by the action plugin from O(path) and O(variables); not by hand.
    type: str
extends_documentation_fragment: rollout_connection
attributes:
  check_mode:
    support: full
    description: The session is opened read-only on the server's side. What is pending is compared by kind and name.
  diff_mode:
    support: full
    description: What would be created, or the drift.
  idempotent:
    support: full
    description: A second run sends no DDL and takes no lock beyond ACCESS SHARE.
author:
  - The rollout's founders (@rollout)
"""

EXAMPLES = r"""
- name: Rehearse what is pending
  pg_migration:
    path: roles/schema/migrations
    variables: "{{ schema_variables }}"
    state: rehearsed
    service: sandbox
  register: rehearsed

- name: Apply the first migration
  pg_migration:
    path: roles/schema/migrations
    variables: "{{ schema_variables }}"
    id: "0001"
    rehearsal: "{{ rehearsed.rehearsal }}"
    protected_tables: [whatsapp_auth, whatsapp_keys]
    service: sandbox

- name: Take it back
  pg_migration:
    path: roles/schema/migrations
    variables: "{{ schema_variables }}"
    id: "0001"
    state: absent
    service: sandbox
"""

RETURN = r"""
summary:
  description: What was done, or would be, in one sentence.
  type: str
  returned: success
migrations:
  description: For each migration its id, name, state, action, whether it is pending, and what it does.
  type: list
  elements: dict
  returned: success
rehearsal:
  description: What every pending migration does to every object, as JSON text for O(rehearsal).
  type: str
  returned: state is rehearsed
executed:
  description:
    - Statements with place, SQL and milliseconds; fingerprints, transaction id, attempts, fate of COMMIT; locks, and
      the budget of each protected table.
  type: dict
  returned: state is present and something was sent
locks:
  description: Strongest lock on each relation that existed before, read from pg_locks before COMMIT.
  type: dict
  returned: success
removals:
  description:
    - Of each migration, id, label, drops (objects in order), kept (adopted, they stay), shared (what stays because
      others depend on it, with who does), rows by table, values by column, and refusal (why it cannot be taken back).
  type: list
  elements: dict
  returned: state is absent or removable
fingerprint:
  description: SHA-256 over the schema's catalog.
  type: str
  returned: success
server_version:
  description: As the server calls it, such as 18.0.
  type: str
  returned: success
round_trips:
  description: How often the module waited for the database, without connecting.
  type: int
  returned: success
seconds:
  description: Time from opening the connection to the end, seconds.
  type: float
  returned: success
notices:
  description: Messages that PostgreSQL sent beside the results, with SQLSTATE.
  type: list
  elements: dict
  returned: success
sql:
  description: The migration as rendered for the target schema.
  type: str
  returned: state is present
details:
  description: What failed, for a machine; for example sqlstate, place, differences, locks.
  type: dict
  returned: failure
"""

import platform
from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.rollout import options
from ansible.module_utils.rollout.errors import RolloutError

try:
    from ansible.module_utils.rollout import migrate
    from ansible.module_utils.rollout.connection import Session
    from ansible.module_utils.rollout.execution import Settings
    from ansible.module_utils.rollout.migration import parse
except ImportError as error:
    PSYCOPG_MISSING: ImportError | None = error
else:
    PSYCOPG_MISSING = None

OPTIONS = {
    "path": {"type": "path", "required": True},
    "variables": {"type": "dict", "default": {}},
    "state": {
        "type": "str",
        "choices": ["present", "absent", "rehearsed", "removable"],
        "default": "present",
    },
    "id": {"type": "str"},
    "exported": {"type": "path"},
    "keep_shared": {"type": "bool", "default": False},
    "schema": {"type": "str", "default": "public"},
    "ledger": {"type": "str", "default": "rollout"},
    "owner_role": {"type": "str", "default": ""},
    "protected_tables": {"type": "list", "elements": "str", "default": []},
    "drift": {"type": "str", "choices": ["fail", "repair"], "default": "fail"},
    "rehearsal": {"type": "str", "default": ""},
    "run_id": {"type": "str", "default": "by hand"},
    "lock_timeout_ms": {"type": "int", "default": 1500},
    "lock_attempts": {"type": "int", "default": 5},
    "statement_timeout_ms": {"type": "int", "default": 60000},
    "migrations": {"type": "str"},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={**OPTIONS, **options.CONNECTION},
        required_if=[("state", "present", ["id"]), ("state", "absent", ["id"])],
        supports_check_mode=True,
    )
    if PSYCOPG_MISSING is not None:
        module.fail_json(msg=missing_required_lib("psycopg", reason="playbooks/runtime.yml installs it"))
    if not module.params["migrations"]:
        module.fail_json(msg="pg_migration needs its action plugin; ansible.cfg names action_plugins/")
    # What travels is large, and would be sent back and recorded.
    told = {
        name: value
        for name, value in module.params.items()
        if name not in ("migrations", "rehearsal", "password")
    }
    try:
        outcome = run(module)
    except RolloutError as error:
        module.fail_json(msg=str(error), details=error.details, invocation={"module_args": told})
    result = asdict(outcome)
    texts = {"before": result.pop("before"), "after": result.pop("after")}
    module.exit_json(**result, diff=texts, invocation={"module_args": told})


def run(module: AnsibleModule) -> migrate.Outcome:
    """Call the state that was asked for."""
    given = module.params
    check: bool = module.check_mode
    migrations = parse(given["migrations"])
    settings = Settings(
        schema=given["schema"],
        ledger=given["ledger"],
        owner_role=given["owner_role"],
        protected=tuple(given["protected_tables"]),
        run_id=given["run_id"],
        applied_from=platform.node(),
        attempts=given["lock_attempts"],
    )

    def open_session() -> Session:
        return Session(
            options.connection_options(given),
            f"{given['application_name']} {given['run_id']}",
            read_only=check,
            lock_timeout_ms=given["lock_timeout_ms"],
            statement_timeout_ms=given["statement_timeout_ms"],
        )

    if given["state"] == "rehearsed":
        return migrate.rehearsed(open_session, migrations, settings, check=check, drift=given["drift"])
    if given["state"] == "absent":
        return migrate.absent(
            open_session,
            migrations,
            given["id"],
            settings,
            check=check,
            export=given["exported"],
            keep_shared=given["keep_shared"],
        )
    if given["state"] == "removable":
        return migrate.removable(open_session, migrations, settings, keep_shared=given["keep_shared"])
    return migrate.present(
        open_session,
        migrations,
        given["id"],
        settings,
        check=check,
        given=given["rehearsal"],
        drift=given["drift"],
    )


if __name__ == "__main__":
    main()
