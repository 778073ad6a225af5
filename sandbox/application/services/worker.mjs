/** ai-admin-worker-v2: answers batches of messages. */
import './faults.mjs';
import { logger } from './logger.mjs';
import { consume } from './queue.mjs';
import { query } from './database.mjs';
import { post } from './http-server.mjs';

const { BAILEYS_URL, COMPANY_ID } = process.env;
/** How long the language model thinks, in ms. */
const ANSWER_MS = Number(process.env.ANSWER_MS);
/** These are answered with a reaction only. */
const THANKS = /^\s*(спасибо|thanks|вс[её])[\s.!]*$/i;

let jobs = 0;

async function answer({ from, message, messageId }) {
  logger.info(`💬 Processing message from ${from}: "${message}"`, { companyId: COMPANY_ID });
  await query('SELECT count(*) FROM whatsapp_auth WHERE company_id = $1', [COMPANY_ID]);
  await new Promise((resolve) => setTimeout(resolve, ANSWER_MS));
  if (THANKS.test(message)) {
    await post(`${BAILEYS_URL}/reaction`, { phone: from, messageId, emoji: '❤️' });
    logger.info(`❤️ Reaction sent to ${from}`, { messageId });
    return;
  }
  const reply = `Вы написали: «${message}». На какое время вас записать?`;
  logger.info(`🤖 Bot sending 1 messages to ${from}`, { companyId: COMPANY_ID });
  logger.info(`🤖 Message 1/1 to ${from}: "${reply}"`, { companyId: COMPANY_ID });
  logger.info(`📤 Sending message via API to ${from} for company ${COMPANY_ID}`, { length: reply.length });
  const { messageId: sent } = await post(`${BAILEYS_URL}/send`, { phone: from, message: reply });
  logger.info('✅ Message sent successfully via API', { messageId: sent, phone: from });
}

logger.info('🚀 Worker started', { companyId: COMPANY_ID });
setInterval(() => logger.debug('Worker is idle', { jobs }), 10000);

await consume('batches', async (batch) => {
  jobs += 1;
  try {
    await answer(batch);
  } catch (error) {
    logger.error(`Processing error: ${error.message}`, { phone: batch.from });
    logger.error(`🤖 Bot response to ${batch.from} (error): "Извините, произошла ошибка"`, { error: error.message });
  }
  // As in production also after a failure: this line proves nothing.
  logger.info(`✅ Job ${jobs} completed`, { phone: batch.from });
});
