/**
 * The services' logger. Its lines look like those of winston with colorize() and simple(), which production uses: a
 * coloured level, the message, the other fields as JSON with sorted keys. All levels go to the standard output; PM2 puts
 * the local time before each line.
 */

const COLOURS = { error: 31, warn: 33, info: 32, debug: 34 };
const DEFAULTS = { env: 'production', service: 'ai-admin' };

function write(level, message, fields) {
  const all = { ...DEFAULTS, timestamp: new Date().toISOString(), ...fields };
  const sorted = Object.fromEntries(Object.entries(all).sort(([a], [b]) => (a < b ? -1 : 1)));
  process.stdout.write(`\x1b[${COLOURS[level]}m${level}\x1b[39m: ${message} ${JSON.stringify(sorted)}\n`);
}

/** @type {Record<'error' | 'warn' | 'info' | 'debug', (message: string, fields?: object) => void>} */
export const logger = {
  error: (message, fields) => write('error', message, fields),
  warn: (message, fields) => write('warn', message, fields),
  info: (message, fields) => write('info', message, fields),
  debug: (message, fields) => write('debug', message, fields),
};
