"""The next migration is a folder; what was applied stays as it is."""

import shutil

from containers.images import ROOT
from containers.playbooks import playbook
from containers.site import Site

DESCRIPTION = """\
---
id: "0003"
description: Reviews that clients leave after a visit.
depends: ["0001"]
existing_tables: []
locks: {}
grows: []
creates: {tables: [reviews], functions: []}
variables: {}
"""
TABLE = """\
CREATE TABLE {{ schema }}.reviews (
    id bigserial PRIMARY KEY,
    company_id integer NOT NULL REFERENCES {{ schema }}.companies (id) ON DELETE CASCADE
);
"""
LEDGER = "SELECT id, xmin::text, run_id FROM rollout.migration WHERE id < '0003' ORDER BY id"
COLUMNS = "SELECT column_name FROM information_schema.columns WHERE table_name = 'reviews' ORDER BY ordinal_position"


def test_a_later_migration_is_applied_and_a_changed_one_refused(site: Site, admin) -> None:
    before = admin.execute(LEDGER).fetchall()
    assert [row[0] for row in before] == ["0001", "0002"]
    migrations = site.folder / "migrations"
    shutil.copytree(ROOT / "roles/schema/migrations", migrations)
    new = migrations / "0003_reviews"
    new.mkdir()
    (new / "migration.yml").write_text(DESCRIPTION)
    (new / "010_table.sql.j2").write_text(TABLE)
    path = ("-e", f"schema_migrations_path={migrations}")

    applied = playbook(site, "apply.yml", *path)
    assert applied.code == 0, applied.output
    assert "0003_reviews applied" in applied.words
    assert admin.execute(COLUMNS).fetchall() == [("id",), ("company_id",)]
    assert admin.execute(LEDGER).fetchall() == before

    (new / "010_table.sql.j2").write_text(TABLE.replace("CASCADE\n", "CASCADE,\n    stars integer\n"))
    refused = playbook(site, "apply.yml", *path)
    assert refused.code != 0
    assert "0003_reviews" in refused.words
    assert "changed" in refused.words
    assert admin.execute(COLUMNS).fetchall() == [("id",), ("company_id",)]
