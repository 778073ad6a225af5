"""The application suffers in the middle of a run."""

import psycopg

from containers.playbooks import Begun, report
from containers.site import Site
from tests.waiting import until

FIRST = "0001_business_tables"
PATIENCE_S = 900
OURS = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname NOT LIKE '%whatsapp%'"


def first_is_in_force(admin) -> bool:
    try:
        return bool(
            admin.execute("SELECT count(*) FROM rollout.migration WHERE id = '0001'").fetchone() == (1,)
        )
    except psycopg.errors.UndefinedTable:
        return False


def test_logged_out_between_two_migrations_everything_is_taken_back(site: Site, admin) -> None:
    run = Begun(site, "apply.yml")
    until(
        lambda: first_is_in_force(admin) or run.process.poll() is not None, "the first migration", PATIENCE_S
    )
    site.stand_in("app", "break", "logout")
    ended = run.end()

    assert ended.code != 0, ended.output
    assert f"RED after migration {FIRST}" in ended.words
    # The migration is gone, the second never came, and nothing else was touched.
    assert admin.execute(OURS).fetchall() == []
    rows = admin.execute("SELECT id, rolled_back_at IS NOT NULL FROM rollout.migration").fetchall()
    assert rows == [("0001", True)]
    assert admin.execute("SELECT count(*) FROM whatsapp_auth").fetchone() == (1,)
    # The report says why.
    recorded = report(site)
    assert recorded["outcome"] == "failed"
    rollback = recorded["hosts"]["app"]["sections"]["rollback"]
    assert rollback["cause"] == "red_gate"
    assert rollback["taken_back"] == [FIRST]
    assert "logged out" in rollback["reason"].lower()
    # Nobody started anything anew: that is for the application's people.
    status = site.stand_in("app", "status")
    assert set(status["restarts"].values()) == {0}
    assert status["problems"]
