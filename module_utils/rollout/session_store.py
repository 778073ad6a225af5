"""The WhatsApp session in the database: read without touching a secret, and compared with an earlier reading.

In normal life a quarter of the key rows change in a day, ``creds`` is rewritten all the time and a cleanup may halve
the rows. So equality of rows says nothing; what must stay is named in :func:`compare`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.rollout import catalog
from ansible.module_utils.rollout.catalog import table_of
from ansible.module_utils.rollout.connection import Command, Session
from ansible.module_utils.rollout.fingerprint import fingerprint

# The part of creds that stays as long as the pairing does. Hashed by the server: private keys never leave it.
_IDENTITY = """
SELECT company_id, encode(sha256(convert_to(jsonb_build_array(
           creds -> 'me' ->> 'id', creds -> 'noiseKey' -> 'public', creds -> 'signedIdentityKey' -> 'public',
           creds -> 'registrationId')::text, 'UTF8')), 'hex')
  FROM {auth} ORDER BY company_id
"""
_KEYS = """
SELECT count(*), extract(epoch FROM max(updated_at))::float8, extract(epoch FROM clock_timestamp())::float8,
       coalesce(array_agg(extract(epoch FROM expires_at)::float8 ORDER BY expires_at)
                FILTER (WHERE expires_at < clock_timestamp() + interval '24 hours'), '{{}}')
  FROM {keys}
"""


@dataclass(frozen=True)
class StoreReading:
    """One look at the session store.

    :ivar tables_fingerprint: of both tables with columns, constraints, indexes, triggers, policies, owner and grants
    :ivar identities: company id -> hash of the stable part of its credentials
    :ivar keys: number of key rows
    :ivar newest_update: latest ``updated_at`` of a key row, seconds since 1970; None when there is no row
    :ivar read_at: the server's clock, seconds since 1970
    :ivar expiries: when rows expire that are expired or will be within a day, seconds since 1970
    """

    tables_fingerprint: str
    identities: dict[str, str]
    keys: int
    newest_update: float | None
    read_at: float
    expiries: tuple[float, ...]


def read(session: Session, schema: str, auth_table: str, keys_table: str) -> StoreReading:
    """Read the session store in a read-only transaction; takes ACCESS SHARE and nothing else.

    :param auth_table: table of credentials, one row a company
    :param keys_table: table of keys
    """
    names = {"auth": f'"{schema}"."{auth_table}"', "keys": f'"{schema}"."{keys_table}"'}
    answers = session.run(
        [
            Command("BEGIN READ ONLY"),
            catalog.search_path(schema),
            *catalog.commands(schema),
            Command(_IDENTITY.format(**names)),
            Command(_KEYS.format(**names)),
            Command("COMMIT"),
        ]
    )
    entries = catalog.from_rows(answers[2:-3]).entries
    tables = (auth_table, keys_table)
    # A foreign key of a later migration to these tables would show here too: it adds triggers, but no entry.
    own = {name: entry for name, entry in entries.items() if table_of(name, entry) in tables}
    keys, newest, now, expiries = answers[-2][0]
    return StoreReading(
        tables_fingerprint=fingerprint(own),
        identities=dict(answers[-3]),
        keys=keys,
        newest_update=newest,
        read_at=now,
        expiries=tuple(expiries),
    )


def compare(
    before: StoreReading, now: StoreReading, company_ids: Sequence[str], loss_tolerance: float
) -> list[dict[str, Any]]:
    """What speaks against an untouched session store; empty when nothing does.

    :param company_ids: the id that the service uses, in every spelling that it may have in the table
    :param loss_tolerance: share of key rows that may vanish without having expired: used pre-keys do
    :returns: findings, each with ``what``, ``expected`` and ``observed``
    """
    found = []

    def must(holds: bool, what: str, expected: object, observed: object) -> None:
        if not holds:
            found.append({"what": what, "expected": expected, "observed": observed})

    must(
        before.tables_fingerprint == now.tables_fingerprint,
        "the tables of the session store have another shape",
        before.tables_fingerprint,
        now.tables_fingerprint,
    )
    rows = [company for company in now.identities if company in company_ids]
    must(len(rows) == 1, "credentials of the company in use", "exactly one row", f"{len(rows)} rows")
    for company in rows:
        must(
            before.identities.get(company) in (None, now.identities[company]),
            "the identity of the session (a new pairing has another)",
            before.identities.get(company),
            now.identities[company],
        )
    expired = sum(1 for expiry in before.expiries if expiry <= now.read_at)
    lost = before.keys - now.keys - expired
    allowed = int(before.keys * loss_tolerance)
    must(
        lost <= allowed,
        "key rows vanished that had not expired",
        f"at most {allowed} of {before.keys}",
        f"{lost} ({before.keys} before, {expired} of them expired, {now.keys} now)",
    )
    must(
        before.newest_update is None or (now.newest_update or 0.0) >= before.newest_update,
        "the newest change of a key went back",
        before.newest_update,
        now.newest_update,
    )
    return found
