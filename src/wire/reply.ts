/**
 * Replies, before any protocol: the state machine answers by calling these verbs, and the door that asked turns
 * them into RESP2, RESP3, native or HTTP bytes on the spot. Each command gives exactly one value; `array(n)` and
 * `map(n)` are followed by n values (2n for a map).
 */

/** Error prefixes tell clients what they may do (../docs/protocol.md). Only `ERR`-class ones come out of apply. */
export interface ReplySink {
  nil(): void;
  /** A short status such as OK; ASCII without line ends. */
  simple(text: string): void;
  /** `text` begins with its prefix: "ERR ..", "WRONGTYPE ..", "MOVED ..". No line ends. */
  error(text: string): void;
  integer(value: number | bigint): void;
  /** `bytes[start, end)`, copied at once. */
  blob(bytes: Uint8Array, start: number, end: number): void;
  array(count: number): void;
  map(count: number): void;
}

/** For replicas that nobody waits at. */
export const DISCARD: ReplySink = {
  nil() {},
  simple() {},
  error() {},
  integer() {},
  blob() {},
  array() {},
  map() {},
};
