"""Invented records of runs, in the shape in which the roles leave them: what pages and files are made of in tests.

Records of real runs are in tests/integration; here are those that no test can wait for, such as half an hour of watch.
"""

import datetime
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

BEGAN = 1795384294.337
SERVICES = 7
MIB = 1024 * 1024
FIRST, SECOND = "0001_business_tables", "0002_messages"


def finding(own: str, title: str, status: str, **more: Any) -> dict[str, Any]:
    return {
        "id": own,
        "title": title,
        "status": status,
        "expected": "",
        "observed": "",
        "hint": "",
        "evidence": {},
        "seconds": 0.05,
        **more,
    }


PRECHECK = [
    finding("time_zone", "The server's time zone", "not_tested", observed="it is UTC; none is configured"),
    finding(
        "connections",
        "The server has connections left",
        "warning",
        expected="5 connections left, also when the application's pools are full",
        observed="max_connections 100, 3 of them reserved, 2 in use; the application may open 140",
        hint="Nothing hinders the run now. Full pools would: make them smaller, or raise max_connections.",
        evidence={"max_connections": 100, "in_use": 2},
    ),
    *(
        finding(f"item_{at}", f"Something that is known beforehand, {at}", "passed", observed="as expected")
        for at in range(1, 34)
    ),
]
CHECKLIST = [
    finding(
        "tables", "The 11 business tables have exactly the shape", "passed", observed="11 tables", seconds=0.2
    ),
    finding(
        "partitions",
        "The partitions of messages are contiguous and cover the months ahead",
        "passed",
        observed="11 partitions, covered until 1 June 2027",
        evidence={"first": "2026-08", "last": "2027-05", "gaps": []},
    ),
    finding("indexes", "All indexes are there, and none is invalid", "passed", observed="179 indexes"),
    finding("functions", "The 8 functions can be called", "passed", observed="8 called"),
    finding("triggers", "The 9 triggers fire", "passed", observed="9 fired"),
    finding("whatsapp", "WhatsApp is connected", "passed", observed="connected by 3 sources"),
    finding(
        "own_names",
        "Имена клиентов читаются как записаны",
        "passed",
        observed="«Анна», «Пётр» и 🙂 прочитаны как записаны",
        evidence={"имя": "Анна", "emoji": "🙂"},
    ),
    finding("rows", "The expected rows are there", "not_tested", observed="the tables are empty"),
    finding(
        "cpu",
        "The host's CPU is below 50 %",
        "warning",
        expected="below 50 %",
        observed="48 % on average of 3 looks",
        hint="It is close. Look at what else runs on the host.",
        evidence={"samples": [44.0, 49.1, 51.2]},
    ),
]
KINDS = {
    "table": 10,
    "column": 131,
    "index": 58,
    "constraint": 39,
    "sequence": 9,
    "function": 4,
    "trigger": 9,
}


def section(at: float, seconds: Any, **data: Any) -> dict[str, Any]:
    """A section that was recorded so many seconds after the run began."""
    return {"recorded_at": iso(BEGAN + at), "seconds": seconds, "changed": False, "failed": False, **data}


def iso(at: float) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat(timespec="milliseconds")


def rehearsal() -> dict[str, Any]:
    return section(
        12.5,
        0.241,
        server_version="15.18 (Debian 15.18-0+deb12u1)",
        summary=f"{FIRST} (absent): apply, created 10 tables; {SECOND} (absent): apply, created 11 tables",
        migrations=[
            {
                "id": label[:4],
                "label": label,
                "state": "absent",
                "action": "apply",
                "pending": True,
                "does": "created 131 columns, 35 comments, 39 constraints, 4 functions, 58 indexes",
                "rehearsal_ms": 60.8,
            }
            for label in (FIRST, SECOND)
        ],
    )


def migration(label: str, at: float, **more: Any) -> dict[str, Any]:
    return section(
        at,
        0.127,
        **{
            "changed": True,
            "summary": f"{label} applied: 97 statements",
            "executed": {
                "state": "applied",
                "attempts": 1,
                "xid": "784",
                "commit_verdict": "answered",
                "locks": {"companies": "SHARE ROW EXCLUSIVE"} if label == SECOND else {},
                "budget": {"whatsapp_auth": "ACCESS SHARE", "whatsapp_keys": "ACCESS SHARE"},
                "fingerprint_before": "f6" * 32,
                "fingerprint_after": "a8" * 32,
                "statements": [
                    {
                        "place": f"{label}/010_tables.sql.j2:{at}",
                        "ms": 2.79,
                        "sql": f"CREATE TABLE t{at} (id bigint)",
                    }
                    for at in range(1, 9)
                ],
            },
            "migrations": [
                {
                    "id": label[:4],
                    "label": label,
                    "description": "Tables of the booking assistant, with their indexes, triggers and functions.",
                    "missing": [f"{kind} thing_{at}" for kind, count in KINDS.items() for at in range(count)],
                    "standing": [],
                }
            ],
            "sql": {"file": f"sql/app.migration_{label}.sql", "sha256": "be" * 32},
            **more,
        },
    )


def look(at: float, number: int = 1, **more: Any) -> dict[str, Any]:
    """A sample of the watch, which is a sample of the gate with more in it."""
    wave = math.sin(number * 1.7)
    return {
        "at": BEGAN + at,
        "number": number,
        "watched_s": at,
        "online": SERVICES,
        "services": SERVICES,
        "whatsapp": "connected",
        "store": "sound",
        "new_errors": max(0, number - 4),
        "memory": int((424 + 3 * wave + number) * MIB),
        "cpu": round(6 + 4 * wave, 1),
        "findings": [],
        "broken": [],
        "pids": {"ai-admin-api": [22963]},
        "continuity": {},
        "database": {
            "connections": 21 + number % 3,
            "connections_max": 100,
            "size": int((11.4 + 0.02 * number) * MIB),
            "waiting_locks": 0,
        },
        "host": {"cpu_percent": 12.0, "mem_available": 3 * 1024 * MIB},
        **more,
    }


def gate(at: float, label: str, state: str = "green", **more: Any) -> dict[str, Any]:
    return section(
        at,
        2.9,
        **{
            "label": label,
            "state": state,
            "reasons": [],
            "samples": [look(at - 3 + step, step) for step in range(1, 4)],
            "failed": state in ("red", "broken"),
            **more,
        },
    )


RED = gate(
    24.0,
    f"after migration {FIRST}",
    "red",
    reasons=[
        "WhatsApp: the session was logged out (401) and no connection came after it",
        "baileys-whatsapp-service: 2 new lines of logged_out, such as 'Session logged out for company 100001'",
    ],
    samples=[
        look(21.5, 1),
        look(
            23.8,
            2,
            whatsapp="logged_out",
            findings=[
                {
                    "source": "whatsapp",
                    "subject": "WhatsApp",
                    "code": "logged_out",
                    "text": "the session was logged out (401) and no connection came after it",
                    "lasting": True,
                }
            ],
        ),
    ],
)


def backup(at: float) -> dict[str, Any]:
    folder = "/srv/rollout/backups/20261122T215152Z-before-rollout-4df3"
    return section(
        at,
        {"read": 0.038, "count": 0.025, "dump": 0.112, "prove": 0.872},
        changed=True,
        summary=f"{folder}/database.dump: 70843 bytes, 2 tables, 821 rows; proven by a restore",
        database="default_db",
        database_bytes=10263911,
        programs="/usr/lib/postgresql/15/bin (15.18)",
        backup={
            "folder": folder,
            "bytes": 70843,
            "rows": 821,
            "proven": True,
            "sha256": "49" * 32,
            "snapshot_at": "2026-11-22T21:51:51.019049+00:00",
            "proof": {
                "equal": True,
                "how": "local",
                "seconds": 0.872,
                "where": "a throw-away PostgreSQL 15.18 on this host",
            },
            "tables": {
                "public.whatsapp_auth": {"rows": 1, "bytes": 106496},
                "public.whatsapp_keys": {"rows": 820, "bytes": 933888},
            },
        },
    )


def message(at: float, status: str = "passed") -> dict[str, Any]:
    asked = BEGAN + at - 2.1
    return section(
        at,
        2.1,
        status=status,
        failed=status == "failed",
        phone="*********99",
        reason="The bot answered: all 4 steps were logged in order, 2.1 s after asking",
        asked_at=asked,
        steps=[
            {"name": name, "service": "ai-admin-worker-v2", "seen": True, "at": asked + after}
            for name, after in (("processing", 1.2), ("sending", 1.8), ("accepted", 1.9))
        ],
    )


def verify(at: float, findings: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return section(
        at,
        1.4,
        **{
            "findings": findings,
            "summary": "2 not tested",
            "counts": {},
            "fingerprint": "5e" * 32,
            "recorded": [FIRST, SECOND],
            "differences": [],
            "failed": any(one["status"] == "failed" for one in findings),
            **more,
        },
    )


def watch(at: float, state: str = "green", **more: Any) -> dict[str, Any]:
    begin = at - 1800
    return section(
        at,
        1800,
        **{
            "state": state,
            "failed": state in ("red", "broken"),
            "reasons": [],
            "on_red": "fail",
            "began_at": BEGAN + begin,
            "watched_s": 1800,
            "duration_s": 1800,
            "interval_s": 300,
            "planned": 7,
            "limits": {},
            "baseline": {
                "of": "before the run",
                "at": BEGAN + 10,
                "database": {"size": 10263911},
                "host": {},
            },
            "gaps": [
                {
                    "begin": BEGAN + begin + 620,
                    "end": BEGAN + begin + 700,
                    "seconds": 80,
                    "reason": "no connection",
                }
            ],
            "samples": [
                look(begin + 300 * step, step + 1, **({"memory": None, "cpu": None} if step == 3 else {}))
                for step in range(7)
            ],
            "reference": {},
            **more,
        },
    )


def green() -> dict[str, Any]:
    """Sections of a host on which everything went well, watch included."""
    return {
        "precheck": section(
            7.6, 6.9, findings=PRECHECK, summary="1 warning, 1 not tested, 33 passed", msg=""
        ),
        "rehearsal": rehearsal(),
        "message before": message(15.7),
        "backup": backup(17.9),
        "gate before": gate(21.0, "before"),
        f"migration {FIRST}": migration(FIRST, 22.0),
        f"gate after migration {FIRST}": gate(25.0, f"after migration {FIRST}"),
        f"migration {SECOND}": migration(SECOND, 26.0),
        f"gate after migration {SECOND}": gate(29.0, f"after migration {SECOND}"),
        "verify": verify(31.0, CHECKLIST),
        "gate after the run": gate(35.0, "after the run"),
        "message after the run": message(37.5),
        "watch": watch(1840.0),
        "audit": section(
            39.0,
            3.2,
            sentence="412 of 413 calls of the code would run on this schema.",
            commit="0f" * 20,
            counts={"runs": 412, "fails": 1, "unknown": 0},
            totals={"calls": 413},
            lacks=[
                {"code": "42703", "reason": "table clients has no column nope", "calls": ["src/api.js:3"]}
            ],
            files=["audit.json", "audit.html"],
            msg="",
        ),
        "end": section(1841.0, 0, summary="Every step of the run ended well."),
    }


def rolled_back() -> dict[str, Any]:
    """Sections of a host whose application suffered after the first migration."""
    kept = ("precheck", "rehearsal", "message before", "backup", "gate before", f"migration {FIRST}")
    return {
        **{name: data for name, data in green().items() if name in kept},
        f"gate after migration {FIRST}": RED,
        f"rollback {FIRST}": section(
            25.2, 0.1, changed=True, summary=f"{FIRST} taken back: dropped table clients, table companies"
        ),
        "gate after the rollback": gate(29.0, "after the rollback"),
        "rollback": section(
            29.5,
            0,
            failed=True,
            cause="red_gate",
            reason=f"RED after migration {FIRST}:\n  {RED['reasons'][0]}",
            taken_back=[FIRST],
            stays=[],
            refused="",
            as_before=True,
            gate="green",
        ),
    }


def red_item() -> dict[str, Any]:
    """Sections of a host of which one item of the checklist is red."""
    red = finding(
        "triggers",
        "The 9 triggers fire",
        "failed",
        expected="an UPDATE changes updated_at",
        observed="clients: updated_at stayed as it was",
        hint="ALTER TABLE clients ENABLE TRIGGER update_clients_updated_at",
        evidence={"clients": {"enabled": "D"}},
    )
    items = [red if one["id"] == "triggers" else one for one in CHECKLIST]
    found = {
        name: data for name, data in green().items() if name not in ("watch", "end", "message after the run")
    }
    found["verify"] = verify(31.0, items)
    found["rollback"] = section(
        36.0,
        0,
        failed=True,
        cause="failed_step",
        reason="checklist: 1 failed",
        taken_back=[],
        stays=[FIRST, SECOND],
        refused="",
        as_before=False,
        gate="not_tested",
    )
    return found


def write(report_dir: Path, run_id: str, hosts: Mapping[str, Mapping[str, Any]], **run: Any) -> Path:
    """A record on disk, as if its run had just ended; returns its folder."""
    folder = report_dir / run_id
    (folder / "hosts").mkdir(parents=True)
    facts = {
        "format": 2,
        "run_id": run_id,
        "began_at": iso(BEGAN),
        "playbook": ["apply.yml"],
        "inventory": ["inventory/prod"],
        "limit": "",
        "tags": ["all"],
        "ansible": "2.19.14",
        "repository": {"commit": "e989e5dead5219db6774523fed0ef34cf8deb951", "clean": True},
        **run,
    }
    (folder / "run.json").write_text(json.dumps(facts))
    for host, sections in hosts.items():
        (folder / "hosts" / f"{quote(host, safe=':')}.json").write_text(json.dumps(sections))
    return folder
