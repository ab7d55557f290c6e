/**
 * Bytes that arrive in pieces, for parsers that read whole items in place.
 *
 *     bytes   | used up | current item, so far | not looked at |      |
 *             0         start                  at              end    capacity
 *
 * `feed` takes a chunk, which is read where it lies. `settle` lets the chunk go: what is left of an unfinished
 * item moves to the front of a carry buffer that the next chunk is appended to. So a stream of whole items is
 * never copied, and an item cut in pieces is copied once, plus the doublings of the carry as its bytes arrive;
 * no announced size makes it larger.
 */
const NOTHING = new Uint8Array(0);
const CARRY_BYTES_MIN = 1024;

export class Input {
  bytes: Uint8Array = NOTHING;
  start = 0;
  at = 0;
  end = 0;
  #carry: Uint8Array = NOTHING;
  readonly #keptBytesMax: number;

  /** `keptBytesMax`: the largest carry that is kept while it is empty. */
  constructor(keptBytesMax: number) {
    this.#keptBytesMax = keptBytesMax;
  }

  /** Bytes of the unfinished item. */
  get held(): number {
    return this.end - this.start;
  }

  get allocatedBytes(): number {
    return this.#carry.length;
  }

  /** Adds `chunk`; it must stay as it is until `settle` or the next `feed`, and `settle` must have come before. */
  feed(chunk: Uint8Array): void {
    const held = this.held;
    if (held === 0) {
      this.#use(chunk, 0, chunk.length);
      return;
    }
    if (this.#carry.length < held + chunk.length) {
      const grown = new Uint8Array(Math.max(held + chunk.length, 2 * this.#carry.length));
      grown.set(this.#carry.subarray(0, held));
      this.#carry = grown;
    }
    this.#carry.set(chunk, held);
    this.#use(this.#carry, this.at, held + chunk.length);
  }

  /** Lets go of the chunk. Gives by how much the unfinished item moved towards the front. */
  settle(): number {
    const { start, held } = this;
    if (held === 0) {
      if (this.#carry.length > this.#keptBytesMax) this.#carry = NOTHING;
      this.#use(NOTHING, 0, 0);
      return start;
    }
    if (this.bytes !== this.#carry) {
      if (this.#carry.length < held) this.#carry = new Uint8Array(Math.max(held, CARRY_BYTES_MIN));
      this.#carry.set(this.bytes.subarray(start, this.end));
    } else if (start > 0) {
      this.#carry.copyWithin(0, start, this.end);
    }
    this.#use(this.#carry, this.at - start, held);
    return start;
  }

  /** Forgets everything, the carry too. */
  drop(): void {
    this.#carry = NOTHING;
    this.#use(NOTHING, 0, 0);
  }

  #use(bytes: Uint8Array, at: number, end: number): void {
    this.bytes = bytes;
    this.start = 0;
    this.at = at;
    this.end = end;
  }
}
