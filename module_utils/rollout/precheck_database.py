"""Precheck, the database: judgement on what was read of the server and of who else works on it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible.module_utils.rollout.findings import Verdict, failed, not_tested, passed, warning
from ansible.module_utils.rollout.locks import MODES, mode_from_catalog
from ansible.module_utils.rollout.precheck_demands import Demands, Known

SUPPORTED_MAJORS = range(14, 19)
#: From weakest to strongest (PostgreSQL documentation, "SSL Mode Descriptions").
SSLMODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
#: Reasons of a failed connection that an item of their own tells.
TOLD_ELSEWHERE = {"tls": "tls", "tls_ca": "tls_ca", "pooler": "pooler", "too_many": "connections"}
#: The weakest lock that ordinary reading and writing does not take; autovacuum takes it too, and gives way.
MAINTENANCE = "SHARE UPDATE EXCLUSIVE"

_CONNECTION_HINTS = {
    "name": "Look at pg_host: the name is not known on the application host.",
    "refused": "Nothing listens there: look at pg_host and pg_port.",
    "timeout": "Look at pg_host, pg_port and the firewall between the application host and the database.",
    "authentication": "Look at pg_user and at pg_password or pg_passfile (mode 0600).",
    "service": "Look at pg_service and pg_service_file.",
    "starting": "The server is starting. Ask again in a moment.",
    "statement": "The connection broke, or the server refused a question. Run the precheck again.",
}


def database(known: Known, demands: Demands) -> Verdict:
    """The database can be reached from the application host, and answers."""
    facts = known.database
    expected = "a session that answers"
    if not facts["reached"] and facts["reason"] in TOLD_ELSEWHERE:
        return not_tested(expected, f"no connection: see {TOLD_ELSEWHERE[facts['reason']]}")
    if facts["reached"] and not facts["asked"] and _pooled(facts):
        return not_tested(expected, "the questions were refused: see pooler")
    if not facts["reached"] or not facts["asked"]:
        return failed(
            expected,
            facts["error"],
            _CONNECTION_HINTS.get(facts["reason"], "Try the same from the application host with psql."),
            reason=facts["reason"],
        )
    server = facts["server"]
    return passed(
        expected,
        f"database {server['database']} as {server['role']}, PostgreSQL {server['version']}",
        **server,
    )


def tls(known: Known, demands: Demands) -> Verdict:
    """The connection is secured as strictly as demanded, and never less."""
    facts = known.database
    expected = f"sslmode {demands.sslmode}, and a connection that is as strict"
    seen = facts.get("tls", {})
    mode = seen.get("sslmode") or demands.configured_sslmode
    if mode and mode not in SSLMODES:
        return failed(
            expected,
            f"{mode!r} is no sslmode",
            f"Set pg_sslmode to one of {', '.join(SSLMODES)}.",
            sslmode=mode,
        )
    if mode and SSLMODES.index(mode) < SSLMODES.index(demands.sslmode):
        return failed(
            expected,
            f"sslmode is {mode}"
            + (
                ""
                if not seen
                else ", the connection is " + ("encrypted" if seen["in_use"] else "not encrypted")
            ),
            f"Set pg_sslmode (or sslmode in the service file) to {demands.sslmode}, and pg_sslrootcert with it.",
            sslmode=mode,
        )
    if facts["reason"] == "tls" and not facts["reached"]:
        return failed(
            expected,
            facts["error"],
            "The server offers no TLS, or does not prove that it is the one we mean. It is not connected to with less."
            " Look at pg_host (the name must be the certificate's), pg_port, and the authority in pg_sslrootcert.",
        )
    if not facts["reached"]:
        return not_tested(expected, "there is no connection to look at")
    if not seen["in_use"] and SSLMODES.index(demands.sslmode) >= SSLMODES.index("require"):
        return failed(expected, "the connection is not encrypted", "Use TCP and TLS.", **seen)
    server = facts.get("server_tls", {})
    told = f"{server.get('version') or 'TLS'}, {server.get('cipher') or 'cipher not known'}"
    return passed(
        expected, f"sslmode {mode}, {told if seen['in_use'] else 'not encrypted'}", **seen, server=server
    )


def pooler(known: Known, demands: Demands) -> Verdict:
    """One backend serves a session from its beginning to its end: advisory lock and settings are the session's."""
    facts = known.database
    expected = "one backend a session, with the settings that the session brings"
    remedy = (
        "Point pg_host and pg_port at the server itself, past the pooler. The application may go on with it."
    )
    if facts["reason"] == "pooler" and not facts["reached"]:
        return failed(expected, facts["error"], remedy)
    seen = facts.get("pooler")
    if seen is None:
        return not_tested(expected, "there is no connection to look at")
    if seen["error"] and seen["reason"] == "pooler":
        return failed(expected, seen["error"], remedy, **seen)
    if seen["error"]:
        return not_tested(expected, f"it takes two sessions at once, and there was one: {seen['error']}")
    if _pooled(facts):
        return failed(
            expected,
            f"two sessions that were open at once were served by backends {seen['backends'][0]} and"
            f" {seen['backends'][1]}",
            remedy,
            **seen,
        )
    if not seen["setting_kept"]:
        return failed(
            expected,
            "a setting that a session brought was lost; the rollout's own are lock_timeout, statement_timeout and, in"
            " check mode, default_transaction_read_only",
            remedy,
            **seen,
        )
    if seen["announced"] != [pids[0] for pids in seen["backends"]]:
        return warning(
            expected,
            "something stands between us and the server; it keeps sessions apart and their settings, so that it works",
            remedy,
            **seen,
        )
    return passed(expected, "two sessions were served by a backend each", **seen)


def _pooled(facts: Mapping[str, Any]) -> bool:
    backends = facts.get("pooler", {}).get("backends")
    return bool(backends) and (
        any(len(set(pids)) > 1 for pids in backends) or bool(set(backends[0]) & set(backends[1]))
    )


def server_version(known: Known, demands: Demands) -> Verdict:
    """The server is one of those that the rollout was made for."""
    server = known.database["server"]
    major = server["version_num"] // 10000
    expected = f"PostgreSQL {SUPPORTED_MAJORS[0]} to {SUPPORTED_MAJORS[-1]}"
    if major not in SUPPORTED_MAJORS:
        return failed(
            expected,
            f"PostgreSQL {server['version']}",
            "Use a release of the rollout that supports this server.",
        )
    return passed(expected, f"PostgreSQL {server['version']}", version_num=server["version_num"])


def primary(known: Known, demands: Demands) -> Verdict:
    """The server is the primary."""
    if known.database["server"]["standby"]:
        return failed("the primary", "a standby, which takes no writes", "Point pg_host at the primary.")
    return passed("the primary", "the primary")


def writable(known: Known, demands: Demands) -> Verdict:
    """Sessions may write: nobody fenced the database off."""
    setting = _settings(known)["default_transaction_read_only"]
    expected = "default_transaction_read_only is off"
    if setting["value"] == "on":
        return _refused(
            demands,
            expected,
            f"it is on, set by: {setting['source']}",
            "A provider sets it when the disk is full, an operator during a failover, and logins for reports have it."
            " Find out why; use the login that applies the schema (pg_user).",
            **setting,
        )
    return passed(expected, "it is off")


def synchronous_standby(known: Known, demands: Demands) -> Verdict:
    """Where COMMIT waits for a standby, there is one that confirms: else it waits for ever, whatever the timeouts."""
    settings = _settings(known)
    names, commit = (settings[name]["value"] for name in ("synchronous_standby_names", "synchronous_commit"))
    expected = "COMMIT waits for no standby, or for one that is connected"
    if not names or commit in ("off", "local"):
        return passed(expected, "COMMIT waits for none", synchronous_commit=commit)
    found = known.database["replication"]
    told = f"synchronous_standby_names is {names}"
    if found["confirming"]:
        return passed(expected, f"{told}; {found['confirming']} confirm", **found)
    if found["hidden"]:
        return not_tested(
            expected,
            f"{told}; what the {found['hidden']} connected ones do is hidden from {known.database['server']['role']}",
            **found,
        )
    return failed(
        expected,
        f"{told}, and none of them is connected",
        "Start the standby. Taking it out of synchronous_standby_names gives up what it is there for.",
        **found,
    )


def rights(known: Known, demands: Demands) -> Verdict:
    """The login and the owner to be may do what the rollout does."""
    found, server = known.database["rights"], known.database["server"]
    login, owner, name, schema = server["role"], found["owner"], server["database"], demands.schema
    expected = f"{owner} may create in schema {schema} and make schemas in database {name}"
    # Each with the command that mends it.
    lacks: list[tuple[str, str]] = []
    if not found["owner_exists"]:
        lacks.append((f"there is no role {owner}", "Correct schema_owner_role"))
    elif not found["member"]:
        lacks.append((f"{login} may not act as {owner}", f'GRANT "{owner}" TO "{login}"'))
    if not found["schema_exists"]:
        lacks.append((f"there is no schema {schema}", "Create it, or correct schema_name"))
    elif found["owner_exists"]:
        if not found["use_schema"]:
            lacks.append(
                (f"{login} may not use schema {schema}", f'GRANT USAGE ON SCHEMA "{schema}" TO "{login}"')
            )
        if not found["create_in_schema"]:
            lacks.append(
                (
                    f"{owner} may not create in schema {schema}",
                    f'GRANT CREATE ON SCHEMA "{schema}" TO "{owner}"',
                )
            )
    if found["owner_exists"] and not found["create_schema"]:
        lacks.append(
            (f"{owner} may not make the scratch schema", f'GRANT CREATE ON DATABASE "{name}" TO "{owner}"')
        )
    lacks += _ledger_lacks(found, login, name, demands)
    if lacks:
        return _refused(
            demands,
            expected,
            "; ".join(what for what, _ in lacks),
            "As the database's owner: " + "; ".join(dict.fromkeys(command for _, command in lacks)),
            **found,
        )
    return passed(expected, "all of it", **found)


def _refused(demands: Demands, expected: str, observed: str, hint: str, **evidence: Any) -> Verdict:
    """What a run that writes needs, and one that only looks does not."""
    if demands.writes:
        return failed(expected, observed, hint, **evidence)
    return warning(expected, f"{observed}; a run that writes would be refused", hint, **evidence)


def _ledger_lacks(found: Mapping[str, Any], login: str, name: str, demands: Demands) -> list[tuple[str, str]]:
    ledger = demands.ledger
    if not found["ledger_exists"]:
        if found["create_ledger"]:
            return []
        return [
            (
                f"{login} may not make the ledger's schema {ledger}",
                f'GRANT CREATE ON DATABASE "{name}" TO "{login}"',
            )
        ]
    grant = f'GRANT USAGE ON SCHEMA "{ledger}" TO "{login}"; GRANT {{}} ON ALL TABLES IN SCHEMA "{ledger}" TO "{login}"'
    own = "or use the login that applied the schema before"
    if not found["use_ledger"] or not all(
        row["select"] and row["insert"] and row["update"] for row in found["ledger"]
    ):
        return [
            (
                f"{login} may not read and write the ledger, schema {ledger}",
                f"{grant.format('SELECT, INSERT, UPDATE')}, {own}",
            )
        ]
    kept = [row["table"] for row in found["ledger"] if not row["delete"]]
    if demands.detaches and kept:
        return [
            (
                f"{login} may not delete from {', '.join(f'{ledger}.{table}' for table in kept)}, which a detach by"
                " retention does",
                f"{grant.format('SELECT, INSERT, UPDATE, DELETE')}, {own}",
            )
        ]
    return []


def ownership(known: Known, demands: Demands) -> Verdict:
    """What the ledger recorded still belongs to somebody as whom the login may act: only an owner changes a table."""
    found, server = known.database["rights"], known.database["server"]
    expected = f"the recorded tables belong to {server['role']}, or to a role that it acts as"
    if not found["ledger_exists"]:
        return passed(expected, "nothing was recorded yet")
    owners = known.database.get("owners")
    if owners is None:
        return not_tested(expected, "the ledger may not be read: see rights")
    foreign = [row for row in owners if not row["ours"]]
    if foreign:
        return _refused(
            demands,
            expected,
            ", ".join(f"{row['table']} belongs to {row['owner']}" for row in foreign),
            "As the database's owner: "
            + "; ".join(
                f'ALTER TABLE "{demands.schema}"."{row["table"]}" OWNER TO "{found["owner"]}"'
                for row in foreign
            ),
            tables=foreign,
        )
    return passed(expected, f"{len(owners)} tables", tables=owners)


def connections(known: Known, demands: Demands) -> Verdict:
    """The server has connections left for the rollout, beside those that the application may open."""
    facts = known.database
    expected = f"{demands.connections_needed} connections left"
    remedy = (
        "Begin when the load is lower, let idle pools shrink, or raise max_connections (takes a restart)."
    )
    if not facts["reached"] and facts["reason"] == "too_many":
        return failed(expected, facts["error"], remedy)
    if facts.get("pooler", {}).get("reason") == "too_many":
        return failed(expected, f"a second session was refused: {facts['pooler']['error']}", remedy)
    if "connections" not in facts:
        return not_tested(expected, "the database was not asked: see database")
    settings, used = _settings(known), facts["connections"]["server"]
    limit = int(settings["max_connections"]["value"])
    kept = sum(
        int(settings[name]["value"])
        for name in ("superuser_reserved_connections", "reserved_connections")
        if name in settings
    )
    usable = limit - kept
    told = f"max_connections {limit}, {kept} of them reserved, {used} in use"
    evidence = {
        "max": limit,
        "reserved": kept,
        **facts["connections"],
        "pools": demands.application_connections,
    }
    if used + demands.connections_needed > usable:
        return failed(expected, told, remedy, **evidence)
    if demands.application_connections + demands.connections_needed > usable:
        return warning(
            f"{expected}, also when the application's pools are full",
            f"{told}; the application may open {demands.application_connections}",
            "Nothing hinders the run now. Full pools would: make them smaller, or raise max_connections.",
            **evidence,
        )
    return passed(expected, told, **evidence)


def session_timeouts(known: Known, demands: Demands) -> Verdict:
    """The server does not end a session while the rollout pauses or waits.

    Of these limits the rollout's sessions set some themselves; the backup's and the application's do not.
    """
    names = ("idle_session_timeout", "idle_in_transaction_session_timeout", "transaction_timeout")
    seen = {name: _seconds(_settings(known)[name]) for name in names if name in _settings(known)}
    told = ", ".join(f"{name} {'off' if not value else f'{value:g} s'}" for name, value in seen.items())
    expected = f"each is off, or at least {demands.shortest_timeout_s} s"
    short = [name for name, value in seen.items() if 0 < value < demands.shortest_timeout_s]
    if short:
        return failed(
            expected,
            told,
            f"For the login of the rollout: ALTER ROLE <pg_user> SET {short[0]} = 0; or set"
            " precheck_shortest_timeout_s.",
            **seen,
        )
    return passed(expected, told, **seen)


def _seconds(setting: Mapping[str, Any]) -> float:
    return float(setting["value"]) * {"ms": 0.001, "s": 1, "min": 60}[setting["unit"]]


def time_zone(known: Known, demands: Demands) -> Verdict:
    """Sessions that set no zone, the application's, have the one that it expects."""
    seen = _settings(known)["TimeZone"]["value"]
    if not demands.time_zone:
        return not_tested("", f"it is {seen}; which is expected is not configured (precheck_time_zone)")
    if seen != demands.time_zone:
        return failed(
            demands.time_zone,
            seen,
            "The rollout sets its own; the application reads times in the server's. Correct precheck_time_zone, or"
            " find out who changed it.",
            **_settings(known)["TimeZone"],
        )
    return passed(demands.time_zone, seen)


def encoding(known: Known, demands: Demands) -> Verdict:
    """The database can hold every text of the application."""
    seen = known.database["server"]["encoding"]
    if seen != demands.encoding:
        return failed(
            demands.encoding,
            seen,
            "An encoding cannot be changed: the database has to be made anew with this one, and filled from a dump.",
        )
    return passed(demands.encoding, seen)


def long_transactions(known: Known, demands: Demands) -> Verdict:
    """No transaction is open that a lock, or CREATE INDEX CONCURRENTLY, would wait for."""
    open_for_long = [
        row
        for row in known.database["transactions"]
        if row["transaction_s"] is not None
        and row["transaction_s"] >= demands.long_transaction_s
        and not _idle_in_transaction(row)
        and not row["dump"]
        and row["kind"] not in ("autovacuum worker", "walsender")
    ]
    return _sessions(
        known,
        f"no transaction is open for {demands.long_transaction_s} s or longer",
        open_for_long,
        "Wait until it ends, or ask whoever runs it. The rollout ends nobody's session.",
    )


def idle_in_transaction(known: Known, demands: Demands) -> Verdict:
    """Nobody holds a transaction, and its locks, open and does nothing."""
    idle = [
        row
        for row in known.database["transactions"]
        if _idle_in_transaction(row)
        and not row["dump"]
        and (row["state_s"] or 0) >= demands.idle_in_transaction_s
    ]
    return _sessions(
        known,
        f"no session is idle in a transaction for {demands.idle_in_transaction_s} s or longer",
        idle,
        "Ask whoever runs it to end it; it is an error of that program. The rollout ends nobody's session.",
    )


def _idle_in_transaction(row: Mapping[str, Any]) -> bool:
    return str(row["state"] or "").startswith("idle in transaction")


def running_dump(known: Known, demands: Demands) -> Verdict:
    """No dump is running: it holds a lock on every table until its end."""
    dumps = [row for row in known.database["transactions"] if row["dump"]]
    return _sessions(
        known,
        "no pg_dump is running",
        dumps,
        "Wait until it has ended; begin outside the time of the backups.",
    )


def wraparound(known: Known, demands: Demands) -> Verdict:
    """No vacuum is running, or due, that gives way to nobody."""
    running = [row for row in known.database["transactions"] if row["wraparound"]]
    due = [row for row in known.database["ages"] if row["age"] >= row["allowed"]]
    expected = "no table is due for a vacuum to prevent wraparound"
    if running or due:
        told = [f"one is running, {_who(row)}" for row in running]
        told += [f"{row['table']} is {row['age']} transactions old, of {row['allowed']}" for row in due]
        return failed(
            expected,
            "; ".join(told),
            "Wait until autovacuum has done it, or as the owner: VACUUM (FREEZE) that table. Such a vacuum gives way to"
            " no lock.",
            running=running,
            due=due,
        )
    oldest = known.database["ages"][:1]
    told = [
        f"the oldest, {row['table']}, is {row['age']} of {row['allowed']} transactions old" for row in oldest
    ]
    return passed(expected, told[0] if told else "there is no table", oldest=oldest)


def protected_tables(known: Known, demands: Demands) -> Verdict:
    """The tables that must not be locked are there: a name that matches nothing protects nothing."""
    found = known.database["protected"]
    if not found:
        return not_tested("", "no table is to be protected (schema_protected_tables)")
    missing = sorted(row["given"] for row in found if row["found"] is None)
    expected = f"there are {', '.join(sorted({row['given'] for row in found}))}"
    if missing:
        return failed(
            expected, f"there is no {', '.join(missing)}", "Correct schema_protected_tables.", missing=missing
        )
    return passed(expected, ", ".join(row["found"] for row in found))


def protected_locks(known: Known, demands: Demands) -> Verdict:
    """Nobody maintains or changes the protected tables right now, and nobody waits for them."""
    if not known.database["protected"]:
        return not_tested("", "no table is to be protected (schema_protected_tables)")
    strong, mild = [], []
    for row in known.database["locks"]:
        strength = MODES.index(mode_from_catalog(row["mode"]))
        if not row["granted"] or strength > MODES.index(MAINTENANCE):
            strong.append(row)
        elif strength == MODES.index(MAINTENANCE) and not row["autovacuum"]:
            mild.append(row)
    expected = "no lock on them beyond ordinary reading and writing"
    remedy = "Wait until that session has ended. The rollout ends nobody's session."
    told = "; ".join(
        f"{_who(row)} {'holds' if row['granted'] else 'waits for'} {mode_from_catalog(row['mode'])} on {row['table']}"
        for row in strong + mild
    )
    if strong:
        return failed(expected, told, remedy, locks=strong + mild)
    if mild:
        return warning(expected, told, remedy, locks=mild)
    return passed(expected, "none")


def invalid_indexes(known: Known, demands: Demands) -> Verdict:
    """No index was left half-made."""
    found = known.database["invalid_indexes"]
    expected = f"every index of schema {demands.schema} is valid"
    if found:
        return failed(
            expected,
            ", ".join(f"{row['index']} on {row['table']} is not" for row in found),
            "An index that was being made when its session ended stays like that, costs writes and serves nobody."
            f' Unless one is being made right now: DROP INDEX CONCURRENTLY "{demands.schema}"."{found[0]["index"]}",'
            " and make it anew.",
            indexes=found,
        )
    return passed(expected, "all of them")


def prepared_transactions(known: Known, demands: Demands) -> Verdict:
    """No prepared transaction holds locks that survive every session."""
    found = known.database["prepared_transactions"]
    if found:
        return failed(
            "no prepared transaction",
            ", ".join(f"{row['gid']} of {row['owner']}, for {row['age_s']:.0f} s" for row in found),
            "Ask its owner to end it: COMMIT PREPARED or ROLLBACK PREPARED.",
            prepared=found,
        )
    return passed("no prepared transaction", "none")


def event_triggers(known: Known, demands: Demands) -> Verdict:
    """Nothing acts on DDL by itself."""
    found = known.database["event_triggers"]
    if found:
        return warning(
            "no event trigger",
            ", ".join(f"{row['name']} on {row['event']}" for row in found),
            "Each runs on the rollout's DDL, may refuse it, and may make objects that are in no migration. The"
            " rehearsal shows whether it does.",
            event_triggers=found,
        )
    return passed("no event trigger", "none")


def publications(known: Known, demands: Demands) -> Verdict:
    """New tables are not replicated by themselves."""
    found = known.database["publications"]
    if found:
        return warning(
            "no publication that takes new tables by itself",
            ", ".join(f"{row['name']} FOR {row['what']}" for row in found),
            "Subscribers lack the new tables and will stop at the first row: create the tables there too, before rows"
            " come. Tables without a primary key refuse UPDATE and DELETE.",
            publications=found,
        )
    return passed("no publication that takes new tables by itself", "none")


def _settings(known: Known) -> Mapping[str, Mapping[str, Any]]:
    found: Mapping[str, Mapping[str, Any]] = known.database["settings"]
    return found


def _sessions(known: Known, expected: str, found: Sequence[Mapping[str, Any]], remedy: str) -> Verdict:
    """A verdict on other sessions; those that the login may not look into are never taken for good ones."""
    if found:
        return failed(expected, _listed(found), remedy, sessions=list(found))
    hidden = known.database["connections"]["hidden"]
    if hidden:
        role = known.database["server"]["role"]
        return not_tested(
            expected,
            f"none among those that {role} may see, but {hidden} sessions of other logins are hidden from it",
            f'As a superuser or the provider\'s admin: GRANT pg_read_all_stats TO "{role}"',
            hidden=hidden,
        )
    return passed(expected, "none")


def _listed(rows: Iterable[Mapping[str, Any]]) -> str:
    return "; ".join(_who(row) for row in rows)


def _who(row: Mapping[str, Any]) -> str:
    seen = [row["application_name"] or "unnamed"]
    if row["state"]:
        seen.append(row["state"])
    if row["transaction_s"] is not None:
        seen.append(f"transaction open for {row['transaction_s']:.0f} s")
    return f"backend {row['pid']} ({', '.join(seen)})"
