"""Rules of this repository that no linter knows. Each has a control that shows it can fail."""

import ast
import ipaddress
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
MODULE_CODE_LINES = 160
VAGUE_NAMES = {"common", "helper", "helpers", "misc", "util", "utils"}
FIRST_PLAYBOOK = "inventory_check.yml"


def repository_files() -> list[Path]:
    """Every file that is, or is about to be, committed; links to folders are not followed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [file for file in files if file.is_file() and not file.is_symlink()]


def texts(files: Iterable[Path]) -> Iterable[tuple[Path, str]]:
    for file in files:
        content = file.read_bytes()
        if b"\0" not in content:
            yield file, content.decode()


def vaguely_named(files: Iterable[Path]) -> list[Path]:
    return [file for file in files if file.stem.lower().strip("_") in VAGUE_NAMES]


def test_names_say_what_a_file_is_about() -> None:
    assert vaguely_named(repository_files()) == []
    control = [Path("a/utils.py"), Path("_common.py"), Path("Helpers.js"), Path("commons.py")]
    assert vaguely_named(control) == control[:3]


def named_alike(files: Iterable[Path]) -> list[str]:
    """Test files with one name in several folders, of which pytest imports the first alone."""
    count = Counter(file.name for file in files if file.name.startswith("test_") and file.suffix == ".py")
    return sorted(name for name, number in count.items() if number > 1)


def test_each_test_file_has_a_name_of_its_own() -> None:
    assert named_alike(repository_files()) == []
    assert named_alike([Path("unit/test_a.py"), Path("faults/test_a.py"), Path("test_b.py")]) == ["test_a.py"]


def importers_of_ansible_module(files: Iterable[Path]) -> list[Path]:
    found = []
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names = (
                {alias.name for alias in node.names}
                if isinstance(node, ast.ImportFrom | ast.Import)
                else set()
            )
            source = node.module if isinstance(node, ast.ImportFrom) else None
            if "AnsibleModule" in names or "ansible.module_utils.basic" in {source, *names}:
                found.append(file)
                break
    return found


def test_the_logic_knows_nothing_of_ansible_modules(tmp_path: Path) -> None:
    assert importers_of_ansible_module((ROOT / "module_utils").rglob("*.py")) == []
    control = []
    for number, line in enumerate(
        [
            "from ansible.module_utils.basic import AnsibleModule",
            "import ansible.module_utils.basic",
            "import json",
        ]
    ):
        control.append(tmp_path / f"{number}.py")
        control[-1].write_text(f'"""About AnsibleModule."""\n{line}\n')
    assert importers_of_ansible_module(control) == control[:2]


def constants(module: Path) -> dict[str, ast.Assign]:
    return {
        target.id: node
        for node in ast.parse(module.read_text()).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def code_lines(module: Path) -> int:
    """Lines that are neither empty, nor a comment, nor part of the documentation at the module's top level."""
    documentation: set[int] = set()
    for node in ast.parse(module.read_text()).body:
        value = node.value if isinstance(node, ast.Assign | ast.Expr) else None
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            documentation |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return sum(
        1
        for number, line in enumerate(module.read_text().splitlines(), 1)
        if number not in documentation and line.strip() and not line.strip().startswith("#")
    )


def module_offences(module: Path) -> list[str]:
    missing = {"DOCUMENTATION", "EXAMPLES", "RETURN"} - set(constants(module))
    offences = [f"{module.name} lacks {name}" for name in sorted(missing)]
    lines = code_lines(module)
    if lines > MODULE_CODE_LINES:
        offences.append(f"{module.name} has {lines} lines of code, more than {MODULE_CODE_LINES}")
    return offences


def test_modules_are_documented_and_thin(tmp_path: Path) -> None:
    modules = list((ROOT / "library").glob("*.py"))
    assert modules
    assert [offence for module in modules for offence in module_offences(module)] == []
    fat = tmp_path / "fat.py"
    fat.write_text(
        'DOCUMENTATION = """\n' + "text\n" * 500 + '"""\nEXAMPLES = ""\n\n# why\n' + "x = 1\n" * 161
    )
    assert module_offences(fat) == ["fat.py lacks RETURN", "fat.py has 161 lines of code, more than 160"]
    fat.write_text('DOCUMENTATION = EXAMPLES = RETURN = ""\n' + "x = 1\n" * 159 + "# why\n" * 50)
    assert module_offences(fat) == []


def role_offences(role: Path) -> list[str]:
    offences = [f"{role.name} lacks {name}" for name in ("README.md",) if not (role / name).is_file()]
    specification = role / "meta/argument_specs.yml"
    if not specification.is_file():
        return [*offences, f"{role.name} lacks meta/argument_specs.yml"]
    entry_points = yaml.safe_load(specification.read_text())["argument_specs"].values()
    options = {name for entry_point in entry_points for name in entry_point.get("options") or {}}
    defaults_file = role / "defaults/main.yml"
    defaults = (yaml.safe_load(defaults_file.read_text()) or {}) if defaults_file.is_file() else {}
    offences += [
        f"{role.name}: {name} is not prefixed"
        for name in sorted(options)
        if not name.startswith(f"{role.name}_")
    ]
    offences += [f"{role.name}: {name} is not documented" for name in sorted(set(defaults) - set(options))]
    return offences


def test_roles_say_what_they_take(tmp_path: Path) -> None:
    roles = [folder for folder in (ROOT / "roles").iterdir() if folder.is_dir()]
    assert roles
    assert [offence for role in roles for offence in role_offences(role)] == []
    role = tmp_path / "gate"
    (role / "meta").mkdir(parents=True)
    (role / "defaults").mkdir()
    assert role_offences(role) == ["gate lacks README.md", "gate lacks meta/argument_specs.yml"]
    (role / "README.md").touch()
    (role / "meta/argument_specs.yml").write_text(
        "argument_specs: {main: {options: {window: {}, gate_window: {}}}}"
    )
    (role / "defaults/main.yml").write_text("gate_window: 1\ngate_samples: 2\n")
    assert role_offences(role) == ["gate: window is not prefixed", "gate: gate_samples is not documented"]


def checks_the_inventory_first(playbook: Path) -> bool:
    plays = yaml.safe_load(playbook.read_text())
    first = plays[0].get("import_playbook") or plays[0].get("ansible.builtin.import_playbook")
    if first is None:
        return False
    imported = playbook.parent / first
    return imported.name == FIRST_PLAYBOOK or checks_the_inventory_first(imported)


def test_playbooks_begin_with_the_check_of_the_inventory(tmp_path: Path) -> None:
    """Without it, a run without an inventory would end green, having done nothing."""
    playbooks = [file for file in (ROOT / "playbooks").glob("*.yml") if file.name != FIRST_PLAYBOOK]
    assert playbooks
    assert [
        file.name for file in [*playbooks, ROOT / "apply.yml"] if not checks_the_inventory_first(file)
    ] == []
    careless = tmp_path / "careless.yml"
    careless.write_text("- hosts: application\n- import_playbook: inventory_check.yml\n")
    assert not checks_the_inventory_first(careless)
    careful = tmp_path / "careful.yml"
    careful.write_text("- ansible.builtin.import_playbook: inventory_check.yml\n- hosts: application\n")
    assert checks_the_inventory_first(careful)


def personal_paths(text: str) -> list[str]:
    """Paths into somebody's home, or to the folder that this very checkout lies in."""
    homes = re.findall(r"(?<![\w.~*-])/(?:home|root|Users)/[\w.-]+", text)
    return homes + ([str(ROOT)] if str(ROOT) in text else [])


def test_no_path_of_anybodys_machine() -> None:
    found = {file.name: paths for file, text in texts(repository_files()) if (paths := personal_paths(text))}
    assert found == {}
    mine, somebodys = "/" + "root/.pgpass", "/" + "home/someone"
    assert personal_paths(f"see {ROOT}/README.md, {mine} and {somebodys}/x") == [mine, somebodys, str(ROOT)]
    assert personal_paths("/opt/rollout, ~/.ssh/config, a/root/b, /roots/x") == []


def public_addresses(text: str) -> list[str]:
    found = []
    for candidate in re.findall(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]\d)", text):
        try:
            address = ipaddress.ip_address(candidate)
        except ValueError:
            continue
        if address.is_global:
            found.append(candidate)
    return found


def test_no_address_that_could_be_somebodys() -> None:
    # Version numbers of four parts look like addresses.
    versions = {"requirements.lock", "requirements-dev.txt"}
    files = [file for file in repository_files() if file.name not in versions]
    assert {file.name: found for file, text in texts(files) if (found := public_addresses(text))} == {}
    public = ".".join("8888")
    assert public_addresses(f"host {public}, port 5432") == [public]
    assert public_addresses("127.0.0.1 0.0.0.0 10.1.2.3 192.0.2.7 203.0.113.9 999.1.1.1") == []
    assert public_addresses(f"version {public}.1") == []


def pins(file: Path) -> dict[str, str]:
    """Versions by package, names as package indexes compare them."""
    found = {}
    for line in file.read_text().splitlines():
        requirement = line.partition("#")[0].strip()
        if requirement and not requirement.startswith("-r "):
            name, separator, version = requirement.partition("==")
            assert separator, f"{file.name}: {line} is not pinned"
            found[re.sub(r"[-_.]+", "-", name.partition("[")[0]).lower()] = version
    return found


def test_what_is_asked_for_is_what_is_locked() -> None:
    lock = pins(ROOT / "requirements.lock")
    for name in ("requirements.txt", "requirements-dev.txt", "roles/runtime/files/requirements.txt"):
        asked = pins(ROOT / name)
        assert asked
        assert {package: lock.get(package) for package in asked} == asked, name


def test_a_requirement_without_version_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("psycopg[binary]==3.3.9  # why\nPyYAML\n")
    with pytest.raises(AssertionError, match="PyYAML is not pinned"):
        pins(file)


def test_continuous_integration_runs_the_same_tests() -> None:
    entry = ROOT / ".ci/run"
    assert os.access(entry, os.X_OK)
    assert entry.read_text().rstrip().endswith(" test")


def test_links_are_relative_and_lead_somewhere() -> None:
    links = {
        "prod": "inventory/prod",
        "staging": "inventory/staging",
        "typings/ansible/module_utils/rollout": "../../../module_utils/rollout",
    }
    for name, target in links.items():
        assert (ROOT / name).readlink() == Path(target)
        assert (ROOT / name).is_dir()
