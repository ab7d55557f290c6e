/** The log on the machine's own disk, under each runtime that is installed, with its system calls counted. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";

const PROGRAM = "test/wal/real_disk.run.ts";
const BATCHES = 25;
const RUNTIMES: readonly [string, readonly string[]][] = [
  ["node", [process.execPath, "--import=tsx", PROGRAM]],
  ["bun", ["node_modules/.bin/bun", "run", "--no-env-file", PROGRAM]],
  ["deno", ["node_modules/.bin/deno", "run", "--allow-all", "--no-lock", "--quiet", PROGRAM]],
];
const strace = spawnSync("strace", ["-f", "-o", "/dev/null", "true"]).status === 0;

for (const [runtime, command] of RUNTIMES) {
  const skip = existsSync(command[0] as string) ? false : `${runtime} is not installed`;
  t.test(
    `D17: on ${runtime}, each acknowledged batch had its own fdatasync of the segment`,
    { skip },
    async (t) => {
      const dir = mkdtempSync(join(tmpdir(), "nucleus-wal-"));
      t.teardown(() => rmSync(dir, { recursive: true, force: true }));
      const trace = join(dir, "trace.txt");
      const tracer = strace ? ["strace", "-f", "-y", "-e", "trace=fdatasync", "-o", trace] : [];
      const words = [...tracer, ...command, dir, String(BATCHES)];
      const env = { PATH: process.env.PATH, HOME: dir };
      const run = spawnSync(words[0] as string, words.slice(1), { encoding: "utf8", env, timeout: 60_000 });
      t.equal(run.status, 0, run.stderr);
      const report = JSON.parse(run.stdout) as { syncs: number; entries: number; tornBytes: number };
      t.equal(report.syncs, BATCHES);
      t.equal(report.entries, 3 * BATCHES);
      t.equal(report.tornBytes, 0);
      // One more for the mark that closing writes.
      const expected = BATCHES + 1;
      const counted = strace ? syncsOf(trace) : expected;
      t.equal(
        counted,
        expected,
        "fdatasync calls",
        strace ? {} : { skip: "strace is missing or may not trace here" },
      );
    },
  );
}

function syncsOf(trace: string): number {
  const lines = readFileSync(trace, "utf8").split("\n");
  return lines.filter((line) => /fdatasync\(\d+<.*\/log-00000000000000>/.test(line)).length;
}
