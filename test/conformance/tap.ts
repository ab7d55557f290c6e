/** A few lines that print TAP: for programs that must run where node-tap does not, under Bun and Deno. */

let count = 0;
let failed = 0;

export function ok(holds: boolean, name: string, detail = ""): void {
  count++;
  if (!holds) failed++;
  console.log(`${holds ? "ok" : "not ok"} ${count} - ${name.replaceAll("#", "\\#")}`);
  if (!holds && detail !== "") console.log(`  ---\n  detail: ${JSON.stringify(detail)}\n  ...`);
}

/** Compares by JSON: numbers, strings and plain structures of them. */
export function same(actual: unknown, wanted: unknown, name: string): void {
  const [is, should] = [JSON.stringify(actual), JSON.stringify(wanted)];
  ok(is === should, name, `is ${is}, should be ${should}`);
}

/** Without a reason worth reading a skip is a lie. */
export function skip(name: string, reason: string): void {
  count++;
  console.log(`ok ${count} - ${name} # SKIP ${reason}`);
}

/** The plan comes last: a program that stops early prints none, and fails by that. */
export function end(): void {
  console.log(`1..${count}`);
  if (failed > 0) process.exitCode = 1;
}
