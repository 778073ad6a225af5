/** Baileys' auth state in the tables whatsapp_auth and whatsapp_keys, in Baileys' own serialization. */
import { BufferJSON, initAuthCreds, proto } from 'baileys';
import { logger } from '../services/logger.mjs';
import { pool } from '../services/database.mjs';

/** Key types that production lets expire, in days. */
const DAYS_TO_LIVE = { 'device-list': 7, tctoken: 28 };

const serialize = (value) => JSON.stringify(value, BufferJSON.replacer);
// The driver has parsed the jsonb already; Buffers are still in their serialized form.
const deserialize = (value) => JSON.parse(JSON.stringify(value), BufferJSON.reviver);

/**
 * @param {string} companyId
 * @returns {Promise<{state: import('baileys').AuthenticationState, saveCreds: () => Promise<void>}>}
 */
export async function postgresAuthState(companyId) {
  logger.info(`🗄️  Using Timeweb PostgreSQL auth state for company ${companyId}`);
  const { rows } = await pool.query('SELECT creds FROM whatsapp_auth WHERE company_id = $1', [companyId]);
  if (rows.length === 0) logger.info(`📝 No existing credentials for ${companyId}, creating new`);
  const creds = rows.length === 0 ? initAuthCreds() : deserialize(rows[0].creds);
  const keys = {
    get: (type, ids) => readKeys(companyId, type, ids),
    set: (changes) => writeKeys(companyId, changes),
  };
  return { state: { creds, keys }, saveCreds: () => writeCreds(companyId, creds) };
}

async function writeCreds(companyId, creds) {
  await pool.query(
    `INSERT INTO whatsapp_auth (company_id, creds) VALUES ($1, $2)
     ON CONFLICT (company_id) DO UPDATE SET creds = excluded.creds`,
    [companyId, serialize(creds)],
  );
}

async function readKeys(companyId, type, ids) {
  const { rows } = await pool.query(
    'SELECT key_id, value FROM whatsapp_keys WHERE company_id = $1 AND key_type = $2 AND key_id = ANY ($3)',
    [companyId, type, ids],
  );
  return Object.fromEntries(rows.map(({ key_id: id, value }) => [id, keyOf(type, deserialize(value))]));
}

function keyOf(type, value) {
  return type === 'app-state-sync-key' ? proto.Message.AppStateSyncKeyData.fromObject(value) : value;
}

/** Write and remove keys, all or none: one statement for each type, because a pairing brings hundreds of pre-keys. */
async function writeKeys(companyId, changes) {
  const connection = await pool.connect();
  try {
    await connection.query('BEGIN');
    for (const [type, values] of Object.entries(changes)) await writeKeysOfType(connection, companyId, type, values);
    await connection.query('COMMIT');
  } catch (error) {
    await connection.query('ROLLBACK').catch((second) => logger.error('Rollback failed', { error: second.message }));
    throw error;
  } finally {
    connection.release();
  }
}

async function writeKeysOfType(connection, companyId, type, values) {
  const entries = Object.entries(values);
  const removed = entries.filter(([, value]) => !value).map(([id]) => id);
  const written = entries.filter(([, value]) => value);
  if (removed.length > 0) {
    await connection.query(
      'DELETE FROM whatsapp_keys WHERE company_id = $1 AND key_type = $2 AND key_id = ANY ($3)',
      [companyId, type, removed],
    );
  }
  if (written.length > 0) {
    await connection.query(
      `INSERT INTO whatsapp_keys (company_id, key_type, key_id, value, expires_at)
       SELECT $1, $2, key_id, value::jsonb, now() + $5::integer * interval '1 day'
       FROM unnest($3::text[], $4::text[]) AS new (key_id, value)
       ON CONFLICT (company_id, key_type, key_id)
       DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at`,
      [companyId, type, written.map(([id]) => id), written.map(([, v]) => serialize(v)), DAYS_TO_LIVE[type] ?? null],
    );
  }
}
