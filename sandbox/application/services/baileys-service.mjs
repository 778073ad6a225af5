/** baileys-whatsapp-service: the WhatsApp client, and the HTTP endpoints by which the other services use it. */
import './faults.mjs';
import { logger } from './logger.mjs';
import { pool } from './database.mjs';
import { post, serve } from './http-server.mjs';
import { Session, phoneJid } from '../baileys/session.mjs';

const { API_URL, BAILEYS_PORT, COMPANY_ID, RECONNECT_MS } = process.env;
const PHONE = /^\d{5,15}$/;

const session = new Session(COMPANY_ID, Number(RECONNECT_MS), async ({ from, text, id }) => {
  logger.info(`📥 Received message from ${from}`, { messageId: id });
  await post(`${API_URL}/webhook/whatsapp/batched`, {
    from,
    message: text,
    messageId: id,
    timestamp: new Date().toISOString(),
  });
});

async function onSend({ phone, message }) {
  if (!PHONE.test(phone ?? '') || !message) {
    return [400, { success: false, error: 'Phone and message are required' }];
  }
  const messageId = await session.send(phone, { text: message });
  return [200, { success: true, messageId, phone, companyId: COMPANY_ID }];
}

async function onReaction({ phone, messageId, emoji }) {
  if (!PHONE.test(phone ?? '') || !messageId || !emoji) {
    return [400, { success: false, error: 'Phone, messageId and emoji are required' }];
  }
  const key = { remoteJid: phoneJid(phone), id: messageId, fromMe: false };
  await session.send(phone, { react: { text: emoji, key } });
  return [200, { success: true }];
}

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, async () => {
    await session.stop();
    await pool.end();
    process.exit(0);
  });
}

// As in production: it listens only once the session was created.
await session.connect();
await serve(Number(BAILEYS_PORT), {
  'GET /health': async () => [200, session.health()],
  'POST /send': onSend,
  'POST /reaction': onReaction,
});
logger.info(`🚀 Baileys service listening on port ${BAILEYS_PORT}`);
