/**
 * The world outside the application: WhatsApp, and the way to the database. One process, on loopback only.
 *
 * Environment: OUTSIDE_PORT (WhatsApp by WebSocket, control by HTTP), OUTSIDE_STATE (file for what WhatsApp remembers),
 * DATABASE_PATH_PORT (where the application connects to), DATABASE_HOST and DATABASE_PORT (the database's server).
 */
import { WebSocketServer } from 'ws';
import { DatabasePath } from './database-path.mjs';
import { WhatsAppServer } from './whatsapp/server.mjs';
import { controlServer } from './control.mjs';

const { OUTSIDE_PORT, OUTSIDE_STATE, DATABASE_PATH_PORT, DATABASE_HOST, DATABASE_PORT } = process.env;

const log = (message, details = {}) =>
  process.stdout.write(`${JSON.stringify({ at: new Date().toISOString(), message, ...details })}\n`);

const whatsapp = new WhatsAppServer(OUTSIDE_STATE, log);
const databasePath = new DatabasePath(Number(DATABASE_PATH_PORT), DATABASE_HOST, Number(DATABASE_PORT));
await databasePath.open();

const server = controlServer(whatsapp, databasePath);
new WebSocketServer({ server }).on('connection', (socket) => whatsapp.accept(socket));
server.listen(Number(OUTSIDE_PORT), '127.0.0.1', () => log('listening', { port: Number(OUTSIDE_PORT) }));

process.on('SIGTERM', () => {
  whatsapp.registry.save();
  process.exit(0);
});
