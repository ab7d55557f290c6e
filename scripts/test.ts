/**
 * Runs suites and sums them up. The last line of standard output is, alone: `N passed, N failed`.
 *
 *     npm test                      every suite
 *     npm test -- check test:sim    these
 *     npm test -- --ci              those that only .ci/run has time for, too
 *
 * Skipped assertions are printed with their reasons; under NUCLEUS_TEST_STRICT=1 each counts as failed.
 * What each step printed stays in .out/test/.
 */
import { ensureTapBuilt } from "./ensure_tap.ts";
import { runStep } from "./run_step.ts";
import { STEPS_AT_ONCE, type Step, SUITES, type Suite, toolsInstalled } from "./suites.ts";

type Totals = { passed: number; failed: number };

const strict = process.env.NUCLEUS_TEST_STRICT === "1";

function usage(message: string): never {
  console.error(`${message}\nSuites: ${SUITES.map((suite) => suite.name).join(", ")}; option: --ci`);
  process.exit(2);
}

function chosenSuites(args: readonly string[]): readonly Suite[] {
  const names = args.filter((arg) => arg !== "--ci");
  for (const name of names) if (!SUITES.some((suite) => suite.name === name)) usage(`no suite ${name}`);
  if (names.length > 0) return SUITES.filter((suite) => names.includes(suite.name));
  return SUITES.filter((suite) => suite.ciOnly !== true || args.includes("--ci"));
}

function indent(text: string): string {
  return text.replace(/^/gm, "      ");
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

async function runAndTell(suite: Suite, step: Step, totals: Totals): Promise<void> {
  const file = `${suite.name}-${step.name}`.replace(/[^\w]+/g, "_");
  const { passed, failures, skips, ms } = await runStep(step, `.out/test/${file}.log`);
  const failed = failures.length + (strict ? skips.length : 0);
  totals.passed += passed;
  totals.failed += failed;
  const counts = `${passed} passed, ${failed} failed${skips.length > 0 ? `, ${skips.length} skipped` : ""}`;
  console.log(`  ${failed === 0 ? "ok  " : "FAIL"} ${step.name.padEnd(24)} ${counts}  (${seconds(ms)})`);
  for (const skip of skips) console.log(`    ${strict ? "skipped, which fails here" : "skipped"}: ${skip}`);
  for (const { name, detail } of failures) console.log(`    not ok: ${name}\n${indent(detail)}`);
}

async function runSuite(suite: Suite): Promise<Totals> {
  const totals: Totals = { passed: 0, failed: 0 };
  const start = performance.now();
  console.log(suite.name);
  if (suite.build !== undefined) await runAndTell(suite, suite.build, totals);
  const waiting = [...suite.steps()];
  const lane = async (): Promise<void> => {
    for (let step = waiting.shift(); step !== undefined; step = waiting.shift())
      await runAndTell(suite, step, totals);
  };
  const lanes = suite.alone === true ? 1 : STEPS_AT_ONCE;
  await Promise.all(Array.from({ length: lanes }, lane));
  console.log(
    `  ${totals.passed} passed, ${totals.failed} failed in ${seconds(performance.now() - start)}\n`,
  );
  return totals;
}

const suites = chosenSuites(process.argv.slice(2));
if (!toolsInstalled()) usage("the tools are not installed: run 'npm ci' first");
ensureTapBuilt();
let passed = 0;
let failed = 0;
for (const suite of suites) {
  const totals = await runSuite(suite);
  passed += totals.passed;
  failed += totals.failed;
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
