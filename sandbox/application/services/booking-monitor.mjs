/** ai-admin-booking-monitor: looks for bookings to remind of; here it only asks the database whether it is there. */
import './faults.mjs';
import { logger } from './logger.mjs';
import { query } from './database.mjs';

const EVERY_MS = 5000;

async function check() {
  try {
    const { rows } = await query('SELECT count(*)::integer AS companies FROM whatsapp_auth');
    logger.info('🔍 Checking bookings', rows[0]);
  } catch (error) {
    logger.error(`Failed to check bookings: ${error.message}`, { code: error.code });
  }
}

logger.info('🚀 Booking monitor started');
await check();
setInterval(check, EVERY_MS);
