"""The findings in SARIF 2.1.0 (OASIS), the format in which code hosts show results beside the lines they are about."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
VERSION = "2.1.0"
WOULD_FAIL, NOT_READ = "call-would-fail", "not-read"
_OWN_RULES = {
    WOULD_FAIL: ("error", "The call would fail on the schema that it was proven against."),
    NOT_READ: ("warning", "The file, or a part of it, could not be parsed: a call in it would not be found."),
}


def log(content: Mapping[str, Any]) -> dict[str, Any]:
    """A SARIF log of an ``audit.json``: lints, calls that would fail, places that could not be parsed."""
    rules = [
        {
            "id": rule["id"],
            "shortDescription": {"text": rule["text"]},
            "defaultConfiguration": {"level": rule["level"]},
        }
        for rule in content["rules"]
    ]
    rules += [
        {"id": name, "shortDescription": {"text": text}, "defaultConfiguration": {"level": level}}
        for name, (level, text) in _OWN_RULES.items()
    ]
    position = {rule["id"]: number for number, rule in enumerate(rules)}
    run: dict[str, Any] = {
        "tool": {"driver": {"name": "query_audit", "rules": rules}},
        "columnKind": "unicodeCodePoints",
        "results": [
            _result(rule, position[rule], level, file, line, message)
            for rule, level, file, line, message in _findings(content)
        ],
    }
    return {"$schema": SCHEMA, "version": VERSION, "runs": [run]}


def _findings(content: Mapping[str, Any]) -> Iterator[tuple[str, str, str, int, str]]:
    for item in content["lints"]:
        yield item["rule"], item["level"], item["file"], item["line"], item["message"]
    for row in content["chains"]:
        if row["verdict"] == "fails" and not row["test"]:
            reasons = "; ".join(f"{problem['code']} {problem['reason']}" for problem in row["problems"])
            text = f"{row['operation']} of {row['table']} would fail: {reasons}"
            yield WOULD_FAIL, "error", row["file"], row["line"], text
    for note in content["problems"]:
        yield NOT_READ, "warning", note["file"], note["line"] or 1, note["reason"]


def _result(rule: str, index: int, level: str, file: str, line: int, message: str) -> dict[str, Any]:
    # The line is left out of the fingerprint: a finding that moves stays the same finding.
    digest = hashlib.sha256(f"{rule}\0{file}\0{message}".encode()).hexdigest()
    return {
        "ruleId": rule,
        "ruleIndex": index,
        "level": level,
        "message": {"text": message},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": quote(file.encode("utf-8", "surrogateescape"))},
                    "region": {"startLine": line},
                }
            }
        ],
        "partialFingerprints": {"queryAudit/v1": digest},
    }
