"""The generated library: its own tests in Node, and what the generator promises."""

import itertools
import json
import random
import re
import subprocess
from pathlib import Path

import pytest
from ansible.module_utils.rollout.audit.chain import (
    Chain,
    Column,
    Filter,
    Known,
    Literal,
    Parameter,
    Selection,
)
from ansible.module_utils.rollout.audit.javascript import RUNTIME, Library, Member, library
from ansible.module_utils.rollout.audit.live_schema import LiveSchema
from ansible.module_utils.rollout.audit.translate import translate
from ansible.module_utils.rollout.audit.translate_result import Read
from ansible.module_utils.rollout.audit.translate_sql import Sql

from sandbox.databases import Database
from tests.generated_library import environment, place_library
from tests.recorded_calls import recorded_calls

TESTS = Path(__file__).resolve().parents[1] / "javascript/library_runtime.test.mjs"
MAX_ROWS = 5


def runtime_module() -> str:
    """The runtime alone, with everything in it exported."""
    text = RUNTIME.read_text(encoding="utf-8")
    names = re.findall(r"^(?:async )?(?:function|const|class) (\w+)", text, re.MULTILINE)
    head = f"'use strict';\nconst {{ types }} = require('pg');\nconst MAX_ROWS = {MAX_ROWS};\n"
    return f"{head}{text}\nmodule.exports = {{ MAX_ROWS, {', '.join(names)} }};\n"


def run_node_tests(folder: Path, database: Database, runtime: str) -> subprocess.CompletedProcess[str]:
    node = place_library(folder, "")
    (folder / "runtime.cjs").write_text(runtime, encoding="utf-8")
    return subprocess.run(
        [node.program, "--test", "--test-reporter=tap", TESTS],
        cwd=folder,
        env=environment(database.server, database.name),
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_runtime_passes_its_own_tests(database: Database, tmp_path: Path) -> None:
    run = run_node_tests(tmp_path, database, runtime_module())
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"^# pass 1\d$", run.stdout, re.MULTILINE), run.stdout
    assert "# skipped 0" in run.stdout


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (".replaceAll('\"', '\"\"')", ""),
        ("[20, 21, 23, 700, 701, 1700]", "[21, 23, 700, 701]"),
        ("REPEATABLE READ READ ONLY", "READ COMMITTED READ ONLY"),
        ("query('ROLLBACK')", "query('COMMIT')"),
    ],
    ids=["names unquoted", "numbers as texts", "no snapshot", "nothing taken back"],
)
def test_a_broken_runtime_does_not(database: Database, tmp_path: Path, right: str, wrong: str) -> None:
    """The control: each of these is what a test is for."""
    text = runtime_module()
    assert right in text
    broken = text.replace(right, wrong)
    assert run_node_tests(tmp_path, database, broken).returncode != 0


@pytest.fixture(scope="module")
def members() -> list[Member]:
    schema = LiveSchema("api")
    return [
        Member(call.chain, translation)
        for call in recorded_calls()
        for translation in translate(call.chain, schema)
    ]


@pytest.fixture(scope="module")
def generated(members: list[Member]) -> Library:
    return library(members, RUNTIME.read_text(encoding="utf-8"))


def test_the_order_of_the_calls_does_not_matter(members: list[Member], generated: Library) -> None:
    shuffled = random.Random(7).sample(members, len(members))
    assert library(shuffled, RUNTIME.read_text(encoding="utf-8")).text == generated.text
    # The control: another call does.
    assert library(members[1:], RUNTIME.read_text(encoding="utf-8")).text != generated.text


def test_every_call_has_a_function_or_a_reason(members: list[Member], generated: Library) -> None:
    served = {place for function in generated.functions for place in function.calls}
    refused = dict(generated.refused)
    assert served | set(refused) == {member.place for member in members}
    assert served & set(refused) == set()
    assert all(refused.values())
    assert all(f"// {place}: {'; '.join(reasons)}" in generated.text for place, reasons in generated.refused)


def test_calls_that_differ_in_values_share_a_function(generated: Library) -> None:
    by_call = {call: function for function in generated.functions for call in function.calls}
    lines = (
        (Path(__file__).parents[1] / "fixtures/postgrest/calls.mjs").read_text(encoding="utf-8").splitlines()
    )

    def function_of(name: str) -> str:
        (number,) = (at for at, line in enumerate(lines, 1) if line.startswith(f"  ['{name}',"))
        return by_call[f"calls.mjs:{number}"].name

    assert function_of("all columns") == function_of("star")
    assert function_of("limit above the cap") == function_of("limit")
    assert function_of("eq") != function_of("eq number")


HOSTILE = [
    "a`b",
    "${missing}",
    "it's",
    'say "x"',
    "back\\slash",
    "*/ throw 1 /*",
    "delete",
    "имя",
    "1st",
    "line\nbreak\\",
    "nothing\0after",
]


def flattened(sql: Sql) -> str:
    """SQL with $1, $2, … for its places, and single spaces."""
    numbers = itertools.count(1)
    parts = [part if isinstance(part, str) else f"${next(numbers)}" for part in sql]
    return " ".join("".join(parts).split())


def test_hostile_names_stay_names(tmp_path: Path) -> None:
    """Names and values of the code go into JavaScript, too; what is sent is the SQL that was translated."""
    members, expected = [], []
    for at, name in enumerate(HOSTILE):
        filters = (Filter("eq", Known(name), Literal(name)), Filter("gt", Known(name), Parameter(name)))
        selection = Selection((Column(name, alias=name),))
        chain = Chain(
            f"{at:02}{name}.js", 1, 1, Known(name), "select", "exact", select=selection, filters=filters
        )
        (translation,) = translate(chain)
        assert isinstance(translation.query, Read)
        members.append(Member(chain, translation))
        expected.append([flattened(translation.query.rows), [name, "undefined"]])
    made = library(members, RUNTIME.read_text(encoding="utf-8"))
    node = place_library(tmp_path, made.text)
    names = json.dumps([function.name for function in made.functions])
    (tmp_path / "run.cjs").write_text(
        "const library = require('./library.cjs');\n"
        "const sent = [];\n"
        "const query = async ({ text, values }) => {\n"
        "  sent.push([text, values]);\n"
        "  return { rows: [] };\n"
        "};\n"
        f"Promise.all({names}.map((name) => library[name]({{ query }})))\n"
        "  .then(() => console.log(JSON.stringify(sent)));\n",
        encoding="utf-8",
    )
    run = subprocess.run([node.program, "run.cjs"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert [[" ".join(text.split()), values] for text, values in json.loads(run.stdout)] == expected


def test_a_module_of_either_kind_can_import_it(generated: Library, tmp_path: Path) -> None:
    node = place_library(tmp_path, generated.text)
    name = generated.functions[0].name
    (tmp_path / "application.mjs").write_text(
        f"import {{ {name}, helpers }} from './library.cjs';\nimport {{ createRequire }} from 'node:module';\n"
        f"const again = createRequire(import.meta.url)('./library.cjs');\n"
        f"if (typeof {name} !== 'function' || again.{name} !== {name}) throw new Error('not exported');\n"
        "if (Object.values(helpers).some((helper) => typeof helper !== 'function')) throw new Error('no helper');\n",
        encoding="utf-8",
    )
    subprocess.run([node.program, "application.mjs"], cwd=tmp_path, check=True)
