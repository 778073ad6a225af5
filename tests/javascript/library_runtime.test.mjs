// What the functions of a generated library share, on a real PostgreSQL. Run by tests/integration/test_audit_library.py.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';

const require = createRequire(`${process.cwd()}/`);
const { Pool } = require('pg');
const runtime = require('./runtime.cjs');
const { sql, text, pattern, patterns, list, container, keyword, direction, limit, span, offset, when } = runtime;
const { read, insert, update, remove, throwing, typeParsers, identifier } = runtime;

const pool = new Pool({ max: 2 });
before(() => pool.query('CREATE SCHEMA library_test; CREATE TABLE library_test.t (id int PRIMARY KEY, name text, n numeric)'));
after(async () => {
  await pool.query('DROP TABLE library_test.t; DROP SCHEMA library_test');
  await pool.end();
});

function compiled(fragment) {
  const statement = { text: '', values: [] };
  fragment.addTo(statement);
  return statement;
}

test('a value becomes a parameter, and only SQL becomes SQL', () => {
  const hostile = ["'; DROP TABLE t; --", '"', '\\', '$1', '${x}', '`', null, undefined, { toString: () => 'x' }];
  for (const value of hostile) {
    assert.deepEqual(compiled(sql`SELECT ${text(value)}, ${sql`${text(value)}`}`), {
      text: 'SELECT $1, $2',
      values: [`${value}`, `${value}`],
    });
  }
  assert.equal(compiled(identifier('a"; DROP TABLE t; --')).text, '"a""; DROP TABLE t; --"');
});

test('a condition is there when its argument is given', () => {
  assert.deepEqual(compiled(sql`a${when(undefined, sql` AND b = ${1}`)}`), { text: 'a', values: [] });
  assert.deepEqual(compiled(sql`a${when(null, sql` AND b = ${1}`)}`), { text: 'a AND b = $1', values: [1] });
});

test('values are written as postgrest-js writes them', () => {
  assert.equal(text(null), 'null');
  assert.equal(text([1, 2]), '1,2');
  assert.equal(pattern('*a%b*'), '%a%b%');
  assert.equal(patterns(['a*', 'b']), '{a%,b}');
  assert.equal(list([1, 'a,b', 1, 'c"d\\']), '{"1","a,b","c\\"d\\\\"}');
  assert.equal(list([]), '{}');
  assert.equal(list(['']), '{}');
  assert.equal(list(['', 'a']), '{"","a"}');
  assert.equal(container({ a: 1 }), '{"a":1}');
  assert.equal(container(['a', 'b']), '{a,b}');
  assert.equal(container('[1,2)'), '[1,2)');
});

test('keywords and directions are none but the known ones', () => {
  assert.equal(compiled(keyword(null)).text, 'NULL');
  assert.equal(compiled(keyword(true)).text, 'TRUE');
  assert.equal(compiled(keyword('unknown')).text, 'UNKNOWN');
  assert.throws(() => keyword('NULL; DROP TABLE t'), { code: 'PGRST100' });
  assert.equal(compiled(direction(undefined)).text, 'ASC');
  assert.equal(compiled(direction(false)).text, 'DESC');
  assert.equal(compiled(direction('; DROP')).text, 'ASC');
});

test('numbers of rows are whole and capped', () => {
  assert.equal(limit(3), 3);
  assert.equal(limit(10 ** 9), runtime.MAX_ROWS);
  assert.equal(limit(undefined), runtime.MAX_ROWS);
  assert.equal(limit('1.5'), runtime.MAX_ROWS);
  assert.equal(limit(0), 0);
  assert.throws(() => limit(-1), { code: 'PGRST103' });
  assert.equal(span(2, 4), 3);
  assert.throws(() => span(5, 2), { code: 'PGRST103' });
  assert.equal(offset(7), 7);
  assert.equal(offset('x'), 0);
});

// Expressions of every kind of type; what PostgREST would answer is what PostgreSQL itself makes of them as JSON.
const EXPRESSIONS = [
  'true', 'NULL::boolean', '1::int2', '2147483647', '9007199254740993::int8', '1.10::numeric', "'NaN'::numeric",
  "'-Infinity'::float8", '0.1::float8', '1e300::float8', '1.5::real', "'a\"b'::text", "'x'::char(3)", "'v'::varchar",
  "'2025-01-31'::date", "'infinity'::date", "'0044-03-15 BC'::date", "'2025-01-31 12:00:00.5'::timestamp",
  "'infinity'::timestamp", "'2025-01-31 12:00:00+05:30'::timestamptz", "'0044-03-15 00:00:00+00 BC'::timestamptz",
  "'-infinity'::timestamptz", "'08:15'::time", "'08:15+02'::timetz", "'1 day 2 hours'::interval",
  `'{"a": [1, null]}'::jsonb`, `'{"b" : 1.50}'::json`, "'null'::jsonb", "'\"x\"'::json",
  "'00000000-0000-4000-8000-000000000001'::uuid", "'\\xdeadbeef'::bytea", "'192.0.2.1/24'::inet", "'[1,5)'::int4range",
  "'{1,NULL,3}'::int[]", "'{{1,2},{3,4}}'::int[]", "'{9007199254740993}'::int8[]", "'{1.10,2}'::numeric[]",
  "'{0.5,NaN}'::float8[]", "'{t,f,NULL}'::bool[]", "'{a,\"b,c\",NULL,\"\"}'::text[]", "'{}'::text[]",
  "'{2025-01-31}'::date[]", "'{2025-01-31 12:00:00+00,NULL}'::timestamptz[]", "'{2025-01-31 12:00:00}'::timestamp[]",
  `ARRAY['{"a": 1}'::jsonb]`, "'{00000000-0000-4000-8000-000000000001}'::uuid[]", '1::oid', "'12.34'::money",
  "B'101'", "'{10:00:00}'::time[]", "'{1 day}'::interval[]",
];

for (const zone of ['UTC', 'Asia/Kolkata', 'America/St_Johns']) {
  test(`rows hold what JSON would, in ${zone}`, async () => {
    const client = await pool.connect();
    try {
      await client.query(`SET TIME ZONE '${zone}'`);
      for (const expression of EXPRESSIONS) {
        const { rows: [row] } = await client.query({
          text: `SELECT ${expression} AS value, to_json(${expression})::text AS json`,
          types: typeParsers,
        });
        assert.deepEqual(row.value, row.json === null ? null : JSON.parse(row.json), expression);
      }
    } finally {
      client.release(true);
    }
  });
}

test("pg's own parsers stay as they are", async () => {
  const { rows: [row] } = await pool.query("SELECT 1::int8 AS whole, now() AS moment");
  assert.equal(row.whole, '1');
  assert.ok(row.moment instanceof Date);
});

const TARGET = { table: 't', target: '"library_test"."t"', shape: 'rows' };
const ALL = sql`SELECT "t".* FROM pgrst_source AS "t"`;

test('what is written comes back, and a wrong number of rows is taken back', async () => {
  const rows = [{ id: 1, name: 'a', n: 1.5 }, { id: 2, name: 'b' }];
  assert.deepEqual(await insert(pool, () => ({ ...TARGET, payload: rows, returned: ALL })), {
    error: null, data: [{ id: 1, name: 'a', n: 1.5 }, { id: 2, name: 'b', n: null }], count: null,
  });
  const single = { ...TARGET, shape: 'single', payload: { name: 'c' }, where: sql`` };
  const { data, error } = await update(pool, () => ({ ...single, returned: ALL }));
  assert.deepEqual([data, error.code], [null, 'PGRST116']);
  assert.equal((await remove(pool, () => single)).error.code, 'PGRST116');
  const kept = await read(pool, () => ({ rows: sql`SELECT name FROM library_test.t ORDER BY id`, shape: 'rows' }));
  assert.deepEqual(kept.data, [{ name: 'a' }, { name: 'b' }]);
});

test('a payload that is none is an error', async () => {
  for (const payload of [undefined, null, 'text']) {
    assert.equal((await insert(pool, () => ({ ...TARGET, payload }))).error.code, 'PGRST102');
  }
});

test('errors are answers, and leave the pool as it was', async () => {
  for (let at = 0; at < 5; at += 1) {
    const { data, error } = await insert(pool, () => ({ ...TARGET, shape: 'single', payload: { nowhere: at } }));
    assert.equal(data, null);
    assert.equal(error.code, '42703');
    assert.deepEqual(Object.keys(error).sort(), ['code', 'details', 'hint', 'message']);
  }
  assert.equal(pool.waitingCount, 0);
  assert.equal(pool.idleCount, pool.totalCount);
  const { data } = await read(pool, () => ({ rows: sql`SELECT 1 AS one`, shape: 'rows' }));
  assert.deepEqual(data, [{ one: 1 }]);
});

test('a server that is not there is an error too', async () => {
  const nowhere = new Pool({ host: '127.0.0.1', port: 1, connectionTimeoutMillis: 10000 });
  const { data, error } = await read(nowhere, () => ({ rows: sql`SELECT 1`, shape: 'rows' }));
  assert.equal(data, null);
  assert.equal(error.code, 'ECONNREFUSED');
  await nowhere.end();
});

test('a call whose table is chosen while it runs is made of the helpers', async () => {
  const { helpers } = runtime;
  const of = (table, id) => helpers.read(pool, () => ({
    rows: helpers.sql`SELECT id FROM library_test.${helpers.identifier(table)} WHERE id = ${helpers.text(id)}`,
    shape: 'maybeSingle',
  }));
  assert.deepEqual((await of('t', 1)).data, { id: 1 });
  assert.equal((await of('t"; DROP TABLE library_test.t; --', 1)).error.code, '42P01');
  assert.equal((await of('t', '1; DROP TABLE library_test.t')).error.code, '22P02');
});

test('throwOnError throws', async () => {
  const failing = read(pool, () => ({ rows: sql`SELECT nowhere`, shape: 'rows' }));
  await assert.rejects(throwing(failing), { code: '42703' });
  const fine = await throwing(read(pool, () => ({ rows: sql`SELECT 1 AS one`, shape: 'single' })));
  assert.deepEqual(fine, { error: null, data: { one: 1 }, count: null });
});

test('rows and their number are of one moment', async () => {
  // Somebody writes after the rows were counted and before they are read.
  const meddled = {
    connect: async () => {
      const client = await pool.connect();
      let sent = 0;
      return {
        query: async (statement) => {
          const result = await client.query(statement);
          sent += 1;
          if (sent === 2) await pool.query("INSERT INTO library_test.t VALUES (100, 'late', 0)");
          return result;
        },
        release: (error) => client.release(error),
      };
    },
  };
  const counted = {
    count: sql`SELECT count(*) FROM library_test.t`,
    rows: sql`SELECT id FROM library_test.t ORDER BY id`,
    shape: 'rows',
  };
  const before = await read(pool, () => counted);
  const answer = await read(meddled, () => counted);
  assert.deepEqual(answer, before);
  assert.equal((await read(pool, () => counted)).count, before.count + 1);
});
