/**
 * What a shard has of its slots, for others: fates, ranges, moves, and the part of the state hash that says so.
 */
import { crc32 } from "../base/checksum.ts";
import { SLOT_COUNT } from "../ring/slot.ts";
import { encodeMoveNotes, type MoveNote } from "../wire/move_entry.ts";
import { finish, MIX_A, MIX_B } from "./hash.ts";
import type { Keyspace } from "./keyspace.ts";
import { type Moves, recordsDigest } from "./moves.ts";
import { SLOT } from "./slots.ts";
import type { MoveView, SlotFate } from "./types.ts";

/** Notes never change, so each is hashed once. */
const hashes = new WeakMap<MoveNote, number>();

function hashOf(note: MoveNote): number {
  let hash = hashes.get(note);
  if (hash === undefined) {
    hash = crc32(encodeMoveNotes([note]));
    hashes.set(note, hash);
  }
  return hash;
}

export function fateOf(slot: number, { slots }: Keyspace, moves: Moves): SlotFate {
  const epoch = slots.epoch(slot);
  const note = slots.state(slot) === SLOT.absent ? moves.closed.get(epoch) : undefined;
  const movedTo = note?.phase === "released" ? { shard: note.shard, group: note.group } : null;
  return { state: slots.stateName(slot), epoch, movedTo };
}

export function viewOf(note: MoveNote, keyspace: Keyspace): MoveView {
  if (note.endIndex > 0) return { ...note, keys: note.final?.keys ?? 0, bytes: note.final?.bytes ?? 0 };
  const { keys, bytes } = recordsDigest(note.slots, keyspace);
  return { ...note, keys, bytes };
}

/** Two lanes over states and epochs of all slots, moves and what came with them. */
export function ownershipHash(shard: string, { slots }: Keyspace, moves: Moves): [a: number, b: number] {
  let [a, b] = [0x3c6ef372, 0x1f83d9ab];
  const mix = (word: number): void => {
    a = Math.imul(((a << 15) | (a >>> 17)) ^ word, MIX_A);
    b = Math.imul((b ^ (b >>> 15)) + word, MIX_B);
  };
  for (let i = 0; i < shard.length; i++) mix(shard.charCodeAt(i));
  for (let slot = 0; slot < SLOT_COUNT; slot++) {
    if (slot > 0 && slots.isAsBefore(slot)) continue;
    mix(slot);
    mix(slots.state(slot));
    mix(slots.epoch(slot));
    mix(Math.floor(slots.epoch(slot) / 2 ** 32));
  }
  for (const note of moves.notes()) mix(hashOf(note));
  mix(moves.floor);
  mix(moves.staged.hashA);
  mix(moves.staged.hashB);
  return [finish(a), finish(b)];
}
