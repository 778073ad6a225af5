"""What a repair sends, in which order, and what it leaves alone."""

from typing import Any

import pytest
from ansible.module_utils.rollout import diff
from ansible.module_utils.rollout.catalog import Catalog, Entry
from ansible.module_utils.rollout.diff import Difference
from ansible.module_utils.rollout.repair import Repair, plan_repair
from pglast import parse_sql

FUNCTION: Entry = {
    "kind": "function",
    "returns": "integer",
    "language": "sql",
    "volatility": "stable",
    "security": "invoker",
    "definition": "CREATE OR REPLACE FUNCTION public.f(integer)\n RETURNS integer\n LANGUAGE sql\nAS $$ SELECT 1 $$\n",
    "owner": "gen_user",
}
TRIGGER: Entry = {
    "definition": "CREATE TRIGGER touch BEFORE UPDATE ON public.staff FOR EACH ROW EXECUTE FUNCTION f()",
    "state": "enabled",
}
INDEX: Entry = {
    "table": "staff",
    "definition": "CREATE UNIQUE INDEX staff_name ON public.staff USING btree (name)",
}
PARTITIONED: Entry = {
    "table": "messages",
    "definition": "CREATE INDEX messages_phone ON ONLY public.messages USING btree (phone)",
}
CHILD: Entry = {
    "table": "messages_2025_11",
    "definition": "CREATE INDEX messages_2025_11_phone_idx ON public.messages_2025_11 USING btree (phone)",
    "parent": "messages_phone",
}
#: What stands and was never touched.
STANDING: dict[str, Entry] = {
    "table staff": {"owner": "gen_user"},
    "table messages": {"partition_key": "RANGE (created_at)"},
    "table messages_2025_11": {"parent": "messages"},
    "view totals": {"materialized": True},
    "view names": {"definition": " SELECT 1"},
}


def repaired(
    expected: dict[str, Entry], actual: dict[str, Entry] | None = None, schema: str = "public"
) -> Repair:
    """The repair of what differs between a recorded and a live catalog."""
    live = Catalog({**STANDING, **(actual or {})})
    return plan_repair(diff.compare({**STANDING, **expected}, {*STANDING, *expected}, live), live, schema)


def sent(repair: Repair) -> list[str]:
    assert repair.beyond == ()
    return [command.sql for command in (*repair.transactional, *repair.concurrent, *repair.comments)]


def test_nothing_differs_nothing_is_sent() -> None:
    assert repaired({}) == Repair((), (), (), ())


@pytest.mark.parametrize(
    "damage",
    [
        None,
        {"definition": "other"},
        {"volatility": "volatile"},
        {"security": "definer"},
        {"settings": ["search_path=x"]},
    ],
)
def test_a_function_is_made_again_as_recorded(damage: dict[str, Any] | None) -> None:
    live = {} if damage is None else {"function f(integer)": {**FUNCTION, **damage}}
    (command,) = repaired({"function f(integer)": FUNCTION}, live).transactional
    assert command.sql == FUNCTION["definition"]
    assert command.place == "function f(integer)"


@pytest.mark.parametrize(
    "damage",
    [
        {"returns": "bigint"},
        {"language": "plpgsql"},
        {"kind": "procedure"},
        {"owner": "postgres"},
        {"grants": ["a"]},
    ],
)
def test_a_function_that_would_have_to_be_dropped_or_given_away_is_beyond(damage: dict[str, Any]) -> None:
    repair = repaired({"function f(integer)": FUNCTION}, {"function f(integer)": {**FUNCTION, **damage}})
    assert [difference.object for difference in repair.beyond] == ["function f(integer)"]
    assert repair.transactional == ()


def test_an_aggregate_has_no_definition_to_be_made_from() -> None:
    aggregate = {name: value for name, value in FUNCTION.items() if name != "definition"}
    assert [d.object for d in repaired({"function f(integer)": aggregate}).beyond] == ["function f(integer)"]


def test_only_a_function_is_ever_sent_as_a_function() -> None:
    with pytest.raises(ValueError, match="not a function's definition: DROP TABLE"):
        repaired({"function f(integer)": {**FUNCTION, "definition": "DROP TABLE staff"}})


@pytest.mark.parametrize(
    ("state", "clause"),
    [
        ("enabled", "ENABLE TRIGGER"),
        ("disabled", "DISABLE TRIGGER"),
        ("replica only", "ENABLE REPLICA TRIGGER"),
        ("always", "ENABLE ALWAYS TRIGGER"),
    ],
)
@pytest.mark.parametrize(
    "observed", [None, {**TRIGGER, "state": "gone"}, {**TRIGGER, "definition": "CREATE TRIGGER touch"}]
)
def test_a_trigger_is_made_again_with_its_state(state: str, clause: str, observed: Entry | None) -> None:
    live = {} if observed is None else {"trigger staff.touch": observed}
    assert sent(repaired({"trigger staff.touch": {**TRIGGER, "state": state}}, live)) == [
        "CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.staff FOR EACH ROW EXECUTE FUNCTION f()",
        f'ALTER TABLE "public"."staff" {clause} "touch"',
    ]


def test_a_constraint_trigger_is_made_when_missing_but_cannot_be_replaced() -> None:
    constraint = {**TRIGGER, "definition": "CREATE CONSTRAINT TRIGGER touch AFTER UPDATE ON public.staff"}
    assert sent(repaired({"trigger staff.touch": constraint}))[0] == constraint["definition"]
    changed = repaired(
        {"trigger staff.touch": constraint}, {"trigger staff.touch": {**constraint, "state": "disabled"}}
    )
    assert [difference.object for difference in changed.beyond] == ["trigger staff.touch"]


SESSION_PATH = "SELECT set_config('search_path', quote_ident(%s) || ', pg_temp', false)"
BUILD = "CREATE UNIQUE INDEX CONCURRENTLY staff_name ON public.staff USING btree (name)"


def test_a_missing_index_is_built_beside_its_writers() -> None:
    repair = repaired({"index staff_name": INDEX})
    assert repair.transactional == ()
    assert sent(repair) == [SESSION_PATH, BUILD]
    assert repair.concurrent[0].parameters == ("public",)


def test_an_invalid_index_is_dropped_first() -> None:
    assert sent(repaired({"index staff_name": INDEX}, {"index staff_name": {**INDEX, "invalid": True}})) == [
        SESSION_PATH,
        'DROP INDEX CONCURRENTLY "public"."staff_name"',
        BUILD,
    ]


@pytest.mark.parametrize(
    "observed",
    [
        {**INDEX, "definition": "other"},
        {**INDEX, "definition": "other", "invalid": True},
        {**INDEX, "table": "x"},
    ],
)
def test_an_index_of_another_shape_is_beyond(observed: Entry) -> None:
    repair = repaired({"index staff_name": INDEX}, {"index staff_name": observed})
    assert [difference.object for difference in repair.beyond] == ["index staff_name"]
    assert repair.concurrent == ()


def test_an_index_that_a_replica_relies_on_is_beyond() -> None:
    """CREATE INDEX alone would not make it the replica identity again."""
    repair = repaired({"index staff_name": {**INDEX, "replica_identity": True}})
    assert [difference.object for difference in repair.beyond] == ["index staff_name"]


def test_a_partitioned_index_is_built_in_a_transaction_and_brings_its_parts() -> None:
    repair = repaired({"index messages_phone": PARTITIONED, "index messages_2025_11_phone_idx": CHILD})
    assert sent(repair) == ["CREATE INDEX messages_phone ON public.messages USING btree (phone)"]
    assert repair.concurrent == ()


def test_a_partitions_index_alone_is_beyond() -> None:
    repair = repaired(
        {"index messages_phone": PARTITIONED, "index messages_2025_11_phone_idx": CHILD},
        {"index messages_phone": PARTITIONED},
    )
    assert [difference.object for difference in repair.beyond] == ["index messages_2025_11_phone_idx"]


def test_an_invalid_partitioned_index_is_beyond() -> None:
    repair = repaired(
        {"index messages_phone": PARTITIONED}, {"index messages_phone": {**PARTITIONED, "invalid": True}}
    )
    assert [difference.object for difference in repair.beyond] == ["index messages_phone"]


@pytest.mark.parametrize(
    ("described", "sql"),
    [
        ("table staff", 'COMMENT ON TABLE "public"."staff" IS'),
        ("column staff.name", 'COMMENT ON COLUMN "public"."staff"."name" IS'),
        ("trigger staff.touch", 'COMMENT ON TRIGGER "touch" ON "public"."staff" IS'),
        ("constraint staff.a.b", 'COMMENT ON CONSTRAINT "a.b" ON "public"."staff" IS'),
        ("policy staff.see own", 'COMMENT ON POLICY "see own" ON "public"."staff" IS'),
        ("index staff_name", 'COMMENT ON INDEX "public"."staff_name" IS'),
        ("sequence s", 'COMMENT ON SEQUENCE "public"."s" IS'),
        ("type mood", 'COMMENT ON TYPE "public"."mood" IS'),
        ("view names", 'COMMENT ON VIEW "public"."names" IS'),
        ("view totals", 'COMMENT ON MATERIALIZED VIEW "public"."totals" IS'),
        ("foreign table far", 'COMMENT ON FOREIGN TABLE "public"."far" IS'),
        ("function f(integer, text)", 'COMMENT ON ROUTINE "public"."f"(integer, text) IS'),
        ("function f()", 'COMMENT ON ROUTINE "public"."f"() IS'),
    ],
)
@pytest.mark.parametrize("observed", [None, {"text": "other"}])
def test_a_comment_is_written_again(described: str, sql: str, observed: Entry | None) -> None:
    name = f"comment on {described}"
    live = {} if observed is None else {name: observed}
    (text,) = sent(repaired({name: {"text": "it's"}}, live))
    assert text == f"{sql} 'it''s'"
    assert len(parse_sql(text)) == 1


@pytest.mark.parametrize("name", ['a"b', "a b", "A", "select", "a$$b", 'x"; DROP TABLE y; --'])
def test_names_are_quoted(name: str) -> None:
    expected = {
        f"trigger {name}.{name}": TRIGGER,
        f"comment on column {name}.{name}": {"text": "'; DROP TABLE y; --"},
        f"comment on policy {name}.{name}": {"text": "x"},
        f"comment on function {name}()": {"text": "x"},
        f"index {name}": INDEX,
    }
    live = {f"index {name}": {**INDEX, "invalid": True}}
    commands = sent(repaired(expected, live, schema='S"x'))
    parsed = [parse_sql(command.replace("%s", "''")) for command in commands]
    assert [len(one) for one in parsed] == [1] * len(commands)
    assert all(
        '"S""x"' in command for command in commands if "CREATE" not in command and "set_config" not in command
    )


def test_what_something_needs_comes_before_it() -> None:
    """Differences come sorted by name, where comments are first."""
    recorded = {
        "comment on function f(integer)": {"text": "a"},
        "comment on index messages_phone": {"text": "b"},
        "comment on index staff_name": {"text": "c"},
        "comment on trigger staff.touch": {"text": "d"},
        "function f(integer)": FUNCTION,
        "index messages_phone": PARTITIONED,
        "index staff_name": INDEX,
        "trigger staff.touch": TRIGGER,
    }
    repair = repaired(recorded)
    assert [command.place for command in repair.transactional] == [
        "function f(integer)",
        "trigger staff.touch",
        "trigger staff.touch",
        "index messages_phone",
    ]
    assert [command.place for command in repair.concurrent] == ["", "index staff_name"]
    assert [command.place for command in repair.comments] == [
        name for name in recorded if name.startswith("comment")
    ]


@pytest.mark.parametrize(
    "name",
    [
        "table staff2",
        "column staff.name",
        "constraint staff.key",
        "sequence s",
        "view v",
        "policy staff.own",
        "type mood",
        "statistics s",
        "foreign table far",
    ],
)
def test_what_may_hold_data_or_belong_to_somebody_is_beyond(name: str) -> None:
    repair = repaired({name: {"definition": "x"}})
    assert [difference.object for difference in repair.beyond] == [name]
    assert repair.transactional == repair.concurrent == repair.comments == ()


@pytest.mark.parametrize(
    "name", ["index more", "trigger staff.more", "column staff.more", "function f(text)"]
)
def test_what_is_too_many_is_beyond(name: str) -> None:
    repair = repaired(
        {"function f(integer)": FUNCTION},
        {"function f(integer)": FUNCTION, name: {**INDEX, "definition": "x"}},
    )
    assert [(difference.object, difference.kind) for difference in repair.beyond] == [(name, "extra")]


@pytest.mark.parametrize("expected", [INDEX, PARTITIONED, CHILD])
def test_a_name_that_is_taken_is_beyond(expected: Entry) -> None:
    taken = Difference("index i", "occupied", expected, {"is": "view i"})
    assert plan_repair([taken], Catalog(STANDING), "public") == Repair((), (), (), (taken,))


def test_what_can_be_mended_is_still_planned_beside_what_cannot() -> None:
    """The caller refuses all of it; the plan itself hides nothing."""
    repair = repaired({"function f(integer)": FUNCTION, "column staff.name": {"type": "text"}})
    assert len(repair.transactional) == len(repair.beyond) == 1
