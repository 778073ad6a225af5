"""The application's services: their production names, limits and environment, as PM2 is told of them."""

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.certificates import write_private

COMPANY = "100001"
# Numbers from the range that is set aside for fiction (555-0100 to 555-0199).
SALON_PHONE = "12025550100"
TEST_PHONE = "12025550199"
BAILEYS = "baileys-whatsapp-service"
CRON = "ai-admin-reminders"

# PM2 writes this zone's time before each line of a log: production's server stands in Moscow.
ZONE = "Europe/Moscow"
LOG_DATE_FORMAT = "YYYY-MM-DD HH:mm:ss"

# Names of what a service's environment holds in production; here the values are random.
SECRETS = ("OPENAI_API_KEY", "TELEGRAM_BOT_TOKEN", "SUPABASE_KEY", "YCLIENTS_BEARER_TOKEN", "JWT_SECRET")


@dataclass(frozen=True)
class Service:
    """One process of PM2.

    Attributes: ``name``, ``script`` below the application's folder, ``memory_limit`` as PM2 writes it.
    """

    name: str
    script: str
    memory_limit: str


# The limits are production's.
SERVICES = (
    Service("ai-admin-api", "services/api.mjs", "500M"),
    Service("ai-admin-worker-v2", "services/worker.mjs", "400M"),
    Service("ai-admin-batch-processor", "services/batch-processor.mjs", "200M"),
    Service("ai-admin-booking-monitor", "services/booking-monitor.mjs", "200M"),
    Service("ai-admin-telegram-bot", "services/telegram-bot.mjs", "100M"),
    Service(BAILEYS, "services/baileys-service.mjs", "200M"),
    Service("whatsapp-backup-service", "services/backup.mjs", "100M"),
)
NAMES = tuple(service.name for service in SERVICES)


@dataclass(frozen=True)
class Timing:
    """How long things take, in ms; production takes 5000, 9000 and 5000 to 24000.

    Attributes: ``reconnect_ms`` before the first attempt to reconnect to WhatsApp, doubled for each further one;
    ``batch_idle_ms`` until somebody counts as having finished writing; ``answer_ms`` that the language model takes.
    """

    reconnect_ms: int = 1000
    batch_idle_ms: int = 1000
    answer_ms: int = 500


def ensure_secrets(file: Path) -> dict[str, str]:
    """Return a random secret for each name in SECRETS, making the file (mode 0600) first when it does not exist."""
    if not file.exists():
        write_private(
            file, json.dumps({name: f"sandbox-{secrets.token_urlsafe(24)}" for name in SECRETS}).encode()
        )
    values: dict[str, str] = json.loads(file.read_text())
    return values


def ecosystem(folder: Path, environment: dict[str, str]) -> dict[str, Any]:
    """Return what PM2 calls an ecosystem: all processes with their settings.

    :param folder: the application's folder.
    :param environment: of every service.
    """
    always = {
        # Scripts are named from here: PM2 takes one with a space in its path for a shell command.
        "cwd": str(folder),
        "exec_mode": "fork",
        "instances": 1,
        # Logs without the process number in their names: they go on after a restart of the daemon.
        "merge_logs": True,
        "log_date_format": LOG_DATE_FORMAT,
    }
    apps: list[dict[str, Any]] = [
        {
            **always,
            "name": service.name,
            "script": service.script,
            "max_memory_restart": service.memory_limit,
            "env": environment | {"SERVICE_NAME": service.name},
        }
        for service in SERVICES
    ]
    for app in apps:
        if app["name"] == BAILEYS:
            app["node_args"] = ["--import", (folder / "baileys/trust-stand-in.mjs").as_uri()]
            # It has to save the session's keys when it is stopped.
            app["kill_timeout"] = 5000
    apps.append(
        {
            **always,
            "name": CRON,
            "script": "services/reminders.mjs",
            "autorestart": False,
            "cron_restart": "*/5 * * * *",
            "env": environment | {"SERVICE_NAME": CRON},
        }
    )
    return {"apps": apps}
