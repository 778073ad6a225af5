// What the functions below share. Every function takes a pg Pool and resolves to { data, error, count }, as supabase-js
// does: nothing is thrown, unless the call said throwOnError.

// SQL with values beside it: sql`… ${text(value)}` becomes "… $1". Only SQL made here goes into SQL.

class Sql {
  constructor(strings, inserts) {
    this.strings = strings;
    this.inserts = inserts;
  }

  addTo(statement) {
    statement.text += this.strings[0];
    this.inserts.forEach((insert, at) => {
      if (insert instanceof Sql) {
        insert.addTo(statement);
      } else {
        statement.values.push(insert);
        statement.text += `$${statement.values.length}`;
      }
      statement.text += this.strings[at + 1];
    });
  }
}

function sql(strings, ...inserts) {
  return new Sql(strings, inserts);
}

function raw(fixedText) {
  return new Sql([fixedText], []);
}

function when(argument, fragment) {
  return argument === undefined ? raw('') : fragment;
}

function joined(fragments, separator) {
  const strings = fragments.map((_, at) => (at === 0 ? '' : separator));
  return new Sql([...strings, ''], fragments);
}

function identifier(name) {
  return raw(`"${String(name).replaceAll('"', '""')}"`);
}

// Values of filters: a text each, which PostgreSQL reads as the type of the column beside it.

class RefusedRequest extends Error {
  constructor(code, message, details = null) {
    super(message);
    this.code = code;
    this.detail = details;
  }
}

function text(value) {
  return `${value}`;
}

function pattern(value) {
  return text(value).replaceAll('*', '%');
}

function patterns(values) {
  return `{${values.map(pattern).join(',')}}`;
}

function list(values) {
  const items = [...new Set(values)].map(text);
  const quoted = items.map((item) => `"${item.replace(/[\\"]/g, '\\$&')}"`);
  return items.length === 1 && items[0] === '' ? '{}' : `{${quoted.join(',')}}`;
}

function container(value) {
  if (typeof value === 'string') return value;
  return Array.isArray(value) ? `{${value.join(',')}}` : JSON.stringify(value);
}

function keyword(value) {
  const word = text(value).toUpperCase();
  if (!['NULL', 'TRUE', 'FALSE', 'UNKNOWN'].includes(word)) {
    throw new RefusedRequest('PGRST100', `is takes null, true, false or unknown, not ${word.toLowerCase()}`);
  }
  return raw(word);
}

function direction(ascending = true) {
  return raw(ascending ? 'ASC' : 'DESC');
}

// Numbers of rows. What is not a whole number is ignored, as PostgREST does.

function whole(value) {
  return /^-?\d+$/.test(text(value)) ? Number(value) : undefined;
}

function limit(value) {
  const wanted = whole(value) ?? MAX_ROWS;
  if (wanted < 0) {
    throw new RefusedRequest(
      'PGRST103',
      'Requested range not satisfiable',
      'Limit should be greater than or equal to zero.',
    );
  }
  return Math.min(wanted, MAX_ROWS);
}

function span(first, last) {
  return limit(last - first + 1);
}

function offset(value) {
  return whole(value) ?? 0;
}

// Values of rows, as PostgreSQL writes them into JSON. Given with each query: pg's own settings stay as they are.

function number(value) {
  return /^-?(NaN|Infinity)$/.test(value) ? value : Number(value);
}

function timestamp(value) {
  return value.replace(' ', 'T').replace(/([+-]\d\d)(?=$| BC)/, '$1:00');
}

function parsersOf(oids, parse) {
  return oids.map((oid) => [oid, parse]);
}

function unchanged(value) {
  return value;
}

const FIRST_OID_OF_USERS = 16384;
const PARSERS = new Map([
  [16, (value) => value === 't'],
  ...parsersOf([20, 21, 23, 700, 701, 1700], number),
  ...parsersOf([114, 3802], JSON.parse),
  ...parsersOf([1114, 1184], (value) => (value.includes('infinity') ? value : timestamp(value))),
  [2278, () => null],
]);
// Array type -> type of its elements (src/include/catalog/pg_type.dat).
const ELEMENTS = new Map([
  [1000, 16], [1005, 21], [1007, 23], [1016, 20], [1028, 26], [1021, 700], [1022, 701], [1231, 1700],
  [199, 114], [3807, 3802], [1115, 1114], [1185, 1184], [1182, 1082], [1183, 1083], [1270, 1266],
  [1187, 1186], [1009, 25], [1002, 18], [1003, 19], [1014, 1042], [1015, 1043], [2951, 2950],
  [1041, 869], [651, 650], [1040, 829], [1001, 17],
]);

function parserOf(oid) {
  const element = ELEMENTS.get(oid);
  if (element !== undefined) {
    const parse = PARSERS.get(element) ?? unchanged;
    return (value) => types.arrayParser.create(value, parse).parse();
  }
  if (oid >= FIRST_OID_OF_USERS) {
    // A list of an enumeration's values, or a single one.
    return (value) => (/^\{.*\}$/s.test(value) ? types.arrayParser.create(value, unchanged).parse() : value);
  }
  return PARSERS.get(oid) ?? unchanged;
}

const typeParsers = { getTypeParser: parserOf };

// Sending

async function send(connection, fragment) {
  const statement = { text: '', values: [], types: typeParsers };
  fragment.addTo(statement);
  return connection.query(statement);
}

async function inTransaction(pool, begin, action) {
  const client = await pool.connect();
  let failure;
  try {
    await client.query(begin);
    const result = await action(client);
    await client.query('COMMIT');
    return result;
  } catch (error) {
    failure = error;
    // A connection that cannot even roll back is not given back to the pool.
    await client.query('ROLLBACK').then(() => { failure = undefined; }, () => {});
    throw error;
  } finally {
    client.release(failure);
  }
}

function describe(error) {
  if (error instanceof RefusedRequest || error.severity !== undefined) {
    return {
      code: error.code,
      details: error.detail ?? null,
      hint: error.hint ?? null,
      message: error.message,
    };
  }
  return { message: `${error.name}: ${error.message}`, details: '', hint: '', code: error.code ?? '' };
}

// The query is made in here, so that a value that cannot be sent is an error like any other.
async function answered(makeQuery, action) {
  try {
    return { error: null, data: null, count: null, ...(await action(makeQuery())) };
  } catch (error) {
    return { error: describe(error), data: null, count: null };
  }
}

async function throwing(answer) {
  const { error, ...rest } = await answer;
  if (error !== null) throw Object.assign(new Error(error.message), error);
  return { error, ...rest };
}

function shaped(rows, shape, found = rows.length) {
  if (shape === 'rows') return rows;
  if (found === 0 && shape === 'maybeSingle') return null;
  if (found !== 1) {
    throw new RefusedRequest(
      'PGRST116',
      'JSON object requested, multiple (or no) rows returned',
      `The result contains ${found} rows`,
    );
  }
  return rows[0] ?? null;
}

// select: { rows, count, offset, head, shape }

function read(pool, makeQuery) {
  return answered(makeQuery, async (query) => {
    if (query.count === undefined) {
      const { rows } = await send(pool, query.rows);
      return { data: query.head ? null : shaped(rows, query.shape) };
    }
    // Rows and their number as of one moment.
    return inTransaction(pool, 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY', async (client) => {
      const { rows: [{ count }] } = await send(client, query.count);
      if (query.offset > count) {
        throw new RefusedRequest(
          'PGRST103',
          'Requested range not satisfiable',
          `An offset of ${query.offset} was requested, but there are only ${count} rows.`,
        );
      }
      if (query.rows === undefined) return { count };
      const { rows } = await send(client, query.rows);
      return { data: query.head ? null : shaped(rows, query.shape), count };
    });
  });
}

// insert, upsert, update, delete: { table, target, payload, conflict, merge, where, returned, counted, shape }

function keysOf(payload) {
  if (payload === null || typeof payload !== 'object') {
    throw new RefusedRequest('PGRST102', 'Empty or invalid json');
  }
  // In a list a key without a value counts, in a single row it does not.
  if (Array.isArray(payload)) return [...new Set(payload.flatMap((row) => Object.keys(row)))];
  return Object.keys(payload).filter((key) => JSON.stringify(payload[key]) !== undefined);
}

function rowsFrom(query) {
  const rows = Array.isArray(query.payload) ? query.payload : [query.payload];
  return sql`json_populate_recordset(NULL::${raw(query.target)}, ${JSON.stringify(rows)}::json) AS pgrst_body`;
}

function insertOf(query) {
  const columns = keysOf(query.payload).map(identifier);
  const conflict = conflictOf(query, columns);
  if (columns.length === 0) {
    return sql`INSERT INTO ${raw(query.target)} SELECT FROM ${rowsFrom(query)}${conflict}`;
  }
  const names = joined(columns, ', ');
  return sql`INSERT INTO ${raw(query.target)} (${names}) SELECT ${names} FROM ${rowsFrom(query)}${conflict}`;
}

function conflictOf(query, columns) {
  if (query.conflict === undefined) return raw('');
  const target = joined(query.conflict.map(identifier), ', ');
  if (!query.merge || columns.length === 0) return sql` ON CONFLICT (${target}) DO NOTHING`;
  const pairs = columns.map((column) => sql`${column} = EXCLUDED.${column}`);
  return sql` ON CONFLICT (${target}) DO UPDATE SET ${joined(pairs, ', ')}`;
}

function updateOf(query) {
  const columns = keysOf(query.payload).map(identifier);
  if (columns.length === 0) return undefined;
  const pairs = joined(columns.map((column) => sql`${column} = pgrst_body.${column}`), ', ');
  return sql`UPDATE ${raw(query.target)} SET ${pairs} FROM ${rowsFrom(query)}${query.where}`;
}

function deleteOf(query) {
  return sql`DELETE FROM ${raw(query.target)}${query.where}`;
}

async function mutate(connection, query, mutation) {
  if (mutation === undefined) return { rows: [], found: 0 };
  if (query.returned === undefined) {
    const { rowCount } = await send(connection, mutation);
    return { rows: [], found: rowCount };
  }
  const returning = sql`${mutation} RETURNING ${identifier(query.table)}.*`;
  const { rows } = await send(connection, sql`WITH pgrst_source AS (${returning}) ${query.returned}`);
  return { rows, found: rows.length };
}

function write(pool, makeQuery, mutationOf) {
  return answered(makeQuery, async (query) => {
    const mutation = mutationOf(query);
    const finished = async (connection) => {
      const { rows, found } = await mutate(connection, query, mutation);
      const data = shaped(rows, query.shape, found);
      return { data: query.returned === undefined ? null : data, count: query.counted ? found : null };
    };
    // One statement is a transaction by itself; a wrong number of rows has to be taken back.
    return query.shape === 'rows' ? finished(pool) : inTransaction(pool, 'BEGIN', finished);
  });
}

function insert(pool, makeQuery) {
  return write(pool, makeQuery, insertOf);
}

function update(pool, makeQuery) {
  return write(pool, makeQuery, updateOf);
}

function remove(pool, makeQuery) {
  return write(pool, makeQuery, deleteOf);
}

// rpc: { name, target, types, required, variadic, unnamed, gives, rows, shape, payload }

function callOf(query) {
  const given = query.payload ?? {};
  const names = keysOf(given);
  const isRow = query.gives === 'rows' || query.gives === 'object';
  const wrap = (call, from) => (isRow
    ? sql`SELECT pgrst_call.* FROM ${from}${call} pgrst_call`
    : sql`SELECT ${call} AS pgrst_scalar${from}`);
  if (query.unnamed !== undefined) {
    return wrap(sql`${raw(query.target)}(${JSON.stringify(given)}::${raw(query.unnamed)})`, raw(''));
  }
  if (names.some((name) => !(name in query.types)) || query.required.some((name) => !names.includes(name))) {
    throw new RefusedRequest(
      'PGRST202',
      `Could not find the function ${query.name}(${[...names].sort().join(', ')}) in the schema cache`,
    );
  }
  if (names.length === 0) return wrap(raw(`${query.target}()`), raw(''));
  const columns = names.map((name) => sql`${identifier(name)} ${raw(query.types[name])}`);
  const body = sql`json_to_record(${JSON.stringify(given)}::json) AS pgrst_body(${joined(columns, ', ')})`;
  const values = names.map((name) => sql`${raw(query.variadic === name ? 'VARIADIC ' : '')}${identifier(name)} := pgrst_body.${identifier(name)}`);
  const call = sql`${raw(query.target)}(${joined(values, ', ')})`;
  return wrap(call, isRow ? sql`${body}, LATERAL ` : sql` FROM ${body}`);
}

function call(pool, makeQuery) {
  return answered(makeQuery, async (query) => {
    const { rows } = await send(pool, query.rows(callOf(query)));
    switch (query.gives) {
      case 'rows': return { data: shaped(rows, query.shape) };
      case 'object': return { data: rows[0] ?? null };
      case 'values': return { data: shaped(rows.map((row) => row.pgrst_scalar), query.shape) };
      case 'value': return { data: rows[0].pgrst_scalar };
      default: return { data: null };
    }
  });
}

// For calls that have no function: sql`SELECT * FROM ${identifier(table)} WHERE id = ${text(id)}` is safe with any value.
const helpers = {
  sql, identifier, joined, when,
  text, pattern, patterns, list, container, keyword, direction, limit, span, offset,
  read, insert, update, remove, call, throwing,
};
