"""The precheck on a real database and a real host: healthy, and with one real fault at a time.

Each fault has to turn its own item red and no other one. What is asked by the whole playbook only (the inventory,
Ansible's configuration, an unreachable host …) is in test_precheck_role.py.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from ansible.module_utils.rollout import (
    pm2_daemon,
    precheck,
    precheck_database_reading,
    precheck_host_reading,
    precheck_partitions_reading,
)
from ansible.module_utils.rollout.findings import Finding
from ansible.module_utils.rollout.options import ConnectionOptions
from ansible.module_utils.rollout.pm2_services import Process
from ansible.module_utils.rollout.precheck_demands import Demands, FlagDemand, Job, Known
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sandbox.account import choose_account
from sandbox.binaries import program_environment
from sandbox.certificates import ensure_certificates
from sandbox.credentials import ADMIN, OWNER
from sandbox.databases import TEMPLATE, Database, ensure_database
from sandbox.roles import ensure_roles
from sandbox.server import PostgresServer, random_name
from tests import traces
from tests.integration.test_precheck_role import RED_IN_A_RUN
from tests.partitioned import Maintenance, make_events
from tests.pgbouncer import pgbouncer
from tests.waiting import until

PROTECTED = ("whatsapp_auth", "whatsapp_keys")
NOW = datetime(2025, 11, 9, 18, 30, tzinfo=UTC).timestamp()
FLAG = "USE_LEGACY_SUPABASE"
#: In most worlds it is not there yet.
MAINTAINED = {
    "schema": "public", "table": "events", "unit": "month", "zone": "UTC", "first": "", "ahead": 2, "alarm": 2,
    "retention": 0,
}  # fmt: skip


@dataclass(frozen=True)
class World:
    """What is asked, and what is demanded: everything is healthy until a fault replaces a part of it.

    :ivar options: libpq keywords
    :ivar unlimited: thresholds of 0 would count the tests' own sessions of a moment ago
    """

    database: Database
    folder: Path
    options: dict[str, Any]
    questions: precheck_database_reading.Questions
    host: precheck_host_reading.Questions
    demands: Demands
    control: dict[str, Any] = field(default_factory=dict)
    maintained: dict[str, Any] = field(default_factory=lambda: MAINTAINED)

    def asked(self, **changes: Any) -> "World":
        return replace(self, host=replace(self.host, **changes))

    def demanding(self, **changes: Any) -> "World":
        return replace(self, demands=replace(self.demands, **changes))

    def connecting(self, **changes: Any) -> "World":
        options = {**self.options, **changes}
        return replace(
            self,
            options=options,
            host=replace(self.host, sslrootcert=options.get("sslrootcert", self.host.sslrootcert)),
            demands=replace(self.demands, configured_sslmode=options["sslmode"]),
        )

    def findings(self) -> dict[str, Finding]:
        """Ask and judge."""
        options = ConnectionOptions(**self.options)
        database = precheck_database_reading.read(options, "rollout test", self.questions)
        if database["asked"]:
            database["partitions"] = precheck_partitions_reading.read(
                options, "rollout test", self.questions.ledger, [self.maintained], 3
            )
        known = Known(
            control={
                "now": NOW,
                "inventory": {"checked": 1, "missing": {}},
                "ansible_cfg": {"wanted": "/x/ansible.cfg", "used": "/x/ansible.cfg", "settings": {}},
                "migrations": {"folder": "/x", "found": [], "error": "", "hint": ""},
                **self.control,
            },
            host={
                "reach": {"error": ""},
                "python": {
                    "path": sys.executable,
                    "version": "3.11",
                    "error": "",
                    "is_environment": True,
                    "can_make_environment": True,
                },
                "runtime": {"folder": sys.prefix, "wanted": ["psycopg==3"], "missing": []},
                **precheck_host_reading.read(self.host),
            },
            database=database,
            application={
                "services": {"healthy": True, "daemon": {"home": "/x"}},
                "whatsapp": {"verdict": "connected", "reason": "all answers say so", "store": {}},
            },
        )
        return {one.id: one for one in precheck.judge(known, self.demands, {}, {})}


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Nobody", "-c", "user.email=nobody@example.invalid"]
    return subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def checkout(folder: Path) -> str:
    """Make a checkout with one file; returns its commit."""
    folder.mkdir()
    git(folder, "init", "--quiet")
    (folder / "index.mjs").write_text("console.log('hello')\n")
    git(folder, "add", "index.mjs")
    git(folder, "commit", "--quiet", "--message", "Begin")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def world(database: Database, tmp_path: Path) -> World:
    """A healthy world: the control of every fault."""
    return healthy(database, tmp_path)


def healthy(database: Database, tmp_path: Path) -> World:
    commit = checkout(tmp_path / "application")
    (tmp_path / "application.env").write_text(f"# settings\nOTHER=1\n{FLAG}=false\n")
    options = database.options
    authority = database.server.ca_certificate
    if not authority.exists():  # this build of PostgreSQL has no TLS
        authority = tmp_path / "authority.pem"
        write_authority(authority, datetime.fromtimestamp(NOW, UTC) + timedelta(days=300))
    return World(
        database=database,
        folder=tmp_path,
        options=options,
        questions=precheck_database_reading.Questions("public", "rollout", "", PROTECTED),
        host=precheck_host_reading.Questions(
            disk_paths=[str(tmp_path)],
            backup_dir=str(tmp_path / "not/made/yet"),
            checkout=str(tmp_path / "application"),
            tools=Demands.tools,
            bin_dir=str(database.server.binaries.bindir),
            sslrootcert=str(authority),
            flags=[precheck_host_reading.Flag(FLAG, str(tmp_path / "application.env"))],
        ),
        demands=Demands(
            disk_free_mb=1,
            backup_free_mb=1,
            backup_dir=str(tmp_path),
            commit=commit[:12],
            flags=[FlagDemand(FLAG, "false")],
            jobs=[Job("nightly backup", "03:00", 30)],
            protected=PROTECTED,
            configured_sslmode=options["sslmode"],
            sslmode=options["sslmode"],
            time_zone="UTC",
            # A busy machine may take its time between two steps of a test.
            long_transaction_s=3600,
            idle_in_transaction_s=3600,
            services=["api"],
        ),
    )


def run_as_admin(database: Database, *statements: str) -> None:
    """In a session that is over afterwards: a superuser's session is one that gen_user may not look into."""
    with database.connect_admin() as admin:
        for statement in statements:
            admin.execute(statement.encode())


# --- faults of the host ----------------------------------------------------------------------------------------------


@contextmanager
def full_disk(folder: Path) -> Iterator[Path]:
    """A small file system without room; where none may be mounted, one that never has any."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        yield Path("/proc")
        return
    try:
        with pytest.raises(OSError, match="No space left"), (folder / "full").open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def no_room(world: World) -> Iterator[World]:
    with full_disk(world.folder / "disk") as full:
        yield world.asked(disk_paths=[str(world.folder), str(full)])


@contextmanager
def no_room_for_a_backup(world: World) -> Iterator[World]:
    with full_disk(world.folder / "disk") as full:
        yield world.asked(backup_dir=str(full / "backups"))


@contextmanager
def another_commit(world: World) -> Iterator[World]:
    git(world.folder / "application", "commit", "--quiet", "--allow-empty", "--message", "Go on")
    yield world


@contextmanager
def changed_by_hand(world: World) -> Iterator[World]:
    (world.folder / "application/index.mjs").write_text("console.log('hotfix')\n")
    (world.folder / "application/untracked.log").write_text("noise\n")
    yield world


@contextmanager
def old_client(world: World) -> Iterator[World]:
    folder = world.folder / "bin"
    folder.mkdir()
    bindir = world.database.server.binaries.bindir
    for name in ("pg_restore", "psql"):
        (folder / name).symlink_to(bindir / name)
    (folder / "pg_dump").write_text('#!/bin/sh\necho "pg_dump (PostgreSQL) 13.14 (Debian 13.14-1)"\n')
    (folder / "pg_dump").chmod(0o755)
    yield world.asked(bin_dir=str(folder))


@contextmanager
def nowhere_to_restore(world: World) -> Iterator[World]:
    """A host with client programs alone, and a login without CREATEDB."""
    folder = world.folder / "clients"
    folder.mkdir()
    for name in ("pg_dump", "pg_restore", "psql"):
        (folder / name).symlink_to(world.database.server.binaries.bindir / name)
    git_program = shutil.which("git")
    assert git_program
    (folder / "git").symlink_to(git_program)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(precheck_host_reading, "SERVER_FOLDERS", ())
        patched.setenv("PATH", str(folder))
        yield world.asked(bin_dir=str(folder))


@contextmanager
def no_authority(world: World) -> Iterator[World]:
    yield world.connecting(sslmode="verify-full", sslrootcert=str(world.folder / "missing.pem"))


@contextmanager
def flag_of_the_process(world: World) -> Iterator[World]:
    """The file says one thing, the process was started with another."""
    running = subprocess.Popen(["sleep", "600"], env={FLAG: "true", "SECRET": "hunter2"})
    process = Process(
        name="api", pm_id="0", pid=running.pid, status="online", restarts=0, started_ms=0, created_ms=0, memory=0,
        cpu=0, instances=1, cluster=False, autorestart=True, cron=False, is_module=False, script="", logs={},
    )  # fmt: skip
    try:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(pm2_daemon, "read", lambda home: (None, [process]))
            flag = precheck_host_reading.Flag(FLAG, str(world.folder / "application.env"), "api")
            yield world.asked(flags=[flag], pm2_home="/x")
    finally:
        running.kill()
        running.wait()


@contextmanager
def job_is_due(world: World) -> Iterator[World]:
    yield world.demanding(jobs=[Job("nightly backup", "19:00", 30)])


# --- faults of the connection ----------------------------------------------------------------------------------------


@contextmanager
def without_encryption(world: World) -> Iterator[World]:
    yield replace(
        world.connecting(sslmode="disable"), demands=replace(world.demands, configured_sslmode="disable")
    )


@contextmanager
def transactions_pooled(world: World) -> Iterator[World]:
    with pgbouncer(world.database, "transaction") as port:
        yield world.connecting(port=port, sslmode="disable").demanding(sslmode="disable")


@contextmanager
def nothing_listens(world: World) -> Iterator[World]:
    yield world.connecting(port=1)


@contextmanager
def limited_login(world: World) -> Iterator[World]:
    """A login that may have one session; the second one is refused as it is on a server that is full."""
    name = random_name("limited")
    run_as_admin(
        world.database,
        f"CREATE ROLE {name} LOGIN PASSWORD 'invented' CONNECTION LIMIT 1 IN ROLE gen_user",
        f"ALTER ROLE {name} SET role = gen_user",
    )
    try:
        yield world.connecting(user=name, password="invented")
    finally:
        run_as_admin(world.database, f"DROP ROLE {name}")


# --- faults of the database ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Servers:
    """A server of few connections that knows prepared transactions, and its standby."""

    small: PostgresServer
    standby: PostgresServer

    @contextmanager
    def database(self, world: World, server: PostgresServer) -> Iterator[World]:
        options = server.options(OWNER, TEMPLATE)
        tls = {name: options[name] for name in ("sslmode", "sslrootcert") if name in options}
        yield world.connecting(port=server.port, dbname=TEMPLATE, password=options["password"], **tls)


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    home = Path(tempfile.mkdtemp(prefix="rollout-precheck-"))
    home.chmod(0o755)
    small, standby = (PostgresServer(home / name, durable=False) for name in ("small", "standby"))
    try:
        small.start()
        ensure_roles(small)
        ensure_database(small, TEMPLATE)
        with small.connect() as admin:
            admin.execute("ALTER SYSTEM SET max_connections = 8")
            admin.execute("ALTER SYSTEM SET max_wal_senders = 2")
            # The tests' servers do not wait for their disk; one that does not, waits for no standby either.
            admin.execute("ALTER SYSTEM SET synchronous_commit = on")
            admin.execute("ALTER SYSTEM SET max_prepared_transactions = 2")
        small.stop()
        small.start()
        copy(small, standby)
        standby.start()
        yield Servers(small, standby)
    finally:
        standby.stop()
        small.stop()
        shutil.rmtree(home)


def copy(primary: PostgresServer, standby: PostgresServer) -> None:
    """A base backup of a running server, which follows it."""
    access = primary.data / "pg_hba.conf"
    with access.open("a") as file:
        file.write("host replication all 127.0.0.1/32 scram-sha-256\n")
    with primary.connect() as admin:
        admin.execute("SELECT pg_reload_conf()")
    account = choose_account(primary.binaries.program("postgres"), primary.data)
    standby.home.mkdir()
    account.own(standby.home)
    shutil.copy(primary.passfile, standby.passfile)
    options = primary.public_options(ADMIN, "postgres")
    subprocess.run(
        [
            *account.prefix,
            primary.binaries.program("pg_basebackup"),
            *("--dbname", f"host=127.0.0.1 port={options['port']} user={ADMIN} passfile={standby.passfile}"),
            *(
                "--pgdata",
                str(standby.data),
                "--wal-method=stream",
                "--write-recovery-conf",
                "--checkpoint=fast",
            ),
        ],
        cwd=standby.home,
        env=program_environment(),
        check=True,
        capture_output=True,
    )


@contextmanager
def fenced_off(world: World) -> Iterator[World]:
    run_as_admin(
        world.database, f"ALTER DATABASE {world.database.name} SET default_transaction_read_only = on"
    )
    yield world


@contextmanager
def another_encoding(world: World) -> Iterator[World]:
    database = Database(world.database.server, random_name("test"), world.folder / "ascii.conf")
    with database.server.connect() as admin:
        admin.execute(
            f"CREATE DATABASE {database.name} OWNER gen_user TEMPLATE template0 ENCODING 'SQL_ASCII'"
            " LC_COLLATE 'C' LC_CTYPE 'C'".encode()
        )
    try:
        with database.connect() as owner:
            owner.execute("CREATE TABLE whatsapp_auth (id integer); CREATE TABLE whatsapp_keys (id integer)")
        yield world.connecting(dbname=database.name)
    finally:
        database.drop()


@contextmanager
def not_the_owner(world: World) -> Iterator[World]:
    run_as_admin(world.database, f"ALTER DATABASE {world.database.name} OWNER TO postgres")
    yield world


@contextmanager
def recorded_table_of_another(world: World) -> Iterator[World]:
    """What the ledger's rows say is taken from a migration; two tables of that shape are enough here."""
    with world.database.connect() as owner:
        owner.execute(
            "CREATE SCHEMA rollout; CREATE TABLE rollout.migration (seq bigint, target_schema text,"
            " rolled_back_at timestamptz); CREATE TABLE rollout.change (seq bigint, object text);"
            "INSERT INTO rollout.migration VALUES (1, 'public'); INSERT INTO rollout.change VALUES"
            " (1, 'table companies'), (1, 'table clients'); CREATE TABLE companies (id integer);"
            "CREATE TABLE clients (id integer)"
        )
    run_as_admin(world.database, "ALTER TABLE companies OWNER TO postgres")
    yield world


@contextmanager
def short_timeout(world: World) -> Iterator[World]:
    run_as_admin(world.database, f"ALTER DATABASE {world.database.name} SET idle_session_timeout = '30s'")
    yield world


@contextmanager
def another_zone(world: World) -> Iterator[World]:
    run_as_admin(world.database, f"ALTER DATABASE {world.database.name} SET timezone = 'Europe/Moscow'")
    yield world


@contextmanager
def idle_in_transaction(world: World) -> Iterator[World]:
    with world.database.connect(autocommit=False, application_name="forgetful") as session:
        session.execute("SELECT 1")
        yield world.demanding(idle_in_transaction_s=0)


@contextmanager
def long_transaction(world: World) -> Iterator[World]:
    session = world.database.connect(application_name="statistics")
    send(session, b"SELECT pg_sleep(600)")
    until_active(world.database, session)
    yield world.demanding(long_transaction_s=0)
    session.close()


def send(session: psycopg.Connection, query: bytes) -> None:
    """Without waiting for an answer; the session is of no more use and has to be closed."""
    session.pgconn.send_query(query)
    session.pgconn.flush()


def until_active(database: Database, session: psycopg.Connection) -> None:
    question = "SELECT state = 'active' FROM pg_stat_activity WHERE pid = %s"
    with database.connect() as witness:
        until(
            lambda: witness.execute(question, [session.info.backend_pid]).fetchone() == (True,), "not active"
        )


@contextmanager
def dump_is_running(world: World) -> Iterator[World]:
    """A real pg_dump that waits for a table that somebody has locked."""
    database = world.database
    with database.connect() as owner:
        owner.execute("CREATE TABLE busy (id integer)")
    with database.connect(autocommit=False) as holder:
        holder.execute("LOCK TABLE busy IN ACCESS EXCLUSIVE MODE")
        dump = subprocess.Popen(
            [database.server.binaries.program("pg_dump"), "--dbname", f"service={database.service}"],
            env={**program_environment(), "PGSERVICEFILE": str(database.service_file)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            question = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'busy'::regclass"
            with database.connect() as witness:
                until(lambda: witness.execute(question).fetchone() == (1,), "pg_dump does not wait")
            yield world
        finally:
            dump.kill()
            dump.wait()


@contextmanager
def vacuum_is_due(world: World) -> Iterator[World]:
    """The smallest age that PostgreSQL takes, and as many transactions: each block with a handler is one."""
    with traces.without_autovacuum(world.database.server), world.database.connect() as owner:
        owner.execute("CREATE TABLE old (id integer) WITH (autovacuum_freeze_max_age = 100000)")
        owner.execute("CREATE TEMP TABLE burnt (id integer)")
        owner.execute(
            "DO $$ BEGIN FOR i IN 1..100001 LOOP BEGIN INSERT INTO burnt VALUES (i); EXCEPTION WHEN division_by_zero"
            " THEN NULL; END; END LOOP; END $$"
        )
        owner.close()
        yield world


@contextmanager
def table_is_missing(world: World) -> Iterator[World]:
    yield replace(world, questions=replace(world.questions, protected=(*PROTECTED, "whatsap_keys")))


@contextmanager
def table_is_locked(world: World) -> Iterator[World]:
    with world.database.connect(autocommit=False, application_name="mending") as holder:
        holder.execute("LOCK TABLE whatsapp_keys IN SHARE MODE")
        yield world


@contextmanager
def invalid_index(world: World) -> Iterator[World]:
    with world.database.connect() as owner:
        owner.execute("CREATE TABLE twice (id integer)")
        owner.execute("INSERT INTO twice VALUES (1), (1)")
        with pytest.raises(psycopg.errors.UniqueViolation):
            owner.execute("CREATE UNIQUE INDEX CONCURRENTLY only_once ON twice (id)")
    yield world


@contextmanager
def event_trigger(world: World) -> Iterator[World]:
    run_as_admin(
        world.database,
        "CREATE FUNCTION audit() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$",
        "CREATE EVENT TRIGGER audit ON ddl_command_end EXECUTE FUNCTION audit()",
    )
    yield world


@contextmanager
def publication(world: World) -> Iterator[World]:
    with world.database.connect_admin() as admin:
        # It warns that wal_level is not logical; the publication is there all the same.
        admin.execute("CREATE PUBLICATION everything FOR ALL TABLES")
    yield world


@contextmanager
def too_little_ahead(world: World) -> Iterator[World]:
    with world.database.connect() as owner:
        make_events(owner)
        Maintenance(world.database, today=None).run(first=None, ahead=1)
    yield world


@contextmanager
def standby(world: World, servers: Servers) -> Iterator[World]:
    with servers.database(world, servers.standby) as other:
        yield other


@contextmanager
def too_few_connections(world: World, servers: Servers) -> Iterator[World]:
    """Eight, three of them reserved, one of ours: five more are not to be had."""
    with servers.database(world, servers.small) as other, servers.small.connect(OWNER, TEMPLATE):
        yield other


@contextmanager
def standby_is_gone(world: World, servers: Servers) -> Iterator[World]:
    """COMMIT is to wait for a standby of a name that nobody has."""
    servers.standby.stop()
    with servers.small.connect() as admin:
        gone = "SELECT count(*) = 0 FROM pg_stat_replication"
        until(lambda: admin.execute(gone).fetchone() == (True,), "the standby's session stays")
    try:
        set_of_small(servers, "synchronous_standby_names", "nobody")
        with servers.database(world, servers.small) as other:
            yield other.demanding(connections_needed=1)
    finally:
        set_of_small(servers, "synchronous_standby_names", "")
        servers.standby.start()


def set_of_small(servers: Servers, name: str, value: str) -> None:
    with servers.small.connect() as admin:
        admin.execute(f"ALTER SYSTEM SET {name} = '{value}'".encode())
        admin.execute("SELECT pg_reload_conf()")

    def arrived() -> bool:
        with servers.small.connect(OWNER, TEMPLATE) as witness:
            return witness.execute(f"SHOW {name}".encode()).fetchone() == (value,)

    until(arrived, f"{name} is not {value!r}")


@contextmanager
def prepared_transaction(world: World, servers: Servers) -> Iterator[World]:
    with servers.small.connect(OWNER, TEMPLATE) as owner:
        owner.execute("BEGIN; CREATE TABLE half (id integer); PREPARE TRANSACTION 'forgotten'")
    try:
        with servers.database(world, servers.small) as other:
            yield other.demanding(connections_needed=1)
    finally:
        with servers.small.connect(OWNER, TEMPLATE) as owner:
            owner.execute("ROLLBACK PREPARED 'forgotten'")


Fault = Callable[[World], AbstractContextManager[World]]
FaultOfServers = Callable[[World, Servers], AbstractContextManager[World]]

#: Item: a real fault that turns it red.
FAULTS: dict[str, Fault] = {
    "tls_ca": no_authority,
    "tls": without_encryption,
    "pooler": transactions_pooled,
    "database": nothing_listens,
    "writable": fenced_off,
    "encoding": another_encoding,
    "rights": not_the_owner,
    "ownership": recorded_table_of_another,
    "disk": no_room,
    "backup_disk": no_room_for_a_backup,
    "client_tools": old_client,
    "backup_target": nowhere_to_restore,
    "protected_tables": table_is_missing,
    "protected_locks": table_is_locked,
    "idle_in_transaction": idle_in_transaction,
    "long_transactions": long_transaction,
    "running_dump": dump_is_running,
    "wraparound": vacuum_is_due,
    "invalid_indexes": invalid_index,
    "checkout_commit": another_commit,
    "checkout_clean": changed_by_hand,
    "flags": flag_of_the_process,
    "session_timeouts": short_timeout,
    "time_zone": another_zone,
    "event_triggers": event_trigger,
    "publications": publication,
    "partitions": too_little_ahead,
    "other_jobs": job_is_due,
}
FAULTS_OF_SERVERS: dict[str, FaultOfServers] = {
    "primary": standby,
    "connections": too_few_connections,
    "prepared_transactions": prepared_transaction,
    "synchronous_standby": standby_is_gone,
}
#: Items that only warn.
WARNS = {"event_triggers", "publications", "other_jobs"}
#: Words that the finding has to have.
NAMES = {
    "tls_ca": "missing.pem",
    "tls": "not encrypted",
    "database": "127.0.0.1",
    "rights": "may not create in schema public",
    "ownership": "companies belongs to postgres",
    "client_tools": "13.14",
    "backup_target": "the login may not create databases; no server programs on the host",
    "protected_tables": "whatsap_keys",
    "protected_locks": "mending, idle in transaction, transaction open for",
    "idle_in_transaction": "forgetful, idle in transaction",
    "long_transactions": "statistics, active",
    "running_dump": "pg_dump, active",
    "wraparound": "public.old is 10000",
    "invalid_indexes": "only_once on twice",
    "checkout_clean": "M index.mjs",
    "flags": "true when process",
    "session_timeouts": "idle_session_timeout 30 s",
    "time_zone": "Europe/Moscow",
    "event_triggers": "audit on ddl_command_end",
    "publications": "everything FOR ALL TABLES",
    "partitions": "1 whole periods (month) ahead, fewer than 2",
    "other_jobs": "nightly backup at 19:00",
    "primary": "a standby",
    "connections": "max_connections 8, 3 of them reserved",
    "prepared_transactions": "forgotten of gen_user",
    "synchronous_standby": "synchronous_standby_names is nobody, and none of them is connected",
}
#: Nothing of that kind can be had: no server older than 14 is installed anywhere. tests/unit/test_precheck.py has it.
NOT_REAL = {"server_version"}
#: Judged by modules that have tests of their own; test_precheck_application.py.
OF_MODULES = {"services", "whatsapp"}


def test_a_healthy_world_is_green(world: World) -> None:
    """The control of every fault below."""
    assert {
        one.id: (one.status, one.observed) for one in world.findings().values() if one.status != "passed"
    } == {}


def test_a_healthy_small_server_is_green(world: World, servers: Servers) -> None:
    with servers.database(world, servers.small) as other:
        found = other.demanding(connections_needed=1).findings().values()
    assert {one.id: (one.status, one.observed) for one in found if one.status != "passed"} == {}


def require_tls(database: Database) -> None:
    if not database.server.has_tls:
        pytest.skip("this build of PostgreSQL has no TLS")


def assert_red_alone(found: dict[str, Finding], item: str, words: str) -> None:
    bad = {
        one.id: (one.status, one.observed) for one in found.values() if one.status in ("failed", "warning")
    }
    assert list(bad) == [item], bad
    assert found[item].status == ("warning" if item in WARNS else "failed")
    assert words in found[item].observed
    assert found[item].hint
    if found["database"].status == "passed":
        # A pooler may refuse sessions like those of maintenance.
        refused = {"partitions"} if item == "pooler" else set()
        assert {one.id for one in found.values() if one.status == "not_tested"} <= refused


@pytest.mark.parametrize("item", FAULTS)
def test_a_fault_turns_its_own_item_red(world: World, item: str) -> None:
    if item in ("tls_ca", "tls"):
        require_tls(world.database)
    with FAULTS[item](world) as broken:
        assert_red_alone(broken.findings(), item, NAMES.get(item, ""))


@pytest.mark.parametrize("item", FAULTS_OF_SERVERS)
def test_a_fault_of_a_server_turns_its_own_item_red(world: World, servers: Servers, item: str) -> None:
    with FAULTS_OF_SERVERS[item](world, servers) as broken:
        assert_red_alone(broken.findings(), item, NAMES.get(item, ""))


def test_every_item_has_a_real_fault() -> None:
    real = [*FAULTS, *FAULTS_OF_SERVERS, *OF_MODULES, *NOT_REAL, *RED_IN_A_RUN]
    assert sorted(real) == sorted(item.id for item in precheck.ITEMS)


# --- more of the same item -------------------------------------------------------------------------------------------


def test_a_certificate_of_another_authority_is_refused(world: World) -> None:
    require_tls(world.database)
    other = world.folder / "other.crt"
    ensure_certificates(other, world.folder / "server.crt", world.folder / "server.key")
    found = world.connecting(sslrootcert=str(other)).findings()
    assert_red_alone(found, "tls", "certificate")
    assert found["database"].status == "not_tested"


def test_a_server_without_tls_is_not_connected_to_with_less(world: World) -> None:
    world = world.demanding(sslmode="verify-full")
    authority = world.host.sslrootcert
    with pgbouncer(world.database, "session") as port:
        found = world.connecting(port=port, sslmode="verify-full", sslrootcert=authority).findings()
        assert_red_alone(found, "tls", "SSL")
        # A lesser mode is refused as well, although it connects.
        found = world.connecting(port=port, sslmode="prefer").findings()
    assert found["tls"].status == "failed"
    assert "sslmode is prefer, the connection is not encrypted" in found["tls"].observed


def test_a_mistyped_sslmode_is_told_as_such(world: World) -> None:
    assert_red_alone(world.connecting(sslmode="verify_full").findings(), "tls", "'verify_full' is no sslmode")


@pytest.mark.parametrize(
    ("mode", "ignored", "words"),
    [
        ("statement", "extra_float_digits,options", "were served by backends"),
        ("session", "extra_float_digits,options", "a setting that a session brought was lost"),
        ("session", "extra_float_digits", "unsupported startup parameter"),
    ],
)
def test_other_ways_of_pooling_are_refused(world: World, mode: str, ignored: str, words: str) -> None:
    with pgbouncer(world.database, mode, ignored) as port:
        found = world.connecting(port=port, sslmode="disable").demanding(sslmode="disable").findings()
    assert_red_alone(found, "pooler", words)


def test_a_wrong_password_is_told_without_it(world: World) -> None:
    found = world.connecting(password="not the 'pass}word").findings()
    assert_red_alone(found, "database", "failed")
    assert "pg_password" in found["database"].hint
    assert "pass}word" not in str(found)


def test_a_login_that_may_have_one_session_is_one_connection_short(world: World) -> None:
    with limited_login(world) as broken:
        found = broken.findings()
    assert found["connections"].status == "failed"
    assert "too many connections" in found["connections"].observed
    assert (found["pooler"].status, found["database"].status) == ("not_tested", "passed")


def test_full_pools_of_the_application_are_a_warning(world: World) -> None:
    found = world.demanding(application_connections=7 * 20).findings()
    assert found["connections"].status == "warning"
    assert "the application may open 140" in found["connections"].observed


def test_a_login_that_may_only_read_gets_answers(world: World) -> None:
    """No right is missing for asking; what it may not do is red, and what it may not see is not called good."""
    options = world.database.readonly_options
    with world.database.connect():
        found = world.connecting(user=options["user"], password=options["password"]).findings()
    red = {one.id for one in found.values() if one.status == "failed"}
    assert red == {"rights", "writable"}
    looking = world.connecting(user=options["user"], password=options["password"]).demanding(writes=False)
    assert {one.id for one in looking.findings().values() if one.status == "warning"} == red
    unseen = {one.id for one in found.values() if one.status == "not_tested"}
    assert unseen == {"idle_in_transaction", "long_transactions", "running_dump"}
    assert 'GRANT pg_read_all_stats TO "auditor"' in found["long_transactions"].hint


def test_a_ledger_that_may_not_be_read_is_red_and_never_called_ours(world: World) -> None:
    run_as_admin(
        world.database,
        "CREATE SCHEMA rollout; CREATE TABLE rollout.migration (id integer); CREATE TABLE rollout.change (id integer)",
    )
    found = world.findings()
    assert found["rights"].status == "failed"
    assert "may not read and write the ledger" in found["rights"].observed
    assert found["ownership"].status == "not_tested"


def test_a_maintained_table_is_green_until_nobody_maintains_it(world: World) -> None:
    with world.database.connect() as owner:
        make_events(owner)
        assert "covers until" not in world.findings()["partitions"].observed
        Maintenance(world.database, today=None).run(first=None, ahead=2)
        found = world.findings()["partitions"]
        assert (found.status, found.observed[:44]) == (
            "passed",
            "public.events: last maintenance 0 days ago (",
        )
        owner.execute("UPDATE rollout.maintenance SET ended_at = now() - interval '4 days'")
        found = world.findings()["partitions"]
        assert found.status == "warning"
        assert "was 4 days ago" in found.observed
        owner.execute("DELETE FROM rollout.maintenance")
        assert "no maintenance of public.events was ever recorded" in world.findings()["partitions"].observed
        owner.execute("DROP TABLE public.events; CREATE TABLE public.events (at timestamptz)")
        assert "is not partitioned by RANGE" in world.findings()["partitions"].observed


def test_a_detach_by_retention_needs_the_right_to_delete(finished: Database, tmp_path: Path) -> None:
    """A ledger that another login made, with what the hint of an earlier release granted."""
    Maintenance(finished, today=None).run(table="messages", first=None)
    run_as_admin(
        finished,
        "ALTER TABLE rollout.change OWNER TO postgres",
        "GRANT SELECT, INSERT, UPDATE ON rollout.change TO gen_user",
    )
    world = healthy(finished, tmp_path)
    assert world.findings()["rights"].status == "passed"
    found = world.demanding(detaches=True).findings()
    assert_red_alone(found, "rights", "may not delete from rollout.change")
    assert 'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA "rollout"' in found["rights"].hint


def test_what_a_rollout_recorded_is_looked_up_in_its_ledger(finished: Database, tmp_path: Path) -> None:
    world = healthy(finished, tmp_path)
    found = world.findings()
    assert {one.id: one.observed for one in found.values() if one.status != "passed"} == {}
    assert "companies" in {row["table"] for row in found["ownership"].evidence["tables"]}
    run_as_admin(finished, "ALTER TABLE messages_2025_11 OWNER TO postgres")
    assert_red_alone(world.findings(), "ownership", "messages_2025_11 belongs to postgres")


def test_somebody_who_waits_for_a_protected_table_is_told(world: World) -> None:
    waiter = world.database.connect()
    with world.database.connect(autocommit=False) as holder:
        holder.execute("SELECT count(*) FROM whatsapp_auth")
        send(waiter, b"BEGIN; LOCK TABLE whatsapp_auth IN ACCESS EXCLUSIVE MODE")
        question = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'whatsapp_auth'::regclass"
        with world.database.connect() as witness:
            until(lambda: witness.execute(question).fetchone() == (1,), "nobody waits")
        found = world.findings()
        waiter.close()
    assert_red_alone(found, "protected_locks", "waits for ACCESS EXCLUSIVE on public.whatsapp_auth")


def test_maintenance_of_a_protected_table_is_a_warning(world: World) -> None:
    with world.database.connect(autocommit=False) as holder:
        holder.execute("LOCK TABLE whatsapp_auth IN SHARE UPDATE EXCLUSIVE MODE")
        found = world.findings()
    assert found["protected_locks"].status == "warning"


def test_ordinary_reading_and_writing_is_no_lock_to_speak_of(world: World) -> None:
    with world.database.connect(autocommit=False) as writer:
        writer.execute("UPDATE whatsapp_auth SET company_id = company_id")
        assert world.findings()["protected_locks"].status == "passed"


def write_authority(path: Path, ends: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "invented CA")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(ends - timedelta(days=365))
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


@pytest.mark.parametrize(("days", "status"), [(-1, "failed"), (10, "warning"), (300, "passed")])
def test_an_authority_that_ends_is_told_in_time(world: World, days: int, status: str) -> None:
    path = world.folder / "authority.pem"
    write_authority(path, datetime.fromtimestamp(NOW, UTC) + timedelta(days=days))
    finding = world.asked(sslrootcert=str(path)).findings()["tls_ca"]
    assert finding.status == status, finding


def test_a_file_that_is_no_certificate_is_refused(world: World) -> None:
    path = world.folder / "authority.pem"
    path.write_text("nothing of the kind\n")
    assert world.asked(sslrootcert=str(path)).findings()["tls_ca"].status == "failed"


def test_the_authority_of_a_service_file_is_found(world: World) -> None:
    database = world.database
    require_tls(database)
    found = replace(
        world.asked(sslrootcert="", service=database.service, service_file=str(database.service_file)),
        options={"service": database.service, "service_file": str(database.service_file)},
        demands=replace(world.demands, configured_sslmode=""),
    ).findings()
    assert {one.id: one.observed for one in found.values() if one.status != "passed"} == {}
    assert found["tls_ca"].evidence["path"] == str(database.server.ca_certificate)


def test_a_folder_inside_another_checkout_is_no_checkout(world: World) -> None:
    inside = world.folder / "application/inside"
    inside.mkdir()
    found = world.asked(checkout=str(inside)).findings()
    assert "is no checkout itself" in found["checkout_commit"].observed
    assert found["checkout_clean"].status == "not_tested"


def test_looking_at_a_checkout_leaves_its_index_as_it_was(world: World) -> None:
    """Git would refresh it, and make it ours: whoever deploys the application could not write it any more."""
    index = world.folder / "application/.git/index"
    (world.folder / "application/index.mjs").touch()
    before = (index.stat().st_mtime_ns, index.read_bytes())
    assert world.findings()["checkout_clean"].status == "passed"
    assert (index.stat().st_mtime_ns, index.read_bytes()) == before


def test_nothing_but_the_flag_is_read_out(world: World) -> None:
    (world.folder / "application.env").write_text(f"PASSWORD=hunter2\n{FLAG}=false\n")
    with flag_of_the_process(world) as broken:
        assert "hunter2" not in str(broken.findings())


def test_a_missing_program_is_named(world: World) -> None:
    found = world.asked(bin_dir=str(world.folder)).findings()["client_tools"]
    assert found.status == "failed"
    assert "there is no pg_dump" in found.observed


def test_the_precheck_leaves_no_trace(world: World) -> None:
    with traces.without_autovacuum(world.database.server):
        assert traces.left_by(world.database, world.findings) == set()


def test_the_text_of_others_queries_is_never_kept(world: World) -> None:
    with world.database.connect(autocommit=False) as session:
        session.execute("SELECT 'personal words'")
        answers = precheck_database_reading.read(
            ConnectionOptions(**world.options), "rollout test", world.questions
        )
    assert answers["transactions"], "the session is seen"
    assert "personal words" not in str(answers)
