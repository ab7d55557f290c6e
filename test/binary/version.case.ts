/** The compiled file by itself: it runs where nothing else is, and nothing lying around changes what it does. */
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { resolve } from "node:path";
import t from "tap";
import { STORAGE_VERSION, WIRE_VERSION } from "../../src/base/version.ts";
import { VERSION } from "../../src/cli/version.ts";

const binary = resolve("dist/nucleus");
const run = (args: readonly string[], cwd: string, program = binary): ReturnType<typeof spawnSync> =>
  spawnSync(program, args, { cwd, env: {}, encoding: "utf8", timeout: 20_000 });

t.test("nucleus --version runs in an empty directory without an environment", async (t) => {
  const { status, stdout, stderr } = run(["--version"], t.testdir());
  t.equal(status, 0);
  t.equal(stderr, "");
  const lines = String(stdout).trimEnd().split("\n");
  t.match(lines[0], new RegExp(`^nucleus ${VERSION.replaceAll(".", "\\.")} \\([0-9a-f]{12}(-dirty)?\\)$`));
  t.match(lines[1], /^runtime bun \d/);
  t.same(lines.slice(2), [`wire ${WIRE_VERSION}`, `storage ${STORAGE_VERSION}`]);
});

t.test("the bundle for Node says the same, but for the runtime", async (t) => {
  const dir = t.testdir();
  const [ofBinary, ofBundle] = [
    run(["--version"], dir),
    run([resolve("dist/nucleus.mjs"), "--version"], dir, process.execPath),
  ].map(({ stdout }) => String(stdout).replace(/^runtime \w+ \S+$/m, "runtime"));
  t.equal(ofBundle, ofBinary);
});

t.test("bad usage exits with 2 and says what to do", async (t) => {
  for (const args of [[], ["no-such-verb"], ["--no-such-option"]]) {
    const { status, stdout, stderr } = run(args, t.testdir());
    t.equal(status, 2, `nucleus ${args.join(" ")}`);
    t.equal(stdout, "");
    t.match(stderr, /nucleus --help/);
  }
});

t.test("configuration of the runtime lying in the directory is not obeyed", async (t) => {
  const dir = t.testdir({
    "bunfig.toml": `preload = ["./intruder.js"]\n`,
    "intruder.js": `console.log("intruder");\n`,
    ".env": "NO_COLOR=1\n",
  });
  writeFileSync(`${dir}/package.json`, `{"name": "other", "version": "9.9.9"}`);
  t.equal(run(["--version"], dir).stdout, run(["--version"], t.testdir()).stdout);
});
