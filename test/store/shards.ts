/** Shards for tests of moves: two replicas each, which apply the same entries and must agree after every one. */
import { ENTRY_KIND } from "../../src/raft/types.ts";
import { SLOT_COUNT, slotOf } from "../../src/ring/slot.ts";
import { encodeBirth } from "../../src/store/birth_entry.ts";
import type { CopySource } from "../../src/store/copy_source.ts";
import type { MoveView } from "../../src/store/types.ts";
import type { Op } from "../../src/wire/command.ts";
import { OP } from "../../src/wire/command.ts";
import { ChunkWriter, encodeMoveStep, type MoveStep } from "../../src/wire/move_entry.ts";
import { batchOf, type Command, Driver, type Reply, SETTINGS } from "./driver.ts";
import { type Arg, bytesOf, entry, joined } from "./frames.ts";
import { reload } from "./images.ts";

export type Ranges = readonly (readonly [number, number])[];

export function slotOfKey(key: string): number {
  const bytes = bytesOf(key);
  return slotOf(bytes, 0, bytes.length);
}

/** Ranges of single slots, as moves want them. */
export function rangesOf(...slots: number[]): Ranges {
  return [...new Set(slots)].sort((a, b) => a - b).map((slot) => [slot, slot] as const);
}

export class Shard {
  readonly name: string;
  readonly group: number;
  replicas: [Driver, Driver] = [new Driver(), new Driver()];
  timeMs = 1_000_000;
  #refusal: string | null = null;

  constructor(name: string, group: number, slots: Ranges, epoch = 1) {
    this.name = name;
    this.group = group;
    const birth = encodeBirth({ settings: SETTINGS, shard: name, epoch, slots });
    this.#entry(ENTRY_KIND.bootstrap, joined([new Uint8Array(4), birth]));
  }

  get store(): Driver["store"] {
    return this.replicas[0].store;
  }

  get index(): number {
    return this.store.appliedIndex;
  }

  /** One batch; the replies of the first replica. */
  apply(...commands: Command[]): Reply[] {
    const [first, second] = this.replicas;
    const batch = batchOf(this.timeMs, commands);
    const replies = first.applyBatch(batch.slice());
    const others = second.applyBatch(batch);
    this.#agree();
    if (JSON.stringify(replies, plain) !== JSON.stringify(others, plain)) throw new Error("replies differ");
    return replies;
  }

  run(op: Op, ...args: Arg[]): Reply {
    return this.apply([op, args])[0] as Reply;
  }

  read(op: Op, ...args: Arg[]): Reply | undefined {
    return this.replicas[0].read(this.store.logTimeMs, op, ...args);
  }

  /** Null = done, else why it changed nothing. */
  step(step: MoveStep): string | null {
    return this.move(encodeMoveStep(step));
  }

  move(body: Uint8Array): string | null {
    this.#refusal = "not heard";
    this.store.onMove = (_, refusal) => {
      this.#refusal = refusal;
    };
    this.#entry(ENTRY_KIND.move, body);
    this.store.onMove = null;
    return this.#refusal;
  }

  wait(ms: number): void {
    this.timeMs += ms;
    this.apply();
  }

  open(epoch: number): MoveView {
    const view = this.store.move(epoch);
    if (view === null) throw new Error(`no move ${epoch}`);
    return view;
  }

  phase(epoch: number): string {
    return this.store.move(epoch)?.phase ?? "unknown";
  }

  serves(slot: number): boolean {
    return this.store.slotFate(slot).state === "serving";
  }

  /** One replica is made anew from an image of the other, and they change places. */
  reload(): void {
    const [first] = this.replicas;
    this.replicas = [reload(first), first];
    this.#agree();
  }

  #entry(kind: number, body: Uint8Array): void {
    for (const driver of this.replicas) {
      const bytes = entry(kind, this.timeMs, body.slice());
      driver.applyRaw(bytes);
    }
    this.#agree();
  }

  #agree(): void {
    const [first, second] = this.replicas;
    if (first.store.stateHash() !== second.store.stateHash())
      throw new Error(`${this.name}: replicas differ`);
    if (first.store.logTimeMs !== second.store.logTimeMs || first.store.revision !== second.store.revision)
      throw new Error(`${this.name}: replicas are at different times or revisions`);
  }
}

function plain(_: string, value: unknown): unknown {
  return typeof value === "bigint" ? `${value}n` : value;
}

/** No slot is served by two shards. */
export function checkOwners(shards: readonly Shard[]): void {
  for (let slot = 0; slot < SLOT_COUNT; slot++) {
    let owners = 0; // the replicas of a shard agree
    for (const { store } of shards) if (store.isServed(slot)) owners++;
    if (owners > 1) throw new Error(`slot ${slot} is served twice`);
  }
}

/** One attempt of a move, carried from one shard to another. */
export class Carrier {
  readonly source: Shard;
  readonly target: Shard;
  readonly epoch: number;
  readonly slots: Ranges;
  term = 1;
  n = 0;
  copy: CopySource | null = null;
  chunks = 0;
  /** Chunks of this attempt and of others, for those who send them again. */
  readonly sent: Uint8Array[] = [];
  readonly #writer = new ChunkWriter();

  constructor(source: Shard, target: Shard, epoch: number, slots: Ranges) {
    this.source = source;
    this.target = target;
    this.epoch = epoch;
    this.slots = slots;
  }

  import(): string | null {
    const { name: shard, group } = this.source;
    return this.target.step({
      kind: "import",
      epoch: this.epoch,
      slots: this.slots,
      shard,
      group,
      hold: false,
    });
  }

  begin(): string | null {
    this.copy?.close();
    this.copy = this.source.store.beginCopy(this.slots);
    this.chunks = 0;
    this.n++;
    return this.target.step({ kind: "begin", epoch: this.epoch, term: this.term, n: this.n });
  }

  /** Sends one chunk; false: there was nothing to send. */
  send(bytesMax = 4096): boolean {
    const { copy } = this;
    if (copy === null) throw new Error("no copy");
    this.#writer.begin({ epoch: this.epoch, term: this.term, n: this.n, number: this.chunks });
    copy.fill(this.#writer, bytesMax);
    if (this.#writer.rows === 0) return false;
    this.chunks++;
    const body = this.#writer.end().slice();
    this.sent.push(body);
    const refusal = this.target.move(body);
    if (refusal !== null) throw new Error(refusal);
    return true;
  }

  sendAll(bytesMax = 4096): void {
    while (this.send(bytesMax));
  }

  seal(): string | null {
    const { name: shard, group } = this.target;
    return this.source.step({ kind: "seal", epoch: this.epoch, slots: this.slots, shard, group });
  }

  /** The step that takes over, from what the source has now. */
  owning(): MoveStep {
    if (this.copy === null) throw new Error("no copy");
    const final = this.copy.final(this.chunks, this.source.index);
    return { kind: "own", epoch: this.epoch, term: this.term, n: this.n, ...final };
  }

  own(): string | null {
    return this.target.step(this.owning());
  }

  release(): string | null {
    this.end();
    return this.source.step({ kind: "release", epoch: this.epoch });
  }

  end(): void {
    this.copy?.close();
    this.copy = null;
  }

  /** All steps to the end. */
  carry(): void {
    const steps = [this.import(), this.begin()];
    this.sendAll();
    steps.push(this.seal());
    this.sendAll();
    steps.push(this.own(), this.release());
    const refusal = steps.find((step) => step !== null);
    if (refusal !== undefined) throw new Error(refusal ?? "");
  }
}

/** A key in the slot that `pair` moves. */
export const MOVED_KEY = "{m}key";

/** Two shards with one slot of the first on its way to the second, after `keys` keys in it. */
export function pair(keys = 0): { a: Shard; b: Shard; carrier: Carrier } {
  const a = new Shard("a", 11, [[0, 16383]]);
  const b = new Shard("b", 22, []);
  for (let i = 0; i < keys; i++) a.run(OP.set, `{m}${i}`, `value ${i}`, 0, 0);
  return { a, b, carrier: new Carrier(a, b, 10, rangesOf(slotOfKey(MOVED_KEY))) };
}
