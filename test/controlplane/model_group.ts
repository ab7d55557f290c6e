/**
 * A group of the model cluster: what a Raft group would be, without its log. It acts only while a majority of its voters
 * is up and holds a replica, one step at a time, and by its own rules; orders that do not fit are not obeyed.
 */
import type { Prng } from "../../src/base/prng.ts";
import type { GroupReport, LeadReport, MoveRecord, MoveReport, Order } from "../../src/wire/control_plane.ts";
import { RECORD } from "./bodies.ts";

export type ModelMember = { replica: number; node: string };
type Side = "source" | "target";
type ModelMove = {
  epoch: number;
  side: Side;
  phase: MoveReport["phase"];
  hold: boolean;
  other: string;
  slots: number[];
};

/** What a group sees of its nodes. */
export type World = {
  readonly random: Prng;
  isUp(node: string): boolean;
  holds(node: string, group: number, replica: number): boolean;
  put(node: string, group: number, replica: number): void;
  drop(node: string, group: number): void;
  shard(id: string): ModelGroup | undefined;
};

export class ModelGroup {
  readonly group: number;
  readonly shard: string;
  version = 1;
  term = 1;
  leader: string | null = null;
  voters: ModelMember[];
  learners: ModelMember[] = [];
  joint: string[] | null = null;
  goal: readonly string[] | null = null;
  next: number;
  /** Slot -> epoch. */
  readonly slots = new Map<number, number>();
  readonly moves = new Map<number, ModelMove>();
  readonly #world: World;

  constructor(
    world: World,
    group: number,
    shard: string,
    voters: ModelMember[],
    slots: Iterable<number>,
    epoch: number,
  ) {
    this.#world = world;
    this.group = group;
    this.shard = shard;
    this.voters = voters;
    this.next = voters.length + 1;
    for (const slot of slots) this.slots.set(slot, epoch);
  }

  #works(members: readonly ModelMember[]): boolean {
    const world = this.#world;
    const up = members.filter(
      ({ node, replica }) => world.isUp(node) && world.holds(node, this.group, replica),
    );
    return 2 * up.length > members.length;
  }

  get hasQuorum(): boolean {
    return this.#works(this.voters);
  }

  step(): void {
    const { random } = this.#world;
    if (this.leader !== null && !this.#leads(this.leader)) this.leader = null;
    if (!this.hasQuorum) {
      this.leader = null;
      return;
    }
    if (this.leader === null) {
      if (random.chance(1, 3)) this.#elect();
      return;
    }
    if (random.chance(1, 2)) this.#changeMembers();
    for (const move of this.moves.values()) if (random.chance(1, 2)) this.#advance(move);
  }

  #leads(node: string): boolean {
    const member = this.voters.find((voter) => voter.node === node);
    return (
      member !== undefined && this.#world.isUp(node) && this.#world.holds(node, this.group, member.replica)
    );
  }

  #elect(): void {
    const able = this.voters.filter(({ node }) => this.#leads(node));
    this.term++;
    this.leader = this.#world.random.pick(able).node;
    this.goal = null; // kept in the leader's memory
  }

  /** Learner, joint, final: one step. */
  #changeMembers(): void {
    const world = this.#world;
    if (this.joint !== null) return this.#leaveJoint(this.joint);
    const lost = this.voters.find(
      ({ node, replica }) => world.isUp(node) && !world.holds(node, this.group, replica),
    );
    const goal = this.goal ?? (lost === undefined ? null : this.voters.map(({ node }) => node));
    if (goal === null) return;
    const lacking = goal.find(
      (node) => !this.learners.some((learner) => learner.node === node) && !this.#isSound(node),
    );
    if (lacking !== undefined) {
      this.learners.push({ replica: this.next++, node: lacking });
      this.version++;
      return;
    }
    const stray = this.learners.filter(({ node }) => !goal.includes(node));
    if (stray.length > 0) {
      this.learners = this.learners.filter(({ node }) => goal.includes(node));
      for (const { node } of stray) world.drop(node, this.group);
      this.version++;
      return;
    }
    for (const { node, replica } of this.learners)
      if (world.isUp(node) && world.random.chance(1, 2)) world.put(node, this.group, replica);
    const ready = this.learners.every(
      ({ node, replica }) => world.isUp(node) && world.holds(node, this.group, replica),
    );
    const isDone = this.learners.length === 0 && this.voters.every(({ node }) => goal.includes(node));
    if (isDone) this.goal = null;
    else if (ready) {
      this.joint = [...goal];
      this.version++;
    }
  }

  #isSound(node: string): boolean {
    const voter = this.voters.find((member) => member.node === node);
    if (voter === undefined) return false;
    return !this.#world.isUp(node) || this.#world.holds(node, this.group, voter.replica);
  }

  #leaveJoint(goal: readonly string[]): void {
    const next = goal.map(
      (node) =>
        this.learners.find((learner) => learner.node === node) ??
        (this.voters.find((voter) => voter.node === node) as ModelMember),
    );
    if (!this.#works(next)) return; // both majorities must agree
    for (const { node } of this.voters) if (!goal.includes(node)) this.#world.drop(node, this.group);
    this.voters = next.toSorted((a, b) => a.replica - b.replica);
    this.learners = [];
    this.joint = null;
    this.version++;
  }

  // ------------------------------------------------------------------------------------------- moves

  #advance(move: ModelMove): void {
    const other = this.#world.shard(move.other);
    if (move.side === "target") {
      const source = other?.moves.get(move.epoch);
      if (move.phase !== "importing" || source === undefined || other?.leader == null) return;
      if (source.phase === "sealed") this.#own(move);
      else if (this.#world.random.chance(1, 12)) move.phase = "aborted"; // something went wrong
      return;
    }
    const target = other?.moves.get(move.epoch);
    if (other?.leader == null) return;
    if (target?.phase === "owned") return this.#release(move);
    if (target?.phase === "aborted") move.phase = "unsealed";
    else if (move.phase === "copying" && target !== undefined) move.phase = "ready";
    else if (move.phase === "ready" && !move.hold) move.phase = "sealed";
  }

  #own(move: ModelMove): void {
    move.phase = "owned";
    for (const slot of move.slots) this.slots.set(slot, move.epoch);
  }

  #release(move: ModelMove): void {
    if (move.phase === "released") return;
    move.phase = "released";
    for (const slot of move.slots) this.slots.delete(slot);
  }

  /** Whether this shard's applied state serves the slot. */
  serves(slot: number): boolean {
    if (!this.slots.has(slot)) return false;
    return ![...this.moves.values()].some(
      ({ side, phase, slots }) => side === "source" && phase === "sealed" && slots.includes(slot),
    );
  }

  obey(node: string, order: Order): void {
    if (this.leader !== node) return;
    switch (order.kind) {
      case "want":
        if (order.version === this.version && this.joint === null) this.goal = order.voters;
        break;
      case "lead":
        if (order.term !== this.term || !this.#leads(order.to)) break;
        this.term++;
        this.leader = order.to;
        this.goal = null;
        break;
      case "move":
        this.#begin(order);
        break;
      case "abort": {
        const move = this.moves.get(order.epoch);
        if (move === undefined) this.#note(order.epoch, "target", "aborted", "", []);
        else if (move.phase === "importing") move.phase = "aborted";
        break;
      }
      case "settle":
        if (this.moves.has(order.epoch)) break;
        if (this.#world.shard(order.to)?.moves.get(order.epoch)?.phase === "aborted")
          this.#note(order.epoch, "source", "unsealed", order.to, []);
        break;
    }
  }

  #begin(order: Extract<Order, { kind: "move" }>): void {
    const side: Side = order.to === this.shard ? "target" : "source";
    const known = this.moves.get(order.epoch);
    if (known !== undefined) {
      if (!order.hold) known.hold = false;
      return;
    }
    const slots: number[] = [];
    for (const [first, last] of order.slots) for (let slot = first; slot <= last; slot++) slots.push(slot);
    if (slots.some((slot) => (this.slots.get(slot) ?? 0) >= order.epoch)) return;
    if (side === "source" && slots.some((slot) => !this.slots.has(slot))) return;
    this.#note(
      order.epoch,
      side,
      side === "target" ? "importing" : "copying",
      side === "target" ? order.from : order.to,
      slots,
      order.hold,
    );
  }

  #note(
    epoch: number,
    side: Side,
    phase: MoveReport["phase"],
    other: string,
    slots: number[],
    hold = false,
  ): void {
    this.moves.set(epoch, { epoch, side, phase, hold, other, slots });
  }

  // ------------------------------------------------------------------------------------------- reports

  report(node: string, replica: number): GroupReport {
    const { group, shard, term, leader } = this;
    const numbers = { applied: 10 * this.version, keys: 100, bytes: 6400 };
    return {
      group,
      shard,
      replica,
      quarantined: false,
      term,
      leader,
      ...numbers,
      lead: leader === node ? this.#lead() : null,
    };
  }

  #lead(): LeadReport {
    const byEpoch = new Map<number, number[]>();
    for (const [slot, epoch] of [...this.slots].sort(([a], [b]) => a - b)) {
      const known = byEpoch.get(epoch);
      if (known === undefined) byEpoch.set(epoch, [slot]);
      else known.push(slot);
    }
    const record: MoveRecord = RECORD;
    return {
      configVersion: this.version,
      voters: this.voters.map((voter) => ({ ...voter })),
      joint: this.joint !== null,
      learners: this.learners.map((learner) => ({ ...learner })),
      slots: [...byEpoch].map(([epoch, slots]) => ({ epoch, slots: ranges(slots) })),
      moves: [...this.moves.values()].slice(-64).map(({ epoch, side, phase }) => {
        const progress = { keys: 10, keysTotal: 100, bytes: 640 };
        return {
          epoch,
          side,
          phase,
          ...progress,
          record: side === "target" && phase === "owned" ? record : null,
        };
      }),
    };
  }
}

function ranges(slots: readonly number[]): [number, number][] {
  const all: [number, number][] = [];
  for (const slot of slots) {
    const last = all.at(-1);
    if (last !== undefined && last[1] === slot - 1) last[1] = slot;
    else all.push([slot, slot]);
  }
  return all;
}
