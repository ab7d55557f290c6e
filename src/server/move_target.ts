/**
 * The target's side of a move, as its shard's leader sees to it: takes the source's messages, puts each step into the
 * shard's log as soon as it can be one, and answers with what is applied (design section 11; hazards F1-F8).
 *
 *     offer -> import, begin        chunk -> the chunk, in order        own -> own        ask -> abort, if it is asked for
 *
 * Nothing here is a promise: the log alone decides, and a leader that comes next reads off it where the move is. What
 * is kept is only what was proposed and is not applied yet, so that it is not proposed again with each message.
 */

import type { KeyValueStore } from "../store/store.ts";
import { chunkError, decodeMoveStep, encodeMoveStep, type MoveStep, readChunk } from "../wire/move_entry.ts";
import type { MoveMessage, MoveMessageOf } from "../wire/move_message.ts";
import type { GroupReplica } from "./group.ts";
import { TICK_MS } from "./hosted.ts";

/** A step that was proposed and is not applied after so long may have been lost with a leadership. */
const STEP_TICKS_MAX = 100;
/** Nothing was heard of the source for so long: it is reminded, and then each second. */
const POKE_TICKS = 100;

export type MoveSideHost = {
  tick(): number;
  /** The leader of the group, as far as known; "" = nobody. */
  leaderOf(group: number): string;
  /** False: it cannot be sent now. */
  send(node: string, message: MoveMessage): boolean;
  log(text: string, facts: Readonly<Record<string, string | number>>): void;
};

type Expected = { readonly epoch: number; readonly term: number; readonly n: number; next: number };

export class MoveTarget {
  readonly #group: GroupReplica;
  readonly #store: KeyValueStore;
  readonly #host: MoveSideHost;
  /** Where the source's leader is, as it was last heard, of which move. */
  #source = { epoch: 0, node: "", from: 0, tick: 0 };
  /** Whether the move waits for an operator before it seals; not known to a leader that came meanwhile. */
  #hold = true;
  /** Steps that were proposed, and when. */
  readonly #steps = new Map<string, number>();
  /** The chunk that comes next, behind those that were proposed. */
  #expected: Expected | null = null;
  #refusal = "";
  /** The source is to be told what is applied now. */
  #news = false;
  /** When `own` came, and how long the slots had been sealed then. */
  #ownAt = { epoch: 0, tick: 0, pauseMs: 0 };
  #pause = { epoch: 0, ms: 0 };

  constructor(group: GroupReplica, store: KeyValueStore, host: MoveSideHost) {
    this.#group = group;
    this.#store = store;
    this.#host = host;
  }

  get #leads(): boolean {
    return this.#group.isLeader && this.#group.core.committedInTerm;
  }

  /** The control plane has begun a move to this shard. */
  begin(
    epoch: number,
    slots: MoveMessageOf<"offer">["slots"],
    shard: string,
    from: number,
    hold: boolean,
  ): void {
    if (!this.#leads || this.#store.move(epoch) !== null) return;
    this.#hold = hold;
    this.#propose({ kind: "import", epoch, slots, shard, group: from });
  }

  abort(epoch: number): void {
    const move = this.#store.move(epoch);
    if (!this.#leads || move?.phase === "owned" || move?.phase === "aborted") return;
    this.#propose({ kind: "abort", epoch });
  }

  hear(node: string, message: MoveMessage): void {
    this.#source = { epoch: message.epoch, node, from: message.from, tick: this.#host.tick() };
    if (this.#leads) this.#take(message);
    this.#tell();
  }

  #take(message: MoveMessage): void {
    switch (message.kind) {
      case "offer":
        return this.#offer(message);
      case "chunk":
        return this.#chunk(message);
      case "own":
        return this.#own(message);
      case "ask":
        if (message.abort) this.abort(message.epoch);
        return;
      default:
        return;
    }
  }

  #offer({ epoch, slots, shard, from, term, n, hold }: MoveMessageOf<"offer">): void {
    this.#hold = hold;
    const move = this.#store.move(epoch);
    if (move === null) return this.#propose({ kind: "import", epoch, slots, shard, group: from });
    if (move.phase !== "importing" && move.phase !== "copying") return;
    const { attempt } = move;
    const isNewer = attempt === null || term > attempt.term || (term === attempt.term && n > attempt.n);
    if (isNewer) this.#propose({ kind: "begin", epoch, term, n });
  }

  #chunk(message: MoveMessageOf<"chunk">): void {
    const { epoch, term, n, number, body } = message;
    const expected = this.#expectedOf(epoch, term, n);
    if (expected === null || number !== expected.next) return;
    const chunk = readChunk(body);
    const isOne = chunk !== null && chunkError(body) === null;
    if (!isOne || chunk.header.epoch !== epoch || chunk.header.number !== number)
      return this.#host.log("a chunk of a move is malformed", { epoch, number });
    const refusal = this.#store.chunkRefusal(body.length);
    if (refusal !== null) {
      this.#refusal = refusal;
      return this.abort(epoch);
    }
    if (this.#group.proposeMove(body)) expected.next++;
  }

  /** Which chunk is the next of this attempt; null: the attempt is not the one that is copied. */
  #expectedOf(epoch: number, term: number, n: number): Expected | null {
    const move = this.#store.move(epoch);
    const { attempt = null, phase = null, nextChunk = 0 } = move ?? {};
    if (phase !== "copying" || attempt?.term !== term || attempt.n !== n) return null;
    const expected = this.#expected;
    const isSame = expected?.epoch === epoch && expected.term === term && expected.n === n;
    if (!isSame || expected.next < nextChunk) this.#expected = { epoch, term, n, next: nextChunk };
    return this.#expected;
  }

  #own(message: MoveMessageOf<"own">): void {
    const { epoch, term, n } = message;
    const expected = this.#expectedOf(epoch, term, n);
    if (expected === null || expected.next !== message.chunks) return;
    this.#ownAt = { epoch, tick: this.#host.tick(), pauseMs: message.pauseMs };
    const { kind, from: _, to: __, pauseMs: ___, ...step } = message;
    this.#propose({ kind, ...step });
  }

  /** Once, until it is applied or may be lost. */
  #propose(step: MoveStep): void {
    const key = keyOf(step);
    const proposedAt = this.#steps.get(key);
    const now = this.#host.tick();
    if (proposedAt !== undefined && now - proposedAt < STEP_TICKS_MAX) return;
    if (this.#group.proposeMove(encodeMoveStep(step))) this.#steps.set(key, now);
  }

  /** An entry of a move was applied; `refusal` says why it changed nothing. */
  applied(body: Uint8Array, refusal: string | null): void {
    const step = decodeMoveStep(body);
    if (step !== null) this.#steps.delete(keyOf(step));
    if (step?.kind === "own" && refusal === null && this.#ownAt.epoch === step.epoch) {
      const sinceMs = (this.#host.tick() - this.#ownAt.tick) * TICK_MS;
      this.#pause = { epoch: step.epoch, ms: this.#ownAt.pauseMs + sinceMs };
    }
    this.#refusal = refusal ?? "";
    this.#news = true;
  }

  /** What was proposed by the last leadership may never be applied. */
  onLeaderChange(): void {
    this.#steps.clear();
    this.#expected = null;
  }

  /** The source hears of what was applied in this turn. */
  flush(): void {
    if (!this.#news) return;
    this.#news = false;
    if (this.#leads) this.#tell();
  }

  #tell(): void {
    const { epoch, node, from } = this.#source;
    if (node === "") return;
    const move = this.#store.move(epoch);
    const isOurs = move?.side === "target";
    this.#host.send(node, {
      kind: "status",
      epoch,
      from,
      to: this.#group.group,
      leads: this.#leads,
      phase: isOurs ? (move.phase as MoveMessageOf<"status">["phase"]) : null,
      attempt: isOurs ? move.attempt : null,
      nextChunk: isOurs ? move.nextChunk : 0,
      refusal: this.#refusal,
    });
  }

  /** How long the slots of a move that was just owned answered nobody, as far as this leader saw. */
  pauseMs(epoch: number): number {
    return this.#pause.epoch === epoch ? this.#pause.ms : 0;
  }

  tick(): void {
    if (!this.#leads) return;
    const move = this.#store.openMove("target");
    if (move === null) return;
    const now = this.#host.tick();
    const isHeard = this.#source.epoch === move.epoch && now - this.#source.tick < POKE_TICKS;
    if (isHeard || now % POKE_TICKS !== 0) return;
    const leader = this.#host.leaderOf(move.group);
    const { epoch, slots, group: from } = move;
    const to = this.#group.group;
    if (leader !== "")
      this.#host.send(leader, {
        kind: "poke",
        epoch,
        from,
        to,
        shard: this.#store.shard,
        slots,
        hold: this.#hold,
      });
  }
}

function keyOf(step: MoveStep): string {
  const attempt = step.kind === "begin" || step.kind === "own" ? `${step.term}/${step.n}` : "";
  return `${step.kind} ${step.epoch} ${attempt}`;
}
