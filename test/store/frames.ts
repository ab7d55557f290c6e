/**
 * Frames and batches for tests, written from the layouts in src/wire/command.ts and batch.ts by hand, so that a
 * mistake in the production encoders cannot hide one in the store.
 */
import { ENTRY_KIND } from "../../src/raft/types.ts";
import type { StoreSettings } from "../../src/store/types.ts";
import type { Op } from "../../src/wire/command.ts";

const encoder = new TextEncoder();

export type Arg = string | number | bigint | Uint8Array;
export type TestSession = { client: number; seq: number; floor: number; notAfter: number; after: number };

export function bytesOf(arg: Arg): Uint8Array {
  if (typeof arg === "string") return encoder.encode(arg);
  if (typeof arg === "object") return arg;
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigInt64(0, BigInt.asIntN(64, BigInt(arg)), true);
  return bytes;
}

/** The body of a settings entry. */
export function settingsBody(settings: StoreSettings): Uint8Array {
  const view = new DataView(new ArrayBuffer(28));
  view.setUint16(0, 1, true);
  view.setBigUint64(4, BigInt(settings.memoryBytesMax), true);
  view.setBigUint64(12, BigInt(settings.sessionRepliesMax), true);
  view.setBigUint64(20, BigInt(settings.sessionsMax), true);
  return new Uint8Array(view.buffer);
}

/** One command frame: strings are bytes, numbers are i64. */
export function frame(op: Op, args: readonly Arg[], session?: TestSession): Uint8Array {
  const parts = args.map(bytesOf);
  const head = session === undefined ? 8 : 56;
  const bytes = new Uint8Array(parts.reduce((size, part) => size + 4 + part.length, head));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, bytes.length, true);
  view.setUint8(4, op);
  view.setUint16(6, parts.length, true);
  if (session !== undefined) {
    view.setUint8(5, 1);
    for (let i = 0; i < 16; i++) view.setUint8(8 + i, (session.client * (i + 1)) & 0xff);
    view.setBigUint64(24, BigInt(session.seq), true);
    view.setBigUint64(32, BigInt(session.floor), true);
    view.setBigUint64(40, BigInt(session.notAfter), true);
    view.setBigUint64(48, BigInt(session.after), true);
  }
  let at = head;
  for (const part of parts) {
    view.setUint32(at, part.length, true);
    bytes.set(part, at + 4);
    at += 4 + part.length;
  }
  return bytes;
}

/** A batch as the log hands it over. The checksum is left zero: the store does not look at it. */
export function batch(timeMs: number, frames: readonly Uint8Array[]): Uint8Array {
  return entry(ENTRY_KIND.commands, timeMs, joined(frames), frames.length);
}

export function entry(
  kind: number,
  timeMs: number,
  body: Uint8Array,
  count = 0,
  stateVersion = 1,
): Uint8Array {
  const bytes = new Uint8Array(48 + body.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, body.length, true);
  view.setBigUint64(32, BigInt(timeMs), true);
  view.setUint32(40, count, true);
  view.setUint8(44, kind);
  view.setUint8(45, 1);
  view.setUint16(46, stateVersion, true);
  bytes.set(body, 48);
  return bytes;
}

export function joined(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
