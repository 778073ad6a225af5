/** One connection of a client: handshake, login or registration, then stanzas. */
import crypto from 'node:crypto';
import { FrameReader, frame } from './frames.mjs';
import { NoiseServer } from './noise.mjs';
import { hiddenAddress, phoneAddress, phoneOf } from './addresses.mjs';
import { answer } from './queries.mjs';
import { confirmPairing, offerPairing } from './pairing.mjs';
import { STREAM_ERRORS, refusal } from './stream-errors.mjs';
import { child, children, element, timestamp } from './stanzas.mjs';

/** Time for the last stanza to arrive before the connection is closed, in ms. */
const FAREWELL_MS = 100;

export class Connection {
  #socket;
  #noise = new NoiseServer();
  #frames = new FrameReader();
  #receive = (content) => this.#onHello(content);

  /**
   * @param {import('ws').WebSocket} socket
   * @param {import('./server.mjs').WhatsAppServer} server
   */
  constructor(socket, server) {
    this.#socket = socket;
    this.server = server;
    this.registry = server.registry;
    this.phones = server.phones;
    /** @type {string | null} number of the client's phone, once it has logged in */
    this.phone = null;
    this.device = 0;
    let queue = Promise.resolve();
    socket.on('message', (bytes) => {
      // In order: the cipher counts the frames.
      queue = queue.then(() => this.#onBytes(bytes)).catch((error) => this.#fail(error));
    });
  }

  send(node) {
    this.#socket.send(frame(this.#noise.encrypt(node)));
  }

  /** @param {string} how `drop`, or a key of STREAM_ERRORS */
  end(how) {
    if (how === 'drop') {
      this.#socket.terminate();
      return;
    }
    this.send(STREAM_ERRORS[how]);
    this.#closeSoon();
  }

  /** Pair the client that waits here: as if the phone scanned its QR code. */
  pair(qr, phone) {
    this.send(confirmPairing(qr, phone));
    // WhatsApp makes a newly linked client connect again.
    setTimeout(() => this.end('restart'), 3 * FAREWELL_MS);
  }

  /**
   * Deliver a message to the client.
   * @param {string} from number of the sender's phone, digits
   * @returns {Promise<string>} the message's id
   */
  async deliver(from, text) {
    const device = this.registry.devices[this.phone];
    if (!device) throw new Error(`the client of ${this.phone} has uploaded no keys yet`);
    const { type, ciphertext } = await this.phones.get(from).encrypt(this.phone, device, text);
    const id = `3EB0${crypto.randomBytes(9).toString('hex').toUpperCase()}`;
    const attrs = {
      from: phoneAddress(from),
      id,
      type: 'text',
      t: timestamp(),
      notify: 'Customer',
      sender_lid: hiddenAddress(from),
    };
    this.send(element('message', attrs, [element('enc', { v: '2', type }, ciphertext)]));
    return id;
  }

  async #onBytes(bytes) {
    for (const content of this.#frames.read(bytes)) await this.#receive(content);
  }

  #onHello(content) {
    this.#receive = (next) => this.#onIntroduction(next);
    this.#socket.send(frame(this.#noise.answerHello(content)));
  }

  #onIntroduction(content) {
    this.#receive = (next) => this.#onStanza(next);
    const client = this.#noise.finish(content);
    if (client.devicePairingData) {
      this.server.log('a new client wants to be paired');
      this.send(offerPairing());
    } else {
      this.#login(String(client.username), client.device);
    }
  }

  #login(phone, device) {
    const { refuse, dropAfterMs } = this.server.loginPolicy;
    this.server.log('login', { phone, device, ...(refuse ? { refused: refuse } : {}) });
    if (refuse) {
      this.send(refusal(refuse));
      this.#closeSoon();
      return;
    }
    this.phone = phone;
    this.device = device;
    this.send(element('success', { t: timestamp(), lid: hiddenAddress(phone), props: '27', display_name: 'Sandbox' }));
    this.send(element('ib', {}, [element('offline', { count: '0' })]));
    // Unless the policy has changed by then: who mends the sandbox must not see this connection drop.
    if (dropAfterMs) setTimeout(() => this.server.loginPolicy.dropAfterMs && this.end('drop'), dropAfterMs);
  }

  async #onStanza(content) {
    const node = await this.#noise.decrypt(content);
    if (node.tag === 'iq' && ['get', 'set'].includes(node.attrs.type)) this.send(await answer(this, node));
    if (node.tag === 'message') await this.#onMessage(node);
  }

  async #onMessage(node) {
    for (const { recipient, encrypted } of recipients(node)) {
      // A copy goes to the salon's own phone.
      if (recipient !== this.phone) {
        const message = await this.phones.get(recipient).decrypt(this.phone, encrypted);
        this.server.delivered({ id: node.attrs.id, to: recipient, ...readable(message) });
      }
    }
    this.send(element('ack', { class: 'message', id: node.attrs.id, from: node.attrs.to, t: timestamp() }));
  }

  #closeSoon() {
    setTimeout(() => this.#socket.close(), FAREWELL_MS);
  }

  #fail(error) {
    this.server.log('the connection failed', { error: error.stack });
    this.#socket.close();
  }
}

/** The encrypted copies in a message: one directly in it, or one for each recipient. */
function recipients(node) {
  const copies = children(child(node, 'participants')).map((to) => ({ address: to.attrs.jid, enc: child(to, 'enc') }));
  if (child(node, 'enc')) copies.push({ address: node.attrs.to, enc: child(node, 'enc') });
  return copies.map(({ address, enc }) => ({
    recipient: phoneOf(address),
    encrypted: { type: enc.attrs.type, ciphertext: enc.content },
  }));
}

function readable(message) {
  const inner = message.deviceSentMessage?.message ?? message;
  return {
    text: inner.extendedTextMessage?.text ?? inner.conversation ?? null,
    reaction: inner.reactionMessage?.text ?? null,
  };
}
