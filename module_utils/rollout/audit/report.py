"""The audit as files: JSON for programs, SARIF for code hosts, Markdown and a page for people, SQL as a proposal."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.rollout.audit import markdown, page, patterns, sarif
from ansible.module_utils.rollout.audit.extraction import Audit, Note
from ansible.module_utils.rollout.audit.lints import RULES, Finding, lint
from ansible.module_utils.rollout.audit.rows import private, rows

#: Raised when the shape of audit.json changes.
FORMAT = 1


def document(audit: Audit, proof: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The content of ``audit.json``; ``docs/audit.schema.json`` describes it.

    :param proof: what the module query_proof returned for the audit's chains; ``None`` when there was no database
    """
    found, of_chain = patterns.group(audit.chains, audit.reach, with_table=True)
    shapes, _ = patterns.group(audit.chains, audit.reach, with_table=False)
    listed = rows(audit.chains, proof["verdicts"] if proof else None, audit.reach, of_chain)
    findings = list(dict.fromkeys(finding for chain in audit.chains for finding in lint(chain)))
    return {
        "format": FORMAT,
        "source": audit.source,
        "commit": audit.commit,
        "totals": _totals(audit, listed, findings),
        "proof": _proof(proof),
        "entry_points": [{"service": name, "file": path} for name, path in audit.entry_points],
        "chains": listed,
        "patterns": [pattern.as_json() for pattern in found],
        "shapes": [pattern.as_json() for pattern in shapes],
        "lints": [
            {
                "rule": item.rule,
                "level": item.level,
                "file": item.file,
                "line": item.line,
                "message": private(item.message),
            }
            for item in findings
        ],
        "rules": [{"id": rule.id, "level": rule.level, "text": rule.text} for rule in RULES.values()],
        "not_calls": [
            {
                "file": item.file,
                "line": item.line,
                "column": item.column,
                "method": item.method,
                "kind": item.kind,
                "reason": private(item.reason),
            }
            for item in audit.sightings
        ],
        "copies": [{"file": path, "of": original} for path, original in sorted(audit.copies.items())],
        "problems": [_note(note) for note in audit.problems],
        "skipped": [_note(note) for note in audit.skipped],
    }


def _totals(audit: Audit, listed: list[dict[str, Any]], findings: list[Finding]) -> dict[str, Any]:
    """Counts that add up: text = calls + not calls + in copies, for each method."""
    methods = sorted({*audit.text_hits, "from", "rpc"})
    calls = Counter("rpc" if row["operation"] == "rpc" else "from" for row in listed)
    others: dict[str, Counter[str]] = {method: Counter() for method in methods}
    for item in audit.sightings:
        others[item.method][item.kind] += 1
    return {
        "files": audit.files,
        "files_read": audit.read,
        "calls": len(listed),
        "requests": len(audit.chains),
        "in_tests": sum(row["test"] for row in listed),
        "by_operation": dict(sorted(Counter(row["operation"] for row in listed).items())),
        "by_certainty": dict(sorted(Counter(row["certainty"] for row in listed).items())),
        "by_verdict": dict(sorted(Counter(row["verdict"] for row in listed).items())),
        "by_rule": dict(sorted(Counter(item.rule for item in findings).items())),
        "methods": {
            name: {"found": method.found, "in_calls": method.in_calls, "elsewhere": method.elsewhere}
            for name, method in sorted(audit.methods.items())
        },
        "text_search": {
            method: {
                "found": audit.text_hits.get(method, 0),
                "calls": calls[method],
                "mocks": others[method]["mock"],
                "no_calls": others[method]["no call"],
                "not_parsed": others[method]["not parsed"],
                "in_copies": audit.copied_hits.get(method, 0),
            }
            for method in methods
        },
    }


def _proof(proof: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if proof is None:
        return None
    return {name: proof[name] for name in ("sentence", "counts", "lacks")}


def _note(note: Note) -> dict[str, Any]:
    return {
        "file": note.file,
        "line": note.line,
        "last_line": note.last_line,
        "reason": note.reason,
        "text_search": note.hits,
    }


def write(folder: Path, content: Mapping[str, Any], proposal: str = "", library: str = "") -> list[str]:
    """Write the report's files.

    :param folder: is made when it is not there
    :param proposal: SQL that would add what is missing; no file without any
    :param library: the generated module for the application; no file without any
    :returns: the names of the files
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "audit.json": json.dumps(content, indent=1, ensure_ascii=False) + "\n",
        "audit.sarif": json.dumps(sarif.log(content), indent=1, ensure_ascii=False) + "\n",
        "audit.md": markdown.text(content),
        "audit.html": page.html(content),
        "audit.sql": proposal,
        "queries.cjs": library,
    }
    written = {name: text for name, text in files.items() if text}
    for name, text in written.items():
        (folder / name).write_text(text, encoding="utf-8")
    return list(written)
