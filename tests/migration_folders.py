"""Writes small migration folders for tests."""

from pathlib import Path
from typing import Any

import yaml


def write_migration(folder: Path, number: str, name: str, sql: str, **header: Any) -> Path:
    """Write one migration with a single template.

    :param folder: holds the migrations; made when absent
    :param number: four digits or more
    :param sql: the template's text
    :param header: further keys of migration.yml, such as ``locks={"whatsapp_auth": "SHARE ROW EXCLUSIVE"}``
    :return: the migration's own folder
    """
    migration = folder / f"{number}_{name}"
    migration.mkdir(parents=True)
    described = {"id": number, "description": f"Invented for a test: {name}.", **header}
    (migration / "migration.yml").write_text(yaml.safe_dump(described))
    (migration / "010_all.sql.j2").write_text(sql)
    return migration


def through_a_function(body: str) -> str:
    """SQL that runs PL/pgSQL statements; a migration may not hold a DO block."""
    create = "CREATE FUNCTION {{ schema }}.act() RETURNS void LANGUAGE plpgsql AS $$ BEGIN "
    return create + body + " END $$;\nSELECT {{ schema }}.act();\n"
