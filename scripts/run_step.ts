/**
 * Runs one step of a suite as a child process and counts what it reports.
 *
 * Assertions are counted as tap itself counts them: leaves only, a subtest's own line only if it says something
 * that its leaves do not. A step that exits badly, prints broken TAP or none, or outlives its time without a
 * failed assertion to show for it, counts as one failure of its own.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createWriteStream, mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { Parser, type Result } from "tap-parser";
import type { Step } from "./suites.ts";

/** The longest step allowed; one that hangs is killed with all its children. */
const STEP_SECONDS_MAX = 900;
/** How long the children of a step may take to notice that it has ended. */
const GRACE_MS = 2000;

export type Failure = { readonly name: string; readonly detail: string };
export type Report = {
  passed: number;
  failures: Failure[];
  /** "name: reason" of each. */
  skips: string[];
  ms: number;
};

type Exit = { readonly output: string; readonly status: string | null };

export async function runStep(step: Step, logPath: string): Promise<Report> {
  const report: Report = { passed: 0, failures: [], skips: [], ms: 0 };
  const start = performance.now();
  const parser = step.output === "tap" ? countTap(report) : null;
  const exit = await runCommand(step, logPath, (text) => parser?.write(text));
  if (parser === null) {
    if (exit.status === null) report.passed = 1;
    else report.failures.push({ name: step.name, detail: `${exit.output.trimEnd()}\n${exit.status}` });
  } else {
    parser.end();
    judgeWhole(step, parser, exit, report);
  }
  report.ms = performance.now() - start;
  return report;
}

/** A parser that enters every assertion into `report` as it arrives. */
export function countTap(report: Report): Parser {
  const parser = new Parser();
  parser.on("pass", () => report.passed++);
  parser.on("fail", (result: Result) => {
    report.failures.push({ name: result.fullname || result.name, detail: describe(result.diag) });
  });
  const skip = (result: Result): void => {
    const reason = result.skip || result.todo;
    report.skips.push(`${result.fullname || result.name}: ${reason === true ? "no reason given" : reason}`);
  };
  parser.on("skip", skip);
  parser.on("todo", skip);
  return parser;
}

function judgeWhole(step: Step, parser: Parser, exit: Exit, report: Report): void {
  const results = parser.results;
  if (results?.plan.skipAll && /^1\.\.0\b/m.test(exit.output) && exit.status === null) {
    const reason = results.plan.skipReason.replace(/^skip\s*/i, "");
    report.skips.push(`${step.name}: ${reason || "no reason given"}`);
    return;
  }
  const reasons: string[] = [];
  if (report.passed + report.failures.length + report.skips.length === 0) reasons.push("it printed no TAP");
  if (exit.status !== null) reasons.push(exit.status);
  if (results?.ok !== true) reasons.push("its TAP does not add up");
  // A failed assertion explains all of these; without one they are a failure themselves.
  if (reasons.length > 0 && report.failures.length === 0) {
    report.failures.push({
      name: step.name,
      detail: `${exit.output.slice(-4000).trimEnd()}\n${reasons.join("; ")}`,
    });
  }
}

function describe(diag: unknown): string {
  if (typeof diag !== "object" || diag === null) return "";
  const lines: string[] = [];
  for (const [key, value] of Object.entries(diag)) {
    if (key === "source") continue; // the place is enough
    lines.push(typeof value === "string" ? `${key}: ${value.trimEnd()}` : `${key}: ${JSON.stringify(value)}`);
  }
  return lines.join("\n");
}

/** Ends a step's whole process group. False if nobody was left in it. */
function killGroup(child: ChildProcess): boolean {
  try {
    if (child.pid !== undefined) return process.kill(-child.pid, "SIGKILL");
  } catch {
    // ESRCH: the group is empty, as it should be.
  }
  return false;
}

/** `status` is null after a clean exit, else says how it ended. All output goes to the file at `logPath` too. */
function runCommand(step: Step, logPath: string, onText: (text: string) => void): Promise<Exit> {
  const [program = "", ...args] = step.command;
  mkdirSync(dirname(logPath), { recursive: true });
  const log = createWriteStream(logPath);
  const child = spawn(program, args, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, NO_COLOR: "1", ...step.environment },
    detached: true, // its own process group, so that it can be ended whole
  });
  let output = "";
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    killGroup(child);
  }, STEP_SECONDS_MAX * 1000);
  const interrupt = (): void => {
    killGroup(child);
    process.exit(130);
  };
  process.once("SIGINT", interrupt).once("SIGTERM", interrupt);
  const take = (text: string): void => {
    output += text;
    log.write(text);
  };
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    take(text);
    onText(text);
  });
  child.stderr.setEncoding("utf8").on("data", take);
  return new Promise((resolve) => {
    const finish = (status: string | null): void => {
      clearTimeout(timer);
      process.off("SIGINT", interrupt).off("SIGTERM", interrupt);
      log.end();
      resolve({ output, status });
    };
    let left = false;
    child.once("error", (error) => finish(`it did not start: ${error.message}`));
    // Whoever outlives the step would hold its output open, and disturb the next one.
    let grace: NodeJS.Timeout | undefined;
    child.once("exit", () => {
      grace = setTimeout(() => {
        left = killGroup(child);
      }, GRACE_MS);
    });
    child.once("close", (code, signal) => {
      clearTimeout(grace);
      if (late) finish(`it took more than ${STEP_SECONDS_MAX} s`);
      else if (signal !== null) finish(`it was ended by ${signal}`);
      else if (code !== 0) finish(`it exited with code ${code}`);
      else finish(left ? "it left processes running" : null);
    });
  });
}
