"""What was half made by hand is whole now, and what was there is the same as before."""

from containers.site import Site
from sandbox.credentials import OWNER
from tests.catalog_shape import EXPECTED, Shape

DATABASE = "default_db"


def test_the_schema_is_whole(site: Site) -> None:
    with site.server.connect(OWNER, DATABASE) as owner:
        assert Shape(owner, "public").differences(EXPECTED) == []


def test_what_was_made_by_hand_was_kept_with_its_row(admin) -> None:
    assert admin.execute("SELECT id, name FROM companies").fetchall() == [(1, "Salon")]
    rows = admin.execute("SELECT object FROM rollout.change WHERE action = 'adopted'").fetchall()
    adopted = {name for (name,) in rows}
    assert {"table companies", "table clients", "index idx_companies_active"} <= adopted
    assert not {"table services", "table bookings"} & adopted
    states = admin.execute("SELECT id, state FROM rollout.migration ORDER BY id").fetchall()
    assert states == [("0001", "completed"), ("0002", "applied")]
