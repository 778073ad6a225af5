/** Pairing: what the salon's phone does when it scans the QR code that a new client shows. */
import crypto from 'node:crypto';
import { Curve, WA_ADV_ACCOUNT_SIG_PREFIX, hmacSign, proto } from 'baileys';
import { COMPANION_DEVICE, SERVER, deviceAddress, hiddenAddress } from './addresses.mjs';
import { element, timestamp } from './stanzas.mjs';

/** As many as WhatsApp sends: the client shows one after the other. */
const QR_REFERENCES = 6;
const BUSINESS_NAME = 'Invented Salon';

/** @returns {import('baileys').BinaryNode} the references that the client makes QR codes of */
export function offerPairing() {
  const references = Array.from({ length: QR_REFERENCES }, () =>
    element('ref', {}, Buffer.from(`2@${crypto.randomBytes(16).toString('base64url')}`)),
  );
  const attrs = { from: SERVER, type: 'set', id: 'pair-device', xmlns: 'md' };
  return element('iq', attrs, [element('pair-device', {}, references)]);
}

/**
 * @param {string} qr what the QR code says: reference, noise key, identity key, secret, … separated by commas
 * @param {string} phone number of the phone that scans it, digits
 * @returns {import('baileys').BinaryNode} tells the client that it is linked now
 */
export function confirmPairing(qr, phone) {
  const [, , identity, secret] = qr.split('#').pop().split(',');
  const account = Curve.generateKeyPair();
  const details = proto.ADVDeviceIdentity.encode({
    rawId: 1,
    timestamp: Math.floor(Date.now() / 1000),
    keyIndex: 1,
  }).finish();
  const signed = Buffer.concat([WA_ADV_ACCOUNT_SIG_PREFIX, details, Buffer.from(identity, 'base64')]);
  const linked = proto.ADVSignedDeviceIdentity.encode({
    details,
    accountSignatureKey: account.public,
    accountSignature: Curve.sign(account.private, signed),
  }).finish();
  const hmac = hmacSign(linked, Buffer.from(secret, 'base64'));
  const content = proto.ADVSignedDeviceIdentityHMAC.encode({ details: linked, hmac }).finish();
  return element('iq', { from: SERVER, type: 'set', id: 'pair-success', t: timestamp() }, [
    element('pair-success', {}, [
      element('device-identity', {}, content),
      element('biz', { name: BUSINESS_NAME }),
      element('platform', { name: 'android' }),
      element('device', {
        jid: deviceAddress(phone, COMPANION_DEVICE),
        lid: hiddenAddress(phone, COMPANION_DEVICE),
      }),
    ]),
  ]);
}
