/**
 * The control plane's group without a network: one log of sealed batches, several processes that apply it sooner or later,
 * one that leads; and perhaps others that still believe they do, whose words reach no majority.
 */
import { assert } from "../../src/base/assert.ts";
import type { Prng } from "../../src/base/prng.ts";
import type { ControlCommand } from "../../src/controlplane/commands.ts";
import type { MetaGroup } from "../../src/controlplane/meta_group.ts";
import { MetaStore } from "../../src/controlplane/meta_store.ts";
import type { MetaState, Reply } from "../../src/controlplane/state.ts";
import { batchOf, bootstrap, Replies } from "./driver.ts";

type Asked = { readonly command: ControlCommand; readonly done: (reply: Reply | null) => void };
type Reading = { readonly index: number; readonly done: (state: MetaState | null) => void };

export class LogWorld {
  /** Place i is index i + 1; all of it is committed. */
  readonly log: Uint8Array[] = [bootstrap()];
  readonly processes: LogProcess[] = [];
  readonly random: Prng;
  term = 0;
  leader: LogProcess | null = null;
  /** Most entries that others than the leader are behind, and most steps that a new one takes to catch up. */
  lagMax = 0;
  #catchUpSteps = 0;

  constructor(count: number, random: Prng) {
    this.random = random;
    for (let i = 1; i <= count; i++) this.processes.push(new LogProcess(this, `127.0.0.1:${7100 + i}`));
  }

  /** The state with everything in it. */
  get state(): MetaState {
    const newest = this.processes.reduce((a, b) => (b.applied > a.applied ? b : a));
    return newest.state;
  }

  /** The old leader, if there is one, goes on believing until it is told. */
  elect(next: LogProcess): void {
    const old = this.leader;
    this.term++;
    this.leader = next;
    next.begin(this.term);
    this.#catchUpSteps = old === next ? 0 : this.random.below(this.lagMax + 1);
    if (old !== null && old !== next) old.isolate(this.random.chance(1, 2));
  }

  step(): void {
    this.leader?.seal();
    const isBehind = this.#catchUpSteps > 0;
    if (isBehind) this.#catchUpSteps--;
    for (const process of this.processes) {
      if (process.isLeader && process !== this.leader) continue; // whoever hears of entries hears of their leader
      // For a while each is as far behind as it is: else all catch up in every pause.
      if (this.random.chance(1, 30)) process.lag = this.random.below(this.lagMax + 1);
      const isLeader = process === this.leader && !isBehind;
      process.applyUpTo(this.log.length - (isLeader ? 0 : Math.min(process.lag, this.lagMax)));
    }
  }
}

export class LogProcess implements MetaGroup {
  readonly address: string;
  readonly store = new MetaStore();
  readonly #world: LogWorld;
  isLeader = false;
  term = 0;
  lag = 0;
  #asked: Asked[] = [];
  readonly #waiting = new Map<number, readonly Asked[]>();
  #readings: Reading[] = [];

  constructor(world: LogWorld, address: string) {
    this.#world = world;
    this.address = address;
    this.applyUpTo(1);
  }

  get state(): MetaState {
    return this.store.state;
  }

  get applied(): number {
    return this.store.appliedIndex;
  }

  get #leadsIndeed(): boolean {
    return this.isLeader && this.#world.leader === this && this.#world.term === this.term;
  }

  leaderAddress(): string | null {
    return this.#world.leader?.address ?? null;
  }

  begin(term: number): void {
    this.stepDown();
    this.isLeader = true;
    this.term = term;
  }

  /** What it asked for and nobody has sealed: perhaps others have it, perhaps not. */
  isolate(isKept: boolean): void {
    if (!isKept || this.#asked.length === 0) return;
    this.#world.log.push(
      batchOf(
        this.#world.log.length + 1,
        this.#asked.map(({ command }) => command),
      ),
    );
  }

  stepDown(): void {
    this.isLeader = false;
    const open = [...this.#asked, ...[...this.#waiting.values()].flat()];
    this.#asked = [];
    this.#waiting.clear();
    for (const { done } of open) done(null);
    const readings = this.#readings;
    this.#readings = [];
    for (const { done } of readings) done(null);
  }

  propose(command: ControlCommand, done: (reply: Reply | null) => void): void {
    if (this.isLeader) this.#asked.push({ command, done });
    else done(null);
  }

  read(done: (state: MetaState | null) => void): void {
    if (this.isLeader) this.#readings.push({ index: this.#world.log.length, done });
    else done(null);
  }

  seal(): void {
    if (!this.#leadsIndeed || this.#asked.length === 0) return;
    const asked = this.#asked;
    this.#asked = [];
    const index = this.#world.log.length + 1;
    this.#world.log.push(
      batchOf(
        index,
        asked.map(({ command }) => command),
      ),
    );
    this.#waiting.set(index, asked);
  }

  applyUpTo(end: number): void {
    while (this.applied < end) {
      const index = this.applied + 1;
      const replies = new Replies();
      this.store.apply(index, 1, this.#world.log[index - 1] as Uint8Array, replies);
      const asked = this.#waiting.get(index) ?? [];
      this.#waiting.delete(index);
      for (const [i, { done }] of asked.entries()) done(replyOf(replies.texts[i]));
    }
    if (!this.#leadsIndeed) return;
    const due = this.#readings.filter(({ index }) => index <= this.applied);
    this.#readings = this.#readings.filter(({ index }) => index > this.applied);
    for (const { done } of due) done(this.state);
  }
}

function replyOf(text: string | undefined): Reply {
  assert(text !== undefined, "every command has a reply");
  const number = /^ok (\d+)$/.exec(text)?.[1];
  return number === undefined ? { ok: false, error: text } : { ok: true, number: Number(number) };
}
