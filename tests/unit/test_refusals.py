"""What a migration may not hold, and what it may: judged on PostgreSQL's parse tree."""

import pytest
from ansible.module_utils.rollout.errors import SourceError
from ansible.module_utils.rollout.migration import SCHEMA_PLACEHOLDER, Statement
from ansible.module_utils.rollout.statements import split


def cut(sql: str, drops: tuple[str, ...] = ()) -> list[Statement]:
    """Statements of a text in which ``S.`` stands for the schema's placeholder."""
    text = sql.replace("S.", f'"{SCHEMA_PLACEHOLDER}".')
    return split(text, "0001_x/010.sql.j2", lambda offset: text.count("\n", 0, offset) + 1, drops)


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE S.t (a int PRIMARY KEY, b int REFERENCES S.u (a) ON DELETE CASCADE ON UPDATE CASCADE)",
        "CREATE UNLOGGED TABLE S.t (a int)",
        "CREATE TABLE IF NOT EXISTS S.t (a int)",
        "CREATE TABLE S.t AS SELECT 1 AS a",
        "CREATE TABLE S.p PARTITION OF S.t FOR VALUES IN (1)",
        "CREATE FOREIGN TABLE S.t (a int) SERVER s",
        "CREATE UNIQUE INDEX i ON S.t (lower(a)) WHERE a IS NOT NULL",
        "CREATE OR REPLACE VIEW S.v AS SELECT relname FROM pg_catalog.pg_class, information_schema.tables",
        "CREATE MATERIALIZED VIEW S.v AS SELECT 1 AS a",
        "REFRESH MATERIALIZED VIEW S.v",
        "CREATE SEQUENCE S.s",
        "CREATE TRIGGER g BEFORE UPDATE ON S.t FOR EACH ROW EXECUTE FUNCTION elsewhere.f()",
        "CREATE POLICY y ON S.t USING (true)",
        "CREATE FUNCTION S.f() RETURNS int LANGUAGE sql SET search_path = S.x, pg_temp AS 'SELECT 1'".replace(
            "S.x", "x"
        ),
        "CREATE PROCEDURE S.f() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$",
        "CREATE FUNCTION S.f() RETURNS void LANGUAGE sql AS $$ SELECT set_config('a.b', 'c', true) $$",
        "CREATE AGGREGATE S.g (int) (sfunc = int4pl, stype = int)",
        "CREATE TYPE S.e AS ENUM ('a')",
        "CREATE TYPE S.e AS (a int)",
        "CREATE TYPE S.e AS RANGE (subtype = int)",
        "CREATE DOMAIN S.d AS int CHECK (VALUE > 0)",
        "CREATE STATISTICS S.s ON a, b FROM S.t",
        "ALTER TABLE S.t ADD COLUMN c elsewhere.citext DEFAULT elsewhere.make_id()",
        "ALTER TABLE S.t ADD CONSTRAINT k UNIQUE (a), ALTER COLUMN a SET NOT NULL, OWNER TO somebody",
        "ALTER TABLE S.t ATTACH PARTITION S.p DEFAULT",
        "ALTER TABLE S.t DETACH PARTITION S.p",
        "ALTER TABLE S.t RENAME TO u",
        "ALTER TABLE S.t RENAME COLUMN a TO b",
        "ALTER INDEX S.i RENAME TO j",
        "ALTER FUNCTION S.f(int) RENAME TO g",
        "ALTER FUNCTION S.f(int) OWNER TO somebody",
        "ALTER FUNCTION S.f(int) STABLE",
        "ALTER SEQUENCE S.s OWNED BY S.t.a",
        "ALTER TYPE S.e ADD VALUE 'b'",
        "ALTER DOMAIN S.d SET NOT NULL",
        "ALTER STATISTICS S.s SET STATISTICS 5",
        "COMMENT ON TABLE S.t IS 'x'",
        "COMMENT ON COLUMN S.t.a IS 'x'",
        "COMMENT ON TRIGGER g ON S.t IS 'x'",
        "COMMENT ON CONSTRAINT k ON S.t IS 'x'",
        "COMMENT ON FUNCTION S.f(int) IS 'x'",
        "COMMENT ON TYPE S.e IS 'x'",
        "GRANT SELECT (a), UPDATE ON S.t TO PUBLIC WITH GRANT OPTION",
        "REVOKE EXECUTE ON FUNCTION S.f(int) FROM PUBLIC",
        "GRANT USAGE ON TYPE S.e TO somebody",
        "INSERT INTO S.t SELECT a FROM S.u ON CONFLICT DO NOTHING",
        "UPDATE S.t SET a = 1",
        "DELETE FROM S.t WHERE a = 1",
        "MERGE INTO S.t USING S.u ON t.a = u.a WHEN MATCHED THEN DELETE",
        "SELECT S.f(1), pg_catalog.now()",
        "CREATE TABLE t (a int)",  # search_path is the migration's schema
    ],
)
def test_what_a_migration_is_made_of_is_accepted(sql: str) -> None:
    assert len(cut(sql)) == 1


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        *[(sql, "opens and ends the transaction") for sql in ("BEGIN", "COMMIT", "END", "ROLLBACK")],
        ("START TRANSACTION ISOLATION LEVEL SERIALIZABLE", "opens and ends the transaction"),
        *[(sql, "opens and ends the transaction") for sql in ("SAVEPOINT a", "RELEASE a", "ROLLBACK TO a")],
        ("PREPARE TRANSACTION 'a'", "opens and ends the transaction"),
        *[
            (sql, "sets search_path")
            for sql in ("SET search_path = x", "SET LOCAL ROLE x", "SET ROLE x", "RESET ALL")
        ],
        *[
            (sql, "sets search_path")
            for sql in ("RESET ROLE", "SET SESSION AUTHORIZATION x", "SET TIME ZONE 'UTC'")
        ],
        ("SELECT set_config('role', 'x', false)", "sets search_path"),
        ("INSERT INTO t VALUES (pg_catalog.set_config('role', 'x', false))", "sets search_path"),
        ("LOCK TABLE S.t", "proves which locks"),
        ("DO $$ BEGIN NULL; END $$", "cannot be read"),
        ("CALL S.p()", "may end the rollout's transaction"),
        ("COPY S.t FROM STDIN", "data does not travel"),
        ("COPY S.t TO PROGRAM 'cat'", "data does not travel"),
        ("TRUNCATE S.t", "never empties"),
        ("ALTER TABLE S.t SET SCHEMA x", "one schema"),
        ("CREATE SCHEMA x", "one schema"),
        ("DROP OWNED BY x", "did not name"),
        ("REASSIGN OWNED BY x TO y", "did not name"),
        ("ALTER TABLE ALL IN TABLESPACE x SET TABLESPACE y", "did not name"),
        ("CREATE EXTENSION pg_trgm", "whole database"),
        ("CREATE LANGUAGE x", "whole database"),
        ("ALTER EXTENSION x UPDATE", "whole database"),
        ("CREATE PUBLICATION x FOR ALL TABLES", "whole database"),
        ("ALTER PUBLICATION x ADD TABLE S.t", "whole database"),
        ("CREATE EVENT TRIGGER x ON ddl_command_end EXECUTE FUNCTION f()", "whole database"),
        ("CREATE ROLE x", "whole server"),
        ("ALTER ROLE x SET a = b", "whole server"),
        ("GRANT a TO b", "whole server"),
        ("ALTER SYSTEM SET a = 1", "whole server"),
        ("ALTER DATABASE x SET a = 1", "whole server"),
        ("DROP DATABASE x", "whole server"),
        ("VACUUM S.t", "maintenance"),
        ("ANALYZE S.t", "maintenance"),
        ("REINDEX TABLE S.t", "maintenance"),
        ("REINDEX (CONCURRENTLY) TABLE S.t", "maintenance"),
        ("CLUSTER S.t USING i", "ACCESS EXCLUSIVE"),
        ("CREATE RULE r AS ON INSERT TO S.t DO INSTEAD NOTHING", "write a trigger"),
        *[
            (sql, "beyond the schema")
            for sql in (
                'CREATE COLLATION S.c FROM "C"',
                "CREATE OPERATOR S.+ (leftarg = int, rightarg = int, function = int4pl)",
                "CREATE CAST (a AS b) WITHOUT FUNCTION",
                "CREATE SERVER s FOREIGN DATA WRAPPER f",
                "CREATE USER MAPPING FOR x SERVER s",
                "IMPORT FOREIGN SCHEMA a FROM SERVER s INTO b",
                "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO x",
                "SECURITY LABEL ON TABLE S.t IS 'x'",
                "EXPLAIN ANALYZE SELECT 1",
                "CHECKPOINT",
                "LISTEN x",
                "NOTIFY x",
                "LOAD 'x'",
                "PREPARE p AS SELECT 1",
                "EXECUTE p",
                "DECLARE c CURSOR FOR SELECT 1",
                "DISCARD ALL",
            )
        ],
    ],
)
def test_what_has_no_place_in_a_migration_is_refused(sql: str, why: str) -> None:
    with pytest.raises(SourceError, match=r"0001_x/010\.sql\.j2:2: .* not allowed in a migration: .*" + why):
        cut(f"SELECT 1;\n{sql};")


@pytest.mark.parametrize(
    "sql",
    ["SELECT 1 INTO x", "WITH a AS (SELECT 1) SELECT * INTO x FROM a", "SELECT 1 INTO x UNION SELECT 2"],
)
def test_select_into_is_refused(sql: str) -> None:
    with pytest.raises(SourceError, match="SELECT INTO is not allowed"):
        cut(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE S.t CASCADE",
        "DROP FUNCTION S.f(int) CASCADE",
        "DROP INDEX CONCURRENTLY S.i CASCADE",
        "ALTER TABLE S.t DROP COLUMN c CASCADE",
        "ALTER TABLE S.t ADD COLUMN d int, DROP CONSTRAINT c CASCADE",
        "ALTER TYPE S.t DROP ATTRIBUTE a CASCADE",
        "ALTER TYPE S.t ADD ATTRIBUTE a int CASCADE",
        "ALTER TYPE S.t RENAME ATTRIBUTE a TO b CASCADE",
        "ALTER DOMAIN S.d DROP CONSTRAINT c CASCADE",
        "REVOKE ALL ON S.t FROM PUBLIC CASCADE",
    ],
)
def test_cascade_is_refused_wherever_it_stands_also_when_the_drop_is_listed(sql: str) -> None:
    drops = (
        "table t",
        "function f",
        "index i",
        "column t.c",
        "constraint t.c",
        "column t.a",
        "constraint d.c",
    )
    with pytest.raises(SourceError, match="CASCADE is not allowed"):
        cut(sql, drops)
    assert cut(sql.replace(" CASCADE", ""), drops)


@pytest.mark.parametrize(
    ("sql", "drop"),
    [
        ("DROP TABLE S.t", "table t"),
        ("DROP TABLE IF EXISTS t", "table t"),
        ("DROP FOREIGN TABLE S.t", "foreign table t"),
        ("DROP INDEX S.i", "index i"),
        ("DROP VIEW S.v", "view v"),
        ("DROP MATERIALIZED VIEW S.v", "view v"),
        ("DROP SEQUENCE S.s", "sequence s"),
        ("DROP FUNCTION S.f(int)", "function f"),
        ("DROP PROCEDURE S.f", "function f"),
        ("DROP ROUTINE S.f", "function f"),
        ("DROP AGGREGATE S.f(int)", "function f"),
        ("DROP TYPE S.e", "type e"),
        ("DROP DOMAIN S.e", "type e"),
        ("DROP TRIGGER g ON S.t", "trigger t.g"),
        ("DROP POLICY y ON S.t", "policy t.y"),
        ("DROP STATISTICS S.s", "statistics s"),
        ("ALTER TABLE S.t DROP COLUMN c", "column t.c"),
        ("ALTER TABLE S.t DROP CONSTRAINT c", "constraint t.c"),
        ("ALTER DOMAIN S.d DROP CONSTRAINT c", "constraint d.c"),
    ],
)
def test_a_drop_must_be_listed(sql: str, drop: str) -> None:
    with pytest.raises(SourceError, match=f"drops {drop}, which migration.yml does not list") as caught:
        cut(sql)
    assert f"{drop!r} to 'drops'" in caught.value.hint
    assert len(cut(sql, (drop,))) == 1


def test_every_object_of_a_drop_must_be_listed() -> None:
    with pytest.raises(SourceError, match="drops table u"):
        cut("DROP TABLE S.t, S.u", ("table t",))


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE other.t (a int)",
        "CREATE TABLE pg_temp.t (a int)",
        "CREATE TABLE pg_catalog.t (a int)",
        "CREATE TABLE S.t (a int REFERENCES other.t)",
        "CREATE TABLE S.t (LIKE other.t)",
        "CREATE TABLE S.p PARTITION OF other.t DEFAULT",
        "CREATE FOREIGN TABLE other.t (a int) SERVER s",
        "CREATE INDEX t ON other.t (a)",
        "CREATE INDEX t ON pg_catalog.t (a)",
        "CREATE VIEW S.v AS SELECT * FROM other.t",
        "CREATE SEQUENCE other.t",
        "CREATE TRIGGER g BEFORE UPDATE ON other.t FOR EACH ROW EXECUTE FUNCTION f()",
        "CREATE POLICY y ON other.t USING (true)",
        "CREATE FUNCTION other.t() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE FUNCTION S.f() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM other.t; END",
        "CREATE AGGREGATE other.t (int) (sfunc = int4pl, stype = int)",
        "CREATE TYPE other.t AS ENUM ('a')",
        "CREATE DOMAIN other.t AS int",
        "CREATE STATISTICS other.t ON a, b FROM S.t",
        "ALTER TABLE other.t ADD COLUMN a int",
        "ALTER TABLE S.p ATTACH PARTITION other.t DEFAULT",
        "ALTER TABLE other.t RENAME TO u",
        "ALTER FUNCTION other.t(int) RENAME TO u",
        "ALTER FUNCTION other.t(int) OWNER TO x",
        "ALTER FUNCTION other.t(int) STABLE",
        "ALTER TYPE other.t ADD VALUE 'b'",
        "ALTER DOMAIN other.t SET NOT NULL",
        "ALTER SEQUENCE other.t RESTART",
        "ALTER STATISTICS other.t SET STATISTICS 5",
        "COMMENT ON TABLE other.t IS 'x'",
        "COMMENT ON COLUMN other.t.a IS 'x'",
        "COMMENT ON TRIGGER g ON other.t IS 'x'",
        "COMMENT ON FUNCTION other.t(int) IS 'x'",
        "COMMENT ON TYPE other.t IS 'x'",
        "GRANT SELECT ON other.t TO x",
        "GRANT USAGE ON TYPE other.t TO x",
        "REVOKE ALL ON FUNCTION other.t(int) FROM x",
        "INSERT INTO other.t VALUES (1)",
        "INSERT INTO S.u SELECT * FROM other.t",
        "UPDATE other.t SET a = 1",
        "DELETE FROM other.t",
        "DELETE FROM S.u USING other.t",
        "MERGE INTO other.t USING S.u ON true WHEN MATCHED THEN DELETE",
        "SELECT (SELECT a FROM other.t)",
        "DROP TABLE other.t",
        "DROP FUNCTION other.t(int)",
        "DROP TYPE other.t",
        "DROP TRIGGER g ON other.t",
    ],
)
def test_objects_of_another_schema_are_refused(sql: str) -> None:
    """In the rehearsal they would be the real ones, locked and altered."""
    drops = ("table t", "table other.t", "function t", "type t", "trigger t.g")
    with pytest.raises(
        SourceError, match=r"(other|pg_temp|pg_catalog)\.t\S* lies outside the migration's schema"
    ):
        cut(sql, drops)


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("DROP SCHEMA x", "schema"),
        ("DROP EXTENSION x", "extension"),
        ("DROP OPERATOR CLASS x USING btree", "opclass"),
        ("DROP CAST (a AS b)", "cast"),
        ("DROP RULE r ON S.t", "rule"),
        ("COMMENT ON SCHEMA x IS 'a'", "schema"),
        ("COMMENT ON DATABASE x IS 'a'", "database"),
        ("COMMENT ON ROLE x IS 'a'", "role"),
        ("COMMENT ON CONSTRAINT c ON DOMAIN S.d IS 'a'", "domconstraint"),
        ("ALTER SCHEMA x RENAME TO y", "schema"),
        ("ALTER ROLE x RENAME TO y", "role"),
        ("ALTER SCHEMA x OWNER TO y", "schema"),
        ("GRANT USAGE ON SCHEMA x TO y", "schema"),
        ("GRANT CREATE ON DATABASE x TO y", "database"),
    ],
)
def test_objects_that_belong_to_no_schema_are_refused_also_when_the_drop_is_listed(
    sql: str, kind: str
) -> None:
    with pytest.raises(SourceError, match=f"of a {kind} is not allowed"):
        cut(sql, (f"{kind} x",))


def test_a_concurrent_detach_is_refused() -> None:
    """PostgreSQL adds a CHECK constraint in place of the bounds; in a transaction it does not."""
    with pytest.raises(SourceError, match="DETACH PARTITION CONCURRENTLY is not allowed"):
        cut("ALTER TABLE S.t DETACH PARTITION S.p CONCURRENTLY")
    assert cut("ALTER TABLE S.t DETACH PARTITION S.p")[0].transactional


def test_grant_on_all_is_refused() -> None:
    with pytest.raises(SourceError, match="GRANT ON ALL"):
        cut(f'GRANT SELECT ON ALL TABLES IN SCHEMA "{SCHEMA_PLACEHOLDER}" TO x')


@pytest.mark.parametrize(
    "sql", ["CREATE TEMP TABLE t (a int)", "CREATE TEMP VIEW t AS SELECT 1", "CREATE TEMP SEQUENCE t"]
)
def test_temporary_objects_are_refused(sql: str) -> None:
    with pytest.raises(SourceError, match="t is temporary"):
        cut(sql)


@pytest.mark.parametrize(
    "sql",
    ["CREATE INDEX ON S.t (a)", "CREATE INDEX CONCURRENTLY ON S.t (a)", "CREATE STATISTICS ON a, b FROM S.t"],
)
def test_what_is_compared_by_name_needs_one(sql: str) -> None:
    with pytest.raises(SourceError, match="without a name"):
        cut(sql)


def test_constraints_may_go_without_a_name() -> None:
    assert cut("CREATE TABLE S.t (a int UNIQUE, CHECK (a > 0)); ALTER TABLE S.t ADD PRIMARY KEY (a)")


@pytest.mark.parametrize(
    "sql",
    [
        'CREATE TABLE S."a.b" (x int)',
        'CREATE TABLE S."a""b" (x int)',
        'CREATE INDEX "a.b" ON S.t (x)',
        "CREATE FUNCTION S.\"f(\"() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE TYPE S.\"a.b\" AS ENUM ('x')",
    ],
)
def test_a_name_that_could_be_taken_for_two_is_refused(sql: str) -> None:
    with pytest.raises(SourceError, match="the rollout compares by name"):
        cut(sql)


@pytest.mark.parametrize("name", ["x" * 64, "я" * 32, '"' + "X" * 64 + '"', '"' + "a" * 62 + '"""""'])
def test_a_name_that_postgresql_would_cut_is_refused(name: str) -> None:
    with pytest.raises(SourceError, match=r"has 64 bytes; PostgreSQL would cut it after 63"):
        cut(f"CREATE TABLE S.t ({name} int)")
    shorter = name.replace("x", "", 1).replace("X", "", 1).replace("я", "", 1).replace("a", "", 1)
    assert cut(f"CREATE TABLE S.t ({shorter} int)")


def test_a_deep_expression_is_no_problem() -> None:
    assert cut("SELECT " + " || ".join(["'a'"] * 2000))
