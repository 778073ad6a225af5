"""Runs a module of library/ in this process, as Ansible does on a target, and returns what it says."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args

LIBRARY = Path(__file__).resolve().parents[2] / "library"


def load(name: str) -> ModuleType:
    """The module's file as a Python module."""
    spec = importlib.util.spec_from_file_location(f"library_{name}", LIBRARY / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(
    name: str, capsys: pytest.CaptureFixture[str], check: bool = False, **arguments: Any
) -> dict[str, Any]:
    """The module's result; ``failed`` is there and true when it failed.

    :param check: whether it runs in check mode
    """
    module = load(name)
    capsys.readouterr()
    with patch_module_args({**arguments, "_ansible_check_mode": check}), pytest.raises(SystemExit) as end:
        module.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert bool(end.value.code) == bool(result.get("failed"))
    return result


def documented(name: str) -> set[str]:
    """Names of the values that the module's documentation says it returns."""
    return set(yaml.safe_load(load(name).RETURN))
