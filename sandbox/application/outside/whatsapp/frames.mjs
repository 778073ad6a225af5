/** Frames on the wire: each is three bytes of length (big endian), then that many bytes. */

const LENGTH_BYTES = 3;
/** The client's first bytes: "WA", protocol version, dictionary version. */
const INTRODUCTION_BYTES = 4;
/** A client that was told its data centre puts "ED", two bytes of version and a frame with routing data first. */
const ROUTING_MARK = 'ED';
const ROUTING_HEADER_BYTES = 4;

/**
 * @param {Uint8Array} content
 * @returns {Buffer} the frame
 */
export function frame(content) {
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeUIntBE(content.length, 0, LENGTH_BYTES);
  return Buffer.concat([length, content]);
}

/** Cuts what a client sends into frames; what is incomplete waits for the next bytes. */
export class FrameReader {
  #rest = Buffer.alloc(0);
  #introduced = false;

  /**
   * @param {Buffer} bytes the next bytes of the connection
   * @yields {Buffer} the content of each complete frame
   */
  *read(bytes) {
    this.#rest = Buffer.concat([this.#rest, bytes]);
    if (!this.#introduced && !this.#skipIntroduction()) return;
    for (let content = this.#take(0); content; content = this.#take(0)) yield content;
  }

  #skipIntroduction() {
    if (this.#rest.length < INTRODUCTION_BYTES) return false;
    if (this.#rest.subarray(0, 2).toString() === ROUTING_MARK && !this.#take(ROUTING_HEADER_BYTES)) return false;
    if (this.#rest.length < INTRODUCTION_BYTES) return false;
    this.#rest = this.#rest.subarray(INTRODUCTION_BYTES);
    this.#introduced = true;
    return true;
  }

  /** Remove `offset` bytes and the frame behind them, and return the frame's content; null when it is incomplete. */
  #take(offset) {
    const start = offset + LENGTH_BYTES;
    if (this.#rest.length < start) return null;
    const end = start + this.#rest.readUIntBE(offset, LENGTH_BYTES);
    if (this.#rest.length < end) return null;
    const content = Buffer.from(this.#rest.subarray(start, end));
    this.#rest = this.#rest.subarray(end);
    return content;
  }
}
