"""A runner: what role schema does to a database, through the Python API instead of tasks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible.module_utils.rollout import migrate
from ansible.module_utils.rollout.connection import Session
from ansible.module_utils.rollout.execution import Settings
from ansible.module_utils.rollout.inspection import Inspection, inspect
from ansible.module_utils.rollout.migrate import Outcome
from ansible.module_utils.rollout.migration import Migration
from ansible.module_utils.rollout.options import ConnectionOptions
from ansible.module_utils.rollout.source import load_migrations

MIGRATIONS = Path(__file__).resolve().parent.parent / "roles/schema/migrations"
PROTECTED = ("whatsapp_auth", "whatsapp_keys")


@dataclass(frozen=True)
class Applied:
    """What a whole run did.

    :ivar rehearsal: the outcome of ``state: rehearsed``
    :ivar outcomes: of ``state: present``, for each migration that was pending
    """

    rehearsal: Outcome
    outcomes: tuple[Outcome, ...]

    @property
    def changed(self) -> bool:
        return any(outcome.changed for outcome in self.outcomes)

    @property
    def states(self) -> list[str]:
        """State of each migration as the rehearsal saw it."""
        return [described["state"] for described in self.rehearsal.migrations]


@dataclass(frozen=True)
class Runner:
    """Runs migrations as role schema does: rehearse all, then bring the pending ones into force one by one.

    :ivar options: libpq keywords: host, port, dbname, user, password, sslmode, sslrootcert
    :ivar folder: holds the migrations
    """

    options: Mapping[str, Any]
    folder: Path = MIGRATIONS
    variables: Mapping[str, Any] = field(default_factory=dict)
    schema: str = "public"
    ledger: str = "rollout"
    owner_role: str = ""
    protected: tuple[str, ...] = PROTECTED
    run_id: str = "run-1"
    drift: str = "fail"
    lock_timeout_ms: int = 1500
    statement_timeout_ms: int = 60_000
    attempts: int = 5
    retry_pause_s: float = 0.05

    @property
    def migrations(self) -> list[Migration]:
        return load_migrations(self.folder, self.variables)

    @property
    def settings(self) -> Settings:
        return Settings(
            schema=self.schema,
            ledger=self.ledger,
            owner_role=self.owner_role,
            protected=self.protected,
            run_id=self.run_id,
            applied_from="test host",
            attempts=self.attempts,
            retry_pause_s=self.retry_pause_s,
        )

    def open(self, check: bool = False) -> Session:
        """A session as the module opens it."""
        return Session(
            ConnectionOptions(**self.options),
            f"rollout {self.run_id}",
            read_only=check,
            lock_timeout_ms=self.lock_timeout_ms,
            statement_timeout_ms=self.statement_timeout_ms,
        )

    def rehearse(self, check: bool = False) -> Outcome:
        """``state: rehearsed``."""
        return migrate.rehearsed(
            lambda: self.open(check), self.migrations, self.settings, check=check, drift=self.drift
        )

    def bring_in(self, migration_id: str, check: bool = False, given: str = "") -> Outcome:
        """``state: present`` for one migration.

        :param given: a rehearsal, as JSON text; empty rehearses again
        """
        return migrate.present(
            lambda: self.open(check),
            self.migrations,
            migration_id,
            self.settings,
            check=check,
            given=given,
            drift=self.drift,
        )

    def apply(self, check: bool = False) -> Applied:
        """The whole of role schema."""
        rehearsal = self.rehearse(check)
        outcomes = [
            self.bring_in(described["id"], check, rehearsal.rehearsal)
            for described in rehearsal.migrations
            if described["pending"]
        ]
        return Applied(rehearsal, tuple(outcomes))

    def take_back(
        self,
        migration_id: str,
        check: bool = False,
        *,
        export: str | None = None,
        keep_shared: bool = False,
    ) -> Outcome:
        """``state: absent`` for one migration."""
        return migrate.absent(
            lambda: self.open(check),
            self.migrations,
            migration_id,
            self.settings,
            check=check,
            export=export,
            keep_shared=keep_shared,
        )

    def removable(self, keep_shared: bool = False) -> Outcome:
        """``state: removable``."""
        return migrate.removable(
            lambda: self.open(True), self.migrations, self.settings, keep_shared=keep_shared
        )

    def inspect(self) -> Inspection:
        """What ``pg_catalog_info`` sees."""
        with self.open(check=True) as session:
            return inspect(session, self.schema, self.ledger)
