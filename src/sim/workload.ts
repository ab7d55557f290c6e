/**
 * Simulated clients: each sits on a machine of its own, keeps one connection to some node, pipelines operations
 * on a few keys, and writes down what it saw (history.ts).
 *
 * Every written value is unique in the run, so that whoever reads it names its writer. Keys come in three
 * families, each with the operations that its judge knows best: `r..` set and get, `c..` set, get, cas and del,
 * `n..` incr and get. When a connection ends, what was under way on it is unknown, and the client goes on elsewhere.
 */
import type { Prng } from "../base/prng.ts";
import type { Connection, ConnectionEvents, Platform } from "../platform/platform.ts";
import { below, draw, type Span } from "./chance.ts";
import { describeRegisterOp, type History, type RegisterOp, type Value } from "./history.ts";
import type { Machine } from "./platform.ts";
import { type Answer, meaningOf, NativeSpeech, RespSpeech, type Speech } from "./speech.ts";
import type { Process, World } from "./world.ts";

export type WorkloadSpec = {
  readonly clients: number;
  /** Keys of each family. */
  readonly registers: number;
  readonly cells: number;
  readonly counters: number;
  readonly readPercent: number;
  /** Most operations under way on a connection. */
  readonly pipelineMax: number;
  /** Between an answer and the next operation. */
  readonly thinkUs: Span;
  /** Values are padded to this many bytes. */
  readonly valueBytes: Span;
  /** Of a hundred clients, how many speak RESP; the others speak the native protocol. */
  readonly respPercent: number;
};

/** Every key that clients use. */
export function keysOf({ registers, cells, counters }: WorkloadSpec): string[] {
  const family = (name: string, count: number): string[] =>
    Array.from({ length: count }, (_, i) => `${name}${i}`);
  return [...family("r", registers), ...family("c", cells), ...family("n", counters)];
}

export type Target = { readonly host: string; readonly port: number };

/** A client gives up a connection on which nothing was answered for this long. */
const SILENCE_US_MAX = 10_000_000;
const RECONNECT_US: Span = [10_000, 300_000];

type Pending = {
  readonly id: number;
  readonly history: number;
  readonly op: RegisterOp;
  readonly askedUs: number;
};

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
  #conversation: Conversation | null = null;
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
      this.#connect();
      platform.clock.ticks(500, () => this.#conversation?.giveUpIfSilent());
    });
  }

  /** Asks nothing more; answers still count. */
  stop(): void {
    this.#stopped = true;
  }

  get pendingCount(): number {
    return this.#conversation?.pendingCount ?? 0;
  }

  #connect(): void {
    if (this.#stopped || this.#platform === null || this.#process === null) return;
    const target = this.#targets[below(this.#random, this.#targets.length)] as Target;
    const resp = below(this.#random, 100) < this.#spec.respPercent;
    this.#conversation = new Conversation(
      this.#world,
      this.#process,
      resp ? new RespSpeech() : new NativeSpeech(),
      this.#history,
      {
        client: this.number,
        onReady: (conversation) => {
          const depth = 1 + below(this.#random, this.#spec.pipelineMax);
          for (let i = 0; i < depth; i++) this.#think(conversation);
        },
        onAnswer: (conversation, key, value) => {
          if (value !== undefined) this.#seen.set(key, value);
          this.#think(conversation);
        },
        onEnd: () => {
          this.#world.timer(draw(this.#random, RECONNECT_US), this.#process as Process, () =>
            this.#connect(),
          );
        },
      },
    );
    this.#conversation.begin(this.#platform, target);
  }

  #think(conversation: Conversation): void {
    if (this.#stopped || this.#process === null) return;
    this.#world.timer(draw(this.#random, this.#spec.thinkUs), this.#process, () => {
      if (this.#stopped || conversation !== this.#conversation || conversation.ended) return;
      const [key, op] = this.#choose();
      conversation.ask(key, op);
    });
  }

  #choose(): [string, RegisterOp] {
    const { registers, cells, counters, readPercent } = this.#spec;
    const place = below(this.#random, registers + cells + counters);
    const reads = below(this.#random, 100) < readPercent;
    if (place < registers) {
      return [`r${place}`, reads ? { kind: "get" } : { kind: "set", value: this.#value() }];
    }
    if (place < registers + cells) {
      const key = `c${place - registers}`;
      return [key, reads ? { kind: "get" } : this.#cellWrite(key)];
    }
    const key = `n${place - registers - cells}`;
    return [key, reads ? { kind: "get" } : { kind: "incr", delta: 1 }];
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

type ConversationHost = {
  readonly client: number;
  onReady(conversation: Conversation): void;
  /** `value`: what the key was seen to hold, if the answer says. */
  onAnswer(conversation: Conversation, key: string, value: Value | undefined): void;
  onEnd(): void;
};

/** One connection of a client, from dial to close. */
export class Conversation implements ConnectionEvents {
  readonly #world: World;
  readonly #process: Process;
  readonly #speech: Speech;
  readonly #history: History;
  readonly #host: ConversationHost;
  readonly #pending = new Map<number, Pending & { readonly key: string }>();
  #connection: Connection | null = null;
  #requests = 1;
  ended = false;

  constructor(world: World, process: Process, speech: Speech, history: History, host: ConversationHost) {
    this.#world = world;
    this.#process = process;
    this.#speech = speech;
    this.#history = history;
    this.#host = host;
  }

  get pendingCount(): number {
    return this.#pending.size;
  }

  begin(platform: Platform, target: Target): void {
    this.#connection = platform.net.dial(target.host, target.port, this);
  }

  onOpen(): void {
    this.#connection?.send(this.#speech.greeting());
    this.#host.onReady(this);
  }

  ask(key: string, op: RegisterOp): void {
    const id = this.#requests++;
    const history = this.#history.invoke(this.#host.client, key, op);
    this.#pending.set(id, { id, history, op, key, askedUs: this.#world.nowUs });
    this.#tell(`asks ${describeRegisterOp(op)} ${key}`);
    this.#connection?.send(this.#speech.request(id, key, op));
  }

  onData(bytes: Uint8Array): void {
    if (this.ended) return;
    const verdict = this.#speech.hear(bytes, (id, answer) => this.#onAnswer(id, answer));
    if (verdict === "malformed")
      this.#world.fail("protocol", `client ${this.#host.client} got malformed bytes`);
  }

  #onAnswer(id: number, answer: Answer): void {
    const pending = id >= 0 ? this.#pending.get(id) : this.#pending.values().next().value;
    if (pending === undefined) {
      this.#world.fail(
        "protocol",
        `client ${this.#host.client} got an answer to nothing: ${JSON.stringify(answer)}`,
      );
      return;
    }
    this.#pending.delete(pending.id);
    const { op, key, history } = pending;
    const meaning = meaningOf(op, answer);
    if (meaning.outcome === "nonsense") {
      this.#world.fail("protocol", `${op.kind} ${key} was answered with ${JSON.stringify(answer)}`);
      return;
    }
    this.#tell(`is told of ${describeRegisterOp(op)} ${key}: ${JSON.stringify(answer).slice(0, 60)}`);
    let value: Value | undefined;
    if (meaning.outcome === "ok") {
      this.#history.complete(history, "ok", meaning.result);
      if (op.kind === "get") value = meaning.result as Value;
      else if ("value" in op && meaning.result === true) value = op.value;
    } else {
      this.#history.complete(history, meaning.outcome);
    }
    this.#host.onAnswer(this, key, value);
  }

  giveUpIfSilent(): void {
    const oldest = this.#pending.values().next().value;
    if (oldest === undefined || this.#world.nowUs - oldest.askedUs < SILENCE_US_MAX) return;
    this.#connection?.destroy();
    this.#end();
  }

  onDrain(): void {}

  onClose(): void {
    this.#end();
  }

  #tell(text: string): void {
    if (this.#world.trace.recording) this.#world.tell("", this.#process.machine, text);
  }

  #end(): void {
    if (this.ended) return;
    this.ended = true;
    for (const { history } of this.#pending.values()) this.#history.complete(history, "unknown");
    this.#pending.clear();
    this.#world.timer(0, this.#process, () => this.#host.onEnd());
  }
}
