"""Inventory variables with which role precheck finds a test's host healthy."""

from pathlib import Path
from typing import Any

from sandbox.server import PostgresServer


def without_application(server: PostgresServer, folder: Path) -> dict[str, Any]:
    """For a host that has no application: neither PM2, nor a WhatsApp client, nor a checkout.

    :param server: whose client programs are used, and whose TLS decides what is demanded
    :param folder: whose file system has to have a little room
    """
    return {
        "precheck_application": False,
        "precheck_checkout": False,
        "precheck_flags": [],
        "precheck_other_jobs": [],
        "precheck_disk_paths": [str(folder)],
        "precheck_disk_free_mb": 1,
        "precheck_backup_free_mb": 1,
        "precheck_bin_dir": str(server.binaries.bindir),
        "precheck_sslmode": "verify-full" if server.has_tls else "disable",
        "backup_dir": str(folder / "backups"),
        "app_connections": 0,
    }
