/**
 * A bundle: commands on their way, with who waits for each. A door copies a client's command into an open bundle
 * once; as the bundle moves on (sealed as a batch, asked as a round of reads, forwarded, parked) only the
 * reference moves.
 *
 *     writer:   [48 bytes kept free for the batch header][frame][frame] ..
 *     origins:  who asked, one to each frame;   tags, marks: what that origin needs to recognise it
 */
import { assert } from "../base/assert.ts";
import { Writer } from "../base/bytes.ts";
import { KiB } from "../base/units.ts";
import { BATCH_BYTES_MAX, BATCH_HEADER_BYTES } from "../wire/batch.ts";
import { type CommandView, OP_WRITE_MIN } from "../wire/command.ts";
import type { NotServed } from "../wire/peer_encode.ts";
import type { ReplySink } from "../wire/reply.ts";
import { NO_ANSWER, REPLICA_GONE, UNCERTAIN } from "./fate.ts";
import type { Lane } from "./lane.ts";

/** Someone who waits for replies: a client's connection, a node that forwarded, a session that retries. */
export interface Origin {
  /** The connection whose order its commands keep, if it is not the only one of it. */
  readonly lane?: Lane;
  /** Where the reply to command `tag` goes. Everything up to `end` belongs to that reply. */
  begin(tag: number): ReplySink;
  /** Nothing was written after `begin` after all; the reply will be begun again later. */
  undo(tag: number): void;
  /** The reply is complete. `mark` is what the origin gave with the command (lane.ts). */
  end(tag: number, mark: number): void;
  /** There is no reply; `text` says what is known of the command's fate (fate.ts). */
  fail(tag: number, mark: number, text: string): void;
  /** False: its output is full, so the reply to `tag` is not made yet if it can wait. */
  hasRoom(tag: number): boolean;
  /**
   * This node does not lead, or its group does not serve the slot (`refusal`). True: the origin (a node that forwarded)
   * takes the command back and looks further itself, so that nothing is ever forwarded twice (hazard C11).
   * `untouched`: it took no effect, and the origin is told so; else its fate is open, and the origin is left to find
   * out.
   */
  takeBack(tag: number, untouched: boolean, refusal?: NotServed): boolean;
}

/** Who gave session numbers to some of a bundle's commands, and must hear when they have their answers. */
export type Numbers = { forget(bundle: Bundle, i: number): void };

/** Commands in one bundle: bounds the arrays below. 16 B frames would fill 1 MiB with 65,536. */
const COMMANDS_MAX = 65_536;
const CAPACITY_MIN = 4 * KiB;
/** Where a command frame has its op (wire/command.ts). */
const OP_AT = 4;

export class Bundle {
  readonly writer: Writer;
  readonly origins: Origin[] = [];
  readonly tags: number[] = [];
  readonly marks: number[] = [];
  /** Offset of each frame in `writer.bytes`. */
  readonly starts: number[] = [];
  /** Rises with every bundle that the router opens: what is given back goes before all that came later. */
  order = 0;
  /** Tick at which the first command came: deadlines are counted from here. */
  sinceTick = 0;
  /** It came back to be sent again: nothing new is put into it. */
  given = false;
  /** Some of these writes were sent before, and whether they took effect is not known. */
  sent = false;
  /** Changes of the shard's slots when the first command came; another number now: its slots are looked at again. */
  slotChanges = -1;
  /** Tick at which a shard refused this first because it does not serve the slot; -1: none did. */
  refusedTick = -1;
  numbers: Numbers | null = null;

  constructor(capacity = CAPACITY_MIN, capacityMin = CAPACITY_MIN) {
    this.writer = new Writer(Math.min(BATCH_BYTES_MAX, Math.max(capacityMin, capacity)));
    this.writer.length = BATCH_HEADER_BYTES; // overwritten when the batch is sealed
  }

  get count(): number {
    return this.origins.length;
  }

  get bytes(): number {
    return this.writer.length;
  }

  fits(frameBytes: number): boolean {
    return this.count < COMMANDS_MAX && this.writer.length + frameBytes <= BATCH_BYTES_MAX;
  }

  /** The frame at `[start, writer.length)` was just written for this origin. */
  add(start: number, origin: Origin, tag: number, mark: number): void {
    assert(start >= BATCH_HEADER_BYTES && start < this.writer.length, "a frame was written");
    this.starts.push(start);
    this.origins.push(origin);
    this.tags.push(tag);
    this.marks.push(mark);
  }

  /** Copies a command's frame to the end. */
  put(view: CommandView, frameAt: number, origin: Origin, tag: number, mark: number): void {
    const start = this.writer.length;
    this.writer.range(view.bytes, frameAt, view.end);
    this.add(start, origin, tag, mark);
  }

  /** Copies frame `i` of another bundle to the end of this one; its origin follows. */
  take(from: Bundle, i: number): void {
    const start = this.writer.length;
    this.writer.range(from.writer.bytes, from.start(i), from.endOf(i));
    this.add(start, from.origin(i), from.tag(i), from.mark(i));
  }

  start(i: number): number {
    return this.starts[i] as number;
  }

  endOf(i: number): number {
    return i + 1 < this.starts.length ? (this.starts[i + 1] as number) : this.writer.length;
  }

  origin(i: number): Origin {
    return this.origins[i] as Origin;
  }

  tag(i: number): number {
    return this.tags[i] as number;
  }

  mark(i: number): number {
    return this.marks[i] as number;
  }

  isWrite(i: number): boolean {
    return (this.writer.bytes[this.start(i) + OP_AT] as number) >= OP_WRITE_MIN;
  }

  /** The reply to command `i`, which its origin began, is complete. */
  end(i: number): void {
    this.numbers?.forget(this, i);
    this.origin(i).end(this.tag(i), this.mark(i));
  }

  /** Answers command `i` with what is known of its fate. */
  fail(i: number, text: string): void {
    this.numbers?.forget(this, i);
    this.origin(i).fail(this.tag(i), this.mark(i), text);
  }

  /** Command `i` was sent, and nobody waits for its answer any longer. */
  failUnknown(i: number): void {
    this.fail(i, this.isWrite(i) ? UNCERTAIN : NO_ANSWER);
  }

  /** An empty bundle in the same place: for what of this one is sent again. */
  emptyTwin(capacity?: number, capacityMin?: number): Bundle {
    const twin = new Bundle(capacity, capacityMin);
    twin.sinceTick = this.sinceTick;
    twin.sent = this.sent;
    twin.order = this.order;
    twin.numbers = this.numbers;
    twin.refusedTick = this.refusedTick;
    return twin;
  }

  /** Command `i` alone, to be sent again. */
  only(i: number): Bundle {
    const one = this.emptyTwin(BATCH_HEADER_BYTES + this.endOf(i) - this.start(i), 1);
    one.take(this, i);
    one.given = true;
    return one;
  }

  /** This bundle in two: its first `count` commands, and the others. Nothing new is put into either. */
  split(count: number): [Bundle, Bundle] {
    assert(count > 0 && count < this.count, "both parts hold something");
    const parts: [Bundle, Bundle] = [this.emptyTwin(), this.emptyTwin()];
    for (let i = 0; i < this.count; i++) parts[i < count ? 0 : 1].take(this, i);
    for (const part of parts) part.given = true;
    return parts;
  }

  /** How many of the first commands one batch can hold. */
  get batchCount(): number {
    let count = 0;
    while (count < this.count && this.endOf(count) <= BATCH_BYTES_MAX) count++;
    return Math.max(1, count);
  }

  /** What is left when origins that look for the leader themselves have taken their commands back. */
  withoutForwarded(): Bundle {
    const left = this.emptyTwin(this.writer.length);
    for (let i = 0; i < this.count; i++) if (!this.origin(i).takeBack(this.tag(i), true)) left.take(this, i);
    return left;
  }

  failAll(text: string): void {
    for (let i = 0; i < this.count; i++) this.fail(i, text);
  }

  failAllUnknown(): void {
    for (let i = 0; i < this.count; i++) this.failUnknown(i);
  }

  /** The replica is closed for good. `proposed`: these commands are in its log, which may yet be carried out. */
  endAll(proposed: boolean): void {
    for (let i = 0; i < this.count; i++) {
      if (this.origin(i).takeBack(this.tag(i), !proposed)) continue;
      this.fail(i, this.isWrite(i) && (proposed || this.sent) ? UNCERTAIN : REPLICA_GONE);
    }
  }
}
