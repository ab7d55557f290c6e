/** A cluster of one node of the compiled program, in a directory of its own, and what stands in the way of its start. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Test } from "tap";
import { fromUtf8, utf8 } from "../../src/base/bytes.ts";
import { Page } from "../docs/markdown.ts";
import { BINARY, freeBasePort, until } from "./cluster.ts";

export const CLUSTER = "00112233445566778899aabbccddeeff";

/** How a start differs from the usual one. */
export type Start = {
  readonly init?: boolean;
  /** Options instead of the usual ones. */
  readonly options?: Readonly<Record<string, string>>;
  readonly words?: readonly string[];
  /** A program that runs the node. */
  readonly under?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly uid?: number;
};

export type Refusal = { readonly status: number | null; readonly said: string };

export class OneNode {
  readonly cwd: string;
  readonly port: number;
  /** What it logged since its last start. */
  log = "";
  #process: ChildProcess | null = null;
  #ended: Promise<number | null> = Promise.resolve(null);

  static async in(t: Test): Promise<OneNode> {
    return new OneNode(t, (await freeBasePort(2)) + 1);
  }

  private constructor(t: Test, port: number) {
    this.cwd = t.testdir();
    this.port = port;
    this.layout("layout.json", {});
    t.teardown(() => this.kill());
  }

  layout(name: string, fields: Readonly<Record<string, unknown>>): void {
    const nodes = [{ id: "n1", addr: `127.0.0.1:${this.port}` }];
    writeFileSync(`${this.cwd}/${name}`, JSON.stringify({ cluster: CLUSTER, nodes, ...fields }));
  }

  #command({ init = false, options = {}, words = [], under = [] }: Start): [string, string[]] {
    const given = { id: "n1", listen: `127.0.0.1:${this.port}`, dir: "d", layout: "layout.json", ...options };
    const flags = Object.entries(given).flatMap(([name, value]) => [`--${name}`, value]);
    const all = [...under, BINARY, "node", ...flags, ...words, ...(init ? ["--init"] : [])];
    return [all[0] as string, all.slice(1)];
  }

  /** Starts it and does not wait. */
  launch(start: Start = {}): ChildProcess {
    const [program, args] = this.#command(start);
    const started = spawn(program, args, {
      cwd: this.cwd,
      env: { ...start.env },
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.log = "";
    started.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.log += text;
    });
    this.#process = started;
    this.#ended = new Promise((done) => started.once("close", (code) => done(code)));
    return started;
  }

  /** Starts it for good, and gives its process id when clients can connect. */
  async start(start: Start = {}): Promise<number> {
    const { pid } = this.launch(start);
    await until(() => this.log.includes(`"listening"`), "the node to listen");
    return pid ?? 0;
  }

  /** The exit code, when it has ended. */
  ended(): Promise<number | null> {
    return this.#ended;
  }

  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<number | null> {
    this.#process?.kill(signal);
    this.#process = null;
    return this.#ended;
  }

  /** A start that is refused: its exit code and what it says. */
  refused(start: Start = {}): Refusal {
    const [program, args] = this.#command(start);
    const { status, stderr } = spawnSync(program, args, {
      cwd: this.cwd,
      env: { ...start.env },
      encoding: "utf8",
      timeout: 20_000,
      ...(start.uid === undefined ? {} : { uid: start.uid }),
    });
    const last = stderr.trim().split("\n").at(-1) ?? "";
    const { level, msg } = JSON.parse(last) as { level: string; msg: string };
    return { status, said: level === "error" ? msg : "" };
  }

  /** What a Redis client is answered. */
  ask(...words: readonly string[]): string {
    const { stdout, stderr } = spawnSync(BINARY, ["repl", "-p", String(this.port), ...words], {
      env: {},
      encoding: "utf8",
      timeout: 20_000,
    });
    return `${stdout}${stderr}`.trim();
  }

  /** Sets keys `from`.. to values of this size, one after the other, and gives the replies up to the first error. */
  fill(from: number, count: number, valueBytes: number): Promise<string[]> {
    const value = "v".repeat(valueBytes);
    const replies: string[] = [];
    const socket = connect(this.port, "127.0.0.1");
    const next = (): void => {
      const key = `fill${from + replies.length}`;
      const words = ["SET", key, value].map((word) => `$${word.length}\r\n${word}\r\n`);
      socket.write(utf8(`*3\r\n${words.join("")}`));
    };
    return new Promise((done) => {
      socket.once("close", () => done(replies));
      socket.once("error", () => {}); // told by `close`
      socket.once("connect", next);
      socket.on("data", (bytes) => {
        replies.push(fromUtf8(bytes).trim());
        if (replies.length < count && replies.at(-1) === "+OK") next();
        else socket.destroy();
      });
    });
  }

  file(folder: "wal" | "snapshots", pattern: RegExp): string {
    const name = readdirSync(`${this.cwd}/d/${folder}`).find((file) => pattern.test(file)) ?? "";
    return `${this.cwd}/d/${folder}/${name}`;
  }
}

/** A file system of `bytes` in memory, gone with the test; or why there can be none. */
export function smallDisk(t: Test, bytes: number): { dir: string } | { without: string } {
  if (process.getuid?.() !== 0) return { without: "a small file system can be mounted by root alone" };
  const dir = mkdtempSync(join(tmpdir(), "nucleus-disk-"));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const { status, stderr } = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${bytes}`, "tmpfs", dir]);
  if (status !== 0) return { without: `no file system can be mounted here: ${stderr}` };
  t.teardown(() => spawnSync("umount", ["--lazy", dir]));
  return { dir };
}

export function remount(dir: string, options: string): void {
  spawnSync("mount", ["-o", `remount,${options}`, dir]);
}

/** Why nothing can be traced here; null if it can. */
export function noTracing(): string | null {
  const { status } = spawnSync("strace", ["-f", "-o", "/dev/null", "true"]);
  return status === 0 ? null : "strace is missing or may not trace here";
}

// ---------------------------------------------------------------------------------------------- what the page says

export type Row = {
  readonly codes: readonly string[];
  /** Its texts, each in pieces between "..". */
  readonly texts: readonly (readonly string[])[];
  /** The last column. */
  readonly tested: string;
};

/** The table of docs/operations.md, "When something is refused". */
export const ROWS: readonly Row[] = new Page("docs/operations.md").text
  .split("\n")
  .map((line) => line.split("|").map((cell) => cell.trim()))
  .filter((cells) => cells.length === 7 && /^`E[A-Z]+`/.test(cells[1] ?? ""))
  .map((cells) => ({
    codes: quoted(cells[1] ?? ""),
    texts: quoted(cells[2] ?? "").map((text) =>
      text
        .split("..")
        .map((piece) => piece.trim())
        .filter((piece) => piece !== ""),
    ),
    tested: cells[5] ?? "",
  }));

function quoted(text: string): string[] {
  return [...text.matchAll(/`([^`]+)`/g)].map((match) => match[1] as string);
}

/** Rows that a test has brought about. */
export const broughtAbout = new Set<Row>();

/** The refusal has this exit code, and is one of those that the page tells of under this code. */
export function isTold(t: Test, code: string, exitCode: number, { status, said }: Refusal): void {
  const rows = ROWS.filter(
    ({ codes, texts }) =>
      codes.includes(code) && texts.some((pieces) => pieces.every((piece) => said.includes(piece))),
  );
  for (const row of rows) broughtAbout.add(row);
  const told = rows.length > 0 && said.startsWith("cannot start: ");
  t.ok(told, `${code} is told of`, { said, rows: ROWS.filter(({ codes }) => codes.includes(code)) });
  t.equal(status, exitCode, `${code}: exit code`);
}

export function readBytes(path: string): Uint8Array {
  return Uint8Array.from(readFileSync(path));
}
