"""The translation's rules: each by an example, and the table of the documentation."""

from dataclasses import dataclass
from pathlib import Path

import pglast
import pytest
from ansible.module_utils.rollout.audit import live_schema
from ansible.module_utils.rollout.audit.chain import Chain, Column, Filter, Group, Known, Literal, Selection
from ansible.module_utils.rollout.audit.live_schema import (
    NOTHING,
    ROWS,
    VALUE,
    Argument,
    ColumnFacts,
    ForeignKey,
    FunctionFacts,
    LiveSchema,
    TableFacts,
)
from ansible.module_utils.rollout.audit.relationships import find
from ansible.module_utils.rollout.audit.translate import translate
from ansible.module_utils.rollout.audit.translate_call import call_sql
from ansible.module_utils.rollout.audit.translate_result import Call, Read, Translation, Write
from ansible.module_utils.rollout.audit.translate_rules import BY_ID, REFUSED, RULES, as_markdown
from ansible.module_utils.rollout.audit.translate_sql import (
    CONTAINER,
    JSON,
    LIST,
    PATTERN,
    TEXT,
    identifier,
    javascript_text,
    literal_text,
    prepared,
)
from ansible.module_utils.rollout.audit.translate_write import write_sql
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.audited_calls import chains_of

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/audit-translation.md"


def table(columns: str, **facts: object) -> TableFacts:
    named = dict(column.split(" ") for column in columns.split(", "))
    return TableFacts({name: ColumnFacts(kind) for name, kind in named.items()}, **facts)  # type: ignore[arg-type]


SCHEMA = LiveSchema(
    "public",
    {
        "companies": table("id integer, title text", primary_key=("id",)),
        "clients": table(
            "id integer, company_id integer, name text, data jsonb, tags text[]", primary_key=("id",)
        ),
        "bookings": table("id integer, client_id integer, deputy_id integer", primary_key=("id",)),
        "recent": table("id integer", is_view=True),
    },
    (
        ForeignKey("clients_company", "clients", ("company_id",), "companies", ("id",)),
        ForeignKey("bookings_client", "bookings", ("client_id",), "clients", ("id",)),
        ForeignKey("bookings_deputy", "bookings", ("deputy_id",), "clients", ("id",)),
    ),
    (
        FunctionFacts(
            "add", (Argument("a", "integer"), Argument("b", "integer", required=False)), VALUE, "int4"
        ),
        FunctionFacts("forget", (), NOTHING, "void"),
        FunctionFacts("clients_of", (Argument("company", "integer"),), ROWS, "clients"),
    ),
)


@dataclass(frozen=True)
class Example:
    """A call, and a part of the SQL that it becomes, or of the reason why it does not become any."""

    rule: str
    call: str
    expected: str


C = "db.from('clients')"
EXAMPLES = [
    Example("select.all", f"{C}.select()", 'SELECT "clients".*\nFROM "public"."clients"'),
    Example("select.columns", f"{C}.select('id, name')", 'SELECT "clients"."id", "clients"."name"\n'),
    Example("select.alias", f"{C}.select('x:name')", '"clients"."name" AS "x"'),
    Example("select.cast", f"{C}.select('id::text')", 'CAST("clients"."id" AS text)'),
    Example("select.path", f"{C}.select('data->a->>0')", """"clients"."data"->'a'->>0 AS "a\""""),
    Example("select.count", f"{C}.select('count')", 'SELECT count(*) AS "count"'),
    Example("select.aggregate", f"{C}.select('id.sum()')", "sum() of id"),
    Example("select.unknown", f"{C}.select(value)", "the columns are not known"),
    Example(
        "embed.one",
        f"{C}.select('id, companies(title)')",
        'LEFT JOIN LATERAL (SELECT "companies_1"."title"\nFROM "public"."companies" AS "companies_1"\n'
        'WHERE "companies_1"."id" = "clients"."company_id"\nLIMIT 1000) AS "clients_companies_1" ON TRUE',
    ),
    Example(
        "embed.many",
        "db.from('companies').select('clients(name)')",
        'coalesce("companies_clients_1"."companies_clients_1", \'[]\') AS "clients"',
    ),
    Example("embed.inner", f"{C}.select('id, companies!inner(title)')", "INNER JOIN LATERAL"),
    Example(
        "embed.hint",
        f"{C}.select('id, bookings!bookings_deputy(id)')",
        '"bookings_1"."deputy_id" = "clients"."id"',
    ),
    Example("embed.spread", f"{C}.select('...companies(title)')", '"clients_companies_1"."title"'),
    Example(
        "embed.filter",
        f"{C}.select('id, companies(title)').eq('companies.title', 'x')",
        """AND "companies_1"."title" = 'x'""",
    ),
    Example(
        "embed.null",
        f"{C}.select('id, companies(title)').not('companies', 'is', null)",
        '"clients_companies_1" IS DISTINCT FROM NULL',
    ),
    Example("embed.view", "db.from('recent').select('id, clients(id)')", "recent is a view"),
    Example("filter.compare", f"{C}.select().eq('name', value)", '"clients"."name" = $1'),
    Example("filter.neq", f"{C}.select().neq('id', 5)", """"clients"."id" <> '5'"""),
    Example("filter.not", f"{C}.select().not('id', 'gt', 5)", """NOT "clients"."id" > '5'"""),
    Example("filter.is", f"{C}.select().is('name', null)", '"clients"."name" IS NULL'),
    Example("filter.in", f"{C}.select().in('id', [1, 2, 1])", """= ANY ('{"1","2"}')"""),
    Example("filter.like", f"{C}.select().ilike('name', '*it''s*')".replace("''", "\\'"), "ILIKE '%it''s%'"),
    Example("filter.like_many", f"{C}.select().likeAnyOf('name', ['a*', 'b'])", "LIKE ANY ('{a%,b}')"),
    Example("filter.match", f"{C}.select().filter('name', 'match', '^a')", "~ '^a'"),
    Example("filter.distinct", f"{C}.select().filter('id', 'isdistinct', 1)", "IS DISTINCT FROM '1'"),
    Example("filter.contains", f"{C}.select().contains('tags', ['a', 'b'])", "@> '{a,b}'"),
    Example("filter.range", f"{C}.select().rangeGt('id', '[1,2)')", ">> '[1,2)'"),
    Example(
        "filter.text_search",
        f"{C}.select().textSearch('name', 'a', {{ type: 'plain', config: 'simple' }})",
        "@@ plainto_tsquery('simple', 'a')",
    ),
    Example("filter.path", f"{C}.select().eq('data->>a', value)", """"clients"."data"->>'a' = $1"""),
    Example(
        "filter.or",
        f"{C}.select().or('id.eq.1,and(name.is.null,id.gt.2)')",
        """("clients"."id" = '1' OR ("clients"."name" IS NULL AND "clients"."id" > '2'))""",
    ),
    Example("filter.or_unknown", f"{C}.select().or(value)", "the text of .or() is not known"),
    Example("filter.unknown", f"{C}.select().eq(value, 1)", "the column of a filter is not known"),
    Example(
        "filter.conditional",
        f"{{ let query = {C}.select(); if (value) query = query.eq('name', value); await query; }}",
        'WHERE TRUE\n  AND "clients"."name" = $1',
    ),
    Example(
        "order",
        f"{C}.select().order('id', {{ ascending: false, nullsFirst: false }})",
        'ORDER BY "clients"."id" DESC NULLS LAST',
    ),
    Example(
        "order.embedded",
        "db.from('companies').select('clients(id)').order('id', { referencedTable: 'clients' })",
        'ORDER BY "clients_1"."id" ASC',
    ),
    Example(
        "order.related",
        f"{C}.select('id, companies(title)').order('companies(title)')",
        'ORDER BY "clients_companies_1"."title" ASC',
    ),
    Example("order.unknown", f"{C}.select().order(value)", "the column of .order()"),
    Example("order.mutation", f"{C}.delete().select('id').order('id')", 'FROM "pgrst_source" AS "clients"'),
    Example("limit", f"{C}.select().limit(5)", "LIMIT 1000"),
    Example("limit.none", f"{C}.select()", "LIMIT 1000"),
    Example("range", f"{C}.select().range(0, 9)", "LIMIT 1000 OFFSET 0"),
    Example(
        "limit.embedded",
        "db.from('companies').select('clients(id)').limit(3, { referencedTable: 'clients' })",
        "LIMIT 1000) AS",
    ),
    Example("limit.mutation", f"{C}.delete().eq('id', 1).limit(1)", ".limit() on delete"),
    Example("single", f"{C}.select().single()", "LIMIT 1000"),
    Example("maybe_single", f"{C}.select().maybeSingle()", "LIMIT 1000"),
    Example("count", f"{C}.select('id', {{ count: 'exact' }})", 'SELECT "clients"."id"'),
    Example("count.estimate", f"{C}.select('id', {{ count: 'planned' }})", 'SELECT "clients"."id"'),
    Example(
        "head", f"{C}.select('id', {{ count: 'exact', head: true }})", "SELECT count(*)\nFROM (SELECT 1\nFROM"
    ),
    Example("throw", f"{C}.select().throwOnError()", "SELECT"),
    Example("signal", f"{C}.select().abortSignal(value)", ".abortSignal()"),
    Example("format", f"{C}.select().csv()", ".csv()"),
    Example("rollback", f"{C}.delete().eq('id', 1).rollback()", ".rollback()"),
    Example("types", f"{C}.select().returns()", "SELECT"),
    Example(
        "mutation.unknown_name",
        f"{C}.insert({{ surname: 'x' }})",
        """INSERT INTO "public"."clients" ("surname") VALUES ('x')""",
    ),
    Example(
        "insert",
        f"{C}.insert({{ id: 1, tags: ['a'], data: ['a'], name: null }})",
        """("id", "tags", "data", "name") VALUES ('1', '{"a"}', '["a"]', NULL)""",
    ),
    Example(
        "insert.defaults", f"{C}.insert([{{ id: 1 }}], {{ defaultToNull: false }})", "defaultToNull: false"
    ),
    Example(
        "upsert",
        f"{C}.upsert({{ id: 1, name: value }}, {{ onConflict: 'id, name' }})",
        """ON CONFLICT ("id", "name") DO UPDATE SET "id" = EXCLUDED."id", "name" = EXCLUDED."name\"""",
    ),
    Example("upsert.key", f"{C}.upsert({{ id: 1 }})", 'ON CONFLICT ("id") DO UPDATE'),
    Example(
        "upsert.ignore",
        f"{C}.upsert({{ id: 1 }}, {{ ignoreDuplicates: true }})",
        'ON CONFLICT ("id") DO NOTHING',
    ),
    Example(
        "update",
        f"{C}.update({{ name: value }}).eq('id', 1)",
        """SET "name" = $1\nWHERE "clients"."id" = '1'""",
    ),
    Example("delete", f"{C}.delete().eq('id', 1)", """DELETE FROM "public"."clients"\nWHERE"""),
    Example("mutation.filter", f"{C}.delete().is('name', null)", 'WHERE "clients"."name" IS NULL'),
    Example(
        "returning",
        f"{C}.insert({{ id: 1 }}).select('id')",
        """RETURNING "clients".*) SELECT "clients"."id"\nFROM "pgrst_source" AS "clients\"""",
    ),
    Example("rpc", "db.rpc('add', { a: 1, b: value })", """"public"."add"("a" := '1', "b" := $1)"""),
    Example("rpc.count", "db.rpc('clients_of', { company: 1 }, { count: 'exact' })", "{ count: … }"),
    Example("rpc.get", "db.rpc('add', { a: 1 }, { get: true })", "{ get: … }"),
    Example(
        "rpc.rows",
        "db.rpc('clients_of', { company: 1 }).select('id').gt('id', 5)",
        """pgrst_call) AS "clients"\nWHERE "clients"."id" > '5'""",
    ),
    Example("rpc.value", "db.rpc('forget')", '"public"."forget"() AS pgrst_scalar'),
    Example("table.unknown", "db.from(value).select()", "the table is not known"),
    Example(
        "operation.unknown", "db.from('clients')[value]()", "the operation is known to the running code only"
    ),
    Example(
        "modifier.conditional",
        f"{{ let query = {C}.select(); if (value) query = query.single(); await query; }}",
        ".single() is not on every path",
    ),
    Example("modifier.unknown", f"{C}.select().setHeader('a', 'b')", ".setHeader()"),
    Example("schema.missing", "db.rpc('add', { a: 1 })", "its arguments are in the database"),
]


def translated(folder: Path, example: Example) -> Translation:
    (chain,) = chains_of(folder, example.call)
    (translation,) = translate(chain, None if example.rule == "schema.missing" else SCHEMA)
    return translation


def sql_of(translation: Translation) -> str:
    query = translation.query
    if isinstance(query, Read):
        return prepared(query.rows or query.count, 1000).text
    if isinstance(query, Write):
        return prepared(write_sql(query, SCHEMA)).text
    if isinstance(query, Call):
        return prepared(call_sql(query)).text
    return ""


@pytest.mark.parametrize("example", EXAMPLES, ids=[example.rule for example in EXAMPLES])
def test_a_rule_does_what_it_says(example: Example, tmp_path: Path) -> None:
    translation = translated(tmp_path, example)
    assert example.rule in translation.rules
    if BY_ID[example.rule].fidelity == REFUSED:
        assert not translation.exact
        assert any(gap.rule == example.rule and example.expected in gap.reason for gap in translation.gaps)
    else:
        assert translation.exact, translation.gaps
        assert example.expected in sql_of(translation)


def test_every_rule_has_an_example() -> None:
    assert len(BY_ID) == len(RULES)
    assert {example.rule for example in EXAMPLES} == set(BY_ID)


def test_the_documentation_lists_every_rule() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert as_markdown() in text, (
        "copy the output of translate_rules.as_markdown() into docs/audit-translation.md"
    )
    assert as_markdown().count("\n") == len(RULES) + 2


@pytest.mark.parametrize(
    ("value", "form", "column_type", "text"),
    [
        (None, TEXT, "", "null"),
        (True, TEXT, "", "true"),
        (1.0, TEXT, "", "1"),
        (0.5, TEXT, "", "0.5"),
        ((1, None, "a"), TEXT, "", "1,,a"),
        ("a*", PATTERN, "", "a%"),
        ((), LIST, "", "{}"),
        (("",), LIST, "", "{}"),
        (("", 'a"\\'), LIST, "", '{"","a\\"\\\\"}'),
        (("a", "b"), CONTAINER, "", "{a,b}"),
        ("[1,2)", CONTAINER, "", "[1,2)"),
        (("a",), JSON, "jsonb", '["a"]'),
        (("a",), JSON, "text[]", '{"a"}'),
        ("a", JSON, "jsonb", '"a"'),
        ("a", JSON, "text", "a"),
        (True, JSON, "integer", "true"),
    ],
)
def test_a_value_is_written_as_javascript_and_postgrest_write_it(
    value: object, form: str, column_type: str, text: str
) -> None:
    assert literal_text(value, form, column_type) == text


def test_names_are_always_quoted() -> None:
    assert identifier('a"b') == '"a""b"'
    assert identifier("a\nb\\") == 'U&"a\\000Ab\\\\"'
    assert javascript_text("x") == "x"


# No NUL: PostgreSQL has no text with one.
TEXTS = st.text(st.characters(min_codepoint=1, exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(table_name=TEXTS, column=TEXTS, value=TEXTS)
def test_whatever_is_in_the_source_the_sql_is_one_statement(table_name: str, column: str, value: str) -> None:
    assume(column.strip(".") == column and ".." not in column and "->" not in column and column != "*")
    assume(column.strip('"') == column)
    select = Selection((Column(column, alias=value),))
    filters = (
        Filter("eq", Known(column), Literal(value)),
        Group(
            "or",
            (Filter("ilike", Known(column), Literal(value)), Filter("in", Known(column), Literal((value,)))),
        ),
    )
    chain = Chain("a.js", 1, 1, Known(table_name), "select", "exact", select=select, filters=filters)
    (translation,) = translate(chain)
    (statement,) = pglast.parse_sql(sql_of(translation))
    found = statement.stmt
    assert isinstance(found, pglast.ast.SelectStmt)
    assert [source.relname for source in found.fromClause or ()] == [table_name]
    assert [target.name for target in found.targetList or ()] == [value]


def test_the_cap_can_be_taken_off(tmp_path: Path) -> None:
    (chain,) = chains_of(tmp_path, "db.from('clients').select()")
    (translation,) = translate(chain, SCHEMA, max_rows=None)
    assert "LIMIT" not in sql_of(translation)


def test_another_schema_is_not_looked_up_in_this_one(tmp_path: Path) -> None:
    (chain,) = chains_of(tmp_path, "db.schema('other').from('clients').select('id, companies(title)')")
    (translation,) = translate(chain, SCHEMA)
    assert [(gap.rule, gap.library) for gap in translation.gaps] == [
        ("schema.missing", False),
        ("schema.missing", True),
    ]
    assert 'FROM "other"."clients"' in sql_of(translation)


def test_a_table_of_a_literal_list_is_translated_for_each(tmp_path: Path) -> None:
    call = "{ for (const name of ['clients', 'companies']) await db.from(name).select('id'); }"
    (chain,) = chains_of(tmp_path, call)
    found = translate(chain, SCHEMA)
    assert [translation.table for translation in found] == ["clients", "companies"]
    assert all(translation.exact for translation in found)


def test_two_foreign_keys_are_ambiguous_until_one_is_named() -> None:
    assert len(find(SCHEMA, "clients", "bookings")) == 2
    assert [one.constraint for one in find(SCHEMA, "clients", "bookings", "deputy_id")] == ["bookings_deputy"]
    assert [one.constraint for one in find(SCHEMA, "bookings", "deputy_id")] == ["bookings_deputy"]
    assert find(SCHEMA, "clients", "recent") == []


def test_a_schema_survives_json() -> None:
    assert live_schema.from_json(SCHEMA.as_json()) == SCHEMA
