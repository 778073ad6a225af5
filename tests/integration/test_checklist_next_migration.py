"""The next migration is a folder: keys, foreign keys and columns of all kinds are tried out from its samples alone."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.rollout.checklist_database import Outcome
from ansible.module_utils.rollout.checklist_samples import dump
from ansible.module_utils.rollout.checklist_samples_source import load_samples

from sandbox.databases import Database
from tests.database_checklist import Checklist, finding, statuses
from tests.migration_folders import write_migration
from tests.runner import Runner

SQL = """
CREATE TABLE {{ schema }}.shops (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    "Odd, name" text UNIQUE,
    founder bigint REFERENCES {{ schema }}.shops (id)
);
CREATE UNIQUE INDEX shops_one_name ON {{ schema }}.shops (lower(name));
CREATE TABLE {{ schema }}.rooms (
    shop_id bigint NOT NULL REFERENCES {{ schema }}.shops (id) ON DELETE CASCADE,
    floor integer NOT NULL,
    seats integer NOT NULL,
    free integer NOT NULL,
    twice integer GENERATED ALWAYS AS (seats * 2) STORED,
    PRIMARY KEY (shop_id, floor),
    CONSTRAINT rooms_seats CHECK (free <= seats AND free >= 0)
);
CREATE TABLE {{ schema }}.beds (
    token uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    shop_id bigint,
    floor integer,
    taken tsrange,
    FOREIGN KEY (shop_id, floor) REFERENCES {{ schema }}.rooms (shop_id, floor) DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT beds_taken EXCLUDE USING gist (taken WITH &&)
);
CREATE TABLE {{ schema }}.notes (
    id serial PRIMARY KEY,
    bed uuid REFERENCES {{ schema }}.beds (token) ON DELETE SET NULL,
    shop_id bigint DEFAULT NULL REFERENCES {{ schema }}.shops (id) ON DELETE SET DEFAULT,
    kind text NOT NULL
);
CREATE UNIQUE INDEX notes_one_open ON {{ schema }}.notes (kind) WHERE kind = 'open';
CREATE FUNCTION {{ schema }}.seats(p_floor integer) RETURNS bigint LANGUAGE sql STABLE
SET search_path = {{ schema }}, pg_temp AS $$ SELECT sum(seats) FROM rooms WHERE floor = p_floor $$;
CREATE FUNCTION {{ schema }}.shout() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN NEW.kind := upper(NEW.kind); RETURN NEW; END $$;
CREATE TRIGGER shouting BEFORE UPDATE ON {{ schema }}.notes FOR EACH ROW EXECUTE FUNCTION {{ schema }}.shout();
"""
SAMPLES: dict[str, Any] = {
    "rows": {
        "shops": {"name": "Лавка", "Odd, name": "one"},
        "rooms": {"floor": {"free": 1}, "seats": 4, "free": 2},
        "beds": {"token": "00000000-0000-4000-8000-000000000001", "taken": "[2030-01-01,2030-01-02)"},
        "notes": {"kind": "open"},
    },
    "another": {
        "shops": {"name": "Другая", "Odd, name": "two"},
        "beds": {"token": "00000000-0000-4000-8000-000000000002", "taken": "[2030-02-01,2030-02-02)"},
        "notes": {"kind": "closed"},
    },
    "checks": {
        "rooms.rooms_seats": {
            "good": [{"free": 0}, {"free": 4}],
            "bad": [{"free": 5}, {"free": -1}, {"seats": 1}],
        }
    },
    "triggers": {"shout()": {"set": {"kind": "quiet"}, "then": "kind = 'QUIET'"}},
    "round_trip": [
        {"table": "shops", "values": {"name": "Ёж 🦔"}},
        {"table": "beds", "values": {"taken": "[2030-01-01 00:00,2030-01-02 00:00)"}},
    ],
    "calls": [
        {
            "function": "seats(integer)",
            "steps": [{"ask": "SELECT seats({free.1}) AS seats", "returns": [{"seats": 4}]}],
        }
    ],
    "access_paths": [
        {
            "title": "A shop by name",
            "query": "SELECT * FROM shops WHERE lower(name) = 'x'",
            "index": ["shops_one_name"],
        }
    ],
    "story": [
        {
            "say": "Who sleeps where",
            "ask": "SELECT shops.name, rooms.twice FROM notes JOIN beds ON beds.token = notes.bed"
            " JOIN rooms USING (floor) JOIN shops ON shops.id = rooms.shop_id WHERE shops.id = {shops.id}",
            "returns": [{"name": "Лавка", "twice": 8}],
        }
    ],
}


@pytest.fixture
def checklist(database: Database, tmp_path: Path) -> Checklist:
    """A database in which that migration is in force."""
    folder = tmp_path / "migrations"
    migration = write_migration(folder, "0001", "shops", SQL)
    (migration / "samples.yml").write_text(yaml.safe_dump(SAMPLES, allow_unicode=True))
    Runner(database.options, folder).apply()
    samples = dump(load_samples(folder, {}))
    given: dict[str, Any] = {"samples": samples, "partitions": [], "demands": {}}
    return Checklist(database, given)


def red(outcome: Outcome) -> set[str]:
    return {item for item, status in statuses(outcome).items() if status == "failed"}


def test_all_of_it_is_tried_out(checklist: Checklist) -> None:
    outcome = checklist.run()
    assert {
        item: status for item, status in statuses(outcome).items() if status not in ("passed", "not_tested")
    } == {
        # What cannot be derived is named.
        "foreign_keys": "warning"
    }, outcome.findings
    told = finding(outcome, "foreign_keys")["observed"].splitlines()
    assert told == [
        "notes.notes_bed_fkey: no value of type uuid is known to have no parent",
        "shops.shops_founder_fkey refers to its own table: what a DELETE does there is not tried",
    ]
    assert finding(outcome, "not_null")["observed"] == "9 columns refused NULL"
    assert finding(outcome, "unique_keys")["observed"] == "8 keys refused a second row"


@pytest.mark.parametrize(
    ("damage", "item", "told"),
    [
        (
            "ALTER TABLE notes DROP CONSTRAINT notes_bed_fkey;"
            " ALTER TABLE notes ADD FOREIGN KEY (bed) REFERENCES beds ON DELETE CASCADE",
            "foreign_keys",
            "notes.notes_bed_fkey: deleting a row of beds removes its rows; recorded is ON DELETE SET NULL",
        ),
        (
            "ALTER TABLE beds DROP CONSTRAINT beds_shop_id_floor_fkey;"
            " ALTER TABLE beds ADD FOREIGN KEY (shop_id, floor) REFERENCES rooms ON DELETE CASCADE"
            " DEFERRABLE INITIALLY DEFERRED",
            "foreign_keys",
            "beds.beds_shop_id_floor_fkey: deleting a row of rooms removes its rows; recorded is ON DELETE NO ACTION",
        ),
        (
            "ALTER TABLE beds DROP CONSTRAINT beds_shop_id_floor_fkey",
            "foreign_keys",
            "beds.beds_shop_id_floor_fkey accepts a row without a parent in rooms",
        ),
        (
            "ALTER TABLE shops DROP CONSTRAINT shops_founder_fkey",
            "foreign_keys",
            "shops.shops_founder_fkey accepts a row without a parent in shops",
        ),
        (
            "ALTER TABLE notes DROP CONSTRAINT notes_shop_id_fkey",
            "foreign_keys",
            "notes.notes_shop_id_fkey: deleting a row of shops leaves its rows without a parent",
        ),
        (
            "DROP INDEX shops_one_name",
            "unique_keys",
            "shops.shops_one_name accepts two rows with the same name",
        ),
        (
            "DROP INDEX notes_one_open",
            "unique_keys",
            "notes.notes_one_open accepts two rows with the same kind",
        ),
        ("ALTER TABLE beds DROP CONSTRAINT beds_taken", "unique_keys", "beds.beds_taken accepts two rows"),
        (
            'ALTER TABLE shops DROP CONSTRAINT "shops_Odd, name_key"',
            "unique_keys",
            "shops.shops_Odd, name_key accepts two rows with the same Odd, name",
        ),
        (
            "ALTER TABLE rooms DROP CONSTRAINT rooms_seats; ALTER TABLE rooms ADD CONSTRAINT rooms_seats"
            " CHECK (free <= seats)",
            "checks",
            "rooms.rooms_seats accepts free = -1",
        ),
        (
            "CREATE OR REPLACE FUNCTION seats(p_floor integer) RETURNS bigint LANGUAGE sql AS $$ SELECT 0::bigint $$",
            "functions",
            'seats(integer): SELECT seats({free.1}) AS seats: gives [{"seats": 0}] instead of [{"seats": 4}]',
        ),
        (
            "CREATE OR REPLACE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
            "triggers",
            "notes.shouting does not act: after an UPDATE, kind = 'QUIET' does not hold",
        ),
        ("ALTER TABLE rooms ALTER seats DROP NOT NULL", "not_null", "rooms.seats accepts NULL"),
    ],
)
def test_each_of_its_promises_can_be_broken(checklist: Checklist, damage: str, item: str, told: str) -> None:
    with checklist.database.connect() as owner:
        owner.execute(damage.encode())
    outcome = checklist.run()
    assert item in red(outcome)
    assert told in finding(outcome, item)["observed"]


def test_a_migration_may_add_to_the_rows_of_an_earlier_one(checklist: Checklist, tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    later = write_migration(
        folder, "0002", "more", "ALTER TABLE {{ schema }}.notes ADD colour text NOT NULL;"
    )
    runner = Runner(checklist.database.options, folder)
    # Not in force yet: its samples do not count.
    (later / "samples.yml").write_text(yaml.safe_dump({"rows": {"notes": {"colour": "green"}}}))
    samples = dump(load_samples(folder, {}))
    assert red(checklist.run(samples=samples)) == set()
    runner.apply()
    assert red(checklist.run(samples=samples)) == set()
    # The control: without them, the row is refused.
    assert (
        "notes: the good row is refused: SQLSTATE 23502"
        in finding(checklist.run(), "sample_story")["observed"]
    )


def test_a_table_that_refers_to_what_nobody_may_touch(database: Database, tmp_path: Path) -> None:
    """A foreign key to the session store: nothing is written there, and what cannot be tried is named."""
    folder = tmp_path / "migrations"
    migration = write_migration(
        folder,
        "0001",
        "notes",
        "CREATE TABLE {{ schema }}.notes (id serial PRIMARY KEY, company_id text {{ null }} REFERENCES"
        " {{ schema }}.whatsapp_auth (company_id), word text CHECK (word <> ''));".replace(
            "{{ null }}", "NOT NULL"
        ),
        existing_tables=["whatsapp_auth"],
        locks={"whatsapp_auth": "SHARE ROW EXCLUSIVE"},
    )
    checks = {"notes.notes_word_check": {"bad": [{"word": ""}]}}
    (migration / "samples.yml").write_text(
        yaml.safe_dump({"rows": {"notes": {"word": "x"}}, "checks": checks})
    )
    Runner(database.options, folder).apply()
    given = {"samples": dump(load_samples(folder, {})), "partitions": [], "demands": {}}
    outcome = Checklist(database, given).run()
    assert red(outcome) == set()
    why = "notes refers to whatsapp_auth, which no migration made and nothing is written to"
    for item in ("checks", "not_null", "unique_keys", "sample_story"):
        assert statuses(outcome)[item] == "warning"
        assert why in finding(outcome, item)["observed"]
    assert (
        "notes.notes_company_id_fkey refers to whatsapp_auth" in finding(outcome, "foreign_keys")["observed"]
    )
    assert "whatsapp_auth" not in outcome.locks
