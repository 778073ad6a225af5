/** A small JSON server on loopback. */
import http from 'node:http';

/** @typedef {(body: object) => Promise<[number, object]>} Handler takes the request's body, returns code and answer */

/**
 * @param {number} port
 * @param {Record<string, Handler>} handlers by method and path, such as `POST /send`
 * @returns {Promise<http.Server>} once it listens
 */
export function serve(port, handlers) {
  const server = http.createServer(async (request, response) => {
    const [code, content] = await answerTo(request, handlers);
    response.writeHead(code, { 'content-type': 'application/json; charset=utf-8' });
    response.end(JSON.stringify(content));
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject).listen(port, '127.0.0.1', () => resolve(server));
  });
}

async function answerTo(request, handlers) {
  const handler = handlers[`${request.method} ${request.url}`];
  if (!handler) return [404, { error: 'Not Found' }];
  let text = '';
  for await (const piece of request) text += piece;
  let body = {};
  if (text) {
    try {
      body = JSON.parse(text);
    } catch (error) {
      return [400, { success: false, error: `Invalid JSON: ${error.message}` }];
    }
  }
  try {
    return await handler(body);
  } catch (error) {
    return [500, { success: false, error: error.message }];
  }
}

/**
 * @param {string} url
 * @param {object} body
 * @returns {Promise<object>} the answer
 * @throws {Error} the answer was not a success
 */
export async function post(url, body) {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error ?? `HTTP ${response.status}`);
  return answer;
}
