"""Rendered SQL, cut by PostgreSQL's own parser: texts, places, names, and a checksum that only tokens change."""

import re

import pytest
from ansible.module_utils.rollout.errors import SourceError
from ansible.module_utils.rollout.migration import Statement
from ansible.module_utils.rollout.statements import checksum, line_counter, split


def cut(sql: str) -> list[Statement]:
    return split(sql, "0001_x/010.sql.j2", lambda offset: sql.count("\n", 0, offset) + 1)


def texts(sql: str) -> list[str]:
    return [statement.text for statement in cut(sql)]


# --- cutting


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1", ["SELECT 1"]),
        ("SELECT 1;", ["SELECT 1"]),
        ("SELECT 1;;\n;SELECT 2;", ["SELECT 1", "SELECT 2"]),
        ("SELECT ';' , \"a;b\" FROM t; SELECT 2", ["SELECT ';' , \"a;b\" FROM t", "SELECT 2"]),
        ("SELECT 'it''s; fine', E'\\';'; SELECT 2", ["SELECT 'it''s; fine', E'\\';'", "SELECT 2"]),
        (
            "SELECT /* ; /* nested ; */ ; */ 1 -- ;\n; SELECT 2",
            ["SELECT /* ; /* nested ; */ ; */ 1", "SELECT 2"],
        ),
        (
            "SELECT $$;$$, $a$ $b$;$b$ $$;$$ $a$; SELECT 2",
            ["SELECT $$;$$, $a$ $b$;$b$ $$;$$ $a$", "SELECT 2"],
        ),
        ("-- я\nSELECT 'я'; -- я\nSELECT 'ж'", ["SELECT 'я'", "SELECT 'ж'"]),
        ("SELECT '😀;'; SELECT '😀'", ["SELECT '😀;'", "SELECT '😀'"]),
        ("", []),
        (" \n\t", []),
        ("-- nothing\n/* at all */", []),
        (";;;", []),
    ],
)
def test_only_a_semicolon_between_statements_cuts(sql: str, expected: list[str]) -> None:
    assert texts(sql) == expected


def test_an_sql_body_is_part_of_its_function() -> None:
    body = "CREATE FUNCTION f() RETURNS int LANGUAGE sql\nBEGIN ATOMIC\n SELECT 1;\n SELECT 2;\nEND"
    assert texts(f"{body};\nSELECT 7;") == [body, "SELECT 7"]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 -- why\n; SELECT 2",
        "SELECT 1 /* why */; SELECT 2",
        "-- why\nSELECT 1; SELECT 2 -- why",
        "SELECT 1--\n;SELECT 2",
    ],
)
def test_a_statement_carries_no_comment_around_it(sql: str) -> None:
    """A semicolon is put behind it in the run record: after a line comment it would be lost."""
    assert texts(sql) == ["SELECT 1", "SELECT 2"]
    assert texts(";\n".join(texts(sql))) == ["SELECT 1", "SELECT 2"]


def test_every_statement_knows_its_place_and_kind() -> None:
    found = cut("-- a\n\nCREATE TABLE t (\n a int\n);\n\n/* b */ SELECT 1;\n  SELECT 'я'; SELECT 2")
    assert [(statement.line, statement.kind) for statement in found] == [
        (3, "CreateStmt"),
        (7, "SelectStmt"),
        (8, "SelectStmt"),
        (8, "SelectStmt"),
    ]
    assert found[0].place == "0001_x/010.sql.j2:3"


@pytest.mark.parametrize(
    ("sql", "line", "told"),
    [
        ("SELECT 1;\n\nSELEC 1;", 3, 'at or near "SELEC", at: SELEC 1;'),
        ("SELECT 1;\nSELECT 'я' FROM WHERE x;\nSELECT 2", 2, 'at or near "WHERE", at: WHERE x;'),
        ("SELECT 1;\nCREATE TABLE t (\n  a int\n\n\n", 3, "at end of input"),
        ("SELECT 1;\nSELECT 'abc", 2, "unterminated quoted string"),
        ("SELECT 1;\nSELECT $$abc", 2, "unterminated dollar-quoted string"),
        ("SELECT 1;\n/* abc", 2, "unterminated /* comment"),
        ("SELECT (", 1, "at end of input"),
    ],
)
def test_a_syntax_error_is_told_with_its_line(sql: str, line: int, told: str) -> None:
    with pytest.raises(
        SourceError, match=rf"^0001_x/010\.sql\.j2:{line}: PostgreSQL's parser: .*{re.escape(told)}"
    ):
        cut(sql)


@pytest.mark.parametrize("sql", ["\\i other.sql", "SELECT 1;\n\\copy t FROM 'x'", "\\set ON_ERROR_STOP 1"])
def test_commands_of_psql_are_refused_with_the_reason(sql: str) -> None:
    with pytest.raises(SourceError, match=r'at or near "\\"') as caught:
        cut(sql)
    assert "psql's own commands" in caught.value.hint
    with pytest.raises(SourceError) as other:
        cut("SELEC '\\'")
    assert other.value.hint == ""


def test_the_first_line_is_where_nothing_is_known_of() -> None:
    line_of = line_counter([0, 10, 10, 25], [1, 2, 5, 6])
    assert [line_of(offset) for offset in (0, 9, 10, 24, 25, 1000)] == [1, 1, 5, 5, 6, 6]
    assert line_counter([], [])(7) == 1


# --- names of what is created


@pytest.mark.parametrize(
    ("sql", "creates"),
    [
        ("CREATE TABLE t (a int)", "table t"),
        ('CREATE TABLE "T t" (a int)', "table T t"),
        ("CREATE TABLE t AS SELECT 1 AS a", "table t"),
        ("CREATE FOREIGN TABLE t (a int) SERVER s", "foreign table t"),
        ("CREATE INDEX i ON t (a)", "index i"),
        ("CREATE VIEW v AS SELECT 1", "view v"),
        ("CREATE MATERIALIZED VIEW v AS SELECT 1", "view v"),
        ("CREATE SEQUENCE s", "sequence s"),
        ("CREATE TRIGGER g BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f()", "trigger t.g"),
        ("CREATE POLICY y ON t USING (true)", "policy t.y"),
        ("CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql AS 'SELECT 1'", "function f"),
        ("CREATE PROCEDURE f() LANGUAGE sql AS 'SELECT 1'", "function f"),
        ("CREATE AGGREGATE f (int) (sfunc = int4pl, stype = int)", "function f"),
        ("CREATE TYPE e AS ENUM ('a')", "type e"),
        ("CREATE TYPE e AS (a int)", "type e"),
        ("CREATE TYPE e AS RANGE (subtype = int)", "type e"),
        ("CREATE DOMAIN e AS int", "type e"),
        ("CREATE STATISTICS s ON a, b FROM t", "statistics s"),
    ],
)
def test_what_a_statement_creates_is_named_as_in_the_catalog(sql: str, creates: str) -> None:
    (statement,) = cut(sql)
    assert statement.creates == (creates,)


@pytest.mark.parametrize(
    "sql",
    ["ALTER TABLE t ADD COLUMN a int", "INSERT INTO t VALUES (1)", "COMMENT ON TABLE t IS 'x'", "SELECT f()"],
)
def test_other_statements_create_nothing_by_name(sql: str) -> None:
    assert cut(sql)[0].creates == ()


# --- statements outside a transaction


@pytest.mark.parametrize(
    ("sql", "rehearsed"),
    [
        ("CREATE INDEX CONCURRENTLY i ON t (a)", "CREATE INDEX  i ON t (a)"),
        (
            "create unique index concurrently concurrently_i on t (a)",
            "create unique index  concurrently_i on t (a)",
        ),
        (
            "CREATE INDEX /* CONCURRENTLY */ CONCURRENTLY i ON t (a)",
            "CREATE INDEX /* CONCURRENTLY */  i ON t (a)",
        ),
    ],
)
def test_a_concurrent_statement_is_rehearsed_in_a_form_that_a_transaction_takes(
    sql: str, rehearsed: str
) -> None:
    (statement,) = cut(sql)
    assert not statement.transactional
    assert statement.text == sql
    assert statement.rehearsal_text == rehearsed
    assert cut(rehearsed)[0].transactional


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE INDEX concurrently_made ON t (a)",
        "REFRESH MATERIALIZED VIEW CONCURRENTLY v",
        "CREATE INDEX i ON t (a) -- CONCURRENTLY",
    ],
)
def test_other_statements_run_inside_the_transaction(sql: str) -> None:
    (statement,) = cut(sql)
    assert statement.transactional
    assert statement.rehearsal_text == statement.text


# --- checksum

FIRST = (
    "CREATE TABLE t (a int DEFAULT 1, \"B\" text DEFAULT 'x;y'); "
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;"
)


def summed(*files: str) -> str:
    return checksum([statement for sql in files for statement in cut(sql)])


@pytest.mark.parametrize(
    "same",
    [
        FIRST.replace(" ", "\n\t ").replace("$$\n\t SELECT\n\t 1\n\t $$", "$$ SELECT 1 $$"),
        "-- header\n" + FIRST + "\n-- footer",
        FIRST.replace("(a", "( /* why */ a -- because\n"),
        FIRST.replace(";", " ; ", 2).replace("x ; y", "x;y") + ";;",
        FIRST.removesuffix(";"),
    ],
)
def test_comments_and_white_space_do_not_count(same: str) -> None:
    assert summed(same) == summed(FIRST)


def test_it_does_not_count_in_which_file_a_statement_stands() -> None:
    first, second = (f"{text};" for text in texts(FIRST))
    assert summed(first, second) == summed(FIRST)
    assert summed(second, first) != summed(FIRST), "the order counts"
    assert summed(first) != summed(FIRST)
    assert summed(first, second, second) != summed(FIRST)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a int", "a bigint"),
        ("DEFAULT 1", "DEFAULT 2"),
        ("DEFAULT 1,", "DEFAULT - 1,"),
        ('"B"', '"b"'),
        ('"B"', "B"),
        ("'x;y'", "'x; y'"),  # a text is what it is, to the letter
        ("$$ SELECT 1 $$", "$$ SELECT  1 $$"),  # so is a body: PostgreSQL keeps it
        ("$$ SELECT 1 $$", "$$ SELECT 1 /* why */ $$"),
        ("TABLE t", "TABLE IF NOT EXISTS t"),
        ("RETURNS int", "RETURNS int STABLE"),
    ],
)
def test_every_token_counts(old: str, new: str) -> None:
    assert old in FIRST
    assert summed(FIRST.replace(old, new)) != summed(FIRST)


def test_tokens_are_not_run_together() -> None:
    assert summed("SELECT a b") != summed("SELECT ab")
    assert summed("SELECT 'a' AS b") != summed("SELECT 'a AS b'")
    assert summed("SELECT 1; SELECT 2") != summed("SELECT 1, 2")


def test_a_large_file_is_cut_in_reasonable_time() -> None:
    rows = ",".join(f"({number}, 'text; {number}')" for number in range(2000))
    found = cut(f"INSERT INTO t VALUES {rows};\n" + "COMMENT ON TABLE t IS 'я';\n" * 500)
    assert len(found) == 501
    assert found[-1].line == 501
    assert len(checksum(found)) == 64
