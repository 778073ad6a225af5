#!/usr/bin/python
"""Module query_proof: glue between Ansible and module_utils/rollout/audit/proof.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: query_proof
short_description: Would the calls of the application's code run on this schema?
description:
  - Takes the supabase-js calls that M(query_audit) found, translates each to PostgreSQL, and asks the server whether it
    could run them - tables, columns, types, functions, foreign keys of embedded resources, unique keys of ON CONFLICT,
    columns that an insert leaves empty, CHECKs against the values in the code.
  - Nothing is executed. Statements are prepared and planned in a transaction that cannot write, by a session that is
    read-only in either mode. A login that may only read is enough.
  - Planning a mutation locks its table in ROW EXCLUSIVE mode, as running it would, and lets it go at once.
options:
  chains:
    description: The calls, as RV(query_audit#module:chains) has them.
    type: list
    elements: dict
    required: true
  schema:
    description: Schema to prove against.
    type: str
    default: public
  max_rows:
    description: Most rows that a select gives, PostgREST's C(db-max-rows). 0 for no limit.
    type: int
    default: 1000
  fail_on:
    description: Whether calls that would fail are a failure of the module.
    type: str
    choices: [missing, none]
    default: none
extends_documentation_fragment: rollout_connection
attributes:
  check_mode:
    support: full
    description: Changes nothing in either mode.
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
- name: Prove the code's calls against the schema
  query_proof:
    service: sandbox
    chains: "{{ audit.chains }}"
    fail_on: missing
  register: proof
"""

RETURN = r"""
sentence:
  description: How many calls would fail, for a person.
  type: str
  returned: success, or when calls would fail
counts:
  description: Calls by verdict, without those of tests.
  type: dict
  returned: success, or when calls would fail
verdicts:
  description:
    - One a call, in the order of O(chains). C(outcome) is C(runs), C(fails) or C(unknown); C(problems) hold SQLSTATE
      and reason, C(unknown) what could not be looked at.
  type: list
  elements: dict
  returned: success, or when calls would fail
lacks:
  description: What each table lacks, with C(file:line) of the calls that want it.
  type: list
  elements: dict
  returned: success, or when calls would fail
live_schema:
  description: The schema that was proven against, for the generated library.
  type: dict
  returned: success, or when calls would fail
proposal:
  description: SQL that would add what is missing. Never applied.
  type: str
  returned: success, or when calls would fail
round_trips:
  description: How often the module waited for the database, without connecting.
  type: int
  returned: success, or when calls would fail
seconds:
  description: Time from opening the connection to the end, seconds.
  type: float
  returned: success, or when calls would fail
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.rollout import options
from ansible.module_utils.rollout.errors import RolloutError

try:
    from ansible.module_utils.rollout.audit.chain import from_json
    from ansible.module_utils.rollout.audit.proof import prove
    from ansible.module_utils.rollout.audit.proof_result import gate
    from ansible.module_utils.rollout.audit.proposal import proposal
    from ansible.module_utils.rollout.connection import Session
except ImportError as error:
    PSYCOPG_MISSING: ImportError | None = error
else:
    PSYCOPG_MISSING = None

OPTIONS = {
    "chains": {"type": "list", "elements": "dict", "required": True},
    "schema": {"type": "str", "default": "public"},
    "max_rows": {"type": "int", "default": 1000},
    "fail_on": {"type": "str", "choices": ["missing", "none"], "default": "none"},
}


def main() -> None:
    module = AnsibleModule(argument_spec={**OPTIONS, **options.CONNECTION}, supports_check_mode=True)
    if PSYCOPG_MISSING is not None:
        module.fail_json(msg=missing_required_lib("psycopg", reason="playbooks/runtime.yml installs it"))
    given = module.params
    result = {}
    try:
        chains = from_json(given["chains"])
        with Session(options.connection_options(given), given["application_name"], read_only=True) as session:
            found, schema = prove(session, given["schema"], chains, given["max_rows"] or None)
            spent = {"round_trips": session.round_trips, "seconds": round(session.seconds, 4)}
        result = {
            **found.as_json(),
            **spent,
            "live_schema": schema.as_json(),
            "proposal": proposal(schema, chains, found.verdicts),
        }
        gate(found, given["fail_on"])
    except RolloutError as error:
        module.fail_json(msg=str(error), details=error.details, **result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
