/** ai-admin-reminders: started by PM2's cron, sends reminders and ends; between its runs it is stopped. */
import { logger } from './logger.mjs';

logger.info('⏰ Reminders sent', { count: 0 });
