/**
 * What a `bootstrap` entry holds behind the group's config, the first thing that a shard's state machine applies:
 *
 *     settings (settings.ts)
 *     text  shard     the shard's id, u32 size first
 *     u64   epoch     that its slots are served under; at least 1
 *     u32   count     of ranges
 *     u16   first, u16 last    of each, ascending, disjoint
 *
 * A body that ends behind the settings is the old form: shard "s1", which serves every slot at epoch 1.
 */
import { Reader, Writer } from "../base/bytes.ts";
import { SLOT_COUNT } from "../ring/slot.ts";
import { BATCH_HEADER_BYTES } from "../wire/batch.ts";
import { readSettings, writeSettings } from "./settings.ts";
import type { StoreSettings } from "./types.ts";

export type Birth = {
  readonly settings: StoreSettings;
  readonly shard: string;
  readonly epoch: number;
  /** Slots served from the first: [first, last], both included. */
  readonly slots: readonly (readonly [first: number, last: number])[];
};

/** A shard that is alone. */
export function wholeBirth(settings: StoreSettings): Birth {
  return { settings, shard: "s1", epoch: 1, slots: [[0, SLOT_COUNT - 1]] };
}

/** What follows the config in the entry's body. */
export function encodeBirth(birth: Birth): Uint8Array {
  const writer = new Writer(64);
  writeSettings(writer, birth.settings);
  writer.text(birth.shard);
  writer.u64(birth.epoch);
  writer.u32(birth.slots.length);
  for (const [first, last] of birth.slots) {
    writer.u16(first);
    writer.u16(last);
  }
  return writer.copy();
}

/** The birth that fills `bytes` exactly, or null. */
export function decodeBirth(bytes: Uint8Array): Birth | null {
  const reader = new Reader(bytes);
  const settings = readSettings(reader);
  if (settings === null) return null;
  if (reader.left === 0) return wholeBirth(settings);
  const shard = reader.text();
  const epoch = reader.u64();
  const count = reader.u32();
  if (reader.failed || epoch < 1 || reader.left !== 4 * count) return null;
  const slots: (readonly [number, number])[] = [];
  let next = 0;
  for (let i = 0; i < count; i++) {
    const [first, last] = [reader.u16(), reader.u16()];
    if (first < next || last < first || last >= SLOT_COUNT) return null;
    slots.push([first, last]);
    next = last + 1;
  }
  return { settings, shard, epoch, slots };
}

/** The birth in a sealed bootstrap entry, or null. */
export function birthOf(batch: Uint8Array): Birth | null {
  const reader = new Reader(batch, BATCH_HEADER_BYTES);
  reader.blob(); // the group's config is raft's business
  return reader.failed ? null : decodeBirth(reader.raw(reader.left));
}
