# ruff: noqa: E501 - a line of JavaScript in a test is easier to read when it is not broken
"""Every form in which a supabase-js call is written is found, and nothing that only looks like one."""

from collections.abc import Mapping

import pytest
from ansible.module_utils.rollout.audit import extraction
from ansible.module_utils.rollout.audit.chain import (
    DYNAMIC,
    EXACT,
    PARTIAL,
    Dynamic,
    Group,
    Known,
    Literal,
    Parameter,
)

from tests.audit_sources import (
    CLIENT,
    filters,
    look,
    modifiers,
    only,
    reasons,
    selected,
    shown,
    table,
    written,
)

RECEIVERS = {
    "createClient": CLIENT + "async function f() { const { data, error } = await db.from('t').select('a'); }",
    "a property of this": "class R { constructor(db) { this.db = db; }\n async f() { return this.db.from('t').select('a'); } }",
    "a private field": "class R { #db; constructor(x) { this.#db = x; } f() { return this.#db.from('t').select('a'); } }",
    "a class field": CLIENT + "class R { client = db; f() { return this.client.from('t').select('a'); } }",
    "a parameter": "const f = (client) => client.from('t').select('a');",
    "a destructured parameter": "const f = async ({ supabase }) => { await supabase.from('t').select('a'); };",
    "a function's result": CLIENT + "const get = () => db;\nconst f = () => get().from('t').select('a');",
    "a pool": CLIENT
    + "const pool = []; for (let i = 0; i < 5; i++) pool.push(createClient(url, key));\n"
    + "function next() { const c = pool[i % 5]; return c; }\nconst f = async () => { await next().from('t').select('a'); };",
    "optional chaining": "const f = (x) => x?.db?.from('t').select('a');",
    "brackets": CLIENT + "db['from']('t')['select']('a');",
    "at the start of a line": CLIENT
    + "const f = async () => {\n  await db\n    // the table\n    .from('t')\n    .select('a');\n};",
    "a schema": CLIENT + "db.schema('s').from('t').select('a');",
    "an awaited client": "const f = async () => { (await connect()).from('t').select('a'); };",
}


@pytest.mark.parametrize("code", RECEIVERS.values(), ids=list(RECEIVERS))
def test_a_call_is_found_whatever_it_is_made_on(code: str) -> None:
    chain = only(code)
    assert (table(chain), chain.operation, selected(chain), chain.certainty) == ("t", "select", ["a"], EXACT)


LOOK_ALIKES = {
    "Array": "const a = Array.from(new Set(x)); const b = Array.from('t').map((x) => x);",
    "Buffer": "const a = Buffer.from('t', 'base64');",
    "Object": "const a = Object.from('t');",
    "typed arrays": "const a = Uint8Array.from([1]);",
    "rxjs": "const { from } = require('rxjs'); const rx = require('rxjs'); rx.from(list).subscribe(f); from(list);",
    "streams": "const { Readable } = require('stream'); Readable.from(['t']).pipe(out);",
    "a class of its own": "class Money { static from(x) { return new Money(x); } }\nMoney.from('t').select('a');",
    "an object of its own": "class Q { from(t) { return this; } select() {} }\nnew Q().from('t').select('a');",
    "knex": "const knex = require('knex')(config); knex.from('t').select('a');",
    "knex the other way round": "db.select('a').from('t').where('b', 1);",
    "an unknown builder": "const f = (q) => q.from('t').select('a').where('b', 1);",
    "no operation": "const f = (mail) => mail.from('someone').to('somebody').send();",
    "storage": CLIENT + "db.storage.from('bucket').upload('a', b);",
    "a comment": "// db.from('t').select('a')\n/* db.from('t').select('a') */",
    "a text": "const s = \"db.from('t').select('a')\"; const t = `db.from('t').select('a')`;",
    "a regular expression": "const r = /db.from('t')/;",
    "JSON-RPC": "provider.rpc('eth_call', ['0x', 'latest']); node.rpc({ method: 'x' });",
    "a method of its own": "class N { rpc(name) {} f() { this.rpc('name', { a: 1 }); } }",
    "not called": CLIENT + "const f = db.from; const g = db.rpc;",
}


@pytest.mark.parametrize("code", LOOK_ALIKES.values(), ids=list(LOOK_ALIKES))
def test_what_looks_like_a_call_is_none(code: str) -> None:
    found = look(code)
    assert found.chains == []
    assert len(found.sightings) == sum(found.text_hits.values())
    assert {item.kind for item in found.sightings} <= {"no call"}


def test_all_that_the_text_search_finds_is_accounted_for() -> None:
    found = look(
        {
            "a.js": CLIENT + "db.from('t').select();\nArray.from(x);\n// db.from('t')\ndb.rpc('f');\n",
            "a 2.js": CLIENT + "db.from('t').select();\nArray.from(x);\n// db.from('t')\ndb.rpc('f');\n",
            "bad.js": "const x = {{{ db.from('t').select( ;\n",
        }
    )
    assert [(chain.file, chain.line, chain.operation) for chain in found.chains][:2] == [
        ("a.js", 3, "select"),
        ("a.js", 6, "rpc"),
    ]
    rest = len(found.chains) + len(found.sightings) + sum(found.copied_hits.values())
    assert sum(found.text_hits.values()) == rest == 9
    assert found.copies == {"a 2.js": "a.js"}
    assert found.copied_hits == {"from": 3, "rpc": 1}


def test_line_and_column_are_of_the_methods_name() -> None:
    chain = only(CLIENT + "const длина = 1; db\n  .from('t')\n  .select()")
    assert (chain.line, chain.column, chain.end_line) == (4, 4, 5)
    chain = only(CLIENT + "/* длина */ db.from('t').select()")
    assert (chain.line, chain.column) == (3, 16)


def test_a_builder_in_a_variable_is_followed_through_conditions() -> None:
    chain = only(
        """async function f(db, o) {
          let q = db.from('t').select('a').eq('x', 1);
          if (o.b) q = q.eq('b', o.b);
          if (o.c) { q = q.gte('c', o.c).order('c', { ascending: false }); } else { q.lt('c', 5); }
          q = q.limit(10);
          const { data, error } = await q.single();
          if (error) throw error;
          return data;
        }"""
    )
    assert filters(chain) == ["x.eq.1", "b.eq.$b?", "c.gte.$c?", "c.lt.5?"]
    assert modifiers(chain) == ["order('c')", "limit(10)", "single()"]
    assert [item.conditional for item in chain.modifiers] == [True, False, False]
    assert chain.modifiers[0].option("ascending") == Literal(False)
    assert (chain.certainty, chain.error_read, chain.data_used) == (EXACT, True, True)


def test_two_builders_in_one_variable_are_two_chains() -> None:
    found = look(
        """async function f(db, o) {
          let q;
          if (o) { q = db.from('t').select('a').eq('b', 1); } else { q = db.from('u').select('c').eq('d', 2); }
          q = q.limit(5);
          await q;
          q = db.from('v').select('e');
          q = q.eq('f', 3);
          await q;
        }"""
    )
    assert [(table(chain), filters(chain), modifiers(chain)) for chain in found.chains] == [
        ("t", ["b.eq.1"], ["limit(5)"]),
        ("u", ["d.eq.2"], ["limit(5)"]),
        ("v", ["f.eq.3"], []),
    ]


def test_a_builder_that_is_finished_in_two_ways_is_two_chains_of_one_line() -> None:
    found = look(
        "async function f(db, x) {\n const t = db.from('t');\n"
        " if (x) { await t.insert({ a: 1 }); } else { await t.update({ b: 2 }).eq('id', x); }\n}"
    )
    assert [(chain.line, chain.operation, written(chain)) for chain in found.chains] == [
        (2, "insert", ["a"]),
        (2, "update", ["b"]),
    ]


def test_a_builder_is_followed_into_functions_and_back() -> None:
    chain = only(
        """const paged = (q, n) => q.order('id').range(n, n + 9);
        function only(q, id) { return q.eq('company', id); }
        async function f(db, id) { const { data, error } = await only(paged(db.from('t').select('a'), 0), id); use(data, error); }"""
    )
    assert filters(chain) == ["company.eq.$id"]
    assert modifiers(chain)[0] == "order('id')"
    assert (chain.error_read, chain.data_used) == (True, True)


def test_a_builder_given_to_callbacks_is_one_chain_a_caller() -> None:
    found = look(
        CLIENT
        + """class Cache {
          async get(table, build) { const { data, error } = await build(db.from(table)); if (error) throw error; return data; }
          staff(id) { return this.get('staff', (q) => { let r = q.select('name').eq('id', id); if (id) r = r.limit(3); return r; }); }
          async clients() { return this.get('clients', async (q) => { const { data } = await q.select('phone').maybeSingle(); return { data }; }); }
        }"""
    )
    assert [(chain.line, table(chain), selected(chain), chain.caller) for chain in found.chains] == [
        (4, "staff", ["name"], "a.js:5"),
        (4, "clients", ["phone"], "a.js:6"),
    ]
    assert [chain.error_read for chain in found.chains] == [True, False]
    assert modifiers(found.chains[0]) == ["limit(3)"]


def test_a_builder_from_a_function_is_one_chain_a_caller() -> None:
    found = look(
        """class R {
          table() { return this.db.from('t'); }
          async all() { return this.table().select('a'); }
          async add(row) { await this.table().insert({ a: row.a }); }
        }
        const other = (table) => supabase.from(table);
        async function g() { await other('u').delete().eq('id', 1); }"""
    )
    assert [(chain.line, table(chain), chain.operation) for chain in found.chains] == [
        (2, "t", "select"),
        (2, "t", "insert"),
        (6, "u", "delete"),
    ]


TABLES: dict[str, tuple[Mapping[str, str] | str, str, bool]] = {
    "a constant": ("const T = 't'; const f = (db) => db.from(T).select('a');", "t", True),
    "an entry of a constant": (
        "const T = { users: 't', x: 'u' }; const f = (db) => db.from(T.users).select('a');",
        "t",
        True,
    ),
    "a field set in the constructor": (
        "class R { constructor(db) { this.db = db; this.tableName = 't'; } f() { return this.db.from(this.tableName).select('a'); } }",
        "t",
        True,
    ),
    "a class field": (
        "class R { tableName = 't'; f(db) { return db.from(this.tableName).select('a'); } }",
        "t",
        True,
    ),
    "a static field": (
        "class R { static table = 't'; f(db) { return db.from(R.table).select('a'); } }",
        "t",
        True,
    ),
    "a getter": (
        "class R { get table() { return 't'; } f(db) { return db.from(this.table).select('a'); } }",
        "t",
        True,
    ),
    "an import": (
        {
            "a.js": "const { T } = require('./names'); const f = (db) => db.from(T).select('a');",
            "names.js": "module.exports = { T: 't' };",
        },
        "t",
        True,
    ),
    "an import of a default": (
        {
            "a.mjs": "import names from './names.mjs'; export const f = (db) => db.from(names.t).select('a');",
            "names.mjs": "export default { t: 't' };",
        },
        "t",
        True,
    ),
    "an import of an import": (
        {
            "a.ts": "import { T } from './index'; export const f = (db: any) => db.from(T).select('a');",
            "index.ts": "export * from './names'; export { U as V } from './names';",
            "names.ts": "export const T = 't' as const; export const U = 'u';",
        },
        "t",
        True,
    ),
    "subclasses": (
        {
            "base.js": "class Base { constructor(db, name) { this.db = db; this.name = name; }\n all() { return this.db.from(this.name).select('a'); } }\nmodule.exports = Base;",
            "one.js": "const Base = require('./base'); class One extends Base { constructor(db) { super(db, 't'); } }",
            "two.js": "const Base = require('./base'); class Two extends Base { constructor(db) { super(db, 'u'); } }",
        },
        "(t, u)",
        True,
    ),
    "a field that subclasses set": (
        {
            "base.js": "class Base { all() { return this.db.from(this.name).select('a'); } }\nmodule.exports = { Base };",
            "one.js": "const { Base } = require('./base'); class One extends Base { constructor() { super(); this.name = 't'; } }",
        },
        "t",
        True,
    ),
    "a loop": (
        "const f = async (db) => { for (const t of ['t', 'u']) { await db.from(t).select('a'); } };",
        "(t, u)",
        True,
    ),
    "a callback over a list": (
        "const L = ['t', 'u']; const f = (db) => Promise.all(L.map((t) => db.from(t).select('a')));",
        "(t, u)",
        True,
    ),
    "a loop over objects": (
        "const L = [{ table: 't' }, { table: 'u' }]; const f = async (db) => { for (const { table } of L) await db.from(table).select('a'); };",
        "(t, u)",
        True,
    ),
    "a loop over entries": (
        "const L = { t: 1, u: 2 }; const f = async (db) => { for (const [t, n] of Object.entries(L)) await db.from(t).select('a'); };",
        "(t, u)",
        True,
    ),
    "a loop that a comparison narrows": (
        "const f = async (db) => { for (const t of ['t', 'u', 'v']) { if (t === 't' || t === 'v') { await db.from(t).select('a'); } } };",
        "(t, v)",
        True,
    ),
    "a condition": ("const f = (db, x) => db.from(x ? 't' : 'u').select('a');", "(t, u)", True),
    "a default": ("const f = (db, x) => db.from(x || 't').select('a');", "(t)", False),
    "an environment variable": ("const f = (db) => db.from(process.env.T).select('a');", "()", False),
    "a parameter that callers name": (
        "const f = (db, t) => db.from(t).select('a'); f(db, 't'); f(db, 'u');",
        "(t, u)",
        True,
    ),
    "a parameter that nobody names": ("exports.f = (db, t) => db.from(t).select('a');", "()", False),
    "a template": ("const f = (db, x) => db.from(`t_${x}`).select('a');", "(t_${x})", False),
    "a template of a constant": (
        "const P = 't'; const f = (db) => db.from(`${P}_x`).select('a');",
        "t_x",
        True,
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_the_table_is_known_as_far_as_the_code_tells(name: str) -> None:
    code, expected, complete = TABLES[name]
    chain = only(code)
    assert table(chain) == expected
    if isinstance(chain.table, Dynamic):
        assert chain.table.complete is complete
        assert chain.table.reason
        assert chain.certainty == DYNAMIC
    else:
        assert chain.certainty == EXACT


PAYLOADS: dict[str, tuple[str, list[str], str]] = {
    "an object": ("db.from('t').insert({ a: 1, b, 'c': x, ['d']: y })", ["a", "b", "c", "d"], ""),
    "a list": ("db.from('t').insert([{ a: 1 }, { a: 2, b: 3 }])", ["a", "b?"], ""),
    "a variable": (
        "const r = { a: 1 }; r.b = 2; if (x) r.c = 3; r['d'] = 4; db.from('t').insert(r)",
        ["a", "b", "c?", "d"],
        "",
    ),
    "after the use": ("const r = { a: 1 }; db.from('t').insert(r); r.b = 2;", ["a"], ""),
    "delete": ("const r = { a: 1, b: 2 }; delete r.b; db.from('t').insert(r)", ["a"], ""),
    "a spread": ("const r = { a: 1 }; db.from('t').insert({ ...r, b: 2 })", ["a", "b"], ""),
    "a conditional spread": (
        "db.from('t').insert({ a: 1, ...(x && { b: 2 }), ...(y ? { c: 1 } : {}) })",
        ["a", "b?", "c?"],
        "",
    ),
    "Object.assign": (
        "const r = {}; Object.assign(r, { a: 1 }, x ? { b: 2 } : { b: 3 }); db.from('t').insert(r)",
        ["a", "b"],
        "",
    ),
    "map": ("const rows = list.map((i) => ({ a: i.a, b: 1 })); db.from('t').insert(rows)", ["a", "b"], ""),
    "map with a block": (
        "db.from('t').insert(list.map((i) => { const r = { a: i }; r.b = 2; return r; }))",
        ["a", "b"],
        "",
    ),
    "push": (
        "const rows = []; for (const i of list) { rows.push({ a: i }); if (i) rows.push({ a: i, b: 1 }); } db.from('t').insert(rows)",
        ["a", "b?"],
        "",
    ),
    "slices": (
        "const rows = list.map((i) => ({ a: i })); for (let i = 0; i < 9; i++) { const part = rows.slice(i, 9); db.from('t').insert(part); }",
        ["a"],
        "",
    ),
    "a map": (
        "const m = new Map(); for (const i of list) m.set(i.id, { a: 1 }); db.from('t').insert(Array.from(m.values()))",
        ["a"],
        "",
    ),
    "a function": (
        "const row = (x) => { const r = { a: x }; if (x) r.b = 1; return r; }; db.from('t').insert(row(1))",
        ["a", "b?"],
        "",
    ),
    "two returns": (
        "function row(x) { if (x) return { a: 1, b: 2 }; return { a: 1 }; } db.from('t').insert(row(1))",
        ["a", "b?"],
        "",
    ),
    "a helper that calls back": (
        "const each = async (l, f) => { for (const i of l) await f(i); }; each(list.map((i) => ({ a: i })), async (row) => { await db.from('t').insert(row); })",
        ["a"],
        "",
    ),
    "a loop over columns": (
        "const r = {}; for (const k of ['a', 'b']) r[k] = src[k]; db.from('t').insert(r)",
        ["a?", "b?"],
        "",
    ),
    "a computed key": ("db.from('t').insert({ a: 1, [key]: 2 })", ["a"], "a key is computed: [key]"),
    "an unknown spread": (
        "exports.f = (x) => db.from('t').insert({ ...x, a: 1 })",
        ["a"],
        "x is spread (parameter x of f)",
    ),
    "a parameter": ("exports.f = (x) => db.from('t').insert(x)", [], "parameter x of f"),
    "a body": ("db.from('t').insert(req.body)", [], "req.body: req is not declared in this file"),
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_the_columns_of_a_payload_are_known_as_far_as_the_code_tells(name: str) -> None:
    code, expected, unknown = PAYLOADS[name]
    chain = look(CLIENT + code).chains[0]
    assert chain.payload is not None
    assert written(chain) == expected
    assert (chain.payload.unknown.reason if chain.payload.unknown else "") == unknown
    assert chain.certainty == (PARTIAL if unknown else EXACT)


def test_a_payload_says_whether_it_is_a_list() -> None:
    found = look(
        CLIENT
        + "db.from('t').insert({ a: 1 }); db.from('t').insert([{ a: 1 }]); db.from('t').insert(l.map((i) => ({ a: i })));"
    )
    assert [(chain.payload.bulk, chain.payload.rows) for chain in found.chains if chain.payload] == [
        (False, None),
        (True, 1),
        (True, None),
    ]


def test_values_say_what_they_are() -> None:
    chain = only(
        CLIENT
        + "async function f(phone, o) { await db.from('t').update({ a: 'x', b: 3, c: null, d: true, e: phone, f: o?.g, "
        "h: new Date(), i: new Date().toISOString(), j: parseInt(phone), k: [1, 2], l: { m: 1 }, n: undefined, o: -1, "
        "p: `#${phone}`, q: o?.r ?? 1 }).eq('id', 1); }"
    )
    assert chain.payload is not None
    values = {column.name: column.value for column in chain.payload.columns}
    assert [shown(values[name]) for name in "abcdk"] == ["'x'", "3", "None", "True", "(1, 2)"]
    assert values["e"] == Parameter("phone")
    assert values["f"] == Parameter("g", "", (), True)
    assert values["h"] == Parameter("h", "Date")
    assert values["i"] == Parameter("i", "timestamp")
    assert values["j"] == Parameter("phone", "number")
    assert values["l"] == Parameter("l", "object")
    assert isinstance(values["n"], Parameter)
    assert values["n"].type == "undefined"
    assert values["o"] == Parameter("o", "number")
    assert values["p"] == Parameter("phone", "string", ("#", ""))
    assert isinstance(values["q"], Parameter)
    assert not values["q"].may_be_undefined


def test_a_list_that_grows_is_no_literal() -> None:
    chain = only(
        CLIENT
        + "const names = []; for (const i of list) names.push(i.name); db.from('t').insert({ a: names });"
    )
    assert chain.payload is not None
    assert chain.payload.columns[0].value == Parameter("names", "array")


def test_a_value_that_only_some_paths_give_is_no_literal() -> None:
    chain = only(
        CLIENT
        + "let info = null; try { info = await get(); } catch {} db.from('t').insert({ a: info?.a || '' });"
    )
    assert chain.payload is not None
    assert isinstance(chain.payload.columns[0].value, Parameter)


def test_filters_are_read_with_their_operators() -> None:
    chain = only(
        CLIENT
        + "db.from('t').select('count').not('a', 'is', null).in('b', ['x', 'y']).not('c', 'in', '(1,\"2,3\")')"
        ".filter('d', 'not.gte', 5).match({ e: 1, f: x }).contains('g', ['z']).textSearch('h', 'w', { type: 'websearch', "
        "config: 'russian' }).ilike('i', `%${q}%`).is('j', true).eq('data->>k', 1);"
    )
    assert filters(chain) == [
        "a.not.is.None",
        "b.in.('x', 'y')",
        "c.not.in.('1', '2,3')",
        "d.not.gte.5",
        "e.eq.1",
        "f.eq.$x",
        "g.cs.('z',)",
        "h.wfts(russian).'w'",
        "i.ilike.$q",
        "j.is.True",
        "data->>k.eq.1",
    ]
    assert chain.select is not None
    assert [(column.name, column.aggregate) for column in chain.select.columns] == [("", "count")]


def test_or_is_a_tree_and_says_where_values_are_spliced_in() -> None:
    chain = only(
        CLIENT
        + "db.from('t').select().or(`a.eq.${x},and(b.is.null,not.or(c.gt.2,d.in.(1,\"2,3\")))`, { referencedTable: 'u' })"
        ".or('name.ilike.*x*,e.not.eq.\"a,b\"');"
    )
    assert filters(chain) == [
        "or(a.eq.$x,and(b.is.'null',not.or(c.gt.'2',d.in.('1', '2,3'))))",
        "or(name.ilike.'*x*',e.not.eq.'a,b')",
    ]
    assert [(item.table, item.interpolated) for item in chain.filters if isinstance(item, Group)] == [
        ("u", True),
        ("", False),
    ]


def test_an_or_that_cannot_be_read_is_said_to_be_so() -> None:
    chain = only(
        CLIENT
        + "exports.f = (x) => db.from('t').select().or(x).or('a.b').or(list.map((i) => `a.eq.${i}`).join(','));"
    )
    assert chain.certainty == PARTIAL
    assert all(isinstance(item, Group) and item.unparsed is not None for item in chain.filters)
    assert len(chain.filters) == 3


def test_dynamic_parts_are_reported_and_not_dropped() -> None:
    chain = only(
        """class S { async query({ table, select = '*', filters = {}, orderBy }) {
          let q = this.supabase.from(table).select(select);
          Object.entries(filters).forEach(([key, value]) => { q = q.eq(key, value); });
          if (orderBy) q = q.order(orderBy.column, { ascending: orderBy.ascending });
          return await q;
        } }"""
    )
    assert (chain.certainty, chain.operation, filters(chain)) == (DYNAMIC, "select", ["<dynamic>.eq.$value?"])
    assert chain.select is not None
    assert chain.select.unknown is not None
    assert len(chain.notes) == 3


def test_embedded_resources_are_a_tree() -> None:
    chain = only(
        CLIENT
        + "db.from('t').select(`*, total:amount::text, meta->tags->>0, c:clients!fk_client!inner(name, visits(date)), "
        "...staff!left(id), orders(count)`);"
    )
    assert chain.select is not None
    assert [(item.name, item.alias, item.cast, item.path) for item in chain.select.columns] == [
        ("*", "", "", ""),
        ("amount", "total", "text", ""),
        ("meta", "", "", "->tags->>0"),
    ]
    clients, staff, orders = chain.select.embeds
    assert (clients.table, clients.alias, clients.hint, clients.join) == (
        "clients",
        "c",
        "fk_client",
        "inner",
    )
    assert [inner.table for inner in clients.embeds] == ["visits"]
    assert (staff.table, staff.join, staff.spread) == ("staff", "left", True)
    assert orders.columns[0].aggregate == "count"


def test_a_selection_with_an_interpolation_keeps_what_is_known() -> None:
    chain = only(CLIENT + "exports.f = (x) => db.from('t').select(`id, ${x}, name`);")
    assert chain.select is not None
    assert selected(chain) == ["id", "name"]
    assert chain.select.unknown is not None
    assert chain.certainty == PARTIAL
    joined = only(CLIENT + "const C = ['id', 'name']; db.from('t').select(C.join(', '));")
    assert (selected(joined), joined.certainty) == (["id", "name"], EXACT)


def test_options_and_modifiers_are_kept() -> None:
    chain = only(
        CLIENT
        + "const key = 'a,b'; db.from('t').upsert(rows, { onConflict: key, ignoreDuplicates: true }).select('a', { count: 'exact' })"
        ".order('a', { ascending: false, nullsFirst: false }).range(0, 9).abortSignal(s).csv();"
    )
    assert {option.name: shown(option.value) for option in chain.options} == {
        "onConflict": "'a,b'",
        "ignoreDuplicates": "True",
        "count": "'exact'",
    }
    assert modifiers(chain) == ["order('a')", "range(0, 9)", "abortSignal($s)", "csv()"]
    assert chain.modifiers[0].option("nullsFirst") == Literal(False)


def test_rpc_has_its_arguments() -> None:
    found = look(
        CLIENT
        + "db.rpc('f', { a: 1, b: x }, { count: 'exact' }).eq('c', 1).single(); db.rpc('g'); db.rpc(n, args);"
    )
    first, second, third = found.chains
    assert (table(first), first.operation, written(first), filters(first)) == (
        "f",
        "rpc",
        ["a", "b"],
        ["c.eq.1"],
    )
    assert shown(first.options[0].value) == "'exact'"
    assert (table(second), written(second), second.certainty) == ("g", [], EXACT)
    assert third.certainty == DYNAMIC


ANSWERS = {
    "const { data, error } = await Q; if (error) throw error; use(data);": (True, True, True),
    "const { data, error: e } = await Q; if (e) throw e;": (True, False, True),
    "const { data, error } = await Q; use(data);": (False, True, True),
    "await Q;": (False, False, True),
    "const r = await Q; if (r.error) throw r.error; return r.data;": (True, True, True),
    "const r = await Q; log(r);": (None, None, True),
    "return Q;": (None, None, True),
    "return await Q;": (None, None, True),
    "Q.then(({ data, error }) => { if (error) log(error); });": (True, False, True),
    "const d = (await Q).data;": (False, True, True),
    "let data, error; ({ data, error } = await Q); if (error) throw error;": (True, False, True),
    "const [{ data, error }, x] = await Promise.all([Q, y]); use(data, error);": (True, True, True),
    "const [x, { data }] = await Promise.all([y, Q]); use(data);": (False, True, True),
    "const { error } = await Promise.race([Q, timeout]); if (error) throw error;": (True, False, True),
    "const p = Q; const { error } = await Promise.race([p, timeout]); if (error) throw error;": (
        True,
        False,
        True,
    ),
    "await Q.throwOnError();": (True, False, True),
    "Q;": (None, None, False),
    "await withTimeout(Q, 100);": (None, None, True),
}


@pytest.mark.parametrize("code", ANSWERS)
def test_what_is_read_of_an_answer(code: str) -> None:
    body = code.replace("Q", "db.from('t').update({ a: 1 }).eq('id', 1)")
    chain = only(CLIENT + f"async function f(y, timeout) {{ {body} }}")
    assert (chain.error_read, chain.data_used, chain.executed) == ANSWERS[code]
    if "Promise.all" in code:
        assert chain.operation == "update"


def test_an_answer_is_followed_out_of_a_callback() -> None:
    chain = only(
        CLIENT
        + "async function cached(k, q) { const { data, error } = await q(); if (error) throw error; return data; }\n"
        "const f = () => cached('k', () => db.from('t').select('a'));"
    )
    assert (chain.error_read, chain.data_used) == (True, True)


def test_mocks_in_tests_are_counted_apart() -> None:
    found = look(
        {
            "src/db.js": CLIENT + "module.exports = { supabase: db };",
            "src/__tests__/a.test.js": """
              jest.mock('../db', () => ({ supabase: { from: jest.fn() } }));
              const { supabase } = require('../db');
              const own = { from: () => own, select: () => own };
              supabase.from().maybeSingle.mockResolvedValue({ data: null });
              expect(supabase.from().eq).toHaveBeenCalledWith('a', 1);
              own.from('t').select('a');
            """,
            "tests/real.test.js": CLIENT + "test('x', async () => { await db.from('t').select('a'); });",
        }
    )
    assert [(chain.file, chain.test) for chain in found.chains] == [("tests/real.test.js", True)]
    assert {item.kind for item in found.sightings} == {"mock"}
    assert len(found.sightings) == 3


LANGUAGES = {
    "a.mjs": "import { createClient } from '@supabase/supabase-js';\nconst db = createClient(u, k);\nexport const f = () => db.from('t').select('a');",
    "a.cjs": CLIENT + "module.exports = () => db.from('t').select('a');",
    "a.ts": "import { SupabaseClient } from '@supabase/supabase-js';\nexport class R {\n  constructor(private readonly db: SupabaseClient<any>) {}\n"
    "  async f(): Promise<void> { const { data, error } = await this.db!.from<'t', Row>('t').select('a' as string).returns<Row[]>(); }\n}",
    "a.tsx": "export const V = ({ db }: P) => { useEffect(() => { (db as Client).from('t').select('a').then(({ data }) => set(data)); }, []); return <p>from('t')</p>; };",
    "a.jsx": "export const V = ({ db }) => <b onClick={async () => { await db.from('t').select('a'); }}>x</b>;",
    "a.vue": "<template>db.from('t')</template>\n<script setup lang=\"ts\">\nconst x: number = 1; const f = (db: any) => db.from('t').select('a');\n</script>\n",
    "a.html": "<p>x</p><script>\nconst f = (db) => db.from('t').select('a');\n</script>",
    "a.sh": "#!/bin/bash\necho \"db.from('x')\"\ncat > x.js <<'EOF'\nconst f = (db) => db.from('t').select('a');\nEOF\n",
    "b.sh": "#!/bin/sh\nnode <<JS\nconst f = (db) => db.from('t').select(\\`a\\`);\nJS\n",
    "c.sh": "node --require dotenv/config -e \"const f = async (db) => { await db.from('t').select('a'); }\"\n",
    "d.sh": 'ssh -i $KEY $HOST "cd /srv && node -e \\"\nconst f = async (db) => { await db.from(\'t\').select(\\\\\\"a\\\\\\"); }\n\\""\necho \'x\'\n',
    "e.sh": "ssh $HOST 'node -e '\\''const f = async (db) => { await db.from(\"t\").select(\"a\"); }'\\'''\n",
    "f.sh": 'cat <<< word\nnode -e \'const f = async (db) => { await db.from("t").select("a"); }\'\n',
    "run": '#!/usr/bin/env bash\nnode -e \'\nconst f = async (db) => { await db.from("t").select("a"); }\n\'\n',
}


@pytest.mark.parametrize("path", LANGUAGES)
def test_every_language_is_read(path: str) -> None:
    found = look({path: LANGUAGES[path]})
    (chain,) = found.chains
    assert (table(chain), selected(chain), chain.operation, chain.certainty) == ("t", ["a"], "select", EXACT)
    text = LANGUAGES[path].split("\n")[chain.line - 1]
    assert text[chain.column - 1 :].startswith("from")
    assert sum(found.text_hits.values()) == 1 + len(found.sightings)


def test_a_syntax_error_costs_the_damaged_lines_only() -> None:
    found = look(
        {
            "a.js": CLIENT + "async function f() { await db.from('t').select('a'); }\nconst x = ((;\n"
            "async function g() { await db.from('u').select('b'); }\n",
            "b.js": CLIENT + "db.from('v').select('c');",
        }
    )
    assert [table(chain) for chain in found.chains] == ["t", "u", "v"]
    assert {note.file for note in found.problems} == {"a.js"}
    assert all(note.line >= 4 for note in found.problems)


def test_nothing_is_skipped_silently() -> None:
    found = look(
        {
            "a.js": OSError(13, "Permission denied"),
            "notes.md": "Use `db.from('t').select()`.",
            "other.md": "Nothing.",
            "logo.png": b"\x89PNG",
            "big.js": "//" + "x" * (8 * 1024 * 1024) + "\ndb.from('t').select()",
            "utf16.js": (CLIENT + "db.from('t').select('a')").encode("utf-16"),
            "latin.js": CLIENT.encode() + b"const s = '\xe9'; db.from('u').select('a')",
        }
    )
    assert [(note.file, note.reason) for note in found.problems] == [
        ("a.js", "cannot be read: Permission denied")
    ]
    assert [(note.file, note.hits) for note in found.skipped] == [
        ("big.js", 1),
        ("notes.md", 1),
        ("*.png", 0),
    ]
    assert [table(chain) for chain in found.chains] == ["u", "t"]


def test_an_unknown_method_makes_a_call_partial() -> None:
    chain = only(CLIENT + "db.from('t').select('a').eqq('b', 1);")
    assert chain.certainty == PARTIAL
    assert "eqq is no method of postgrest-js (line 3)" in chain.notes


def test_the_clients_schema_is_the_chains() -> None:
    code = "const { createClient } = require('@supabase/supabase-js');\nconst db = createClient(u, k, { db: { schema: 's' } });\n"
    assert only(code + "db.from('t').select('a');").schema == Known("s")
    assert only(CLIENT + "db.schema('x').from('t').select('a');").schema == Known("x")
    assert only(CLIENT + "db.from('t').select('a');").schema is None


def test_redis_has_a_createclient_too() -> None:
    found = look(
        "const { createClient } = require('redis');\nconst c = createClient(); c.from('t').select('a');"
    )
    assert found.chains == []
    assert (
        reasons(found) == ["2 no call: c is package redis.createClient(), of package redis"]
        or found.sightings
    )


def test_letting_go_of_trees_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    code = {
        "names.js": "module.exports = { T: 't' };",
        **{
            f"f{n}.js": CLIENT
            + "const { T } = require('./names'); db.from(T).select('a').eq('n', 1);"
            + " " * n
            for n in range(5)
        },
    }
    whole = look(code)
    assert [table(chain) for chain in whole.chains] == ["t"] * 5
    monkeypatch.setattr(extraction, "MOST_PARSED", 1)
    again = look(code)
    assert again.chains == whole.chains
    assert again.methods == whole.methods


def test_a_name_that_is_missing_does_not_stop_the_audit() -> None:
    found = look(
        "const { data } = await.from('t').select('a');\nconst x = .from('u').select();\nawait\n  .from('v').delete()\n"
    )
    assert sum(found.text_hits.values()) == len(found.chains) + len(found.sightings) == 3


def test_code_that_would_take_for_ever_is_given_up() -> None:
    steps = "".join(
        f"function f{n}(x) {{ return x ? f{n + 1}([x, 1]) : f{n + 1}([x, 2]); }}\n" for n in range(60)
    )
    chain = only(
        CLIENT + steps + "function f60(x) { return { a: f0(x), ...f0(1) }; }\ndb.from('t').insert(f0(2));"
    )
    assert (table(chain), chain.operation, chain.certainty) == ("t", "insert", PARTIAL)


def test_functions_that_call_themselves_are_followed_once() -> None:
    code = """
    const base = (n) => (n ? base(n - 1) : db.from('t'));
    async function f() { await base(3).select('a'); }
    function grow(q, n) { return n ? grow(q.eq('n', n), n - 1) : q; }
    async function g() { await grow(db.from('u').select('b'), 2); }
    const each = (f) => f(db.from('v'));
    const again = (q) => each((r) => again(r.select('c')));
    again(1);
    """
    found = look(CLIENT + code)
    assert {table(chain) for chain in found.chains} == {"t", "u", "v"}
    assert {chain.operation for chain in found.chains if table(chain) in "tu"} == {"select"}


def test_counters_are_no_literals() -> None:
    chain = only(
        CLIENT
        + "async function f() { let n = 0; for (let i = 0; ; i += 9) { n++; await db.from('t').insert({ n }).select().range(i, i + 8); } }"
    )
    assert written(chain) == ["n"]
    assert chain.payload is not None
    assert isinstance(chain.payload.columns[0].value, Parameter)
    assert isinstance(chain.modifiers[0].arguments[0], Parameter)


def test_the_rest_of_a_pattern_is_without_what_was_taken_out() -> None:
    chain = only(
        CLIENT
        + "const whole = { a: 1, b: 2, c: 3 }; const { c, b: x, ...rest } = whole; db.from('t').insert(rest);"
    )
    assert written(chain) == ["a"]


def test_a_builder_from_a_function_of_another_module_is_followed() -> None:
    chain = only(
        {
            "db.js": CLIENT + "exports.db = db;",
            "tables.js": "const { db } = require('./db');\nexports.table = (name) => db.from(name);\n",
            "use.js": "const { table } = require('./tables');\nconst f = async () => { await table('t').select('a').eq('b', 1); };\n",
            "other.js": "const table = (x) => x; table('u').select('c');",
        }
    )
    assert (chain.file, chain.line, chain.caller) == ("tables.js", 2, "use.js:2")
    assert (table(chain), selected(chain), filters(chain)) == ("t", ["a"], ["b.eq.1"])


def test_a_builder_that_is_reduced_over_a_list_is_followed() -> None:
    chain = only(
        CLIENT + "const f = async (o) => { let q = db.from('t').select('a'); "
        "q = Object.entries({ b: o.b, c: o.c }).reduce((r, [k, v]) => r.eq(k, v), q); const { error } = await q; if (error) throw error; };"
    )
    (condition,) = chain.filters
    assert not isinstance(condition, Group)
    assert isinstance(condition.column, Dynamic)
    assert condition.column.values == ("b", "c")
    assert condition.conditional
    assert chain.error_read is True


def test_a_builder_that_is_kept_in_a_field_is_not_exact() -> None:
    chain = only(
        "class A { build(db) { this.q = db.from('t').select('a'); } run() { return this.q.eq('b', 1); } }"
    )
    assert (chain.certainty, chain.notes) == (PARTIAL, ("the builder is kept in this.q",))
