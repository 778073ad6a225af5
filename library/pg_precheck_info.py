#!/usr/bin/python
"""Module pg_precheck_info: glue between Ansible and module_utils/rollout/precheck_database_reading.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_precheck_info
short_description: What a rollout has to know of a database before it begins
description:
  - Server, TLS, rights, settings, connections, poolers in between, and who else works on the database now. Facts, no
    judgement; the action M(precheck) judges them.
  - Opens two sessions for a moment, to see whether a pooler tells them apart. All questions are asked by one of them,
    in a read-only transaction; those on maintained tables by a third one. The text of others' queries is never
    returned.
  - A database that cannot be reached is an answer too, and no failure of the module.
options:
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
  protected_tables:
    description: Tables of the application whose locks are looked at.
    type: list
    elements: str
    default: []
  maintained_tables:
    description: Tables that are partitioned by time. It is read how far they take rows, and when they were maintained.
    type: list
    elements: dict
    default: []
    options:
      table:
        description: Name of the table.
        type: str
        required: true
      schema:
        description: Its schema.
        type: str
        default: public
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
        description: The first period, such as V(2025-11). Empty begins at the present one.
        type: str
        default: ""
      ahead:
        description: How many periods after the present one exist.
        type: int
        default: 3
      alarm:
        description: Fewer whole periods ahead than this are alarming.
        type: int
        default: 1
      retention:
        description: How many whole periods before the present one stay attached. 0 keeps all.
        type: int
        default: 0
  max_age_days:
    description: A last maintenance longer ago than this is a finding.
    type: int
    default: 3
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
- name: Ask the database
  pg_precheck_info:
    service: sandbox
    protected_tables: [whatsapp_auth]
  register: database

- name: Show who else works on it
  ansible.builtin.debug:
    var: database.facts.transactions
"""

RETURN = r"""
facts:
  description: The answers. C(reached) and C(asked) say whether there are any, C(reason) and C(error) why not.
  type: dict
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.rollout import options

try:
    from ansible.module_utils.rollout import precheck_database_reading, precheck_partitions_reading
except ImportError as error:
    PSYCOPG_MISSING: ImportError | None = error
else:
    PSYCOPG_MISSING = None

MAINTAINED = {
    "table": {"type": "str", "required": True},
    "schema": {"type": "str", "default": "public"},
    "unit": {"type": "str", "choices": ["day", "week", "month", "quarter", "year"], "default": "month"},
    "zone": {"type": "str", "default": "UTC"},
    "first": {"type": "str", "default": ""},
    "ahead": {"type": "int", "default": 3},
    "alarm": {"type": "int", "default": 1},
    "retention": {"type": "int", "default": 0},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "schema": {"type": "str", "default": "public"},
            "ledger": {"type": "str", "default": "rollout"},
            "owner_role": {"type": "str", "default": ""},
            "protected_tables": {"type": "list", "elements": "str", "default": []},
            "maintained_tables": {"type": "list", "elements": "dict", "default": [], "options": MAINTAINED},
            "max_age_days": {"type": "int", "default": 3},
            **options.CONNECTION,
        },
        supports_check_mode=True,
    )
    if PSYCOPG_MISSING is not None:
        module.fail_json(msg=missing_required_lib("psycopg", reason="playbooks/runtime.yml installs it"))
    given = module.params
    questions = precheck_database_reading.Questions(
        schema=given["schema"],
        ledger=given["ledger"],
        owner_role=given["owner_role"],
        protected=given["protected_tables"],
    )
    connection, name = options.connection_options(given), given["application_name"]
    facts = precheck_database_reading.read(connection, name, questions)
    if facts["asked"]:
        facts["partitions"] = precheck_partitions_reading.read(
            connection, name, given["ledger"], given["maintained_tables"], given["max_age_days"]
        )
    module.exit_json(changed=False, facts=facts)


if __name__ == "__main__":
    main()
