"""Prints the phases that callback rollout finds in playbooks: python -m tests.playbook_phases FILE … [--tags TAGS].

A process of its own, because Ansible keeps settings and plugins for the whole of one.
"""

import argparse
import json
import sys
from pathlib import Path

import ansible.module_utils
from ansible import context
from ansible.inventory.manager import InventoryManager  # type: ignore[import-untyped]
from ansible.module_utils.common.collections import ImmutableDict
from ansible.parsing.dataloader import DataLoader
from ansible.playbook import Playbook  # type: ignore[import-untyped]
from ansible.plugins.loader import init_plugin_loader
from ansible.vars.manager import VariableManager  # type: ignore[import-untyped]

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.rollout.console_phases import of_playbook  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("files", nargs="+")
parser.add_argument("--tags", default="all")
asked = parser.parse_args()
context.CLIARGS = ImmutableDict(tags=tuple(asked.tags.split(",")), skip_tags=())
init_plugin_loader()
loader = DataLoader()
variables = VariableManager(loader, InventoryManager(loader, sources=["localhost,"]))
found = {}
for file in asked.files:
    playbook = Playbook.load(file, variable_manager=variables, loader=loader)
    found[file] = [(phase.title, phase.rescue) for phase in of_playbook(playbook.get_plays())]
json.dump(found, sys.stdout)
