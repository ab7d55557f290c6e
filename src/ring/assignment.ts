/**
 * The assignment: the fact. Which shard owns each slot, and since which epoch. The truth lies in the shards' own logs;
 * an assignment collects what they say, in any order, from anybody, more than once.
 *
 * An epoch is the number of a move, never used twice, and a slot's epochs only rise. So of two claims on a slot the
 * higher epoch is the later one, and merging is taking the maximum: in whatever order claims arrive, all who heard the
 * same ones know the same. A claim that comes late changes nothing.
 *
 * Two shards that claim a slot with one epoch contradict the rule of epochs: something is broken. The lower shard id is
 * kept, so that merging still does not depend on order, and the contradiction is counted for the caller to say.
 *
 * Errors: none here; what comes from outside is checked where it is read.
 */
import { assert } from "../base/assert.ts";
import { isName } from "../base/names.ts";
import type { ShardId } from "./circle.ts";
import { compareIds, ownerOf, type Ring } from "./layout.ts";
import { rangesOfSlots, runsOfSlots, type SlotRange } from "./range.ts";
import { SLOT_COUNT } from "./slot.ts";

/** The epoch of a slot that nobody is known to own. Those of owners are 1 or more. */
const NO_EPOCH = 0;

export type MergeOutcome = {
  /** Slots of which something newer is known now. */
  readonly changed: number;
  /** Slots that two shards claim with one epoch. */
  readonly contradicted: number;
};

export class Assignment {
  readonly #shards: (ShardId | null)[] = new Array<ShardId | null>(SLOT_COUNT).fill(null);
  readonly #epochs = new Float64Array(SLOT_COUNT).fill(NO_EPOCH);

  /** What is so when a cluster begins: each shard owns what the ring gives it. */
  static ofRing(ring: Ring, epoch = 1): Assignment {
    const assignment = new Assignment();
    for (let slot = 0; slot < SLOT_COUNT; slot++)
      assignment.claim([[slot, slot]], ownerOf(ring, slot), epoch);
    return assignment;
  }

  copy(): Assignment {
    const copy = new Assignment();
    copy.merge(this);
    return copy;
  }

  /** The owner as far as known. */
  shardAt(slot: number): ShardId | null {
    return this.#shards[slot] as ShardId | null;
  }

  /** Since when; 0 if nobody is known to own the slot. */
  epochAt(slot: number): number {
    return this.#epochs[slot] as number;
  }

  /** `shard` says that it owns these slots since `epoch`. */
  claim(ranges: Iterable<SlotRange>, shard: ShardId, epoch: number): MergeOutcome {
    assert(isName(shard), "an owner has an id");
    assert(Number.isSafeInteger(epoch) && epoch > NO_EPOCH, "owners' epochs begin with 1");
    const outcome = { changed: 0, contradicted: 0 };
    for (const [first, last] of ranges) {
      assert(0 <= first && first <= last && last < SLOT_COUNT, "a range is of slots");
      for (let slot = first; slot <= last; slot++) this.#take(slot, shard, epoch, outcome);
    }
    return outcome;
  }

  /** Takes what `other` knows later. */
  merge(other: Assignment): MergeOutcome {
    const outcome = { changed: 0, contradicted: 0 };
    for (let slot = 0; slot < SLOT_COUNT; slot++) {
      const shard = other.shardAt(slot);
      if (shard !== null) this.#take(slot, shard, other.epochAt(slot), outcome);
    }
    return outcome;
  }

  #take(
    slot: number,
    shard: ShardId,
    epoch: number,
    outcome: { changed: number; contradicted: number },
  ): void {
    const known = this.epochAt(slot);
    if (epoch < known) return;
    if (epoch === known) {
      const owner = this.shardAt(slot) as ShardId;
      if (owner === shard) return;
      outcome.contradicted++;
      if (compareIds(owner, shard) < 0) return;
    }
    this.#shards[slot] = shard;
    this.#epochs[slot] = epoch;
    outcome.changed++;
  }

  /** What a shard owns. */
  slotsOf(shard: ShardId): SlotRange[] {
    return this.#slotsWhere((slot) => this.#shards[slot] === shard);
  }

  /** Slots that nobody is known to own. */
  unowned(): SlotRange[] {
    return this.#slotsWhere((slot) => this.#shards[slot] === null);
  }

  /** Slots of which `other` knows something later. */
  behind(other: Assignment): SlotRange[] {
    return this.#slotsWhere((slot) => this.epochAt(slot) < other.epochAt(slot));
  }

  *#all(): Generator<number> {
    for (let slot = 0; slot < SLOT_COUNT; slot++) yield slot;
  }

  #slotsWhere(holds: (slot: number) => boolean): SlotRange[] {
    return rangesOfSlots([...this.#all()].filter(holds));
  }

  /** How many slots each shard owns; only shards that own some, in order of their ids. */
  counts(): Map<ShardId, number> {
    const counts = new Map<ShardId, number>();
    for (const shard of this.#shards) if (shard !== null) counts.set(shard, (counts.get(shard) ?? 0) + 1);
    return new Map([...counts].sort(([a], [b]) => compareIds(a, b)));
  }

  /** The highest epoch of all slots: a counter that lost its state goes on above it. */
  epochMax(): number {
    return this.#epochs.reduce((max, epoch) => Math.max(max, epoch), NO_EPOCH);
  }

  /** Ranges of slots with one owner, whatever their epochs, in as few as can be. */
  ranges(): { slots: SlotRange; shard: ShardId }[] {
    return runsOfSlots((slot) => this.shardAt(slot) === this.shardAt(slot - 1)).flatMap((slots) => {
      const shard = this.shardAt(slots[0]);
      return shard === null ? [] : [{ slots, shard }];
    });
  }

  /** Ranges of slots with one owner and one epoch, in as few as can be. */
  claims(): { slots: SlotRange; shard: ShardId; epoch: number }[] {
    const same = (a: number, b: number): boolean =>
      this.shardAt(a) === this.shardAt(b) && this.epochAt(a) === this.epochAt(b);
    return runsOfSlots((slot) => same(slot, slot - 1)).flatMap((slots) => {
      const shard = this.shardAt(slots[0]);
      return shard === null ? [] : [{ slots, shard, epoch: this.epochAt(slots[0]) }];
    });
  }
}
