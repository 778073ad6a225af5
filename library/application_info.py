#!/usr/bin/python
"""Module application_info: glue between Ansible and module_utils/rollout/application_reading.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: application_info
short_description: One look at a whole application under PM2
description:
  - Reads, in one process and without changing anything, the services, what they logged since a bookmark, the WhatsApp
    client and its session store. M(application_gate) looks several times and decides.
  - A source that cannot be read is listed in RV(broken), and the others are read all the same.
  - Does what M(pm2_info), M(log_window_info) and M(baileys_info) do, with their rules and their restraint.
options:
  pm2_home:
    description: PM2_HOME. Empty for an application without PM2.
    type: str
    default: ""
  services:
    description: Names of the services to judge.
    type: list
    elements: str
    default: []
  pm2_user:
    description: User that the daemon and the services have to run as. By default the owner of O(pm2_home).
    type: str
  logs:
    description: Log files by service, beside those that PM2 names.
    type: dict
    default: {}
  bookmarks:
    description: RV(bookmarks) of an earlier call. Without them the logs count from now on.
    type: list
    elements: dict
  patterns:
    description: Patterns for the logs, as M(log_window_info) takes them.
    type: list
    elements: dict
    default: []
  default_patterns:
    description: Whether the default patterns, those of the booking assistant's services, are used.
    type: bool
    default: true
  samples:
    description: Samples of each pattern, and of each level's other lines, in each file, at most.
    type: int
    default: 3
  baseline:
    description: RV(reading) of an earlier call, at most a day old.
    type: dict
    default: {}
  timeout:
    description: Longest wait for PM2's answer, seconds.
    type: float
    default: 5
  whatsapp:
    description: The WhatsApp client. Without it the application has none.
    type: dict
    suboptions:
      service:
        description: Its name in PM2.
        type: str
        required: true
      health_url:
        description: Its own health endpoint, on loopback.
        type: str
        required: true
      never_port:
        description: The API's port, which is never asked.
        type: int
        default: 3000
      count:
        description: How often the endpoint is asked.
        type: int
        default: 1
      interval:
        description: Pause between two questions, seconds.
        type: float
        default: 0
      timeout:
        description: Longest wait for one answer, seconds.
        type: float
        default: 3
      company_id:
        description: Id that the client uses in the session store. By default the one that its endpoint names.
        type: str
        default: ""
      schema:
        description: Schema of the session store.
        type: str
        default: public
      auth_table:
        description: Table of the credentials.
        type: str
        default: whatsapp_auth
      keys_table:
        description: Table of the keys.
        type: str
        default: whatsapp_keys
      loss_tolerance:
        description: Share of the key rows that may vanish without having expired, 0 to 1.
        type: float
        default: 0.1
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
notes:
  - Connection options, when given, say where the session store is.
author:
  - The rollout's founders (@rollout)
"""

EXAMPLES = r"""
- name: Note how the application is
  application_info:
    pm2_home: "{{ pm2_home }}"
    services: "{{ pm2_services }}"
    whatsapp:
      service: baileys-whatsapp-service
      health_url: http://127.0.0.1:3003/health
    service: production
  register: before

- name: Look at it again
  application_info:
    pm2_home: "{{ pm2_home }}"
    services: "{{ pm2_services }}"
    whatsapp:
      service: baileys-whatsapp-service
      health_url: http://127.0.0.1:3003/health
    service: production
    bookmarks: "{{ before.bookmarks }}"
    baseline: "{{ before.reading }}"
"""

RETURN = r"""
services:
  description: By name, their state, whether they are online, pids, restarts, uptime (s), memory (bytes) and cpu (%).
  type: dict
  returned: success
problems:
  description: Of the services, as M(pm2_info) returns them.
  type: list
  elements: dict
  returned: success
changes:
  description: Of the services since O(baseline), as M(pm2_info) returns them.
  type: list
  elements: dict
  returned: success
elsewhere:
  description: Other daemons that know a missing service.
  type: dict
  returned: success
logs:
  description: What each service logged since O(bookmarks), as M(log_window_info) returns it. Empty without bookmarks.
  type: dict
  returned: success
files:
  description: By log, its services, lines, levels, patterns and continuity, as in RV(logs). Empty without bookmarks.
  type: dict
  returned: success
whatsapp:
  description: The client's verdict, reason, terminal, company and evidence, as M(baileys_info) returns them.
  type: dict
  returned: O(whatsapp) is given and it could be asked
store:
  description: State of the session store with its findings, as M(baileys_info) returns it.
  type: dict
  returned: O(whatsapp) and connection options are given, and it could be read
broken:
  description: Sources that could not be read; source (pm2, logs, whatsapp, store), reason and text.
  type: list
  elements: dict
  returned: success
reading:
  description: To hand to a later call as O(baseline).
  type: dict
  returned: success
bookmarks:
  description: Where the logs end now. To hand to a later call as O(bookmarks).
  type: list
  elements: dict
  returned: success
seconds:
  description: Time that it took.
  type: float
  returned: success
details:
  description: What is wrong with an option, in reason.
  type: dict
  returned: failure
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.rollout import log_patterns, options
from ansible.module_utils.rollout.errors import RolloutError

try:
    from ansible.module_utils.rollout import application_reading
except ImportError as error:
    PSYCOPG_MISSING: ImportError | None = error
else:
    PSYCOPG_MISSING = None

WHATSAPP: dict[str, dict[str, Any]] = {
    "service": {"type": "str", "required": True},
    "health_url": {"type": "str", "required": True},
    "never_port": {"type": "int", "default": 3000},
    "count": {"type": "int", "default": 1},
    "interval": {"type": "float", "default": 0},
    "timeout": {"type": "float", "default": 3},
    "company_id": {"type": "str", "default": ""},
    "schema": {"type": "str", "default": "public"},
    "auth_table": {"type": "str", "default": "whatsapp_auth"},
    "keys_table": {"type": "str", "default": "whatsapp_keys"},
    "loss_tolerance": {"type": "float", "default": 0.1},
}

OPTIONS: dict[str, dict[str, Any]] = {
    "pm2_home": {"type": "str", "default": ""},
    "services": {"type": "list", "elements": "str", "default": []},
    "pm2_user": {"type": "str"},
    "logs": {"type": "dict", "default": {}},
    "bookmarks": {"type": "list", "elements": "dict"},
    "patterns": {"type": "list", "elements": "dict", "default": []},
    "default_patterns": {"type": "bool", "default": True},
    "samples": {"type": "int", "default": 3},
    "baseline": {"type": "dict", "default": {}},
    "timeout": {"type": "float", "default": 5},
    "whatsapp": {"type": "dict", "options": WHATSAPP},
}


def main() -> None:
    module = AnsibleModule(argument_spec={**OPTIONS, **options.CONNECTION}, supports_check_mode=True)
    given = module.params
    if PSYCOPG_MISSING is not None:
        module.fail_json(msg=missing_required_lib("psycopg", reason="playbooks/runtime.yml installs it"))
    try:
        client = given["whatsapp"]
        request = application_reading.Request(
            pm2_home=given["pm2_home"],
            services=given["services"],
            user=given["pm2_user"] or None,
            logs=given["logs"],
            patterns=log_patterns.compile_patterns(given["patterns"], defaults=given["default_patterns"]),
            whatsapp=None if client is None else application_reading.WhatsApp(**client),
            store=options.connection_options(given) if options.name_a_database(given) else None,
            application_name=given["application_name"],
            samples=given["samples"],
            timeout=given["timeout"],
            bookmarks=given["bookmarks"],
            baseline=given["baseline"],
        )
        found = application_reading.look(request)
    except RolloutError as error:
        module.fail_json(msg=str(error), details=error.details)
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
