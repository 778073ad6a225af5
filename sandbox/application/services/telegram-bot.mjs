/** ai-admin-telegram-bot: polls for commands; here it only says so. */
import './faults.mjs';
import { logger } from './logger.mjs';

logger.info('🤖 Telegram bot started');
setInterval(() => logger.debug('Telegram polling', { updates: 0 }), 10000);
