"""The rules of the translation: one a construct. docs/audit-translation.md lists them, and a test compares the two."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: How a piece of JavaScript or of SQL begins.
_CODE = re.compile(r"""[."({]|[A-Z]{2}|count\(|if \(|builder""")
#: How near a rule comes to what PostgREST answers.
EQUAL, SAFER, REFUSED = "equal", "differs on purpose", "not translated"


@dataclass(frozen=True)
class Rule:
    """What one construct of supabase-js becomes.

    :ivar id: named by every translation that used it
    :ivar construct: the call
    :ivar sql: what it becomes
    :ivar fidelity: :data:`EQUAL`, :data:`SAFER` or :data:`REFUSED`
    :ivar note: what to know; why it differs or is not translated
    """

    id: str
    construct: str
    sql: str
    fidelity: str = EQUAL
    note: str = ""


RULES = (
    # What is read
    Rule("select.all", ".select(), .select('*')", '"t".*'),
    Rule("select.columns", ".select('a, b')", '"t"."a", "t"."b"'),
    Rule("select.alias", ".select('x:a')", '"t"."a" AS "x"'),
    Rule("select.cast", ".select('a::text')", 'CAST("t"."a" AS text)'),
    Rule(
        "select.path",
        ".select('data->a->>b')",
        '"t"."data"->\'a\'->>\'b\' AS "b"',
        note="A column that is not json or jsonb is wrapped in to_jsonb(). The answer's key is the path's last name.",
    ),
    Rule(
        "select.count",
        ".select('count')",
        'count(*) AS "count"',
        note="One row. PostgREST 12 reads the word as the count of rows; as count() it wants db-aggregates-enabled.",
    ),
    Rule(
        "select.aggregate",
        ".select('amount.sum()')",
        "",
        REFUSED,
        "PostgREST 12 refuses aggregates unless db-aggregates-enabled is set: PGRST123.",
    ),
    Rule(
        "select.unknown", ".select(columns)", "", REFUSED, "The columns are known to the running code only."
    ),
    Rule(
        "embed.one",
        ".select('*, companies(title)')",
        'LEFT JOIN LATERAL (SELECT …) AS "t_companies_1" ON TRUE; row_to_json(…)',
        note="Along a foreign key of the table: an object, or null. No foreign key: PGRST200. More than one: PGRST201.",
    ),
    Rule(
        "embed.many",
        ".select('*, bookings(id)')",
        "LEFT JOIN LATERAL (SELECT json_agg(…) FROM (SELECT …)) AS \"t_bookings_1\" ON TRUE; coalesce(…, '[]')",
        note="Along a foreign key to the table, or through a table between the two: a list, with the cap of its own.",
    ),
    Rule("embed.inner", ".select('*, companies!inner(title)')", "INNER JOIN LATERAL"),
    Rule(
        "embed.hint",
        ".select('*, companies!company_fk(title)')",
        "the named foreign key, its column, or table between",
    ),
    Rule(
        "embed.spread",
        ".select('*, ...companies(title)')",
        '"t_companies_1"."title"',
        note="To one row only.",
    ),
    Rule(
        "embed.filter",
        ".eq('companies.title', v)",
        "the embedded SELECT's WHERE",
        note="Without !inner the parents stay, with null or []. The resource must be selected: PGRST108.",
    ),
    Rule("embed.null", ".not('companies', 'is', null)", '"t_companies_1" IS DISTINCT FROM NULL'),
    Rule(
        "embed.view",
        "embedded resource of a view",
        "",
        REFUSED,
        "PostgREST finds a view's keys from its definition.",
    ),
    # Filters
    Rule(
        "filter.compare",
        ".eq, .gt, .gte, .lt, .lte",
        '"t"."c" = $1',
        note="The value is a text, read as the column's type: null is 'null', a Date object is refused (22007).",
    ),
    Rule("filter.neq", ".neq", '"t"."c" <> $1', note="Rows with NULL drop out."),
    Rule("filter.not", ".not(c, op, v)", 'NOT "t"."c" = $1', note="Rows with NULL drop out, but for is."),
    Rule("filter.is", ".is(c, null | true | false)", '"t"."c" IS NULL', note="Another value: PGRST100."),
    Rule(
        "filter.in",
        ".in(c, list)",
        '"t"."c" = ANY($1)',
        SAFER,
        "An empty list gives no rows. A value that holds quotes stays as it is; PostgREST would read it once more.",
    ),
    Rule("filter.like", ".like, .ilike", '"t"."c" ILIKE $1', note="* stands for % as well."),
    Rule("filter.like_many", ".likeAllOf, .likeAnyOf, .ilikeAllOf, .ilikeAnyOf", '"t"."c" LIKE ALL ($1)'),
    Rule("filter.match", ".regexMatch, .regexIMatch", '"t"."c" ~ $1'),
    Rule("filter.distinct", ".isDistinct", '"t"."c" IS DISTINCT FROM $1'),
    Rule(
        "filter.contains",
        ".contains, .containedBy, .overlaps",
        '"t"."c" @> $1',
        note="A list becomes an array, an object JSON: a list for a jsonb column is refused (22P02), as by PostgREST.",
    ),
    Rule("filter.range", ".rangeGt, .rangeGte, .rangeLt, .rangeLte, .rangeAdjacent", '"t"."c" >> $1'),
    Rule("filter.text_search", ".textSearch", '"t"."c" @@ to_tsquery($1)'),
    Rule("filter.path", ".eq('data->>a', v)", '"t"."data"->>\'a\' = $1'),
    Rule(
        "filter.or",
        ".or('a.eq.1,and(b.is.null,c.gt.2)')",
        '("t"."a" = $1 OR ("t"."b" IS NULL AND "t"."c" > $2))',
        SAFER,
        "A value that is spliced into the text stays a value; through PostgREST a comma or a parenthesis in it would be"
        " read as part of the filter.",
    ),
    Rule("filter.or_unknown", ".or(text)", "", REFUSED, "The filter is known to the running code only."),
    Rule(
        "filter.unknown",
        ".filter(column, operator, v)",
        "",
        REFUSED,
        "Column or operator is known to the running code only.",
    ),
    Rule(
        "filter.conditional",
        "if (x) query = query.eq('c', x)",
        'AND "t"."c" = $n, when the argument is given',
    ),
    # Order and number of rows
    Rule(
        "order",
        ".order(c, { ascending, nullsFirst })",
        'ORDER BY "t"."c" DESC NULLS LAST',
        note="NULLs without nullsFirst: PostgreSQL's own order.",
    ),
    Rule("order.embedded", ".order(c, { referencedTable })", "the embedded SELECT's ORDER BY"),
    Rule("order.unknown", ".order(column)", "", REFUSED, "The column is known to the running code only."),
    Rule(
        "order.related",
        ".order('companies(title)')",
        'ORDER BY "t_companies_1"."title"',
        note="To one row only.",
    ),
    Rule(
        "order.mutation",
        ".update(…).select().order(c)",
        "nothing: PostgREST does not order what a mutation returns",
    ),
    Rule(
        "limit", ".limit(n)", "LIMIT least(n, 1000)", note="The cap (db-max-rows) also beats a larger number."
    ),
    Rule("limit.none", "no .limit()", "LIMIT 1000", note="PostgREST's db-max-rows; Supabase sets 1,000."),
    Rule(
        "range",
        ".range(a, b)",
        "LIMIT b - a + 1 OFFSET a",
        note="Both ends included. Past the end with count: PGRST103.",
    ),
    Rule("limit.embedded", ".limit(n, { referencedTable })", "the embedded SELECT's LIMIT"),
    Rule(
        "limit.mutation",
        ".update(…).limit(n)",
        "",
        REFUSED,
        "PostgREST wants an order by a unique key then (PGRST109).",
    ),
    # What the answer looks like
    Rule(
        "single",
        ".single()",
        "no LIMIT; one row or PGRST116",
        note="A mutation of another number of rows is rolled back.",
    ),
    Rule("maybe_single", ".maybeSingle()", "no LIMIT; null, one row, or PGRST116"),
    Rule("count", "{ count: 'exact' }", "SELECT count(*) in the same snapshot"),
    Rule(
        "count.estimate", "{ count: 'planned' | 'estimated' }", "SELECT count(*)", SAFER, "The exact number."
    ),
    Rule(
        "head",
        "{ head: true }",
        "only the count",
        SAFER,
        "The library gives the error of a HEAD; PostgREST's answer has no body, so that supabase-js gives none.",
    ),
    Rule("throw", ".throwOnError()", "the error is thrown"),
    Rule("signal", ".abortSignal(s)", "", REFUSED, "pg cannot cancel by a signal; use statement_timeout."),
    Rule("format", ".csv(), .geojson(), .explain()", "", REFUSED, "The answer is not rows."),
    Rule("rollback", ".rollback(), .maxAffected()", "", REFUSED, "Wants a server that allows it."),
    Rule("types", ".returns(), .overrideTypes()", "nothing: for TypeScript only"),
    # Mutations
    Rule(
        "mutation.unknown_name",
        "a mutation of a table or a column that is not there",
        "",
        SAFER,
        "42P01 or 42703. PostgREST has a code of its own for a column (PGRST204), and for a table an answer without a"
        " body, which supabase-js takes for success.",
    ),
    Rule(
        "insert",
        ".insert(rows)",
        'INSERT INTO "t" ("a", "b") SELECT … FROM json_populate_recordset(NULL::"t", $1)',
        note="Columns are the keys of the rows: in a list the union of them, where one without the key gets NULL and"
        " not the default. A key whose value is undefined counts in a list and not in an object.",
    ),
    Rule(
        "insert.defaults",
        "{ defaultToNull: false }",
        "",
        REFUSED,
        "Missing keys of a list get the columns' defaults; give them in the code.",
    ),
    Rule(
        "upsert",
        ".upsert(rows, { onConflict: 'a,b' })",
        'INSERT … ON CONFLICT ("a", "b") DO UPDATE SET "c" = EXCLUDED."c"',
        note="Every column of the payload is set, no other. No unique key of exactly these columns: 42P10. The same key"
        " twice in one list: 21000.",
    ),
    Rule(
        "upsert.key",
        ".upsert(rows)",
        "ON CONFLICT (primary key)",
        note="A table without one: a plain INSERT.",
    ),
    Rule(
        "upsert.ignore",
        "{ ignoreDuplicates: true }",
        "ON CONFLICT … DO NOTHING",
        note="Gives back new rows only.",
    ),
    Rule(
        "update",
        ".update(values)",
        'UPDATE "t" SET "a" = … FROM json_populate_recordset(…) WHERE …',
        note="Keys that are undefined are not set. No key at all: nothing happens.",
    ),
    Rule("delete", ".delete()", 'DELETE FROM "t" WHERE …'),
    Rule("mutation.filter", "filters of a mutation", "the mutation's WHERE"),
    Rule(
        "returning",
        "mutation.select(columns)",
        "WITH … RETURNING … SELECT …",
        note="Without it data is null.",
    ),
    # Functions
    Rule(
        "rpc",
        ".rpc(name, { a: 1 })",
        'SELECT … FROM "name"("a" := $1)',
        note="Named arguments; undefined ones are not sent. No function with these names: PGRST202.",
    ),
    Rule(
        "rpc.rows",
        "rpc of a function that gives rows",
        "SELECT … FROM function AS …",
        note="Filters, order and limit apply to the rows.",
    ),
    Rule("rpc.value", "rpc of a function that gives one value", "the value; of void: null"),
    Rule("rpc.count", ".rpc(name, args, { count })", "", REFUSED, "Count the rows that it gives."),
    Rule(
        "rpc.get",
        "{ get: true }, { head: true }",
        "",
        REFUSED,
        "A function that writes would be refused by PostgREST only.",
    ),
    # What is not known
    Rule("table.unknown", ".from(table)", "", REFUSED, "The table is known to the running code only."),
    Rule(
        "operation.unknown",
        "builder[method]()",
        "",
        REFUSED,
        "The operation is known to the running code only.",
    ),
    Rule(
        "modifier.conditional",
        "if (x) query = query.order(c)",
        "",
        REFUSED,
        "The form of the answer depends on the running code.",
    ),
    Rule(
        "modifier.unknown",
        "a method that is not listed here",
        "",
        REFUSED,
        "As .setHeader(): there is no request.",
    ),
    Rule(
        "schema.missing",
        "embedded resource, rpc or upsert without the schema",
        "",
        REFUSED,
        "Foreign keys, arguments and keys are in the database.",
    ),
)

BY_ID = {rule.id: rule for rule in RULES}


def as_markdown() -> str:
    """The table of docs/audit-translation.md."""
    lines = ["| Rule | supabase-js | PostgreSQL | Answer | Note |", "|---|---|---|---|---|"]
    for rule in RULES:
        cells = (f"`{rule.id}`", _code(rule.construct), _code(rule.sql), rule.fidelity, rule.note)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    """Marked as code where it is code and not words."""
    return f"`{text}`" if _CODE.match(text) else text
