/**
 * A stand-in for WhatsApp's chat server, for a real Baileys client. It uses only what the baileys package exports.
 *
 * It can do: handshake, pairing, login, key upload, key bundles, encrypted messages both ways, reactions, and ending a
 * connection in the ways the real one does. It keeps nothing else: no history, no groups, no media.
 */
import { Connection } from './connection.mjs';
import { Phone } from './phones.mjs';
import { Registry } from './registry.mjs';

/** How many of the last messages the test phone's owner could look up. */
const MESSAGES_KEPT = 1000;

/** @typedef {{refuse: number | null, dropAfterMs: number | null}} LoginPolicy a code to refuse every login with; after
 * how many ms a connection that was let in is dropped */

export class WhatsAppServer {
  #phones = new Map();
  #connections = new Set();
  #delivered = [];

  /**
   * @param {string} file where it remembers its users
   * @param {(message: string, details?: object) => void} log
   */
  constructor(file, log) {
    this.registry = new Registry(file);
    this.log = log;
    /** @type {LoginPolicy} */
    this.loginPolicy = { refuse: null, dropAfterMs: null };
    /** The other people's phones; one that is asked for comes into being. */
    this.phones = { get: (number) => this.#phone(number) };
  }

  /** @param {import('ws').WebSocket} socket a client that has just connected */
  accept(socket) {
    const connection = new Connection(socket, this);
    this.#connections.add(connection);
    socket.on('close', () => {
      this.#connections.delete(connection);
      this.log('connection closed', { phone: connection.phone });
    });
  }

  /** Take note of a message that reached a phone. */
  delivered(message) {
    this.#delivered.push({ ...message, at: new Date().toISOString() });
    this.#delivered.splice(0, this.#delivered.length - MESSAGES_KEPT);
    this.log('message delivered', { to: message.to, id: message.id });
  }

  /** @returns {object[]} the messages that reached a phone, oldest first */
  messagesOf(phone) {
    return this.#delivered.filter(({ to }) => to === phone);
  }

  /** @returns {{phone: string, device: number, identity: string | null}[]} who is logged in */
  clients() {
    return [...this.#connections]
      .filter(({ phone }) => phone)
      .map(({ phone, device }) => ({ phone, device, identity: this.identityOf(phone) }));
  }

  /** @returns {string | null} base64 of the public identity key of a paired client */
  identityOf(phone) {
    return this.registry.devices[phone]?.identity.toString('base64') ?? null;
  }

  /** Forget a paired client, as a phone does that removes its linked device. */
  forget(phone) {
    delete this.registry.devices[phone];
    this.registry.changed();
  }

  /** @returns {Connection} the newest connection that fits @throws {Error} there is none */
  newest(fits, description) {
    const found = [...this.#connections].filter(fits).at(-1);
    if (!found) throw new Error(`no ${description} is connected`);
    return found;
  }

  /** End the connections of all clients that are logged in. @returns {number} how many */
  endAll(how) {
    const connections = [...this.#connections].filter(({ phone }) => phone);
    for (const connection of connections) connection.end(how);
    return connections.length;
  }

  #phone(number) {
    if (!this.#phones.has(number)) this.#phones.set(number, new Phone(number, this.registry));
    return this.#phones.get(number);
  }
}
