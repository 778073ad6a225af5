# ruff: noqa: E501 - a line of JavaScript in a test is easier to read when it is not broken
"""The report of an audit: its formats are what their schemas say, and it accounts for everything."""

import json
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from ansible.module_utils.rollout.audit import markdown, page, report, sarif

from tests.audit_sources import CLIENT, look

ROOT = Path(__file__).resolve().parent.parent.parent
SCHEMA = json.loads((ROOT / "docs" / "audit.schema.json").read_text())
CODE = {
    "ecosystem.config.js": "module.exports = { apps: [{ name: 'api', script: './src/api.js' },\n"
    "  { name: 'worker', script: 'src/worker' }, { name: 'gone', script: 'gone.js' }] };",
    "src/api.js": "const { people } = require('./people'); require('./cache');",
    "src/worker.js": "import './people.js';",
    "src/people.js": CLIENT
    + """
exports.people = async (id, o) => {
  const { data, error } = await db.from('people').select('id, c:cities!inner(name)').eq('id', id).or(`a.eq.${o},b.is.null`).single();
  if (error) throw error;
  await db.from('people').update({ phone: '+7 900 000-00-00', name: o?.name, meta: { a: 1 } }).eq('id', id);
  for (const t of ['a', 'b']) await db.from(t).delete().match(o);
  return data;
};
""",
    "src/cache.js": CLIENT
    + """
async function cached(table, build) { const { data, error } = await build(db.from(table)); if (error) throw error; return data; }
exports.all = () => cached('cities', (q) => q.select('id').limit(3));
exports.some = () => cached('people', (q) => q.select('name').eq('id', 1));
db.rpc('f', { a: 1 });
""",
    "src/cache copy.js": CLIENT + "db.from('x').select();",
    "src/again.js": CLIENT + "db.from('x').select();",
    "src/broken.js": "const a = ((;\ndb.from('y').select()",
    "tests/a.test.js": CLIENT
    + "test(async () => { await db.from('people').select('id').eq('id', 2).single(); });",
    "README.md": "`db.from('people')`",
}


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    return report.document(look(CODE))


def problems(value: object, schema: Mapping[str, Any] = SCHEMA) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(value)]


def proof(calls: int) -> dict[str, Any]:
    """What query_proof returns, with the first call failing."""
    problem = {
        "code": "42703",
        "reason": "column people.c does not exist",
        "table": "people",
        "column": "c",
        "role": "select",
    }
    verdicts = [{"outcome": "fails", "problems": [problem], "unknown": []}]
    verdicts += [{"outcome": "runs", "problems": [], "unknown": []}] * (calls - 1)
    lack = {
        "table": "people",
        "kind": "column",
        "name": "c",
        "code": "42703",
        "reason": "missing",
        "calls": ["a.js:1"],
    }
    return {
        "sentence": "1 of 9 calls of the code would fail on this schema.",
        "counts": {"runs": calls - 1, "fails": 1, "unknown": 0},
        "verdicts": verdicts,
        "lacks": [lack],
    }


def test_the_json_is_what_its_schema_says(content: dict[str, Any]) -> None:
    assert problems(content) == []
    found = look(CODE)
    assert problems(report.document(found, proof(len(found.chains)))) == []


def test_the_schema_can_refuse(content: dict[str, Any]) -> None:
    row = {**content["chains"][0], "verdict": "perhaps"}
    assert problems({**content, "chains": [row]})
    assert problems({**content, "surprise": 1})
    assert problems({**content, "chains": [{key: value for key, value in row.items() if key != "line"}]})


def test_a_place_is_one_row_with_its_variants(content: dict[str, Any]) -> None:
    (row,) = [row for row in content["chains"] if "variants" in row]
    assert (row["file"], row["line"], row["table"], row["operation"]) == (
        "src/cache.js",
        4,
        "dynamic",
        "select",
    )
    assert row["dynamic"]["values"] == ["cities", "people"]
    assert row["columns"] == ["id", "name"]
    assert [(one["table"], one["caller"]) for one in row["variants"]] == [
        ("cities", "src/cache.js:5"),
        ("people", "src/cache.js:6"),
    ]
    assert content["totals"]["requests"] == content["totals"]["calls"] + 1


def test_columns_are_those_of_the_operation(content: dict[str, Any]) -> None:
    rows = {(row["operation"], row["table"]): row["columns"] for row in content["chains"] if not row["test"]}
    assert rows[("select", "people")] == ["id"]
    assert rows[("update", "people")] == ["phone", "name", "meta"]
    assert rows[("delete", "dynamic")] == []
    assert rows[("rpc", "f")] == ["a"]


def test_patterns_are_ranked_by_the_services_that_reach_them(content: dict[str, Any]) -> None:
    assert content["entry_points"] == [
        {"service": "api", "file": "src/api.js"},
        {"service": "worker", "file": "src/worker.js"},
    ]
    services = [len(pattern["services"]) for pattern in content["patterns"]]
    assert services == sorted(services, reverse=True)
    assert services[0] == 2
    first = next(row for row in content["chains"] if row["file"] == "src/people.js")
    assert first["reach"] == ["api", "worker"]
    assert "tests/a.test.js" not in json.dumps(content["patterns"])
    assert len(content["shapes"]) <= len(content["patterns"])
    assert [note["reason"] for note in content["problems"] if note["file"] == "ecosystem.config.js"] == [
        "the script of gone is not among the files: gone.js"
    ]


def test_given_entry_points_replace_those_of_the_configuration() -> None:
    found = look(CODE, "src/worker.js")
    assert found.entry_points == [("worker", "src/worker.js")]
    assert found.reach == {"src/worker.js": ["worker"], "src/people.js": ["worker"]}


def test_the_account_adds_up(content: dict[str, Any]) -> None:
    for counts in content["totals"]["text_search"].values():
        assert counts["found"] == sum(value for name, value in counts.items() if name != "found")
    assert content["copies"] == [{"file": "src/cache copy.js", "of": "src/again.js"}]
    assert [(note["file"], note["text_search"]) for note in content["skipped"]] == [("README.md", 1)]


def test_no_telephone_number_leaves_the_code(content: dict[str, Any]) -> None:
    texts = [json.dumps(content), markdown.text(content), page.html(content), json.dumps(sarif.log(content))]
    assert not any("900 000" in text for text in texts)
    (row,) = [row for row in content["chains"] if row["operation"] == "update"]
    assert row["payload"]["columns"][0]["value"] == {"literal": "(left out)"}


#: The parts of SARIF 2.1.0 that the log uses (OASIS standard, sections 3.13, 3.14, 3.19, 3.27, 3.28, 3.49).
SARIF_PARTS: dict[str, Any] = {
    "type": "object",
    "required": ["$schema", "version", "runs"],
    "additionalProperties": False,
    "properties": {
        "$schema": {"type": "string", "format": "uri"},
        "version": {"const": "2.1.0"},
        "runs": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["tool", "results"],
                "additionalProperties": False,
                "properties": {
                    "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                    "tool": {
                        "type": "object",
                        "required": ["driver"],
                        "properties": {
                            "driver": {
                                "type": "object",
                                "required": ["name", "rules"],
                                "properties": {
                                    "rules": {
                                        "type": "array",
                                        "uniqueItems": True,
                                        "items": {
                                            "type": "object",
                                            "required": ["id", "shortDescription", "defaultConfiguration"],
                                            "properties": {
                                                "defaultConfiguration": {
                                                    "properties": {"level": {"$ref": "#/$defs/level"}}
                                                },
                                                "shortDescription": {"required": ["text"]},
                                            },
                                        },
                                    }
                                },
                            }
                        },
                    },
                    "results": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": [
                                "ruleId",
                                "ruleIndex",
                                "level",
                                "message",
                                "locations",
                                "partialFingerprints",
                            ],
                            "additionalProperties": False,
                            "properties": {
                                "ruleId": {"type": "string"},
                                "ruleIndex": {"type": "integer", "minimum": 0},
                                "level": {"$ref": "#/$defs/level"},
                                "message": {"required": ["text"]},
                                "partialFingerprints": {"additionalProperties": {"type": "string"}},
                                "locations": {
                                    "type": "array",
                                    "minItems": 1,
                                    "items": {
                                        "required": ["physicalLocation"],
                                        "properties": {
                                            "physicalLocation": {
                                                "required": ["artifactLocation", "region"],
                                                "properties": {
                                                    "artifactLocation": {
                                                        "properties": {
                                                            "uri": {
                                                                "type": "string",
                                                                "pattern": "^[^ \\\\]+$",
                                                            }
                                                        }
                                                    },
                                                    "region": {
                                                        "properties": {
                                                            "startLine": {"type": "integer", "minimum": 1}
                                                        }
                                                    },
                                                },
                                            }
                                        },
                                    },
                                },
                            },
                        },
                    },
                },
            },
        },
    },
    "$defs": {"level": {"enum": ["none", "note", "warning", "error"]}},
}


def test_the_sarif_log_is_valid_and_points_at_the_lines() -> None:
    found = look(CODE)
    log = sarif.log(report.document(found, proof(len(found.chains))))
    assert problems(log, SARIF_PARTS) == []
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert all(rules[result["ruleIndex"]]["id"] == result["ruleId"] for result in run["results"])
    by_rule = {result["ruleId"]: result for result in run["results"]}
    assert {"error-not-read", "or-interpolation", "call-would-fail", "not-read"} <= set(by_rule)
    place = by_rule["or-interpolation"]["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "src/people.js"}, "region": {"startLine": 5}}
    assert "42703" in by_rule["call-would-fail"]["message"]["text"]


def test_the_check_of_sarif_can_refuse(content: dict[str, Any]) -> None:
    log = sarif.log(content)
    log["runs"][0]["results"][0]["level"] = "fatal"
    log["runs"][0]["results"][0]["locations"] = []
    assert len(problems(log, SARIF_PARTS)) == 2


def test_the_markdown_names_every_place(content: dict[str, Any]) -> None:
    text = markdown.text(content)
    for item in [*content["lints"], *content["not_calls"]]:
        assert f"`{item['file']}:{item['line']}`" in text
    for item in [*content["copies"], *content["problems"], *content["skipped"]]:
        assert item["file"] in text
    assert "one of: a, b" in text
    assert "Not proven" in text
    found = look(CODE)
    assert "1 of 9 calls" in markdown.text(report.document(found, proof(len(found.chains))))


class Script(HTMLParser):
    """Collects the data of the page."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = False
        self.data = ""
        self.controls: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.inside = tag == "script" and given.get("id") == "rows"
        if tag in ("select", "input"):
            self.controls.append(given.get("id") or "")

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        self.data += data if self.inside else ""


def test_the_page_holds_every_row_and_can_be_filtered() -> None:
    nasty = look({"a</script>.js": CLIENT + "db.from('t</script><b>').select();"})
    reader = Script()
    reader.feed(page.html(report.document(nasty)))
    (row,) = json.loads(reader.data)
    assert row["table"] == "t</script><b>"
    assert reader.controls == ["table", "verdict", "file"]


def test_only_files_with_content_are_written(content: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert report.write(folder, content) == ["audit.json", "audit.sarif", "audit.md", "audit.html"]
    assert report.write(folder, content, "ALTER TABLE t ADD c text;\n", "module.exports = {};\n")[-2:] == [
        "audit.sql",
        "queries.cjs",
    ]
    assert json.loads((folder / "audit.json").read_text()) == content
