"""The schedule's files: complete, valid for systemd, without a password."""

import ast
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles/maintain"
LOGIC = ROOT / "module_utils/rollout"


def imported(file: Path) -> set[str]:
    """Modules of the logic that a file imports, at its top level or within."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
            "ansible.module_utils.rollout"
        ):
            name = (node.module or "").removeprefix("ansible.module_utils.rollout").removeprefix(".")
            found |= {name} if name else {alias.name for alias in node.names}
    return found


def needed(start: Path) -> set[str]:
    names, waiting = {"__init__"}, imported(start)
    while waiting:
        name = waiting.pop()
        names.add(name)
        waiting |= imported(LOGIC / f"{name}.py") - names
    return names


def test_what_is_copied_is_what_is_imported() -> None:
    listed = yaml.safe_load((ROLE / "vars/main.yml").read_text())["__maintain_modules"]
    assert listed == sorted(listed)
    assert set(listed) - {"partitions"} == needed(LOGIC / "partitions.py") - {"__init__"}


def test_the_list_would_be_found_short(tmp_path: Path) -> None:
    """The control."""
    file = tmp_path / "program.py"
    file.write_text("from ansible.module_utils.rollout import options\n")
    assert needed(file) == {"__init__", "options"}
    file.write_text("from ansible.module_utils.rollout.errors import RolloutError\n")
    assert needed(file) == {"__init__", "errors"}


def rendered(name: str, **variables: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROLE / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    plain = {name: value for name, value in defaults.items() if "{{" not in str(value)}
    names = {"maintain_user": "deploy", "maintain_instance": "salon"}
    return environment.get_template(name).render({**plain, **names, **variables})


def unit_complaints(folder: Path, **variables: Any) -> str:
    program = folder / "venv/bin/python"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for name in ("rollout-maintain.service", "rollout-maintain.timer"):
        text = rendered(
            f"{name}.j2",
            **{
                "maintain_user": "root",
                "maintain_venv": str(folder / "venv"),
                "__maintain_home": str(folder),
                **variables,
            },
        )
        (folder / name).write_text(text)
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(folder / "rollout-maintain.timer")],
        env={"SYSTEMD_LOG_LEVEL": "warning", "PATH": "/usr/bin:/bin", "SYSTEMD_UNIT_PATH": f"{folder}:"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
    )
    return "\n".join(line for line in checked.stdout.splitlines() if "rollout-maintain" in line)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="this host has no systemd-analyze")
def test_the_units_are_valid(tmp_path: Path) -> None:
    assert unit_complaints(tmp_path) == ""
    # The control: a moment that is none.
    assert unit_complaints(tmp_path, maintain_calendar="at noon") != ""


def test_cron_runs_the_same_program_as_the_same_user() -> None:
    line = rendered("rollout-maintain.cron.j2", maintain_venv="/v", __maintain_home="/h").splitlines()[-1]
    assert line == '10 4 * * * deploy "/v/bin/python" -I "/h/maintain.py" "/h/maintain.json"'
    unit = rendered("rollout-maintain.service.j2", maintain_venv="/v", __maintain_home="/h")
    assert 'ExecStart="/v/bin/python" -I "/h/maintain.py" "/h/maintain.json"\n' in unit
    assert "User=deploy\n" in unit


def test_the_password_is_written_as_libpq_reads_it() -> None:
    assert rendered("pgpass.j2", __maintain_password=r"a:b\c}|<?") == "*:*:*:*:a\\:b\\\\c}|<?\n"
    service = rendered(
        "pg_service.conf.j2",
        __maintain_given={"host": "db.example.invalid", "port": 5432, "password": "secret", "sslmode": ""},
        __maintain_passfile="/h/pgpass",
    )
    assert service.splitlines() == [
        "[maintain]",
        "host=db.example.invalid",
        "port=5432",
        "passfile=/h/pgpass",
    ]
    for name in ("rollout-maintain.service.j2", "rollout-maintain.cron.j2", "maintain.json.j2"):
        assert "assword" not in (ROLE / "templates" / name).read_text()


def test_every_inventory_keeps_the_months_of_its_migration() -> None:
    for name in ("prod", "staging", "sandbox"):
        folder = ROOT / "inventory" / name / "group_vars/all"
        (table,) = yaml.safe_load((folder / "maintain.yml").read_text())["maintain_tables"]
        variables = yaml.safe_load((folder / "schema.yml").read_text())["schema_variables"]
        used = re.findall(r"schema_variables\.(\w+)", json.dumps(table))
        assert set(used) == {"zone", "first_month", "months_ahead"} <= set(variables)
        assert table["alarm"] <= variables["months_ahead"]
        # Two that detach would not agree; the function's way is drift.
        assert variables["retention_months"] == 0
