/** Answers to the client's queries (`iq` stanzas). What is not known here gets an empty answer, which Baileys accepts. */
import { KEY_BUNDLE_TYPE, encodeBigEndian } from 'baileys';
import { SERVER, hiddenAddress, phoneAddress, phoneOf } from './addresses.mjs';
import { bytesOf, child, children, element, timestamp } from './stanzas.mjs';

/**
 * @param {import('./connection.mjs').Connection} connection
 * @param {import('baileys').BinaryNode} query
 * @returns {Promise<import('baileys').BinaryNode>}
 */
export async function answer(connection, query) {
  const content = await answerContent(connection, query);
  const attrs = { from: query.attrs.to || SERVER, type: 'result', id: query.attrs.id, t: timestamp() };
  return element('iq', attrs, content);
}

async function answerContent(connection, query) {
  const [first] = children(query);
  switch (query.attrs.xmlns) {
    case 'encrypt':
      return query.attrs.type === 'set' ? keepKeys(connection, query) : keyAnswer(connection, first);
    case 'usync':
      return [userList(connection, first)];
    case 'blocklist':
      return [element('list', {}, [])];
    case 'privacy':
      return [element('privacy', {}, [])];
    case 'w:g2':
      return [element('groups', {}, [])];
    case 'abt':
    case 'w':
      return [element('props', { hash: 'sandbox' }, [])];
    case 'w:sync:app:state':
      return [element('sync', {}, children(child(query, 'sync')).map(emptyCollection))];
    default:
      return undefined;
  }
}

const emptyCollection = ({ attrs }) => element('collection', { name: attrs.name, version: '1' });

/** Remember the keys that a client uploads after its login, so that others can write to it. */
function keepKeys({ registry, phone }, upload) {
  if (child(upload, 'identity')) {
    registry.devices[phone] = {
      registrationId: bytesOf(upload, 'registration').readUInt32BE(0),
      identity: bytesOf(upload, 'identity'),
      signedPreKey: child(upload, 'skey'),
      preKeys: [...(registry.devices[phone]?.preKeys ?? []), ...children(child(upload, 'list'))],
    };
    registry.changed();
  }
  return undefined;
}

async function keyAnswer(connection, request) {
  const { registry, phone } = connection;
  switch (request?.tag) {
    case 'count':
      return [element('count', { value: String(registry.devices[phone]?.preKeys.length ?? 0) })];
    case 'digest':
      return [element('digest')];
    case 'key':
      return [element('list', {}, await Promise.all(children(request).map((user) => keyBundle(connection, user))))];
    default:
      return undefined;
  }
}

/** The keys with which the client can begin to write to a user. */
async function keyBundle({ registry, phones }, { attrs: { jid } }) {
  const number = phoneOf(jid);
  const device = registry.devices[number];
  const owner = device ?? phones.get(number);
  const preKey = device?.preKeys.shift();
  const keys = device ? [device.signedPreKey, ...(preKey ? [preKey] : [])] : await owner.giveKeys();
  registry.changed();
  return element('user', { jid }, [
    element('registration', {}, encodeBigEndian(owner.registrationId)),
    element('type', {}, KEY_BUNDLE_TYPE),
    element('identity', {}, owner.identity),
    ...keys,
  ]);
}

/**
 * Which devices users have (the salon its phone and this client, everybody else a phone only), or which address hides
 * their number.
 *
 * Unlike WhatsApp, it does not tell both at once. Baileys 7 then makes a new session with every device that it was told
 * of, and keeps the old one, closed, in the same row of whatsapp_keys: after three or four times the row is too large
 * for idx_whatsapp_keys_company_type_id, which includes it (2704 bytes at most), and nothing can be sent any more.
 */
function userList(connection, request) {
  const { sid, mode = 'query', context = 'message' } = request.attrs;
  const asksForDevices = child(child(request, 'query'), 'devices') !== undefined;
  const users = children(child(request, 'list')).map((user) => {
    const jid = user.attrs.jid || phoneAddress(String(child(user, 'contact')?.content ?? '').replace(/\D/g, ''));
    const number = phoneOf(jid);
    const devices = number === connection.phone ? ['0', String(connection.device)] : ['0'];
    const list = devices.map((id) => element('device', { id, 'key-index': '1' }));
    return element('user', { jid }, [
      element('contact', { type: 'in' }),
      element('devices', {}, [element('device-list', {}, list)]),
      ...(asksForDevices ? [] : [element('lid', { val: hiddenAddress(number) })]),
    ]);
  });
  return element('usync', { sid, index: '0', last: 'true', mode, context }, [element('list', {}, users)]);
}
