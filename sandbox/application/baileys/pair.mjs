/**
 * Pairs the salon's client with the salon's phone, once, before the services start: the client shows its QR code, the
 * phone in the stand-in world scans it. Afterwards the session is in the database, and the service only logs in.
 */
import { pool } from '../services/database.mjs';
import { post } from '../services/http-server.mjs';
import { Session } from './session.mjs';

const { COMPANY_ID, OUTSIDE_PORT, SALON_PHONE } = process.env;
const LOOK_EVERY_MS = 50;
const RECONNECT_MS = 100;
/** How long the new pre-keys may take to arrive at the server. */
const DEADLINE_MS = 30000;

const outside = `http://127.0.0.1:${OUTSIDE_PORT}`;
const deadline = Date.now() + DEADLINE_MS;

async function until(condition, description) {
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`pairing: ${description} did not happen within ${DEADLINE_MS} ms`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}

const session = new Session(COMPANY_ID, RECONNECT_MS, async () => {});
await session.connect();
await until(() => session.qr !== null, 'a QR code');
await post(`${outside}/pair`, { qr: session.qr, phone: SALON_PHONE });
await until(() => session.open, 'the login after the pairing');
await session.stop();
await pool.end();
process.exit(0);
