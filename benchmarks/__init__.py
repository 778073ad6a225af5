"""Measurements that compare the rollout with what its users would use instead; ``make bench`` runs them all."""

from pathlib import Path

import ansible.module_utils

ROOT = Path(__file__).resolve().parent.parent

# Modules say "from ansible.module_utils.rollout import …"; Ansible puts them there on the target, this package here.
if str(ROOT / "module_utils") not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(str(ROOT / "module_utils"))
