/** Connections to the application's database: a small pool, TLS with the server's certificate verified. */
import fs from 'node:fs';
import pg from 'pg';
import { logger } from './logger.mjs';

const { POSTGRES_HOST, POSTGRES_PORT, POSTGRES_DATABASE, POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_CA,
  POSTGRES_SERVER_NAME } = process.env;

/** Slower than this is worth a line in the log, in ms. */
const SLOW_MS = 500;

export const pool = new pg.Pool({
  host: POSTGRES_HOST,
  port: Number(POSTGRES_PORT),
  database: POSTGRES_DATABASE,
  user: POSTGRES_USER,
  password: POSTGRES_PASSWORD,
  // Reached by another address than the certificate's name. A PostgreSQL without TLS names no authority.
  ssl: POSTGRES_CA ? { ca: fs.readFileSync(POSTGRES_CA), servername: POSTGRES_SERVER_NAME } : false,
  application_name: process.env.SERVICE_NAME,
  max: 3,
  connectionTimeoutMillis: 10000,
});

// An idle connection that breaks would otherwise end the process.
pool.on('error', (error) => logger.error('PostgreSQL pool error', { error: error.message }));

/**
 * Run a query, and say so in the log when it is slow.
 * @param {string} text
 * @param {unknown[]} [values]
 * @returns {Promise<pg.QueryResult>}
 */
export async function query(text, values) {
  const begin = Date.now();
  const result = await pool.query(text, values);
  const duration = Date.now() - begin;
  if (duration > SLOW_MS) logger.warn(`Slow query: ${duration}ms`, { duration });
  return result;
}
