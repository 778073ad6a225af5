"""What counts as a failed scenario, and that every step that a scenario names has a playbook."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from containers.distributions import chosen_distribution
from containers.errors import ContainerError
from containers.images import ROOT
from containers.scenarios import ALWAYS, LOCKS, all_scenarios, chosen_scenarios, failures, run_scenario
from containers.site import Host, Site
from sandbox import lock

RECAP = "default  : actions=9  successful={}  disabled=0  skipped=0  missing={}  failed={}\n"


@pytest.mark.parametrize(
    ("code", "output", "expected"),
    [
        (0, RECAP.format(9, 0, 0), []),
        (2, RECAP.format(8, 0, 1), ["molecule ended with code 2"]),
        (0, RECAP.format(8, 1, 0), ["1 of its steps have no playbook"]),
        (0, RECAP.format(0, 0, 0), ["no step was run"]),
        (0, RECAP.replace("default", "another").format(9, 0, 0), ["molecule printed no recap"]),
        (1, "", ["molecule ended with code 1", "molecule printed no recap"]),
    ],
)
def test_only_a_complete_run_passes(code: int, output: str, expected: list[str]) -> None:
    assert failures("default", code, f"before\n{output}") == expected


def test_a_run_without_end_fails() -> None:
    assert failures("default", None, RECAP.format(9, 0, 0)) == ["molecule did not end within 2400 s"]


def test_two_runs_of_one_scenario_in_one_checkout_exclude_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "WAIT_S", 0.2)
    with lock.locked(tmp_path / LOCKS / "default.lock", "a test"):
        (told,) = run_scenario("default", tmp_path / "log", tmp_path)
    assert told.startswith(f"another process has been running scenario default of {tmp_path}")
    assert not (tmp_path / "log").exists()


def test_which_scenarios_are_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOLECULE_SCENARIOS", raising=False)
    assert chosen_scenarios() == list(ALWAYS)
    monkeypatch.setenv("MOLECULE_SCENARIOS", "drift  adopt")
    assert chosen_scenarios() == ["drift", "adopt"]
    monkeypatch.setenv("MOLECULE_SCENARIOS", "all")
    assert chosen_scenarios() == all_scenarios()
    assert set(all_scenarios()) > set(ALWAYS)


def missing_playbooks(scenario: Path, base: dict[str, Any]) -> list[str]:
    """Steps of a scenario's sequence that have no playbook: Molecule would pass over them."""
    own = yaml.safe_load((scenario / "molecule.yml").read_text())
    sequence = own["scenario"].get("test_sequence", base["scenario"]["test_sequence"])
    playbooks = {
        **base["provisioner"]["playbooks"],
        **own.get("provisioner", {}).get("playbooks", {}),
    }
    # These two run converge.
    steps = [{"check": "converge", "idempotence": "converge"}.get(step, step) for step in sequence]
    found = []
    for step in steps:
        name = playbooks.get(step, f"{step}.yml").replace("${MOLECULE_PROJECT_DIRECTORY}", str(ROOT))
        if not (scenario / name).is_file():
            found.append(step)
    return found


BASE = yaml.safe_load((ROOT / ".config/molecule/config.yml").read_text())


@pytest.mark.parametrize("name", all_scenarios())
def test_every_step_has_a_playbook(name: str) -> None:
    scenario = ROOT / "molecule" / name
    assert missing_playbooks(scenario, BASE) == []
    # What is broken is mended, what was made is removed, and somebody looks.
    own = yaml.safe_load((scenario / "molecule.yml").read_text())["scenario"]
    assert own["name"] == name
    sequence = own.get("test_sequence", BASE["scenario"]["test_sequence"])
    assert sequence[:2] == ["create", "prepare"]
    assert sequence[-3:] == ["verify", "cleanup", "destroy"]
    assert list(scenario.glob("test_*.py"))


def test_a_step_without_playbook_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "molecule.yml").write_text(
        "scenario: {test_sequence: [create, check, side_effect, verify]}\n"
    )
    assert missing_playbooks(tmp_path, BASE) == ["side_effect"]


def test_the_inventory_is_productions_but_for_its_secrets() -> None:
    own, production = (
        {file.name: file for file in (ROOT / "inventory" / name / "group_vars/all").glob("*.yml")}
        for name in ("molecule", "prod")
    )
    production.pop("vault.yml", None)
    assert {name: file.resolve() for name, file in own.items()} == production
    assert all(file.is_symlink() for file in own.values())


def test_what_differs_from_production_has_a_name_that_a_role_knows() -> None:
    differences = yaml.safe_load(
        (ROOT / "inventory/molecule/group_vars/application/differences.yml").read_text()
    )
    known = {"pm2_logs"}
    for specification in (ROOT / "roles").glob("*/meta/argument_specs.yml"):
        for entry_point in yaml.safe_load(specification.read_text())["argument_specs"].values():
            known |= set(entry_point.get("options") or {})
    assert set(differences) <= known


def test_the_version_decides_about_the_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PG_VERSION", raising=False)
    assert chosen_distribution().codename == "bookworm"
    monkeypatch.setenv("PG_VERSION", "17")
    assert chosen_distribution().codename == "trixie"
    monkeypatch.setenv("PG_VERSION", "9")
    with pytest.raises(ContainerError, match=r"PG_VERSION is 9; there are containers for 15, 17, 18\."):
        chosen_distribution()


def test_hosts_share_containers_where_the_scenario_says_so() -> None:
    assert Site("default").hosts == {"app": Host("app", "default_db")}
    assert Site("default").name != Site("red_gate").name
    assert "_" not in Site("red_gate").name


def test_each_container_has_a_hardware_address_that_stays() -> None:
    names = [(scenario, role) for scenario in ("default", "fleet") for role in ("db", "app1", "app2")]
    addresses = [Site(scenario).hardware_address(role) for scenario, role in names]
    assert len(set(addresses)) == len(names)
    assert addresses == [Site(scenario).hardware_address(role) for scenario, role in names]
    # Locally administered, one receiver.
    assert all(int(address[:2], 16) & 0b11 == 0b10 and len(address) == 17 for address in addresses)
