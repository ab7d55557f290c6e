/**
 * The target's side of a move, as its shard's leader sees to it: takes the source's messages, puts each step into the
 * shard's log as soon as it can be one, and answers with what is applied (design section 11; hazards F1-F8).
 *
 *     offer -> import, begin        chunk -> the chunk, in order        own -> own        ask -> abort, if it is asked for
 *
 * Nothing here is a promise: the log alone decides, and a leader that comes next reads off it where the move is. What
 * is kept is only what was proposed and is not applied yet, so that it is not proposed again with each message.
 *
 * It aborts by itself what cannot end well: a chunk for which there is no memory or, for a second, no disk space, and
 * `own` refused although every chunk of the attempt is there.
 */
import type { KeyValueStore } from "../store/store.ts";
import { revisionFloor } from "../wire/epochs.ts";
import {
  chunkError,
  encodeMoveStep,
  endsMove,
  type MoveNote,
  type MoveStep,
  type MoveStepOf,
  readChunk,
} from "../wire/move_entry.ts";
import { isSameMove, type MoveName } from "../wire/move_identity.ts";
import type { MoveMessage, MoveMessageOf } from "../wire/move_message.ts";
import type { GroupReplica } from "./group.ts";
import type { MoveSideHost } from "./move_line.ts";
import { ShardUse } from "./shard_use.ts";

/** A step that was proposed and is not applied after so long may have been lost with a leadership. */
const STEP_TICKS_MAX = 100;
/** With no room in the log for so long, the disk is taken to be full (router.ts): it cannot take what comes. */
const ROOM_TICKS_MAX = 100;
/** Nothing was heard of the source for so long: it is reminded, and then each second. */
const POKE_TICKS = 100;

/** Of slots that come from a lost shard. */
const ONLY_ATTEMPT = { term: 1, n: 0 };
const NO_HASH = "0".repeat(16);
const NOTHING_MOVED = {
  chunks: 0,
  keys: 0,
  bytes: 0,
  recordsHash: NO_HASH,
  clients: 0,
  replies: 0,
  sessionsHash: NO_HASH,
  timeMs: 0,
  sourceIndex: 0,
};

type Expected = { readonly epoch: number; readonly term: number; readonly n: number; next: number };
/** Who spoke of which move. */
type Speaker = {
  readonly epoch: number;
  readonly node: string;
  readonly from: number;
  /** It offered another move than the one that has its epoch here. */
  readonly isOther: boolean;
};
type Import = Omit<MoveStepOf<"import">, "kind">;

export class MoveTarget {
  readonly #group: GroupReplica;
  readonly #store: KeyValueStore;
  readonly #host: MoveSideHost;
  /** Who is told of what is applied: the source of the newest move, as it was last heard. */
  #source: Speaker & { readonly tick: number } = {
    epoch: 0,
    node: "",
    from: 0,
    isOther: false,
    tick: 0,
  };
  /** Who is answered at the end of the turn, by node and epoch. */
  readonly #asked = new Map<string, Speaker>();
  #bytesPerSecond = 0;
  /** Steps that were proposed, and when. */
  readonly #steps = new Map<string, number>();
  /** The import that was proposed last and is not applied: what stands behind it in the log is judged by it. */
  #importing: Import | null = null;
  /** The chunk that comes next, behind those that were proposed. */
  #expected: Expected | null = null;
  /** Tick since which the disk has no room for a chunk; -1: it has. */
  #fullSince = -1;
  /** Why the last import that was refused was. */
  #refusal = { epoch: 0, text: "" };
  /** Something of the source's move was applied in this turn. */
  #news = false;
  /** When `own` came, and how long the slots had been sealed then. */
  #ownAt = { epoch: 0, ms: 0, pauseMs: 0 };
  #pause = { epoch: 0, ms: 0 };
  readonly #use: ShardUse;

  constructor(group: GroupReplica, store: KeyValueStore, host: MoveSideHost) {
    this.#group = group;
    this.#use = new ShardUse(group.commandsTaken);
    this.#store = store;
    this.#host = host;
  }

  get #leads(): boolean {
    return leadsSettled(this.#group);
  }

  /** The control plane has begun a move to this shard. */
  begin(step: Import, bytesPerSecond: number): void {
    if (!this.#leads || this.#store.moveNote(step.epoch) !== null) return;
    this.#bytesPerSecond = bytesPerSecond;
    this.#import(step);
  }

  #import(step: Import): void {
    if (this.#importing?.epoch === step.epoch && !isSameMove(this.#importing, step)) return;
    if (this.#propose({ kind: "import", ...step })) this.#importing = step;
  }

  /** The move that has the epoch in the log, applied or not: null = none yet. */
  #named(epoch: number): MoveName | null {
    return this.#store.moveNote(epoch) ?? (this.#importing?.epoch === epoch ? this.#importing : null);
  }

  /** All steps of a move that brings nothing, one behind the other: each changes something only if those before it did. */
  takeEmpty(step: Import): void {
    const { epoch } = step;
    const move = this.#store.moveNote(epoch);
    if (!this.#leads || (move !== null && !isComing(move))) return;
    if (!isSameMove(this.#named(epoch) ?? step, step)) return this.#giveUp(epoch, OF_ANOTHER);
    if (move === null) this.#import(step);
    this.#propose({ kind: "begin", epoch, ...ONLY_ATTEMPT });
    this.#propose({ kind: "own", epoch, ...ONLY_ATTEMPT, ...NOTHING_MOVED, revision: revisionFloor(epoch) });
  }

  abort(epoch: number): void {
    const phase = this.#store.moveNote(epoch)?.phase;
    if (!this.#leads || phase === "owned" || phase === "aborted") return;
    this.#propose({ kind: "abort", epoch });
  }

  hear(node: string, message: MoveMessage): void {
    const { epoch, from } = message;
    const isOther =
      message.kind === "offer" &&
      !isSameMove(this.#named(epoch) ?? { group: from, slots: message.slots }, {
        group: from,
        slots: message.slots,
      });
    const speaker = { epoch, node, from, isOther };
    this.#asked.set(keyOfSpeaker(speaker), speaker);
    const isOpen = this.#store.incoming?.epoch === message.epoch;
    if (isOpen || message.epoch >= this.#source.epoch || this.#store.incoming === null)
      this.#source = { ...speaker, tick: this.#host.tick() };
    if (this.#leads && !isOther) this.#take(message);
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

  #offer(message: MoveMessageOf<"offer">): void {
    const { epoch, slots, shard, from, term, n, hold, bytesPerSecond } = message;
    if (bytesPerSecond > 0) this.#bytesPerSecond = bytesPerSecond;
    const move = this.#store.moveNote(epoch);
    if (move === null) this.#import({ epoch, slots, shard, group: from, hold });
    else if (!isComing(move)) return;
    const attempt = move?.attempt ?? null; // `begin` may stand right behind the import that it needs
    const isNewer = attempt === null || term > attempt.term || (term === attempt.term && n > attempt.n);
    if (isNewer) this.#propose({ kind: "begin", epoch, term, n });
  }

  #chunk(message: MoveMessageOf<"chunk">): void {
    const { epoch, number, body } = message;
    const expected = this.#expectedOf(message);
    if (expected === null || number !== expected.next) return;
    const chunk = readChunk(body);
    const isOne = chunk !== null && chunkError(body) === null;
    if (!isOne || chunk.header.epoch !== epoch || chunk.header.number !== number)
      return this.#host.log("a chunk of a move is malformed", { epoch, number });
    const refusal = this.#store.chunkRefusal(body.length);
    if (refusal !== null) return this.#giveUp(epoch, refusal);
    if (this.#group.proposeMove(body)) expected.next++;
    else if (this.#isFullFor(body.length, ROOM_TICKS_MAX)) this.#giveUp(epoch, "the log finds no disk space");
  }

  /** The disk has had no room for a chunk of this size for so long. */
  #isFullFor(bytes: number, ticks: number): boolean {
    const now = this.#host.tick();
    if (!this.#group.isDiskFull(bytes)) this.#fullSince = -1;
    else if (this.#fullSince < 0) this.#fullSince = now;
    return this.#fullSince >= 0 && now - this.#fullSince >= ticks;
  }

  #giveUp(epoch: number, reason: string): void {
    this.#host.log("a move cannot be taken: it is aborted", { epoch, reason });
    this.abort(epoch);
  }

  /** Which chunk is the next of this attempt; null: the attempt, or the move, is not the one that is copied. */
  #expectedOf({ epoch, from, term, n }: MoveMessageOf<"chunk" | "own">): Expected | null {
    const { attempt = null, phase = null, nextChunk = 0, group = 0 } = this.#store.moveNote(epoch) ?? {};
    if (phase !== "copying" || group !== from || attempt?.term !== term || attempt.n !== n) return null;
    const expected = this.#expected;
    const isSame = expected?.epoch === epoch && expected.term === term && expected.n === n;
    if (!isSame || expected.next < nextChunk) this.#expected = { epoch, term, n, next: nextChunk };
    return this.#expected;
  }

  #own(message: MoveMessageOf<"own">): void {
    const expected = this.#expectedOf(message);
    if (expected === null || expected.next !== message.chunks) return;
    const { kind, from: _, to: __, pauseMs, ...step } = message;
    const { epoch } = step;
    if (this.#propose({ kind, ...step })) this.#ownAt = { epoch, ms: this.#host.nowMs(), pauseMs };
  }

  /** Once, until it is applied or may be lost. False: not now. */
  #propose(step: MoveStep): boolean {
    const key = keyOf(step);
    const proposedAt = this.#steps.get(key);
    const now = this.#host.tick();
    if (proposedAt !== undefined && now - proposedAt < STEP_TICKS_MAX) return false;
    if (!this.#group.proposeMove(encodeMoveStep(step), endsMove(step))) return false;
    this.#steps.set(key, now);
    return true;
  }

  /** An entry of a move was applied; `refusal` says why it changed nothing. */
  applied(step: MoveStep | null, refusal: string | null): void {
    this.#news = true;
    if (step === null) return;
    this.#steps.delete(keyOf(step));
    if (step.kind === "import" && step.epoch === this.#importing?.epoch) this.#importing = null;
    if (step.kind === "import" && refusal !== null) this.#refusal = { epoch: step.epoch, text: refusal };
    if (step.kind === "own") this.#ownApplied(step, refusal);
  }

  #ownApplied({ epoch, term, n }: MoveStepOf<"own">, refusal: string | null): void {
    const { attempt = null, phase } = this.#store.moveNote(epoch) ?? {};
    if (refusal === null && this.#ownAt.epoch === epoch) {
      const { ms, pauseMs } = this.#ownAt;
      this.#pause = { epoch, ms: Math.round(pauseMs + this.#host.nowMs() - ms) };
    }
    // It stands in the log behind all its chunks: what was refused once would be refused each time, and the slots stay sealed.
    const isCurrent = phase === "copying" && attempt?.term === term && attempt.n === n;
    if (refusal !== null && isCurrent && this.#leads) this.#giveUp(epoch, refusal);
  }

  /** What was proposed by the last leadership may never be applied. */
  onLeaderChange(): void {
    this.#steps.clear();
    this.#importing = null;
    this.#expected = null;
  }

  /** The end of a turn: whoever asked is answered, and the source hears of what was applied. */
  flush(): void {
    const leads = this.#leads;
    if (this.#news && leads && this.#source.node !== "") {
      const key = keyOfSpeaker(this.#source);
      if (!this.#asked.has(key)) this.#asked.set(key, this.#source);
    }
    this.#news = false;
    if (this.#asked.size === 0) return;
    for (const speaker of this.#asked.values()) this.#tell(speaker, leads);
    this.#asked.clear();
  }

  #tell(speaker: Speaker, leads: boolean): void {
    const { epoch, node, from } = speaker;
    const move = this.#store.moveNote(epoch);
    const isTheirs = move?.side === "target" && (move.group === from || move.group === 0) && !speaker.isOther;
    const known = this.#refusal.epoch === epoch ? this.#refusal.text.slice(0, REFUSAL_CHARS_MAX) : "";
    // What is closed here for another move can never be owned for this one: to whoever offers that, it is an abort.
    const isClosedToThem = move !== null && !isTheirs && move.endIndex > 0;
    this.#host.send(node, {
      kind: "status",
      epoch,
      from,
      to: this.#group.group,
      leads,
      leader: leads ? "" : this.#host.leaderOf(this.#group.group),
      phase: isTheirs ? (move.phase as MoveMessageOf<"status">["phase"]) : isClosedToThem ? "aborted" : null,
      attempt: isTheirs ? move.attempt : null,
      nextChunk: isTheirs ? move.nextChunk : 0,
      isBusy: this.#use.isBusy(this.#host.tick()),
      refusal: isTheirs || (move === null && !speaker.isOther) ? known : OF_ANOTHER,
    });
  }

  /** How long the slots of a move that was just owned answered nobody, as far as this leader saw. */
  pauseMs(epoch: number): number {
    return this.#pause.epoch === epoch ? this.#pause.ms : 0;
  }

  tick(): void {
    const now = this.#host.tick();
    this.#use.look(this.#group.commandsTaken, now);
    const move = this.#store.incoming;
    if (move === null || !this.#leads) return;
    const isHeard = this.#source.epoch === move.epoch && now - this.#source.tick < POKE_TICKS;
    if (isHeard || now % POKE_TICKS !== 0) return;
    const { epoch, slots, group: from, hold } = move;
    const bytesPerSecond = this.#bytesPerSecond;
    const sides = { from, to: this.#group.group };
    const { shard } = this.#store;
    // Whoever leads the source now takes it; the others do nothing.
    for (const node of new Set([this.#host.leaderOf(from), ...this.#host.holdersOf(from)])) {
      if (node === "") continue;
      this.#host.send(node, { kind: "poke", epoch, ...sides, shard, slots, hold, bytesPerSecond });
    }
  }
}

const OF_ANOTHER = "the epoch is another move's here";

function keyOfSpeaker({ node, epoch, from }: Speaker): string {
  return `${node} ${epoch} ${from}`;
}

/** As the message has it: in bytes, and what it says is ASCII. */
const REFUSAL_CHARS_MAX = 512;

/**
 * It leads, and has applied all that earlier leaders committed. What it has not applied yet may be a seal, or an outcome:
 * who judges moves by its applied state must have seen those.
 */
export function leadsSettled({ isLeader, store, core }: GroupReplica): boolean {
  return isLeader && core.committedInTerm && store.appliedTerm === core.term;
}

function isComing({ phase }: MoveNote): boolean {
  return phase === "importing" || phase === "copying";
}

function keyOf(step: MoveStep): string {
  const attempt = step.kind === "begin" || step.kind === "own" ? `${step.term}/${step.n}` : "";
  return `${step.kind} ${step.epoch} ${attempt}`;
}
