/** Refs of session clients by their ids of 16 bytes: open addressing, at most half full. */
import { homeOf } from "./session_cells.ts";
import { byteAt, type Slab } from "./slab.ts";

export class ClientTable {
  readonly #clients: Slab;
  /** Refs, 0 = nobody. */
  #table = new Int32Array(64);

  constructor(clients: Slab) {
    this.#clients = clients;
  }

  get refs(): Int32Array {
    return this.#table;
  }

  get allocatedBytes(): number {
    return this.#table.length * 4;
  }

  /** The client whose id stands at `bytes[at, at + 16)`, or 0. */
  find(bytes: Uint8Array, at: number): number {
    const mask = this.#table.length - 1;
    for (let i = homeOf(bytes, at) & mask; ; i = (i + 1) & mask) {
      const ref = this.#table[i] as number;
      if (ref === 0 || this.#idIs(ref, bytes, at)) return ref;
    }
  }

  /** Adds a client that is not there; with it there are `count`. */
  add(ref: number, count: number): void {
    if (count * 2 > this.#table.length) this.#grow();
    this.#seat(ref);
  }

  remove(ref: number): void {
    const mask = this.#table.length - 1;
    let hole = this.#homeOfClient(ref) & mask;
    while (this.#table[hole] !== ref) hole = (hole + 1) & mask;
    for (let i = (hole + 1) & mask; this.#table[i] !== 0; i = (i + 1) & mask) {
      const home = this.#homeOfClient(this.#table[i] as number) & mask;
      if (((i - home) & mask) < ((i - hole) & mask)) continue;
      this.#table[hole] = this.#table[i] as number;
      hole = i;
    }
    this.#table[hole] = 0;
  }

  #idIs(ref: number, bytes: Uint8Array, at: number): boolean {
    const own = this.#clients.bytesOf(ref);
    const ownAt = byteAt(ref) + 16;
    for (let i = 0; i < 16; i++) if (own[ownAt + i] !== bytes[at + i]) return false;
    return true;
  }

  #homeOfClient(ref: number): number {
    return homeOf(this.#clients.bytesOf(ref), byteAt(ref) + 16);
  }

  #seat(ref: number): void {
    const mask = this.#table.length - 1;
    let i = this.#homeOfClient(ref) & mask;
    while (this.#table[i] !== 0) i = (i + 1) & mask;
    this.#table[i] = ref;
  }

  #grow(): void {
    const before = this.#table;
    this.#table = new Int32Array(2 * before.length);
    for (const ref of before) if (ref !== 0) this.#seat(ref);
  }
}
