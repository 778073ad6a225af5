"""The calls as a page that one can filter by table, verdict and file; one file, without anything from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

_STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; margin: 2rem; color: #222; }
label { margin-right: 1rem; } input, select { font: inherit; }
table { border-collapse: collapse; margin-top: 1rem; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .25rem .6rem; border-bottom: 1px solid #ddd; }
td.place { white-space: nowrap; font-family: monospace; }
tr.fails td.verdict { color: #b00020; } tr.runs td.verdict { color: #1b6e2f; }
"""
_SCRIPT = """
const rows = JSON.parse(document.getElementById('rows').textContent);
const body = document.querySelector('tbody'), shown = document.getElementById('shown');
const [table, verdict, file] = ['table', 'verdict', 'file'].map((name) => document.getElementById(name));
for (const [list, key] of [[table, 'table'], [verdict, 'verdict']])
  for (const value of [...new Set(rows.map((row) => row[key]))].sort()) list.add(new Option(value, value));
function cell(line, text, kind) {
  const item = line.insertCell(); item.textContent = text; if (kind) item.className = kind;
}
function show() {
  const wanted = rows.filter((row) => (!table.value || row.table === table.value)
    && (!verdict.value || row.verdict === verdict.value) && row.place.includes(file.value));
  body.replaceChildren();
  for (const row of wanted) {
    const line = body.insertRow(); line.className = row.verdict;
    cell(line, row.place, 'place'); cell(line, row.operation); cell(line, row.table); cell(line, row.columns);
    cell(line, row.verdict, 'verdict'); cell(line, row.said);
  }
  shown.textContent = `${wanted.length} of ${rows.length}`;
}
for (const input of [table, verdict, file]) input.addEventListener('input', show);
show();
"""


def html(content: Mapping[str, Any]) -> str:
    """The page of an ``audit.json``."""
    totals = content["totals"]
    proof = content["proof"]["sentence"] if content["proof"] else "Not proven: no database was asked."
    # "</script>" in a value would end the element.
    data = json.dumps([_row(row) for row in content["chains"]], ensure_ascii=False).replace("<", "\\u003c")
    return f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Queries of the application's code</title><style>{_STYLE}</style></head>
<body>
<h1>Queries of the application's code</h1>
<p>{totals["calls"]} calls in {escape(content["source"])} {escape(content["commit"])}. {escape(proof)}</p>
<p>
<label>Table <select id="table"><option value="">all</option></select></label>
<label>Verdict <select id="verdict"><option value="">all</option></select></label>
<label>File <input id="file" placeholder="part of the path"></label>
<span id="shown"></span>
</p>
<table>
<thead><tr><th>Place</th><th>Operation</th><th>Table</th><th>Columns</th><th>Verdict</th><th>Reasons</th></tr></thead>
<tbody></tbody>
</table>
<script type="application/json" id="rows">{data}</script>
<script>{_SCRIPT}</script>
</body>
</html>
"""


def _row(row: Mapping[str, Any]) -> dict[str, str]:
    problems = [f"{problem['code']} {problem['reason']}" for problem in row["problems"]]
    dynamic = row.get("dynamic")
    notes = [f"{dynamic['reason']}: {', '.join(dynamic['values'])}"] if dynamic else []
    return {
        "place": f"{row['file']}:{row['line']}",
        "operation": row["operation"],
        "table": row["table"],
        "columns": ", ".join(row["columns"]),
        "verdict": row["verdict"],
        "said": "; ".join([*problems, *notes, *row["notes"], *row["not_looked_at"]]),
    }
