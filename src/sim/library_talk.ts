/**
 * A simulated client that uses the product's own client library: it finds the nodes itself, retries under the same
 * session numbers, and tells what became of a write. So exactly-once is tested from end to end.
 */
import { utf8 } from "../base/bytes.ts";
import { type Caller, ClientCore } from "../client/core.ts";
import { type ClientError, CommandError, ProtocolError, UnavailableError } from "../client/errors.ts";
import type { Platform } from "../platform/platform.ts";
import { slotOf } from "../ring/slot.ts";
import { replayReply } from "../wire/native_reply.ts";
import { describeRegisterOp, type History, type RegisterOp, type Value } from "./history.ts";
import { type Answer, AnswerSink, meaningOf, opOf, writeArguments } from "./speech.ts";
import type { Talk, TalkHost, Target } from "./talk.ts";
import type { Process, World } from "./world.ts";

/** What a call may take; the library retries within it. */
const TIMEOUT_MS = 5_000;

export class LibraryTalk implements Talk {
  readonly ended = false;
  readonly #world: World;
  readonly #process: Process;
  readonly #history: History;
  readonly #host: TalkHost;
  #core: ClientCore | null = null;
  #pending = 0;

  constructor(world: World, process: Process, history: History, host: TalkHost) {
    this.#world = world;
    this.#process = process;
    this.#history = history;
    this.#host = host;
  }

  get pendingCount(): number {
    return this.#pending;
  }

  begin(platform: Platform, targets: readonly Target[]): void {
    const options = {
      addresses: targets,
      name: `client${this.#host.client}`,
      version: "sim",
      timeoutMs: TIMEOUT_MS,
    };
    this.#core = new ClientCore(platform, options);
    this.#host.onReady(this);
  }

  ask(key: string, op: RegisterOp): void {
    const core = this.#core;
    if (core === null) return;
    const bytes = utf8(key);
    // Overlapping reads of the library have no order; writes of one slot have.
    const id = this.#history.invoke(this.#host.client, key, op, op.kind !== "get");
    this.#pending++;
    this.#tell(`asks ${describeRegisterOp(op)} ${key}`);
    const encoder = core.begin(opOf(op), slotOf(bytes, 0, bytes.length), this.#caller(id, key, op));
    writeArguments(encoder, bytes, op);
    core.end();
  }

  giveUpIfSilent(): void {} // the library does that by itself

  #caller(id: number, key: string, op: RegisterOp): Caller {
    return {
      onReply: (bytes, start, end) => {
        const sink = new AnswerSink();
        if (!replayReply(bytes, start, end, sink))
          this.#world.fail("client library", "it passed on a malformed reply");
        else this.#onAnswer(id, key, op, sink.answer);
      },
      onError: (error) => this.#onError(id, key, op, error),
    };
  }

  #onAnswer(id: number, key: string, op: RegisterOp, answer: Answer): void {
    this.#tell(`is told of ${describeRegisterOp(op)} ${key}: ${JSON.stringify(answer).slice(0, 60)}`);
    this.#pending--;
    const meaning = meaningOf(op, answer);
    let value: Value | undefined;
    if (meaning.outcome === "ok") {
      this.#history.complete(id, "ok", meaning.result);
      if (op.kind === "get") value = meaning.result as Value;
    } else {
      this.#world.fail("client library", `${op.kind} ${key} was answered with ${JSON.stringify(answer)}`);
    }
    this.#host.onAnswer(this, key, value);
  }

  #onError(id: number, key: string, op: RegisterOp, error: ClientError): void {
    if (error instanceof CommandError)
      return this.#onAnswer(id, key, op, { kind: "error", text: error.message });
    this.#tell(`is told of ${describeRegisterOp(op)} ${key}: ${error.name} ${error.message}`);
    this.#pending--;
    if (error instanceof ProtocolError)
      this.#world.fail("client library", `${op.kind} ${key}: ${error.message}`);
    this.#history.complete(id, error instanceof UnavailableError ? "not_executed" : "unknown");
    this.#host.onAnswer(this, key, undefined);
  }

  #tell(text: string): void {
    if (this.#world.trace.recording) this.#world.tell("", this.#process.machine, text);
  }
}
