#!/usr/bin/python
"""Module baileys_info: glue between Ansible and module_utils/rollout/baileys_reading.py and session_store.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: baileys_info
short_description: Whether the WhatsApp client is connected, and its session store untouched
description:
  - Watches the service for a window and judges from several sources, because each of them alone is wrong at times.
    These are its health endpoint, its log since a bookmark, and its processes.
  - Reads the session store, when connection options are given, and compares it with an earlier reading.
  - Returns no personal data and no secret; of an answer and of a log line only what is listed below is kept.
  - Refuses to ask the API's port, where each question sends a WhatsApp message.
options:
  health_url:
    description: The service's own health endpoint, C(http://127.0.0.1:<port>/health).
    type: str
    required: true
  never_port:
    description: The API's port. RV(details) C(reason) is V(forbidden_port) when O(health_url) is on it.
    type: int
    default: 3000
  count:
    description: How often the endpoint is asked.
    type: int
    default: 4
  interval:
    description:
      - Pause between two questions, seconds.
      - The endpoint stays C(connected) while the service waits for its next attempt. So without a log of before, let
        the window (count - 1 times this) be longer than that wait, 5 to 60 s.
    type: float
    default: 2
  timeout:
    description: Longest wait for one answer, seconds.
    type: float
    default: 3
  pm2_home:
    description: PM2_HOME; with O(pm2_service), the processes and log files are those that PM2 names.
    type: path
  pm2_service:
    description: The service's name in PM2.
    type: str
  pids:
    description: Its processes, instead of asking PM2. An empty list says that it does not run.
    type: list
    elements: int
  logs:
    description: Its log files, both, instead of those that PM2 names.
    type: list
    elements: path
  bookmarks:
    description:
      - RV(bookmarks) of an earlier call of this module or of M(log_window_info). Without them only the window's own
        events are known.
      - Those of other logs are passed over.
    type: list
    elements: dict
  patterns:
    description: Patterns for the log, as M(log_window_info) takes them. One with the name of a default replaces it.
    type: list
    elements: dict
    default: []
  company_id:
    description: Id that the service uses in the session store. By default the one that its endpoint names.
    type: str
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
    description: Share of the key rows that may vanish without having expired, 0 to 1. Used pre-keys do.
    type: float
    default: 0.1
  baseline:
    description: RV(reading) of an earlier call, at most a day old.
    type: dict
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
- name: Look at the WhatsApp client before
  baileys_info:
    health_url: http://127.0.0.1:3003/health
    pm2_home: /srv/app/.pm2
    pm2_service: baileys-whatsapp-service
    service: production
  register: before

- name: Look at it again
  baileys_info:
    health_url: http://127.0.0.1:3003/health
    pm2_home: /srv/app/.pm2
    pm2_service: baileys-whatsapp-service
    service: production
    bookmarks: "{{ before.bookmarks }}"
    baseline: "{{ before.reading }}"
  register: after
  until: after.verdict == 'connected' or after.terminal
  retries: 5

- name: Refuse to go on
  ansible.builtin.assert:
    that:
      - after.verdict == 'connected'
      - after.store.state == 'untouched'
    fail_msg: "{{ after.reason }} {{ after.store.findings }}"
"""

RETURN = r"""
verdict:
  description: One of C(connected), C(reconnecting), C(logged_out), C(replaced), C(needs_pairing) and C(unknown).
  type: str
  returned: success
reason:
  description: Why, for a person.
  type: str
  returned: success
terminal:
  description: Whether somebody has to act; false also when it is worth looking again.
  type: bool
  returned: success
evidence:
  description: What the verdict was made of.
  type: dict
  returned: success
  contains:
    samples:
      description: The endpoint's answers; at, status, connected, company, account (four digits of a hash),
        waits_for_pairing and problem.
      type: list
      elements: dict
    events:
      description: What the log says of the connection, in order; name of the pattern, at, code, and in_window when it
        happened while the service was watched.
      type: list
      elements: dict
    continuity:
      description: Of the log, as M(log_window_info) returns it. C(new) without bookmarks, C(no_log) without a log.
      type: str
    pids:
      description: The service's processes; null when nobody looked.
      type: list
      elements: int
    pids_before:
      description: Those of the baseline, or else at the window's beginning.
      type: list
      elements: int
store:
  description: The session store.
  type: dict
  returned: success
  contains:
    state:
      description:
        - C(untouched) or C(touched) when it was compared with a baseline; C(sound) or C(unsound) when there is none.
        - C(not_looked_at) without connection options; C(unknown_company) when nobody says which company is in use.
      type: str
    findings:
      description: What speaks against it; what, expected and observed.
      type: list
      elements: dict
company:
  description: The id that the service uses; empty when neither it nor O(company_id) says so.
  type: str
  returned: success
reading:
  description: To hand to a later call as O(baseline).
  type: dict
  returned: success
bookmarks:
  description: Where the log ends now. To hand to a later call as O(bookmarks).
  type: list
  elements: dict
  returned: success
seconds:
  description: Time that it took, with the window.
  type: float
  returned: success
details:
  description: >-
    Why it failed, in reason; bad_url, forbidden_port, bad_argument, bad_baseline, and those of M(pm2_info) and
    M(log_window_info). Says nothing about the service.
  type: dict
  returned: failure
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.rollout import baileys_reading, baileys_verdict, log_patterns, options
from ansible.module_utils.rollout.errors import RolloutError

try:
    from ansible.module_utils.rollout import session_store
    from ansible.module_utils.rollout.connection import Session
except ImportError as error:
    PSYCOPG_MISSING: ImportError | None = error
else:
    PSYCOPG_MISSING = None

OPTIONS = {
    "health_url": {"type": "str", "required": True},
    "never_port": {"type": "int", "default": 3000},
    "count": {"type": "int", "default": 4},
    "interval": {"type": "float", "default": 2},
    "timeout": {"type": "float", "default": 3},
    "pm2_home": {"type": "path"},
    "pm2_service": {"type": "str"},
    "pids": {"type": "list", "elements": "int"},
    "logs": {"type": "list", "elements": "path"},
    "bookmarks": {"type": "list", "elements": "dict"},
    "patterns": {"type": "list", "elements": "dict", "default": []},
    "company_id": {"type": "str"},
    "schema": {"type": "str", "default": "public"},
    "auth_table": {"type": "str", "default": "whatsapp_auth"},
    "keys_table": {"type": "str", "default": "whatsapp_keys"},
    "loss_tolerance": {"type": "float", "default": 0.1},
    "baseline": {"type": "dict"},
}


def read_store(
    given: dict[str, Any], company: str, baseline: baileys_reading.Baseline
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The session store's state, and its reading for a later call."""
    if not options.name_a_database(given):
        return {"state": "not_looked_at", "findings": []}, None
    before = None if baseline.store is None else session_store.from_result(baseline.store)
    with Session(
        options.connection_options(given),
        given["application_name"],
        read_only=True,
        statement_timeout_ms=session_store.TIMEOUT_MS,
    ) as session:
        state, now = session_store.look(
            session,
            before,
            company,
            schema=given["schema"],
            auth_table=given["auth_table"],
            keys_table=given["keys_table"],
            loss_tolerance=given["loss_tolerance"],
        )
    return state, now.as_result()


def main() -> None:
    module = AnsibleModule(
        argument_spec={**OPTIONS, **options.CONNECTION},
        supports_check_mode=True,
        required_together=[("pm2_home", "pm2_service")],
        mutually_exclusive=[("pm2_home", "pids")],
    )
    given = module.params
    begun = time.monotonic()
    if options.name_a_database(given) and PSYCOPG_MISSING is not None:
        module.fail_json(msg=missing_required_lib("psycopg", reason="playbooks/runtime.yml installs it"))
    source = baileys_reading.Source(
        health_url=given["health_url"],
        never_port=given["never_port"],
        count=given["count"],
        interval=given["interval"],
        timeout=given["timeout"],
        pm2_home=given["pm2_home"],
        service=given["pm2_service"],
        pids=None if given["pids"] is None else tuple(given["pids"]),
        logs=given["logs"],
    )
    try:
        patterns = log_patterns.compile_patterns(given["patterns"])
        baseline = baileys_reading.Baseline.from_result(given["baseline"])
        seen = baileys_reading.look(source, given["bookmarks"], patterns, baseline)
        company = given["company_id"] or seen.company
        store, store_reading = read_store(given, company, baseline)
    except RolloutError as error:
        module.fail_json(msg=str(error), details=error.details)
    pids = seen.evidence.pids
    module.exit_json(
        changed=False,
        verdict=seen.verdict.verdict,
        reason=seen.verdict.reason,
        terminal=seen.verdict.terminal,
        evidence=baileys_verdict.as_result(seen.evidence),
        store=store,
        company=company,
        reading={
            "pids": None if pids is None else list(pids),
            "account": seen.account,
            "store": store_reading,
        },
        bookmarks=seen.bookmarks,
        seconds=round(time.monotonic() - begun, 3),
    )


if __name__ == "__main__":
    main()
