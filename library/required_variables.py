#!/usr/bin/python
"""Documentation of the action plugin of the same name; all of it runs on the control node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: required_variables
short_description: Fail with every value that the inventory lacks
description:
  - Evaluates a list of variables in the context of every host, and fails once with all that are not defined, refer to
    something that is not defined, are null or empty, or still hold the example's V(change-me).
  - Runs on the control node, once for all hosts of the play, and opens no connection. Delegate it to C(localhost) when
    the hosts' connection variables themselves may be missing, as role C(inventory_check) does.
  - Values are never printed.
options:
  group:
    description: The group whose hosts are checked. A play without a host of this group is an error.
    type: str
    required: true
  variables:
    description: The variables that must have a value. An empty list is an error.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the variable.
        type: str
        required: true
      description:
        description: What the value is for.
        type: str
        required: true
      where:
        description: The file that the value belongs in.
        type: str
        required: true
      type:
        description:
          - What the value must be. V(port) is a whole number from 1 to 65535, V(sslmode) one of libpq's words,
            V(file) the path of an existing file on the control node.
        type: str
        choices: [any, port, sslmode, file]
        default: any
  hint:
    description: How the files are made. Printed after the list.
    type: str
    default: ""
attributes:
  check_mode:
    description: Nothing is ever changed, so check mode makes no difference.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
author:
  - The rollout project
"""

EXAMPLES = r"""
- name: Ask for every missing value at once
  required_variables:
    group: application
    variables:
      - name: vault_pg_password
        description: password of the database role
        where: inventory/prod/group_vars/all/vault.yml
      - name: pg_port
        description: port of the database server
        where: inventory/prod/group_vars/all/database.yml
        type: port
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
hosts:
  description: The hosts that were checked.
  type: list
  elements: str
  returned: success
checked:
  description: Names of the variables that were checked.
  type: list
  elements: str
  returned: success
"""
