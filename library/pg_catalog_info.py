#!/usr/bin/python
"""Module pg_catalog_info: glue between Ansible and module_utils/rollout/inspection.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_catalog_info
short_description: The exact content of a PostgreSQL schema, and its drift from the ledger
description:
  - Tables, columns, constraints, indexes, sequences, partitions with bounds in UTC, triggers, functions, views, types,
    policies, comments, owners and grants, each with every attribute that can be compared.
  - Compares them with what the ledger recorded when the migrations were applied.
  - Opens a read-only session, also outside check mode.
options:
  schema:
    description: Schema to read.
    type: str
    default: public
  ledger:
    description: Schema of the ledger to compare with.
    type: str
    default: rollout
  tables:
    description: Report only these tables and what belongs to them. Empty reports everything.
    type: list
    elements: str
    default: []
extends_documentation_fragment: rollout_connection
attributes:
  check_mode:
    support: full
    description: Changes nothing in either mode.
  diff_mode:
    support: none
    description: There is never a change; the drift is in RV(drift).
  idempotent:
    support: full
    description: Only reads.
author:
  - The rollout's founders (@rollout)
"""

EXAMPLES = r"""
- name: Read the schema
  pg_catalog_info:
    service: sandbox
  register: catalog

- name: Fingerprint of the tables that nobody may touch
  pg_catalog_info:
    service: sandbox
    tables: [whatsapp_auth, whatsapp_keys]
  register: protected
"""

RETURN = r"""
entries:
  description: For each object, such as C(column bookings.cost), its attributes.
  type: dict
  returned: success
fingerprint:
  description: SHA-256 over RV(entries).
  type: str
  returned: success
counts:
  description: Objects by kind.
  type: dict
  returned: success
recorded:
  description: Migrations in force.
  type: list
  elements: str
  returned: success
differences:
  description: Recorded objects that are not as recorded, each with kind, expected and observed attributes.
  type: list
  elements: dict
  returned: success
drift:
  description: The same for a person.
  type: str
  returned: success
locks:
  description: Strongest lock that reading took on each relation of users.
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

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.rollout import options
from ansible.module_utils.rollout.errors import RolloutError

try:
    from ansible.module_utils.rollout.connection import Session
    from ansible.module_utils.rollout.inspection import inspect
except ImportError as error:
    PSYCOPG_MISSING: ImportError | None = error
else:
    PSYCOPG_MISSING = None

OPTIONS = {
    "schema": {"type": "str", "default": "public"},
    "ledger": {"type": "str", "default": "rollout"},
    "tables": {"type": "list", "elements": "str", "default": []},
}


def main() -> None:
    module = AnsibleModule(argument_spec={**OPTIONS, **options.CONNECTION}, supports_check_mode=True)
    if PSYCOPG_MISSING is not None:
        module.fail_json(msg=missing_required_lib("psycopg", reason="playbooks/runtime.yml installs it"))
    given = module.params
    try:
        with Session(options.connection_options(given), given["application_name"], read_only=True) as session:
            found = inspect(session, given["schema"], given["ledger"], tuple(given["tables"]))
            spent = {"round_trips": session.round_trips, "seconds": round(session.seconds, 4)}
    except RolloutError as error:
        module.fail_json(msg=str(error), details=error.details)
    module.exit_json(changed=False, **found.as_json(), **spent)


if __name__ == "__main__":
    main()
