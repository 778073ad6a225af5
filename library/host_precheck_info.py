#!/usr/bin/python
"""Module host_precheck_info: glue between Ansible and module_utils/rollout/precheck_host_reading.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_precheck_info
short_description: What a rollout has to know of the application host before it begins
description:
  - Free space, the application's checkout, PostgreSQL's client programs, the certificate of the database's authority,
    and variables of the application in its file and in its running processes. Facts, no judgement; the action
    M(precheck) judges them.
  - Needs nothing but Python's standard library, and git where a checkout is asked for. Writes nothing.
  - What cannot be read is told in the C(error) of that answer, and is no failure of the module.
options:
  disk_paths:
    description: Paths whose free space is measured. Of one that does not exist, the nearest parent is.
    type: list
    elements: path
    default: []
  backup_dir:
    description: Where backups go. It need not exist yet. Empty is not asked.
    type: str
    default: ""
  checkout:
    description: Folder of the application, a Git checkout. Empty is not asked.
    type: str
    default: ""
  client_tools:
    description: Names of PostgreSQL's client programs that are asked for their version.
    type: list
    elements: str
    default: []
  bin_dir:
    description: Folder that has them. Empty takes those on PATH.
    type: str
    default: ""
  sslrootcert:
    description: Certificate of the authority that signed the server's.
    type: str
    default: ""
  service:
    description: Entry of the libpq service file that may name the certificate instead.
    type: str
    default: ""
  service_file:
    description: The service file.
    type: str
    default: ""
  flags:
    description:
      - Variables of the application's environment. Their values are returned, so not for secrets. Nothing else of the
        file or of a process's environment is.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The variable.
        type: str
        required: true
      file:
        description: File that the application reads its environment from. Empty is not asked.
        type: str
        default: ""
      service:
        description: Service in PM2 whose processes are looked at. Empty is not asked.
        type: str
        default: ""
  pm2_home:
    description: PM2_HOME, to find a service's processes.
    type: str
    default: ""
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
- name: Ask the host
  host_precheck_info:
    disk_paths: [/, /srv/app]
    checkout: /srv/app
    client_tools: [pg_dump]
    flags:
      - {name: USE_LEGACY, file: /srv/app/.env}
  register: host
"""

RETURN = r"""
facts:
  description: The answers; C(disks), C(backup_disk), C(checkout), C(client_tools),
    C(server_programs), C(ca) and C(flags).
  type: dict
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.rollout import precheck_host_reading

TEXTS = ("backup_dir", "checkout", "bin_dir", "sslrootcert", "service", "service_file", "pm2_home")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "disk_paths": {"type": "list", "elements": "path", "default": []},
            "client_tools": {"type": "list", "elements": "str", "default": []},
            "flags": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "file": {"type": "str", "default": ""},
                    "service": {"type": "str", "default": ""},
                },
            },
            **{name: {"type": "str", "default": ""} for name in TEXTS},
        },
        supports_check_mode=True,
    )
    given = module.params
    questions = precheck_host_reading.Questions(
        disk_paths=given["disk_paths"],
        tools=given["client_tools"],
        flags=[precheck_host_reading.Flag(**flag) for flag in given["flags"]],
        **{name: given[name] for name in TEXTS},
    )
    module.exit_json(changed=False, facts=precheck_host_reading.read(questions))


if __name__ == "__main__":
    main()
