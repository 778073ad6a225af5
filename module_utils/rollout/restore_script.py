"""The text of ``pg_restore`` made fit to be run inside a transaction of ours."""

from __future__ import annotations

import re

from ansible.module_utils.rollout.settled import unsettled

#: What pg_restore's script begins with is not run: it lifts the limits on waiting.
_FIRST_ENTRY = re.compile(r"^-- (?:Data for )?Name: ", re.MULTILINE)
_ENTRY = re.compile(r"(?=^--\n-- Name: )", re.MULTILINE)
_KIND = re.compile(r"^--\n-- Name: .*; Type: ([^;]+); Schema: ")
_UNRESTRICT = re.compile(r"^\\unrestrict \w+$", re.MULTILINE)
#: Entries that hold expressions and no texts of functions.
_WITH_EXPRESSIONS = ("TABLE", "INDEX", "CONSTRAINT", "CHECK CONSTRAINT", "POLICY")


def script_of(text: str) -> str:
    """pg_restore's text without its beginning (settings) and end, with array casts left to PostgreSQL."""
    first = _FIRST_ENTRY.search(text)
    if first is None:
        return ""
    body = _UNRESTRICT.sub("", text[text.rindex("--\n", 0, first.start()) :])
    pieces = []
    for piece in _ENTRY.split(body):
        kind = _KIND.match(piece)
        pieces.append(unsettled(piece) if kind and kind[1] in _WITH_EXPRESSIONS else piece)
    return "".join(pieces)
