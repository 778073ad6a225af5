/** The certificate chain that the server shows in the handshake: the root signs an intermediate, that signs the leaf. */
import { Curve, proto } from 'baileys';
import { ROOT_KEY } from './root-key.mjs';

/** 2100-01-01, in seconds. */
const NOT_AFTER = 4102444800;

const { Details } = proto.CertChain.NoiseCertificate;

/**
 * @param {Uint8Array} leafKey public key of the server for this connection
 * @returns {Uint8Array} the chain, encoded
 */
export function certificateChain(leafKey) {
  const intermediateKey = Curve.generateKeyPair();
  // Baileys demands that the leaf's issuer is the intermediate's serial, and the intermediate's issuer 0 (the root).
  const intermediate = certificate({ serial: 1, issuerSerial: 0, key: intermediateKey.public }, ROOT_KEY.private);
  const leaf = certificate({ serial: 2, issuerSerial: 1, key: leafKey }, intermediateKey.private);
  return proto.CertChain.encode({ intermediate, leaf }).finish();
}

function certificate(fields, signingKey) {
  const details = Details.encode({ ...fields, notBefore: 1, notAfter: NOT_AFTER }).finish();
  return { details, signature: Curve.sign(signingKey, details) };
}
