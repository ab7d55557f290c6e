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
 * and has it abort what is not complete; one that finds them served begins anew when it is told of the move again. What
 * this shard cannot give (any more) it has the target abort, so that the move ends there too.
 *
 * Bounds: some chunks of CHUNK_BYTES on their way (move_pace.ts), kept until they are applied there; the names of keys that
 * changed meanwhile (store/copy_source.ts); so many bytes a second.
 */
import { assert } from "../base/assert.ts";
import type { CopySource } from "../store/copy_source.ts";
import type { KeyValueStore } from "../store/store.ts";
import { ChunkWriter, encodeMoveStep, endsMove, type MoveStep } from "../wire/move_entry.ts";
import { isSameMove, type MoveName } from "../wire/move_identity.ts";
import type { MoveMessage, MoveMessageOf } from "../wire/move_message.ts";
import type { GroupReplica } from "./group.ts";
import { MoveLine, type MoveSideHost } from "./move_line.ts";
import { CHUNK_BYTES, MovePace } from "./move_pace.ts";
import { leadsSettled } from "./move_target.ts";

/** With no more than this left to send, the rest takes about a millisecond: the slots can be sealed. */
const LEFT_AT_SEAL_MAX = 256;
/** If what changes meanwhile does not become less, it is sealed with this many left rather than never. */
const ROUNDS_MAX = 8;
const LEFT_AT_SEAL_LATE_MAX = 4096;
/** And with twice as many after each further round: in the end with all that the slots have. */
const ROUNDS_LATE_MAX = 16;
/** Without a word for so long the target may be gone: nothing is sealed for it. */
const HEARD_TICKS_MAX = 100;
/** What has no answer is said again; sooner while clients wait. */
const AGAIN_TICKS = 20;
const AGAIN_SEALED_TICKS = 5;
/** A step that was proposed and is not applied after so long. */
const STEP_TICKS_MAX = 100;
export type MoveTask = {
  readonly epoch: number;
  readonly slots: MoveMessageOf<"offer">["slots"];
  readonly shard: string;
  /** Group of the target. */
  readonly to: number;
  readonly hold: boolean;
  /** 0 = who told of the move does not know. */
  readonly bytesPerSecond: number;
};

export class MoveSource {
  readonly #group: GroupReplica;
  readonly #store: KeyValueStore;
  readonly #host: MoveSideHost;
  readonly #line: MoveLine;
  #task: MoveTask;
  #copy: CopySource | null = null;
  /** Number of the last attempt. */
  #n = 0;
  #term = 0;
  /** The target's log has the attempt. */
  #isBegun = false;
  readonly #chunk = new ChunkWriter();
  /** Chunks made in this attempt, and those that are not applied there yet. */
  #made = 0;
  readonly #open = new Map<number, Uint8Array>();
  readonly #pace: MovePace;
  /** Ticks of the last thing said that waits for an answer, and of the last progress. */
  #saidAt = Number.NEGATIVE_INFINITY;
  #movedAt = 0;
  /** What the target's log has decided. */
  #outcome: "owned" | "aborted" | null = null;
  /** Why it cannot go on: the target is to abort; "" = it can. */
  #problem = "";
  /** Steps that were proposed, and when. */
  readonly #steps = new Map<string, number>();
  /** Another move was asked for under this epoch: said once. */
  #isDisputed = false;
  #ownSaidAt = Number.NEGATIVE_INFINITY;
  #sealedAtMs = 0;
  /** For reports. */
  bytesSent = 0;
  #keysTotal = 0;

  constructor(group: GroupReplica, store: KeyValueStore, task: MoveTask, host: MoveSideHost) {
    this.#group = group;
    this.#store = store;
    this.#task = task;
    this.#host = host;
    this.#line = new MoveLine(task.to, host);
    this.#pace = new MovePace(group.commandsTaken);
  }

  get epoch(): number {
    return this.#task.epoch;
  }

  /** All but the last step was made, which waits for an operator. */
  get isReady(): boolean {
    const copy = this.#copy;
    if (!this.#task.hold || copy === null || !this.#isBegun) return false;
    return !copy.isFirstPass && copy.left <= LEFT_AT_SEAL_LATE_MAX;
  }

  get keysSent(): number {
    return this.#copy?.keysSent ?? 0;
  }

  get keysTotal(): number {
    return this.#keysTotal;
  }

  /**
   * The same move again, perhaps no longer held, perhaps from somebody who knows more of it. Another one under its epoch
   * is refused: what was sent, sealed or owned by now was for this one.
   */
  renew(task: MoveTask): "renewed" | "another" {
    if (!isSameMove(nameOf(task), nameOf(this.#task))) {
      if (!this.#isDisputed)
        this.#host.log("another move is asked for under the same epoch", {
          epoch: task.epoch,
          to: task.shard,
        });
      this.#isDisputed = true;
      return "another";
    }
    const bytesPerSecond = task.bytesPerSecond > 0 ? task.bytesPerSecond : this.#task.bytesPerSecond;
    this.#task = { ...task, bytesPerSecond, hold: this.#task.hold && task.hold };
    return "renewed";
  }

  /** Nothing is left to be done here: it is closed in this shard's log, or this replica does not lead. */
  get isOver(): boolean {
    if (!this.#group.isLeader || this.#isOthersSeal) return true;
    const phase = this.#store.moveNote(this.#task.epoch)?.phase;
    return phase === "released" || phase === "unsealed" || phase === "aborted";
  }

  close(): void {
    this.#copy?.close();
    this.#copy = null;
  }

  // ------------------------------------------------------------------------------------------- what is heard

  hear(node: string, status: MoveMessageOf<"status">): void {
    if (status.to !== this.#task.to) return; // another target's word on its own move of that epoch
    if (!status.leads) return this.#line.sentOn(node, status.leader);
    this.#line.heard(node);
    const { phase, attempt, nextChunk, refusal } = status;
    if (status.isBusy) this.#pace.noteBusy();
    if (phase === "owned" || phase === "aborted") this.#outcome ??= phase;
    const isThis = attempt?.term === this.#term && attempt.n === this.#n;
    if (isThis && phase === "copying") this.#isTaken(nextChunk);
    if (refusal !== "" && phase === null) this.#giveUp(refusal);
    if (this.#copy?.isFirstPass === false) this.run(); // a seal goes with this turn's writes
  }

  /** All chunks before this one are applied there. */
  #isTaken(nextChunk: number): void {
    this.#isBegun = true;
    for (const number of this.#open.keys()) {
      if (number >= nextChunk) break;
      this.#open.delete(number);
      this.#movedAt = this.#host.tick();
      if (this.#open.size === 0) this.#pace.taken(this.#host.nowMs(), this.#copy?.isFirstPass === false);
    }
  }

  /** It cannot be carried out: the target notes the epoch as aborted, so that the control plane sees it ended. */
  #giveUp(reason: string): void {
    if (this.#problem !== "") return;
    this.#host.log("a move cannot be carried out", { epoch: this.#task.epoch, reason });
    this.#problem = reason;
    this.#saidAt = Number.NEGATIVE_INFINITY;
  }

  /** A step was applied here; `refusal` says why it changed nothing. */
  applied(step: MoveStep, refusal: string | null): void {
    if (step.epoch !== this.#task.epoch) return;
    this.#steps.delete(step.kind);
    if (step.kind === "seal" && refusal !== null) this.#giveUp(refusal);
  }

  // ------------------------------------------------------------------------------------------- what is done

  get #isSealed(): boolean {
    return this.#store.outgoing?.epoch === this.#task.epoch;
  }

  /** Another move's slots are sealed under the epoch: an earlier leader began that one. */
  get #isOthersSeal(): boolean {
    const { outgoing } = this.#store;
    return outgoing?.epoch === this.#task.epoch && !isSameMove(outgoing, nameOf(this.#task));
  }

  tick(): void {
    this.#pace.tick(this.#task.bytesPerSecond, this.#group.commandsTaken);
    this.run();
  }

  /** Does what can be done now. */
  run(): void {
    if (this.isOver || !leadsSettled(this.#group)) return;
    const { epoch } = this.#task;
    if (this.#outcome === "owned") return this.#propose({ kind: "release", epoch });
    if (this.#outcome === "aborted") return this.#propose({ kind: "unseal", epoch });
    if (this.#problem !== "") return this.#askAbort();
    const copy = this.#current();
    if (copy === null) return this.#askAbort(); // nobody can tell any more what was sent
    if (!this.#isBegun) return this.#offer();
    if (!this.#isSealed && this.#maySeal(copy)) return this.#seal();
    this.#send(copy);
    if (this.#isSealed) this.#finish(copy);
  }

  /** The copy that is sent; a new one if there is none that can go on. Null: there cannot be one. */
  #current(): CopySource | null {
    const copy = this.#copy;
    if (copy !== null && !copy.isStale && this.#term === this.#group.core.term) return copy;
    if (this.#isSealed) return null;
    const { slots, epoch } = this.#task;
    if (this.#store.mayGive(slots, epoch)) return this.#beginAttempt();
    this.#giveUp("it has slots that are not served here, or are by now under a later epoch");
    return null;
  }

  #beginAttempt(): CopySource {
    this.#copy?.close();
    this.#term = this.#group.core.term;
    this.#n = this.#host.nextAttempt();
    this.#isBegun = false;
    this.#made = 0;
    this.#open.clear();
    this.#steps.clear();
    this.#ownSaidAt = Number.NEGATIVE_INFINITY;
    this.#copy = this.#store.beginCopy(this.#task.slots);
    this.#keysTotal = this.#store.keysIn(this.#task.slots);
    this.#saidAt = Number.NEGATIVE_INFINITY;
    return this.#copy;
  }

  get #sides(): { readonly epoch: number; readonly from: number; readonly to: number } {
    return { epoch: this.#task.epoch, from: this.#group.group, to: this.#task.to };
  }

  /** What waits for an answer: said at once, and again until there is one. */
  #sayAgain(message: () => MoveMessage): void {
    const now = this.#host.tick();
    if (now - this.#saidAt < this.#againTicks) return;
    if (this.#line.say(message())) this.#saidAt = now;
  }

  get #againTicks(): number {
    return this.#isSealed ? AGAIN_SEALED_TICKS : AGAIN_TICKS;
  }

  #offer(): void {
    const { slots, hold, bytesPerSecond } = this.#task;
    const attempt = { term: this.#term, n: this.#n };
    const { shard } = this.#store;
    this.#sayAgain(() => ({
      kind: "offer",
      ...this.#sides,
      ...attempt,
      shard,
      slots,
      hold,
      bytesPerSecond,
    }));
  }

  #askAbort(): void {
    this.#sayAgain(() => ({ kind: "ask", ...this.#sides, abort: true }));
  }

  #send(copy: CopySource): void {
    this.#sendAgain();
    const isOwnOnItsWay = this.#host.tick() - this.#ownSaidAt < AGAIN_SEALED_TICKS;
    if (this.#isSealed && isOwnOnItsWay) return; // what changes of other slots' sessions need not follow it
    const pace = this.#pace;
    const isSealed = this.#isSealed;
    pace.beginTurn();
    while (pace.mayMake(this.#open.size, isSealed, this.#host.nowMs()))
      if (this.#mustGather(copy) || !this.#sendNext(copy)) return;
    if ((isSealed || copy.isFirstPass) && pace.mayGoOn(this.#open.size, isSealed)) this.#host.wake();
  }

  /** False: nothing is left, for now. */
  #sendNext(copy: CopySource): boolean {
    const attempt = { epoch: this.#task.epoch, term: this.#term, n: this.#n, number: this.#made };
    this.#chunk.begin(attempt);
    copy.fill(this.#chunk, CHUNK_BYTES);
    if (this.#chunk.rows === 0) return false;
    const body = this.#chunk.end().slice();
    this.#open.set(this.#made++, body);
    this.#movedAt = this.#host.tick();
    this.#pace.made(body.length, this.#open.size, this.#host.nowMs());
    this.bytesSent += body.length;
    this.#sendChunk(attempt.number, body);
    return true;
  }

  /**
   * When only what changes is left, it goes in one chunk after the other: so their number falls, and the slots can be
   * sealed. While an operator holds the move that goes on for long, and must not fill the target's log with crumbs.
   */
  #mustGather(copy: CopySource): boolean {
    if (this.#isSealed || copy.isFirstPass || copy.left > LEFT_AT_SEAL_LATE_MAX) return false;
    if (this.#task.hold) return this.#host.tick() - this.#movedAt < AGAIN_TICKS;
    return this.#open.size > 0;
  }

  #sendChunk(number: number, body: Uint8Array): void {
    this.#line.say({ kind: "chunk", ...this.#sides, term: this.#term, n: this.#n, number, body });
  }

  /** No progress: what is on its way may be lost, with a connection or with the target's leader. */
  #sendAgain(): void {
    const now = this.#host.tick();
    if (this.#open.size === 0 || now - this.#movedAt < this.#againTicks) return;
    this.#movedAt = now;
    for (const [number, body] of this.#open) this.#sendChunk(number, body);
  }

  #maySeal(copy: CopySource): boolean {
    if (this.#task.hold || copy.isFirstPass) return false;
    if (copy.left > leftAtSealMax(copy.rounds) || this.#open.size > 0) return false;
    if (this.#host.tick() - this.#line.heardAt <= HEARD_TICKS_MAX) return true;
    // A held move may have had nothing to say for long.
    this.#sayAgain(() => ({ kind: "ask", ...this.#sides, abort: false }));
    return false;
  }

  #seal(): void {
    const { epoch, slots, shard, to } = this.#task;
    if (this.#steps.has("seal")) return; // it is in the log: another would change nothing
    this.#sealedAtMs = this.#host.nowMs();
    this.#propose({ kind: "seal", epoch, slots, shard, group: to });
  }

  #finish(copy: CopySource): void {
    if (!copy.isDone || this.#host.tick() - this.#ownSaidAt < AGAIN_SEALED_TICKS) return;
    const { outgoing } = this.#store;
    assert(outgoing !== null, "the slots are sealed");
    const attempt = { term: this.#term, n: this.#n };
    const pauseMs = Math.max(0, Math.round(this.#host.nowMs() - this.#sealedAtMs));
    const final = copy.final(this.#made, outgoing.beginIndex);
    if (this.#line.say({ kind: "own", ...this.#sides, ...attempt, ...final, pauseMs }))
      this.#ownSaidAt = this.#host.tick();
  }

  #propose(step: MoveStep): void {
    const proposedAt = this.#steps.get(step.kind);
    const now = this.#host.tick();
    if (proposedAt !== undefined && now - proposedAt < STEP_TICKS_MAX) return;
    if (this.#group.proposeMove(encodeMoveStep(step), endsMove(step))) this.#steps.set(step.kind, now);
  }
}

export function nameOf({ to: group, slots }: MoveTask): MoveName {
  return { group, slots };
}

/** How much may be left to send when the slots are sealed, after so many rounds over what changed. */
function leftAtSealMax(rounds: number): number {
  if (rounds <= ROUNDS_MAX) return LEFT_AT_SEAL_MAX;
  const doublings = Math.min(32, Math.max(0, rounds - ROUNDS_LATE_MAX));
  return LEFT_AT_SEAL_LATE_MAX * 2 ** doublings;
}
