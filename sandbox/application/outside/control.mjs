/**
 * The switches of the outside world, over HTTP on loopback. `python -m sandbox break` and the tests use them.
 *
 *   GET  /state                     clients that are logged in, and how the switches stand
 *   GET  /messages/<phone>          messages that reached this phone
 *   GET  /identity/<phone>          public identity key of the client that is paired with this phone
 *   POST /pair {qr, phone}          this phone scans the QR code of the client that shows it
 *   POST /forget {phone}            this phone removes its linked client
 *   POST /message {from, text}      the phone `from` writes to the salon
 *   POST /end {how}                 end all connections: drop, logout, replaced, unavailable, restart
 *   POST /logins {refuse, dropAfterMs}  what happens to the next logins; without values: they succeed
 *   POST /database {target, delayMs, cut}  lead to this port, delay replies, cut the way
 */
import http from 'node:http';

/**
 * @param {import('./whatsapp/server.mjs').WhatsAppServer} whatsapp
 * @param {import('./database-path.mjs').DatabasePath} databasePath
 * @returns {http.Server}
 */
export function controlServer(whatsapp, databasePath) {
  const actions = {
    'GET /state': () => ({
      clients: whatsapp.clients(),
      logins: whatsapp.loginPolicy,
      database: databasePath.state,
    }),
    'GET /messages': (_, phone) => whatsapp.messagesOf(phone),
    'GET /identity': (_, phone) => ({ identity: whatsapp.identityOf(phone) }),
    'POST /pair': ({ qr, phone }) => {
      whatsapp.newest((connection) => !connection.phone, 'client that waits to be paired').pair(qr, phone);
      return {};
    },
    'POST /forget': ({ phone }) => {
      whatsapp.forget(phone);
      return {};
    },
    'POST /message': async ({ from, text }) => ({
      id: await whatsapp.newest(({ phone }) => phone, 'client that is logged in').deliver(from, text),
    }),
    'POST /end': ({ how }) => ({ ended: whatsapp.endAll(how) }),
    'POST /logins': ({ refuse = null, dropAfterMs = null }) => {
      whatsapp.loginPolicy = { refuse, dropAfterMs };
      return whatsapp.loginPolicy;
    },
    'POST /database': async ({ target, delayMs = 0, cut = false }) => {
      if (target) databasePath.leadTo(target);
      databasePath.delayReplies(delayMs);
      await (cut ? databasePath.cut() : databasePath.open());
      return {};
    },
  };
  return http.createServer(async (request, response) => {
    const [, name, argument] = request.url.split('/');
    const action = actions[`${request.method} /${name}`];
    try {
      if (!action) throw new Error(`there is no ${request.method} ${request.url}`);
      answer(response, 200, await action(await body(request), argument));
    } catch (error) {
      answer(response, 500, { error: error.message });
    }
  });
}

async function body(request) {
  let text = '';
  for await (const piece of request) text += piece;
  return text ? JSON.parse(text) : {};
}

function answer(response, code, content) {
  response.writeHead(code, { 'content-type': 'application/json' });
  response.end(`${JSON.stringify(content)}\n`);
}
