/**
 * The trace: a rolling 64-bit hash of everything that happened in a world, and, when asked for, its story.
 *
 * Two runs of one seed must give one hash, on any engine: that is the proof that nothing but the seed decided
 * anything. The hash is two chained u32 lanes of murmur3's mixing step with different constants; integers only.
 * Lines are kept only while `recording`, because text costs more than the simulation itself: a failing seed is
 * run a second time with recording on, and tells its story then.
 */
import { fromUtf8, toHex, utf8 } from "../base/bytes.ts";

/** Nobody in particular: the world itself. */
export const NOBODY = -1;

/** Most lines kept while recording; the oldest go first. 200,000 lines of ~80 characters are 16 MB. */
const LINES_MAX = 200_000;

export class Trace {
  /** Keep text lines as well as the hash. */
  readonly recording: boolean;
  /** What machines are called in the story. */
  nameOf: (who: number) => string = (who) => (who === NOBODY ? "" : `#${who}`);
  /** Facts hashed so far. */
  events = 0;
  #low = 0x2f6b6a5d;
  #high = 0x9e3779b9;
  #kinds = new Map<string, number>();
  #lines: string[] = [];

  constructor(recording: boolean) {
    this.recording = recording;
  }

  /** Adds one fact: what happened, to whom, with two numbers. */
  note(atUs: number, kind: string, who: number, a = 0, b = 0, text = ""): void {
    this.count(atUs, kind, who, a, b);
    if (this.recording) this.tell(atUs, kind, who, text);
  }

  /** Adds a fact too small for any story: it is in the hash alone. */
  count(atUs: number, kind: string, who: number, a: number, b: number): void {
    this.events++;
    this.#mix(atUs >>> 0);
    this.#mix(this.#kind(kind));
    this.#mix(who);
    this.#mix(a >>> 0);
    this.#mix(b >>> 0);
  }

  /** Adds a line to the story and nothing to the hash: something that follows from facts already counted. */
  tell(atUs: number, kind: string, who: number, text: string): void {
    if (!this.recording) return;
    if (this.#lines.length >= 2 * LINES_MAX) this.#lines = this.#lines.slice(-LINES_MAX);
    const words = [formatUs(atUs), this.nameOf(who), kind, text];
    this.#lines.push(words.filter((word) => word !== "").join(" "));
  }

  /** Adds a fact whose text is part of the hash: what programs log. */
  say(atUs: number, kind: string, who: number, text: string): void {
    this.note(atUs, kind, who, text.length, hashText(text), text);
  }

  /** 16 hex digits. */
  hash(): string {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setUint32(0, this.#high >>> 0);
    new DataView(bytes.buffer).setUint32(4, this.#low >>> 0);
    return toHex(bytes);
  }

  /** The kept lines, oldest first; at most the last `count`. */
  lines(count = LINES_MAX): readonly string[] {
    return this.#lines.slice(-count);
  }

  #mix(value: number): void {
    this.#low = Math.imul(rotate(this.#low ^ Math.imul(value, 0xcc9e2d51), 13), 5) + 0xe6546b64;
    this.#low |= 0;
    this.#high = Math.imul(rotate(this.#high ^ Math.imul(value ^ this.#low, 0x1b873593), 15), 9) + 0x38b34ae5;
    this.#high |= 0;
  }

  #kind(kind: string): number {
    const known = this.#kinds.get(kind);
    if (known !== undefined) return known;
    const hash = hashText(kind);
    this.#kinds.set(kind, hash);
    return hash;
  }
}

/** "12.345678": seconds with microseconds. */
export function formatUs(us: number): string {
  const text = String(us).padStart(7, "0");
  return `${text.slice(0, -6)}.${text.slice(-6)}`;
}

/** FNV-1a over the text's UTF-8 bytes. */
export function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of utf8(text)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

/** Printable form of a key or value in a story. */
export function show(bytes: Uint8Array, lengthMax = 40): string {
  const text = fromUtf8(bytes.subarray(0, lengthMax)).replace(/[^\x20-\x7e]/g, ".");
  return bytes.length > lengthMax ? `${text}..(${bytes.length} B)` : text;
}

function rotate(value: number, by: number): number {
  return (value << by) | (value >>> (32 - by));
}
