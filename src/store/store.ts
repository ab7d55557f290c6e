/**
 * The state machine: takes sealed batches in the order of the log and answers reads from the state between them.
 *
 * Time in here is log time alone, the highest batch time so far: relative deadlines count from it and a key is gone
 * when its deadline is not after it. Records past their deadline leave only inside `apply`, a bounded number after
 * each batch, in (deadline, revision) order; so every replica drops the same keys at the same index.
 *
 * Errors: a batch is validated before it is sealed, so a frame that cannot be read is answered with an error and
 * the rest of its batch too, on every replica alike; nothing in a batch can throw. Only a batch of a newer state
 * version stops the replica: NucleusError "state_version".
 */
import { assert } from "../base/assert.ts";
import { Reader, Writer } from "../base/bytes.ts";
import { KiB } from "../base/units.ts";
import type { ENTRY_KIND, Index, Term } from "../raft/types.ts";
import { slotOf } from "../ring/slot.ts";
import {
  BATCH_HEADER_BYTES,
  batchBody,
  batchCount,
  batchEnd,
  batchKind,
  batchTimeMs,
} from "../wire/batch.ts";
import { CommandView, OP_WRITE_MIN } from "../wire/command.ts";
import type { MoveNote } from "../wire/move_entry.ts";
import { ReplyEncoder, replayReply } from "../wire/native_reply.ts";
import type { ReplySink } from "../wire/reply.ts";
import { type Birth, birthOf, wholeBirth } from "./birth_entry.ts";
import { argumentError, keyArgumentOf, keyCountOf } from "./commands/arguments.ts";
import { execute, GROWING_OPS } from "./commands/execute.ts";
import { refusedSlot } from "./commands/served.ts";
import { type CopyScene, CopySource } from "./copy_source.ts";
import { STORE_ERROR } from "./errors.ts";
import { Execution } from "./execution.ts";
import { IMAGE_VERSION, type ImageHead, totalsOf } from "./image.ts";
import { Keyspace } from "./keyspace.ts";
import { hex64, Moves, recordsDigest } from "./moves.ts";
import { fateOf, ownershipHash, viewOf } from "./ownership.ts";
import { SLAB_BYTES_MAX } from "./pages.ts";
import { REPLY_KEPT_BYTES_MAX, REPLY_NOT_KEPT, SESSION_ERROR, VERDICT } from "./session_cells.ts";
import { Sessions } from "./sessions.ts";
import { readSettings } from "./settings.ts";
import { SLOT } from "./slots.ts";
import { ImageReader } from "./snapshot_sink.ts";
import { ImageWriter } from "./snapshot_source.ts";
import { checkStateVersion } from "./state_version.ts";
import { Tee } from "./tee.ts";
import {
  type ApplyListener,
  type MoveView,
  type ReadOutcome,
  type ServedSlots,
  type SlotFate,
  type SnapshotSink,
  type SnapshotSource,
  STATE_VERSION,
  type Store,
  type StoreSettings,
} from "./types.ts";
import { WARM_COMMANDS_MAX } from "./warm.ts";

/** The values of raft's ENTRY_KIND; the compiler keeps them equal. */
const KIND: typeof ENTRY_KIND = { noop: 0, commands: 1, config: 2, bootstrap: 3, settings: 4, move: 5 };

/** Live expired records that a batch removes: this many, or twice its commands if that is more. */
const EXPIRED_PER_BATCH_MIN = 64;
/** Records that a batch moves off nearly empty pages, beside one for each of its commands. */
const MOVED_PER_BATCH_MIN = 16;
/** Records of emptied slots that one tidying gives back: about a millisecond. */
const TIDY_RECORDS = 2048;
/** Refs reach 32 GiB; three tenths are left for what fragments. */
const ENGINE_BYTES_MAX = 0.7 * SLAB_BYTES_MAX;

export class KeyValueStore implements Store {
  appliedIndex: Index = 0;
  appliedTerm: Term = 0;
  logTimeMs = 0;
  settings: StoreSettings;
  shard = "";
  refusedSlot = -1;
  readonly #command = new CommandView();
  readonly #x: Execution;
  #sessions = new Sessions();
  readonly #encoder = new ReplyEncoder(new Writer(KiB));
  readonly #tee = new Tee(this.#encoder, REPLY_KEPT_BYTES_MAX);
  #snapshotOpen = false;
  #moves = new Moves();
  #copy: CopySource | null = null;

  constructor(settings: StoreSettings) {
    this.settings = settings;
    this.#x = new Execution(new Keyspace(0), this.#command);
  }

  apply(index: Index, term: Term, batch: Uint8Array, listener: ApplyListener): void {
    assert(index === this.appliedIndex + 1, "entries are applied in order, without gaps");
    checkStateVersion(index, batch);
    this.logTimeMs = Math.max(this.logTimeMs, batchTimeMs(batch));
    this.#x.logTimeMs = this.logTimeMs;
    this.#x.nowMs = this.logTimeMs;
    const kind = batchKind(batch);
    const count = kind === KIND.commands ? batchCount(batch) : 0;
    if (index === 1) this.#beBorn(kind === KIND.bootstrap ? birthOf(batch) : wholeBirth(this.settings));
    if (kind === KIND.commands) this.#applyCommands(batch, count, listener);
    else if (kind === KIND.settings) this.#applySettings(new Reader(batch, BATCH_HEADER_BYTES));
    else if (kind === KIND.move) this.#applyMove(index, batch);
    this.#removeExpired(Math.max(EXPIRED_PER_BATCH_MIN, 2 * count));
    this.#x.garbage.step();
    this.#x.keyspace.compact(MOVED_PER_BATCH_MIN + count);
    this.appliedIndex = index;
    this.appliedTerm = term;
  }

  tidy(): boolean {
    const more = this.#x.garbage.step();
    return this.#x.keyspace.tidy(TIDY_RECORDS) || more;
  }

  read(command: CommandView, nowMs: number, reply: ReplySink): ReadOutcome {
    assert(command.op < OP_WRITE_MIN, "only reads are answered without an entry");
    const x = this.#x;
    x.command = command;
    x.reply = reply;
    x.logTimeMs = this.logTimeMs;
    x.nowMs = Math.max(nowMs, this.logTimeMs);
    this.refusedSlot = refusedSlot(x);
    if (this.refusedSlot >= 0) return "not_served";
    x.undecided = this.#namesUndecided(x);
    if (!x.undecided) execute(x);
    return x.undecided ? "undecided" : "done";
  }

  slotFate(slot: number): SlotFate {
    return fateOf(slot, this.#x.keyspace, this.#moves);
  }

  isServed(slot: number): boolean {
    return this.#x.keyspace.slots.isServed(slot);
  }

  slotsServed(): ServedSlots {
    return this.#x.keyspace.slots.runs((slots, slot) => slots.isServed(slot));
  }

  slotsHeld(): ServedSlots {
    return this.#x.keyspace.slots.runs(
      (slots, slot) => slots.isServed(slot) || slots.state(slot) === SLOT.sealed,
    );
  }

  // ---- moves --------------------------------------------------------------------------------------------------

  /** Hears of every move entry that is applied: null = done, else why it changed nothing. Not part of the state. */
  onMove: ((index: Index, refusal: string | null) => void) | null = null;

  /** Why the move entry that was applied last changed nothing; null = it did. Not part of the state. */
  lastMoveRefusal: string | null = null;

  /** Moves in the applied state: open ones first, then the closed ones that are remembered, newest first. */
  moves(): MoveView[] {
    return this.#moves.notes().map((note) => viewOf(note, this.#x.keyspace));
  }

  /** One of them; null if it is not known here. */
  move(epoch: number): MoveView | null {
    const note = this.moveNote(epoch);
    return note === null ? null : viewOf(note, this.#x.keyspace);
  }

  /** The open moves of this shard as target and as source; a look at them costs nothing. */
  get incoming(): MoveNote | null {
    return this.#moves.incoming;
  }

  get outgoing(): MoveNote | null {
    return this.#moves.outgoing;
  }

  /** As `move`, without counting what it has. */
  moveNote(epoch: number): MoveNote | null {
    const { incoming, outgoing, closed } = this.#moves;
    if (incoming?.epoch === epoch) return incoming;
    return outgoing?.epoch === epoch ? outgoing : (closed.get(epoch) ?? null);
  }

  /** Serves all these slots under earlier epochs: it can give them away under this one. */
  mayGive(slots: MoveNote["slots"], epoch: number): boolean {
    return slots.every(([first, last]) => {
      for (let slot = first; slot <= last; slot++) {
        if (!this.isServed(slot) || this.#x.keyspace.slots.epoch(slot) >= epoch) return false;
      }
      return true;
    });
  }

  /** How many keys these slots have now. */
  keysIn(slots: MoveNote["slots"]): number {
    return recordsDigest(slots, this.#x.keyspace).keys;
  }

  /** Why a chunk of so many bytes cannot be taken, to be asked before it is proposed; null if it can. */
  chunkRefusal(bytes: number): string | null {
    return this.#hasMemory(bytes) ? null : STORE_ERROR.memory;
  }

  /** Begins to read slots for a copy of them; one at a time, closed by whoever began it. */
  beginCopy(slots: MoveNote["slots"]): CopySource {
    assert(this.#copy === null, "one copy at a time");
    const copy = new CopySource(slots, this.#copyScene(), () => this.#watch(null));
    this.#watch(copy);
    return copy;
  }

  /** Reads them as they are at this moment: nobody tells this copy of changes. For checkers. */
  peekCopy(slots: MoveNote["slots"]): CopySource {
    return new CopySource(slots, this.#copyScene(), () => {});
  }

  #copyScene(): CopyScene {
    const store = this;
    return {
      get keyspace() {
        return store.#x.keyspace;
      },
      get sessions() {
        return store.#sessions;
      },
      get logTimeMs() {
        return store.logTimeMs;
      },
    };
  }

  #watch(copy: CopySource | null): void {
    this.#copy = copy;
    this.#x.keyspace.watch = copy;
    this.#sessions.watch = copy;
  }

  #applyMove(index: Index, batch: Uint8Array): void {
    const { keyspace } = this.#x;
    const scene = { index, keyspace, sessions: this.#sessions, logTimeMs: this.logTimeMs };
    const refusal = this.#moves.apply(batchBody(batch), scene);
    this.#x.logTimeMs = this.#x.nowMs = this.logTimeMs = scene.logTimeMs;
    this.lastMoveRefusal = refusal;
    this.onMove?.(index, refusal);
  }

  // ---- sizes and times ----------------------------------------------------------------------------------------

  get revision(): number {
    return this.#x.keyspace.revision;
  }

  stateHash(): string {
    const records = this.#x.keyspace;
    const sessions = this.#sessions;
    const [a, b] = ownershipHash(this.shard, records, this.#moves);
    return hex64(records.hashA + sessions.hashA + a, records.hashB + sessions.hashB + b);
  }

  earliestDeadlineMs(): number {
    const key = this.#x.keyspace.deadlines.earliest();
    const session = this.#sessions.earliestMs();
    return key < 0 || session < 0 ? Math.max(key, session) : Math.min(key, session);
  }

  get keyCount(): number {
    const { incoming } = this.#moves;
    return (
      this.#x.keyspace.keyCount -
      (incoming === null ? 0 : recordsDigest(incoming.slots, this.#x.keyspace).keys)
    );
  }

  get expiringCount(): number {
    return this.#x.keyspace.deadlines.length;
  }

  get dataBytes(): number {
    return this.#x.keyspace.dataBytes;
  }

  get allocatedBytes(): number {
    return (
      this.#x.keyspace.allocatedBytes + this.#sessions.allocatedBytes + this.#moves.staged.allocatedBytes
    );
  }

  memoryRefusal(command: CommandView): string | null {
    if (!GROWING_OPS.has(command.op)) return null;
    if (this.#hasMemory(command.end - command.argStart(0))) return null;
    // What took effect must not be refused when it is asked for again: that would say it did not.
    if (command.hasSession && this.#sessions.knows(command.bytes, command.sessionAt)) return null;
    return STORE_ERROR.memory;
  }

  #hasMemory(bytes: number): boolean {
    const bytesMax = Math.min(this.settings.memoryBytesMax, ENGINE_BYTES_MAX);
    const { staged } = this.#moves;
    return this.#x.keyspace.usedBytes + this.#sessions.usedBytes + staged.usedBytes + bytes <= bytesMax;
  }

  sessionRefusal(command: CommandView): string | null {
    if (!command.hasSession) return null;
    const sessions = this.#sessions;
    const { bytes, sessionAt } = command;
    const isShardFull = sessions.replyCount >= this.settings.sessionsMax;
    if (!isShardFull && sessions.repliesOf(bytes, sessionAt) < this.settings.sessionRepliesMax) return null;
    if (sessions.addsNothing(bytes, sessionAt)) return null; // or a client at its cap could never get below it
    return isShardFull ? STORE_ERROR.sessionsFull : STORE_ERROR.sessionRepliesFull;
  }

  beginSnapshot(): SnapshotSource {
    assert(!this.#snapshotOpen, "one snapshot at a time");
    this.#snapshotOpen = true;
    return new ImageWriter(this.#imageHead(), this.#x.keyspace, this.#sessions, this.#moves, () => {
      this.#snapshotOpen = false;
    });
  }

  beginRestore(): SnapshotSink {
    return new ImageReader(({ head, keyspace, sessions, moves }) => {
      this.#copy?.replaced();
      this.#moves = moves;
      this.#x.garbage.add(this.#x.keyspace);
      this.#x.keyspace = keyspace;
      this.#sessions = sessions;
      this.settings = head.settings;
      this.shard = head.shard;
      this.appliedIndex = head.index;
      this.appliedTerm = head.term;
      this.logTimeMs = head.logTimeMs;
    });
  }

  #applyCommands(batch: Uint8Array, count: number, listener: ApplyListener): void {
    const x = this.#x;
    const command = this.#command;
    const end = batchEnd(batch);
    let at = BATCH_HEADER_BYTES;
    let readable = true;
    x.command = command;
    x.undecided = false;
    for (let ordinal = 0; ordinal < count; ordinal++) {
      x.warmer.current = ordinal % WARM_COMMANDS_MAX;
      if (x.warmer.current === 0) x.warmer.walk(x.keyspace, batch, at, end);
      readable = readable && command.read(batch, at, end) === null;
      if (readable) {
        at = command.end;
        const refused = refusedSlot(x);
        if (refused >= 0) {
          listener.notServed(ordinal, refused);
          continue;
        }
      }
      x.reply = listener.begin(ordinal);
      if (readable) {
        if (command.hasSession)
          this.#executeSession(x); // reads too: a repeated one answers as of its first place
        else execute(x);
      } else {
        x.reply.error(STORE_ERROR.malformed);
      }
      listener.end(ordinal);
    }
    x.warmer.current = -1;
  }

  /** A session command: executed, answered from memory, or refused (sessions.ts). */
  #executeSession(x: Execution): void {
    const { bytes, sessionAt } = x.command;
    switch (this.#sessions.judge(bytes, sessionAt, this.logTimeMs)) {
      case VERDICT.execute:
        this.#executeAndRecord(x);
        break;
      case VERDICT.known:
        this.#replayKnown(x);
        break;
      case VERDICT.late:
        x.reply.error(SESSION_ERROR.late);
        break;
      case VERDICT.ahead:
        x.reply.error(SESSION_ERROR.ahead);
        break;
      case VERDICT.belowFloor:
        x.reply.error(SESSION_ERROR.belowFloor);
        break;
      case VERDICT.outOfOrder:
        x.reply.error(SESSION_ERROR.outOfOrder);
        break;
    }
  }

  #executeAndRecord(x: Execution): void {
    const { writer } = this.#encoder;
    this.#tee.begin(x.reply);
    x.reply = this.#tee;
    const slot = this.#oneSlot(x.command);
    if (slot >= 0) execute(x);
    else x.reply.error(STORE_ERROR.sessionSlots);
    const { bytes, sessionAt } = x.command;
    const size = this.#tee.overflowed ? REPLY_NOT_KEPT : writer.length;
    this.#sessions.record(bytes, sessionAt, Math.max(slot, 0), writer.bytes, size);
  }

  #replayKnown(x: Execution): void {
    const sessions = this.#sessions;
    sessions.repeated(x.command.bytes, x.command.sessionAt);
    const isReplayed = // an image may hold anything that sums up
      sessions.knownIsKept &&
      replayReply(sessions.knownBytes, sessions.knownStart, sessions.knownEnd, x.reply);
    if (isReplayed) return;
    // A read is not made again: what its connection wrote behind it may have taken effect already.
    x.reply.error(x.command.isWrite ? SESSION_ERROR.replyNotKept : SESSION_ERROR.readNotKept);
  }

  /** The slot of all keys that the command names; -1 if they have several or there is none. */
  #oneSlot(command: CommandView): number {
    if (argumentError(command) !== null) return 0; // executing it answers with that error
    let slot = -1;
    for (let i = 0; i < keyCountOf(command); i++) {
      const argument = keyArgumentOf(command, i);
      const own = slotOf(command.bytes, command.argStart(argument), command.argEnd(argument));
      if (i > 0 && own !== slot) return -1;
      slot = own;
    }
    return slot;
  }

  /** A birth that cannot be read leaves a shard without slots, on every replica alike. */
  #beBorn(birth: Birth | null): void {
    if (birth === null) return;
    this.settings = birth.settings;
    this.shard = birth.shard;
    const { slots } = this.#x.keyspace;
    for (const [first, last] of birth.slots) {
      for (let slot = first; slot <= last; slot++) slots.own(slot, SLOT.serving, birth.epoch);
    }
  }

  /** Settings that cannot be read change nothing, on every replica alike. */
  #applySettings(reader: Reader): void {
    const settings = readSettings(reader);
    if (settings !== null) this.settings = settings;
  }

  #removeExpired(countMax: number): void {
    const { keyspace } = this.#x;
    for (let removed = 0; removed < countMax; ) {
      const deadline = keyspace.deadlines.earliest();
      if (deadline < 0 || deadline > this.logTimeMs) break;
      if (keyspace.removeEarliest()) removed++;
    }
    this.#sessions.removeExpired(this.logTimeMs, countMax);
  }

  #imageHead(): ImageHead {
    const { keyspace } = this.#x;
    const sessions = this.#sessions;
    return {
      version: IMAGE_VERSION,
      shard: this.shard,
      index: this.appliedIndex,
      term: this.appliedTerm,
      logTimeMs: this.logTimeMs,
      revision: keyspace.revision,
      stateVersion: STATE_VERSION,
      settings: this.settings,
      keyCount: keyspace.keyCount,
      dataBytes: keyspace.dataBytes,
      sessions: totalsOf(sessions),
      staged: totalsOf(this.#moves.staged),
      movesFloor: this.#moves.floor,
      moveCount: this.#moves.notes().length,
    };
  }

  /** Whether a key that the command names is past its deadline by the leader's time but not in log time. */
  #namesUndecided(x: Execution): boolean {
    const earliest = x.keyspace.deadlines.earliest();
    if (earliest < 0 || earliest > x.nowMs || x.nowMs === x.logTimeMs) return false;
    if (argumentError(x.command) !== null) return false;
    for (let i = 0; i < keyCountOf(x.command); i++) {
      const ref = x.lookup(keyArgumentOf(x.command, i));
      if (ref !== 0 && x.isUndecided(ref)) return true;
    }
    return false;
  }
}
