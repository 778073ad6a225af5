"""What somebody made by hand earlier: adopted when it is equal, completed when a part is missing, else refused."""

import re
import subprocess
from pathlib import Path

import pytest
from ansible.module_utils.rollout.errors import DriftFound, RolloutError

from sandbox.credentials import OWNER, read_passfile
from sandbox.databases import Database
from tests.integration.rendered_migrations import run_migrations
from tests.migration_folders import write_migration
from tests.runner import MIGRATIONS, Runner


def run_by_psql(database: Database, script: str, folder: Path) -> None:
    """What an operator does without the rollout: psql -f, which goes on after errors."""
    file = folder / "by-hand.sql"
    file.write_text(script)
    subprocess.run(
        [database.server.binaries.program("psql"), "-X", "-q", "-f", str(file)],
        env={
            "PGSERVICEFILE": str(database.service_file),
            "PGSERVICE": database.service,
            "LC_ALL": "C.UTF-8",
            "PGPASSWORD": read_passfile(database.server.passfile)[OWNER],
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=True,
        timeout=60,
    )


def script_up_to(runner: Runner, place: str) -> str:
    """The rendered SQL of all migrations, cut in the middle of the statement at a place.

    :param place: template and line, such as ``030_partitions.sql.j2:3``
    """
    statements = [statement for migration in runner.migrations for statement in migration.statements]
    places = [statement.place.partition("/")[2] for statement in statements]
    at = places.index(place)
    whole = "".join(migration.sql(runner.schema) for migration in runner.migrations)
    earlier = "".join(f"{statement.text};\n\n" for statement in statements[:at]).replace("@schema@", "public")
    assert whole.startswith(earlier)
    # Short enough to be an error in any statement: half a comment's text can be a whole statement.
    return whole[: len(earlier) + len("CREATE TAB")]


def places(template: str) -> list[str]:
    """Lines of a template on which a statement begins."""
    return [
        f"{template}:{number}"
        for path in MIGRATIONS.glob(f"*/{template}")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.match("(CREATE|COMMENT|SELECT|ALTER)", line)
    ]


FIRST, SECOND = "0001_business_tables", "0002_messages"
#: Where the file was cut, and what stands of each migration then.
CUTS = [
    (places("010_tables.sql.j2")[5], ["unrecorded, partial", "absent"]),
    (places("020_indexes.sql.j2")[20], ["unrecorded, partial", "absent"]),
    (places("040_triggers.sql.j2")[0], ["unrecorded, partial", "absent"]),
    (places("010_table.sql.j2")[0], ["unrecorded, equal", "absent"]),
    (places("040_functions.sql.j2")[1], ["unrecorded, equal", "unrecorded, partial"]),
    (places("060_comments.sql.j2")[3], ["unrecorded, equal", "unrecorded, partial"]),
]


@pytest.mark.parametrize(("cut", "states"), CUTS, ids=[cut for cut, _ in CUTS])
def test_what_a_cut_script_left_is_adopted_and_the_rest_completed(
    database: Database, finished: Database, tmp_path: Path, cut: str, states: list[str]
) -> None:
    runner = Runner(database.options, run_id="run-2")
    run_by_psql(database, script_up_to(runner, cut), tmp_path)
    stood = {name for name in runner.inspect().entries if "whatsapp" not in name}
    database.mark_log()
    applied = runner.apply()
    assert applied.states == states
    real = [statement for statement in database.ddl_log() if "scratch" not in statement]
    assert not [s for s in real if re.match('CREATE TABLE "public"."(companies|clients|staff)"', s)]
    assert runner.inspect().entries == Runner(finished.options).inspect().entries
    with database.connect() as connection:
        adopted = connection.execute("SELECT object FROM rollout.change WHERE action = 'adopted'").fetchall()
        recorded = connection.execute("SELECT state FROM rollout.migration ORDER BY seq").fetchall()
    assert {name for (name,) in adopted} == stood
    expected = {"absent": "applied", "unrecorded, equal": "adopted", "unrecorded, partial": "completed"}
    assert [state for (state,) in recorded] == [expected[state] for state in states]
    assert not runner.apply().changed


def test_what_stands_whole_is_adopted_without_any_ddl_of_its_own(database: Database) -> None:
    with database.connect() as owner:
        run_migrations(owner)
    runner = Runner(database.options)
    given = runner.rehearse()
    assert [described["action"] for described in given.migrations] == ["adopt", "adopt"]
    before = runner.inspect()
    database.mark_log()
    for migration_id in ("0001", "0002"):
        outcome = runner.bring_in(migration_id, given=given.rehearsal)
        assert outcome.changed
        assert outcome.executed["statements"] == []
        assert outcome.executed["state"] == "adopted"
    ledger = [s for s in database.ddl_log() if '"rollout"' in s]
    assert ledger
    assert database.ddl_log() == ledger
    assert runner.inspect().entries == before.entries


def test_a_lone_trigger_function_is_adopted(database: Database) -> None:
    """The function that production had before its tables."""
    runner = Runner(database.options)
    text = next(
        statement.text
        for migration in runner.migrations
        for statement in migration.statements
        if "function update_updated_at_column" in statement.creates
    )
    with database.connect() as owner:
        owner.execute(text.replace("@schema@", "public").encode())
    applied = runner.apply()
    assert applied.states == ["unrecorded, partial", "absent"]
    assert applied.rehearsal.migrations[0]["standing"] == ["function update_updated_at_column()"]


INDEX = "CREATE INDEX idx_clients_phone ON"
TO_DECEMBER = "FOR VALUES FROM ('2025-12-01 00:00:00+00') TO"

#: What was made differently, and what the refusal must say. Every attribute of the catalog: test_catalog_coverage.py.
DIFFERENCES = {
    "column of another type": (
        ["ALTER TABLE bookings ALTER cost TYPE numeric(8, 2)"],
        ["column bookings.cost: differs", "- type: numeric(8,2)", "+ type: numeric(10,2)"],
    ),
    "columns in another order": (
        ["ALTER TABLE staff DROP rating, ADD rating numeric(3, 2)"],
        ["column staff.rating: differs", "- position: 15", "+ position: 9"],
    ),
    "column too many": (
        ["ALTER TABLE staff ADD nickname text"],
        ["column staff.nickname: is not part of any migration"],
    ),
    "index on other columns": (
        ["DROP INDEX idx_clients_phone", f"{INDEX} clients (name)"],
        [
            "index idx_clients_phone: differs",
            f"- definition: {INDEX} public.clients USING btree (name)",
            f"+ definition: {INDEX} public.clients USING btree (phone)",
        ],
    ),
    "index on another table": (
        ["DROP INDEX idx_clients_phone", f"{INDEX} staff (phone)"],
        ["index idx_clients_phone: differs", "- table: staff", "+ table: clients"],
    ),
    "index that is invalid": (
        ["UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_clients_phone'::regclass"],
        ["index idx_clients_phone: differs", "- invalid: True", "+ invalid: (none)"],
    ),
    "view in a table's place": (
        ["DROP TABLE sync_status", "CREATE VIEW sync_status AS SELECT 1 AS id"],
        ["table sync_status: its name is taken by view sync_status"],
    ),
    "view with other columns": (
        ["DROP TABLE sync_status", "CREATE VIEW sync_status AS SELECT 1 AS one"],
        ["table sync_status: its name is taken by view sync_status"],
    ),
    "sequence in a table's place": (
        ["DROP TABLE sync_status", "CREATE SEQUENCE sync_status"],
        ["table sync_status: its name is taken by sequence sync_status"],
    ),
    "index in a table's place": (
        ["DROP TABLE sync_status", "CREATE INDEX sync_status ON staff (name)"],
        ["table sync_status: its name is taken by index sync_status"],
    ),
    "type in a table's place": (
        ["DROP TABLE sync_status", "CREATE TYPE sync_status AS (id integer)"],
        ["table sync_status: its name is taken by type sync_status"],
    ),
    "partition with other bounds": (
        [
            "ALTER TABLE messages DETACH PARTITION messages_2025_12",
            f"ALTER TABLE messages ATTACH PARTITION messages_2025_12 {TO_DECEMBER} ('2025-12-31 21:00:00+00')",
        ],
        [
            "table messages_2025_12: differs",
            f"- bounds: {TO_DECEMBER} ('2025-12-31 21:00:00+00')",
            f"+ bounds: {TO_DECEMBER} ('2026-01-01 00:00:00+00')",
        ],
    ),
    "partition detached": (
        ["ALTER TABLE messages DETACH PARTITION messages_2025_12"],
        ["table messages_2025_12: differs", "- parent: (none)", "+ parent: messages"],
    ),
    "constraint not valid": (
        [
            "ALTER TABLE bookings DROP CONSTRAINT bookings_duration_check",
            "ALTER TABLE bookings ADD CONSTRAINT bookings_duration_check CHECK (duration > 0) NOT VALID",
        ],
        ["constraint bookings.bookings_duration_check: differs", "- not_valid: True", "+ not_valid: (none)"],
    ),
    "trigger disabled": (
        ["ALTER TABLE staff DISABLE TRIGGER trigger_update_staff_updated_at"],
        ["trigger staff.trigger_update_staff_updated_at: differs", "- state: disabled", "+ state: enabled"],
    ),
    "overload": (
        ["CREATE FUNCTION get_messages_stats(integer) RETURNS integer LANGUAGE sql AS 'SELECT 1'"],
        ["function get_messages_stats(integer): is not part of any migration"],
    ),
    "another owner": (
        ["ALTER TABLE reminders OWNER TO postgres"],
        ["table reminders: differs", "- owner: postgres", "+ owner: gen_user"],
    ),
    "grant": (
        ["GRANT SELECT ON reminders TO auditor"],
        ["table reminders: differs", "auditor=r/gen_user"],
    ),
}


@pytest.fixture
def made_by_hand(finished: Database) -> Database:
    """All objects stand, and nobody recorded them."""
    with finished.connect() as owner:
        owner.execute("DROP SCHEMA rollout CASCADE")
    return finished


#: Some of them once more on objects that are recorded; all attributes of those: test_catalog_coverage.py.
RECORDED = ["column of another type", "view in a table's place", "partition detached"]


@pytest.mark.parametrize(
    ("name", "recorded"), [*((name, False) for name in DIFFERENCES), *((name, True) for name in RECORDED)]
)
def test_a_difference_is_refused_by_name_and_nothing_is_changed(
    finished: Database, name: str, recorded: bool
) -> None:
    changes, told = DIFFERENCES[name]
    with finished.connect_admin() as admin:
        if not recorded:
            admin.execute("DROP SCHEMA rollout CASCADE")
        for statement in changes:
            admin.execute(statement.encode())
    runner = Runner(finished.options)
    before = runner.inspect()
    with pytest.raises(DriftFound) as refused:
        runner.apply()
    text = str(refused.value)
    assert [line for line in told if line not in text] == []
    assert "Nothing was changed" in text
    assert refused.value.details["differences"]
    after = runner.inspect()
    assert (after.fingerprint, after.recorded) == (before.fingerprint, before.recorded)
    if recorded:
        assert after.differences
        with pytest.raises(DriftFound):
            runner.apply(check=True)


def test_the_refusal_names_every_difference_and_no_other(made_by_hand: Database) -> None:
    with made_by_hand.connect() as owner:
        owner.execute("ALTER TABLE bookings ALTER cost TYPE numeric(8, 2)")
        owner.execute("ALTER TABLE clients ADD nickname text")
        owner.execute("DROP INDEX idx_messages_phone")
    with pytest.raises(DriftFound) as refused:
        Runner(made_by_hand.options).apply()
    named = [difference["object"] for difference in refused.value.details["differences"]]
    assert named == ["column bookings.cost", "column clients.nickname"]
    assert "0001_business_tables" in str(refused.value)
    assert "0002_messages" not in str(refused.value), (
        "an index that is missing is no difference: it would be made"
    )


def test_a_partition_under_another_name_that_holds_the_month_is_refused(made_by_hand: Database) -> None:
    with made_by_hand.connect() as owner:
        owner.execute("ALTER TABLE messages DETACH PARTITION messages_2025_12")
        owner.execute("DROP TABLE messages_2025_12")
        owner.execute(
            f"CREATE TABLE winter PARTITION OF messages {TO_DECEMBER} ('2026-01-01 00:00:00+00')".encode()
        )
    runner = Runner(made_by_hand.options)
    before = runner.inspect().fingerprint
    with pytest.raises(RolloutError, match="winter"):
        runner.apply()
    assert runner.inspect().fingerprint == before


def test_objects_of_others_beside_ours_are_no_difference(finished: Database) -> None:
    with finished.connect() as owner:
        owner.execute("CREATE TABLE theirs (id integer REFERENCES companies)")
        owner.execute("CREATE VIEW theirs_too AS SELECT * FROM companies")
        owner.execute("CREATE FUNCTION theirs() RETURNS integer LANGUAGE sql AS 'SELECT 1'")
        owner.execute("SELECT create_messages_partition('2031-05-01')")
    assert not Runner(finished.options).apply().changed


def test_a_missing_comment_is_completed_before_it_is_recorded_and_drift_after(made_by_hand: Database) -> None:
    runner = Runner(made_by_hand.options)
    with made_by_hand.connect() as owner:
        owner.execute("COMMENT ON TABLE staff IS NULL")
    assert runner.apply().states == ["unrecorded, partial", "unrecorded, equal"]
    with made_by_hand.connect() as owner:
        owner.execute("COMMENT ON TABLE staff IS NULL")
    with pytest.raises(DriftFound, match="comment on table staff: missing"):
        runner.apply()


def test_a_comment_that_nobody_planned_is_drift(finished: Database) -> None:
    with finished.connect() as owner:
        owner.execute("COMMENT ON COLUMN staff.rating IS 'stars'")
    with pytest.raises(DriftFound, match=r"comment on column staff\.rating"):
        Runner(finished.options).apply()


def test_a_statement_that_stands_in_half_is_refused(database: Database, tmp_path: Path) -> None:
    """A table whose index-making column constraint was dropped by hand cannot be completed by a whole statement."""
    folder = tmp_path / "migrations"
    write_migration(
        folder, "0001", "pair", "CREATE TABLE {{ schema }}.pair (one integer, two integer CHECK (two > 0));\n"
    )
    with database.connect() as owner:
        owner.execute("CREATE TABLE pair (one integer, two integer)")
    before = Runner(database.options, folder).inspect().fingerprint
    with pytest.raises(
        DriftFound, match=r"its effect stands in part: .*constraint pair\.pair_two_check missing"
    ):
        Runner(database.options, folder).apply()
    assert Runner(database.options, folder).inspect().fingerprint == before


def test_rows_that_a_half_run_may_have_written_are_not_guessed_at(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    write_migration(
        folder,
        "0001",
        "filled",
        "CREATE TABLE {{ schema }}.words (word text);\nINSERT INTO {{ schema }}.words VALUES ('one');\n"
        "CREATE INDEX words_word ON {{ schema }}.words (word);\n",
    )
    with database.connect() as owner:
        owner.execute("CREATE TABLE words (word text)")
    with pytest.raises(
        DriftFound, match=r"0001_filled/010_all\.sql\.j2:2.*whether this statement ran cannot be seen"
    ):
        Runner(database.options, folder).apply()


@pytest.mark.parametrize("made", [1, 2, 3, 4])
def test_a_later_migration_begun_by_hand_is_completed(database: Database, tmp_path: Path, made: int) -> None:
    """Alterations of recorded objects are the later migration's business, not drift of the earlier one."""
    folder = tmp_path / "migrations"
    write_migration(folder, "0001", "visits", "CREATE TABLE {{ schema }}.visits (id integer);\n")
    runner = Runner(database.options, folder)
    runner.apply()
    statements = [
        "ALTER TABLE {{ schema }}.visits ADD COLUMN note text;",
        "ALTER TABLE {{ schema }}.visits ALTER COLUMN note SET NOT NULL;",
        "CREATE INDEX visits_note ON {{ schema }}.visits (note);",
        "COMMENT ON COLUMN {{ schema }}.visits.note IS 'why';",
    ]
    write_migration(folder, "0002", "note", "\n".join(statements))
    with database.connect() as owner:
        for statement in statements[:made]:
            owner.execute(statement.replace("{{ schema }}", "public").encode())
    applied = runner.apply()
    assert applied.states == ["applied", "unrecorded, equal" if made == 4 else "unrecorded, partial"]
    assert not runner.apply().changed
    assert runner.inspect().differences == []
