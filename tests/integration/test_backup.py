"""Backups of a real database: what is in them, what is proven, who may read them, and which of them count."""

import dataclasses
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from ansible.module_utils.rollout import (
    backup,
    backup_contents,
    backup_manifest,
    backup_programs,
    backup_scratch,
)
from ansible.module_utils.rollout.connection import Session
from ansible.module_utils.rollout.errors import BackupRefused, ConnectionFailed

from sandbox.databases import Database
from sandbox.server import PostgresServer
from tests import traces
from tests.backup_databases import (  # noqa: F401
    bin_dir,
    database_with_rows,
    left_in,
    may_create_databases,
    mode,
    options_of,
    prepared_rows,
    replaced_programs,
    right_to_create,
    scratch_databases,
    settings_for,
)
from tests.integration.command_runs import spellings, watched_command_lines
from tests.integration.module_run import documented, run
from tests.prepared_databases import copy_of

Scripts = Callable[..., Path]


@pytest.fixture(scope="module")
def kept(
    with_rows: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Database, backup_manifest.Manifest]]:
    """A database and a backup of it, which the tests copy."""
    folder = tmp_path_factory.mktemp("kept")
    with copy_of(with_rows, folder) as database, may_create_databases(database.server):
        manifest = backup.make(options_of(database), settings_for(folder)).backup
        assert manifest is not None
        yield database, manifest


@pytest.fixture
def backed_up(kept: tuple[Database, backup_manifest.Manifest]) -> Database:
    """A database of which there is a backup. Read only."""
    return kept[0]


@pytest.fixture
def proven(kept: tuple[Database, backup_manifest.Manifest], tmp_path: Path) -> backup_manifest.Manifest:
    """A backup of ``backed_up``, to be spoiled."""
    original = kept[1]
    (tmp_path / "backups").mkdir(mode=0o700)
    copied = tmp_path / "backups" / original.folder.name
    shutil.copytree(original.folder, copied)
    return backup_manifest.read(copied)


@pytest.mark.parametrize("scratch", ["local", "database"])
def test_a_backup_is_restored_and_compared_before_it_counts(
    filled: Database,
    server: PostgresServer,
    tmp_path: Path,
    createdb: None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    scratch: str,
) -> None:
    directory = tmp_path / "backups"
    temporary = Path(tempfile.mkdtemp(prefix="rollout-", dir="/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    arguments = {"directory": str(directory), "scratch": scratch, "run_id": "run-7", **filled.options}
    arguments["bin_dir"] = bin_dir()
    with watched_command_lines() as command_lines:
        result = run("pg_backup", capsys, **arguments)
    assert set(result) - {"changed", "invocation"} == documented("pg_backup") - {"details"}
    assert result["changed"] is True
    taken = result["backup"]
    assert taken["proven"] is True
    assert taken["proof"]["how"] == scratch
    assert taken["tables"]["public.clients"]["rows"] == 50
    assert taken["tables"]["public.messages_2025_11"]["rows"] == 26
    folder = Path(taken["folder"])
    assert (mode(directory), mode(folder)) == ("0700", "0700")
    assert {path.name: mode(path) for path in folder.iterdir()} == {
        "database.dump": "0600",
        "catalog.json": "0600",
        "manifest.json": "0600",
    }
    assert left_in(tmp_path) == {folder.name}
    assert scratch_databases(server) == []
    # Neither a socket nor a list; it could not be removed if anything were in it.
    temporary.rmdir()
    # The password is full of metacharacters; nothing that a person or another process can see holds it.
    shown = "\n".join([*command_lines, json.dumps(result["backup"]), result["summary"]])
    shown += (folder / "manifest.json").read_text() + (folder / "catalog.json").read_text()
    assert any("pg_dump" in line for line in command_lines)
    assert [text for text in spellings(filled.options["password"]) if text in shown] == []


def test_the_record_says_what_was_dumped_and_how_it_was_proven(
    proven: backup_manifest.Manifest, backed_up: Database
) -> None:
    record = json.loads((proven.folder / "manifest.json").read_text())
    with backed_up.connect_admin() as admin:
        rows = admin.execute(
            "SELECT oid, (SELECT system_identifier::text FROM pg_control_system()) FROM pg_database"
            " WHERE datname = current_database()"
        ).fetchall()
    assert (record["identity"]["oid"], record["identity"]["system_identifier"]) == rows[0]
    assert record["format"] == 1
    assert record["identity"]["name"] == backed_up.name
    assert record["dump"]["sha256"] == backup_manifest.store(proven.path).sha256
    assert record["dump"]["bytes"] == proven.path.stat().st_size
    assert record["tables"]["public.companies"]["rows"] == 1
    assert record["tables"]["public.companies"]["bytes"] > 0
    assert set(record["proof"]) >= {"how", "where", "equal", "seconds"}
    catalog = json.loads((proven.folder / "catalog.json").read_text())
    assert "column clients.phone" in catalog["public"]
    assert "table migration" in catalog["rollout"]


def test_a_backup_agrees_with_itself_while_the_application_writes(
    filled: Database, tmp_path: Path, createdb: None, programs: Scripts
) -> None:
    over = threading.Event()
    wrote = threading.Event()
    failures: list[psycopg.Error] = []

    def write() -> None:
        with filled.connect() as connection:
            try:
                while not over.is_set():
                    connection.execute(
                        "INSERT INTO messages (company_id, phone, direction, created_at)"
                        " VALUES (1, '70000000003', 'inbound', '2025-11-10')"
                    )
                    connection.execute("UPDATE clients SET visits_count = visits_count + 1 WHERE id = 3")
                    wrote.set()
            except psycopg.Error as error:
                failures.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert wrote.wait(20)
        # Between the count and the dump many rows come in: without the common snapshot the two would differ.
        folder = programs(pg_dump='sleep 0.5; exec "$REAL" "$@"')
        outcome = backup.make(options_of(filled), settings_for(tmp_path, bin_dir=str(folder)))
    finally:
        over.set()
        writer.join()
    assert failures == []
    assert outcome.backup is not None and outcome.backup.proof.equal
    with filled.connect() as connection:
        rows = connection.execute("SELECT count(*) FROM messages_2025_11").fetchall()
    assert rows[0][0] > outcome.backup.tables["public.messages_2025_11"].rows


def test_without_the_common_snapshot_a_writer_is_noticed(
    filled: Database, tmp_path: Path, createdb: None, programs: Scripts
) -> None:
    """The control of the test above: it could fail."""
    sql = tmp_path / "insert.sql"
    sql.write_text("INSERT INTO messages (company_id, phone, direction) VALUES (1, '70000000003', 'inbound')")
    psql = f"PGSERVICEFILE={filled.service_file} {filled.server.binaries.program('psql')} service={filled.service}"
    folder = programs(
        pg_dump=f'{psql} -q -f {sql} || exit 9\nfor w in "$@"; do shift;'
        ' case "$w" in --snapshot=*) ;; *) set -- "$@" "$w";; esac; done\nexec "$REAL" "$@"'
    )
    with pytest.raises(BackupRefused, match=r"public\.messages_\d+_\d+: 1 rows, the source has 0"):
        backup.make(options_of(filled), settings_for(tmp_path, bin_dir=str(folder)))
    assert left_in(tmp_path) == set()


def test_a_subset_holds_the_rows_that_it_needs_and_the_whole_structure(
    filled: Database, tmp_path: Path, createdb: None
) -> None:
    manifest = backup.make(
        options_of(filled), settings_for(tmp_path, tables=("reminders", "public.messages"))
    ).backup
    assert manifest is not None and manifest.proof.equal
    tables = {name for name in manifest.tables if "messages" not in name}
    # What reminders refers to, directly and through bookings.
    needed = ("reminders", "bookings", "clients", "services", "staff", "companies")
    assert tables == {f"public.{name}" for name in needed}
    assert len(manifest.tables) - len(tables) >= 6
    assert "table whatsapp_auth" in json.loads((manifest.folder / "catalog.json").read_text())["public"]
    with pytest.raises(BackupRefused, match="has no table nowhere"):
        backup.make(options_of(filled), settings_for(tmp_path, tables=("nowhere",)))
    with pytest.raises(BackupRefused, match="has no schema nowhere"):
        backup.make(options_of(filled), settings_for(tmp_path, schemas=("nowhere",)))


@pytest.mark.parametrize("scratch", ["local", "database"])
def test_odd_names_kinds_and_shapes_survive(
    database: Database, tmp_path: Path, createdb: None, scratch: str
) -> None:
    with database.connect() as owner:
        owner.execute(
            """
            CREATE SCHEMA "Odd schema";
            CREATE TYPE "Odd schema".mood AS ENUM ('sad', 'ok');
            CREATE TABLE "Odd schema"."Ta.b""le %s $1" ("a%s" int GENERATED ALWAYS AS IDENTITY, "select" text,
                m "Odd schema".mood, twice int GENERATED ALWAYS AS (length("select") * 2) STORED, b bytea, f float8);
            INSERT INTO "Odd schema"."Ta.b""le %s $1" ("select", m, b, f) VALUES (E'\\\\.\\n\\t', 'ok', '\\x00ff', 0.1);
            CREATE VIEW "Odd schema".v AS SELECT "select" FROM "Odd schema"."Ta.b""le %s $1";
            CREATE MATERIALIZED VIEW "Odd schema".mv AS SELECT count(*) FROM "Odd schema"."Ta.b""le %s $1";
            CREATE TABLE bare ();
            CREATE TABLE one (id int PRIMARY KEY, other int);
            CREATE TABLE two (id int PRIMARY KEY REFERENCES one, CHECK (id IN (1, 2)));
            ALTER TABLE one ADD FOREIGN KEY (other) REFERENCES two;
            INSERT INTO one VALUES (1, NULL); INSERT INTO two VALUES (1); UPDATE one SET other = 1;
            CREATE SEQUENCE down INCREMENT -1; SELECT nextval('down'), nextval('down');
            CREATE TABLE parent (word varchar CHECK (word IN ('a', 'b,''c'))); CREATE TABLE child () INHERITS (parent);
            INSERT INTO parent VALUES ('a'); INSERT INTO child VALUES ('b,''c');
            GRANT SELECT ON one TO auditor; GRANT EXECUTE ON FUNCTION cleanup_expired_whatsapp_keys TO auditor;
            ALTER TABLE one ENABLE ROW LEVEL SECURITY; CREATE POLICY seen ON one FOR SELECT TO auditor USING (id > 0);
            CREATE FUNCTION loud(t text) RETURNS text LANGUAGE plpgsql AS $x$
            BEGIN
            --
            -- Name: trap; Type: TABLE; Schema: public; Owner: nobody
            --
            -- unrestrict
            RETURN (ARRAY['a'::varchar])::text[]; END $x$;
            SELECT lo_from_bytea(0, 'large');
            """
        )
    outcome = backup.make(options_of(database), settings_for(tmp_path, scratch=scratch))
    assert outcome.backup is not None and outcome.backup.proof.equal
    assert outcome.backup.tables['Odd schema.Ta.b"le %s $1'].rows == 1
    assert outcome.backup.tables["public.parent"].rows == outcome.backup.tables["public.child"].rows == 1


@pytest.mark.parametrize("scratch", ["local", "database"])
def test_extensions_are_made_where_that_is_possible(
    database: Database, tmp_path: Path, createdb: None, scratch: str
) -> None:
    with database.connect_admin() as admin:
        available = admin.execute("SELECT name FROM pg_available_extensions").fetchall()
        if not {("pg_buffercache",), ("hstore",)} <= set(available):
            pytest.skip("this build of PostgreSQL has no contrib extensions")
        # Of a kind that the owner could not make again; and one that a table needs.
        admin.execute("CREATE SCHEMA monitoring; CREATE EXTENSION pg_buffercache SCHEMA monitoring")
    with database.connect() as owner:
        owner.execute("CREATE EXTENSION hstore; CREATE TABLE h (h hstore); INSERT INTO h VALUES ('a=>1')")
    outcome = backup.make(options_of(database), settings_for(tmp_path, scratch=scratch))
    assert outcome.backup is not None and outcome.backup.proof.equal
    assert outcome.backup.tables["public.h"].rows == 1
    assert outcome.backup.proof.extensions_missing == (("pg_buffercache",) if scratch == "database" else ())


def test_check_mode_writes_nothing(
    filled: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "backups"
    arguments = {"directory": str(directory), "bin_dir": bin_dir(), **filled.options}
    with traces.without_autovacuum(filled.server):
        left = traces.left_by(
            filled,
            lambda: run("pg_backup", capsys, check=True, **arguments),
        )
    assert left == set()
    assert not directory.exists()
    result = run("pg_backup", capsys, check=True, **arguments)
    assert result["changed"] is True
    assert result["backup"] == {}
    assert "would dump" in result["summary"] and "throw-away server" in result["summary"]


def test_an_unproven_backup_is_recorded_as_such_and_does_not_count(filled: Database, tmp_path: Path) -> None:
    settings = settings_for(tmp_path, scratch="none")
    outcome = backup.make(options_of(filled), settings)
    assert outcome.backup is not None and not outcome.backup.proof.equal
    with pytest.raises(BackupRefused, match="never proven"):
        backup.verify(options_of(filled), settings)


def test_a_good_backup_counts(
    proven: backup_manifest.Manifest, backed_up: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = {"directory": str(tmp_path / "backups"), "state": "verified", **backed_up.options}
    result = run("pg_backup", capsys, **arguments, max_age_minutes=5)
    assert result["changed"] is False
    assert result["backup"]["sha256"] == proven.dump.sha256
    assert run("pg_backup", capsys, **arguments, path=str(proven.path))["backup"] == result["backup"]


def _flip(manifest: backup_manifest.Manifest) -> None:
    with manifest.path.open("r+b") as file:
        file.seek(manifest.dump.bytes // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


def _cut(manifest: backup_manifest.Manifest) -> None:
    os.truncate(manifest.path, manifest.dump.bytes * 6 // 10)


def _age(manifest: backup_manifest.Manifest) -> None:
    _change(manifest, snapshot_at="2025-01-01T00:00:00+00:00")


def _move_on(manifest: backup_manifest.Manifest) -> None:
    _change(manifest, identity={**dataclasses.asdict(manifest.identity), "system_identifier": "1"})


def _change(manifest: backup_manifest.Manifest, **values: object) -> None:
    path = manifest.folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_flip, "SHA-256 is not the recorded one"),
        (_cut, "bytes, recorded are"),
        (_age, r"minutes old, allowed are 60"),
        (_move_on, "it is of another database"),
        (lambda manifest: manifest.path.unlink(), "cannot be read: No such file"),
        (lambda manifest: (manifest.folder / "manifest.json").write_text("{"), "cannot be read"),
        (
            lambda manifest: _change(manifest, dump={"name": "/etc/passwd", "bytes": 1, "sha256": ""}),
            "it names",
        ),
        (lambda manifest: _change(manifest, selected_tables=["public.clients"]), "another selection"),
        (lambda manifest: shutil.rmtree(manifest.folder), "there is none"),
    ],
)
def test_a_backup_that_is_not_good_does_not_count(
    proven: backup_manifest.Manifest,
    backed_up: Database,
    tmp_path: Path,
    spoil: Callable[[backup_manifest.Manifest], object],
    reason: str,
) -> None:
    spoil(proven)
    with pytest.raises(BackupRefused, match=reason):
        backup.verify(options_of(backed_up), settings_for(tmp_path, max_age_minutes=60))


def test_a_backup_of_another_database_of_the_same_server_does_not_count(
    proven: backup_manifest.Manifest, database: Database, tmp_path: Path
) -> None:
    with pytest.raises(BackupRefused, match="it is of another database"):
        backup.verify(options_of(database), settings_for(tmp_path))


def test_old_backups_go_and_foreign_files_stay(filled: Database, tmp_path: Path, createdb: None) -> None:
    settings = settings_for(tmp_path, keep_count=1, schemas=("rollout",))
    made = [backup.make(options_of(filled), settings).backup for _ in range(2)]
    first, *kept = [manifest.folder.name for manifest in made if manifest is not None]
    assert left_in(tmp_path) == set(kept)
    # A folder into which somebody put something is not ours to remove, and neither is a file that no record names.
    (tmp_path / "backups" / kept[0] / "note.txt").write_text("keep")
    (tmp_path / "backups" / "somebodys.dump").write_text("keep")
    outcome = backup.make(options_of(filled), settings)
    assert outcome.removed == ()
    assert left_in(tmp_path) >= {*kept, "somebodys.dump"}
    assert first not in left_in(tmp_path)


def test_a_folder_that_others_may_enter_is_refused(filled: Database, tmp_path: Path) -> None:
    (tmp_path / "backups").mkdir(mode=0o755)
    with pytest.raises(BackupRefused, match="mode 0755; backups hold personal data"):
        backup.make(options_of(filled), settings_for(tmp_path))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"label": "../elsewhere"}, "label '../elsewhere' must be of small letters"),
        ({"scratch": "database"}, "the role may not create databases"),
        ({"bin_dir": "/nowhere", "scratch": "none"}, "/nowhere lacks pg_dump, pg_restore"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_dumped(
    filled: Database, tmp_path: Path, settings: dict[str, object], reason: str
) -> None:
    with pytest.raises(BackupRefused, match=reason):
        backup.make(options_of(filled), settings_for(tmp_path, **settings))
    assert left_in(tmp_path) == set()


def test_a_relative_folder_is_refused(filled: Database) -> None:
    with pytest.raises(BackupRefused, match="'backups' is not an absolute path"):
        backup.make(options_of(filled), backup.BackupSettings(directory="backups"))


def test_nobody_else_reaches_the_throw_away_server(backed_up: Database, tmp_path: Path) -> None:
    """It holds a copy of everything for a while: no port, a folder and a socket of its own, and a password."""
    with Session(options_of(backed_up), "test", read_only=True) as session:
        backup_contents.begin(session)
        contents = backup_contents.read(session, backup_contents.outline(session))
        major = session.server_version // 10_000
    found = backup_programs.find_programs(bin_dir(), major, with_server=True)
    with backup_scratch.local_server(tmp_path, found, contents) as scratch:
        sockets = Path(str(scratch.options.host))
        assert mode(sockets) == "0700"
        assert {mode(entry) for entry in sockets.iterdir() if entry.is_socket()} == {"0700"}
        assert [mode(folder) for folder in tmp_path.glob(".scratch-*")] == ["0700"]
        with Session(scratch.options, "test") as session:
            trusting = "SELECT count(*) FROM pg_hba_file_rules WHERE auth_method <> 'scram-sha-256'"
            answers = session.run(["SHOW listen_addresses", trusting])
            assert answers == [[("",)], [(0,)]]
        with pytest.raises(ConnectionFailed, match="password"):
            Session(dataclasses.replace(scratch.options, password="guessed"), "test")
    assert not sockets.exists() and list(tmp_path.glob(".scratch-*")) == []
