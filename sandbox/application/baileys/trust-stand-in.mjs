/**
 * Loaded before a Baileys client (node --import): points it at the stand-in server instead of WhatsApp.
 *
 * The client itself is unchanged: Baileys exports both objects by reference, and makeWASocket() puts its caller's options
 * over DEFAULT_CONNECTION_CONFIG.
 */
import { DEFAULT_CONNECTION_CONFIG, WA_CERT_DETAILS } from 'baileys';
import { ROOT_KEY } from '../outside/whatsapp/root-key.mjs';

const url = `ws://127.0.0.1:${process.env.OUTSIDE_PORT}/ws/chat`;
if (!Number(process.env.OUTSIDE_PORT)) {
  throw new Error('OUTSIDE_PORT is not set: without it this client would talk to the real WhatsApp');
}
WA_CERT_DETAILS.PUBLIC_KEY = ROOT_KEY.public;
DEFAULT_CONNECTION_CONFIG.waWebSocketUrl = url;
