"""What is wrong before a run is named by the precheck; each fault is mended again, and the precheck is green then."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import psycopg
import pytest

from containers.playbooks import playbook, report
from containers.site import Site
from sandbox.certificates import ensure_certificates
from sandbox.credentials import ADMIN

WORKER = "ai-admin-worker-v2"
# A small file system that every container has.
DISK = "/dev/shm"
ARGUMENTS = ("-e", f"backup_dir={DISK}/backups", "-e", "precheck_backup_free_mb=20")


def failed_items(site: Site) -> dict[str, Any]:
    """Run the precheck; return what it found to be red, by item."""
    run = playbook(site, "playbooks/precheck.yml", *ARGUMENTS)
    findings = report(site)["hosts"]["app"]["sections"]["precheck"]["findings"]
    red = {finding["id"]: finding for finding in findings if finding["status"] == "failed"}
    assert bool(red) == (run.code != 0), run.output
    return red


@contextmanager
def stopped_service(site: Site) -> Iterator[None]:
    site.stand_in("app", "break", "stop", WORKER)
    yield
    site.stand_in("app", "mend")


@contextmanager
def standby(site: Site) -> Iterator[None]:
    data = site.execute("db", "psql", "-XAtc", "SHOW data_directory", user=ADMIN).strip()
    site.execute("db", "touch", f"{data}/standby.signal", user=ADMIN)
    site.restart("db")
    yield
    site.execute("db", "psql", "-XAtc", "SELECT pg_promote()", user=ADMIN)
    site.stand_in("app", "mend")


@contextmanager
def another_name(site: Site) -> Iterator[None]:
    """A certificate of the same kind for another name, and an authority that the application's host trusts."""
    other = site.folder / "another-name"
    other.mkdir(exist_ok=True)
    ensure_certificates(
        other / "ca.crt", other / "server.crt", other / "server.key", "another.example.invalid"
    )
    lay_in(site, other)
    yield
    lay_in(site, site.folder)
    site.stand_in("app", "mend")


def lay_in(site: Site, folder: Any) -> None:
    for name in ("server.crt", "server.key"):
        site.execute("db", "tee", f"/etc/postgresql/{name}", user=ADMIN, stdin=(folder / name).read_text())
    trusted = "/opt/ai-admin/application/certificates/database-ca.pem"
    site.execute("app", "tee", trusted, stdin=(folder / "ca.crt").read_text())
    site.execute("db", "psql", "-XAtc", "SELECT pg_reload_conf()", user=ADMIN)


@contextmanager
def full_disk(site: Site) -> Iterator[None]:
    file = f"{DISK}/rubbish"
    # Until no byte is left: dd ends with an error then.
    site.execute("app", "sh", "-c", f"! dd if=/dev/zero of={file} bs=1M 2>/dev/null")
    yield
    site.execute("app", "rm", file)


@pytest.mark.parametrize(
    ("fault", "item", "told"),
    [
        (stopped_service, "services", WORKER),
        (standby, "primary", "standby"),
        (another_name, "tls", "another.example.invalid"),
        (full_disk, "backup_disk", DISK),
    ],
    ids=["a service is down", "a standby", "a certificate for another name", "a full disk"],
)
def test_the_precheck_names_it(site: Site, fault: Any, item: str, told: str) -> None:
    broken: AbstractContextManager[None] = fault(site)
    with broken:
        red = failed_items(site)
    assert item in red, red
    assert told in str(red[item])


def test_what_was_mended_is_green_again_and_nothing_was_done(site: Site) -> None:
    assert failed_items(site) == {}
    with site.server.connect(ADMIN, "default_db") as admin:
        tables = (
            "SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE 'whatsapp%'"
        )
        assert admin.execute(tables).fetchone() == (0,)
        with pytest.raises(psycopg.errors.UndefinedTable):
            admin.execute("SELECT FROM rollout.migration")
