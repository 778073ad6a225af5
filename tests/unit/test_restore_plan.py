"""What a restore would do, from catalogs alone."""

from typing import Any

import pytest
from ansible.module_utils.rollout import backup_archive, restore_plan
from ansible.module_utils.rollout.backup_contents import TableRows
from ansible.module_utils.rollout.catalog import table_of
from ansible.module_utils.rollout.errors import RestoreRefused
from ansible.module_utils.rollout.restore_plan import Name, Plan
from ansible.module_utils.rollout.restore_script import script_of

RECORDED: dict[str, dict[str, Any]] = {
    "public": {
        "table clients": {"owner": "o"},
        "column clients.id": {"position": 1, "type": "integer"},
        "column clients.twice": {"position": 2, "type": "integer", "generated": "stored"},
        "table bookings": {"owner": "o"},
        "column bookings.id": {"position": 1, "type": "integer"},
        "table messages": {"owner": "o", "partition_key": "RANGE (at)"},
        "table messages_1": {"owner": "o", "parent": "messages"},
        "table messages_2": {"owner": "o", "parent": "messages"},
        "table whatsapp_auth": {"owner": "o"},
        "function f()": {"owner": "o"},
        "index clients_id": {"table": "clients"},
        "comment on index clients_id": {"text": "x"},
    }
}
NAMES = [("public", name) for name in ("clients", "bookings", "messages", "messages_1", "messages_2")]
PROTECTED = ("public", "whatsapp_auth")
ROWS = {
    ("public", name): TableRows(2, 0, "7") for name in ("clients", "bookings", "messages_1", "messages_2")
}
REFERENCES = [(("public", "bookings"), ("public", "clients"))]


def live(*missing: str, **changed: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The database: all that is recorded, but for some tables."""
    entries = {
        name: entry
        for name, entry in RECORDED["public"].items()
        if (table_of(name, entry) or "") not in missing
    }
    return {"public": {**entries, **changed}}


def decide(
    found: dict[str, dict[str, Any]],
    counts: dict[Name, TableRows] | None = None,
    chosen: list[Name] | None = None,
    **given: Any,
) -> Plan:
    options = {"protected": [PROTECTED], "named_by_hand": False, "replace": False, **given}
    there = {name: ROWS[name] for name in ROWS if f"table {name[1]}" in found["public"]}
    return restore_plan.plan(
        chosen or NAMES, RECORDED, found, ROWS, {**there, **(counts or {})}, REFERENCES, **options
    )


EMPTY = TableRows(0, 0, "0")
OTHER = TableRows(2, 0, "8")


def test_nothing_is_to_do_where_every_row_is_there() -> None:
    decided = decide(live())
    assert decided.nothing
    assert len(decided.equal) == 4


def test_missing_tables_are_made_parents_first() -> None:
    decided = decide(live("messages", "messages_1", "messages_2", "bookings"))
    assert [name for _, name in decided.create] == ["bookings", "messages", "messages_1", "messages_2"]
    assert decided.equal == (("public", "clients"),)


def test_empty_tables_are_filled_and_others_refused() -> None:
    assert decide(live(), {("public", "clients"): EMPTY}).fill == (("public", "clients"),)
    with pytest.raises(
        RestoreRefused, match=r"public\.clients holds 2 rows that are not those of the backup \(2\)"
    ):
        decide(live(), {("public", "clients"): OTHER})


def test_tables_are_moved_aside_with_those_that_refer_to_them() -> None:
    decided = decide(live(), {("public", "clients"): OTHER}, replace=True)
    assert decided.replace == (("public", "bookings"), ("public", "clients"))
    assert set(decided.create) == set(decided.replace)


def test_a_whole_tree_of_partitions_is_moved_with_later_ones() -> None:
    found = live(**{"table messages_3": {"owner": "o", "parent": "messages"}})
    decided = decide(found, {("public", "messages_1"): OTHER}, replace=True)
    assert [name for _, name in decided.replace] == ["messages", "messages_1", "messages_2", "messages_3"]
    assert [name for _, name in decided.create] == ["messages", "messages_1", "messages_2"]


def test_protected_tables_are_left_alone_or_refused_when_named() -> None:
    assert decide(live(), chosen=[*NAMES, PROTECTED]).left_alone == (PROTECTED,)
    with pytest.raises(RestoreRefused, match=r"public\.whatsapp_auth is protected"):
        decide(live(), chosen=[PROTECTED], named_by_hand=True)
    # Where it is gone there is nothing to protect; but this backup has no rows of it.
    with pytest.raises(RestoreRefused, match="are not in this backup"):
        decide(live("whatsapp_auth"), chosen=[PROTECTED])


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (
            {"column clients.id": {"position": 1, "type": "text"}},
            "column clients.id is text, in the backup integer",
        ),
        ({"table messages": {"owner": "o", "partition_key": "LIST (x)"}}, "partitioned otherwise"),
    ],
)
def test_rows_go_into_the_same_shape_only(changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(RestoreRefused, match=reason):
        decide(live(**changed), {("public", "clients"): EMPTY})


def test_a_name_that_something_else_has_is_told() -> None:
    with pytest.raises(RestoreRefused, match="its name is taken by view clients"):
        decide(live("clients", **{"view clients": {}}))


def test_columns_that_postgresql_computes_are_not_given() -> None:
    assert restore_plan.columns(("public", "clients"), RECORDED, generated=False) == ["id"]
    assert restore_plan.columns(("public", "clients"), RECORDED, generated=True) == ["id", "twice"]


def test_tables_are_named_with_or_without_their_schema() -> None:
    assert restore_plan.named(["clients", "public.bookings"], RECORDED) == set(NAMES[:2])
    with pytest.raises(RestoreRefused, match="the backup has no table nobody"):
        restore_plan.named(["nobody"], RECORDED)


def test_referenced_tables_are_filled_first() -> None:
    names = [("s", "a"), ("s", "b"), ("s", "c")]
    chain = [(names[0], names[1]), (names[1], names[2]), (names[0], names[0])]
    assert restore_plan.fill_order(names, chain) == names[::-1]
    circle = [(names[0], names[1]), (names[1], names[0])]
    assert sorted(restore_plan.fill_order(names, circle)) == names


LISTING = """
1; 1255 1 FUNCTION public f() o
2; 1255 1 FUNCTION public g() o
3; 0 0 COMMENT public FUNCTION g() o
;	depends on: 2
10; 1259 1 TABLE public clients o
11; 0 0 ACL public TABLE clients o
;	depends on: 10
12; 1259 1 SEQUENCE public clients_id_seq o
;	depends on: 10
13; 0 0 SEQUENCE OWNED BY public clients_id_seq o
;	depends on: 12
20; 1259 1 TABLE public bookings o
30; 1259 1 INDEX public clients_id o
;	depends on: 10
31; 0 0 COMMENT public INDEX clients_id o
;	depends on: 30
32; 2620 1 TRIGGER public clients touch o
;	depends on: 10 1
33; 2606 1 FK CONSTRAINT public bookings bookings_client_fkey o
;	depends on: 20 10 34
34; 2606 1 CONSTRAINT public clients clients_pkey o
;	depends on: 10
"""


def chosen_items(
    missing: tuple[str, ...], found: dict[str, dict[str, Any]], everything: bool = False
) -> set[int]:
    archive = backup_archive.parse(LISTING, ["public"])
    decided = Plan(tuple(("public", name) for name in missing), (), (), (), ())
    return {item.id for item in restore_plan.items_for(archive, decided, found, everything=everything)}


def test_a_table_comes_with_what_hangs_on_it_and_what_it_needs() -> None:
    found = live("clients")
    found["public"].pop("function f()")
    # g() is missing too, and nothing needs it; the foreign key is another table's.
    assert chosen_items(("clients",), found) == {1, 10, 11, 12, 13, 30, 31, 32, 34}
    assert chosen_items(("clients",), found, everything=True) == {1, 2, 3, 10, 11, 12, 13, 30, 31, 32, 34}
    assert chosen_items(("clients",), live("clients")) == {10, 11, 12, 13, 30, 31, 32, 34}


def test_a_table_that_is_needed_and_not_there_is_asked_for() -> None:
    assert chosen_items(("bookings",), live("bookings")) == {20, 33}
    with pytest.raises(RestoreRefused, match=r"table public\.clients is needed"):
        chosen_items(("bookings",), live("bookings", "clients"))


TEXT = r"""--
-- PostgreSQL database dump
--

\restrict abc

SET lock_timeout = 0;
SELECT pg_catalog.set_config('search_path', '', false);

--
-- Name: f(); Type: FUNCTION; Schema: public; Owner: o
--

CREATE FUNCTION public.f() AS $$ SELECT (ARRAY['a'::character varying])::text[] $$;

--
-- Name: t; Type: TABLE; Schema: public; Owner: o
--

CREATE TABLE public.t (CHECK (x = ANY ((ARRAY['a'::character varying])::text[])));

--
-- PostgreSQL database dump complete
--

\unrestrict abc

"""


def test_the_script_keeps_our_limits_and_the_bodies_of_functions() -> None:
    script = script_of(TEXT)
    assert "lock_timeout" not in script and "restrict" not in script
    assert "$$ SELECT (ARRAY['a'::character varying])::text[] $$" in script
    assert "CHECK (x = ANY (ARRAY['a'::character varying]))" in script
    assert script_of("--\n-- PostgreSQL database dump\n--\n") == ""
