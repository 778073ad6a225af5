#!/usr/bin/python
"""Module message_probe: glue between Ansible and module_utils/rollout/message_probe.py and its neighbours."""

from __future__ import annotations

DOCUMENTATION = r"""
module: message_probe
short_description: Whether the bot answers a message of the test phone
description:
  - Posts one message to the API's webhook, as if the test phone had written it, and proves the reply by the chain of
    lines that the services log for it, each after its cause, for the same phone and with a nonce.
  - Sends to no other number than the inventory's C(test_phone). The action plugin of the same name compares with what
    the inventory's files say, whatever is given by C(-e), C(set_fact) or the task; the module compares again.
  - Sends one message, never repeats it, and sends nothing in check mode or where no test phone is configured. Then it
    says V(not_tested), never V(passed).
  - No reply is a result (RV(status) is V(failed)) and no failed task. The task fails when the bot could not be asked or
    the logs could not be read, which says nothing about the bot.
options:
  phone:
    description: The phone to write as, in international form.
    type: str
    required: true
  test_phone:
    description: The one that is configured. Empty where there is none. O(phone) has to be the same number.
    type: str
    required: true
  webhook_url:
    description: Where a message that came in is posted to, on the target's own loopback; never a health endpoint.
    type: str
    required: true
  pm2_home:
    description: PM2_HOME; the log files are those that PM2 names for the services of O(chain) and O(instead).
    type: path
  logs:
    description: Their log files by service, both of each, instead of those that PM2 names.
    type: dict
  timeout:
    description: Longest wait for the reply, seconds. The booking assistant waits 9 s for more and thinks up to 24 s.
    type: float
    default: 90
  text:
    description:
      - What is written, with V({nonce}) in it. It has to be something that is answered with words; thanks are answered
        with a reaction only. By default a question for the opening hours, in Russian.
      - At most six digits, so that no phone number is in it.
    type: str
  fields:
    description:
      - Names of the message's fields by what they hold, which is C(phone), C(text), C(id) and C(time). By default
        C(from), C(message), C(messageId) and C(timestamp).
    type: dict
  chain:
    description:
      - The steps of a reply. By default those of the booking assistant, see docs/baileys.md.
      - V({phone}) and V({nonce}) in a regular expression stand for this message's. The first step has both.
    type: list
    elements: dict
    suboptions:
      name:
        description: Small letters, digits and underscores.
        type: str
        required: true
      service:
        description: Whose log the line is in.
        type: str
        required: true
      regex:
        description: In Python's syntax; matched at the beginning of the message, after time, level and emoji.
        type: str
        required: true
      levels:
        description: Only lines of these levels. C(none) is a line without one.
        type: list
        elements: str
      after:
        description: Step that causes it. By default the one before it.
        type: str
  instead:
    description: Lines that are no step, and tell why one is missing. By default those of the booking assistant.
    type: list
    elements: dict
    suboptions:
      name:
        description: Small letters, digits and underscores.
        type: str
        required: true
      service:
        description: Whose log the line is in.
        type: str
        required: true
      regex:
        description: In Python's syntax; matched as in O(chain).
        type: str
        required: true
      levels:
        description: Only lines of these levels. C(none) is a line without one.
        type: list
        elements: str
      final:
        description: Whether no reply comes after it any more. It ends the waiting.
        type: bool
        default: false
attributes:
  check_mode:
    support: full
    description: Sends nothing, and says V(not_tested). Numbers and settings are judged as always.
  diff_mode:
    support: none
    description: There is never a difference.
  idempotent:
    support: none
    description: Each call sends a message.
author:
  - The rollout's founders (@rollout)
"""

EXAMPLES = r"""
- name: Ask the bot
  message_probe:
    phone: "{{ test_phone }}"
    test_phone: "{{ test_phone }}"
    webhook_url: "{{ api_webhook_url }}"
    pm2_home: "{{ pm2_home }}"
  register: probe

- name: Refuse to go on without a reply
  ansible.builtin.assert:
    that: probe.status != 'failed'
    fail_msg: "{{ probe.reason }}"

- name: Ask another application's bot
  message_probe:
    phone: "{{ test_phone }}"
    test_phone: "{{ test_phone }}"
    webhook_url: http://127.0.0.1:8080/incoming
    logs:
      bot: [/srv/bot/logs/out.log, /srv/bot/logs/error.log]
    text: "Is anybody there? {nonce}"
    fields: {phone: sender, text: body}
    chain:
      - {name: taken, service: bot, regex: 'Incoming from {phone}: .*{nonce}'}
      - {name: answered, service: bot, regex: 'Reply delivered to {phone}'}
    instead:
      - {name: refused, service: bot, regex: 'Cannot answer {phone}', final: true}
"""

RETURN = r"""
status:
  description: >-
    V(passed) when all steps were seen in order, V(failed) when the message was taken and no reply was proven,
    V(not_tested) when nothing was sent.
  type: str
  returned: success
reason:
  description: Why, for a person. Of a failure the missing step, the last one that was seen, and what was seen instead.
  type: str
  returned: success
phone:
  description: The number's last two digits.
  type: str
  returned: success
nonce:
  description: What the message is known by, in the logs and on the phone.
  type: str
  returned: when sent
asked_at:
  description: When it was asked, seconds since 1970.
  type: float
  returned: when sent
seconds:
  description: Time until the verdict.
  type: float
  returned: when sent
steps:
  description: Name and service of each step; seen; at (the line's own UTC time) and seen_at (when it was read), seconds
    since 1970.
  type: list
  elements: dict
  returned: when sent
missing:
  description: The first step that was not seen. Empty when none is missing.
  type: str
  returned: when sent
instead:
  description: The newest line of each kind of O(instead) since the first step, in the same form.
  type: list
  elements: dict
  returned: when sent
continuity:
  description: Of the logs while it was waited for, as M(log_window_info) returns it.
  type: str
  returned: when sent
details:
  description:
    - In reason, with RV(status) V(failed), C(no_reply) or the name of the line of O(instead) that ended the waiting;
      with V(not_tested), C(no_test_phone) or C(check_mode).
    - When the task fails, C(second_number), C(inventory_unknown) or C(bad_phone) (nothing was opened);
      C(bad_url), C(forbidden_path), C(bad_text), C(bad_fields), C(bad_chain), C(bad_pattern), C(bad_argument) or
      C(no_log) (nothing was sent); C(unreachable), C(answer_lost) or C(http_status) (it could not be asked);
      C(log_lost), and those of M(pm2_info) and M(log_window_info).
  type: dict
  returned: always, but for V(passed)
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.rollout import message_probe, phone_number, probe_chain, probe_request
from ansible.module_utils.rollout.errors import RolloutError

SIGN = {
    "name": {"type": "str", "required": True},
    "service": {"type": "str", "required": True},
    "regex": {"type": "str", "required": True},
    "levels": {"type": "list", "elements": "str"},
}
OPTIONS = {
    # Ansible keeps these out of the invocation that -vvv prints, and out of every other output.
    "phone": {"type": "str", "required": True, "no_log": True},
    "test_phone": {"type": "str", "required": True, "no_log": True},
    "webhook_url": {"type": "str", "required": True},
    "pm2_home": {"type": "path"},
    "logs": {"type": "dict"},
    "timeout": {"type": "float", "default": 90},
    "text": {"type": "str"},
    "fields": {"type": "dict"},
    "chain": {"type": "list", "elements": "dict", "options": {**SIGN, "after": {"type": "str"}}},
    "instead": {
        "type": "list",
        "elements": "dict",
        "options": {**SIGN, "final": {"type": "bool", "default": False}},
    },
}


def or_default(value: Any, default: Any) -> Any:
    """What the inventory's omit leaves out is the default; an empty list is not."""
    return default if value is None else value


def run(given: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """What the module does. Numbers are judged first, before anything is opened."""
    phone = phone_number.require_same(given["test_phone"], given["phone"])
    if not phone:
        return message_probe.not_tested("no_test_phone", "test_phone is empty")
    request = probe_request.make_request(
        given["webhook_url"],
        phone,
        or_default(given["text"], probe_request.DEFAULT_TEXT),
        or_default(given["fields"], probe_request.DEFAULT_FIELDS),
    )
    chain = probe_chain.make_chain(
        or_default(given["chain"], probe_chain.DEFAULT_CHAIN),
        or_default(given["instead"], probe_chain.DEFAULT_INSTEAD),
        phone,
        request.nonce,
    )
    if check_mode:
        return message_probe.not_tested("check_mode", "in check mode no message is sent", phone)
    logs = given["logs"] or message_probe.logs_of(given["pm2_home"], chain.services)
    return message_probe.probe(request, chain, logs, given["timeout"])


def main() -> None:
    module = AnsibleModule(
        argument_spec=OPTIONS,
        supports_check_mode=True,
        required_one_of=[("pm2_home", "logs")],
        mutually_exclusive=[("pm2_home", "logs")],
    )
    try:
        result = run(module.params, module.check_mode)
    except RolloutError as error:
        module.fail_json(msg=str(error), details=error.details)
    # A message is sent, but nothing is changed that a rollout looks after.
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
