"""Calls of supabase-js in a file of their own, as the audit reads them."""

from pathlib import Path

from ansible.module_utils.rollout.audit.chain import Chain
from ansible.module_utils.rollout.audit.extraction import audit
from ansible.module_utils.rollout.audit.sources import Folder

#: Lines before the first call.
LINES_BEFORE = 3


def chains_of(folder: Path, *calls: str, test: bool = False) -> tuple[Chain, ...]:
    """What the audit finds in these calls, one a line; ``value``, ``list``, ``row`` and ``rows`` are parameters.

    :param calls: expressions on ``db``, or statements
    :param test: the file is one of tests
    """
    lines = [
        "import { createClient } from '@supabase/supabase-js';",
        "const db = createClient(process.env.URL, process.env.KEY);",
        "export async function run({ value, list, row, rows }) {",
        *(f"  {call if call.startswith('{') else f'await {call};'}" for call in calls),
        "}",
    ]
    source = folder / ("tests" if test else "src")
    source.mkdir(exist_ok=True)
    (source / "calls.js").write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = tuple(audit(Folder(folder)).chains)
    assert [chain.line - LINES_BEFORE for chain in found] == list(range(1, len(calls) + 1))
    return found
