/**
 * The phones of the salon's customers, among them the test phone: each has its own Signal keys and sessions, so that the
 * messages between it and the salon's client are really encrypted and decrypted.
 */
import {
  Curve,
  DEFAULT_CONNECTION_CONFIG,
  KEY_BUNDLE_TYPE,
  addTransactionCapability,
  initAuthCreds,
  proto,
  unpadRandomMax16,
  writeRandomPadMax16,
  xmppPreKey,
  xmppSignedPreKey,
} from 'baileys';
import { COMPANION_DEVICE, deviceAddress } from './addresses.mjs';
import { bytesOf } from './stanzas.mjs';

/** Baileys wants a logger; what goes on inside a customer's phone is of no interest. */
const SILENT = { level: 'silent', child: () => SILENT };
for (const level of ['trace', 'debug', 'info', 'warn', 'error']) SILENT[level] = () => {};

export class Phone {
  #registry;
  #state;
  #keys;
  #signal;

  /**
   * @param {string} number digits
   * @param {import('./registry.mjs').Registry} registry where the phone's state is kept
   */
  constructor(number, registry) {
    this.#registry = registry;
    registry.phones[number] ??= { creds: initAuthCreds(), keys: {}, nextPreKeyId: 1 };
    this.#state = registry.phones[number];
    this.#keys = addTransactionCapability(
      { get: async (type, ids) => this.#read(type, ids), set: async (changes) => this.#write(changes) },
      SILENT,
      { maxCommitRetries: 1, delayBetweenTriesMs: 1 },
    );
    const auth = { creds: this.#state.creds, keys: this.#keys };
    this.#signal = DEFAULT_CONNECTION_CONFIG.makeSignalRepository(auth, SILENT, async () => []);
  }

  get identity() {
    return this.#state.creds.signedIdentityKey.public;
  }

  get registrationId() {
    return this.#state.creds.registrationId;
  }

  /** @returns {Promise<import('baileys').BinaryNode[]>} signed pre-key and a fresh pre-key, for who wants to write */
  async giveKeys() {
    const id = this.#state.nextPreKeyId++;
    const pair = Curve.generateKeyPair();
    await this.#keys.set({ 'pre-key': { [id]: pair } });
    return [xmppSignedPreKey(this.#state.creds.signedPreKey), xmppPreKey(pair, id)];
  }

  /**
   * @param {string} sender phone of the salon
   * @param {{type: string, ciphertext: Uint8Array}} encrypted
   * @returns {Promise<proto.Message>}
   */
  async decrypt(sender, { type, ciphertext }) {
    const jid = deviceAddress(sender, COMPANION_DEVICE);
    const padded = await this.#signal.decryptMessage({ jid, type, ciphertext });
    return proto.Message.decode(unpadRandomMax16(padded));
  }

  /**
   * @param {string} recipient phone of the salon
   * @param {import('./registry.mjs').Device} device its client's keys; a first message takes one pre-key from it
   * @param {string} text
   * @returns {Promise<{type: string, ciphertext: Uint8Array}>}
   */
  async encrypt(recipient, device, text) {
    const jid = deviceAddress(recipient, COMPANION_DEVICE);
    const session = `${recipient}.${COMPANION_DEVICE}`;
    const known = await this.#keys.get('session', [session]);
    if (!known[session]) await this.#signal.injectE2ESession({ jid, session: this.#sessionWith(device) });
    const message = proto.Message.encode({ conversation: text }).finish();
    return this.#signal.encryptMessage({ jid, data: writeRandomPadMax16(Buffer.from(message)) });
  }

  #sessionWith(device) {
    const preKey = device.preKeys.shift();
    this.#registry.changed();
    return {
      registrationId: device.registrationId,
      identityKey: withKeyType(device.identity),
      signedPreKey: { ...uploadedKey(device.signedPreKey), signature: bytesOf(device.signedPreKey, 'signature') },
      preKey: preKey && uploadedKey(preKey),
    };
  }

  #read(type, ids) {
    const stored = this.#state.keys[type] ?? {};
    return Object.fromEntries(ids.filter((id) => stored[id]).map((id) => [id, stored[id]]));
  }

  #write(changes) {
    for (const [type, values] of Object.entries(changes)) {
      const stored = (this.#state.keys[type] ??= {});
      for (const [id, value] of Object.entries(values)) {
        if (value) stored[id] = value;
        else delete stored[id];
      }
    }
    this.#registry.changed();
  }
}

function uploadedKey(node) {
  const id = bytesOf(node, 'id');
  return { keyId: id.readUIntBE(0, id.length), publicKey: withKeyType(bytesOf(node, 'value')) };
}

/** Signal's form of a public key: a type byte, then 32 bytes. */
function withKeyType(key) {
  return key.length === 33 ? key : Buffer.concat([KEY_BUNDLE_TYPE, key]);
}
