/**
 * Clients of either protocol, one connection each: a call never throws, and says what became of the command.
 *
 * `refused`: said not to be executed, or never sent. `unknown`: it may have taken effect, or may yet.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "../src/base/errors.ts";
import type { RespConnection } from "../src/cli/resp_connection.ts";
import { connect, type NucleusClient, OutcomeUnknownError } from "../src/client/index.ts";

const CALL_MS_MAX = 10_000;
const DIAL_AGAIN_MS = 20;

export type Outcome = "done" | "refused" | "unknown";

export type Caller = {
  incr(key: string): Promise<Outcome>;
  set(key: string, value: string): Promise<Outcome>;
  del(key: string): Promise<Outcome>;
  /** null: nothing is there; undefined: that was not heard. */
  get(key: string): Promise<string | null | undefined>;
  close(): void;
};

type Hear = (error: string) => void;

export class RespCaller implements Caller {
  readonly #open: () => Promise<RespConnection>;
  readonly #hear: Hear;
  #opening: Promise<RespConnection> | null = null;

  constructor(open: () => Promise<RespConnection>, hear: Hear) {
    this.#open = open;
    this.#hear = hear;
  }

  /** One that is open, as far as is known here: what is sent over it is sent. */
  async #connection(): Promise<RespConnection | null> {
    this.#opening ??= this.#open();
    const opening = this.#opening;
    try {
      const connection = await opening;
      if (!connection.closed) return connection;
      this.#forget(opening);
      return this.#connection();
    } catch {
      this.#forget(opening);
      await sleep(DIAL_AGAIN_MS);
      return null;
    }
  }

  /** Unless another one has taken its place by now. */
  #forget(opening: Promise<RespConnection>): void {
    if (this.#opening === opening) this.#opening = null;
  }

  async #write(...words: readonly string[]): Promise<Outcome> {
    const connection = await this.#connection();
    if (connection === null) return "refused";
    try {
      const reply = await connection.call(words, CALL_MS_MAX);
      if (reply.kind !== "error") return "done";
      this.#hear(reply.text);
      return reply.text.startsWith("UNCERTAIN") ? "unknown" : "refused";
    } catch {
      return "unknown"; // it closed, or is closed by the time-out
    }
  }

  incr(key: string): Promise<Outcome> {
    return this.#write("INCR", key);
  }

  set(key: string, value: string): Promise<Outcome> {
    return this.#write("SET", key, value);
  }

  del(key: string): Promise<Outcome> {
    return this.#write("DEL", key);
  }

  async get(key: string): Promise<string | null | undefined> {
    const connection = await this.#connection();
    if (connection === null) return undefined;
    try {
      const reply = await connection.call(["GET", key], CALL_MS_MAX);
      if (reply.kind === "nil") return null;
      if (reply.kind === "bulk") return Buffer.from(reply.bytes).toString();
      this.#hear(reply.kind === "error" ? reply.text : `GET answered with ${reply.kind}`);
    } catch {
      // as above
    }
    return undefined;
  }

  close(): void {
    void this.#opening?.then((connection) => connection.close()).catch(() => {});
  }
}

export class NativeCaller implements Caller {
  readonly #client: NucleusClient<string>;
  readonly #hear: Hear;

  constructor(url: string, hear: Hear) {
    this.#client = connect(url, { timeoutMs: CALL_MS_MAX });
    this.#hear = hear;
  }

  async #write(call: Promise<unknown>): Promise<Outcome> {
    try {
      await call;
      return "done";
    } catch (error) {
      this.#hear(messageOf(error));
      return error instanceof OutcomeUnknownError ? "unknown" : "refused";
    }
  }

  incr(key: string): Promise<Outcome> {
    return this.#write(this.#client.incr(key));
  }

  set(key: string, value: string): Promise<Outcome> {
    return this.#write(this.#client.set(key, value));
  }

  del(key: string): Promise<Outcome> {
    return this.#write(this.#client.del(key));
  }

  async get(key: string): Promise<string | null | undefined> {
    try {
      return (await this.#client.get(key)) ?? null;
    } catch (error) {
      this.#hear(messageOf(error));
      return undefined;
    }
  }

  close(): void {
    void this.#client.close();
  }
}
