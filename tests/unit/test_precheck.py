"""The precheck's judgement: healthy answers are green, and each item turns red by what makes it red, alone."""

import copy
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.rollout import precheck
from ansible.module_utils.rollout.findings import Finding
from ansible.module_utils.rollout.precheck_demands import MEBIBYTE, Demands, FlagDemand, Job, Known
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2025, 11, 9, 18, 30, tzinfo=UTC).timestamp()
COMMIT = "0123456789abcdef0123456789abcdef01234567"

CONTROL: dict[str, Any] = {
    "now": NOW,
    "inventory": {"checked": 19, "missing": {}},
    "ansible_cfg": {
        "wanted": "/r/ansible.cfg",
        "used": "/r/ansible.cfg",
        "settings": {"HOST_KEY_CHECKING": [True, True]},
    },
    "migrations": {
        "folder": "/r/migrations",
        "found": [{"label": "0001_one", "checksum": "ab" * 32, "source_sha256": "cd" * 32}],
        "error": "",
        "hint": "",
    },
}
HOST: dict[str, Any] = {
    "reach": {"error": ""},
    "python": {
        "path": "/opt/venv/bin/python",
        "version": "3.12",
        "error": "",
        "is_environment": True,
        "can_make_environment": True,
    },
    "runtime": {"folder": "/opt/venv", "wanted": ["psycopg==3.3.9"], "missing": []},
    "disks": [{"path": "/", "measured": "/", "free_bytes": 3000 * MEBIBYTE, "error": ""}],
    "backup_disk": {"path": "/backups", "measured": "/", "free_bytes": 3000 * MEBIBYTE, "error": ""},
    "checkout": {
        "folder": "/srv/app", "commit": COMMIT, "changes": [], "changed": 0, "untracked": 2, "error": "",
    },
    "client_tools": [
        {"name": name, "path": f"/usr/bin/{name}", "version": "18.1", "major": 18, "error": ""}
        for name in Demands.tools
    ],
    "server_programs": [{"folder": "/usr/lib/postgresql/18/bin", "version": "18.1", "major": 18}],
    "ca": {"path": "/srv/ca.pem", "certificates": 1, "expires": NOW + 365 * 86400, "error": ""},
    "flags": [
        {
            "name": "LEGACY",
            "file": {"path": "/srv/app/.env", "value": "false", "error": ""},
            "processes": {"service": "api", "values": {"7": "false"}, "error": ""},
        }
    ],
}  # fmt: skip
SESSION: dict[str, Any] = {
    "pid": 4711, "role": "gen_user", "application_name": "api", "state": "active", "kind": "client backend",
    "transaction_s": 0.01, "state_s": 0.01, "dump": False, "wraparound": False,
}  # fmt: skip
LOCK: dict[str, Any] = {
    "table": "public.whatsapp_keys", "mode": "RowExclusiveLock", "granted": True, "pid": 4711,
    "application_name": "api", "state": "active", "autovacuum": False, "transaction_s": 0.01,
}  # fmt: skip
DATABASE: dict[str, Any] = {
    "reached": True,
    "asked": True,
    "reason": "",
    "error": "",
    "tls": {"sslmode": "verify-full", "sslrootcert": "/srv/ca.pem", "in_use": True},
    "server_tls": {"in_use": True, "version": "TLSv1.3", "cipher": "TLS_AES_256_GCM_SHA384"},
    "pooler": {"announced": [5, 6], "backends": [[5, 5], [6, 6]], "setting_kept": True, "error": ""},
    "server": {
        "version": "18.0", "version_num": 180000, "database": "default_db", "session_role": "gen_user",
        "role": "gen_user", "standby": False, "encoding": "UTF8", "database_bytes": 10 * MEBIBYTE,
        "sees_all_sessions": False, "now": "2025-11-09T18:30:00Z",
    },
    "settings": {
        name: {"value": value, "unit": unit, "source": "default"}
        for name, value, unit in (
            ("TimeZone", "UTC", ""),
            ("default_transaction_read_only", "off", ""),
            ("idle_in_transaction_session_timeout", "0", "ms"),
            ("idle_session_timeout", "900000", "ms"),
            ("transaction_timeout", "0", "ms"),
            ("max_connections", "100", ""),
            ("reserved_connections", "2", ""),
            ("superuser_reserved_connections", "3", ""),
            ("synchronous_commit", "on", ""),
            ("synchronous_standby_names", "", ""),
        )
    },
    "rights": {
        "owner": "gen_user", "owner_exists": True, "member": True, "schema_exists": True, "use_schema": True,
        "create_in_schema": True, "create_schema": True, "create_ledger": True, "create_database": False,
        "ledger_exists": True,
        "use_ledger": True, "ledger_readable": True,
        "ledger": [
            {"table": table, "select": True, "insert": True, "update": True, "delete": True}
            for table in ("change", "migration")
        ],
    },
    "owners": [{"table": "companies", "owner": "gen_user", "ours": True}],
    "replication": {"confirming": 0, "hidden": 0},
    "connections": {"server": 30, "database": 28, "hidden": 0},
    "transactions": [SESSION],
    "protected": [{"given": "whatsapp_keys", "found": "public.whatsapp_keys"}],
    "locks": [LOCK],
    "invalid_indexes": [],
    "prepared_transactions": [],
    "event_triggers": [],
    "publications": [],
    "ages": [{"table": "public.whatsapp_keys", "age": 1000, "allowed": 200_000_000}],
    "partitions": [
        {
            "table": "public.messages", "asked": True, "exists": True, "error": "", "ahead": 3,
            "covered_until": "2026-03-01 00:00:00+00", "last_run": {"days": 0, "outcome": "done"}, "findings": [],
        }
    ],
}  # fmt: skip
APPLICATION: dict[str, Any] = {
    "services": {
        "healthy": True, "problems": [], "changes": [], "elsewhere": {}, "daemon": {"home": "/srv/.pm2"},
    },
    "whatsapp": {
        "verdict": "connected", "reason": "every answer says so", "terminal": False,
        "store": {"state": "not_looked_at", "findings": []},
    },
}  # fmt: skip
DEMANDS = Demands(
    backup_dir="/backups",
    commit=COMMIT[:9],
    flags=[FlagDemand("LEGACY", "false")],
    jobs=[Job("backup", "03:00", 30)],
    protected=["whatsapp_keys"],
    configured_sslmode="verify-full",
    application_connections=60,
    time_zone="UTC",
    services=["api"],
)


class Case:
    """Healthy answers and demands, to be changed."""

    def __init__(self) -> None:
        self.control = copy.deepcopy(CONTROL)
        self.host = copy.deepcopy(HOST)
        self.database = copy.deepcopy(DATABASE)
        self.application = copy.deepcopy(APPLICATION)
        self.demands = DEMANDS

    def demand(self, **changes: Any) -> Demands:
        self.demands = replace(self.demands, **changes)
        return self.demands

    def session(self, **changes: Any) -> None:
        self.database["transactions"].append({**SESSION, **changes})

    def lock(self, **changes: Any) -> None:
        self.database["locks"].append({**LOCK, **changes})

    def finding(self, kind: str, text: str) -> dict[str, str]:
        found = {"kind": kind, "text": text, "remedy": "Run playbooks/maintain.yml."}
        self.database["partitions"][0]["findings"].append(found)
        return found

    def setting(self, name: str, value: str, unit: str = "") -> dict[str, str]:
        self.database["settings"][name] = {"value": value, "unit": unit, "source": "database"}
        return {name: value}

    def unreached(self, reason: str, error: str = "connection failed") -> dict[str, Any]:
        self.database = {"reached": False, "asked": False, "reason": reason, "error": error}
        return self.database

    def findings(self, unasked: dict[str, str] | None = None) -> dict[str, Finding]:
        known = Known(self.control, self.host, self.database, self.application)
        return {one.id: one for one in precheck.judge(known, self.demands, unasked or {}, {})}


Change = Callable[[Case], object]

#: Item, what is changed, and words of what is observed. The status is failed.
RED: list[tuple[str, Change, str]] = [
    (
        "inventory",
        lambda c: c.control["inventory"].update(missing={"pg_user": "is empty"}),
        "pg_user is empty",
    ),
    ("inventory", lambda c: c.control["inventory"].update(checked=0), "has no list"),
    ("ansible_cfg", lambda c: c.control["ansible_cfg"].update(used="/etc/ansible/ansible.cfg"), "read /etc/"),
    ("ansible_cfg", lambda c: c.control["ansible_cfg"].update(used=""), "no configuration at all"),
    (
        "ansible_cfg",
        lambda c: c.control["ansible_cfg"].update(settings={"HOST_KEY_CHECKING": [True, False]}),
        "HOST_KEY_CHECKING is False",
    ),
    (
        "migrations",
        lambda c: c.control["migrations"].update(error="/r holds no migration", hint="x"),
        "holds no",
    ),
    ("host", lambda c: c.host["reach"].update(error="No route to host"), "No route to host"),
    ("python", lambda c: c.host["python"].update(version="3.9"), "is Python 3.9"),
    ("python", lambda c: c.host["python"].update(error="does not run", version=""), "does not run"),
    (
        "python",
        lambda c: c.host["python"].update(is_environment=False, can_make_environment=False),
        "without them",
    ),
    ("runtime", lambda c: c.host["runtime"].update(missing=["psycopg==3.3.9"]), "lacks psycopg==3.3.9"),
    ("tls_ca", lambda c: c.host["ca"].update(error="/srv/ca.pem: No such file or directory"), "No such file"),
    ("tls_ca", lambda c: c.host["ca"].update(expires=NOW - 1), "it ended at 2025-11-09"),
    ("tls", lambda c: c.database["tls"].update(sslmode="require"), "sslmode is require"),
    (
        "tls",
        lambda c: (c.unreached("tls", "invalid sslmode value"), c.demand(configured_sslmode="verify_full")),
        "'verify_full' is no sslmode",
    ),
    ("tls", lambda c: c.database["tls"].update(in_use=False), "not encrypted"),
    ("tls", lambda c: c.unreached("tls", "server does not support SSL"), "does not support SSL"),
    ("pooler", lambda c: c.database["pooler"].update(backends=[[5, 5], [5, 5]]), "served by backends [5, 5]"),
    ("pooler", lambda c: c.database["pooler"].update(backends=[[5, 7], [6, 6]]), "served by backends [5, 7]"),
    ("pooler", lambda c: c.database["pooler"].update(setting_kept=False), "setting that a session brought"),
    (
        "pooler",
        lambda c: c.database.update(pooler={"error": "unsupported", "reason": "pooler"}),
        "unsupported",
    ),
    ("pooler", lambda c: c.unreached("pooler", "unsupported startup parameter"), "unsupported"),
    (
        "pooler",
        lambda c: (
            c.database.update(asked=False, reason="statement", error="x"),
            c.database["pooler"].update(backends=[[5, 5], [5, 5]]),
        ),
        "served by",
    ),
    ("database", lambda c: c.unreached("refused", "Connection refused"), "Connection refused"),
    ("database", lambda c: c.unreached("other", "what nobody knows"), "what nobody knows"),
    ("database", lambda c: c.database.update(asked=False, reason="statement", error="57014"), "57014"),
    ("server_version", lambda c: c.database["server"].update(version="13.14", version_num=130014), "13.14"),
    ("primary", lambda c: c.database["server"].update(standby=True), "a standby"),
    ("writable", lambda c: c.setting("default_transaction_read_only", "on"), "set by: database"),
    (
        "synchronous_standby",
        lambda c: c.setting("synchronous_standby_names", "s1"),
        "none of them is connected",
    ),
    ("encoding", lambda c: c.database["server"].update(encoding="SQL_ASCII"), "SQL_ASCII"),
    ("rights", lambda c: c.database["rights"].update(owner_exists=False), "there is no role gen_user"),
    ("rights", lambda c: c.database["rights"].update(member=False), "may not act as"),
    ("rights", lambda c: c.database["rights"].update(schema_exists=False), "there is no schema public"),
    ("rights", lambda c: c.database["rights"].update(use_schema=False), "may not use schema"),
    ("rights", lambda c: c.database["rights"].update(create_in_schema=False), "may not create in schema"),
    ("rights", lambda c: c.database["rights"].update(create_schema=False), "scratch schema"),
    (
        "rights",
        lambda c: c.database["rights"].update(ledger_exists=False, create_ledger=False),
        "may not make the ledger's schema",
    ),
    ("rights", lambda c: c.database["rights"]["ledger"][0].update(insert=False), "read and write the ledger"),
    (
        "rights",
        lambda c: (c.database["rights"]["ledger"][0].update(delete=False), c.demand(detaches=True)),
        "may not delete from rollout.change",
    ),
    (
        "partitions",
        lambda c: (c.finding("gap", "a hole"), c.finding("not enough ahead", "rows are taken until")),
        "rows are taken until",
    ),
    (
        "ownership",
        lambda c: c.database["owners"].append({"table": "clients", "owner": "root", "ours": False}),
        "clients belongs to root",
    ),
    ("connections", lambda c: c.database["connections"].update(server=91), "in use"),
    ("connections", lambda c: c.setting("max_connections", "38"), "max_connections 38, 5 of them reserved"),
    ("connections", lambda c: c.unreached("too_many", "sorry, too many clients"), "too many clients"),
    ("disk", lambda c: c.host["disks"][0].update(free_bytes=2048 * MEBIBYTE), "2048 MB"),
    ("disk", lambda c: c.host["disks"][0].update(free_bytes=None, error="no permission"), "no permission"),
    ("backup_disk", lambda c: c.host["backup_disk"].update(free_bytes=1030 * MEBIBYTE), "1030 MB"),
    ("client_tools", lambda c: c.host["client_tools"][0].update(major=16, version="16.1"), "is 16.1"),
    ("backup_target", lambda c: c.host.update(server_programs=[]), "no server programs on the host"),
    ("backup_target", lambda c: c.host["server_programs"][0].update(major=17, version="17.2"), "is 17.2"),
    (
        "client_tools",
        lambda c: c.host["client_tools"][1].update(error="there is no pg_restore"),
        "there is no",
    ),
    (
        "services",
        lambda c: c.application["services"].update(
            healthy=False, problems=[{"service": "api", "text": "PM2 knows no service"}]
        ),
        "api: PM2 knows no service",
    ),
    (
        "services",
        lambda c: c.application["services"].update(
            healthy=False, changes=[{"service": "api", "text": "id 0: started again", "expected": False}]
        ),
        "started again",
    ),
    ("services", lambda c: c.application.update(services={"failed": True, "msg": "no daemon"}), "no daemon"),
    (
        "whatsapp",
        lambda c: c.application["whatsapp"].update(verdict="logged_out", reason="401"),
        "logged_out: 401",
    ),
    ("whatsapp", lambda c: c.application.update(whatsapp={"failed": True, "msg": "no log"}), "no log"),
    ("protected_tables", lambda c: c.database["protected"].append({"given": "x", "found": None}), "no x"),
    ("protected_locks", lambda c: c.lock(mode="ShareLock"), "holds SHARE on public.whatsapp_keys"),
    ("protected_locks", lambda c: c.lock(granted=False), "waits for ROW EXCLUSIVE"),
    ("idle_in_transaction", lambda c: c.session(state="idle in transaction", state_s=10.0), "idle in"),
    (
        "idle_in_transaction",
        lambda c: c.session(state="idle in transaction (aborted)", state_s=99.0),
        "backend 4711 (api, idle in transaction (aborted)",
    ),
    ("long_transactions", lambda c: c.session(transaction_s=60.0), "transaction open for 60 s"),
    ("running_dump", lambda c: c.session(application_name="pg_dump", dump=True), "pg_dump"),
    ("wraparound", lambda c: c.session(wraparound=True, kind="autovacuum worker"), "one is running"),
    ("wraparound", lambda c: c.database["ages"][0].update(age=200_000_000), "200000000 transactions old"),
    (
        "prepared_transactions",
        lambda c: c.database["prepared_transactions"].append({"gid": "half", "owner": "x", "age_s": 5.0}),
        "half of x, for 5 s",
    ),
    (
        "invalid_indexes",
        lambda c: c.database["invalid_indexes"].append({"index": "i", "table": "t"}),
        "i on t is not",
    ),
    ("checkout_commit", lambda c: c.demand(commit="fffffff"), f"/srv/app is at {COMMIT}"),
    ("checkout_commit", lambda c: c.host["checkout"].update(error="not a git repository"), "not a git"),
    ("checkout_clean", lambda c: c.host["checkout"].update(changed=1, changes=[" M x.mjs"]), "M x.mjs"),
    ("flags", lambda c: c.host["flags"][0]["file"].update(value="true"), "true in /srv/app/.env"),
    ("flags", lambda c: c.host["flags"][0]["file"].update(value=None), "unset in /srv/app/.env"),
    ("flags", lambda c: c.host["flags"][0]["processes"].update(values={"7": "true"}), "true when process 7"),
    (
        "session_timeouts",
        lambda c: c.setting("idle_session_timeout", "59000", "ms"),
        "idle_session_timeout 59 s",
    ),
    ("session_timeouts", lambda c: c.setting("transaction_timeout", "5000", "ms"), "transaction_timeout 5 s"),
    (
        "session_timeouts",
        lambda c: c.setting("idle_in_transaction_session_timeout", "30000", "ms"),
        "idle_in_transaction_session_timeout 30 s",
    ),
    ("time_zone", lambda c: c.setting("TimeZone", "Europe/Moscow"), "Europe/Moscow"),
]
#: The same for items that only warn, or warn as well.
AMBER: list[tuple[str, Change, str]] = [
    ("partitions", lambda c: c.finding("no recent maintenance", "9 days ago"), "9 days ago"),
    (
        "partitions",
        lambda c: c.database["partitions"][0].update(error="is not partitioned by RANGE"),
        "public.messages: is not partitioned by RANGE",
    ),
    ("tls_ca", lambda c: c.host["ca"].update(expires=NOW + 86400), "it ends at 2025-11-10"),
    ("pooler", lambda c: c.database["pooler"].update(announced=[1, 2]), "keeps sessions apart"),
    (
        "writable",
        lambda c: (c.demand(writes=False), c.setting("default_transaction_read_only", "on")),
        "refused",
    ),
    ("rights", lambda c: (c.demand(writes=False), c.database["rights"].update(member=False)), "may not act"),
    (
        "ownership",
        lambda c: (c.demand(writes=False), c.database["owners"][0].update(ours=False)),
        "a run that writes would be refused",
    ),
    ("connections", lambda c: c.demand(application_connections=140), "may open 140"),
    ("protected_locks", lambda c: c.lock(mode="ShareUpdateExclusiveLock"), "SHARE UPDATE EXCLUSIVE"),
    (
        "flags",
        lambda c: (
            c.demand(flags=[FlagDemand("LEGACY")]),
            c.host["flags"][0]["processes"].update(values={"7": "true"}),
        ),
        "true when process 7",
    ),
    ("event_triggers", lambda c: c.database["event_triggers"].append({"name": "a", "event": "e"}), "a on e"),
    (
        "publications",
        lambda c: c.database["publications"].append({"name": "p", "what": "ALL TABLES"}),
        "p FOR ALL TABLES",
    ),
    ("other_jobs", lambda c: c.demand(jobs=[Job("backup", "19:29", 30)]), "backup at 19:29"),
    ("other_jobs", lambda c: c.demand(jobs=[Job("backup", "18:01", 30)]), "backup at 18:01"),
    ("other_jobs", lambda c: c.demand(jobs=[Job("x", "00:10", 9)], window_minutes=400), "x at 00:10"),
]
#: What is not configured or could not be asked is not tested, and says why.
GREY: list[tuple[str, Change, str]] = [
    ("partitions", lambda c: c.database.update(partitions=[]), "no table is maintained"),
    (
        "partitions",
        lambda c: c.database["partitions"][0].update(asked=False, error="connection lost"),
        "connection lost",
    ),
    ("tls_ca", lambda c: c.host.update(ca=None), "no certificate of an authority is configured"),
    ("disk", lambda c: c.host.update(disks=[]), "no path is configured"),
    ("backup_disk", lambda c: c.host.update(backup_disk=None), "no folder for backups"),
    ("checkout_commit", lambda c: c.demand(commit=""), f"it is at {COMMIT}"),
    ("client_tools", lambda c: c.host.update(client_tools=[]), "no client programs"),
    ("backup_target", lambda c: c.demand(backup_dir=""), "no folder for backups"),
    ("flags", lambda c: c.demand(flags=[]), "no variable is configured"),
    ("flags", lambda c: c.host["flags"][0]["processes"].update(error="no daemon", values={}), "no daemon"),
    ("other_jobs", lambda c: c.demand(jobs=[]), "no other jobs"),
    ("ownership", lambda c: c.database.pop("owners"), "the ledger may not be read"),
    ("pooler", lambda c: c.database.update(pooler={"error": "x", "reason": "other"}), "two sessions at once"),
    ("time_zone", lambda c: c.demand(time_zone=""), "it is UTC"),
    (
        "synchronous_standby",
        lambda c: (c.setting("synchronous_standby_names", "*"), c.database["replication"].update(hidden=1)),
        "hidden from gen_user",
    ),
]
#: What is not red, although it looks like it.
GREEN: list[tuple[str, Change]] = [
    ("long_transactions", lambda c: c.session(transaction_s=59.9)),
    ("long_transactions", lambda c: c.session(transaction_s=900.0, kind="autovacuum worker")),
    ("long_transactions", lambda c: c.session(transaction_s=900.0, kind="walsender")),
    ("long_transactions", lambda c: c.session(transaction_s=900.0, state="idle in transaction", state_s=1.0)),
    ("idle_in_transaction", lambda c: c.session(state="idle in transaction", state_s=9.9)),
    ("idle_in_transaction", lambda c: c.session(state="idle", transaction_s=None, state_s=900.0)),
    ("protected_locks", lambda c: c.lock(mode="ShareUpdateExclusiveLock", autovacuum=True)),
    ("rights", lambda c: c.database["rights"].update(ledger_exists=False)),
    ("rights", lambda c: c.database["rights"]["ledger"][0].update(delete=False)),
    ("partitions", lambda c: c.database["partitions"][0].update(exists=False, last_run={}, covered_until="")),
    ("ownership", lambda c: (c.database["rights"].update(ledger_exists=False), c.database.pop("owners"))),
    ("connections", lambda c: c.database["connections"].update(server=90)),
    ("session_timeouts", lambda c: c.database["settings"].pop("transaction_timeout")),
    ("session_timeouts", lambda c: c.setting("idle_session_timeout", "60000", "ms")),
    ("flags", lambda c: c.host["flags"][0]["processes"].update(values={"7": None})),
    (
        "flags",
        lambda c: (
            c.demand(flags=[FlagDemand("LEGACY", "true", "true")]),
            c.host["flags"][0].update(file={"path": "x", "value": None, "error": ""}, processes=None),
        ),
    ),
    ("checkout_commit", lambda c: c.demand(commit=COMMIT.upper())),
    ("tls", lambda c: c.demand(sslmode="require")),
    (
        "tls",
        lambda c: (
            c.demand(sslmode="disable", configured_sslmode="disable"),
            c.database["tls"].update(sslmode="disable", in_use=False),
        ),
    ),
    ("other_jobs", lambda c: c.demand(jobs=[Job("backup", "18:00", 30), Job("x", "19:30", 5)])),
    ("wraparound", lambda c: c.database.update(ages=[])),
    (
        "synchronous_standby",
        lambda c: (
            c.setting("synchronous_standby_names", "*"),
            c.database["replication"].update(confirming=1),
        ),
    ),
    (
        "synchronous_standby",
        lambda c: (c.setting("synchronous_standby_names", "*"), c.setting("synchronous_commit", "local")),
    ),
]


def names(cases: list[Any]) -> list[str]:
    return [f"{case[0]}-{number}" for number, case in enumerate(cases)]


def test_healthy_answers_are_green() -> None:
    """The control of everything below."""
    found = Case().findings()
    assert {one.id: one.observed for one in found.values() if one.status != "passed"} == {}
    assert list(found) == [item.id for item in precheck.ITEMS]


@pytest.mark.parametrize(("item", "change", "words"), RED, ids=names(RED))
def test_red(item: str, change: Change, words: str) -> None:
    case = Case()
    change(case)
    found = case.findings()
    assert found[item].status == "failed"
    assert words in found[item].observed
    assert found[item].expected
    assert found[item].hint, "a red line says what to do"
    assert [one.id for one in found.values() if one.status in ("failed", "warning")] == [item], "no other one"


@pytest.mark.parametrize(("item", "change", "words"), AMBER, ids=names(AMBER))
def test_a_warning(item: str, change: Change, words: str) -> None:
    case = Case()
    change(case)
    found = case.findings()
    assert found[item].status == "warning"
    assert words in found[item].observed
    assert found[item].hint
    assert [one.id for one in found.values() if one.status != "passed"] == [item]


@pytest.mark.parametrize(("item", "change", "words"), GREY, ids=names(GREY))
def test_what_was_not_asked_is_never_called_good(item: str, change: Change, words: str) -> None:
    case = Case()
    change(case)
    found = case.findings()
    assert found[item].status == "not_tested"
    assert words in found[item].observed
    assert [one.id for one in found.values() if one.status != "passed"] == [item]


@pytest.mark.parametrize(("item", "change"), GREEN, ids=names(GREEN))
def test_green_at_the_edge(item: str, change: Change) -> None:
    case = Case()
    change(case)
    found = case.findings()
    assert found[item].status == "passed", found[item]
    assert [one.id for one in found.values() if one.status != "passed"] == []


def test_every_item_can_be_red_and_green() -> None:
    items = [item.id for item in precheck.ITEMS]
    assert len(set(items)) == len(items)
    assert {item for item, *_ in RED + AMBER} == set(items)
    assert {one.id for one in Case().findings().values() if one.status == "passed"} == set(items)


def test_the_roles_page_explains_every_item_in_the_order_of_the_findings() -> None:
    page = (Path(__file__).resolve().parents[2] / "roles/precheck/README.md").read_text()
    table = page[page.index("## The items") : page.index("## What it can know")]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [item.id for item in precheck.ITEMS]


def test_what_depends_on_an_answer_that_was_not_had_says_so() -> None:
    case = Case()
    case.unreached("refused")
    found = case.findings({"database": "see database"})
    untested = {one.id: one.observed for one in found.values() if one.status == "not_tested"}
    assert untested["primary"] == "see database"
    assert untested["tls"] == "there is no connection to look at"
    assert "the server's version is not known" in untested["client_tools"]
    assert found["backup_disk"].status == "passed", "asked all the same"
    groups = {item.id for item in precheck.ITEMS if item.group == "database"}
    assert {one for one in groups if found[one].status == "passed"} == set()


@pytest.mark.parametrize(
    ("reason", "where"),
    [("tls_ca", "tls_ca"), ("tls", "tls"), ("pooler", "pooler"), ("too_many", "connections")],
)
def test_why_there_is_no_connection_is_told_once(reason: str, where: str) -> None:
    case = Case()
    case.unreached(reason)
    found = case.findings()
    assert found["database"].status == "not_tested"
    assert found["database"].observed == f"no connection: see {where}"


def test_an_unreachable_host_leaves_the_control_node_to_be_judged() -> None:
    case = Case()
    case.host = {"reach": {"error": "No route to host"}}
    case.database, case.application = {}, {}
    case.control["migrations"].update(error="gone", hint="x")
    found = case.findings({"host": "see host", "database": "see host", "application": "see host"})
    assert {one.id for one in found.values() if one.status == "failed"} == {"host", "migrations"}
    assert {one.observed for one in found.values() if one.status == "not_tested"} == {"see host"}


def test_hidden_sessions_make_the_items_on_sessions_untested() -> None:
    case = Case()
    case.database["connections"]["hidden"] = 2
    found = case.findings()
    untested = {one.id for one in found.values() if one.status == "not_tested"}
    assert untested == {"idle_in_transaction", "long_transactions", "running_dump"}
    assert 'GRANT pg_read_all_stats TO "gen_user"' in found["running_dump"].hint
    case.session(transaction_s=99.0)
    assert case.findings()["long_transactions"].status == "failed", "what is seen is red all the same"


def test_a_ledger_with_one_table_only_is_not_taken_for_one() -> None:
    case = Case()
    case.database["rights"].update(use_ledger=False)
    assert case.findings()["rights"].status == "failed"


@given(st.integers(0, 1439), st.integers(0, 1439), st.integers(1, 600), st.integers(1, 600))
def test_a_job_is_due_exactly_when_its_minutes_meet_the_window(
    now: int, start: int, lasts: int, window: int
) -> None:
    case = Case()
    case.control["now"] = datetime(2025, 11, 9, now // 60, now % 60, tzinfo=UTC).timestamp()
    case.host["ca"]["expires"] = case.control["now"] + 365 * 86400
    case.demand(jobs=[Job("x", f"{start // 60:02}:{start % 60:02}", lasts)], window_minutes=window)
    busy = {(start + minute) % 1440 for minute in range(lasts)}
    due = any((now + minute) % 1440 in busy for minute in range(window))
    assert (case.findings()["other_jobs"].status == "warning") == due
