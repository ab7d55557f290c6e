/**
 * What the leaders of a move's two shards say to each other, in MessagePack, as notes on the bulk connection of their
 * nodes (control.ts). All of it may come twice, late or never: what counts is what both logs say, and `status` is read
 * off the target's applied state.
 *
 *     source -> target   offer    an attempt to copy begins: import the slots, and forget earlier attempts
 *                        chunk    the body of an entry (move_entry.ts)
 *                        own      everything was sent, and the slots are sealed
 *                        ask      how does it stand; `abort`: and if it is not decided, abort it
 *     target -> source   status   to each of these, and when something of the move was applied
 *                        poke     the slots are awaited, and nothing comes
 *
 * Neither side needs a map, or the control plane, to find the other's leader: who does not lead says who does, as far as
 * it knows, and a side that hears nothing asks all nodes that have a replica in turn (move_line.ts).
 */
import { MiB } from "../base/units.ts";
import { epoch, groupId, moveSlots, shardId } from "./control_plane.ts";
import { finalNumbers } from "./move_entry.ts";
import { bytes, choice, flag, integer, nullable, record, text, type ValueOf } from "./msgpack.ts";
import { oneOf } from "./shapes.ts";

const U32_MAX = 0xffffffff;
/** The groups of the two shards. */
const sides = { from: groupId, to: groupId };
const attempt = { term: integer(1), n: integer(0, U32_MAX) };

/** Of the copy; 0 = not known to the sender. */
const rate = { bytesPerSecond: integer(0) };

export const moveMessage = oneOf({
  offer: { epoch, ...sides, ...attempt, shard: shardId, slots: moveSlots, hold: flag(), ...rate },
  chunk: { epoch, ...sides, ...attempt, number: integer(0, U32_MAX), body: bytes(MiB) },
  /** `pauseMs`: how long the slots have been sealed. */
  own: { epoch, ...sides, ...attempt, ...finalNumbers, pauseMs: integer(0) },
  ask: { epoch, ...sides, abort: flag() },
  status: {
    epoch,
    ...sides,
    /** False: this node does not lead the target, or not yet; the rest says nothing but who might. */
    leads: flag(),
    /** "" = nobody is known to. */
    leader: text(64),
    /** Null: the target's log knows nothing of the epoch. */
    phase: nullable(choice("importing", "copying", "owned", "aborted")),
    attempt: nullable(record(attempt)),
    /** Chunks of that attempt that are applied. */
    nextChunk: integer(0),
    /** Clients use the target: it should not be filled as fast as it can. */
    isBusy: flag(),
    /** Why the slots of this epoch cannot be imported; "" = nothing is known against it. */
    refusal: text(512),
  },
  poke: { epoch, ...sides, shard: shardId, slots: moveSlots, hold: flag(), ...rate },
});
export type MoveMessage = ValueOf<typeof moveMessage>;
export type MoveMessageOf<K extends MoveMessage["kind"]> = Extract<MoveMessage, { readonly kind: K }>;
