"""Apply, rows, refused, confirmed, restored."""

from typing import Any

import psycopg
from psycopg import sql

from containers.playbooks import playbook, report
from containers.site import Site
from sandbox.credentials import OWNER
from tests.catalog_shape import EXPECTED, Shape
from tests.integration.sample_rows import MESSAGES, ROWS

DATABASE = "default_db"
TABLES = [*ROWS, "messages"]


def contents(admin: psycopg.Connection, tables: list[str]) -> dict[str, list[tuple[Any, ...]]]:
    """All rows, in an order that is always the same."""
    query = "SELECT t::text FROM {} t ORDER BY 1"
    return {table: admin.execute(sql.SQL(query).format(sql.Identifier(table))).fetchall() for table in tables}


def test_rows_are_refused_exported_dropped_and_brought_back(site: Site, admin) -> None:
    with site.server.connect(OWNER, DATABASE) as application:
        for statement in (*ROWS.values(), MESSAGES):
            application.execute(statement.encode())
    rows = contents(admin, TABLES)
    identity = admin.execute("SELECT creds -> 'noiseKey' FROM whatsapp_auth").fetchall()

    refused = playbook(site, "playbooks/rollback.yml")
    assert refused.code != 0
    assert "These tables hold rows, so nothing was taken back" in refused.words
    assert contents(admin, TABLES) == rows

    done = playbook(site, "playbooks/rollback.yml", "-e", f"rollback_confirm={DATABASE}")
    assert done.code == 0, done.output
    left = admin.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') ORDER BY 1"
    ).fetchall()
    assert left == [("whatsapp_auth",), ("whatsapp_keys",)]
    assert admin.execute("SELECT creds -> 'noiseKey' FROM whatsapp_auth").fetchall() == identity

    export = report(site)["hosts"]["app"]["sections"]["rollback"]["export"]
    restored = playbook(
        site, "playbooks/restore.yml", "-e", f"restore_from={export}", "-e", f"restore_confirm={DATABASE}"
    )
    assert restored.code == 0, restored.output
    assert contents(admin, TABLES) == rows
    with site.server.connect(OWNER, DATABASE) as owner:
        assert Shape(owner, "public").differences(EXPECTED) == []
    assert site.stand_in("app", "status")["problems"] == []
