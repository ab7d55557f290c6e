/** The runner that counts everybody's tests must itself notice each way a step can fail to be a success. */
import t from "tap";
import { type Report, runStep } from "../../scripts/run_step.ts";

const runScript = (t: { testdir(): string }, output: "tap" | "exit", script: string): Promise<Report> =>
  runStep(
    { name: "step", output, command: [process.execPath, "-e", script], environment: { NODE_OPTIONS: "" } },
    `${t.testdir()}/step.log`,
  );

/** A program that prints these lines of TAP and exits with `code`. */
const printing = (lines: readonly string[], code = 0): string =>
  `console.log(${JSON.stringify(lines.join("\n"))}); process.exitCode = ${code};`;

t.test("a step that prints TAP is counted by its leaves", async (t) => {
  const nested = ["# Subtest: a", "    ok 1 - x", "    ok 2 - y", "    1..2", "ok 1 - a", "ok 2 - b", "1..2"];
  const report = await runScript(t, "tap", printing(nested));
  t.match(report, { passed: 3, failures: [], skips: [] });
});

t.test("failed assertions are counted and described, and explain the exit code", async (t) => {
  const lines = ["ok 1 - x", "not ok 2 - y", "  ---", "  wanted: 1", "  ...", "1..2"];
  const report = await runScript(t, "tap", printing(lines, 1));
  t.match(report, { passed: 1, failures: [{ name: "y", detail: "wanted: 1" }] });
  t.equal(report.failures.length, 1);
});

t.test("a step that prints no TAP, stops early, or exits badly is a failure", async (t) => {
  const cases: readonly (readonly [script: string, detail: RegExp])[] = [
    [printing(["hello"]), /hello\nit printed no TAP/],
    [printing(["ok 1 - x", "1..2"]), /does not add up/],
    [printing(["ok 1 - x"]), /does not add up/],
    [printing(["ok 1 - x", "1..1"], 3), /exited with code 3/],
    [
      `${printing(["ok 1 - x", "1..1"])} setTimeout(() => process.kill(process.pid, "SIGKILL"), 50);`,
      /SIGKILL/,
    ],
  ];
  for (const [script, detail] of cases) {
    const report = await runScript(t, "tap", script);
    t.equal(report.failures.length, 1, script);
    t.match(report.failures[0]?.detail, detail);
  }
});

t.test("a step that leaves processes running is a failure, and they are ended", async (t) => {
  // The orphan never ends by itself and holds the output open: that the report comes at all proves its end.
  const orphan = `spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"], { stdio: "inherit" })`;
  const script = `const { spawn } = require("node:child_process"); ${orphan}; ${printing(["ok 1 - x", "1..1"])}
    process.exit();`;
  const report = await runScript(t, "tap", script);
  t.match(report.failures, [{ name: "step", detail: /left processes running/ }]);
});

t.test("skips are kept apart, with their reasons", async (t) => {
  const report = await runScript(t, "tap", printing(["ok 1 - x # SKIP no such tool", "ok 2 - y", "1..2"]));
  t.match(report, { passed: 1, failures: [], skips: ["x: no such tool"] });
  const whole = await runScript(t, "tap", printing(["1..0 # SKIP nothing here"]));
  t.match(whole, { passed: 0, failures: [], skips: ["step: nothing here"] });
});

t.test("a step judged by its exit code counts as one", async (t) => {
  t.match(await runScript(t, "exit", ""), { passed: 1, failures: [] });
  const failed = await runScript(t, "exit", `console.error("why"); process.exitCode = 1;`);
  t.match(failed, { passed: 0, failures: [{ name: "step", detail: "why\nit exited with code 1" }] });
  const absent = await runStep(
    { name: "step", output: "exit", command: ["./no-such-program"] },
    `${t.testdir()}/step.log`,
  );
  t.match(absent.failures[0]?.detail, /did not start/);
});
