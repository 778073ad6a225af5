"""The table of contents of a dump, and what it lacks."""

from typing import Any

import pytest
from ansible.module_utils.rollout import backup_archive

LISTING = """;
; Archive created at 2026-01-01 00:00:00 UTC
;     dbname: default_db
;     TOC Entries: 9
;     Dumped from database version: 18.0
;     Dumped by pg_dump version: 18.1
;
; Selected TOC Entries:
;
8; 2615 17232 SCHEMA - Odd schema gen_user
2; 2615 2200 SCHEMA - public pg_database_owner
9; 0 0 COMMENT - SCHEMA public pg_database_owner
3; 3079 16400 EXTENSION - pgcrypto
10; 0 0 COMMENT - EXTENSION pgcrypto
259; 1255 17221 FUNCTION public twice(integer) gen_user
260; 1255 17222 FUNCTION public twice(text) gen_user
242; 1259 17261 TABLE public messages gen_user
;	depends on: 8 259
243; 1259 17262 TABLE Odd schema a table gen_user
300; 0 17261 TABLE DATA public messages gen_user
;	depends on: 242
301; 0 0 ACL public TABLE messages gen_user
;	depends on: 242
302; 1259 17300 MATERIALIZED VIEW public totals gen_user
303; 6104 17301 PUBLICATION - everything postgres
"""
CATALOGS: dict[str, dict[str, Any]] = {
    "public": {
        "table messages": {"owner": "gen_user", "grants": ["auditor=r/gen_user"]},
        "view totals": {"owner": "gen_user", "materialized": True},
        "function twice(integer)": {"owner": "gen_user"},
        "function twice(text)": {"owner": "gen_user"},
        "column messages.id": {"type": "bigint"},
    },
    "Odd schema": {"table a table": {"owner": "gen_user"}},
}


def parsed(text: str = LISTING) -> backup_archive.Archive:
    return backup_archive.parse(text, CATALOGS)


def test_entries_are_read_with_names_that_hold_spaces() -> None:
    archive = parsed()
    by_id = {item.id: item for item in archive.items}
    assert (archive.database, archive.server_version, archive.program_version) == (
        "default_db",
        "18.0",
        "18.1",
    )
    assert (by_id[243].schema, by_id[243].name, by_id[243].owner) == ("Odd schema", "a table", "gen_user")
    assert (by_id[300].kind, by_id[302].kind) == ("TABLE DATA", "MATERIALIZED VIEW")
    assert by_id[242].depends == (8, 259)
    assert len(archive.items) == 13


def test_a_scratch_target_gets_nothing_of_the_servers() -> None:
    ids = {line.partition(";")[0] for line in backup_archive.for_scratch(parsed(), {"public"})}
    assert ids == {"8", "259", "260", "242", "243", "300", "301", "302"}


def test_a_complete_dump_lacks_nothing() -> None:
    assert backup_archive.lacking(parsed(), CATALOGS, [("public", "messages")]) == []


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("242; 1259", "table messages of gen_user in schema public is not in the dump"),
        ("243; 1259", "table a table of gen_user in schema Odd schema is not in the dump"),
        ("260; 1255", "function twice in schema public: 2 in the catalog, 1 in the dump"),
        ("300; 0 17261", "the rows of messages in schema public are not in the dump"),
        ("301; 0 0", "the grants on table messages in schema public are not in the dump"),
        ("302; 1259", "view totals of gen_user in schema public is not in the dump"),
    ],
)
def test_what_is_not_listed_is_told(line: str, told: str) -> None:
    text = "\n".join(each for each in LISTING.splitlines() if not each.startswith(line))
    assert backup_archive.lacking(parsed(text), CATALOGS, [("public", "messages")]) == [told]


def test_another_owner_is_told() -> None:
    text = LISTING.replace("TABLE public messages gen_user", "TABLE public messages somebody")
    (told,) = backup_archive.lacking(parsed(text), CATALOGS, [])
    assert told == "table messages of gen_user in schema public is not in the dump"
