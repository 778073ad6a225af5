/** How stanzas are built and taken apart. */

/** @returns {string} now, in seconds, as stanzas carry it */
export const timestamp = () => String(Math.floor(Date.now() / 1000));

/** @returns {import('baileys').BinaryNode} */
export const element = (tag, attrs = {}, content = undefined) =>
  content === undefined ? { tag, attrs } : { tag, attrs, content };

/** @returns {import('baileys').BinaryNode[]} the elements inside, an empty list where there is text or nothing */
export const children = (node) => (Array.isArray(node?.content) ? node.content : []);

/** @returns {import('baileys').BinaryNode | undefined} the first element of that name inside */
export const child = (node, tag) => children(node).find((candidate) => candidate.tag === tag);

/** @returns {Buffer} the bytes inside the first element of that name */
export const bytesOf = (node, tag) => Buffer.from(child(node, tag).content);
