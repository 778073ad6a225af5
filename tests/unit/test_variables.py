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


# --- what a template may print


@pytest.mark.parametrize("value", ["text", 1.5, None, ["a"], {"a": 1}, b"x", object()])
def test_only_typed_values_are_printed(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot be written into SQL"):
        to_sql(value)


def test_filters_say_what_a_text_is() -> None:
    assert to_sql(as_ident("messages_2025_11")) == '"messages_2025_11"'
    assert as_ident(Identifier("x")) == Identifier("x")
    assert to_sql(as_literal("it's")) == "'it''s'"
    assert to_sql(as_literal(Identifier("x"))) == "'x'"
    assert to_sql(as_literal(Month(2025, 11))) == "'2025-11'"
    assert to_sql(as_literal(Literal("UTC"))) == "'UTC'"
    assert to_sql(as_literal(5)) == "'5'"
    assert to_sql(as_literal(True)) == "'true'"
    with pytest.raises(TypeError, match="ident: 'a;b' may hold"):
        as_ident("a;b")
    with pytest.raises(TypeError, match="no text form"):
        as_literal([])


def test_values_are_kept_as_json() -> None:
    values = [Identifier("x"), Literal("UTC"), Month(2025, 11), 6, True]
    assert [to_json(value) for value in values] == ["x", "UTC", "2025-11", 6, True]


# --- resolving


DECLARED = [
    Declaration("first_month", "month", default="2025-11"),
    Declaration("months", "integer", default=6, minimum=1, maximum=120),
    Declaration("zone", "timezone"),
]


def test_given_values_win_over_defaults() -> None:
    assert resolve(DECLARED, {"zone": "UTC", "months": "3"}, "here") == {
        "first_month": Month(2025, 11),
        "months": 3,
        "zone": Literal("UTC"),
    }


def test_every_wrong_value_is_named_at_once() -> None:
    with pytest.raises(SourceError) as caught:
        resolve(DECLARED, {"months": 0, "first_month": None}, "inventory/group_vars")
    assert caught.value.details["variables"] == [
        "first_month: is null",
        "months: 0 must lie between 1 and 120",
        "zone: has no value and no default",
    ]
    assert "inventory/group_vars" in caught.value.hint


def test_a_wrong_default_is_found_too() -> None:
    with pytest.raises(SourceError, match="flag: 'maybe' must be true or false"):
        resolve([Declaration("flag", "boolean", default="maybe")], {}, "here")


# --- nothing that is accepted breaks out of its place

TEXT_TEMPLATES = [
    "INSERT INTO t VALUES ({}, 1); SELECT 2",
    "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT {} $$",
    "SELECT format({}, 'a'), /* {} */ 3",
    "SELECT 1, -- {}\n 3",
]
hostile_text = st.one_of(
    st.text(max_size=12),
    st.text("ab -_$я1'\"*/", min_size=1, max_size=8),
    st.lists(
        st.sampled_from(
            [
                *HOSTILE,
                "a",
                "-",
                "$",
                "_",
                " ",
                "x1",
                "select",
                "я",
                "E'",
                "U&",
                "::",
                ")",
                "(",
                SCHEMA_PLACEHOLDER,
            ]
        ),
        min_size=1,
        max_size=5,
    ).map("".join),
)


def shape(sql: str, value: str) -> list[list[str]]:
    """Kinds of the nodes that the statements are made of, and every text in them, with ``value`` taken out."""
    quoted = (to_sql(Identifier(value)), to_sql(Literal(value)))
    found = []
    for raw in parse_sql(sql):
        found.append(leaves(raw.stmt))
        for at, leaf in enumerate(found[-1]):
            for text in quoted:  # inside the body of a function, which is one text to the parser
                leaf = leaf.replace(text, "?")
            found[-1][at] = "?" if leaf == value else leaf
    return found


def leaves(node: Any) -> list[str]:
    if isinstance(node, tuple):
        return [leaf for item in node for leaf in leaves(item)]
    if isinstance(node, ast.Node):
        members = [
            getattr(node, name)
            for name in node
            if "location" not in name and not name.startswith("rexpr_list")
        ]
        return [type(node).__name__, *(leaf for member in members for leaf in leaves(member))]
    return [str(node)]


IN_SCHEMA = f"""
CREATE TABLE "{SCHEMA_PLACEHOLDER}".t (a int DEFAULT nextval('"{SCHEMA_PLACEHOLDER}".s'));
CREATE FUNCTION "{SCHEMA_PLACEHOLDER}".f() RETURNS bigint LANGUAGE sql AS $$
    SELECT count(*) FROM "{SCHEMA_PLACEHOLDER}".t -- of "{SCHEMA_PLACEHOLDER}"
$$;
CREATE FUNCTION "{SCHEMA_PLACEHOLDER}".g() RETURNS bigint LANGUAGE sql AS $body$SELECT "{SCHEMA_PLACEHOLDER}".f()$body$;
SELECT 1 FROM "{SCHEMA_PLACEHOLDER}".t /* "{SCHEMA_PLACEHOLDER}" */ WHERE a = 1
"""


@settings(max_examples=300, deadline=None)
@given(hostile_text)
def test_an_accepted_schema_name_changes_no_statement(name: str) -> None:
    try:
        check_identifier(name)
    except ValueError:
        return
    rendered = in_schema(IN_SCHEMA, name)
    assert shape(rendered, name) == [
        ["?" if leaf == name else leaf for leaf in one]
        for one in shape(in_schema(IN_SCHEMA, "plain"), "plain")
    ]
    body = rendered.split("$$")[1]
    assert len(parse_sql(body)) == 1


@pytest.mark.parametrize("name", ["a$$b", "a$body$b", 'a"b', "a'b", "x$$ LANGUAGE sql; SELECT $$"])
def test_the_comparison_of_shapes_sees_a_name_that_breaks_out(name: str) -> None:
    try:
        broken = shape(in_schema(IN_SCHEMA, name), name)
    except ParseError:
        return
    assert broken != shape(in_schema(IN_SCHEMA, "plain"), "plain")


@settings(max_examples=300, deadline=None)
@given(hostile_text, st.sampled_from(TEXT_TEMPLATES))
def test_an_accepted_text_changes_no_statement(text: str, template: str) -> None:
    try:
        literal = check_text(text)
    except ValueError:
        return
    rendered = template.replace("{}", to_sql(literal))
    assert shape(rendered, text) == [
        ["?" if leaf == text else leaf for leaf in one]
        for one in shape(template.replace("{}", "'plain'"), "plain")
    ]
    assert in_schema(rendered, "elsewhere") == rendered


@pytest.mark.parametrize("template", TEXT_TEMPLATES)
@pytest.mark.parametrize("text", ["a', 'b", "$$ || $$", "*/ || /*", "a\n, 2"])
def test_the_comparison_of_shapes_sees_a_text_that_breaks_out(text: str, template: str) -> None:
    """Not every text breaks out of every place; each breaks out of one."""
    harmless = {
        "a', 'b": TEXT_TEMPLATES[3:],
        "$$ || $$": [one for one in TEXT_TEMPLATES if "$$" not in one],
        "*/ || /*": [one for one in TEXT_TEMPLATES if "/*" not in one],
        "a\n, 2": [one for one in TEXT_TEMPLATES if "--" not in one],
    }
    try:
        same = shape(template.replace("{}", f"'{text}'"), text) == shape(
            template.replace("{}", "'plain'"), "plain"
        )
    except ParseError:
        same = False
    assert same == (template in harmless[text])


@settings(max_examples=100, deadline=None)
@given(st.integers(-(2**31), 2**31 - 1))
def test_an_accepted_number_changes_no_statement(number: int) -> None:
    template = "SELECT 10 -{}, 5+{},{} FROM t LIMIT {}; SELECT 2"
    rendered: Any = parse_sql(template.replace("{}", to_sql(number)))
    plain: Any = parse_sql(template.replace("{}", "1"))
    assert [len(one) for one in (rendered, plain)] == [2, 2]
    assert [len(one[0].stmt.targetList) for one in (rendered, plain)] == [3, 3]
