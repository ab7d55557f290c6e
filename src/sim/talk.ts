/**
 * A client's talk with the cluster: what it may ask, and whom it tells what came of it. `Conversation` is one plain
 * connection, as any Redis or native client has it: what was under way when it ends is unknown.
 */
import type { Connection, ConnectionEvents, Platform } from "../platform/platform.ts";
import { describeRegisterOp, type History, type RegisterOp, type Value } from "./history.ts";
import { type Answer, meaningOf, type Speech } from "./speech.ts";
import type { Process, World } from "./world.ts";

export type Target = { readonly host: string; readonly port: number };

export interface Talk {
  /** Nothing can be asked any more. */
  readonly ended: boolean;
  readonly pendingCount: number;
  ask(key: string, op: RegisterOp): void;
  giveUpIfSilent(): void;
}

export type TalkHost = {
  readonly client: number;
  onReady(talk: Talk): void;
  /** `value`: what the key was seen to hold, if the answer says. */
  onAnswer(talk: Talk, key: string, value: Value | undefined): void;
  onEnd(): void;
};

/** A client gives up a connection on which nothing was answered for this long. */
const SILENCE_US_MAX = 10_000_000;

type Pending = {
  readonly id: number;
  readonly history: number;
  readonly key: string;
  readonly op: RegisterOp;
  readonly askedUs: number;
};

/** One connection of a client, from dial to close. */
export class Conversation implements Talk, ConnectionEvents {
  readonly #world: World;
  readonly #process: Process;
  readonly #speech: Speech;
  readonly #history: History;
  readonly #host: TalkHost;
  readonly #pending = new Map<number, Pending>();
  #connection: Connection | null = null;
  #requests = 1;
  ended = false;

  constructor(world: World, process: Process, speech: Speech, history: History, host: TalkHost) {
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
