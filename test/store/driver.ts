/** A store with a log in front of it, for tests: replies come back as plain values. */
import { KeyValueStore } from "../../src/store/store.ts";
import type { StoreSettings } from "../../src/store/types.ts";
import { CommandView, type Op } from "../../src/wire/command.ts";
import { DISCARD, type ReplySink } from "../../src/wire/reply.ts";
import { type Arg, batch, entry, frame, type TestSession } from "./frames.ts";

export const SETTINGS: StoreSettings = {
  memoryBytesMax: 2 ** 30,
  sessionRepliesMax: 64,
  sessionsMax: 1024,
};

/** A reply: nil, a blob (latin1), a number, +status, -error, or a list of replies. */
export type Reply = null | string | number | bigint | Reply[] | { status: string } | { error: string };

/** Gathers replies; `replies` holds the complete ones. */
export class ReplyCollector implements ReplySink {
  readonly replies: Reply[] = [];
  readonly #open: { list: Reply[]; left: number }[] = [];

  nil(): void {
    this.#add(null);
  }
  simple(text: string): void {
    this.#add({ status: text });
  }
  error(text: string): void {
    this.#add({ error: text });
  }
  integer(value: number | bigint): void {
    this.#add(value);
  }
  blob(bytes: Uint8Array, start: number, end: number): void {
    this.#add(Buffer.from(bytes.subarray(start, end)).toString("latin1"));
  }
  array(count: number): void {
    const list: Reply[] = [];
    this.#add(list, count);
  }
  map(count: number): void {
    const list: Reply[] = [];
    this.#add(list, 2 * count);
  }

  #add(reply: Reply, children = 0): void {
    const top = this.#open.at(-1);
    if (top === undefined) this.replies.push(reply);
    else {
      top.list.push(reply);
      top.left--;
    }
    if (children > 0) this.#open.push({ list: reply as Reply[], left: children });
    while (this.#open.at(-1)?.left === 0) this.#open.pop();
  }
}

export type Command = readonly [op: Op, args: readonly Arg[], session?: TestSession];

export function batchOf(timeMs: number, commands: readonly Command[]): Uint8Array {
  return batch(
    timeMs,
    commands.map(([op, args, session]) => frame(op, args, session)),
  );
}

export class Driver {
  store: KeyValueStore;
  index = 0;
  timeMs = 1_000_000;

  constructor(settings: StoreSettings = SETTINGS) {
    this.store = new KeyValueStore(settings);
  }

  /** Applies one batch at the present time. */
  apply(...commands: Command[]): Reply[] {
    return this.applyCommands(this.timeMs, commands);
  }

  applyCommands(timeMs: number, commands: readonly Command[]): Reply[] {
    return this.applyBatch(batchOf(timeMs, commands));
  }

  applyBatch(bytes: Uint8Array): Reply[] {
    const collector = new ReplyCollector();
    this.store.apply(++this.index, 1, bytes, {
      begin: () => collector,
      end: () => {},
      notServed: (_, slot) => collector.error(`NOT SERVED ${slot}`),
    });
    return collector.replies;
  }

  applyEntry(kind: number, body: Uint8Array): void {
    this.applyRaw(entry(kind, this.timeMs, body));
  }

  applyRaw(bytes: Uint8Array): void {
    this.store.apply(++this.index, 1, bytes, {
      begin: () => DISCARD,
      end: () => {},
      notServed: () => {},
    });
  }

  /** One command in a batch of its own. */
  run(op: Op, ...args: Arg[]): Reply {
    return this.apply([op, args])[0] as Reply;
  }

  /** A read outside the log at `nowMs`; undefined = it must wait. */
  read(nowMs: number, op: Op, ...args: Arg[]): Reply | undefined {
    const view = new CommandView();
    const bytes = frame(op, args);
    if (view.read(bytes, 0, bytes.length) !== null) throw new Error("a test's frame is well formed");
    const collector = new ReplyCollector();
    const outcome = this.store.read(view, nowMs, collector);
    if (outcome === "not_served") return { error: `NOT SERVED ${this.store.refusedSlot}` };
    return outcome === "done" ? (collector.replies[0] as Reply) : undefined;
  }

  /** Lets time pass and removes what has expired. */
  wait(ms: number): void {
    this.timeMs += ms;
    this.applyBatch(batch(this.timeMs, []));
  }
}
