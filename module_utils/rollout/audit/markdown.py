"""The audit for a person, in Markdown: what stands out first, every place with file and line."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

#: Longer lists are in audit.json.
MOST_PATTERNS = 40


def text(content: Mapping[str, Any]) -> str:
    """The Markdown of an ``audit.json``."""
    parts = [
        "# Queries of the application's code",
        _summary(content),
        _proof(content),
        _tables(content),
        _uncertain(content),
        _patterns(content),
        _lints(content),
        _account(content),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _summary(content: Mapping[str, Any]) -> str:
    totals = content["totals"]
    commit = f" at commit `{content['commit']}`" if content["commit"] else ""
    lines = [
        f"{totals['calls']} calls in {totals['files_read']} files of `{content['source']}`{commit}; they can send "
        f"{totals['requests']} different requests. {totals['in_tests']} of the calls are in tests.",
        "",
        _table(("Operation", "Calls"), totals["by_operation"].items()),
        "",
        _table(("How sure", "Calls"), totals["by_certainty"].items()),
    ]
    return "\n".join(lines)


def _proof(content: Mapping[str, Any]) -> str:
    proof = content["proof"]
    if proof is None:
        return "## On the schema\n\nNot proven: no database was asked."
    lines = ["## On the schema", "", proof["sentence"]]
    if proof["lacks"]:
        rows = [
            (lack["table"], lack["kind"], lack["name"], lack["code"], _places(lack["calls"]))
            for lack in proof["lacks"]
        ]
        lines += ["", _table(("Table", "Lacks", "Name", "Code", "Wanted by"), rows)]
    failing = [row for row in content["chains"] if row["verdict"] == "fails"]
    if failing:
        lines += ["", "### Calls that would fail", ""]
        lines += [
            f"- {_place(row)} {row['operation']} `{row['table']}`: "
            + "; ".join(f"{problem['code']} {problem['reason']}" for problem in row["problems"])
            for row in failing
        ]
    return "\n".join(lines)


def _tables(content: Mapping[str, Any]) -> str:
    places: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in content["chains"]:
        places[row["table"]].append(row)
    rows = [
        (
            name,
            len(found),
            ", ".join(sorted({row["operation"] for row in found})),
            len({row["file"] for row in found}),
        )
        for name, found in sorted(places.items(), key=lambda item: (-len(item[1]), item[0]))
    ]
    return "## Tables and functions\n\n" + _table(("Name", "Calls", "Operations", "Files"), rows)


def _uncertain(content: Mapping[str, Any]) -> str:
    rows = [row for row in content["chains"] if row["certainty"] != "exact"]
    if not rows:
        return ""
    lines = ["## Calls that are not fully known", ""]
    for row in rows:
        dynamic = row.get("dynamic")
        said = list(row["notes"])
        if dynamic:
            values = ", ".join(dynamic["values"])
            can = f"; {'one of' if dynamic['complete'] else 'among others'}: {values}" if values else ""
            said.insert(0, f"table: {dynamic['reason']}{can}")
        lines.append(f"- {_place(row)} {row['operation']} `{row['table']}`: {'; '.join(said)}")
    return "\n".join(lines)


def _patterns(content: Mapping[str, Any]) -> str:
    found = content["patterns"]
    rows = [
        (f"`{_cell(item['shape'])}`", item["count"], item["reached"], len(item["services"]))
        for item in found[:MOST_PATTERNS]
    ]
    services = ", ".join(sorted({item["service"] for item in content["entry_points"]}))
    ranked = (
        f"Ranked by the services that reach them ({services})."
        if services
        else ("No entry points are known, so they are ranked by how often they occur.")
    )
    more = f"\n\n{len(found) - MOST_PATTERNS} more are in audit.json." if len(found) > MOST_PATTERNS else ""
    return (
        f"## Patterns\n\n{len(found)} patterns with table and columns, {len(content['shapes'])} shapes without. "
        f"{ranked}\n\n" + _table(("Pattern", "Calls", "Reached", "Services"), rows) + more
    )


def _lints(content: Mapping[str, Any]) -> str:
    by_rule: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for item in content["lints"]:
        by_rule[item["rule"]].append(item)
    lines = ["## Lints"]
    for rule in content["rules"]:
        found = by_rule.get(rule["id"], [])
        if found:
            lines += ["", f"### {rule['id']} ({rule['level']}, {len(found)})", "", rule["text"], ""]
            lines += [f"- {_place(item)} {item['message']}" for item in found]
    return "\n".join(lines) if len(lines) > 1 else ""


def _account(content: Mapping[str, Any]) -> str:
    rows = [
        (
            f"`.{method}(`",
            counts["found"],
            counts["calls"],
            counts["mocks"],
            counts["no_calls"],
            counts["not_parsed"],
            counts["in_copies"],
        )
        for method, counts in content["totals"]["text_search"].items()
    ]
    lines = [
        "## Account",
        "",
        "What a text search finds, and what became of it:",
        "",
        _table(("Text", "Found", "Calls", "Mocks", "No calls", "Not parsed", "In copies"), rows),
    ]
    others: dict[str, list[str]] = defaultdict(list)
    for item in content["not_calls"]:
        others[f"{item['kind']}: {item['reason']}"].append(_place(item))
    for title, entries in (
        ("Not calls", [f"{reason}: {', '.join(places)}" for reason, places in sorted(others.items())]),
        ("Copies, counted once", [f"`{item['file']}` of `{item['of']}`" for item in content["copies"]]),
        ("Not valid, or not readable", [f"{_span(item)} {item['reason']}" for item in content["problems"]]),
        ("Not read", [_skipped(item) for item in content["skipped"]]),
    ):
        if entries:
            lines += ["", f"### {title}", "", *(f"- {entry}" for entry in entries)]
    return "\n".join(lines)


def _skipped(item: Mapping[str, Any]) -> str:
    hits = f"; the text search finds {item['text_search']} in it" if item["text_search"] else ""
    return f"`{item['file']}` {item['reason']}{hits}"


def _span(item: Mapping[str, Any]) -> str:
    if not item["line"]:
        return f"`{item['file']}`"
    last = f"-{item['last_line']}" if item["last_line"] > item["line"] else ""
    return f"`{item['file']}:{item['line']}{last}`"


def _place(item: Mapping[str, Any]) -> str:
    return f"`{item['file']}:{item['line']}`"


def _places(calls: Sequence[str]) -> str:
    return ", ".join(f"`{call}`" for call in calls)


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(_cell(str(cell)) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
