/**
 * The way from the application to its database: a TCP relay that can be slow or cut.
 *
 * Only the application goes this way. The rollout has its own, as it does when a network or a pool of connections fails
 * for one of them and not for the other.
 */
import net from 'node:net';

const ADDRESS = '127.0.0.1';

export class DatabasePath {
  #server;
  #port;
  #host;
  #target;
  #delayMs = 0;
  #sockets = new Set();

  /**
   * @param {number} port where the application connects to
   * @param {string} host of the database's server
   * @param {number} target port of the database's server
   */
  constructor(port, host, target) {
    this.#port = port;
    this.#host = host;
    this.#target = target;
  }

  /** @returns {{cut: boolean, delayMs: number}} */
  get state() {
    return { cut: !this.#server, delayMs: this.#delayMs };
  }

  /** @param {number} target port of the database's server, for new connections */
  leadTo(target) {
    this.#target = target;
  }

  /** @param {number} ms how much later each reply arrives; 0 to relay at once */
  delayReplies(ms) {
    this.#delayMs = ms;
  }

  /** Accept connections again. */
  async open() {
    if (this.#server) return;
    const server = net.createServer((client) => this.#relay(client));
    await new Promise((resolve, reject) => server.once('error', reject).listen(this.#port, ADDRESS, resolve));
    this.#server = server;
  }

  /** Refuse new connections and break the present ones: the database is dead. */
  async cut() {
    if (!this.#server) return;
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server = undefined;
    for (const socket of this.#sockets) socket.resetAndDestroy();
    await closed;
  }

  #relay(client) {
    const database = net.connect(this.#target, this.#host);
    client.on('data', (bytes) => database.write(bytes));
    // Timers of the same length fire in the order in which they were set, so the bytes keep their order.
    database.on('data', (bytes) => {
      if (this.#delayMs) setTimeout(() => client.write(bytes), this.#delayMs);
      else client.write(bytes);
    });
    for (const [socket, other] of [[client, database], [database, client]]) {
      this.#sockets.add(socket);
      socket.setNoDelay(true);
      // An error is always followed by close, and is nothing to this relay but the end of the connection.
      socket.on('error', () => {});
      socket.on('close', () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
    }
  }
}
