"""Typed variables: what is accepted, how it is written in SQL, and that nothing accepted can break out of its place."""

from typing import Any

import pytest
from ansible.module_utils.rollout.errors import SourceError
from ansible.module_utils.rollout.migration import SCHEMA_PLACEHOLDER, in_schema
from ansible.module_utils.rollout.variables import (
    Declaration,
    Identifier,
    Literal,
    Month,
    as_ident,
    as_literal,
    check_boolean,
    check_identifier,
    check_integer,
    check_month,
    check_text,
    check_timezone,
    resolve,
    to_json,
    to_sql,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from pglast import ast, parse_sql
from pglast.parser import ParseError

HOSTILE = [
    "'",
    '"',
    "$$",
    "$body$",
    "%",
    "%s",
    "{{",
    "}}",
    "${",
    "}",
    ";",
    "\\",
    "--",
    "/*",
    "*/",
    "\x00",
    "\n",
    "\r\n",
]

# --- identifiers


@pytest.mark.parametrize(
    ("name", "sql"),
    [
        ("public", '"public"'),
        ("Public", '"Public"'),  # a capital letter keeps its meaning
        ("select", '"select"'),  # reserved words
        ("user", '"user"'),
        ("my-schema", '"my-schema"'),
        ("my schema", '"my schema"'),
        ("a--b", '"a--b"'),
        ("_", '"_"'),
        ("салон", '"салон"'),
        ("x" * 63, f'"{"x" * 63}"'),
        ("я" * 31 + "x", f'"{"я" * 31}x"'),  # 63 bytes in 32 characters
    ],
)
def test_a_name_is_always_quoted(name: str, sql: str) -> None:
    assert to_sql(check_identifier(name)) == sql


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("", "not empty"),
        ("   ", "not empty"),
        (None, "must be a name"),
        (7, "must be a name"),
        (True, "must be a name"),
        (["public"], "must be a name"),
        ("x" * 64, "64 bytes"),
        ("x" * 70, "70 bytes"),
        ("я" * 32, "64 bytes"),
        (" public", "inner spaces"),
        ("public ", "inner spaces"),
        ("1st", "digit"),
        ("٣x", "digit"),  # a digit of another script
        ("pg_catalog", "pg_"),
        ("PG_Temp", "pg_"),
        ("a.b", "may hold"),
        ("public; DROP TABLE x", "may hold"),
        ("a\tb", "may hold"),
        ("a\u00a0b", "may hold"),  # a space that looks like one and is none
        ("a\u200bb", "may hold"),  # a character without width
        ("a\u202eb", "may hold"),  # turns the reading direction
        ("e\u0301", "may hold"),  # looks like é, is two characters
        ("a\ud800", "may hold"),  # half a character: has no UTF-8
        ("a$$b", "may hold"),  # would end a function body that is quoted with $$
        ("$1", "may hold"),
        (SCHEMA_PLACEHOLDER, "may hold"),
        *[(f"a{text}b", "may hold") for text in HOSTILE if text != "--"],
    ],
)
def test_an_unusable_name_is_refused(value: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        check_identifier(value)


def test_names_that_postgresql_would_cut_to_the_same_one_are_refused() -> None:
    for name in ("x" * 63 + "a", "x" * 63 + "b"):
        with pytest.raises(ValueError, match="cut it after 63"):
            check_identifier(name)


# --- text


@pytest.mark.parametrize("text", ["Salon No. 5, Nevsky", "Салон «Весна»", "a-b (c) [d] 50/50", "@here", "😀"])
def test_plain_text_is_accepted(text: str) -> None:
    assert to_sql(check_text(text)) == f"'{text}'"


@pytest.mark.parametrize(
    "value",
    [
        "",
        " \t",
        None,
        5,
        *[f"a{text}b" for text in HOSTILE],
        f"a{SCHEMA_PLACEHOLDER}b",  # would turn into the schema's name
        "a\ue0005\ue001b",  # the marks that trace a statement to its line; they are taken out of the text
        "a\u0085b",
        "a\u2028b",
        "a\u202eb",
        "a\u00a0b",
        "a\ud800",
    ],
)
def test_text_that_could_end_a_literal_or_change_on_its_way_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="must"):
        check_text(value)


# --- numbers, booleans


@pytest.mark.parametrize(("value", "number"), [(0, 0), (5, 5), ("5", 5), ("-3", -3), ("007", 7), (12, 12)])
def test_whole_numbers_are_accepted_also_as_text(value: Any, number: int) -> None:
    assert check_integer(value, -3, 12) == number


@pytest.mark.parametrize(
    "value",
    [True, 5.0, "5.0", "", " 5", "5 ", "5\n", "٣", "1_0", "0x5", "1e3", "5;", "9" * 19, None, [5], "five"],
)
def test_what_is_no_whole_number_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="must be a whole number"):
        check_integer(value, -(10**20), 10**20)


@pytest.mark.parametrize("value", [0, 13, "-1"])
def test_a_number_out_of_bounds_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="between 1 and 12"):
        check_integer(value, 1, 12)


@pytest.mark.parametrize(
    ("value", "flag"),
    [(True, True), (False, False), ("yes", True), ("No", False), ("TRUE", True), ("false", False)],
)
def test_booleans_are_accepted_also_as_text(value: Any, flag: bool) -> None:
    assert check_boolean(value) is flag
    assert to_sql(flag) == str(flag).lower()


@pytest.mark.parametrize("value", [1, 0, "1", "on", "", None, "true "])
def test_what_is_no_boolean_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="true or false"):
        check_boolean(value)


def test_a_negative_number_after_a_minus_begins_no_comment() -> None:
    assert f"10 -{to_sql(-5)}" == "10 - -5"
    statements: Any = parse_sql(f"SELECT 10 -{to_sql(-5)}, 7")
    assert len(statements[0].stmt.targetList) == 2


# --- months and zones


@pytest.mark.parametrize(
    "value", ["2025-1", "2025-13", "2025-00", "25-01", "2025-11-01", "１９９９-01", " 2025-11", "", 202511]
)
def test_what_is_no_month_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="YYYY-MM"):
        check_month(value)


@pytest.mark.parametrize("value", ["1969-12", "9001-01"])
def test_a_month_far_away_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="YYYY-MM"):
        check_month(value)


def test_months_follow_each_other_over_the_year() -> None:
    november = check_month("2025-11")
    assert [month.text for month in november.next(3)] == ["2025-11", "2025-12", "2026-01"]
    assert (november + 1).suffix == "2025_12"
    assert (november + 14).text == "2027-01"
    assert (november + -11).text == "2024-12"
    assert november < november + 1
    assert to_sql(november) == "'2025-11-01'"


def test_an_instant_carries_its_zone() -> None:
    instant = check_month("2025-11").at(check_timezone("Europe/Moscow"))
    assert to_sql(instant) == "timestamptz '2025-11-01 00:00:00 Europe/Moscow'"


@pytest.mark.parametrize(
    "zone", ["UTC", "Europe/Moscow", "Etc/GMT+3", "America/Argentina/Buenos_Aires", "EST5EDT"]
)
def test_zones_of_the_iana_database_are_accepted(zone: str) -> None:
    assert check_timezone(zone) == Literal(zone)


@pytest.mark.parametrize(
    "zone",
    [
        "",
        None,
        3,
        "Moscow",
        "europe/moscow",
        "UTC+3",  # PostgreSQL reads it as three hours west
        "+03:00",
        "MSK",
        "Europe",  # a folder of the database, no zone
        "America/Argentina",
        "../UTC",
        "/etc/localtime",
        "localtime",
        "posixrules",
        "Factory",
        "posix/UTC",
        "right/UTC",
        "UTC\n",
        "UTC'",
        "x" * 70,
    ],
)
def test_an_unknown_zone_is_refused(zone: Any) -> None:
    with pytest.raises(ValueError, match="time zone"):
        check_timezone(zone)
