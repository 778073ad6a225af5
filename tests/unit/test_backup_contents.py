"""Comparing what was restored with what the source was."""

from dataclasses import replace
from typing import Any

import pytest
from ansible.module_utils.rollout import backup_contents
from ansible.module_utils.rollout.backup_contents import Contents, Identity, TableRows

SOURCE = Contents(
    identity=Identity("db", 1, "s", "18.0", "UTF8", "C", "C"),
    at="2026-01-01 00:00:00+00",
    database_bytes=0,
    may_create_database=False,
    catalogs={
        "public": {
            "table t": {"owner": "gen_user", "grants": ["x"]},
            "column t.c": {"type": "integer", "default": "1"},
            "constraint t.k": {"definition": "(s)::text = ANY ((ARRAY['a'::character varying])::text[])"},
            "index broken": {"table": "t", "invalid": True},
        }
    },
    rows={"public.t": TableRows(3, 8192, "5")},
    without_rows=(),
    sequences={"public.s": (10, True, 1), "public.down": (-10, True, -1)},
    extensions={},
)
COPY = replace(
    SOURCE,
    catalogs={
        "public": {
            # Another owner, no grants, no invalid index, and the definition as it reads after a restore.
            "table t": {"owner": "scratch"},
            "column t.c": {"type": "integer", "default": "1"},
            "constraint t.k": {"definition": "(s)::text = ANY (ARRAY[('a'::character varying)::text])"},
        }
    },
    rows={"public.t": TableRows(3, 0, "5")},
    sequences={"public.s": (12, True, 1), "public.down": (-11, True, -1)},
)


def with_entries(**changed: Any) -> Contents:
    entries = {**COPY.catalogs["public"], **changed}
    return replace(
        COPY, catalogs={"public": {name: entry for name, entry in entries.items() if entry is not None}}
    )


def test_a_good_copy_is_equal() -> None:
    assert backup_contents.differences(SOURCE, COPY) == []
    assert SOURCE.fingerprint == COPY.fingerprint


@pytest.mark.parametrize(
    ("copy", "told"),
    [
        (with_entries(**{"column t.c": {"type": "integer", "default": "2"}}), "public: column t.c: differs"),
        (with_entries(**{"column t.c": None}), "public: column t.c: missing"),
        (with_entries(**{"table extra": {}}), "public: table extra: was not in the source"),
        (replace(COPY, catalogs={}), "public: column t.c: missing"),
        (replace(COPY, rows={}), "public.t: missing"),
        (replace(COPY, rows={"public.t": TableRows(2, 0, "5")}), "public.t: 2 rows, the source has 3"),
        (
            replace(COPY, rows={"public.t": TableRows(3, 0, "6")}),
            "public.t: 3 rows as in the source, but not the same",
        ),
        (replace(COPY, sequences={"public.down": (-11, True, -1)}), "public.s: missing"),
        (
            replace(COPY, sequences={**COPY.sequences, "public.s": (10, False, 1)}),
            "public.s: stands at 10, the source at 10",
        ),
        (
            replace(COPY, sequences={**COPY.sequences, "public.down": (-9, True, -1)}),
            "public.down: stands at -9, the source at -10",
        ),
    ],
)
def test_each_difference_is_told(copy: Contents, told: str) -> None:
    assert backup_contents.differences(SOURCE, copy)[0].startswith(told)
