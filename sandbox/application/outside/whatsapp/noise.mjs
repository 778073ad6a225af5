/**
 * The server's side of WhatsApp's encrypted transport: Noise_XX_25519_AESGCM_SHA256.
 *
 * The client's side is baileys/lib/Utils/noise-handler.js; the pattern is described in "The Noise Protocol Framework",
 * section 7.5 (XX). Three messages: the client's ephemeral key; ours with our static key and certificate; the client's
 * static key with its login.
 */
import {
  Curve,
  NOISE_MODE,
  NOISE_WA_HEADER,
  aesDecryptGCM,
  aesEncryptGCM,
  decodeBinaryNode,
  encodeBinaryNode,
  hkdf,
  proto,
  sha256,
} from 'baileys';
import { certificateChain } from './certificate.mjs';

const IV_BYTES = 12;
const KEY_BYTES = 32;
const NOTHING = Buffer.alloc(0);

/** AES-GCM with one key and a counter as nonce. */
class CountingCipher {
  #key;
  #counter = 0;

  constructor(key) {
    this.#key = key;
  }

  encrypt(plaintext, authenticated = NOTHING) {
    return aesEncryptGCM(plaintext, this.#key, this.#nextNonce(), authenticated);
  }

  decrypt(ciphertext, authenticated = NOTHING) {
    return aesDecryptGCM(ciphertext, this.#key, this.#nextNonce(), authenticated);
  }

  #nextNonce() {
    const nonce = Buffer.alloc(IV_BYTES);
    nonce.writeUInt32BE(this.#counter++, IV_BYTES - 4);
    return nonce;
  }
}

export class NoiseServer {
  #hash = Buffer.from(NOISE_MODE); // exactly 32 bytes long, so it is its own hash
  #salt = this.#hash;
  #handshake = new CountingCipher(this.#hash);
  #ephemeral = Curve.generateKeyPair();
  #incoming;
  #outgoing;

  constructor() {
    this.#authenticate(NOISE_WA_HEADER);
  }

  /**
   * @param {Buffer} message the client's first message
   * @returns {Uint8Array} the answer
   */
  answerHello(message) {
    const { ephemeral } = proto.HandshakeMessage.decode(message).clientHello;
    const staticKey = Curve.generateKeyPair();
    this.#authenticate(ephemeral);
    this.#authenticate(this.#ephemeral.public);
    this.#mix(Curve.sharedKey(this.#ephemeral.private, ephemeral));
    const sealedStatic = this.#seal(staticKey.public);
    this.#mix(Curve.sharedKey(staticKey.private, ephemeral));
    const serverHello = {
      ephemeral: this.#ephemeral.public,
      static: sealedStatic,
      payload: this.#seal(certificateChain(staticKey.public)),
    };
    return proto.HandshakeMessage.encode({ serverHello }).finish();
  }

  /**
   * @param {Buffer} message the client's last message of the handshake
   * @returns {proto.ClientPayload} who the client is
   */
  finish(message) {
    const { clientFinish } = proto.HandshakeMessage.decode(message);
    const clientStatic = this.#open(clientFinish.static);
    this.#mix(Curve.sharedKey(this.#ephemeral.private, clientStatic));
    const payload = this.#open(clientFinish.payload);
    const [incoming, outgoing] = this.#derive(NOTHING);
    this.#incoming = new CountingCipher(incoming);
    this.#outgoing = new CountingCipher(outgoing);
    return proto.ClientPayload.decode(payload);
  }

  /** @returns {Uint8Array} a stanza, encrypted for the client */
  encrypt(node) {
    return this.#outgoing.encrypt(encodeBinaryNode(node));
  }

  /** @returns {Promise<import('baileys').BinaryNode>} the stanza in a frame of the client */
  decrypt(content) {
    return decodeBinaryNode(this.#incoming.decrypt(content));
  }

  #authenticate(data) {
    this.#hash = sha256(Buffer.concat([this.#hash, data]));
  }

  #seal(plaintext) {
    const ciphertext = this.#handshake.encrypt(plaintext, this.#hash);
    this.#authenticate(ciphertext);
    return ciphertext;
  }

  #open(ciphertext) {
    const plaintext = this.#handshake.decrypt(ciphertext, this.#hash);
    this.#authenticate(ciphertext);
    return plaintext;
  }

  #mix(secret) {
    const [salt, key] = this.#derive(secret);
    this.#salt = salt;
    this.#handshake = new CountingCipher(key);
  }

  #derive(secret) {
    const bytes = Buffer.from(hkdf(Buffer.from(secret), 2 * KEY_BYTES, { salt: this.#salt, info: '' }));
    return [bytes.subarray(0, KEY_BYTES), bytes.subarray(KEY_BYTES)];
  }
}
