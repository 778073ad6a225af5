"""The one transaction of a restore: move aside, create, fill, compare, commit."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from ansible.module_utils.rollout import (
    backup_contents,
    backup_programs,
    backup_proof,
    catalog,
    diff,
    locks,
    restore_plan,
    transaction,
)
from ansible.module_utils.rollout.backup_contents import Contents, identifier, sql_name
from ansible.module_utils.rollout.backup_manifest import Manifest
from ansible.module_utils.rollout.backup_programs import Programs
from ansible.module_utils.rollout.catalog import Catalog, Entry
from ansible.module_utils.rollout.connection import Command
from ansible.module_utils.rollout.errors import LockBudgetExceeded, RestoreRefused, RolloutError
from ansible.module_utils.rollout.restore_plan import Catalogs, Name, RestoreSettings, label
from ansible.module_utils.rollout.restore_reading import Target, count_command, read_catalog, references_of
from ansible.module_utils.rollout.restore_script import script_of
from ansible.module_utils.rollout.transfer import TransferSession


@dataclass(frozen=True)
class Restoration:
    """The transaction."""

    settings: RestoreSettings
    manifest: Manifest
    recorded: Catalogs
    target: Target
    programs: Programs
    side_schema: str

    def carry_out(
        self, session: TransferSession, beside: TransferSession, copy: Contents
    ) -> tuple[dict[str, str], list[str]]:
        """Move aside, create, fill, compare and commit, or roll everything back.

        :returns: locks on what existed before, and objects that are printed with other words than recorded
        """
        decided = self.target.decided
        try:
            session.run(["BEGIN", "SET LOCAL row_security = off"])
            known = session.run([transaction.known_relations()])[0]
            self._lock(session)
            before = {schema: read_catalog(session, schema) for schema in self.target.outline.schemas}
            self._move_aside(session)
            self._run_script(session, "pre-data")
            references = references_of(session)
            with self._triggers_off(session, before):
                for name in restore_plan.fill_order([*decided.create, *decided.fill], references):
                    self._copy(session, beside, name)
            self._run_script(session, "post-data")
            self._set_sequences(session, copy)
            self._compare_rows(session)
            reworded = self._compare_catalogs(session, before)
            held = session.run([transaction.held_locks("")])[0]
            tables = {".".join(name) for name in restore_plan.tables_of(before)}
            strongest = {
                relation: mode
                for relation, mode in locks.strongest(transaction.locks_from_rows(held, known)).items()
                if relation in tables
            }
            self._refuse_locks(strongest)
            session.run(["COMMIT"])
        except RolloutError:
            session.rollback()
            raise
        return strongest, reworded

    def _lock(self, session: TransferSession) -> None:
        """Before the last look: nobody may write between it and COMMIT."""
        decided = self.target.decided
        commands = [
            Command(f"LOCK TABLE {sql_name(*name)} IN ACCESS EXCLUSIVE MODE")
            for name in sorted(decided.replace)
        ]
        commands += [
            Command(f"LOCK TABLE {sql_name(*name)} IN SHARE ROW EXCLUSIVE MODE") for name in decided.fill
        ]
        session.run(commands)
        answers = session.run(
            [f"SELECT EXISTS (SELECT FROM ONLY {sql_name(*name)})" for name in decided.fill]
        )
        filled = [".".join(n) for n, rows in zip(decided.fill, answers, strict=True) if rows[0][0]]
        if filled:
            raise RestoreRefused(
                f"rows arrived in {', '.join(filled)} meanwhile; nothing was changed",
                hint="The application writes there. Restore other tables, or set restore_replace: true.",
            )

    def _move_aside(self, session: TransferSession) -> None:
        if self.target.decided.replace:
            side = identifier(self.side_schema)
            session.run(
                [
                    f"CREATE SCHEMA {side}",
                    *(
                        Command(f"ALTER TABLE {sql_name(*name)} SET SCHEMA {side}")
                        for name in self.target.decided.replace
                    ),
                ]
            )

    def _run_script(self, session: TransferSession, section: str) -> None:
        """Run what pg_restore would: its text for the chosen entries, in this transaction."""
        if not self.target.items:
            return
        lines = [item.line for item in self.target.items]
        with backup_proof.listed(lines) as use_list:
            done = backup_programs.run(
                [
                    self.programs.path("pg_restore"),
                    f"--section={section}",
                    "--no-tablespaces",
                    f"--use-list={use_list}",
                    "--file=-",
                    str(self.manifest.path),
                ],
                self.settings.timeout_s,
            )
        if done.code != 0:
            raise RestoreRefused(backup_programs.failed("pg_restore", done))
        sql = script_of(done.output)
        session.run(
            [
                "SET LOCAL search_path = ''",
                "SET LOCAL check_function_bodies = off",
                "SET LOCAL xmloption = content",
            ]
        )
        if sql.strip():
            session.run_alone(Command(sql, place=f"{section} of the backup"))

    @contextlib.contextmanager
    def _triggers_off(self, session: TransferSession, before: Catalogs) -> Iterator[None]:
        """Rows come back as they were: no trigger of a filled table may change them or send anything."""
        states = {"enabled": "ENABLE TRIGGER", "always": "ENABLE ALWAYS TRIGGER"}
        off, on = [], []
        for schema, table in self.target.decided.fill:
            for name, entry in before[schema].items():
                if name.startswith(f"trigger {table}.") and entry["state"] in states:
                    trigger = identifier(name.removeprefix(f"trigger {table}."))
                    where = f"ALTER TABLE {sql_name(schema, table)}"
                    off.append(Command(f"{where} DISABLE TRIGGER {trigger}"))
                    on.append(Command(f"{where} {states[entry['state']]} {trigger}"))
        session.run(off)
        yield
        session.run(on)

    def _copy(self, session: TransferSession, beside: TransferSession, name: Name) -> None:
        """Rows of one table, from the copy beside into the database."""
        schema, table = name
        if label((schema, table)) not in self.manifest.tables:
            return
        columns = ", ".join(
            identifier(column) for column in restore_plan.columns(name, self.recorded, generated=False)
        )
        what = f"{sql_name(*name)} ({columns})"
        session.copy(
            beside, f"COPY {what} TO STDOUT", f"COPY {what} FROM STDIN", place=f"rows of {schema}.{table}"
        )

    def _set_sequences(self, session: TransferSession, copy: Contents) -> None:
        """Sequences of the restored tables go to where the backup has them, but never back."""
        restored = {*self.target.decided.create, *self.target.decided.fill}
        made = {(item.schema, item.name) for item in self.target.items if item.kind == "SEQUENCE"}
        for schema, entries in self.recorded.items():
            for name, entry in entries.items():
                plain = name.removeprefix("sequence ")
                sequence = sql_name(schema, plain)
                if not name.startswith("sequence ") or label((schema, plain)) not in copy.sequences:
                    continue
                owner = (entry.get("owned_by") or "").partition(".")[0]
                if (schema, owner) not in restored and (schema, plain) not in made:
                    continue
                value, called, direction = copy.sequences[label((schema, plain))]
                literal = sequence.replace("'", "''")
                session.run(
                    [
                        f"SELECT setval('{literal}', {value}, {called}) FROM {sequence}"
                        f" WHERE ({direction} * last_value, is_called) < ({direction * value}, {called})"
                    ]
                )

    def _compare_rows(self, session: TransferSession) -> None:
        names = [
            name
            for name in (*self.target.decided.create, *self.target.decided.fill)
            if label(name) in self.manifest.tables
        ]
        answers = session.run([count_command(name, self.recorded) for name in names])
        wrong = []
        for name, rows in zip(names, answers, strict=True):
            table = self.manifest.tables[label(name)]
            if rows[0] != (table.rows, table.checksum):
                wrong.append(f"{'.'.join(name)}: {rows[0][0]} rows came back, {table.rows} are recorded")
        if wrong:
            raise RestoreRefused(
                "the rows are not those of the backup; everything was rolled back:\n  " + "\n  ".join(wrong)
            )

    def _compare_catalogs(self, session: TransferSession, before: Catalogs) -> list[str]:
        """What was made is as recorded, what was there is as it was."""
        made = restore_plan.made_entries(self.target.items, self.target.decided, self.recorded)
        moved = set(self.target.decided.replace)
        wrong: list[str] = []
        reworded: list[str] = []
        for schema in {*before, *made}:
            after = read_catalog(session, schema)
            expected = {
                name: entry
                for name, entry in before.get(schema, {}).items()
                if (schema, catalog.table_of(name, entry) or "") not in moved
                and not _comment_on_moved(name, schema, before, moved)
            }
            expected |= {name: self.recorded[schema][name] for name in made.get(schema, ())}
            for change in diff.changes(Catalog(expected), Catalog(after)):
                if self._says_the_same(change.before, change.after):
                    reworded.append(f"{schema}: {change.object}")
                    continue
                kind = {"created": "extra", "dropped": "missing", "altered": "changed"}[change.action]
                difference = diff.Difference(change.object, kind, change.before, change.after)
                wrong.append(f"{schema}: {diff.as_text([difference])}")
        if wrong:
            raise RestoreRefused(
                "what came back is not what the backup recorded, or something else was changed; everything was rolled"
                " back:\n  " + "\n  ".join(wrong[:20]),
                details={"differences": wrong},
            )
        return reworded

    def _says_the_same(self, expected: Entry | None, found: Entry | None) -> bool:
        if expected is None or found is None:
            return False
        if not self.settings.other_database and any(
            expected.get(key) != found.get(key) for key in ("owner", "grants")
        ):
            return False
        one, other = (backup_contents.portable({"": entry}) for entry in (expected, found))
        return one == other

    def _refuse_locks(self, held: Mapping[str, str]) -> None:
        touched = [
            f"{table}: {held[table]}"
            for table in self.settings.protected
            if table in held and held[table] != locks.DEFAULT_BUDGET
        ]
        if touched:
            raise LockBudgetExceeded(
                f"the restore would lock protected tables ({', '.join(touched)}); everything was rolled back",
                hint="A restored table has a foreign key or a trigger on them. Restore it while the application rests.",
            )


def _comment_on_moved(name: str, schema: str, before: Catalogs, moved: Collection[Name]) -> bool:
    """A comment on an index or sequence does not tell its table by itself."""
    plain = name.removeprefix("comment on ")
    entry = before[schema].get(plain)
    return plain != name and entry is not None and (schema, catalog.table_of(plain, entry) or "") in moved
