"""One look at the database before anything is decided: who we are, what stands, what the ledger says, who else runs."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from ansible.module_utils.rollout import catalog, ledger, transaction
from ansible.module_utils.rollout.catalog import Catalog
from ansible.module_utils.rollout.connection import Command, Session
from ansible.module_utils.rollout.errors import RolloutError, RunnerBusy, StatementFailed
from ansible.module_utils.rollout.ledger import Ledger
from ansible.module_utils.rollout.locks import TableLock, strongest
from ansible.module_utils.rollout.script import Script

OLDEST_SERVER = 140000
#: A runner that was killed leaves its lock for the moment until its backend notices; longer means it is alive.
_LOCK_PATIENCE_S = 1.0

_IDENTITY = """
SELECT current_database(), current_user, current_setting('server_version'),
       pg_is_in_recovery(), n.oid IS NOT NULL,
       r.oid IS NOT NULL, coalesce(pg_has_role(current_user, r.oid, 'MEMBER'), false),
       coalesce(has_schema_privilege(r.oid, n.oid, 'CREATE'), false),
       coalesce(has_database_privilege(r.oid, current_database(), 'CREATE'), false),
       current_setting('default_transaction_read_only') = 'on',
       quote_ident(w.name) <> w.name, inet_client_addr()::text,
       EXISTS (SELECT FROM pg_default_acl d WHERE d.defaclnamespace = n.oid)
  FROM (SELECT %s::text AS name, coalesce(nullif(%s, ''), current_user) AS owner) w
  LEFT JOIN pg_namespace n ON n.nspname = w.name LEFT JOIN pg_roles r ON r.rolname = w.owner
"""

_HOLDER = """
SELECT a.pid, a.application_name, a.client_addr::text, a.backend_start::text
  FROM pg_locks l JOIN pg_stat_activity a USING (pid)
 WHERE l.locktype = 'advisory' AND l.granted
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND l.classid = %s AND l.objid = %s
"""


@dataclass(frozen=True)
class Rights:
    """What the role may do that is to own what is created.

    :ivar member: whether the login may act as it
    """

    role: str
    exists: bool
    member: bool
    create_in_schema: bool
    create_schema: bool


@dataclass(frozen=True)
class Observation:
    """What was seen.

    :ivar standby: whether the server is one, and takes no writes
    :ivar fenced: the database or the role is set to default_transaction_read_only
    :ivar needs_quotes: whether PostgreSQL prints the target schema's name in quotes
    :ivar client_address: where the server sees us coming from
    :ivar locks: strongest lock that this look took on each relation of users
    :ivar default_privileges: whether ALTER DEFAULT PRIVILEGES was used in the target schema
    :ivar protected: protected tables, with their schema unless it is the target schema
    """

    database: str
    role: str
    server_version: str
    schema_exists: bool
    rights: Rights
    standby: bool
    fenced: bool
    needs_quotes: bool
    client_address: str
    default_privileges: bool
    protected: tuple[str, ...]
    catalog: Catalog
    ledger: Ledger
    locks: Mapping[str, str]


_PROTECTED = """
SELECT w.given, CASE WHEN n.nspname = %s THEN c.relname ELSE n.nspname || '.' || c.relname END
  FROM unnest(%s::text[]) AS w(given)
  LEFT JOIN (pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname !~ '^(pg_|information_schema$)')
         ON c.relkind IN ('r', 'p') AND w.given IN (c.relname, n.nspname || '.' || c.relname)
"""


def observe(
    session: Session,
    schema: str,
    ledger_schema: str,
    protected: Sequence[str] = (),
    owner_role: str = "",
    *,
    alone: bool = False,
    catalogued: bool = True,
    standby: bool = False,
) -> Observation:
    """Read everything that decisions rest on: one round trip, one more where there is a ledger.

    :param protected: tables that must not be locked; a name without a schema means the table in whatever schema
    :param owner_role: role that is to own what is created; its rights are asked for; empty for the login role
    :param alone: become the only runner on this database first, until the session ends
    :param catalogued: read the schema's catalog, too; False leaves it empty
    :param standby: take a standby, too
    :raises RunnerBusy: ``alone``, and another runner holds the lock
    :raises RolloutError: the server is too old, a standby, or the schema does not exist
    """
    if session.server_version < OLDEST_SERVER:
        raise RolloutError(
            f"the server is PostgreSQL {session.server_version // 10000}; the oldest supported is 14",
        )
    script = Script()
    if alone:
        key = _lock_key(ledger_schema)
        script.add(Command("SELECT pg_try_advisory_lock(%s, %s)", key), name="lock")
        script.add(Command(_HOLDER, key), name="holder")
    script.add(Command("BEGIN READ ONLY"), catalog.search_path(schema))
    script.add(Command(_IDENTITY, (schema, owner_role)), name="identity")
    script.add(ledger.exists_command(ledger_schema), name="ledger")
    script.add(Command(_PROTECTED, (schema, list(protected))), name="protected")
    if catalogued:
        script.add_catalog(schema, "catalog")
    script.add(transaction.held_locks(schema), name="held")
    script.add(Command("COMMIT"))
    _run(script, session, alone)
    (identity,), (existing,) = script.rows("identity"), script.rows("ledger")
    (
        database,
        role,
        version,
        recovering,
        exists,
        *rights,
        fenced,
        quotes,
        address,
        privileges,
    ) = identity
    if recovering and not standby:
        raise RolloutError(
            f"{session.options.target} is a standby and takes no writes", hint="Point pg_host at the primary."
        )
    if not exists:
        raise RolloutError(
            f"there is no schema {schema} in database {database}, or {role} may not use it",
            hint="Create it, or correct schema_name.",
        )
    unknown = sorted(given for given, found in script.rows("protected") if found is None)
    if unknown:
        raise RolloutError(
            f"there is no table {', '.join(unknown)} in database {database}, so it cannot be protected",
            hint="Correct schema_protected_tables: a name that matches nothing protects nothing.",
        )
    held = transaction.locks_from_rows(script.rows("held"))
    recorded = ledger.EMPTY
    if ledger.check_format(existing, ledger_schema):
        recorded, more = _read_ledger(session, ledger_schema, schema, role)
        held += more
    return Observation(
        database=database,
        role=role,
        server_version=version,
        schema_exists=exists,
        rights=Rights(owner_role or role, *rights),
        standby=recovering,
        fenced=fenced,
        needs_quotes=quotes,
        client_address=address or "local socket",
        default_privileges=privileges,
        protected=tuple(sorted(found for _, found in script.rows("protected"))),
        catalog=script.catalog("catalog") if catalogued else Catalog({}),
        ledger=recorded,
        locks=strongest(held),
    )


def _run(script: Script, session: Session, alone: bool) -> None:
    """Look; with ``alone``, look again while the lock of a runner that was just killed is being let go."""
    deadline = time.monotonic() + _LOCK_PATIENCE_S
    script.run(session)
    while alone and not script.rows("lock")[0][0]:
        if time.monotonic() >= deadline:
            _refuse_second_runner(script.rows("holder"))
        time.sleep(0.1)
        script.run(session)


def _refuse_second_runner(holders: Sequence[tuple[Any, ...]]) -> NoReturn:
    pid, name, address, since = holders[0] if holders else (None, None, None, None)
    seen = [
        f"backend {pid}" if pid else "",
        f"from {address}" if address else "",
        f"since {since}" if since else "",
    ]
    told = ", ".join(part for part in seen if part)
    raise RunnerBusy(
        f"another rollout is running on this database: {name or 'it ended just now'}{f' ({told})' if told else ''}",
        hint="Wait until it ends. A runner that was killed lets go within a second.",
        details={"pid": pid, "application_name": name, "client": address, "since": since},
    )


def _read_ledger(
    session: Session, ledger_schema: str, schema: str, role: str
) -> tuple[Ledger, list[TableLock]]:
    reading = ledger.read_commands(ledger_schema, schema)
    commands = [Command("BEGIN READ ONLY"), *reading, transaction.held_locks(schema), Command("COMMIT")]
    try:
        answers = session.run(commands)
    except StatementFailed as error:
        session.rollback()
        if error.details.get("sqlstate") != "42501":
            raise
        raise RolloutError(
            f"{role} may not read the ledger, schema {ledger_schema}: {error.message}",
            hint=f'As its owner: GRANT USAGE ON SCHEMA "{ledger_schema}" TO "{role}";'
            f' GRANT SELECT ON ALL TABLES IN SCHEMA "{ledger_schema}" TO "{role}"; that is enough for check mode.'
            " A real run writes the ledger: run it as its owner.",
            details=error.details,
        ) from None
    return ledger.from_rows(answers[1:-2]), transaction.locks_from_rows(answers[-2])


def _lock_key(ledger_schema: str) -> tuple[int, int]:
    """Two 31-bit numbers for pg_advisory_lock, which nobody else is likely to use."""
    digest = hashlib.sha256(f"rollout {ledger_schema}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1, int.from_bytes(digest[4:8], "big") >> 1
