/**
 * The salon's WhatsApp session: one Baileys client, connected again when it loses its connection. What it says in the
 * log, and how it gives up, is what production's session pool does.
 */
import makeWASocket, { DisconnectReason, jidNormalizedUser } from 'baileys';
import pino from 'pino';
import { logger } from '../services/logger.mjs';
import { postgresAuthState } from './auth-state.mjs';

const MAX_ATTEMPTS = 5;
const MAX_DELAY_MS = 60000;
const CONNECT_TIMEOUT_MS = 8000;

export class Session {
  #companyId;
  #firstDelayMs;
  #onMessage;
  #attempts = 0;
  #timer = null;
  #stopping = false;
  #qr = null;
  #open = false;
  #saving = Promise.resolve();
  // Kept while a reconnect timer runs: that is why /health says "connected" for some seconds after a lost connection.
  #socket = null;
  #metrics = {
    totalSessions: 0,
    activeConnections: 0,
    failedReconnects: 0,
    messagesSent: 0,
    messagesReceived: 0,
    qrCodesGenerated: 0,
    errors: 0,
    lastError: null,
  };

  /**
   * @param {string} companyId
   * @param {number} firstDelayMs how long it waits before the first attempt to reconnect; doubled for each further one
   * @param {(message: {from: string, text: string, id: string}) => Promise<void>} onMessage called for each message in
   */
  constructor(companyId, firstDelayMs, onMessage) {
    this.#companyId = companyId;
    this.#firstDelayMs = firstDelayMs;
    this.#onMessage = onMessage;
  }

  /** Connect; what happens afterwards is in the log and in health(). */
  async connect() {
    const { state, saveCreds } = await postgresAuthState(this.#companyId);
    const socket = makeWASocket({
      auth: state,
      logger: pino({ level: 'error' }),
      connectTimeoutMs: CONNECT_TIMEOUT_MS,
      syncFullHistory: false,
    });
    this.#socket = socket;
    this.#metrics.totalSessions = 1;
    socket.ev.on('creds.update', () => this.#save(saveCreds));
    socket.ev.on('connection.update', (update) => this.#onUpdate(update));
    socket.ev.on('messages.upsert', ({ messages, type }) => this.#onMessages(messages, type));
  }

  /** End the connection for good, and wait until the credentials are saved. */
  async stop() {
    this.#stopping = true;
    clearTimeout(this.#timer);
    this.#socket?.end(undefined);
    await this.#saving;
  }

  /** @returns {boolean} whether it is logged in now; what health() says may be some seconds old */
  get open() {
    return this.#open;
  }

  /** @returns {string | null} what a QR code to pair with would say */
  get qr() {
    return this.#qr;
  }

  /**
   * @param {string} phone digits
   * @param {import('baileys').AnyMessageContent} content
   * @returns {Promise<string>} the message's id
   */
  async send(phone, content) {
    if (!this.#socket) throw new Error(`No active session for company ${this.#companyId}`);
    const jid = phoneJid(phone);
    logger.info(`📤 Sending message to ${phone} via baileys-service`, { companyId: this.#companyId });
    try {
      const sent = await this.#socket.sendMessage(jid, content);
      this.#metrics.messagesSent += 1;
      logger.info(`✅ Message sent to ${jid} for company ${this.#companyId}`, { messageId: sent.key.id });
      return sent.key.id;
    } catch (error) {
      this.#failed(error);
      logger.error(`Failed to send message to ${jid}`, { error: error.message });
      throw error;
    }
  }

  /** @returns {object} the answer of GET /health, as production gives it */
  health() {
    const user = this.#socket?.user;
    const status = this.#socket ? (user ? 'connected' : 'disconnected') : 'not_initialized';
    return {
      service: 'baileys-whatsapp',
      companyId: this.#companyId,
      status,
      connected: status === 'connected',
      ...(user ? { user: { id: user.id, name: user.name }, phoneNumber: user.id.split('@')[0] } : {}),
      ...(this.#socket ? { hasQR: this.#qr !== null, hasPairingCode: false } : {}),
      metrics: { ...this.#metrics, connectedSessions: user ? 1 : 0 },
    };
  }

  #onUpdate({ connection, qr, lastDisconnect }) {
    if (qr) this.#onQr(qr);
    if (connection === 'open') this.#onOpen();
    if (connection === 'close') this.#onClose(lastDisconnect?.error);
  }

  #onQr(qr) {
    this.#qr = qr;
    this.#metrics.qrCodesGenerated += 1;
    const attempt = this.#metrics.qrCodesGenerated;
    logger.info(`📱 QR Code generated for company ${this.#companyId} (attempt ${attempt})`);
  }

  #onOpen() {
    this.#open = true;
    this.#attempts = 0;
    this.#qr = null;
    this.#metrics.activeConnections += 1;
    const { id, name } = this.#socket.user;
    logger.info(`✅ WhatsApp connected for company ${this.#companyId}`, { user: { id, name } });
    process.stdout.write('✅ WHATSAPP CONNECTED SUCCESSFULLY!\n');
  }

  #onClose(error) {
    this.#open = false;
    if (this.#stopping) return;
    const statusCode = error?.output?.statusCode;
    const disconnectReason = DisconnectReason[statusCode];
    this.#metrics.activeConnections -= 1;
    logger.warn(`Connection closed for company ${this.#companyId}`, {
      disconnectReason,
      error: error?.message,
      statusCode,
    });
    logger.warn('⚠️ WhatsApp disconnected', { disconnectReason, statusCode });
    if (statusCode === DisconnectReason.loggedOut) {
      logger.warn(`Session logged out for company ${this.#companyId}`);
      logger.warn('❌ Session logged out, will need to re-authenticate');
      this.#giveUp(error);
    } else if (statusCode === DisconnectReason.connectionReplaced) {
      logger.error(
        `⚠️ Connection replaced (error 440) for company ${this.#companyId}. ` +
          'Another device/instance took over the session.',
      );
      this.#giveUp(error);
    } else {
      logger.info(`Connection closed for company ${this.#companyId}, will reconnect...`);
      this.#reconnectLater(error);
    }
  }

  #reconnectLater(error) {
    if (this.#attempts >= MAX_ATTEMPTS) {
      logger.error(`Max reconnection attempts reached for company ${this.#companyId}`);
      this.#metrics.failedReconnects += 1;
      this.#giveUp(error);
      return;
    }
    const delay = Math.min(this.#firstDelayMs * 2 ** this.#attempts, MAX_DELAY_MS);
    this.#attempts += 1;
    logger.info(
      `🔄 Reconnecting company ${this.#companyId} in ${delay}ms (attempt ${this.#attempts}/${MAX_ATTEMPTS})`,
    );
    this.#timer = setTimeout(async () => {
      try {
        await this.connect();
      } catch (failure) {
        this.#failed(failure);
        logger.error(`Reconnection failed for company ${this.#companyId}:`, { error: failure.message });
        this.#reconnectLater(failure);
      }
    }, delay);
  }

  /** PM2 goes on showing the service as online. */
  #giveUp(error) {
    this.#failed(error);
    this.#socket = null;
    this.#metrics.totalSessions = 0;
  }

  #failed(error) {
    this.#metrics.errors += 1;
    this.#metrics.lastError = error?.message ?? null;
  }

  #save(saveCreds) {
    this.#saving = this.#saving.then(saveCreds).catch((error) => {
      this.#failed(error);
      logger.error('Failed to save credentials', { error: error.message });
    });
  }

  #onMessages(messages, type) {
    if (type !== 'notify') return;
    for (const { key, message } of messages) {
      const text = message?.conversation ?? message?.extendedTextMessage?.text;
      if (key.fromMe || !text) continue;
      this.#metrics.messagesReceived += 1;
      // Where WhatsApp hides a number, the other address is in remoteJidAlt.
      const address = [key.remoteJid, key.remoteJidAlt].find((jid) => jid?.endsWith('@s.whatsapp.net'));
      const from = jidNormalizedUser(address).split('@')[0];
      this.#onMessage({ from, text, id: key.id }).catch((error) =>
        logger.error(`Failed to forward message from ${from}`, { error: error.message }),
      );
    }
  }
}

/** @param {string} phone digits @returns {string} */
export const phoneJid = (phone) => `${phone}@s.whatsapp.net`;
