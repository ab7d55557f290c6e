/**
 * Simulated clients: each sits on a machine of its own, keeps one connection to some node, pipelines operations
 * on a few keys, and writes down what it saw (history.ts).
 *
 * Every written value is unique in the run, so that whoever reads it names its writer. Keys come in three
 * families, each with the operations that its judge knows best: `r..` set and get, `c..` set, get, cas and del,
 * `n..` incr and get, `e..` set with a time to live, and get. When a connection ends, what was under way on it is unknown, and the client goes on elsewhere.
 */
import type { Prng } from "../base/prng.ts";
import type { Platform } from "../platform/platform.ts";
import { below, draw, type Span } from "./chance.ts";
import type { History, RegisterOp, Value } from "./history.ts";
import { LibraryTalk } from "./library_talk.ts";
import type { Machine } from "./platform.ts";
import { NativeSpeech, RespSpeech } from "./speech.ts";
import { Conversation, type Talk, type TalkHost, type Target } from "./talk.ts";
import type { Process, World } from "./world.ts";

export type WorkloadSpec = {
  readonly clients: number;
  /** Keys of each family. */
  readonly registers: number;
  readonly cells: number;
  readonly counters: number;
  readonly expiring: number;
  /** Keys that are used now and then, so that there is something everywhere; as `cells` are. */
  readonly fillers?: number;
  /** Ends every key: other keys lie in other slots. */
  readonly salt?: string;
  readonly readPercent: number;
  /** Most operations under way on a connection. */
  readonly pipelineMax: number;
  /** Between an answer and the next operation. */
  readonly thinkUs: Span;
  /** Nobody asks for anything in the last `forUs` of each `everyUs`: then groups are put to rest, and faults find them so. */
  readonly lulls?: { readonly everyUs: number; readonly forUs: number };
  /** Values are padded to this many bytes. */
  readonly valueBytes: Span;
  /** Time to live of values of the `e..` keys. */
  readonly ttlMs: Span;
  /** Of a hundred plain connections, how many speak RESP; the others speak the native protocol. */
  readonly respPercent: number;
  /** Of a hundred clients, how many use the product's client library instead of a plain connection. */
  readonly libraryPercent: number;
};

/** Every key that clients use. */
export function keysOf({
  registers,
  cells,
  counters,
  expiring,
  fillers = 0,
  salt = "",
}: WorkloadSpec): string[] {
  const family = (name: string, count: number): string[] =>
    Array.from({ length: count }, (_, i) => `${name}${i}${salt}`);
  return [
    ...family("r", registers),
    ...family("c", cells),
    ...family("n", counters),
    ...family("e", expiring),
    ...family("f", fillers),
  ];
}

/** Of a client's operations, if there are fillers. */
const FILLING_PERCENT = 30;
const RECONNECT_US: Span = [10_000, 300_000];

export class WorkloadClient {
  readonly number: number;
  readonly #world: World;
  readonly #spec: WorkloadSpec;
  readonly #targets: readonly Target[];
  readonly #history: History;
  readonly #random: Prng;
  /** Values seen in each key: what a cas may expect. */
  readonly #seen = new Map<string, Value>();
  #written = 0;
  #talk: Talk | null = null;
  #stopped = false;
  #platform: Platform | null = null;
  #process: Process | null = null;

  constructor(
    world: World,
    number: number,
    spec: WorkloadSpec,
    targets: readonly Target[],
    history: History,
  ) {
    this.#world = world;
    this.number = number;
    this.#spec = spec;
    this.#targets = targets;
    this.#history = history;
    this.#random = world.stream(`client ${number}`);
  }

  start(machine: Machine): void {
    machine.start((platform) => {
      this.#platform = platform;
      this.#process = machine.process;
      const library = below(this.#random, 100) < this.#spec.libraryPercent;
      if (library && machine.process !== null) this.#openLibrary(platform, machine.process);
      else this.#connect();
      platform.clock.ticks(500, () => this.#talk?.giveUpIfSilent());
    });
  }

  /** It speaks through the product's client library. */
  get usesLibrary(): boolean {
    return this.#talk instanceof LibraryTalk;
  }

  /** Asks nothing more; answers still count. */
  stop(): void {
    this.#stopped = true;
  }

  get pendingCount(): number {
    return this.#talk?.pendingCount ?? 0;
  }

  #connect(): void {
    if (this.#stopped || this.#platform === null || this.#process === null) return;
    const target = this.#targets[below(this.#random, this.#targets.length)] as Target;
    const resp = below(this.#random, 100) < this.#spec.respPercent;
    const speech = resp ? new RespSpeech() : new NativeSpeech();
    const talk = new Conversation(this.#world, this.#process, speech, this.#history, this.#host());
    this.#talk = talk;
    talk.begin(this.#platform, target);
  }

  #openLibrary(platform: Platform, process: Process): void {
    const talk = new LibraryTalk(this.#world, process, this.#history, this.#host());
    this.#talk = talk;
    talk.begin(platform, this.#targets);
  }

  #host(): TalkHost {
    return {
      client: this.number,
      onReady: (talk) => {
        const depth = 1 + below(this.#random, this.#spec.pipelineMax);
        for (let i = 0; i < depth; i++) this.#think(talk);
      },
      onAnswer: (talk, key, value) => {
        if (value !== undefined)
          this.#seen.set(key.slice(0, key.length - (this.#spec.salt ?? "").length), value);
        this.#think(talk);
      },
      onEnd: () => {
        const waitUs = draw(this.#random, RECONNECT_US);
        this.#world.timer(waitUs, this.#process as Process, () => this.#connect());
      },
    };
  }

  #think(talk: Talk): void {
    if (this.#stopped || this.#process === null) return;
    this.#world.timer(this.#afterLull(draw(this.#random, this.#spec.thinkUs)), this.#process, () => {
      if (this.#stopped || talk !== this.#talk || talk.ended) return;
      const [key, op] = this.#isFilling() ? this.#fill() : this.#choose();
      talk.ask(`${key}${this.#spec.salt ?? ""}`, op);
    });
  }

  /** In `waitUs`; if that is in a lull, so much after its end as it lies behind its beginning: they do not all come at once. */
  #afterLull(waitUs: number): number {
    const { lulls } = this.#spec;
    if (lulls === undefined) return waitUs;
    const isIn = (this.#world.nowUs + waitUs) % lulls.everyUs >= lulls.everyUs - lulls.forUs;
    return isIn ? waitUs + lulls.forUs : waitUs;
  }

  #choose(): [string, RegisterOp] {
    const { registers, cells, counters, expiring, readPercent, ttlMs } = this.#spec;
    const place = below(this.#random, registers + cells + counters + expiring);
    const reads = below(this.#random, 100) < readPercent;
    if (place < registers) {
      return [`r${place}`, reads ? { kind: "get" } : { kind: "set", value: this.#value() }];
    }
    if (place < registers + cells) {
      const key = `c${place - registers}`;
      return [key, reads ? { kind: "get" } : this.#cellWrite(key)];
    }
    if (place >= registers + cells + counters) {
      const key = `e${place - registers - cells - counters}`;
      if (reads) return [key, { kind: "get" }];
      return [key, { kind: "set", value: this.#value(), ttlMs: draw(this.#random, ttlMs) }];
    }
    const key = `n${place - registers - cells}`;
    return [key, reads ? { kind: "get" } : { kind: "incr", delta: 1 }];
  }

  #isFilling(): boolean {
    return this.#spec.fillers !== undefined && below(this.#random, 100) < FILLING_PERCENT;
  }

  #fill(): [string, RegisterOp] {
    const key = `f${below(this.#random, this.#spec.fillers ?? 1)}`;
    const choice = below(this.#random, 4);
    return [key, choice === 0 ? { kind: "get" } : choice === 1 ? { kind: "del" } : this.#cellWrite(key)];
  }

  #cellWrite(key: string): RegisterOp {
    const choice = below(this.#random, 10);
    if (choice < 4) return { kind: "set", value: this.#value() };
    if (choice < 5) return { kind: "del" };
    return { kind: "cas", expected: this.#seen.get(key) ?? null, value: this.#value() };
  }

  /** Unique in the run; padding makes batches of all sizes. */
  #value(): string {
    const name = `${this.number}.${this.#written++}`;
    const size = draw(this.#random, this.#spec.valueBytes);
    return name.length < size ? `${name}-`.padEnd(size, "x") : name;
  }
}
