"""After the main job, twice, and a restart of the database: what stands, asked without the package's own modules."""

import json

from containers.playbooks import playbook, report
from containers.site import Site
from sandbox.credentials import OWNER
from sandbox.databases import ensure_database
from sandbox.services import NAMES, SALON_PHONE
from tests.catalog_shape import EXPECTED, Shape

DATABASE = "default_db"
SESSION_STORE = ("whatsapp_auth", "whatsapp_keys")


def test_the_schema_is_exactly_what_was_described(site: Site) -> None:
    with site.server.connect(OWNER, DATABASE) as owner:
        assert Shape(owner, "public").differences(EXPECTED) == []


def test_the_ledger_has_one_row_a_migration(admin) -> None:
    rows = admin.execute("SELECT id, rolled_back_at FROM rollout.migration ORDER BY id").fetchall()
    assert rows == [("0001", None), ("0002", None)]


def test_the_session_store_is_as_it_was_made(site: Site) -> None:
    ensure_database(site.server, "untouched")
    with site.server.connect(OWNER, DATABASE) as live, site.server.connect(OWNER, "untouched") as untouched:
        for table in SESSION_STORE:
            assert Shape(live, "public").table(table) == Shape(untouched, "public").table(table)


def test_the_login_reached_the_database_over_tls_by_its_name(site: Site, app) -> None:
    hosts = json.loads((site.folder / "inventory.json").read_text())["_meta"]["hostvars"]
    connection = f"host={hosts['app']['vault_pg_host']} user={OWNER} dbname={DATABASE} sslmode=verify-full"
    asked = "PGPASSFILE=/opt/ai-admin/pgpass psql -XAtc 'SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()'"
    certificate = "sslrootcert=/opt/ai-admin/application/certificates/database-ca.pem"
    assert app.check_output(f"{asked} '{connection} {certificate}'") == "t"
    # The name counts, and there is no way round TLS.
    wrong = connection.replace(f"host={hosts['app']['vault_pg_host']}", f"host={site.address('db')}")
    assert "does not match host name" in app.run(f"{asked} '{wrong} {certificate}'").stderr
    plain = connection.replace("verify-full", "disable")
    assert "no pg_hba.conf entry" in app.run(f"{asked} '{plain}'").stderr


def test_the_application_never_noticed(site: Site) -> None:
    status = site.stand_in("app", "status")
    assert status["problems"] == []
    assert status["restarts"] == dict.fromkeys(NAMES, 0)
    assert [client["phone"] for client in status["clients"]] == [SALON_PHONE]


def test_the_backup_is_readable_and_nobody_elses(app) -> None:
    folder = app.file(f"{app.user('deploy').home}/rollout-backups")
    assert (folder.user, folder.mode) == ("deploy", 0o700)
    dump = app.check_output("grep --recursive --files-with-matches ^PGDMP %s", folder.path).splitlines()
    assert dump
    assert "TABLE DATA public whatsapp_keys" in app.check_output(f"pg_restore --list {dump[0]}")


def test_nothing_secret_was_written_down(site: Site) -> None:
    hosts = json.loads((site.folder / "inventory.json").read_text())["_meta"]["hostvars"]
    secrets = [hosts["app"]["vault_pg_password"], hosts["app"]["test_phone"]]
    records = [file for file in (site.folder / "reports").rglob("*") if file.is_file()]
    assert records
    assert [file for file in records for secret in secrets if secret in file.read_text()] == []


def test_a_later_look_finds_it_as_recorded(site: Site, admin) -> None:
    looked = playbook(site, "playbooks/verify.yml")
    assert looked.code == 0, looked.output
    assert report(site)["hosts"]["app"]["sections"]["verify"]["differences"] == []
    assert report(site)["outcome"] == "succeeded"
    # And it would have seen a difference.
    admin.execute("ALTER TABLE companies ALTER COLUMN email TYPE text")
    looked = playbook(site, "playbooks/verify.yml")
    assert looked.code != 0
    assert report(site)["outcome"] == "failed"
    assert "companies.email" in looked.words
