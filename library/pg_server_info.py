#!/usr/bin/python
"""Module pg_server_info: glue between Ansible and module_utils/rollout/server.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_server_info
short_description: Facts about a PostgreSQL server, and what the role may do there
description:
  - Version, primary or standby, TLS of this very connection, rights, settings that decide a rollout, connections.
  - Opens a read-only session, also outside check mode.
options:
  schema:
    description: Schema whose rights are asked for.
    type: str
    default: public
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
- name: Look at the server
  pg_server_info:
    service: sandbox
  register: server

- name: Refuse a standby
  ansible.builtin.assert:
    that: not server.server.standby
"""

RETURN = r"""
server:
  description: The facts.
  type: dict
  returned: success
  contains:
    version:
      description: As the server calls it, such as 18.0.
      type: str
    version_num:
      description: As a number, such as 180000.
      type: int
    database:
      description: Database connected to.
      type: str
    role:
      description: Role in force.
      type: str
    standby:
      description: Whether the server takes no writes.
      type: bool
    tls:
      description: Whether this connection is encrypted, and how.
      type: dict
    settings:
      description: Settings by name, with their unit.
      type: dict
    connections:
      description: Client connections now, of the server and of this database.
      type: dict
    schema:
      description: Whether the schema exists, who owns it, and whether the role may use it and create in it.
      type: dict
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.rollout import options
from ansible.module_utils.rollout.errors import RolloutError

try:
    from ansible.module_utils.rollout import server
    from ansible.module_utils.rollout.connection import Session
except ImportError as error:
    PSYCOPG_MISSING: ImportError | None = error
else:
    PSYCOPG_MISSING = None


def main() -> None:
    module = AnsibleModule(
        argument_spec={"schema": {"type": "str", "default": "public"}, **options.CONNECTION},
        supports_check_mode=True,
    )
    if PSYCOPG_MISSING is not None:
        module.fail_json(msg=missing_required_lib("psycopg", reason="playbooks/runtime.yml installs it"))
    given = module.params
    try:
        with Session(options.connection_options(given), given["application_name"], read_only=True) as session:
            facts = server.read(session, given["schema"])
    except RolloutError as error:
        module.fail_json(msg=str(error), details=error.details)
    module.exit_json(changed=False, server=facts)


if __name__ == "__main__":
    main()
