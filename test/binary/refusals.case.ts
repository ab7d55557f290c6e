/**
 * What a node says when it cannot start: the rows of docs/operations.md's table, each brought about and read. The page
 * names the code and what is said of it; here both must come true.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import t, { type Test } from "tap";
import { setU32 } from "../../src/base/bytes.ts";
import { crc32Range } from "../../src/base/checksum.ts";
import { Page } from "../docs/markdown.ts";
import { BINARY, freeBasePort, until } from "./cluster.ts";

const CLUSTER = "00112233445566778899aabbccddeeff";

/** A cluster of one node in a directory of its own. */
class OneNode {
  readonly cwd: string;
  readonly port: number;
  #process: ChildProcess | null = null;

  constructor(t: Test, port: number) {
    this.cwd = t.testdir();
    this.port = port;
    this.layout("layout.json", {});
    t.teardown(() => this.#process?.kill("SIGKILL"));
  }

  layout(name: string, fields: Readonly<Record<string, unknown>>): void {
    const nodes = [{ id: "n1", addr: `127.0.0.1:${this.port}` }];
    writeFileSync(`${this.cwd}/${name}`, JSON.stringify({ cluster: CLUSTER, nodes, ...fields }));
  }

  #arguments(changes: Readonly<Record<string, string>>, init: boolean): string[] {
    const given = { id: "n1", listen: `127.0.0.1:${this.port}`, dir: "d", layout: "layout.json", ...changes };
    const words = Object.entries(given).flatMap(([name, value]) => [`--${name}`, value]);
    return ["node", ...words, ...(init ? ["--init"] : [])];
  }

  /** Starts it for good, and gives its process id when clients can connect. */
  async start(init: boolean): Promise<number> {
    const args = this.#arguments({}, init);
    const started = spawn(BINARY, args, { cwd: this.cwd, env: {}, stdio: ["ignore", "ignore", "pipe"] });
    let log = "";
    started.stderr.setEncoding("utf8").on("data", (text: string) => {
      log += text;
    });
    this.#process = started;
    await until(() => log.includes(`"listening"`), "the node to listen");
    return started.pid ?? 0;
  }

  async kill(): Promise<void> {
    const killed = this.#process;
    if (killed === null) return;
    this.#process = null;
    const ended = new Promise((done) => killed.once("exit", done));
    killed.kill("SIGKILL");
    await ended;
  }

  /** A start that is refused: its exit code and what it says. */
  refused(
    changes: Readonly<Record<string, string>> = {},
    init = false,
  ): { status: number | null; said: string } {
    const options = { cwd: this.cwd, env: {}, encoding: "utf8", timeout: 20_000 } as const;
    const { status, stderr } = spawnSync(BINARY, this.#arguments(changes, init), options);
    const last = stderr.trim().split("\n").at(-1) ?? "";
    const { level, msg } = JSON.parse(last) as { level: string; msg: string };
    return { status, said: level === "error" ? msg : "" };
  }

  segment(): string {
    const name = readdirSync(`${this.cwd}/d/wal`).find((file) => /^log-0+$/.test(file)) ?? "";
    return `${this.cwd}/d/wal/${name}`;
  }
}

/** What the page says of a code: the texts of its rows, each in pieces between "..". */
function rowsFor(code: string): string[][] {
  const lines = new Page("docs/operations.md").text
    .split("\n")
    .filter((line) => line.startsWith("| ") && line.split("|")[1]?.includes(`\`${code}\``));
  return lines.flatMap((line) =>
    [...(line.split("|")[2] ?? "").matchAll(/`([^`]+)`/g)].map((match) =>
      (match[1] as string)
        .split("..")
        .map((piece) => piece.trim())
        .filter((piece) => piece !== ""),
    ),
  );
}

type Refusal = { readonly status: number | null; readonly said: string };

/** The refusal has this exit code, and is one of those that the page tells of under this code. */
function isTold(t: Test, code: string, exitCode: number, { status, said }: Refusal): void {
  const told = rowsFor(code).some((pieces) => pieces.every((piece) => said.includes(piece)));
  t.ok(told && said.startsWith("cannot start: "), `${code} is told of`, { said, rows: rowsFor(code) });
  t.equal(status, exitCode, `${code}: exit code`);
}

t.test("refusals: a wrong command line or layout", async (t) => {
  const node = new OneNode(t, (await freeBasePort(2)) + 1);
  isTold(t, "ELAYOUT", 2, node.refused({ layout: "none.json" }));
  node.layout("bad.json", { cluster: "x" });
  isTold(t, "ELAYOUT", 2, node.refused({ layout: "bad.json" }));
  isTold(t, "ELAYOUT", 1, node.refused({ id: "n9" }, true));
  isTold(t, "EUSAGE", 2, node.refused({ listen: `127.0.0.1:${node.port + 1}` }));
});

t.test("A12: refusals: a directory that is not this node's, or not as it was left", async (t) => {
  const node = new OneNode(t, (await freeBasePort(1)) + 1);
  isTold(t, "EBLANK", 1, node.refused());
  mkdirSync(`${node.cwd}/other`);
  writeFileSync(`${node.cwd}/other/letters.txt`, "");
  isTold(t, "EFOREIGN", 1, node.refused({ dir: "other" }, true));
  const pid = await node.start(true);
  const inUse = node.refused();
  isTold(t, "EINUSE", 1, inUse);
  t.match(inUse.said, String(pid));
  await node.kill();
  isTold(t, "EBORN", 1, node.refused({}, true));
  node.layout("foreign.json", { cluster: CLUSTER.replace("0011", "ffff") });
  isTold(t, "EFOREIGN", 1, node.refused({ layout: "foreign.json" }));
  node.layout("sized.json", { settings: { segmentBytes: 4 * 1024 * 1024 } });
  isTold(t, "ECONFIG", 1, node.refused({ layout: "sized.json" }));
  writeFileSync(`${node.cwd}/d/node.json`, `{"format": 99}`);
  isTold(t, "EFORMAT", 1, node.refused());
  writeFileSync(`${node.cwd}/d/node.json`, "torn");
  isTold(t, "EFOREIGN", 1, node.refused());
});

t.test("refusals: a port that is taken", async (t) => {
  const node = new OneNode(t, (await freeBasePort(1)) + 1);
  const server = createServer();
  await new Promise<void>((done) => server.listen(node.port, "127.0.0.1", done));
  t.teardown(() => server.close());
  isTold(t, "EADDRINUSE", 1, node.refused({}, true));
});

t.test("D1 D19: refusals: a log that is damaged, or a newer program's", async (t) => {
  const node = new OneNode(t, (await freeBasePort(1)) + 1);
  await node.start(true);
  // The second write's record says that the first one was synced: only then is damage to it known as such.
  for (const key of ["hello", "behind"]) {
    const { status } = spawnSync(BINARY, ["repl", "-p", String(node.port), "SET", key, "a-value-to-find"]);
    t.equal(status, 0);
  }
  await node.kill();
  const path = node.segment();
  const sound = readFileSync(path);
  const damaged = Uint8Array.from(sound);
  const at = sound.indexOf("a-value-to-find");
  damaged.fill(0x20, at, at + 4);
  writeFileSync(path, damaged);
  const refusal = node.refused();
  isTold(t, "EDAMAGED", 1, refusal);
  t.match(refusal.said, /log-00000000000000 at offset \d+/);
  const newer = Uint8Array.from(sound);
  setU32(newer, 8, 99);
  setU32(newer, 12, crc32Range(newer, 16, 4096, crc32Range(newer, 0, 12)));
  writeFileSync(path, newer);
  isTold(t, "ENEWER", 1, node.refused());
  writeFileSync(path, sound);
  await node.start(false);
  await node.kill();
});
