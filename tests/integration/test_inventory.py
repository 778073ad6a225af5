"""The inventories: complete, alike, loaded through their links, and never a green run of nothing."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.playbook_run import ROOT, Project, Run

VAULT_NAMES = ["vault_app_host", "vault_app_user", "vault_pg_host", "vault_pg_port", "vault_pg_password"]
VAULT_FILE = "inventory/prod/group_vars/all/vault.yml"
INVENTED = {
    "vault_app_host": "app.example.invalid",
    "vault_app_user": "deploy",
    "vault_pg_host": "db.example.invalid",
    "vault_pg_port": 5432,
    "vault_pg_password": "k}e|y <of> 'a' \"door\" 100% $HOME \\ ?",
}
PLAYBOOK = """
- ansible.builtin.import_playbook: playbooks/inventory_check.yml
- name: Connect
  hosts: application
  gather_facts: false
  tasks:
    - name: Reach the host
      ansible.builtin.raw: "true"
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    copy = Project(tmp_path / "project")
    copy.write("site.yml", PLAYBOOK)
    return copy


@pytest.fixture
def ssh(tmp_path: Path) -> "RecordingSsh":
    return RecordingSsh(tmp_path)


class RecordingSsh:
    """Takes the place of ssh, and only notes that it was called."""

    def __init__(self, folder: Path) -> None:
        self.calls = folder / "ssh-calls"
        program = folder / "ssh"
        program.write_text(f'#!/bin/sh\necho "$@" >> {self.calls}\nexit 255\n')
        program.chmod(0o755)
        self.environment = {"ANSIBLE_SSH_EXECUTABLE": str(program)}


def write_vault(project: Project, **values: Any) -> None:
    project.write(VAULT_FILE, yaml.safe_dump(values))


def missing_names(run: Run) -> list[str]:
    return re.findall(r"^  (\w+) (?:is|refers|still|cannot|does) ", run.output, re.MULTILINE)


def test_without_values_one_message_names_all_of_them_and_nothing_is_connected_to(
    project: Project, ssh: RecordingSsh
) -> None:
    run = project.playbook("site.yml", "-i", "prod", environment=ssh.environment)
    assert run.code != 0
    assert missing_names(run) == VAULT_NAMES
    assert run.output.count(f"put it in: {VAULT_FILE}") == len(VAULT_NAMES)
    assert run.output.count("ERROR") == 1
    assert "vault.example.yml" in run.output
    assert not ssh.calls.exists()


def test_with_all_values_the_host_is_connected_to(project: Project, ssh: RecordingSsh) -> None:
    """The control: the recorder sees a connection, and the check lets a complete inventory pass."""
    write_vault(project, **INVENTED)
    run = project.playbook("site.yml", "-i", "prod", environment=ssh.environment)
    assert missing_names(run) == []
    assert "unreachable=1" in run.output
    assert "app.example.invalid" in ssh.calls.read_text()


def test_values_are_never_printed(project: Project) -> None:
    write_vault(
        project, **{**INVENTED, "vault_pg_port": "70000", "vault_app_user": "", "vault_app_host": "change-me"}
    )
    run = project.playbook("site.yml", "-i", "prod", "-vvv")
    assert run.code != 0
    assert missing_names(run) == ["vault_app_host", "vault_app_user", "vault_pg_port"]
    assert "k}e|y" not in run.output
    assert "70000" not in run.output


def test_the_example_as_it_is_does_not_pass(project: Project) -> None:
    example = project.folder / "inventory/prod/group_vars/vault.example.yml"
    project.write(VAULT_FILE, example.read_text())
    run = project.playbook("site.yml", "-i", "prod")
    assert run.code != 0
    assert missing_names(run) == [name for name in VAULT_NAMES if name != "vault_pg_port"]


def test_a_value_that_cannot_be_decrypted_is_listed_with_the_others(project: Project) -> None:
    vault = {name: value for name, value in INVENTED.items() if name != "vault_pg_password"}
    write_vault(project, **{**vault, "vault_pg_host": None})
    password = project.write("password", "invented\n")
    encrypted = project.run(
        "ansible-vault",
        "encrypt_string",
        "--vault-password-file",
        str(password),
        "-n",
        "vault_pg_password",
        "x",
    )
    with (project.folder / VAULT_FILE).open("a") as file:
        file.write(
            encrypted.output[encrypted.output.index("vault_pg_password") :].replace(
                "Encryption successful", ""
            )
        )
    without = project.playbook("site.yml", "-i", "prod")
    given = project.playbook("site.yml", "-i", "prod", "--vault-password-file", str(password))
    assert missing_names(without) == ["vault_pg_host", "vault_pg_password"]
    assert "--ask-vault-pass" in without.output
    assert missing_names(given) == ["vault_pg_host"]


def test_several_hosts_share_one_message(project: Project) -> None:
    write_vault(project, **INVENTED)
    project.write(
        "inventory/prod/hosts.yml",
        "application: {hosts: {one: {app_port: 0}, two: {}, three: {app_port: ''}}}",
    )
    run = project.playbook("site.yml", "-i", "prod")
    assert run.code != 0
    assert run.output.count("ERROR") == 1
    assert "app_port is not a port: a whole number from 1 to 65535 (on one)" in run.output
    assert "app_port is empty (on three)" in run.output
    limited = project.playbook("site.yml", "-i", "prod", "--limit", "three")
    assert "(on one)" not in limited.output
    assert "app_port is empty" in limited.output


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "Name an inventory that has one"),
        (["-i", "nowhere"], "Completely failed to parse inventory source"),
        (["-i", "empty.yml"], "Name an inventory that has one"),
        (["-i", "prod", "--limit", "nobody"], "leaves us with no hosts"),
        (["-i", "prod", "--limit", "localhost"], "leaves us with no hosts"),
        (["-i", "other.yml", "--limit", "stranger"], "Correct --limit"),
        (["-i", "other.yml"], "defines no required_variables"),
        (["-i", "prod", "--tags", "unheard_of"], "required values are missing"),
        (["-i", "prod", "--check"], "required values are missing"),
    ],
)
def test_a_run_of_nothing_is_an_error(project: Project, arguments: list[str], reason: str) -> None:
    project.write("empty.yml", "application: {hosts: {}}")
    project.write("other.yml", "all: {hosts: {stranger: {}}, children: {application: {hosts: {app: {}}}}}")
    run = project.playbook("site.yml", *arguments)
    assert run.code != 0
    assert reason in run.output


def test_the_sandbox_is_asked_for_before_it_runs(project: Project) -> None:
    before = project.playbook("site.yml", "-i", "inventory/sandbox")
    project.write("sandbox/run/pg_service.conf", "[sandbox]\n")
    after = project.playbook("site.yml", "-i", "inventory/sandbox")
    assert missing_names(before) == ["pg_service_file"]
    assert "make sandbox" in before.output
    assert after.code == 0, after.output


def host_variables(project: Project, inventory: str, host: str) -> dict[str, Any]:
    run = project.run("ansible-inventory", "-i", inventory, "--host", host)
    assert run.code == 0, run.output
    variables: dict[str, Any] = json.loads(run.output[run.output.index("{") :])
    return variables


def test_the_link_gives_the_group_variables_too(project: Project) -> None:
    """A link to the hosts file instead of the folder would lose them without a word."""
    variables = host_variables(project, "prod", "app")
    assert variables["app_dir"] == "/opt/ai-admin"
    assert variables["pg_dbname"] == "default_db"
    assert variables["pg_user"] == "gen_user"
    assert variables["pg_sslmode"] == "verify-full"
    assert variables["pg_sslrootcert"]
    assert (variables["app_port"], variables["baileys_port"]) == (3000, 3003)
    assert variables["schema_protected_tables"] == ["whatsapp_auth", "whatsapp_keys"]
    assert len(variables["pm2_services"]) == 7
    assert variables["baileys_service"] in variables["pm2_services"]


def test_the_example_is_not_loaded(project: Project) -> None:
    assert not [name for name in host_variables(project, "prod", "app") if name.startswith("vault_")]


def test_folders_are_found_through_the_link(project: Project) -> None:
    project.write(
        "show.yml",
        """
- hosts: application
  gather_facts: false
  connection: local
  tasks:
    - ansible.builtin.debug: {msg: "reports in {{ report_dir }}"}
""",
    )
    extra = ["-e", json.dumps(INVENTED)]
    for inventory in ("prod", "inventory/prod"):
        run = project.playbook("show.yml", "-i", inventory, *extra)
        assert f"reports in {project.folder}/reports" in run.output


def group_variables(inventory: str) -> dict[str, Any]:
    variables: dict[str, Any] = {}
    for file in sorted((ROOT / "inventory" / inventory / "group_vars/all").glob("*.yml")):
        if file.name != "vault.yml":
            variables.update(yaml.safe_load(file.read_text()))
    return variables


@pytest.mark.parametrize("inventory", ["staging", "sandbox"])
def test_inventories_define_the_same_names(inventory: str) -> None:
    production = group_variables("prod")
    other = group_variables(inventory)
    # The sandbox's interpreter stands beside its host.
    assert set(production) - set(other) <= {"ansible_python_interpreter"}
    assert set(other) <= set(production)
    assert other["pg_connection"] == production["pg_connection"]


@pytest.mark.parametrize("inventory", ["prod", "staging"])
def test_every_secret_is_required_and_explained(inventory: str) -> None:
    folder = ROOT / "inventory" / inventory
    used = set()
    for file in [folder / "hosts.yml", *(folder / "group_vars/all").glob("*.yml")]:
        if file.name not in ("required.yml", "vault.yml"):
            used |= set(re.findall(r"\bvault_\w+", file.read_text()))
    required = {
        entry["name"]
        for entry in group_variables(inventory)["required_variables"]
        if "vault.yml" in entry["where"]
    }
    explained = set(yaml.safe_load((folder / "group_vars/vault.example.yml").read_text()))
    assert used == required == explained


@pytest.mark.parametrize("inventory", ["prod", "staging", "sandbox"])
def test_every_value_is_looked_for_in_the_file_that_the_message_names(inventory: str) -> None:
    for entry in group_variables(inventory)["required_variables"]:
        file = ROOT / entry["where"]
        assert file.is_relative_to(ROOT / "inventory" / inventory)
        if file.name != "vault.yml":
            assert entry["name"] in yaml.safe_load(file.read_text()), entry


def test_one_mapping_serves_all_database_modules(project: Project) -> None:
    """What inventory/prod/group_vars/all/database.yml promises about pg_connection in module_defaults."""
    module = """#!/usr/bin/python
from ansible.module_utils.basic import AnsibleModule
keywords = ["host", "port", "dbname", "user", "password", "passfile", "service", "service_file"]
keywords += ["sslmode", "sslrootcert", "connect_timeout"]
module = AnsibleModule({name: {"type": "str", "no_log": name == "password"} for name in keywords})
given = {name: value for name, value in module.params.items() if value is not None}
module.exit_json(given=sorted(given), host=given.get("host"), password_length=len(given.get("password", "")))
"""
    project.write("library/pg_probe.py", module)
    project.write(
        "show.yml",
        """
- hosts: application
  gather_facts: false
  connection: local
  module_defaults:
    pg_probe: "{{ pg_connection }}"
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
  tasks:
    - pg_probe:
      register: shared
    - pg_probe: {host: other.example.invalid}
      register: overridden
    - ansible.builtin.debug:
        msg: "{{ {'shared': shared.given, 'length': shared.password_length, 'host': overridden.host} | to_json }}"
""",
    )
    run = project.playbook("show.yml", "-i", "prod", "-e", json.dumps(INVENTED))
    found = re.search(r"msg: '(\{.*?\})'", re.sub(r"\n\s+", " ", run.output))
    assert found, run.output
    assert json.loads(found[1]) == {
        "shared": ["connect_timeout", "dbname", "host", "password", "port", "sslmode", "sslrootcert", "user"],
        "length": len(str(INVENTED["vault_pg_password"])),
        "host": "other.example.invalid",
    }
    assert "WARNING" not in run.output
