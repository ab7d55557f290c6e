/**
 * Where requests are encoded, once: chunks of frames that are sent as they lie and kept until every request in
 * them has its answer, since a request whose reply is lost is sent again from here.
 *
 *     chunk   | frame | frame | frame |            a turn's frames for one node lie side by side: one write
 *
 * Chunks are used again only when the connection holds none of their bytes.
 */
import { Writer } from "../base/bytes.ts";
import { KiB } from "../base/units.ts";

/** A turn of 64 writers with values of 1 KiB. */
const CHUNK_BYTES = 64 * KiB;
const SPARE_MAX = 2;

export class Chunk {
  readonly writer: Writer;
  readonly owner: Chunks;
  /** Requests in it that have no answer. */
  live = 0;

  constructor(writer: Writer, owner: Chunks) {
    this.writer = writer;
    this.owner = owner;
  }
}

export class Chunks {
  readonly #sent: () => boolean;
  #current: Chunk;
  readonly #spare: Writer[] = [];

  /** `sent`: the connection holds no bytes of ours. */
  constructor(sent: () => boolean) {
    this.#sent = sent;
    this.#current = new Chunk(new Writer(CHUNK_BYTES), this);
  }

  /** The chunk to write the next frame into. */
  open(): Chunk {
    const { writer } = this.#current;
    if (writer.length >= CHUNK_BYTES)
      this.#current = new Chunk(this.#spare.pop() ?? new Writer(CHUNK_BYTES), this);
    return this.#current;
  }

  /** A request in `chunk` has its answer, or moved elsewhere. */
  release(chunk: Chunk): void {
    if (--chunk.live > 0 || !this.#sent()) return;
    const { writer } = chunk;
    if (chunk === this.#current) {
      if (writer.bytes.length > CHUNK_BYTES) this.#current = new Chunk(new Writer(CHUNK_BYTES), this);
      else writer.clear();
    } else if (writer.bytes.length <= CHUNK_BYTES && this.#spare.length < SPARE_MAX) {
      writer.clear();
      this.#spare.push(writer);
    }
  }
}
