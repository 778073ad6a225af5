/** ai-admin-api: takes messages from WhatsApp by webhook and queues them. */
import './faults.mjs';
import { logger } from './logger.mjs';
import { put } from './queue.mjs';
import { post, serve } from './http-server.mjs';

const { API_PORT, BAILEYS_URL, TEST_PHONE } = process.env;

async function onWebhook({ from, message, messageId, timestamp }) {
  logger.info('📨 Webhook received request:', { from, messageId });
  if (!from || !message) {
    logger.warn('⚠️ Webhook without from or message', { messageId });
    return [400, { success: false, error: 'from and message are required' }];
  }
  logger.info('📝 Format 1 detected - single message:', { from, messageId });
  await put('incoming', { from, message, messageId, timestamp, receivedAt: Date.now() });
  return [200, { success: true, message: 'queued for batch processing' }];
}

/** As in production, where asking the API for its health ends in a WhatsApp message: nothing may poll this. */
async function onHealth() {
  await post(`${BAILEYS_URL}/send`, { phone: TEST_PHONE, message: 'Health check' });
  return [200, { status: 'ok' }];
}

await serve(Number(API_PORT), { 'POST /webhook/whatsapp/batched': onWebhook, 'GET /health': onHealth });
logger.info(`🚀 AI Admin API listening on port ${API_PORT}`);

setInterval(() => logger.debug('API memory usage', { heapUsed: process.memoryUsage().heapUsed }), 15000);
