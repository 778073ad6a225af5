/**
 * Faults that `python -m sandbox break` switches on in a service: a file `faults/<service>` with the fault's name. It is
 * looked for again and again, so a fault begins and ends without a restart.
 */
import fs from 'node:fs';
import path from 'node:path';
import { logger } from './logger.mjs';

const LOOK_EVERY_MS = 250;
/** Longer than PM2's min_uptime (1 s): so PM2 counts no unstable restart and never gives up, as with most real crashes. */
const CRASH_AFTER_S = 1.5;

const FAULTS = {
  'crash-loop': () => {
    if (process.uptime() > CRASH_AFTER_S) throw new Error('Cannot read properties of undefined (reading "id")');
  },
  'error-lines': () => {
    const secret = process.env.OPENAI_API_KEY;
    logger.error('Failed to load client context: the answer has no name', {
      apiKey: secret,
      phone: process.env.TEST_PHONE,
    });
  },
};

const file = path.join(process.env.FAULTS_DIR, process.env.SERVICE_NAME);

setInterval(() => {
  if (fs.existsSync(file)) FAULTS[fs.readFileSync(file, 'utf8').trim()]?.();
}, LOOK_EVERY_MS).unref();
