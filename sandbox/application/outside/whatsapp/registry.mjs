/**
 * What the server knows of its users, kept in a file: without it, every restart of the sandbox would be a new world, in
 * which the salon's phone has to be paired anew and no phone understands the salon's messages.
 */
import fs from 'node:fs';
import { BufferJSON } from 'baileys';

/**
 * @typedef {object} Device a client that paired and uploaded its keys
 * @property {Buffer} identity public identity key
 * @property {number} registrationId
 * @property {import('baileys').BinaryNode} signedPreKey as it was uploaded
 * @property {import('baileys').BinaryNode[]} preKeys as they were uploaded, each is given away once
 */

export class Registry {
  #file;
  #saving = false;

  /** @param {string} file path of the file, made when absent */
  constructor(file) {
    this.#file = file;
    const saved = fs.existsSync(file) ? JSON.parse(fs.readFileSync(file, 'utf8'), BufferJSON.reviver) : {};
    /** @type {Record<string, Device>} by phone */
    this.devices = saved.devices ?? {};
    /** @type {Record<string, object>} the state of each other phone, by number; phones.mjs says what is in it */
    this.phones = saved.phones ?? {};
  }

  /** Write the file soon: several changes in a row are one write. */
  changed() {
    if (this.#saving) return;
    this.#saving = true;
    setTimeout(() => this.save(), 50);
  }

  /** Write the file now. */
  save() {
    this.#saving = false;
    const complete = `${this.#file}.new`;
    const content = JSON.stringify({ devices: this.devices, phones: this.phones }, BufferJSON.replacer);
    fs.writeFileSync(complete, content, { mode: 0o600 });
    fs.renameSync(complete, this.#file);
  }
}
