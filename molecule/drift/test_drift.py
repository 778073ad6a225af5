"""Refused with the differences, before anything is changed."""

from containers.playbooks import playbook, report
from containers.site import Site

OBJECTS = (
    "SELECT oid, relname, relfilenode FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY oid"
)


def test_the_run_is_refused_with_each_difference_and_nothing_changes(site: Site, admin) -> None:
    before = admin.execute(OBJECTS).fetchall()
    refused = playbook(site, "apply.yml")
    assert refused.code != 0
    for difference in ("companies.email", "clients.phone", "idx_companies_active"):
        assert difference in refused.words
    assert admin.execute(OBJECTS).fetchall() == before
    assert admin.execute("SELECT to_regclass('rollout.migration')").fetchone() == (None,)
    assert report(site)["outcome"] == "failed"
    assert site.stand_in("app", "status")["problems"] == []
