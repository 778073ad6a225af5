/** The ways in which the server ends a connection. */
import { element } from './stanzas.mjs';

const conflict = (type) => [element('conflict', { type })];

/** What is sent before the connection is closed, by name. `drop` sends nothing: the connection is just gone. */
export const STREAM_ERRORS = {
  // The phone removed this linked device: Baileys reports 401, logged out.
  logout: element('stream:error', { code: '401' }, conflict('device_removed')),
  // Somebody else connected with the same session: 440.
  replaced: element('stream:error', {}, conflict('replaced')),
  // Normal right after pairing: 515.
  restart: element('stream:error', { code: '515' }),
  unavailable: element('stream:error', { code: '503' }),
};

/** @param {number} code such as 401 or 503 @returns {import('baileys').BinaryNode} the refusal of a login */
export const refusal = (code) => element('failure', { reason: String(code), location: 'sandbox' });
