/**
 * SCAN at the door: from the cursor on over the shards, until it has as many keys as were asked for. A shard walks over
 * the slots that it serves side by side, a *run*, and stops at the first that it does not serve (store/commands/walks.ts);
 * with some shards of 256 points each there are hundreds of runs. So after the first one as many are asked at once as
 * should hold what is wanted, by how many keys the slots before had.
 *
 *     round 1   [run 1]                      count keys at most
 *     round 2   [run 2][run 3] .. [run k]    together; taken in their order, up to the first that has not come to its end
 *
 * Nothing is remembered between calls: the cursor is slot | key hash, as ever. Every slot that it passes was walked to its
 * end by a shard that served it, so a key that stays is met whatever moves meanwhile. What is beyond `count` is left to
 * the next call, whose cursor points to it.
 *
 * Bounds of one call: RUNS_MAX runs, WALK_TICKS_MAX, KEY_BYTES_SUM_MAX. Beyond them it gives what it has. If the first run
 * cannot be walked its error is the answer; if a later one cannot, the page ends before it.
 */
import { fromUtf8, getU32, utf8, Writer } from "../base/bytes.ts";
import { MiB } from "../base/units.ts";
import { SLOT_COUNT, slotOf } from "../ring/slot.ts";
import { Probe } from "../store/hash.ts";
import { CommandView, OP } from "../wire/command.ts";
import { CommandEncoder } from "../wire/command_encode.ts";
import { REPLY_TAG, ReplyEncoder } from "../wire/native_reply.ts";
import type { NotServed } from "../wire/peer_encode.ts";
import { DISCARD, type ReplySink } from "../wire/reply.ts";
import type { Origin } from "./bundle.ts";
import { NO_ANSWER, SLOT_MOVING, SLOT_NOT_SERVED } from "./fate.ts";
import type { Lane } from "./lane.ts";
import { PARKED_TICKS_MAX, RETRY_TICKS } from "./parking.ts";
import type { Router } from "./router.ts";
import type { ScatterHost } from "./scatter.ts";

/** Of one round: commands of some 60 bytes. 64 runs of four shards are about a tenth of the whole circle. */
const ROUND_RUNS_MAX = 64;
/** Of one call: with a pattern that matches nothing, each may look at as many records as were asked for. */
const RUNS_MAX = 256;
/** A tenth of a second: then whoever asked gets what there is. */
const WALK_TICKS_MAX = 10;
/** More keys than this are not gathered in one reply, unless one run alone has them. */
const KEY_BYTES_SUM_MAX = 4 * MiB;

const TWO_32 = 2 ** 32;
const END = SLOT_COUNT * TWO_32;
/** Tag, and size or count. */
const HEAD_BYTES = 5;

type Run = {
  /** Where it begins, as a cursor. */
  readonly from: number;
  /** One past its last slot. */
  readonly endSlot: number;
  /** Its reply, or why there is none; null: it is awaited. */
  outcome: Uint8Array | string | NotServed | null;
};

export class SpaceScan implements Origin {
  readonly #host: ScatterHost;
  readonly #origin: Origin;
  readonly #tag: number;
  readonly #mark: number;
  readonly #sinceTick: number;
  readonly #count: number;
  readonly #pattern: Uint8Array;
  readonly #typeName: Uint8Array;
  /** Where the next round begins, and where the first did. */
  #from: number;
  readonly #begin: number;
  /** Of this round, in their order. */
  #runs: Run[] = [];
  #open = 0;
  #runsAsked = 0;
  /** Blobs of keys, and where each begins. */
  readonly #keys = new Writer(256);
  readonly #starts: number[] = [];
  #refusedTick = -1;
  #dueTick = -1;
  #isListed = false;
  #done = false;
  readonly #reply = new Writer(256);
  readonly #encoder = new ReplyEncoder(this.#reply);

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
    this.#origin = origin;
    this.#tag = tag;
    this.#sinceTick = sinceTick;
    const cursor = BigInt.asUintN(64, view.bigint(0));
    this.#begin = cursor < BigInt(END) ? Number(cursor) : END - 1; // beyond the end there is nothing
    this.#from = this.#begin;
    this.#count = Math.min(Number.MAX_SAFE_INTEGER, Math.max(1, view.number(1)));
    this.#pattern = view.arg(2).slice();
    this.#typeName = view.arg(3).slice();
    this.#mark = lane.enter(-1, true);
    this.#ask(1, SLOT_COUNT);
  }

  // ------------------------------------------------------------------------------------------- asking

  /** Asks the next runs, so many at most, that begin within so many slots. */
  #ask(runsMax: number, slots: number): void {
    const routers: (Router | null)[] = [];
    this.#runs = [];
    const first = Math.floor(this.#from / TWO_32);
    for (let slot = first; this.#runs.length < runsMax && slot < Math.min(SLOT_COUNT, first + slots); ) {
      const from = slot === first ? this.#from : slot * TWO_32;
      const router = this.#host.routerOf(slot);
      do slot++;
      while (slot < SLOT_COUNT && this.#host.routerOf(slot) === router);
      this.#runs.push({ from, endSlot: slot, outcome: null });
      routers.push(router);
    }
    this.#runsAsked += this.#runs.length;
    this.#open = this.#runs.length + 1; // until all are asked
    for (const [i, router] of routers.entries()) this.#askOne(i, router);
    if (this.#runs.length > 1) this.#list(); // what has not come in time is not waited for
    this.#host.wake();
    this.#close();
  }

  #askOne(i: number, router: Router | null): void {
    if (router === null) return this.fail(i, 0, SLOT_NOT_SERVED);
    const writer = new Writer(64 + this.#pattern.length);
    const encoder = new CommandEncoder(writer);
    encoder.begin(OP.scan);
    encoder.argI64((this.#runs[i] as Run).from);
    encoder.argI64(this.#count - this.#starts.length);
    encoder.arg(this.#pattern);
    encoder.arg(this.#typeName);
    encoder.end();
    const view = new CommandView();
    view.readGood(writer.bytes, 0, writer.length);
    router.enlist(view, 0, this, i, this.#sinceTick);
  }

  #list(): void {
    if (this.#isListed) return;
    this.#isListed = true;
    this.#host.retryLater(this);
  }

  // ------------------------------------------------------------------------------------------- answers

  begin(): ReplySink {
    this.#reply.clear();
    return this.#done ? DISCARD : this.#encoder;
  }

  undo(): void {
    this.#reply.clear();
  }

  end(i: number): void {
    if (this.#done) return;
    const { bytes, length } = this.#reply;
    const isError = bytes[0] === REPLY_TAG.error;
    if (isError) this.#settle(i, fromUtf8(bytes.subarray(HEAD_BYTES, length)));
    else this.#settle(i, isPage(this.#reply.view()) ? this.#reply.copy() : NO_ANSWER);
  }

  fail(i: number, _mark: number, text: string): void {
    this.#settle(i, text);
  }

  hasRoom(): boolean {
    return this.#done || this.#origin.hasRoom(this.#tag);
  }

  takeBack(i: number, _untouched: boolean, refusal?: NotServed): boolean {
    if (refusal === undefined) return false;
    if (!this.#done) this.#host.hear(refusal);
    this.#settle(i, refusal);
    return true;
  }

  /** A run of an earlier round is nobody's: that round ended without it. */
  #settle(tag: number, outcome: Uint8Array | string | NotServed): void {
    const run = this.#runs[tag];
    if (this.#done || run === undefined || run.outcome !== null) return;
    run.outcome = outcome;
    this.#close();
  }

  #close(): void {
    if (--this.#open === 0) this.#endRound();
  }

  // ------------------------------------------------------------------------------------------- rounds

  #endRound(): void {
    const stopped = this.#takeRuns();
    if (this.#from >= END || this.#isFull) return this.#finish();
    if (stopped === null || stopped instanceof Uint8Array) return this.#goOn();
    const isText = typeof stopped === "string";
    if (this.#from > this.#begin && (isText || stopped.group === 0)) return this.#finish();
    if (isText) return this.#refuse(stopped);
    const now = this.#host.now();
    if (this.#refusedTick < 0) this.#refusedTick = now;
    if (now - this.#refusedTick > PARKED_TICKS_MAX) return this.#refuse(SLOT_MOVING);
    this.#dueTick = stopped.group === 0 ? now + RETRY_TICKS : now;
    this.#list();
  }

  get #isFull(): boolean {
    return this.#starts.length >= this.#count || this.#keys.length > KEY_BYTES_SUM_MAX;
  }

  /** Takes the runs up to the first that has not come to its end; gives what became of that one. */
  #takeRuns(): Run["outcome"] {
    for (const run of this.#runs) {
      if (!(run.outcome instanceof Uint8Array)) return run.outcome;
      this.#from = this.#takeRun(run, run.outcome);
      if (this.#from < run.endSlot * TWO_32) return run.outcome;
    }
    return null;
  }

  /** Takes its keys; gives where the walk goes on. */
  #takeRun({ endSlot }: Run, bytes: Uint8Array): number {
    const cursorEnd = 2 * HEAD_BYTES + getU32(bytes, HEAD_BYTES + 1);
    const said = Number(fromUtf8(bytes.subarray(2 * HEAD_BYTES, cursorEnd)));
    const next = said === 0 ? END : said;
    const end = endSlot * TWO_32;
    for (let at = cursorEnd + HEAD_BYTES; at < bytes.length; ) {
      const keyEnd = at + HEAD_BYTES + getU32(bytes, at + 1);
      // The shard has more slots by now than was known: those behind the run are another run's.
      if (next > end && slotOf(bytes, at + HEAD_BYTES, keyEnd) >= endSlot) break;
      this.#starts.push(this.#keys.length);
      this.#keys.range(bytes, at, keyEnd);
      at = keyEnd;
    }
    return Math.min(next, end);
  }

  #goOn(): void {
    const isLate = this.#host.now() - this.#sinceTick > WALK_TICKS_MAX;
    if (isLate || this.#runsAsked >= RUNS_MAX) return this.#finish();
    const found = this.#starts.length;
    const passed = (this.#from - this.#begin) / TWO_32;
    const runsMax = Math.min(ROUND_RUNS_MAX, RUNS_MAX - this.#runsAsked);
    if (found === 0) return this.#ask(Math.min(runsMax, 4 * this.#runs.length), SLOT_COUNT);
    this.#ask(runsMax, Math.ceil((1.2 * (this.#count - found) * passed) / found));
  }

  /** Once a turn, until it says that nothing waits: looks again who has the slot, or goes without what is late. */
  retry(): boolean {
    this.#isListed = false;
    if (this.#done) return false;
    const now = this.#host.now();
    if (this.#dueTick >= 0) {
      if (this.#dueTick <= now) {
        this.#dueTick = -1;
        this.#ask(1, SLOT_COUNT);
      }
    } else if (now - this.#sinceTick > WALK_TICKS_MAX && this.#runs.length > 1) {
      this.#takeRuns();
      if (this.#from > this.#begin) this.#finish();
    }
    if (this.#done || this.#isListed) return false;
    this.#isListed = true;
    return true;
  }

  // ------------------------------------------------------------------------------------------- the reply

  #refuse(text: string): void {
    this.#done = true;
    this.#origin.fail(this.#tag, this.#mark, text);
  }

  #finish(): void {
    this.#done = true;
    const kept = this.#cut();
    const { bytes, length } = this.#keys;
    const cursor = utf8(String(this.#from >= END ? 0 : this.#from));
    const sink = this.#origin.begin(this.#tag);
    sink.array(2);
    sink.blob(cursor, 0, cursor.length);
    sink.array(kept);
    for (let i = 0; i < kept; i++)
      sink.blob(bytes, (this.#starts[i] as number) + HEAD_BYTES, this.#starts[i + 1] ?? length);
    this.#origin.end(this.#tag, this.#mark);
  }

  /** Leaves keys beyond the count to the next call. Keys of one hash are never parted. */
  #cut(): number {
    let kept = Math.min(this.#count, this.#starts.length);
    if (kept === this.#starts.length) return kept;
    while (kept < this.#starts.length && this.#placeOf(kept) === this.#placeOf(kept - 1)) kept++;
    if (kept < this.#starts.length) this.#from = this.#placeOf(kept);
    return kept;
  }

  /** Where key `i` stands, as a cursor. */
  #placeOf(i: number): number {
    const probe = new Probe();
    const end = this.#starts[i + 1] ?? this.#keys.length;
    probe.aim(this.#keys.bytes, (this.#starts[i] as number) + HEAD_BYTES, end);
    return probe.slot * TWO_32 + (probe.hash >>> 0);
  }
}

/** A cursor and a list, as a shard answers. */
function isPage(bytes: Uint8Array): boolean {
  return bytes[0] === REPLY_TAG.array && getU32(bytes, 1) === 2 && bytes[HEAD_BYTES] === REPLY_TAG.blob;
}
