/**
 * Who serves a slot, as the newest applied state of every shard has it (hazards F1-F3, F9).
 *
 *     exclusive    no two shards serve a slot; one that nobody serves is sealed in just one
 *     epochs       the epoch that a slot is served under never falls, whoever serves it
 *     outcomes     of a move's epoch there is one: it is not owned and aborted, not released and unsealed
 *
 * A shard that is lost for good says nothing any more, and what it said as a target binds nobody: its slots have no owner
 * until others serve them (losses.ts).
 *
 * A shard's newest state is what its replica shows that applied most: followers behind it may believe what they like, as
 * they answer nothing before they have caught up with it.
 */
import { ENTRY_KIND, type Entry } from "../../raft/types.ts";
import { SLOT_COUNT } from "../../ring/slot.ts";
import type { GroupReplica } from "../../server/group.ts";
import { KeyValueStore } from "../../store/store.ts";
import type { SlotState } from "../../store/types.ts";
import { BATCH_HEADER_BYTES } from "../../wire/batch.ts";
import { decodeMoveStep, type MoveStep } from "../../wire/move_entry.ts";
import type { SimNode } from "../cluster.ts";
import type { Losses } from "../losses.ts";
import type { World } from "../world.ts";
import type { Checker } from "./checker.ts";

type Shard = {
  readonly name: string;
  index: number;
  readonly states: SlotState[];
  readonly epochs: number[];
};

/** What a shard has, whether it answers for it or not. */
const HELD: ReadonlySet<SlotState> = new Set<SlotState>(["serving", "sealed"]);

const OUTCOMES: readonly (readonly [MoveStep["kind"], MoveStep["kind"]])[] = [
  ["own", "abort"],
  ["release", "unseal"],
  ["own", "unseal"],
  ["abort", "release"],
];

export class OwnershipChecker implements Checker {
  readonly name = "ownership";
  judged = 0;
  /** A step took effect at its shard; `node` is the first to have applied it. */
  onStep: (node: SimNode, kind: MoveStep["kind"]) => void = () => {};
  readonly #world: World;
  readonly #shards = new Map<number, Shard>();
  /** The highest epoch that each slot was ever served under. */
  readonly #highest = new Array<number>(SLOT_COUNT).fill(0);
  /** Steps that took effect, by epoch, and the groups in whose logs they did. */
  readonly #steps = new Map<number, Map<MoveStep["kind"], number>>();
  readonly #losses: Losses;
  readonly #lost = new Set<number>();
  /** Slots that a lost shard served. */
  readonly #ownerless = new Set<number>();

  constructor(world: World, losses: Losses) {
    this.#world = world;
    this.#losses = losses;
  }

  /** The group can never act again; unless `mayHold`, no disk was destroyed that what it had could be lost with. */
  onShardLost(group: number, mayHold: boolean): void {
    const shard = this.#shards.get(group);
    this.#lost.add(group);
    if (shard === undefined) return;
    this.#shards.delete(group);
    for (const steps of this.#steps.values())
      for (const [kind, by] of steps) if (by === group) steps.delete(kind);
    const others = [...this.#shards.values()];
    const slots = shard.states.flatMap((state, slot) => {
      // What it had sealed, and its target serves, it only had not released yet.
      const isServed = others.some(({ states }) => states[slot] === "serving");
      return HELD.has(state) && !isServed ? [slot] : [];
    });
    if (slots.length > 0 && !mayHold)
      this.#world.fail(
        "a shard lives while disks do",
        `${shard.name} has ${slots.length} slots, and no replicas that could lead, though no disk was destroyed`,
      );
    this.#losses.lose(slots);
    for (const slot of slots) {
      if (shard.states[slot] !== "serving") continue;
      this.#ownerless.add(slot);
      // The source of a move that it had owned may have to serve again what it still has, under the epoch of before.
      const source = others.find(({ states }) => states[slot] === "sealed");
      if (source !== undefined) this.#highest[slot] = source.epochs[slot] ?? 0;
    }
  }

  /** Epochs of moves that took effect at the target, and those that were aborted. */
  countOf(kind: MoveStep["kind"]): number {
    return [...this.#steps.values()].filter((steps) => steps.has(kind)).length;
  }

  onApplied(node: SimNode, { group, store }: GroupReplica, entry: Entry): void {
    if (!(store instanceof KeyValueStore) || this.#lost.has(group)) return;
    const known = this.#shards.get(group);
    if (known !== undefined && entry.index <= known.index) return;
    if (known !== undefined) known.index = entry.index;
    const isBirth = entry.kind === ENTRY_KIND.bootstrap;
    const step = entry.kind === ENTRY_KIND.move ? stepOf(entry) : null;
    if (!isBirth && step === null) return;
    const shard = known ?? this.#add(group, store.shard, entry.index);
    if (step !== null && store.lastMoveRefusal === null) this.#note(node, group, step);
    this.judged++;
    for (let slot = 0; slot < SLOT_COUNT; slot++) {
      const { state, epoch } = store.slotFate(slot);
      if (shard.states[slot] === state && shard.epochs[slot] === epoch) continue;
      const before = shard.states[slot];
      shard.states[slot] = state;
      shard.epochs[slot] = epoch;
      this.#judge(slot, shard, before);
    }
  }

  #add(group: number, name: string, index: number): Shard {
    const states = new Array<SlotState>(SLOT_COUNT).fill("absent");
    const shard = { name, index, states, epochs: new Array<number>(SLOT_COUNT).fill(0) };
    this.#shards.set(group, shard);
    return shard;
  }

  #note(node: SimNode, group: number, step: MoveStep): void {
    let steps = this.#steps.get(step.epoch);
    if (steps === undefined) {
      steps = new Map();
      this.#steps.set(step.epoch, steps);
    }
    steps.set(step.kind, group);
    this.onStep(node, step.kind);
    for (const [one, other] of OUTCOMES)
      if (steps.has(one) && steps.has(other))
        this.#world.fail("move outcomes", `${node.id}: epoch ${step.epoch} has both ${one} and ${other}`);
  }

  #judge(slot: number, shard: Shard, before: SlotState | undefined): void {
    const all = [...this.#shards.values()];
    const serving = all.filter(({ states }) => states[slot] === "serving");
    if (serving.length > 1) {
      const names = serving.map(({ name, epochs }) => `${name} under epoch ${epochs[slot]}`).join(" and ");
      this.#world.fail("one shard serves a slot", `slot ${slot} is served by ${names}`);
    }
    const sealed = all.filter(({ states }) => states[slot] === "sealed");
    const mayBeSilent = this.#ownerless.has(slot) || this.#losses.isSilent(slot);
    if (serving.length === 0 && sealed.length !== 1 && before !== "absent" && !mayBeSilent)
      this.#world.fail(
        "a slot is served, or moving",
        `slot ${slot} has no owner since ${shard.name} gave it away`,
      );
    if (shard.states[slot] !== "serving") return;
    if (this.#ownerless.delete(slot) && before === "sealed") this.#losses.bringBack(slot);
    const epoch = shard.epochs[slot] ?? 0;
    if (epoch < (this.#highest[slot] ?? 0))
      this.#world.fail(
        "epochs only rise",
        `${shard.name} serves slot ${slot} under epoch ${epoch}, it was served under ${this.#highest[slot]}`,
      );
    this.#highest[slot] = epoch;
  }
}

export function stepOf(entry: Entry): MoveStep | null {
  return decodeMoveStep(entry.bytes.subarray(BATCH_HEADER_BYTES));
}
