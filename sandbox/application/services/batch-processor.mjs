/** ai-admin-batch-processor: waits until somebody has finished writing, then hands all messages over as one. */
import './faults.mjs';
import { logger } from './logger.mjs';
import { consume, put } from './queue.mjs';

const IDLE_MS = Number(process.env.BATCH_IDLE_MS);
const LOOK_EVERY_MS = 200;

/** @type {Map<string, object[]>} messages that wait, by phone */
const waiting = new Map();

async function processIdle() {
  for (const [phone, messages] of waiting) {
    const idle = Date.now() - messages.at(-1).receivedAt;
    if (idle < IDLE_MS) continue;
    waiting.delete(phone);
    logger.info(`Batch for ${phone} idle for ${idle}ms, processing`, { messages: messages.length });
    const text = messages.map(({ message }) => message).join('\n');
    await put('batches', { from: phone, message: text, messageId: messages.at(-1).messageId });
    logger.info(`Batch processed successfully for ${phone}`, { messages: messages.length });
  }
}

logger.info('🔄 Batch processor started', { idleMs: IDLE_MS });
setInterval(() => logger.debug('Pending batches', { count: waiting.size }), 10000);
setInterval(processIdle, LOOK_EVERY_MS);

await consume('incoming', async (item) => {
  waiting.set(item.from, [...(waiting.get(item.from) ?? []), item]);
});
