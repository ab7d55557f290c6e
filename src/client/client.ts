/**
 * The client as applications use it: a promise to each call, over the core's callbacks (core.ts).
 *
 * Keys and values go in as text or bytes and come out as what the client was made for: text (UTF-8) or bytes.
 * What is absent is `undefined`. Every call takes a time limit and a signal; it fails with a ClientError, whose
 * class says what is certain (errors.ts). Overlapping calls of one turn leave by one write.
 */
/// <reference lib="esnext.disposable" />
import { fromUtf8 } from "../base/bytes.ts";
import { ARGS_MAX, EXPIRE_OPTION, OP, OP_WRITE_MIN, type Op, SET_OPTION } from "../wire/command.ts";
import type { CommandEncoder } from "../wire/command_encode.ts";
import { OPCODE } from "../wire/native.ts";
import { abortedBefore, Call, type CallOptions, type Read } from "./call.ts";
import type { ClientCore } from "./core.ts";
import { ConflictError, ProtocolError } from "./errors.ts";
import { gather, placesBy } from "./gather.ts";
import {
  isDuration,
  isRevision,
  optionsProblem,
  type ReadOptions,
  readProblem,
  replicaRead,
  type ScanOptions,
  type SetOptions,
  setBits,
  setProblem,
  UsageError,
} from "./options.ts";
import { type Blob, ReplyReader, statusOf, wrongReply } from "./replies.ts";
import { type Data, putArgument, slotOfKey } from "./text.ts";

export { type ReadOptions, type ScanOptions, type SetOptions, UsageError } from "./options.ts";
export type { ReadReport } from "./request.ts";

export type Entry<V> = {
  readonly value: V;
  /** Rises with every change of the key. */
  readonly revision: number;
  /** When the key ends, milliseconds since 1970; undefined = never. */
  readonly expiresAtMs: number | undefined;
};

const SCAN_COUNT = 512;

/** What one of the commands gave that a call became, and which of the call's items it was about. */
type Part<T> = { readonly places: readonly number[]; readonly value: T };

export class NucleusClient<V = string> {
  readonly core: ClientCore;
  readonly #reader: ReplyReader<V>;
  readonly #asValue: Read<V | undefined>;
  readonly #asValues: Read<(V | undefined)[]>;
  readonly #asNumber: Read<number>;
  readonly #asRevision: Read<number | undefined>;
  readonly #asDone: Read<void>;

  /** `blob` makes values of bytes. */
  constructor(core: ClientCore, blob: Blob<V>) {
    this.core = core;
    const reader = new ReplyReader(blob);
    this.#reader = reader;
    this.#asValue = (bytes, start, end) => reader.read(bytes, start, end) as V | undefined;
    this.#asValues = (bytes, start, end) => listOf(reader.read(bytes, start, end)) as (V | undefined)[];
    this.#asNumber = (bytes, start, end) => numberOf(reader.read(bytes, start, end));
    this.#asRevision = (bytes, start, end) => {
      const [done, revision] = listOf(reader.read(bytes, start, end));
      return done === 1 ? numberOf(revision) : undefined;
    };
    this.#asDone = (bytes, start, end) => {
      reader.read(bytes, start, end);
    };
  }

  // ------------------------------------------------------------------------------------------- one key

  get(key: Data, options?: ReadOptions): Promise<V | undefined> {
    const call = new Call(this.#asValue);
    if (this.#begin(OP.get, slotOfKey(key), call, options, key)) this.#end(call, options);
    return call.promise;
  }

  /** The value with its revision and its end. */
  getEntry(key: Data, options?: ReadOptions): Promise<Entry<V> | undefined> {
    const call = new Call((bytes, start, end) => entryOf<V>(this.#reader.read(bytes, start, end)));
    if (this.#begin(OP.getRecord, slotOfKey(key), call, options, key)) this.#end(call, options);
    return call.promise;
  }

  /**
   * Gives the key's new revision (0 if it ended at once, by an `expiresAtMs` in the past), or undefined if
   * `ifAbsent` or `ifPresent` did not hold. With `returnOld`: the value that it had.
   */
  set(key: Data, value: Data, options: SetOptions & { readonly returnOld: true }): Promise<V | undefined>;
  set(key: Data, value: Data, options?: SetOptions): Promise<number | undefined>;
  set(
    key: Data,
    value: Data,
    options: SetOptions & { readonly returnOld?: boolean } = {},
  ): Promise<V | number | undefined> {
    const wrong = setProblem(options);
    if (wrong !== null) return Promise.reject(new UsageError(wrong));
    const { ifRevision } = options;
    const read: Read<V | number | undefined> =
      ifRevision !== undefined
        ? (bytes, start, end) => this.#revisionOr(ifRevision, bytes, start, end)
        : options.returnOld === true
          ? this.#asValue
          : this.#asRevision;
    const call = new Call(read);
    if (this.#begin(OP.set, slotOfKey(key), call, options, key)) {
      const to = this.#command as CommandEncoder;
      putArgument(to, value);
      to.argI64(setBits(options));
      to.argI64(options.ttlMs ?? options.expiresAtMs ?? 0);
      if (ifRevision !== undefined) to.argI64(ifRevision);
      this.#end(call, options);
    }
    return call.promise;
  }

  #revisionOr(expected: number, bytes: Uint8Array, start: number, end: number): number {
    const [done, revision] = listOf(this.#reader.read(bytes, start, end));
    if (done !== 1) throw new ConflictError(expected, numberOf(revision));
    return numberOf(revision);
  }

  /** Deletes keys and says how many there were. */
  del(
    key: Data | readonly Data[],
    options: CallOptions & { readonly ifRevision?: number } = {},
  ): Promise<number> {
    const { ifRevision } = options;
    if (ifRevision !== undefined) return this.#delIf(key, ifRevision, options);
    return this.#countKeys(OP.del, key, options);
  }

  #delIf(key: Data | readonly Data[], revision: number, options: CallOptions): Promise<number> {
    if (isList(key)) return Promise.reject(new UsageError("ifRevision is for one key"));
    if (!isRevision(revision) || revision === 0)
      return Promise.reject(new UsageError("ifRevision is a whole number from 1"));
    const call = new Call<number>((bytes, start, end) => {
      if (this.#asNumber(bytes, start, end) !== 1) throw new ConflictError(revision, undefined);
      return 1;
    });
    if (this.#begin(OP.delIf, slotOfKey(key), call, options, key)) {
      const to = this.#command as CommandEncoder;
      to.argI64(SET_OPTION.ifRevision);
      to.argI64(revision);
      this.#end(call, options);
    }
    return call.promise;
  }

  /** Adds to the number that the key holds (0 if absent) and gives the sum. */
  incr(key: Data, by = 1, options?: CallOptions): Promise<number> {
    if (!Number.isSafeInteger(by))
      return Promise.reject(new UsageError("incr adds a whole number below 2^53"));
    const call = new Call(this.#asNumber);
    if (this.#begin(OP.incrBy, slotOfKey(key), call, options, key)) {
      (this.#command as CommandEncoder).argI64(by);
      this.#end(call, options);
    }
    return call.promise;
  }

  /** Lets the key end after `ttlMs`; false = there is no such key. */
  expire(key: Data, ttlMs: number, options?: CallOptions): Promise<boolean> {
    if (!isDuration(ttlMs)) return Promise.reject(new UsageError("ttlMs is a whole number above 0"));
    const call = new Call((bytes, start, end) => this.#asNumber(bytes, start, end) === 1);
    if (this.#begin(OP.expire, slotOfKey(key), call, options, key)) {
      const to = this.#command as CommandEncoder;
      to.argI64(ttlMs);
      to.argI64(EXPIRE_OPTION.relative);
      this.#end(call, options);
    }
    return call.promise;
  }

  /** Lets the key stay for ever; false = it had no end, or is absent. */
  persist(key: Data, options?: CallOptions): Promise<boolean> {
    const call = new Call((bytes, start, end) => this.#asNumber(bytes, start, end) === 1);
    if (this.#begin(OP.persist, slotOfKey(key), call, options, key)) this.#end(call, options);
    return call.promise;
  }

  /** Milliseconds until the key ends; Infinity if it never does, undefined if it is absent. */
  ttl(key: Data, options?: ReadOptions): Promise<number | undefined> {
    const call = new Call((bytes, start, end) => {
      const ms = this.#asNumber(bytes, start, end);
      if (ms === -2) return undefined;
      return ms === -1 ? Number.POSITIVE_INFINITY : ms;
    });
    if (this.#begin(OP.ttl, slotOfKey(key), call, options, key)) {
      const to = this.#command as CommandEncoder;
      to.argI64(1);
      to.argI64(0);
      this.#end(call, options);
    }
    return call.promise;
  }

  // ------------------------------------------------------------------------------------------- many keys

  /** The values in the order of the keys. */
  async mget(keys: readonly Data[], options?: ReadOptions): Promise<(V | undefined)[]> {
    const values: (V | undefined)[] = new Array<V | undefined>(keys.length).fill(undefined);
    if (keys.length === 0) return values;
    for (const { places, value } of await this.#overKeys(OP.mget, keys, this.#asValues, options)) {
      if (value.length !== places.length) throw wrongReply("a value for each key");
      for (const [i, place] of places.entries()) values[place] = value[i];
    }
    return values;
  }

  /** How many of the keys are there; a key given twice counts twice. */
  exists(keys: Data | readonly Data[], options?: ReadOptions): Promise<number> {
    return this.#countKeys(OP.exists, keys, options);
  }

  /** Sets all of them: those of one slot in one step, those of several slots not. */
  async mset(
    entries: Iterable<readonly [Data, Data]> | Readonly<Record<string, Data>>,
    options?: CallOptions,
  ): Promise<void> {
    const list = isIterable(entries) ? [...entries] : Object.entries(entries);
    if (list.length === 0) return;
    if (2 * list.length > ARGS_MAX) throw new UsageError(`mset takes at most ${ARGS_MAX / 2} entries`);
    await this.#inParts(OP.mset, list, ([key]) => slotOfKey(key), putPair, this.#asDone, options);
  }

  async #countKeys(op: Op, keys: Data | readonly Data[], options?: ReadOptions): Promise<number> {
    const list = isList(keys) ? keys : [keys];
    let sum = 0;
    for (const { value } of await this.#overKeys(op, list, this.#asNumber, options)) sum += value;
    return sum;
  }

  async #overKeys<T>(
    op: Op,
    keys: readonly Data[],
    read: Read<T>,
    options?: ReadOptions,
  ): Promise<Part<T>[]> {
    if (keys.length === 0 || keys.length > ARGS_MAX)
      throw new UsageError(`1 to ${ARGS_MAX} keys can be given`);
    return this.#inParts(op, keys, slotOfKey, putArgument, read, options);
  }

  /** One command to each slot (writes) or shard (reads) that `items` lie in; all of them begin at once. */
  async #inParts<I, T>(
    op: Op,
    items: readonly I[],
    slotOf: (item: I) => number,
    put: (to: CommandEncoder, item: I) => void,
    read: Read<T>,
    options?: ReadOptions,
  ): Promise<Part<T>[]> {
    const isWrite = op >= OP_WRITE_MIN;
    const bySlot = isWrite || (options?.consistency ?? "leader") !== "leader"; // as a follower answers
    const parts = placesBy(items, (item) => (bySlot ? slotOf(item) : this.core.groupOf(slotOf(item))));
    const calls = parts.map((places) => {
      const call = new Call(read);
      if (this.#begin(op, slotOf(items[places[0] as number] as I), call, options)) {
        for (const place of places) put(this.#command as CommandEncoder, items[place] as I);
        this.#end(call, options);
      }
      return call.promise;
    });
    const values = await gather(calls, isWrite);
    return values.map((value, i) => ({ places: parts[i] as number[], value }));
  }

  /** Every key that stays while it runs, at least once. */
  async *scan(options: ScanOptions = {}): AsyncGenerator<V, void, undefined> {
    if (options.prefix !== undefined && options.match !== undefined)
      throw new UsageError("scan takes a prefix or a pattern, not both");
    const pattern = options.match ?? (options.prefix === undefined ? "" : `${globOf(options.prefix)}*`);
    let cursor = 0n;
    do {
      const page = await this.#scanPage(cursor, pattern, options);
      cursor = page.cursor;
      yield* page.keys;
    } while (cursor !== 0n);
  }

  #scanPage(cursor: bigint, pattern: string, options: ScanOptions): Promise<{ cursor: bigint; keys: V[] }> {
    const call = new Call((bytes, start, end) => {
      const [next, keys] = listOf(this.#reader.read(bytes, start, end));
      return { cursor: cursorOf(next), keys: listOf(keys) as V[] };
    });
    if (this.#begin(OP.scan, -1, call, options)) {
      const to = this.#command as CommandEncoder;
      to.argI64(cursor);
      to.argI64(options.count ?? SCAN_COUNT);
      putArgument(to, pattern);
      putArgument(to, "");
      this.#end(call, options);
    }
    return call.promise;
  }

  // ------------------------------------------------------------------------------------------- the node

  /** Resolves when the node answers. */
  ping(options?: CallOptions): Promise<void> {
    return this.#ask(OPCODE.ping, () => {}, options);
  }

  /** What the node says of itself and its shards (NUCLEUS STATUS). */
  status(options?: CallOptions): Promise<unknown> {
    return this.#ask(OPCODE.admin, statusOf, options);
  }

  #ask<T>(
    opcode: typeof OPCODE.ping | typeof OPCODE.admin,
    read: Read<T>,
    options?: CallOptions,
  ): Promise<T> {
    const call = new Call(read);
    const problem = optionsProblem(options) ?? abortedBefore(options?.signal);
    if (problem !== null) call.onError(problem);
    else {
      const request = this.core.ask(opcode, call, options?.timeoutMs);
      if (options?.signal !== undefined) call.watch(options.signal, this.core, request);
    }
    return call.promise;
  }

  /** Waits for the calls under way, and ends the connection. New calls are refused. */
  close(): Promise<void> {
    return new Promise((resolve) => this.core.drain(resolve));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  // ------------------------------------------------------------------------------------------- requests

  /** Where the arguments of the command that was begun go. */
  #command: CommandEncoder | null = null;

  /** False: the call has failed already, and there is nothing to write. */
  #begin<T>(op: Op, slot: number, call: Call<T>, options: ReadOptions | undefined, key?: Data): boolean {
    const problem =
      options === undefined
        ? null
        : (optionsProblem(options) ?? readProblem(options) ?? abortedBefore(options.signal));
    if (problem !== null) {
      call.onError(problem);
      return false;
    }
    const replica = options === undefined || op >= OP_WRITE_MIN ? null : replicaRead(options);
    this.#command = this.core.begin(op, slot, call, options?.timeoutMs, replica);
    if (key !== undefined) putArgument(this.#command, key);
    return true;
  }

  #end<T>(call: Call<T>, options: CallOptions | undefined): void {
    const request = this.core.end();
    if (options?.signal !== undefined) call.watch(options.signal, this.core, request);
  }
}

// --------------------------------------------------------------------------------------------- arguments and replies

function isList(keys: Data | readonly Data[]): keys is readonly Data[] {
  return Array.isArray(keys);
}

function isIterable(
  entries: Iterable<readonly [Data, Data]> | Readonly<Record<string, Data>>,
): entries is Iterable<readonly [Data, Data]> {
  return Symbol.iterator in entries;
}

function putPair(to: CommandEncoder, [key, value]: readonly [Data, Data]): void {
  putArgument(to, key);
  putArgument(to, value);
}

function listOf(value: unknown): unknown[] {
  if (Array.isArray(value)) return value;
  throw wrongReply("a list");
}

function numberOf(value: unknown): number {
  if (typeof value === "number") return value;
  if (typeof value === "bigint")
    throw new ProtocolError(`the command was executed; its result is ${value}, above 2^53`);
  throw wrongReply("a number");
}

function entryOf<V>(value: unknown): Entry<V> | undefined {
  if (value === undefined) return undefined;
  const [own, revision, expires] = listOf(value);
  const at = numberOf(expires);
  return { value: own as V, revision: numberOf(revision), expiresAtMs: at < 0 ? undefined : at };
}

function cursorOf(value: unknown): bigint {
  const text = value instanceof Uint8Array ? fromUtf8(value) : String(value);
  if (!/^\d{1,20}$/.test(text)) throw wrongReply("a cursor");
  return BigInt(text);
}

/** A glob that matches this text alone. */
function globOf(text: string): string {
  return text.replace(/[\\*?[\]^-]/g, "\\$&");
}
