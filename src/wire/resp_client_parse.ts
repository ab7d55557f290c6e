/**
 * RESP replies, read as a client reads them: RESP2 and RESP3, from this server or another one.
 *
 *     +text  -text  :1  $n bytes  *n items                    both; $-1 and *-1 are nil
 *     _  #t  ,1.5  (123  !n bytes  =n fmt:bytes               RESP3: nil, boolean, double, big number, error, verbatim
 *     %n pairs  ~n items  >n items  |n pairs                  RESP3: map, set, push, attributes (dropped)
 *
 * `feed(chunk)`, then `next()` until it says "more". Everything in a reply is a copy that its reader owns.
 *
 * Memory: nothing is set aside for an announced size; what is unfinished grows as bytes arrive (input.ts).
 * Errors: bytes that are not RESP end the stream: "error", and `errorText` says what was wrong.
 */
import { fromUtf8 } from "../base/bytes.ts";
import { KiB, MiB } from "../base/units.ts";
import { Input } from "./input.ts";

/** `items` of a map are key, value, key, value .. in the server's order. */
export type Reply =
  | { readonly kind: "simple" | "error" | "double" | "bignum"; readonly text: string }
  | { readonly kind: "integer"; readonly value: bigint }
  | { readonly kind: "bulk"; readonly bytes: Uint8Array }
  | { readonly kind: "verbatim"; readonly format: string; readonly bytes: Uint8Array }
  | { readonly kind: "boolean"; readonly value: boolean }
  | { readonly kind: "nil" }
  | { readonly kind: "array" | "set" | "push" | "map"; readonly items: readonly Reply[] };

/** A line of text or a number; our longest is an error of a few hundred bytes. */
const LINE_BYTES_MAX = 64 * KiB;
/** The largest bulk Redis itself can send. */
const BULK_BYTES_MAX = 512 * MiB;
/** More items than any reply of ours: KEYS of a full node. */
const ITEMS_MAX = 1 << 28;
/** Replies nest 4 deep in practice (CLUSTER SLOTS); each level is one frame of this parser, not of the stack. */
const DEPTH_MAX = 32;
const CARRY_KEPT_BYTES_MAX = 64 * KiB;
const CR = 0x0d;
const LF = 0x0a;

type Aggregate = "array" | "set" | "push" | "map" | "attribute";
const AGGREGATES: Readonly<Record<string, Aggregate>> = {
  "*": "array",
  "~": "set",
  ">": "push",
  "%": "map",
  "|": "attribute",
};
type Open = { readonly kind: Aggregate; readonly items: Reply[]; left: number };

export class ReplyParser {
  errorText = "";
  readonly #input = new Input(CARRY_KEPT_BYTES_MAX);
  /** Aggregates that are not complete, outermost first. */
  readonly #open: Open[] = [];
  #broken = false;

  feed(chunk: Uint8Array): void {
    if (this.#broken) return;
    this.#input.settle();
    this.#input.feed(chunk);
  }

  next(): Reply | "more" | "error" {
    while (!this.#broken) {
      this.#input.start = this.#input.at;
      const leaf = this.#readItem();
      if (leaf === null) break;
      if (leaf === "opened") continue;
      const whole = this.#enter(leaf);
      if (whole !== null) return whole;
    }
    if (this.#broken) return "error";
    this.#input.at = this.#input.start;
    this.#input.settle();
    return "more";
  }

  /** Puts a complete reply where it belongs. Gives the outermost one when that is complete; else null. */
  #enter(reply: Reply): Reply | null {
    let done = reply;
    while (true) {
      const parent = this.#open.at(-1);
      if (parent === undefined) return done;
      parent.items.push(done);
      if (--parent.left > 0) return null;
      this.#open.pop();
      if (parent.kind === "attribute") return null; // what it speaks of comes next
      done = { kind: parent.kind, items: parent.items };
    }
  }

  /** Null: not all here yet, or broken. "opened": an aggregate that waits for its items. */
  #readItem(): Reply | "opened" | null {
    const line = this.#readLine();
    if (line === null) return null;
    const mark = line.slice(0, 1);
    const rest = line.slice(1);
    switch (mark) {
      case "+":
        return { kind: "simple", text: rest };
      case "-":
        return { kind: "error", text: rest };
      case ":":
        return /^[+-]?\d{1,20}$/.test(rest) ? { kind: "integer", value: BigInt(rest) } : this.#fail(line);
      case "_":
        return { kind: "nil" };
      case "#":
        return rest === "t" || rest === "f" ? { kind: "boolean", value: rest === "t" } : this.#fail(line);
      case ",":
        return { kind: "double", text: rest };
      case "(":
        return { kind: "bignum", text: rest };
      case "$":
      case "!":
      case "=":
        return this.#readBulk(mark, rest);
      default: {
        const kind = AGGREGATES[mark];
        return kind === undefined ? this.#fail(line) : this.#openAggregate(kind, rest);
      }
    }
  }

  /** The line at `at` without its end, and moves past it. Null: not here yet, or broken. */
  #readLine(): string | null {
    const { bytes, at, end } = this.#input;
    const found = bytes.subarray(at, end).indexOf(CR);
    if (found === -1 || at + found + 1 >= end) {
      if (end - at > LINE_BYTES_MAX) this.#fail("a line without an end");
      return null;
    }
    const line = fromUtf8(bytes.subarray(at, at + found));
    if (bytes[at + found + 1] !== LF) return this.#fail(line);
    this.#input.at = at + found + 2;
    return line;
  }

  #readBulk(mark: string, size: string): Reply | null {
    if (size === "-1" && mark === "$") return { kind: "nil" };
    const length = count(size, BULK_BYTES_MAX);
    if (length === null) return this.#fail(mark + size);
    const { at, end } = this.#input;
    if (at + length + 2 > end) return null;
    const bytes = this.#input.bytes.slice(at, at + length);
    if (this.#input.bytes[at + length] !== CR || this.#input.bytes[at + length + 1] !== LF) {
      return this.#fail("a string without an end");
    }
    this.#input.at = at + length + 2;
    if (mark === "!") return { kind: "error", text: fromUtf8(bytes) };
    if (mark === "$") return { kind: "bulk", bytes };
    if (length < 4) return this.#fail("a verbatim string without its format");
    return { kind: "verbatim", format: fromUtf8(bytes.subarray(0, 3)), bytes: bytes.subarray(4) };
  }

  #openAggregate(kind: Aggregate, size: string): Reply | "opened" | null {
    if (size === "-1" && kind === "array") return { kind: "nil" };
    const length = count(size, ITEMS_MAX);
    if (length === null || this.#open.length === DEPTH_MAX) return this.#fail(`${kind} of ${size}`);
    const left = kind === "map" || kind === "attribute" ? 2 * length : length;
    if (left > 0) this.#open.push({ kind, items: [], left });
    else if (kind !== "attribute") return { kind, items: [] };
    return "opened";
  }

  #fail(what: string): null {
    this.errorText = `not a RESP reply: ${JSON.stringify(what.slice(0, 64))}`;
    this.#broken = true;
    this.#open.length = 0;
    this.#input.drop();
    return null;
  }
}

function count(text: string, max: number): number | null {
  if (!/^\d{1,10}$/.test(text)) return null;
  const value = Number(text);
  return value <= max ? value : null;
}
