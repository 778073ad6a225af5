"""The one family of errors that the rollout's logic raises.

Modules and action plugins catch :class:`RolloutError` once, in ``main()`` or ``run()``, and turn it into a failed
task. Nothing below them catches it to go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class RolloutError(Exception):
    """What was tried, what was seen, and what to do next.

    :param message: what was tried, on which object, and what was observed
    :param hint: what the operator can do about it; empty when there is nothing to add
    :param details: the same facts for a machine, JSON-compatible; never a secret
    """

    def __init__(self, message: str, *, hint: str = "", details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = dict(details or {})

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class SourceError(RolloutError):
    """A migration folder, a template or a variable is not what it must be. Raised before any connection."""


class ConnectionFailed(RolloutError):
    """The database could not be reached, or the connection was lost."""


class StatementFailed(RolloutError):
    """PostgreSQL refused a statement. ``details`` holds sqlstate, statement, template and line."""


class RunnerBusy(RolloutError):
    """Another runner holds the advisory lock of this database."""


class DriftFound(RolloutError):
    """The catalog is not what the ledger or the rehearsal says it must be."""


class LockBudgetExceeded(RolloutError):
    """A migration locked a protected table harder than it may."""


class RemovalRefused(RolloutError):
    """``state: absent`` would lose rows or break something that the rollout did not make."""


class BackupRefused(RolloutError):
    """A backup could not be made or proven, or an existing one does not count."""


class RestoreRefused(RolloutError):
    """A restore would touch what it must not, or its outcome is not what the backup's manifest says."""
