"""Eight databases, three application hosts: the canary turns red, and nobody else is touched."""

import json

import psycopg

from containers.playbooks import Begun, report
from containers.site import Site
from sandbox.credentials import ADMIN
from tests.waiting import until

CANARY = "salon1"
BATCHES = ("-e", json.dumps({"rollout_batches": [1, "100%"]}))
PATIENCE_S = 900
FIRST_IN_FORCE = "SELECT count(*) FROM rollout.migration WHERE id = '0001'"
TABLES = "SELECT count(*) FROM pg_tables WHERE schemaname IN ('public', 'rollout') AND tablename NOT LIKE 'whatsapp%'"


def answer(site: Site, database: str, query: str) -> int:
    with site.server.connect(ADMIN, database) as admin:
        try:
            row = admin.execute(query.encode()).fetchone()
        except psycopg.errors.UndefinedTable:
            return 0
    assert row is not None
    return int(row[0])


def test_a_red_canary_stops_the_fleet(site: Site) -> None:
    run = Begun(site, "apply.yml", *BATCHES)
    until(
        lambda: answer(site, CANARY, FIRST_IN_FORCE) or run.process.poll() is not None,
        "the canary's first migration",
        PATIENCE_S,
    )
    site.stand_in(site.hosts[CANARY].container, "break", "logout")
    ended = run.end()

    assert ended.code != 0, ended.output
    rollback = report(site)["hosts"][CANARY]["sections"]["rollback"]
    assert rollback["cause"] == "red_gate"
    assert rollback["taken_back"] == ["0001_business_tables"]
    others = {host.database for name, host in site.hosts.items() if name != CANARY}
    assert len(others) == 7
    assert {database: answer(site, database, TABLES) for database in others} == dict.fromkeys(others, 0)


def test_a_green_canary_lets_all_others_follow(site: Site) -> None:
    site.stand_in(site.hosts[CANARY].container, "mend")
    ended = Begun(site, "apply.yml", *BATCHES).end()
    assert ended.code == 0, ended.output
    in_force = "SELECT count(*) FROM rollout.migration WHERE rolled_back_at IS NULL"
    databases = {host.database for host in site.hosts.values()}
    assert {database: answer(site, database, in_force) for database in databases} == dict.fromkeys(
        databases, 2
    )
