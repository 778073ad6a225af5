/**
 * The key pair that signs the stand-in server's certificates.
 *
 * Fixed, so that the client can be told to trust it before the server ever ran. It is worth nothing: the stand-in
 * listens on loopback only, and no real WhatsApp client trusts this key.
 */
import crypto from 'node:crypto';

/** DER header of a PKCS #8 document that holds an X25519 private key of 32 bytes (RFC 8410, section 7). */
const PKCS8_X25519_HEADER = Buffer.from('302e020100300506032b656e04220420', 'hex');
/** Length of the header of the public key's DER form, in bytes. */
const SPKI_HEADER_LENGTH = 12;

/**
 * @param {Buffer} seed 32 bytes
 * @returns {{private: Buffer, public: Buffer}} an X25519 key pair, 32 bytes each
 */
function keyPairFrom(seed) {
  const key = crypto.createPrivateKey({
    key: Buffer.concat([PKCS8_X25519_HEADER, seed]),
    format: 'der',
    type: 'pkcs8',
  });
  const publicKey = crypto.createPublicKey(key).export({ format: 'der', type: 'spki' });
  return { private: seed, public: publicKey.subarray(SPKI_HEADER_LENGTH) };
}

export const ROOT_KEY = keyPairFrom(crypto.createHash('sha256').update('stand-in WhatsApp root key').digest());
