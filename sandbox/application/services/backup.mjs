/** whatsapp-backup-service: saves the WhatsApp session; here it only looks at it. */
import './faults.mjs';
import { logger } from './logger.mjs';
import { query } from './database.mjs';

const EVERY_MS = 30000;

async function backUp() {
  try {
    const { rows } = await query(
      'SELECT (SELECT count(*)::integer FROM whatsapp_auth) AS sessions, count(*)::integer AS keys FROM whatsapp_keys',
    );
    logger.info('💾 Session backup completed', rows[0]);
  } catch (error) {
    logger.error(`Session backup failed: ${error.message}`, { code: error.code });
  }
}

logger.info('🚀 WhatsApp backup service started');
await backUp();
setInterval(backUp, EVERY_MS);
