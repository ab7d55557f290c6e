/**
 * The source's side of a move, as its shard's leader sees to it (design section 11; hazards F1-F8).
 *
 *     offer   until the target's log has this attempt                 an attempt = (epoch, term here, n)
 *     copy    chunks, a few on their way; what changed behind them    until little is left, and nobody holds
 *     seal    an entry here: from its index on the slots are refused  only while the target's leader is heard
 *     finish  the rest, then `own` with counts and hashes             until the target's log has decided
 *     close   release, or unseal: as the target's applied state says  never by time-out
 *
 * Everything that must not be forgotten is in one of the two logs: a leader that finds the slots sealed asks the target,
 * and has it abort what is not complete; one that finds them served begins anew when it is told of the move again.
 *
 * Bounds: CHUNKS_OPEN chunks of CHUNK_BYTES on their way, kept until they are applied there; the names of keys that
 * changed meanwhile (store/copy_source.ts); so many bytes a second.
 */
import { KiB, MiB } from "../base/units.ts";
import type { CopySource } from "../store/copy_source.ts";
import type { KeyValueStore } from "../store/store.ts";
import type { MoveView } from "../store/types.ts";
import { ChunkWriter, decodeMoveStep, encodeMoveStep, type MoveStep } from "../wire/move_entry.ts";
import type { MoveMessage, MoveMessageOf } from "../wire/move_message.ts";
import type { GroupReplica } from "./group.ts";
import { TICK_MS } from "./hosted.ts";
import type { MoveSideHost } from "./move_target.ts";

/** About a thousand small records, a millisecond of the target's time. */
const CHUNK_BYTES = 64 * KiB;
/** Two rounds of a sync on a majority, so that the target is never idle. */
const CHUNKS_OPEN = 8;
/** With no more than this left to send, the rest takes about a millisecond: the slots can be sealed. */
const LEFT_AT_SEAL_MAX = 256;
/** If what changes meanwhile does not become less, it is sealed with this many left rather than never. */
const ROUNDS_MAX = 8;
const LEFT_AT_SEAL_LATE_MAX = 4096;
/** Without a word for so long the target may be gone: nothing is sealed for it. */
const HEARD_TICKS_MAX = 100;
/** What has no answer is said again. */
const AGAIN_TICKS = 20;
const STEP_TICKS_MAX = 100;
/** A fourth of a second's bytes may leave at once. */
const BURST_PARTS = 4;
const RATE_DEFAULT = 64 * MiB;

export type MoveTask = {
  readonly epoch: number;
  readonly slots: MoveMessageOf<"offer">["slots"];
  readonly shard: string;
  /** Group of the target. */
  readonly to: number;
  readonly hold: boolean;
};

export class MoveSource {
  readonly #group: GroupReplica;
  readonly #store: KeyValueStore;
  readonly #host: MoveSideHost;
  #task: MoveTask;
  readonly #bytesPerSecond = RATE_DEFAULT;
  #copy: CopySource | null = null;
  /** Number of this leader's last attempt. */
  #n = 0;
  #term = 0;
  /** The target's log has the attempt. */
  #isBegun = false;
  readonly #chunk = new ChunkWriter();
  /** Chunks made in this attempt, and those that are not applied there yet. */
  #made = 0;
  readonly #open = new Map<number, Uint8Array>();
  #bytesAllowed = 0;
  /** Ticks of the last word of the target, the last thing sent, the last progress. */
  #heardAt = Number.NEGATIVE_INFINITY;
  #saidAt = Number.NEGATIVE_INFINITY;
  #movedAt = 0;
  #phase: MoveMessageOf<"status">["phase"] = null;
  readonly #steps = new Map<string, number>();
  #sealedAtTick = 0;
  /** For reports. */
  bytesSent = 0;
  #keysTotal = 0;

  constructor(group: GroupReplica, store: KeyValueStore, task: MoveTask, host: MoveSideHost) {
    this.#group = group;
    this.#store = store;
    this.#task = task;
    this.#host = host;
  }

  get epoch(): number {
    return this.#task.epoch;
  }

  /** All but the last step was made, which waits for an operator. */
  get isReady(): boolean {
    const copy = this.#copy;
    return (
      this.#task.hold &&
      copy !== null &&
      this.#isBegun &&
      !copy.isWalking &&
      copy.left <= LEFT_AT_SEAL_LATE_MAX
    );
  }

  get keysSent(): number {
    return this.#copy?.keysSent ?? 0;
  }

  get keysTotal(): number {
    return this.#keysTotal;
  }

  /** The same move, perhaps no longer held. */
  renew(task: MoveTask): void {
    this.#task = { ...task, hold: this.#task.hold && task.hold };
  }

  get #own(): MoveView | null {
    return this.#store.move(this.#task.epoch);
  }

  /** Nothing is left to be done here: it is closed in this shard's log, or this replica does not lead. */
  get isOver(): boolean {
    if (!this.#group.isLeader) return true;
    const phase = this.#own?.phase;
    return phase === "released" || phase === "unsealed" || phase === "aborted";
  }

  close(): void {
    this.#copy?.close();
    this.#copy = null;
  }

  // ------------------------------------------------------------------------------------------- what is heard

  hear(status: MoveMessageOf<"status">): void {
    if (!status.leads) return;
    const now = this.#host.tick();
    this.#heardAt = now;
    this.#phase = status.phase;
    const { attempt } = status;
    const isThis = attempt?.term === this.#term && attempt.n === this.#n;
    if (isThis && status.phase === "copying") {
      this.#isBegun = true;
      for (const number of this.#open.keys()) {
        if (number >= status.nextChunk) break;
        this.#open.delete(number);
        this.#movedAt = now;
      }
    }
    if (status.refusal !== "" && !this.#isSealed && status.phase === null) this.#giveUp(status.refusal);
  }

  /** The target cannot take the slots: it notes the epoch as aborted, so that the control plane sees it ended. */
  #giveUp(reason: string): void {
    this.#host.log("a move is refused", { epoch: this.#task.epoch, reason });
    this.#say({ kind: "ask", ...this.#sides(), abort: true });
  }

  applied(body: Uint8Array): void {
    const step = decodeMoveStep(body);
    if (step === null) return;
    this.#steps.delete(step.kind);
    if (step.kind === "seal" && step.epoch === this.#task.epoch) this.#sealedAtTick = this.#host.tick();
  }

  // ------------------------------------------------------------------------------------------- what is done

  get #isSealed(): boolean {
    return this.#own?.phase === "sealed";
  }

  tick(): void {
    const perTick = (this.#bytesPerSecond * TICK_MS) / 1000;
    const burst = Math.max(CHUNK_BYTES, this.#bytesPerSecond / BURST_PARTS);
    this.#bytesAllowed = Math.min(burst, this.#bytesAllowed + perTick);
    this.run();
  }

  /** Does what can be done now. */
  run(): void {
    if (this.isOver || !this.#group.core.committedInTerm) return;
    if (this.#phase === "owned") return this.#propose({ kind: "release", epoch: this.#task.epoch });
    if (this.#phase === "aborted") return this.#propose({ kind: "unseal", epoch: this.#task.epoch });
    if (this.#isSealed && this.#copy === null) return this.#ask();
    if (this.#copy === null || this.#copy.isStale || this.#term !== this.#group.core.term) {
      if (this.#isSealed) return this.#ask(); // what was sent cannot be told any more
      this.#beginAttempt();
    }
    if (!this.#isBegun) return this.#offer();
    this.#send();
    if (this.#isSealed) this.#finish();
    else if (this.#maySeal()) this.#seal();
  }

  #beginAttempt(): void {
    this.#copy?.close();
    this.#term = this.#group.core.term;
    this.#n++;
    this.#isBegun = false;
    this.#made = 0;
    this.#open.clear();
    this.#copy = this.#store.beginCopy(this.#task.slots);
    this.#keysTotal = this.#store.keysIn(this.#task.slots);
    this.#saidAt = Number.NEGATIVE_INFINITY;
  }

  #sides(): { readonly epoch: number; readonly from: number; readonly to: number } {
    return { epoch: this.#task.epoch, from: this.#group.group, to: this.#task.to };
  }

  #say(message: MoveMessage): boolean {
    const leader = this.#host.leaderOf(this.#task.to);
    const isSent = leader !== "" && this.#host.send(leader, message);
    if (isSent) this.#saidAt = this.#host.tick();
    return isSent;
  }

  get #mustSayAgain(): boolean {
    return this.#host.tick() - this.#saidAt >= AGAIN_TICKS;
  }

  #offer(): void {
    if (!this.#mustSayAgain) return;
    const { slots, hold } = this.#task;
    const attempt = { term: this.#term, n: this.#n };
    this.#say({ kind: "offer", ...this.#sides(), ...attempt, shard: this.#store.shard, slots, hold });
  }

  /** A leader that cannot go on with a sealed move: what is not complete is aborted, and the slots are served again. */
  #ask(): void {
    if (this.#mustSayAgain) this.#say({ kind: "ask", ...this.#sides(), abort: true });
  }

  #send(): void {
    const copy = this.#copy as CopySource;
    const { epoch } = this.#task;
    this.#sendAgain();
    while (this.#open.size < CHUNKS_OPEN && (this.#bytesAllowed > 0 || this.#isSealed)) {
      if (this.#mustGather(copy)) return;
      const attempt = { epoch, term: this.#term, n: this.#n, number: this.#made };
      this.#chunk.begin(attempt);
      copy.fill(this.#chunk, CHUNK_BYTES);
      if (this.#chunk.rows === 0) return;
      const body = this.#chunk.end().slice();
      this.#open.set(this.#made++, body);
      this.#movedAt = this.#host.tick();
      this.#bytesAllowed -= body.length;
      this.bytesSent += body.length;
      this.#sendChunk(attempt.number, body);
    }
  }

  /**
   * When only what changes is left, it goes in one chunk after the other: so their number falls, and the slots can be
   * sealed. While an operator holds the move that goes on for long, and must not fill the target's log with crumbs.
   */
  #mustGather(copy: CopySource): boolean {
    if (this.#isSealed || copy.isWalking || copy.left > LEFT_AT_SEAL_LATE_MAX) return false;
    if (this.#task.hold) return this.#host.tick() - this.#movedAt < AGAIN_TICKS;
    return this.#open.size > 0;
  }

  #sendChunk(number: number, body: Uint8Array): void {
    this.#say({ kind: "chunk", ...this.#sides(), term: this.#term, n: this.#n, number, body });
  }

  /** No progress: what is on its way may be lost, with a connection or with the target's leader. */
  #sendAgain(): void {
    const now = this.#host.tick();
    if (this.#open.size === 0) return;
    if (now - this.#movedAt < AGAIN_TICKS) return;
    this.#movedAt = now;
    for (const [number, body] of this.#open) this.#sendChunk(number, body);
  }

  #maySeal(): boolean {
    const copy = this.#copy as CopySource;
    if (this.#task.hold || copy.isWalking || this.#host.tick() - this.#heardAt > HEARD_TICKS_MAX)
      return false;
    const most = copy.rounds > ROUNDS_MAX ? LEFT_AT_SEAL_LATE_MAX : LEFT_AT_SEAL_MAX;
    return copy.left <= most && this.#open.size <= 1;
  }

  #seal(): void {
    const { epoch, slots, shard, to } = this.#task;
    this.#propose({ kind: "seal", epoch, slots, shard, group: to });
  }

  #finish(): void {
    const copy = this.#copy as CopySource;
    if (!copy.isDone || !this.#mustFinishAgain()) return;
    const attempt = { term: this.#term, n: this.#n };
    const pauseMs = (this.#host.tick() - this.#sealedAtTick) * TICK_MS;
    const final = copy.final(this.#made, this.#own?.beginIndex ?? 0);
    this.#say({ kind: "own", ...this.#sides(), ...attempt, ...final, pauseMs });
    this.#steps.set("own", this.#host.tick());
  }

  #mustFinishAgain(): boolean {
    const saidAt = this.#steps.get("own");
    return saidAt === undefined || this.#host.tick() - saidAt >= AGAIN_TICKS;
  }

  #propose(step: MoveStep): void {
    const proposedAt = this.#steps.get(step.kind);
    const now = this.#host.tick();
    if (proposedAt !== undefined && now - proposedAt < STEP_TICKS_MAX) return;
    if (this.#group.proposeMove(encodeMoveStep(step))) this.#steps.set(step.kind, now);
  }
}
