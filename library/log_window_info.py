#!/usr/bin/python
"""Module log_window_info: glue between Ansible and module_utils/rollout/log_window.py and its neighbours."""

from __future__ import annotations

DOCUMENTATION = r"""
module: log_window_info
short_description: What the services' logs say since a bookmark
description:
  - The first call, without O(bookmarks), notes where the logs end. A later call reads only what came since.
  - Follows a log through renaming, copying and truncating (pm2-logrotate, its copy is read to its end), and flushing.
  - Judges the level by the line and never by the file, because all levels of winston go to standard output.
  - Copies no lines. Samples hold a message's beginning without numbers, addresses, quoted texts, tokens and keys.
  - Needs nothing but Python's standard library. Its memory does not grow with the logs.
options:
  logs:
    description: >-
      Log files by service, as pm2_info returns them (RV(services) C(logs) C(path)); name both of a service, for an
      application's errors are in the one of standard output. A file may not be there yet, and several services may
      share one.
    type: dict
    required: true
  bookmarks:
    description: RV(bookmarks) of an earlier call.
    type: list
    elements: dict
  patterns:
    description: Patterns besides the default ones. One with the name of a default replaces it.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Small letters, digits and underscores.
        type: str
        required: true
      kind:
        description: What a line of it means. Noise is counted apart from everything else.
        type: str
        choices: [fatal, noise, problem, sign]
        required: true
      regex:
        description: In Python's syntax; matched at the beginning of the message, after time, level and emoji.
        type: str
        required: true
      levels:
        description: Only lines of these levels. C(none) is a line without one.
        type: list
        elements: str
  default_patterns:
    description: Whether the default patterns, those of the booking assistant's services, are used.
    type: bool
    default: true
  samples:
    description: Samples of each pattern, and of each level's other lines, in each file, at most.
    type: int
    default: 3
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
- name: Note where the logs end
  log_window_info:
    logs:
      api: [/srv/app/logs/api-out.log, /srv/app/logs/api-error.log]
  register: before

- name: See what they say since
  log_window_info:
    logs:
      api: [/srv/app/logs/api-out.log, /srv/app/logs/api-error.log]
    bookmarks: "{{ before.bookmarks }}"
    patterns:
      - name: payment_refused
        kind: problem
        regex: "Payment refused"
        levels: [error, warn]
  register: since

- name: Refuse to go on after something fatal
  ansible.builtin.assert:
    that: not since.services.api.fatal
"""

RETURN = r"""
services:
  description: What was counted, by service. Empty at the first call.
  type: dict
  returned: success
  contains:
    lines:
      description: Complete lines, noise included.
      type: int
    levels:
      description: Lines by level, noise left out. C(none) are lines without a level.
      type: dict
    noise:
      description: Lines of noise by pattern.
      type: dict
    patterns:
      description: By pattern, its kind, count, and last line (path, number in this reading, UTC time if it has one).
      type: dict
    fatal:
      description: Names of the fatal patterns that were found.
      type: list
      elements: str
    problems:
      description: Names of the problem patterns that were found.
      type: list
      elements: str
    samples:
      description: Pattern, level, redacted text, checked fields (such as statusCode), path, line and time.
      type: list
      elements: dict
    huge_lines:
      description: Lines of more than 16 kB. They were judged by their beginning.
      type: int
    binary_lines:
      description: Lines with a zero byte.
      type: int
    continuity:
      description: The worst of its files. C(no_log) when the service has none.
      type: str
files:
  description:
    - By path; continuity, reason, services, bytes read, bytes of an unfinished last line, the files that were read, and
      whether the path is a device (discarded).
    - Continuity is C(proven) when nothing but appending and renaming happened.
    - It is C(unproven) when a file was read from its beginning, or went on in a copy; something may have been truncated
      unseen.
    - It is C(broken) when something is lost that was not read, and C(new) when there was no bookmark to read from.
  type: dict
  returned: success
bookmarks:
  description: Where the logs end now. To hand to a later call as O(bookmarks).
  type: list
  elements: dict
  returned: success
details:
  description: Why it failed, in reason; unreadable, not_a_file, rotating, bad_bookmark, bad_pattern or bad_logs.
  type: dict
  returned: failure
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.rollout import log_patterns, log_window
from ansible.module_utils.rollout.errors import RolloutError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "logs": {"type": "dict", "required": True},
            "bookmarks": {"type": "list", "elements": "dict"},
            "patterns": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "kind": {"type": "str", "required": True, "choices": sorted(log_patterns.KINDS)},
                    "regex": {"type": "str", "required": True},
                    "levels": {"type": "list", "elements": "str"},
                },
            },
            "default_patterns": {"type": "bool", "default": True},
            "samples": {"type": "int", "default": 3},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        patterns = log_patterns.compile_patterns(given["patterns"], defaults=given["default_patterns"])
        found = log_window.read_services(given["logs"], given["bookmarks"], patterns, given["samples"])
    except RolloutError as error:
        module.fail_json(msg=str(error), details=error.details)
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
