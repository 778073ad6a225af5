/** Addresses (JIDs) of the stand-in's users: `<phone>@s.whatsapp.net`, or `<phone>99@lid` where numbers are hidden. */
import { jidDecode } from 'baileys';

export const SERVER = 's.whatsapp.net';
/** The device number that the salon's client gets when it pairs; 0 is the phone itself. */
export const COMPANION_DEVICE = 7;
const LID_SUFFIX = '99';

/** @param {string} phone digits @returns {string} */
export const phoneAddress = (phone) => `${phone}@${SERVER}`;

/** @param {string} phone digits @param {number} device @returns {string} */
export const deviceAddress = (phone, device) => `${phone}:${device}@${SERVER}`;

/** @param {string} phone digits @param {number} [device] @returns {string} the address that hides the number */
export const hiddenAddress = (phone, device) =>
  `${phone}${LID_SUFFIX}${device === undefined ? '' : `:${device}`}@lid`;

/** @param {string} address of either kind @returns {string} digits of the phone */
export function phoneOf(address) {
  const { user, server } = jidDecode(address);
  return server === 'lid' ? user.slice(0, -LID_SUFFIX.length) : user;
}
