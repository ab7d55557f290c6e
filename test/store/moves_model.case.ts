/**
 * Moves against a model: three shards, a few slots that wander between them, and at every moment something else: client
 * commands and retries, chunks that come twice or from a former leader, leader changes, aborts, time, images. The model
 * knows what every client was told; whoever serves a slot must still say so.
 */
import t, { type Test } from "tap";
import { Prng } from "../../src/base/prng.ts";
import { OP, SET_OPTION } from "../../src/wire/command.ts";
import type { Reply } from "./driver.ts";
import type { TestSession } from "./frames.ts";
import { Carrier, checkOwners, rangesOf, Shard, slotOfKey } from "./shards.ts";

const TAGS = ["a", "b", "c", "d", "e", "f"];
const SLOTS = TAGS.map((tag) => slotOfKey(`{${tag}}`));

type Known = { value: string; deadline: number; revision: number };
type Told = { key: string; session: TestSession; reply: Reply };

class World {
  readonly random: Prng;
  readonly shards: Shard[];
  readonly known = new Map<string, Known>();
  /** Highest revision that a key was ever seen with. */
  readonly revisions = new Map<string, number>();
  readonly told: Told[] = [];
  readonly counts = { commands: 0, retries: 0, owned: 0, aborted: 0, stale: 0, reloads: 0, refused: 0 };
  #epoch = 1;
  #seq = 1;
  #carrier: Carrier | null = null;
  #isSealed = false;
  /** Chunks of all moves, for those who send them again. */
  readonly #old: { target: Shard; body: Uint8Array }[] = [];

  constructor(seed: number) {
    this.random = Prng.fromSeed(seed);
    this.shards = [new Shard("s1", 1, [[0, 16383]]), new Shard("s2", 2, []), new Shard("s3", 3, [])];
  }

  step(): void {
    const { random } = this;
    const pick = random.below(100);
    if (pick < 45) this.#command();
    else if (pick < 52) this.#retry();
    else if (pick < 55) this.#sendOld();
    else if (pick < 58) random.pick(this.shards).wait(random.below(400));
    else if (pick < 60) {
      random.pick(this.shards).reload();
      this.counts.reloads++;
      this.#dropCopy(); // the copy's replica may be the one that was replaced
    } else this.#move();
    if (random.chance(1, 8)) checkOwners(this.shards);
  }

  /** Ends what is open, and reads everything. */
  end(): void {
    while (this.#carrier !== null) this.#move();
    checkOwners(this.shards);
    for (const tag of TAGS) for (let i = 0; i < 12; i++) this.check(`{${tag}}${i}`);
  }

  owner(slot: number): Shard | null {
    return this.shards.find((shard) => shard.serves(slot)) ?? null;
  }

  /** What the owner says of a key must be what the model knows. */
  check(key: string): void {
    const owner = this.owner(slotOfKey(key));
    if (owner === null) return;
    const known = this.#live(key, owner);
    const wanted = known === null ? null : [known.value, known.revision, known.deadline || -1];
    const got = owner.read(OP.getRecord, key);
    if (JSON.stringify(got) !== JSON.stringify(wanted))
      throw new Error(`${key} at ${owner.name}: ${JSON.stringify(got)}, wanted ${JSON.stringify(wanted)}`);
  }

  #live(key: string, owner: Shard): Known | null {
    const known = this.known.get(key);
    if (known === undefined) return null;
    return known.deadline !== 0 && known.deadline <= owner.store.logTimeMs ? null : known;
  }

  #key(): string {
    return `{${this.random.pick(TAGS)}}${this.random.below(12)}`;
  }

  #command(): void {
    const { random } = this;
    const key = this.#key();
    const owner = this.owner(slotOfKey(key));
    if (owner === null) {
      const reply = random.pick(this.shards).run(OP.set, key, "nobody", 0, 0);
      if (!isRefused(reply)) throw new Error("a slot that nobody serves was written");
      this.counts.refused++;
      return;
    }
    this.counts.commands++;
    const what = random.below(10);
    if (what < 4) this.#set(owner, key);
    else if (what < 6) owner.run(OP.del, key);
    else if (what < 9) this.#increment(owner, key);
    else if (random.chance(1, 10)) {
      owner.run(OP.flushAll);
      for (const one of [...this.known.keys()]) if (owner.serves(slotOfKey(one))) this.known.delete(one);
    }
    if (what >= 4 && what < 6) this.known.delete(key);
    this.check(key);
    for (const other of this.shards) {
      if (other !== owner && !isRefused(other.read(OP.get, key)))
        throw new Error(`${other.name} answers, too`);
    }
  }

  #set(owner: Shard, key: string): void {
    const { random } = this;
    const value = `v${random.below(1000)}${"x".repeat(random.chance(1, 30) ? 30_000 : random.below(20))}`;
    const life = random.chance(1, 2) ? 0 : 1 + random.below(3000);
    owner.run(OP.set, key, value, life === 0 ? 0 : SET_OPTION.expiryRelative, life);
    const deadline = life === 0 ? 0 : owner.store.logTimeMs + life;
    this.#note(owner, key, { value, deadline, revision: owner.store.revision });
  }

  #note(owner: Shard, key: string, known: Known): void {
    if (known.revision <= (this.revisions.get(key) ?? 0)) throw new Error(`${key}: its version fell`);
    if (known.revision > owner.store.revision) throw new Error("a revision of the future");
    this.revisions.set(key, known.revision);
    this.known.set(key, known);
  }

  #increment(owner: Shard, key: string): void {
    const before = this.#live(key, owner);
    if (before !== null && !/^\d+$/.test(before.value)) return;
    const seq = this.#seq++;
    const client = 1 + this.random.below(3);
    const floor = Math.max(1, seq - 5 - this.random.below(20));
    // The client's time: not far from the owner's.
    const notAfter = owner.store.logTimeMs + 30_000 + this.random.below(20_000);
    const session = { client, seq, floor, notAfter, after: 0 };
    const reply = owner.apply([OP.incrBy, [key, 1], session])[0] as Reply;
    const value = String(Number(before?.value ?? 0) + 1);
    if (reply !== Number(value)) throw new Error(`${key}: ${JSON.stringify(reply)} instead of ${value}`);
    this.#note(owner, key, { value, deadline: before?.deadline ?? 0, revision: owner.store.revision });
    this.told.push({ key, session, reply });
  }

  /** A write that was answered is sent again: the same answer or STALE, and nothing else, wherever its slot is now. */
  #retry(): void {
    const recent = this.told.slice(-12);
    if (recent.length === 0) return;
    const { key, session, reply } = this.random.pick(recent);
    const owner = this.owner(slotOfKey(key));
    if (owner === null) return;
    const { revision } = owner.store;
    const again = owner.apply([OP.incrBy, [key, 1], session])[0] as Reply;
    const isStale =
      typeof again === "object" && again !== null && "error" in again && /^STALE/.test(again.error);
    if (!isStale && again !== reply) throw new Error(`${key}: a retry gave ${JSON.stringify(again)}`);
    const changed = owner.store.revision - revision; // what expires takes revisions, too
    this.counts.retries++;
    if (changed === 0 || !isStale) this.check(key);
  }

  #sendOld(): void {
    if (this.#old.length === 0) return;
    const { target, body } = this.random.pick(this.#old);
    if (target.move(body) === null) throw new Error("an old chunk was taken");
  }

  #dropCopy(): void {
    if (this.#carrier === null) return;
    this.#carrier.end();
    this.#carrier.term++;
    this.#carrier.n = 0;
  }

  #move(): void {
    const { random } = this;
    const move = this.#carrier;
    if (move === null) return this.#begin();
    if (random.chance(1, 60)) return this.#abort(move);
    if (random.chance(1, 40)) return this.#dropCopy();
    if (random.chance(1, 20)) this.#repeat(move);
    if (move.copy?.isStale === true) {
      this.counts.stale++;
      move.end();
    }
    if (move.copy === null) {
      expect(move.begin());
      return;
    }
    const before = move.sent.length;
    if (!move.copy.isDone) move.send(50 + random.below(1500));
    for (const body of move.sent.slice(before)) this.#old.push({ target: move.target, body });
    if (!this.#isSealed && !move.copy.isWalking && random.chance(1, 4)) {
      expect(move.seal());
      this.#isSealed = true;
    }
    if (this.#isSealed && move.copy.isDone) this.#own(move);
  }

  #begin(): void {
    const { random } = this;
    const from = random.pick(this.shards);
    const served = SLOTS.filter((slot) => from.serves(slot));
    if (served.length === 0) return;
    const to = random.pick(this.shards.filter((shard) => shard !== from));
    const slots = served.filter(() => random.chance(1, 2));
    this.#epoch += 1 + random.below(3);
    const move = new Carrier(from, to, this.#epoch, rangesOf(...(slots.length > 0 ? slots : served)));
    expect(move.import());
    this.#carrier = move;
    this.#isSealed = false;
  }

  #own(move: Carrier): void {
    const sealed = new Map<string, unknown>();
    const { keys } = move.source.open(move.epoch);
    const own = move.owning();
    expect(move.target.step(own));
    for (const key of this.known.keys()) if (move.target.serves(slotOfKey(key))) sealed.set(key, null);
    if (move.target.open(move.epoch).keys !== keys) throw new Error("keys were lost on the way");
    for (const key of sealed.keys()) this.check(key);
    if (move.target.step({ kind: "abort", epoch: move.epoch }) === null)
      throw new Error("owned, then aborted");
    expect(move.target.step(own));
    expect(move.release());
    this.counts.owned++;
    this.#carrier = null;
  }

  #abort(move: Carrier): void {
    expect(move.target.step({ kind: "abort", epoch: move.epoch }));
    move.end();
    expect(move.source.step({ kind: "unseal", epoch: move.epoch }));
    if (move.import() === null || move.seal() === null) throw new Error("a closed epoch was opened");
    this.counts.aborted++;
    this.#carrier = null;
  }

  /** Steps that were done are proposed again. */
  #repeat(move: Carrier): void {
    expect(move.import());
    if (this.#isSealed) expect(move.seal());
    else if (move.source.step({ kind: "release", epoch: move.epoch }) === null)
      throw new Error("released unsealed");
  }
}

function expect(refusal: string | null): void {
  if (refusal !== null) throw new Error(`refused: ${refusal}`);
}

function isRefused(reply: Reply | undefined): boolean {
  return (
    typeof reply === "object" && reply !== null && "error" in reply && /^NOT SERVED/.test(String(reply.error))
  );
}

function run(t: Test, seed: number, steps: number): World["counts"] {
  const world = new World(seed);
  try {
    for (let i = 0; i < steps; i++) world.step();
    world.end();
  } catch (error) {
    t.fail(`seed ${seed}: ${(error as Error).stack}`);
  }
  return world.counts;
}

t.test("F1, F2, F4 to F7, F12: slots that wander between shards, against a model", async (t) => {
  const all = [1, 2, 3, 4].map((seed) => run(t, seed, 900));
  for (const name of Object.keys(all[0] ?? {}) as (keyof World["counts"])[]) {
    const count = all.reduce((sum, counts) => sum + counts[name], 0);
    t.ok(count > 0, `${count} ${name}`);
  }
});
