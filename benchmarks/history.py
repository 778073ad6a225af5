"""A project with a long past: migration folders, and a database in which all of them are recorded."""

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from ansible.module_utils.rollout import catalog, diff, ledger
from ansible.module_utils.rollout.catalog import Catalog
from ansible.module_utils.rollout.connection import Command, Session
from ansible.module_utils.rollout.execution import Settings
from ansible.module_utils.rollout.fingerprint import fingerprint
from ansible.module_utils.rollout.ledger import Entered
from ansible.module_utils.rollout.migration import Migration, in_schema

#: The role's own migrations come first; what is generated builds on their tables.
FIRST_NUMBER = 3

TABLES = (
    "bookings",
    "clients",
    "companies",
    "dialog_contexts",
    "reminders",
    "services",
    "staff",
    "staff_schedules",
    "sync_status",
)

#: As a template names the target schema.
SCHEMA = "{{ schema }}"


@dataclass(frozen=True)
class Revision:
    """One small migration.

    :ivar number: its id
    :ivar touches: the catalog entry that it creates or alters
    :ivar sql: the template
    :ivar drops: what its migration.yml must list as dropped
    """

    number: int
    name: str
    touches: str
    sql: str
    drops: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return f"{self.number:04d}"


def revisions(count: int, *, growing: bool = False) -> list[Revision]:
    """The small changes of a project's life: a function, a comment, a column and an index in turn, table by table.

    :param count: how many
    :param growing: each column and index is a further one, so that the schema grows with the number of migrations;
        otherwise the same few are changed again and again, and only the past grows
    """
    kinds = (
        (_function, _comment, _new_column, _new_index) if growing else (_function, _comment, _column, _index)
    )
    return [
        kinds[at % len(kinds)](
            FIRST_NUMBER + at, TABLES[at // len(kinds) % len(TABLES)], at < len(kinds) * len(TABLES)
        )
        for at in range(count)
    ]


def _function(number: int, table: str, first: bool) -> Revision:
    name = f"count_new_{table}"
    sql = f"""\
CREATE{"" if first else " OR REPLACE"} FUNCTION {SCHEMA}.{name}(since timestamptz) RETURNS bigint
LANGUAGE sql
STABLE
SET search_path = {SCHEMA}, pg_temp
AS $function$
    SELECT count(*) FROM {table} WHERE created_at >= since AND created_at < since + interval '{number} days'
$function$;
"""
    return Revision(number, name, f"function {name}(timestamp with time zone)", sql)


def _comment(number: int, table: str, _first: bool) -> Revision:
    text = f"When the row was made; as agreed in revision {number}."
    sql = f"COMMENT ON COLUMN {SCHEMA}.{table}.created_at IS '{text}';\n"
    return Revision(number, f"explain_{table}", f"comment on column {table}.created_at", sql)


def _column(number: int, table: str, first: bool) -> Revision:
    change = f"ADD COLUMN priority integer NOT NULL DEFAULT {number}"
    if not first:
        change = f"ALTER COLUMN priority SET DEFAULT {number}"
    sql = f"ALTER TABLE {SCHEMA}.{table} {change};\n"
    return Revision(number, f"priority_of_{table}", f"column {table}.priority", sql)


def _index(number: int, table: str, first: bool) -> Revision:
    name = f"idx_{table}_recent"
    sql = f"CREATE INDEX {name} ON {SCHEMA}.{table} (created_at DESC) WHERE id > {number};\n"
    if first:
        return Revision(number, name, f"index {name}", sql)
    return Revision(number, name, f"index {name}", f"DROP INDEX {SCHEMA}.{name};\n{sql}", (f"index {name}",))


def _new_column(number: int, table: str, _first: bool) -> Revision:
    name = f"note_{number}"
    sql = f"ALTER TABLE {SCHEMA}.{table} ADD COLUMN {name} text;\n"
    return Revision(number, f"{name}_of_{table}", f"column {table}.{name}", sql)


def _new_index(number: int, table: str, _first: bool) -> Revision:
    name = f"idx_{table}_{number}"
    return Revision(
        number, name, f"index {name}", f"CREATE INDEX {name} ON {SCHEMA}.{table} (created_at DESC, id);\n"
    )


def write_history(own: Path, folder: Path, revised: Sequence[Revision]) -> None:
    """Write a folder of migrations: the role's own, then the generated ones.

    :param own: folder of the role's migrations
    :param folder: made anew
    """
    if folder.exists():
        shutil.rmtree(folder)
    shutil.copytree(own, folder)
    for revision in revised:
        target = folder / f"{revision.id}_{revision.name}"
        target.mkdir()
        header = {
            "id": revision.id,
            "description": f"Change {revision.touches}.",
            "drops": list(revision.drops),
        }
        (target / "migration.yml").write_text("---\n" + yaml.safe_dump(header, sort_keys=False))
        (target / "010_change.sql.j2").write_text(revision.sql)


def record_history(
    session: Session, migrations: Sequence[Migration], revised: Sequence[Revision], settings: Settings
) -> None:
    """Run and record many migrations fast, by the ledger's own code, in rounds instead of one by one.

    A round holds migrations that touch different objects; the catalog is read once a round, and each difference is
    recorded for the migration that touches the object. The ledger is then what as many runs would have left.

    :param migrations: as loaded from the folder, without those that are recorded already
    :raises RuntimeError: something changed that no migration of the round touches
    """
    touched = {revision.id: revision.touches for revision in revised}
    before = catalog.read(session, settings.schema)
    for group in record_rounds([migration for migration in migrations if migration.id in touched], touched):
        before = _record_round(session, group, touched, before, settings)


def record_rounds(migrations: Sequence[Migration], touched: Mapping[str, str]) -> list[list[Migration]]:
    """Cut a list of migrations, in order, where one would touch what an earlier one of the same round touched.

    :param touched: id -> catalog entry
    """
    groups: list[list[Migration]] = []
    seen: set[str] = set()
    for migration in migrations:
        if not groups or touched[migration.id] in seen:
            groups.append([])
            seen = set()
        groups[-1].append(migration)
        seen.add(touched[migration.id])
    return groups


def _record_round(
    session: Session, group: list[Migration], touched: Mapping[str, str], before: Catalog, settings: Settings
) -> Catalog:
    began = time.perf_counter()
    session.run(
        [
            Command("BEGIN"),
            catalog.search_path(settings.schema),
            *(
                Command(in_schema(s.text, settings.schema), place=s.place)
                for m in group
                for s in m.statements
            ),
        ]
    )
    after = catalog.from_rows(session.run(catalog.commands(settings.schema)))
    changes = {change.object: change for change in diff.changes(before, after)}
    unexpected = set(changes) - {touched[migration.id] for migration in group}
    if unexpected:
        raise RuntimeError(f"no migration of the round touches {', '.join(sorted(unexpected))}")
    took_ms = (time.perf_counter() - began) * 1000 / len(group)
    rows = [
        Entered(
            migration=migration,
            schema=settings.schema,
            state="applied",
            catalog_fingerprint=fingerprint(after.entries),
            run_id=settings.run_id,
            applied_from=settings.applied_from,
            statements=len(migration.statements),
            duration_ms=took_ms,
            changes=[changes[touched[migration.id]]],
        )
        for migration in group
    ]
    session.run(
        [*(command for row in rows for command in ledger.write_commands(settings.ledger, row)), "COMMIT"]
    )
    return after
