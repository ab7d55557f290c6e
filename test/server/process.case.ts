/** The process around a node: how it ends when something broke that nobody foresaw. */
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";

type Ended = { readonly status: number; readonly stderr: string };

function run(args: readonly string[]): Promise<Ended> {
  return new Promise((done) => {
    execFile(process.execPath, args, { timeout: 60_000 }, (error, _stdout, stderr) => {
      done({ status: typeof error?.code === "number" ? error.code : 0, stderr });
    });
  });
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as { port: number };
  await new Promise((done) => server.close(done));
  return port;
}

t.test("a node's process", (t) => {
  t.jobs = 2;
  for (const [what, code] of [
    ["an exception", 'throw new TypeError("broken")'],
    ["a rejected promise", 'Promise.reject(new TypeError("broken"))'],
  ] as const) {
    t.test(
      `H2: ${what} that nobody caught ends the node at once, with one line in the log and exit code 1`,
      async (t) => {
        const dir = mkdtempSync(join(tmpdir(), "nucleus-bug-"));
        const addr = `127.0.0.1:${await freePort()}`;
        const layout = join(dir, "layout.json");
        writeFileSync(layout, JSON.stringify({ cluster: "ab".repeat(16), nodes: [{ id: "n1", addr }] }));
        // When the node has said that it listens, however long it takes to start.
        const bug =
          "data:text/javascript,const write = process.stderr.write.bind(process.stderr);" +
          "process.stderr.write = (text, ...more) => {" +
          ` if (String(text).includes("listening")) setTimeout(() => { ${code} }, 0);` +
          " return write(text, ...more); }";
        const args = ["--import=tsx", `--import=${bug}`, "src/cli/main.ts", "node", "--id", "n1", "--init"];
        const more = ["--listen", addr, "--dir", join(dir, "n1"), "--layout", layout];
        const { status, stderr } = await run([...args, ...more]);
        rmSync(dir, { recursive: true });
        t.equal(status, 1);
        const lines = stderr.split("\n").filter((line) => line.startsWith("{"));
        t.equal(lines.join("\n"), stderr.trimEnd(), "nothing but its own lines");
        const last = JSON.parse(lines.at(-1) ?? "{}") as Record<string, unknown>;
        t.match(last, { level: "error", msg: "stopped at once: broken" });
        t.match(lines.join("\n"), /listening/, "it had started");
      },
    );
  }
  t.end();
});
