/** Samples of every sin, to prove that the judge sees each one, and of virtue, to prove that it lets it pass. */
import t, { type Test } from "tap";
import { judgeImports, judgeLock, judgeNames, judgePins, judgeSizes, judgeText } from "./judge.ts";
import { scanSamples } from "./scan.ts";

/** path, source, and a pattern for each verdict it must get (none = clean). */
type Sample = readonly [path: string, text: string, verdicts: readonly RegExp[]];

const IMPORTS: readonly Sample[] = [
  ["src/base/a.ts", `import { a } from "./b.ts";`, []],
  ["src/base/c.ts", `import { a } from "../raft/core.ts";`, [/base may not import raft/]],
  ["src/base/d.ts", `import { a } from "./b";`, [/with \.ts/]],
  ["src/base/checksum.ts", `import { crc32 } from "node:zlib";`, []],
  ["src/base/e.ts", `import { crc32 } from "node:zlib";`, [/imports node:zlib/]],
  ["src/wire/a.ts", `import { type A, B } from "../raft/types.ts";`, []],
  ["src/wire/b.ts", `import type { A } from "../raft/core.ts";`, [/only part of raft/]],
  ["src/wire/c.ts", `import { decode } from "@msgpack/msgpack";`, []],
  ["src/wire/d.ts", `export { a } from "../raft/core.ts";`, [/only its types/]],
  ["src/wire/e.ts", `export type A = import("../store/a.ts").A;`, [/wire may not import store/]],
  [
    "src/wal/a.ts",
    `import { a } from "../wire/batch.ts";\nimport type { D } from "../platform/platform.ts";`,
    [],
  ],
  ["src/wal/b.ts", `import { a } from "../wire/frame.ts";`, [/only part of wire/]],
  ["src/wal/e.ts", `import type { A } from "../raft/types.ts";`, []],
  ["src/wal/f.ts", `import { type A } from "../raft/types.ts";`, [/only its types/]],
  ["src/wal/c.ts", `import { D } from "../platform/platform.ts";`, [/only its types/]],
  ["src/store/a.ts", `import { a } from "../wal/log.ts";`, [/store may not import wal/]],
  ["src/store/b.ts", `import { a } from "../wire/command.ts";\nimport { b } from "../ring/slot.ts";`, []],
  ["src/server/a.ts", `import { a } from "../client/client.ts";`, [/server may not import client/]],
  ["src/server/b.ts", `import { a } from "node:fs";`, [/imports node:fs/]],
  ["src/server/c.ts", `import { nodePlatform } from "../platform/node.ts";`, [/builds the real platform/]],
  ["src/server/d.ts", `const a = import("../client/client.ts");`, [/server may not import client/]],
  ["src/server/e.ts", `const a = import(name);`, [/computed/]],
  ["src/server/f.ts", `import yargs from "yargs";`, [/only cli may/]],
  ["src/server/g.ts", `import a from "left-pad";`, [/does not list/]],
  ["src/server/h.ts", `import a from "../../test/a.ts";`, [/reaches out of src/]],
  ["src/controlplane/a.ts", `import { a } from "../server/turn.ts";`, [/only part of server/]],
  ["src/client/index.ts", `import { nodePlatform } from "../platform/node.ts";`, []],
  ["src/cli/main.ts", `import yargs from "yargs/yargs";\nimport { a } from "../platform/node.ts";`, []],
  ["src/cli/run.ts", `import { readFileSync } from "node:fs";\nimport { a } from "../sim/sim.ts";`, []],
  ["src/attic/a.ts", `import { a } from "../base/a.ts";`, [/not in the table/]],
  ["src/ring/a.ts", "export default 1;", [/no default exports/]],
  ["src/ring/b.ts", "export default function f(): void {}", [/no default exports/]],
  ["src/ring/c.ts", "const a = 1; export { a as default };", [/no default exports/]],
  ["src/ring/d.ts", "export function f(n: number): void { switch (n) { default: } }", []],
  ["test/x/a.ts", `import { a } from "node:fs";\nimport b from "tap";`, []],
];

const NAMES: readonly Sample[] = [
  ["src/raft/a.ts", "export const now = Date.now();", [/Date/]],
  ["src/raft/b.ts", "export const n = Math.random();", [/Math\.random/]],
  [
    "src/raft/c.ts",
    "export const n = Math.floor(1.5);\nexport const o = { process: 1, Date: 2 }.process;",
    [],
  ],
  ["src/raft/d.ts", "export async function f(): Promise<void> { await 1; }", [/async/, /Promise/, /await/]],
  ["src/raft/e.ts", "setTimeout(() => {}, 1);", [/setTimeout/]],
  ["src/raft/f.ts", "export const p = { process };", [/process/]],
  ["src/raft/g.ts", `// Date and await are only talked about\nexport const s = "await Date.now()";`, []],
  ["src/raft/h.ts", "export const f = (b: Buffer): number => b.length;", [/Buffer/]],
  [
    "src/raft/i.ts",
    `export const n = Math.log2(8) + "a".localeCompare("b");`,
    [/Math\.log2/, /\.localeCompare/],
  ],
  ["src/raft/j.ts", "export const n = `" + "$" + "{performance.now()}`;", [/performance/]],
  ["src/raft/k.ts", "export function f(process: number): number { return process; }", []],
  ["src/raft/l.ts", "export const f = (): void => { const fetch = 1; };\nfetch();", [/fetch/]],
  ["src/wal/d.ts", "export const p = Promise.resolve();", [/Promise/]],
  ["src/server/i.ts", "export async function f(): Promise<void> {}\nconsole.log(1);", [/console/]],
  ["src/server/j.ts", "export const p = import.meta.url;", [/import\.meta/]],
  ["src/cli/a.ts", "console.log(Date.now());\nBun.hash(1);", [/Bun/]],
  ["src/platform/node.ts", "setTimeout(() => {}, 1); Deno.exit();", [/Deno/]],
];

const verdictsMatch = (t: Test, sample: Sample, verdicts: readonly string[]): void => {
  const [path, , patterns] = sample;
  t.equal(verdicts.length, patterns.length, `${path}: ${verdicts.join("; ") || "clean"}`);
  for (const [i, pattern] of patterns.entries()) t.match(verdicts[i], pattern);
};

t.test("the judge sees forbidden imports and names", async (t) => {
  const all = [...IMPORTS, ...NAMES];
  const facts = new Map(
    scanSamples(Object.fromEntries(all.map(([path, text]) => [path, text]))).map((file) => [file.path, file]),
  );
  t.equal(facts.size, all.length, "every sample has its own path");
  for (const [samples, judge] of [[IMPORTS, judgeImports] as const, [NAMES, judgeNames] as const]) {
    for (const sample of samples) {
      const file = facts.get(sample[0]);
      if (file === undefined) t.fail(`${sample[0]} was not scanned`);
      else verdictsMatch(t, sample, judge(file));
    }
  }
});

t.test("the judge sees notes of unfinished work and silenced checkers", async (t) => {
  const judge = (text: string): number => judgeText({ path: "a.ts", text }).length;
  t.equal(judge("// fine\nconst todo = 1;"), 0);
  t.equal(judge(`// ${"TO" + "DO"} later`), 1);
  t.equal(judge(`const a = 1; // ${"FIX" + "ME"}`), 1);
  t.equal(judge(`// biome-${"ignore"} lint/suspicious/noExplicitAny`), 1);
  t.equal(judge(`// biome-${"ignore"} lint/suspicious/noExplicitAny: x`), 1);
  t.equal(judge(`// biome-${"ignore"} lint/suspicious/noExplicitAny: the parser gives nothing better`), 0);
  t.equal(judge(`// @ts-${"ignore"}: because of everything`), 1);
});

t.test("the judge measures files and functions, and only lets exceptions shrink", async (t) => {
  const long = (lines: number): string => `export function f(): void {\n${"  f();\n".repeat(lines - 2)}}\n`;
  const wide = `export const x = 1;\n`.repeat(501);
  const files = scanSamples({
    "src/base/long.ts": long(61),
    "src/base/fits.ts": long(60),
    "src/base/wide.ts": wide,
    "test/x/a.ts": `t.test("x", () => {\n${"  f();\n".repeat(80)}});\n`,
  });
  const judge = (functions: Record<string, number>, fileLimits: Record<string, number>): string[] =>
    judgeSizes(files, { functions, files: fileLimits });
  t.match(judge({}, {}), [/wide\.ts has 501 lines/, /long\.ts f has 61 lines/]);
  t.same(judge({ "src/base/long.ts f": 61 }, { "src/base/wide.ts": 501 }), []);
  t.match(judge({ "src/base/long.ts f": 62 }, { "src/base/wide.ts": 501 }), [/lower its exception/]);
  t.match(judge({ "src/base/long.ts f": 61 }, { "src/base/wide.ts": 501, "src/gone.ts": 600 }), [
    /no exception/,
  ]);
});

t.test("the judge sees hosts in the lock file and loose versions", async (t) => {
  const lock = (entry: object): number => judgeLock(JSON.stringify({ packages: { a: entry } })).length;
  t.equal(lock({ version: "1.0.0", funding: { url: "https://example.org" } }), 0);
  t.equal(lock({ resolved: "https://example.org/a.tgz" }), 1);
  t.equal(lock({ version: "git+ssh://git@example.org/a.git" }), 1);
  t.equal(lock({ optionalDependencies: { "fs-for-mars": "1.0.0" } }), 1);
  t.equal(judgePins({ dependencies: { a: "1.2.3" }, devDependencies: { b: "1.2.3-rc.1" } }).length, 0);
  t.equal(judgePins({ dependencies: { a: "^1.2.3" }, devDependencies: { b: "*" } }).length, 2);
});
