/**
 * Queues between the services: a folder with one file an item. Production uses Redis; like that, items outlive the
 * services.
 */
import fs from 'node:fs/promises';
import path from 'node:path';

const LOOK_EVERY_MS = 200;

let sequence = 0;

/**
 * @param {string} queue name of the queue
 * @param {object} item
 */
export async function put(queue, item) {
  const folder = await folderOf(queue);
  const name = `${Date.now()}-${process.pid}-${String(sequence++).padStart(6, '0')}`;
  const partial = path.join(folder, `.${name}`);
  await fs.writeFile(partial, JSON.stringify(item), { mode: 0o600 });
  await fs.rename(partial, path.join(folder, `${name}.json`));
}

/**
 * Hand each item to a handler, one after the other, for ever. An item is removed before it is handled: it is handled
 * once at most, and a message that makes the service crash is not read again.
 * @param {string} queue name of the queue
 * @param {(item: object) => Promise<void>} handle
 */
export async function consume(queue, handle) {
  const folder = await folderOf(queue);
  for (;;) {
    const names = (await fs.readdir(folder)).filter((name) => name.endsWith('.json')).sort();
    for (const name of names) {
      const file = path.join(folder, name);
      const item = JSON.parse(await fs.readFile(file, 'utf8'));
      await fs.unlink(file);
      await handle(item);
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}

async function folderOf(queue) {
  const folder = path.join(process.env.QUEUE_DIR, queue);
  await fs.mkdir(folder, { recursive: true });
  return folder;
}
