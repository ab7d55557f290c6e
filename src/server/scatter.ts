/**
 * Commands over several slots, taken apart and put together again at the door (design section 9): the slots may lie in
 * several shards, and any of them may move meanwhile.
 *
 *     MGET EXISTS TOUCH MSET DEL     one part to each slot, so each part is an ordinary command on one slot: it keeps
 *                                    its order, is sent again under one number, and follows its slot when that moves
 *     DBSIZE KEYS FLUSHALL           one part to each shard, with the set of slots that it is asked about; a shard that
 *                                    does not serve all of them refuses the part whole, and it is taken apart anew by
 *                                    what is known then: so each slot is counted, listed or emptied once
 *     RANDOMKEY                      the same, but one shard after another, until one has a key
 *
 * Parts of reads are not of one instant, and parts of writes do not take effect together; each by itself does. How the
 * replies become one: gather.ts.
 */
import { Writer } from "../base/bytes.ts";
import { SLOT_COUNT, slotOf } from "../ring/slot.ts";
import { COMMAND_HEADER_BYTES, CommandView, OP, type Op, SLOT_SET_BYTES } from "../wire/command.ts";
import { CommandEncoder } from "../wire/command_encode.ts";
import { keyArgument, keyCount } from "../wire/command_keys.ts";
import type { NotServed } from "../wire/peer_encode.ts";
import type { Origin } from "./bundle.ts";
import { SLOT_MOVING, SLOT_NOT_SERVED } from "./fate.ts";
import { Gather, JOINS } from "./gather.ts";
import type { Lane } from "./lane.ts";
import { PARKED_TICKS_MAX, RETRY_TICKS } from "./parking.ts";
import { COMMAND_TICKS_MAX, type Router } from "./router.ts";

export type ScatterHost = {
  /** Who serves the slot, as far as known. */
  routerOf(slot: number): Router | null;
  /** A shard does not serve that slot. */
  hear(refusal: NotServed): void;
  /** Calls `retry` once a turn, until it says that nothing waits any more. */
  retryLater(scatter: { retry(): boolean }): void;
  /** There is something for the next turn. */
  wake(): void;
  /** Ticks since the start. */
  now(): number;
  /** From 0 to `bound` - 1. */
  random(bound: number): number;
};

/** Whether a command on several slots is taken apart. */
export function isSplit(op: Op): boolean {
  return JOINS.has(op);
}

/** Takes a part, which is an ordinary command on its slot; `view` is borrowed. */
export type TakePart = (view: CommandView, slot: number, origin: Origin, tag: number) => void;

/** A command on keys in several slots. */
export function scatterKeys(
  view: CommandView,
  lane: Lane,
  origin: Origin,
  tag: number,
  take: TakePart,
): void {
  const keysOf = new Map<number, number[]>();
  for (let n = 0; n < keyCount(view); n++) {
    const i = keyArgument(view.op, n);
    const slot = slotOf(view.bytes, view.argStart(i), view.argEnd(i));
    const keys = keysOf.get(slot);
    if (keys === undefined) keysOf.set(slot, [n]);
    else keys.push(n);
  }
  const gather = new Gather(view, lane, origin, tag, [...keysOf.values()]);
  const frame = new Writer(view.end - view.argStart(0) + COMMAND_HEADER_BYTES);
  const part = new CommandView();
  let number = 0;
  for (const [slot, keys] of keysOf) {
    frame.clear();
    writePart(frame, view, keys);
    part.readGood(frame.bytes, 0, frame.length);
    take(part, slot, gather, number++);
  }
}

function writePart(frame: Writer, view: CommandView, keys: readonly number[]): void {
  const encoder = new CommandEncoder(frame);
  const words = view.argCount / keyCount(view);
  encoder.begin(view.op);
  for (const n of keys) {
    for (let i = words * n; i < words * (n + 1); i++)
      encoder.argRange(view.bytes, view.argStart(i), view.argEnd(i));
  }
  encoder.end();
}

/** Slots that one shard is asked about. */
type SpacePart = { readonly slots: Uint8Array; refusedTick: number; dueTick: number };

/** A command on the whole key space, or on a set of its slots. */
export class SpaceScatter {
  readonly #host: ScatterHost;
  readonly #sinceTick: number;
  readonly #op: Op;
  /** Its arguments, but for the set. */
  readonly #args: readonly Uint8Array[];
  readonly #gather: Gather;
  /** By number. */
  readonly #parts: SpacePart[] = [];
  /** Of RANDOMKEY: shards that were not asked yet. */
  readonly #unasked: SpacePart[] = [];
  /** Numbers of parts to be taken apart anew. */
  #refused: number[] = [];
  readonly #frame = new Writer(SLOT_SET_BYTES + 256);
  readonly #view = new CommandView();

  /** The connection has nothing else under way, and nothing may begin before this ends. */
  constructor(
    view: CommandView,
    lane: Lane,
    origin: Origin,
    tag: number,
    sinceTick: number,
    host: ScatterHost,
  ) {
    this.#host = host;
    this.#sinceTick = sinceTick;
    this.#op = view.op;
    const own = view.op === OP.keys || view.op === OP.randomKey ? 1 : 0;
    this.#args = own === 0 ? [] : [view.arg(0).slice()];
    const slots = view.argCount > own ? view.arg(own).slice() : new Uint8Array(SLOT_SET_BYTES).fill(0xff);
    this.#gather = new Gather(view, lane, origin, tag, null, this);
    const hold = this.#gather.add();
    this.#send(slots, -1);
    this.#gather.drop(hold);
  }

  /** Asks those who serve these slots. */
  #send(slots: Uint8Array, refusedTick: number): void {
    const sets = new Map<Router | null, Uint8Array>();
    for (let slot = 0; slot < SLOT_COUNT; slot++) {
      const bit = 1 << (slot & 7);
      if (((slots[slot >>> 3] as number) & bit) === 0) continue;
      const router = this.#host.routerOf(slot);
      let set = sets.get(router);
      if (set === undefined) {
        set = new Uint8Array(SLOT_SET_BYTES);
        sets.set(router, set);
      }
      set[slot >>> 3] = (set[slot >>> 3] as number) | bit;
    }
    const parts = [...sets].map(([router, set]) => ({
      router,
      part: { slots: set, refusedTick, dueTick: 0 },
    }));
    if (this.#op === OP.randomKey) this.#askInTurn(parts.map(({ part }) => part));
    else for (const { router, part } of parts) this.#ask(part, router);
  }

  #askInTurn(parts: readonly SpacePart[]): void {
    for (const part of parts) this.#unasked.splice(this.#host.random(this.#unasked.length + 1), 0, part);
    this.#askNext();
  }

  #askNext(): void {
    const part = this.#unasked.pop();
    if (part !== undefined) this.#ask(part, this.#host.routerOf(firstOf(part.slots)));
  }

  #ask(part: SpacePart, router: Router | null): void {
    const number = this.#gather.add();
    this.#parts[number] = part;
    if (router === null) return this.#gather.fail(number, 0, SLOT_NOT_SERVED);
    const frame = this.#frame;
    frame.clear();
    const encoder = new CommandEncoder(frame);
    encoder.begin(this.#op);
    for (const arg of this.#args) encoder.arg(arg);
    encoder.arg(part.slots);
    encoder.end();
    this.#view.readGood(frame.bytes, 0, frame.length);
    router.enlist(this.#view, 0, this.#gather, number, this.#sinceTick);
  }

  /** A part has its reply. */
  onAnswer(number: number): void {
    if (this.#op !== OP.randomKey) return;
    if (this.#gather.isNil(number)) this.#askNext();
    else this.#unasked.length = 0;
  }

  /** A shard does not serve all slots of this part, and did nothing. */
  onRefused(number: number, refusal: NotServed): void {
    const part = this.#parts[number] as SpacePart;
    const now = this.#host.now();
    this.#host.hear(refusal);
    if (part.refusedTick < 0) part.refusedTick = now;
    part.dueTick = refusal.group === 0 ? now + RETRY_TICKS : now;
    if (this.#refused.push(number) === 1) this.#host.retryLater(this);
  }

  /** Takes apart anew what is due; false: nothing waits any more. */
  retry(): boolean {
    const now = this.#host.now();
    const later: number[] = [];
    for (const number of this.#refused) {
      const part = this.#parts[number] as SpacePart;
      if (part.dueTick > now) later.push(number);
      else if (this.#isLate(part, now)) this.#gather.fail(number, 0, SLOT_MOVING);
      else {
        this.#send(part.slots, part.refusedTick);
        this.#gather.drop(number);
      }
    }
    this.#refused = later;
    return later.length > 0;
  }

  #isLate({ refusedTick }: SpacePart, now: number): boolean {
    return now - refusedTick > PARKED_TICKS_MAX || now - this.#sinceTick > COMMAND_TICKS_MAX;
  }
}

/** The first slot of a set that is not empty. */
function firstOf(slots: Uint8Array): number {
  const at = slots.findIndex((byte) => byte !== 0);
  const byte = slots[at] as number;
  return 8 * at + Math.log2(byte & -byte);
}
