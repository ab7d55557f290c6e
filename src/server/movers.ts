/**
 * The moves in which this node's replicas have a part, as leaders of either side (move_source.ts, move_target.ts): orders
 * and messages come in here and go to the replica they are for, and what was applied is told to those who route by it.
 *
 * Every replica that applies `own` or `release` knows where the slots went; the leader that owns them tells all nodes,
 * so that commands find their way while nobody hands out maps.
 */
import { ENTRY_KIND, type Entry } from "../raft/types.ts";
import { KeyValueStore } from "../store/store.ts";
import type { GroupId } from "../wal/types.ts";
import { batchBody } from "../wire/batch.ts";
import type { SlotClaim } from "../wire/control.ts";
import type { MoveReport, Order } from "../wire/control_plane.ts";
import { decodeMoveStep, encodeMoveStep, endsMove, type MoveStep } from "../wire/move_entry.ts";
import { isSameMove } from "../wire/move_identity.ts";
import type { MoveMessage, MoveMessageOf } from "../wire/move_message.ts";
import type { GroupReplica } from "./group.ts";
import type { MoveSideHost } from "./move_line.ts";
import { MoveSource, type MoveTask, nameOf } from "./move_source.ts";
import { leadsSettled, MoveTarget } from "./move_target.ts";

/** Closed moves that are reported: those that the control plane may not have written down yet. */
const CLOSED_REPORTED_MAX = 16;
/**
 * .. and of older ones those that it asked for last: an order names a move that it thinks to be open here. It orders one of each
 * side at a time, so this is enough; with the open ones it is less than half of what a report has room for (64).
 */
const ASKED_REPORTED_MAX = 8;
/** Messages between two replicas on this node that wait for the next turn. */
const LOCAL_MAX = 1024;

export type MoversHost = {
  readonly node: string;
  nowMs(): number;
  group(id: GroupId): GroupReplica | null;
  /** The group of a shard, and the leader of a group, as far as known; 0 and "" = they are not. */
  groupOf(shard: string): GroupId;
  leaderOf(group: GroupId): string;
  /** Nodes with a replica of it, by the map. */
  holdersOf(group: GroupId): readonly string[];
  send(node: string, message: MoveMessage): boolean;
  /** What was sent leaves now. */
  flush(): void;
  tellAll(claim: SlotClaim): void;
  claim(claim: SlotClaim): void;
  /** The control plane should hear of it soon. */
  noteNews(): void;
  noteEpoch(epoch: number): void;
  wake(): void;
  log(text: string, facts: Readonly<Record<string, string | number>>): void;
};

type Sides = {
  readonly group: GroupReplica;
  readonly store: KeyValueStore;
  readonly target: MoveTarget;
  source: MoveSource | null;
  /** Epochs of the last orders, the newest last. */
  readonly asked: Set<number>;
};

export class Movers {
  readonly #host: MoversHost;
  readonly #sides = new Map<GroupId, Sides>();
  /** Those that a move may be under way at: the rest costs no tick and no turn anything. */
  readonly #active = new Map<GroupId, Sides>();
  readonly #sideHost: MoveSideHost;
  #tick = 0;
  #attempts = 0;
  #local: MoveMessage[] = [];

  constructor(host: MoversHost) {
    this.#host = host;
    this.#sideHost = {
      tick: () => this.#tick,
      nowMs: () => host.nowMs(),
      leaderOf: (group) => host.leaderOf(group),
      holdersOf: (group) => host.holdersOf(group),
      send: (node, message) => this.#send(node, message),
      log: (text, facts) => host.log(text, facts),
      nextAttempt: () => ++this.#attempts,
      wake: () => host.wake(),
    };
  }

  #send(node: string, message: MoveMessage): boolean {
    if (node !== this.#host.node) return this.#host.send(node, message);
    if (this.#local.length >= LOCAL_MAX) return false;
    this.#local.push(message);
    this.#host.wake();
    return true;
  }

  /** What is at work for a replica that is here now; made when it is first needed. */
  #of(id: GroupId): Sides | null {
    const group = this.#host.group(id);
    const known = this.#sides.get(id);
    if (group !== null && known?.group === group) {
      this.#active.set(id, known);
      return known;
    }
    known?.source?.close();
    this.#sides.delete(id);
    this.#active.delete(id);
    if (group === null || !(group.store instanceof KeyValueStore)) return null;
    const target = new MoveTarget(group, group.store, this.#sideHost);
    const sides = { group, store: group.store, target, source: null, asked: new Set<number>() };
    this.#sides.set(id, sides);
    this.#active.set(id, sides);
    return sides;
  }

  // ------------------------------------------------------------------------------------------- orders

  obey(order: Order): void {
    if ("from" in order) this.#noteAsked(order.from, order.epoch);
    if ("to" in order && "epoch" in order) this.#noteAsked(order.to, order.epoch);
    switch (order.kind) {
      case "move":
        return this.#begin(order);
      case "abort":
        return this.#of(this.#host.groupOf(order.to))?.target.abort(order.epoch);
      case "settle":
        return this.#settle(order.epoch, order.from);
      case "unseal":
        return this.#close(this.#host.groupOf(order.from), order.epoch, "unseal");
      case "release":
        return this.#close(this.#host.groupOf(order.from), order.epoch, "release");
      case "take":
        return this.#take(order);
      default:
        return;
    }
  }

  #noteAsked(shard: string, epoch: number): void {
    const sides = this.#of(this.#host.groupOf(shard));
    if (sides === null) return;
    const { asked } = sides;
    asked.delete(epoch);
    asked.add(epoch);
    for (const oldest of asked) if (asked.size > ASKED_REPORTED_MAX) asked.delete(oldest);
  }

  /** The shard that had the slots is lost: this one has them from now on, without anything in them. */
  #take({ epoch, from, to, slots }: Extract<Order, { kind: "take" }>): void {
    this.#host.noteEpoch(epoch);
    const [source, target] = [this.#host.groupOf(from), this.#host.groupOf(to)];
    if (source === 0 || target === 0) return; // the map that names them is on its way
    this.#of(target)?.target.takeEmpty({ epoch, slots, shard: from, group: source, hold: false });
  }

  #begin({ epoch, from, to, slots, hold, bytesPerSecond }: Extract<Order, { kind: "move" }>): void {
    this.#host.noteEpoch(epoch);
    const [source, target] = [this.#host.groupOf(from), this.#host.groupOf(to)];
    if (source === 0 || target === 0) return; // the map that names them is on its way
    this.#of(target)?.target.begin({ epoch, slots, shard: from, group: source, hold }, bytesPerSecond);
    this.#give(source, { epoch, slots, shard: to, to: target, hold, bytesPerSecond });
  }

  /** This node's replica of `from`, if it leads, gives the slots away. False: never under this epoch. */
  #give(from: GroupId, task: MoveTask): boolean {
    const sides = this.#of(from);
    if (sides === null || !leadsSettled(sides.group)) return true;
    const { source, store } = sides;
    const known = store.moveNote(task.epoch);
    if (known !== null && (known.phase !== "sealed" || !isSameMove(known, nameOf(task)))) return false;
    const { outgoing } = store;
    if (outgoing !== null && outgoing.epoch !== task.epoch) return true; // what is sealed must be closed first
    if (source !== null && !source.isOver) {
      if (source.epoch === task.epoch) return source.renew(task) === "renewed";
      if (source.epoch > task.epoch && outgoing === null) return true;
    }
    source?.close();
    sides.source = new MoveSource(sides.group, store, task, this.#sideHost);
    this.#host.log("giving slots away", { epoch: task.epoch, to: task.shard });
    this.#host.noteNews();
    return true;
  }

  /** The target has decided: a sealed move goes on by itself, and one that was never sealed is closed. */
  #settle(epoch: number, from: string): void {
    const id = this.#host.groupOf(from);
    const known = this.#of(id)?.store.moveNote(epoch);
    if (known === null) this.#close(id, epoch, "decline");
  }

  /** `decline` never ends a seal: perhaps one is in the log behind what is applied (hazard F2). */
  #close(id: GroupId, epoch: number, kind: "unseal" | "decline" | "release"): void {
    const sides = this.#of(id);
    if (sides === null || !leadsSettled(sides.group)) return;
    if (sides.source?.epoch === epoch) {
      sides.source.close();
      sides.source = null;
    }
    sides.group.proposeMove(encodeMoveStep({ kind, epoch }));
    this.#host.wake();
  }

  /** The target's leader `node` waits for slots: what cannot be given (any more) it is to abort. */
  #onPoke(node: string, message: MoveMessageOf<"poke">): void {
    const { epoch, slots, shard, from, to, hold, bytesPerSecond } = message;
    const isGiven = this.#give(from, { epoch, slots, shard, to, hold, bytesPerSecond });
    if (!isGiven) this.#send(node, { kind: "ask", epoch, from, to, abort: true });
  }

  // ------------------------------------------------------------------------------------------- messages

  hear(from: string, message: MoveMessage): void {
    if (message.kind === "status") {
      const source = this.#of(message.from)?.source ?? null;
      if (source?.epoch === message.epoch) source.hear(from, message);
    } else if (message.kind === "poke") {
      this.#onPoke(from, message);
    } else {
      this.#of(message.to)?.target.hear(from, message);
    }
    this.#host.wake();
  }

  // ------------------------------------------------------------------------------------------- what happens

  onLeader(group: GroupReplica): void {
    const sides = this.#of(group.group);
    sides?.target.onLeaderChange();
    if (sides === null || !group.isLeader) {
      sides?.source?.close();
      if (sides !== null) sides.source = null;
    }
  }

  onApplied(group: GroupReplica, entry: Entry): void {
    if (entry.kind !== ENTRY_KIND.move) return;
    const sides = this.#of(group.group);
    if (sides === null) return;
    const step = decodeMoveStep(batchBody(entry.bytes));
    const refusal = sides.store.lastMoveRefusal;
    sides.target.applied(step, refusal);
    if (step === null) return;
    sides.source?.applied(step, refusal);
    this.#host.noteEpoch(step.epoch);
    if (group.isLeader && isNews(step)) this.#host.noteNews();
    if (step.kind === "own" || step.kind === "release") this.#tellOwner(sides, step.epoch);
  }

  /** The slots have another owner: who it is, this shard's applied state says. */
  #tellOwner({ group, store }: Sides, epoch: number): void {
    const move = store.moveNote(epoch);
    if (move === null || (move.phase !== "owned" && move.phase !== "released")) return;
    const isTarget = move.side === "target";
    const claim = {
      shard: isTarget ? store.shard : move.shard,
      group: isTarget ? group.group : move.group,
      epoch,
      slots: move.slots,
    };
    if (claim.group === 0) return;
    this.#host.claim(claim);
    if (isTarget && group.isLeader && !group.isReplaying) this.#host.tellAll(claim);
  }

  tick(): void {
    this.#tick++;
    for (const [id, sides] of this.#active) {
      if (this.#of(id) !== sides) continue;
      sides.target.tick();
      this.#resume(id, sides);
      sides.source?.tick();
      if (sides.source?.isOver === true) {
        sides.source.close();
        sides.source = null;
      }
    }
  }

  /** A leader that finds slots sealed brings the move to its end, whoever began it. */
  #resume(id: GroupId, { group, store, source }: Sides): void {
    const { outgoing } = store;
    if (outgoing === null || source?.epoch === outgoing.epoch || !group.isLeader) return;
    const { epoch, slots, shard, group: to } = outgoing;
    this.#give(id, { epoch, slots, shard, to, hold: false, bytesPerSecond: 0 });
  }

  /** The end of a turn: what was applied is answered, and what can be sent is sent. */
  endTurn(): void {
    const local = this.#local;
    if (local.length > 0) {
      this.#local = [];
      for (const message of local) this.hear(this.#host.node, message);
    }
    const isAnyActive = this.#active.size > 0;
    for (const [id, { target, source, store }] of this.#active) {
      target.flush();
      source?.run();
      if (source === null && store.incoming === null && store.outgoing === null) this.#active.delete(id);
    }
    if (isAnyActive) this.#host.flush();
  }

  close(): void {
    for (const { source } of this.#sides.values()) source?.close();
  }

  // ------------------------------------------------------------------------------------------- reports

  reportsOf(group: GroupReplica): MoveReport[] {
    const sides = this.#of(group.group);
    if (sides === null) return [];
    const { store, source, target, asked } = sides;
    const reports: MoveReport[] = [];
    let closed = 0;
    for (const move of store.moves()) {
      const isOpen = ["importing", "copying", "sealed"].includes(move.phase);
      if (!isOpen && ++closed > CLOSED_REPORTED_MAX && !asked.has(move.epoch)) continue;
      const { epoch, side, phase, keys, bytes, final } = move;
      const record =
        side === "target" && phase === "owned" && final !== null
          ? {
              sourceIndex: final.sourceIndex,
              targetIndex: move.endIndex,
              keys: final.keys,
              bytes: final.bytes,
              recordsHash: final.recordsHash,
              sessionsHash: final.sessionsHash,
              pauseMs: target.pauseMs(epoch),
            }
          : null;
      reports.push({ epoch, side, phase, keys, keysTotal: keys, bytes, record });
    }
    if (source !== null && store.moveNote(source.epoch) === null) {
      const phase = source.isReady ? "ready" : "copying";
      const { epoch, keysSent: keys, keysTotal, bytesSent: bytes } = source;
      reports.push({ epoch, side: "source", phase, keys, keysTotal, bytes, record: null });
    }
    return reports;
  }
}

/** The control plane waits for it; what else happens it may hear with the next heartbeat. */
function isNews(step: MoveStep): boolean {
  return endsMove(step) || step.kind === "decline";
}
