/** A real redis-server, run for the length of a test, and the few bytes of a client that a comparison needs. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createConnection, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { concat, fromUtf8, utf8 } from "../../src/base/bytes.ts";

/** Version of the redis-server on this machine, such as "7.0.15"; null if there is none. */
export function redisVersion(): string | null {
  const probe = spawnSync("redis-server", ["--version"], { encoding: "utf8" });
  return /v=(\d+\.\d+\.\d+)/.exec(probe.stdout ?? "")?.[1] ?? null;
}

export class Redis {
  readonly #directory = mkdtempSync(join(tmpdir(), "nucleus-redis-"));
  readonly #path = join(this.#directory, "socket");
  readonly #process: ChildProcess;

  constructor() {
    const options = { port: "0", unixsocket: this.#path, save: "", appendonly: "no", dir: this.#directory };
    const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, value]);
    this.#process = spawn("redis-server", args, { stdio: "ignore" });
  }

  async ready(): Promise<void> {
    for (let tries = 0; tries < 100 && !existsSync(this.#path); tries++) await sleep(50);
  }

  async connect(): Promise<RedisConnection> {
    const socket = createConnection(this.#path);
    await new Promise<void>((resolve, reject) => socket.once("connect", resolve).once("error", reject));
    return new RedisConnection(socket);
  }

  async stop(): Promise<void> {
    const ended = new Promise<void>((resolve) => this.#process.once("exit", () => resolve()));
    this.#process.kill("SIGKILL");
    await ended;
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** A server that says nothing for so long is waiting for more. */
const SILENCE_MS = 3000;

export class RedisConnection {
  #received: Uint8Array = new Uint8Array(0);
  #closed = false;
  #kept: RedisValue[] = [];
  #wake: () => void = () => {};
  readonly #socket: Socket;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (chunk: Uint8Array) => {
      this.#received = concat([this.#received, chunk]);
      this.#wake();
    });
    socket.on("close", () => {
      this.#closed = true;
      this.#wake();
    });
    socket.on("error", () => {});
  }

  send(bytes: Uint8Array): void {
    this.#socket.write(bytes);
  }

  /** The next reply as arrays and strings; numbers as text. */
  async value(): Promise<RedisValue> {
    this.#kept = [];
    await this.reply();
    return this.#kept[0] ?? "";
  }

  /** The next reply's text: "-ERR ..", "+OK", ":1"; of anything longer its first line. Null: closed instead. */
  async reply(): Promise<string | null> {
    while (true) {
      const end = replyEnd(this.#received, 0);
      if (end !== null) {
        const line = this.#received.subarray(0, lineEnd(this.#received, 0) ?? 0);
        this.#kept = [parse(this.#received, 0).value];
        this.#received = this.#received.slice(end);
        return fromUtf8(line).trimEnd();
      }
      if (this.#closed) return null;
      const silent = await new Promise<boolean>((resolve) => {
        const timer = setTimeout(() => resolve(true), SILENCE_MS);
        this.#wake = () => {
          clearTimeout(timer);
          resolve(false);
        };
      });
      if (silent) return "(silence)";
    }
  }

  close(): void {
    this.#socket.destroy();
  }
}

function lineEnd(bytes: Uint8Array, at: number): number | null {
  const end = bytes.indexOf(0x0a, at);
  return end === -1 ? null : end + 1;
}

/** One past the RESP2 reply at `at`; null while it is incomplete. */
function replyEnd(bytes: Uint8Array, at: number): number | null {
  const end = lineEnd(bytes, at);
  if (end === null) return null;
  const mark = String.fromCharCode(bytes[at] as number);
  const count = Number(fromUtf8(bytes.subarray(at + 1, end)));
  if (mark === "$" && count >= 0) return end + count + 2 <= bytes.length ? end + count + 2 : null;
  let next: number | null = end;
  if (mark === "*") for (let i = 0; i < count && next !== null; i++) next = replyEnd(bytes, next);
  return next;
}

export type RedisValue = string | RedisValue[];

/** A whole RESP2 reply. */
function parse(bytes: Uint8Array, at: number): { value: RedisValue; next: number } {
  const end = lineEnd(bytes, at) as number;
  const rest = fromUtf8(bytes.subarray(at + 1, end - 2));
  const mark = String.fromCharCode(bytes[at] as number);
  if (mark === "$" && rest !== "-1") {
    const next = end + Number(rest);
    return { value: fromUtf8(bytes.subarray(end, next)), next: next + 2 };
  }
  if (mark !== "*" || rest === "-1") return { value: rest, next: end };
  const value: RedisValue[] = [];
  let next = end;
  for (let i = 0; i < Number(rest); i++) {
    const item = parse(bytes, next);
    value.push(item.value);
    next = item.next;
  }
  return { value, next };
}

export function multibulk(words: readonly (string | Uint8Array)[]): Uint8Array {
  const parts = words.flatMap((word) => {
    const bytes = typeof word === "string" ? utf8(word) : word;
    return [utf8(`$${bytes.length}\r\n`), bytes, utf8("\r\n")];
  });
  return concat([utf8(`*${words.length}\r\n`), ...parts]);
}
