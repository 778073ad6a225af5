"""The WhatsApp session in the database: read without touching a secret, and compared with an earlier reading.

In normal life a quarter of the key rows change in a day, ``creds`` is rewritten all the time and a cleanup may halve
the rows. So equality of rows says nothing; what must stay is named in :func:`compare`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ansible.module_utils.rollout import catalog
from ansible.module_utils.rollout.catalog import table_of
from ansible.module_utils.rollout.connection import Command, Session
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.fingerprint import fingerprint

# The part of creds that stays as long as the pairing does. Hashed by the server: private keys never leave it. Empty
# where there is no identity to hash: the hash of nothing would be the same for everybody.
_IDENTITY = """
SELECT company_id,
       CASE WHEN creds #> '{{noiseKey,public}}' IS NULL OR creds #> '{{signedIdentityKey,public}}' IS NULL THEN ''
            ELSE encode(sha256(convert_to(jsonb_build_array(
                creds #> '{{me,id}}', creds #> '{{noiseKey,public}}', creds #> '{{signedIdentityKey,public}}',
                creds -> 'registrationId')::text, 'UTF8')), 'hex')
       END
  FROM {auth} ORDER BY company_id
"""
_KEYS = """
SELECT count(*), extract(epoch FROM max(updated_at))::float8, extract(epoch FROM clock_timestamp())::float8,
       coalesce(array_agg(extract(epoch FROM expires_at)::float8 ORDER BY expires_at)
                FILTER (WHERE expires_at < clock_timestamp() + interval '24 hours'), '{{}}')
  FROM {keys}
"""

#: Longest run of one of the queries, milliseconds: a look must not hang on a busy database.
TIMEOUT_MS = 10_000

#: Prefix that newer versions of the service put before the company's id, in the log and in the table.
_PREFIX = "company_"


@dataclass(frozen=True)
class StoreReading:
    """One look at the session store.

    :ivar tables_fingerprint: of both tables with columns, constraints, indexes, triggers, policies, owner and grants
    :ivar identities: company id -> hash of the stable part of its credentials; empty where these are not there
    :ivar keys: number of key rows
    :ivar newest_update: latest ``updated_at`` of a key row, seconds since 1970; None when there is no row
    :ivar read_at: the server's clock, seconds since 1970
    :ivar expiries: when rows expire that are expired or will be within a day, seconds since 1970. A comparison with a
        reading of more than a day later knows too few of them
    """

    tables_fingerprint: str
    identities: Mapping[str, str]
    keys: int
    newest_update: float | None
    read_at: float
    expiries: tuple[float, ...]

    def as_result(self) -> dict[str, Any]:
        """For a module's result, and for :func:`from_result`."""
        return {**asdict(self), "expiries": list(self.expiries)}


def from_result(value: Mapping[str, Any]) -> StoreReading:
    """A reading that was handed back.

    :raises RolloutError: it is not one
    """
    try:
        newest = value["newest_update"]
        return StoreReading(
            tables_fingerprint=str(value["tables_fingerprint"]),
            identities={str(company): str(identity) for company, identity in value["identities"].items()},
            keys=int(value["keys"]),
            newest_update=None if newest is None else float(newest),
            read_at=float(value["read_at"]),
            expiries=tuple(float(expiry) for expiry in value["expiries"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RolloutError(
            f"baseline.store is not a reading of the session store: {type(error).__name__} {error}",
            hint="Hand back what an earlier call returned as reading, unchanged.",
            details={"reason": "bad_baseline"},
        ) from None


def spellings(company: str) -> tuple[str, ...]:
    """The id of a company in every spelling that it may have in the table; empty for an empty id."""
    plain = company.removeprefix(_PREFIX)
    return (plain, _PREFIX + plain) if plain else ()


def read(session: Session, schema: str, auth_table: str, keys_table: str) -> StoreReading:
    """Read the session store in a read-only transaction; takes ACCESS SHARE and nothing else.

    A table that is not there reads as empty: its fingerprint says that it is missing.

    :param auth_table: table of credentials, one row a company
    :param keys_table: table of keys
    """
    answers = session.run(["BEGIN READ ONLY", catalog.search_path(schema), *catalog.commands(schema)])
    entries = catalog.from_rows(answers[2:]).entries
    tables = (auth_table, keys_table)
    # A foreign key of a later migration to these tables would show here too: it adds triggers, but no entry.
    own = {name: entry for name, entry in entries.items() if table_of(name, entry) in tables}
    auth, keys = (
        _quoted(schema, table) if any(table_of(name, entry) == table for name, entry in own.items()) else None
        for table in tables
    )
    identities, counted, _ = session.run(
        [
            _IDENTITY.format(auth=auth) if auth else "SELECT WHERE false",
            Command(_KEYS.format(keys=keys) if keys else "SELECT 0, NULL, 0.0::float8, ARRAY[]::float8[]"),
            "COMMIT",
        ]
    )
    [(count, newest, now, expiries)] = counted
    return StoreReading(
        tables_fingerprint=fingerprint(own),
        identities=dict(identities),
        keys=count,
        newest_update=newest,
        read_at=now,
        expiries=tuple(expiries),
    )


def look(
    session: Session,
    before: StoreReading | None,
    company: str,
    *,
    schema: str,
    auth_table: str,
    keys_table: str,
    loss_tolerance: float,
) -> tuple[dict[str, Any], StoreReading]:
    """Read the session store and judge it.

    :param before: None: nothing to compare with, it is judged alone
    :param company: the id that the service uses; empty when nobody knows
    :param loss_tolerance: as of :func:`compare`
    :returns: its ``state`` (untouched or touched, without a comparison sound or unsound, unknown_company) with
        ``findings``, and the reading
    """
    now = read(session, schema, auth_table, keys_table)
    companies = spellings(company)
    if not companies:
        return {"state": "unknown_company", "findings": []}, now
    findings = compare(before or now, now, companies, loss_tolerance)
    good, bad = ("sound", "unsound") if before is None else ("untouched", "touched")
    return {"state": bad if findings else good, "findings": findings}, now


def _quoted(*names: str) -> str:
    # The names are inventory data: a quote in one must not end it. Braces are not format's: it fills in only once.
    return ".".join('"{}"'.format(name.replace('"', '""')) for name in names)


def compare(
    before: StoreReading, now: StoreReading, companies: Collection[str], loss_tolerance: float
) -> list[dict[str, Any]]:
    """What speaks against an untouched session store; empty when nothing does.

    Compared with itself, a reading shows what is wrong whatever was before.

    :param companies: the id that the service uses, in every spelling that it may have in the table
    :param loss_tolerance: share of key rows that may vanish without having expired: used pre-keys do
    :returns: findings, each with ``what``, ``expected`` and ``observed``
    """
    found: list[dict[str, Any]] = []

    def must(holds: bool, what: str, expected: object, observed: object) -> None:
        if not holds:
            found.append({"what": what, "expected": expected, "observed": observed})

    must(
        before.tables_fingerprint == now.tables_fingerprint,
        "the tables of the session store have another shape",
        before.tables_fingerprint,
        now.tables_fingerprint,
    )
    # The hash, and not the id it stands under: new credentials under another spelling are new credentials.
    was = sorted(identity for company, identity in before.identities.items() if company in companies)
    is_now = sorted(identity for company, identity in now.identities.items() if company in companies)
    must(len(is_now) == 1, "credentials of the company in use", "exactly one row", f"{len(is_now)} rows")
    must(
        "" not in is_now,
        "credentials of the company in use",
        "keys of the pairing",
        "a row without such keys",
    )
    must(
        not was or set(is_now) <= set(was),
        "the identity of the session (a new pairing has another)",
        was,
        is_now,
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
