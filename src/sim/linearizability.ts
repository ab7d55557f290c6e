/**
 * Linearizability of registers, key by key (linearizability is local: a history is good if each key's is).
 *
 * Two judges. Where all writes of a key have distinct values and there are only gets and sets, zones decide in
 * O(n log n) (Gibbons & Korach, "Testing Shared Memories", 1997). Everything else goes through a depth-first
 * search for an order that explains every answer (Wing & Gong 1993; Lowe's memo of (operations done, value),
 * as in Porcupine), with a budget: a search that exceeds it is *undecided*, and never counts as a pass.
 *
 * Unknown operations may take effect at any time after their invocation, or never; those that were not executed
 * are left out, so that whoever saw their effect cannot be explained.
 */
import { assert } from "../base/assert.ts";
import { describeOp, type HistoryOp, type Value } from "./history.ts";
import { checkExpiring } from "./linearizability_expiring.ts";
import { Search } from "./linearizability_search.ts";

export type Verdict =
  | { readonly kind: "linearizable" }
  | {
      readonly kind: "violation";
      /** "order": the answers have an explanation, but none that keeps each connection's order. */
      readonly rule: "linearizability" | "order";
      readonly key: string;
      readonly reason: string;
    }
  | { readonly kind: "undecided"; readonly key: string; readonly steps: number };

/** Steps of the search for one key: about two seconds. */
export const STEPS_MAX = 1_000_000;

/** Judges every key; the first violation wins over any undecided key. */
export function checkHistory(ops: readonly HistoryOp[], stepsMax = STEPS_MAX): Verdict {
  const keys = new Map<string, HistoryOp[]>();
  for (const op of ops) {
    const list = keys.get(op.key);
    if (list === undefined) keys.set(op.key, [op]);
    else list.push(op);
  }
  let undecided: Verdict | null = null;
  for (const [key, list] of [...keys].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const verdict = checkKey(key, list, stepsMax);
    if (verdict.kind === "violation") return verdict;
    if (verdict.kind === "undecided") undecided ??= verdict;
  }
  return undecided ?? { kind: "linearizable" };
}

export function checkKey(key: string, all: readonly HistoryOp[], stepsMax = STEPS_MAX): Verdict {
  const ops = all.filter(
    ({ outcome, op }) => outcome === "ok" || (outcome === "unknown" && op.kind !== "get"),
  );
  ops.sort((a, b) => a.invoked - b.invoked);
  for (const op of ops) assert(op.invoked < op.returned, "an answer follows its question");
  if (ops.some(({ op }) => op.kind === "set" && op.ttlMs !== undefined)) {
    const reason = checkExpiring(ops);
    if (reason === null) return { kind: "linearizable" };
    return { kind: "violation", rule: "linearizability", key, reason: `key ${key}: ${reason}` };
  }
  if (zonesApply(ops)) {
    const reason = checkZones(ops);
    if (reason !== null)
      return { kind: "violation", rule: "linearizability", key, reason: `key ${key}: ${reason}` };
    if (!pipelined(ops)) return { kind: "linearizable" };
  }
  const search = new Search(ops, stepsMax);
  const found = search.run();
  if (found === "undecided") return { kind: "undecided", key, steps: search.steps };
  if (found) return { kind: "linearizable" };
  const unordered = ops.map((op, stream) => ({ ...op, stream }));
  const rule = pipelined(ops) && new Search(unordered, stepsMax).run() === true ? "order" : "linearizability";
  const what = rule === "order" ? "no order that keeps each connection's" : "no order";
  return {
    kind: "violation",
    rule,
    key,
    reason: `key ${key}: ${what} explains the answers\n${search.explain()}`,
  };
}

/** Only gets and sets, and no value written twice. */
export function zonesApply(ops: readonly HistoryOp[]): boolean {
  const written = new Set<string>();
  for (const { op } of ops) {
    if (op.kind === "get") continue;
    if (op.kind !== "set" || written.has(op.value)) return false;
    written.add(op.value);
  }
  return true;
}

/** True if some stream had two operations under way on this key: then their order counts, which zones ignore. */
function pipelined(ops: readonly HistoryOp[]): boolean {
  const lastReturn = new Map<number, number>();
  for (const { stream, invoked, returned } of ops) {
    if ((lastReturn.get(stream) ?? -1) > invoked) return true;
    lastReturn.set(stream, returned);
  }
  return false;
}

/** From the first moment at which a value is surely there to the last at which somebody still asks and sees it. */
type Zone = {
  readonly write: HistoryOp | null;
  readonly reads: HistoryOp[];
  /** Smallest return and largest invocation of all operations on the value. */
  minReturned: number;
  maxInvoked: number;
};

/** Why the gets and sets of one key are not linearizable, or null. */
export function checkZones(ops: readonly HistoryOp[]): string | null {
  const zones = new Map<Value, Zone>();
  zones.set(null, { write: null, reads: [], minReturned: -1, maxInvoked: -1 });
  for (const op of ops) {
    if (op.op.kind !== "set") continue;
    zones.set(op.op.value, { write: op, reads: [], minReturned: op.returned, maxInvoked: op.invoked });
  }
  for (const op of ops) {
    if (op.op.kind !== "get") continue;
    const zone = zones.get(op.result as Value);
    if (zone === undefined) return `a value that nobody wrote: ${describeOp(op)}`;
    if (zone.write !== null && op.returned < zone.write.invoked) {
      return `a value seen before it was written: ${describeOp(op)}, but ${describeOp(zone.write)}`;
    }
    zone.reads.push(op);
    zone.minReturned = Math.min(zone.minReturned, op.returned);
    zone.maxInvoked = Math.max(zone.maxInvoked, op.invoked);
  }
  const seen = [...zones.values()].filter(({ write, reads }) => reads.length > 0 || write?.outcome === "ok");
  return conflict(seen);
}

function conflict(zones: readonly Zone[]): string | null {
  const forward = zones.filter((zone) => zone.minReturned < zone.maxInvoked);
  forward.sort((a, b) => a.minReturned - b.minReturned);
  for (let i = 1; i < forward.length; i++) {
    const [before, after] = [forward[i - 1] as Zone, forward[i] as Zone];
    if (after.minReturned < before.maxInvoked)
      return `two values held at once:\n${describeZones(before, after)}`;
  }
  for (const zone of zones) {
    if (zone.minReturned < zone.maxInvoked) continue; // forward
    const around = lastStartingBefore(forward, zone.maxInvoked);
    if (around !== null && zone.minReturned < around.maxInvoked) {
      return `a value that came and went while another one held:\n${describeZones(zone, around)}`;
    }
  }
  return null;
}

function lastStartingBefore(forward: readonly Zone[], position: number): Zone | null {
  let low = 0;
  let high = forward.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((forward[middle] as Zone).minReturned < position) low = middle + 1;
    else high = middle;
  }
  return forward[low - 1] ?? null;
}

function describeZones(...zones: readonly Zone[]): string {
  const lines: string[] = [];
  for (const { write, reads } of zones) {
    const sorted = [...reads].sort((a, b) => a.returned - b.returned);
    const first = sorted[0];
    const last = [...reads].sort((a, b) => b.invoked - a.invoked)[0];
    lines.push(write === null ? "  (absent at the beginning)" : `  ${describeOp(write)}`);
    for (const read of new Set([first, last])) if (read !== undefined) lines.push(`    ${describeOp(read)}`);
  }
  return lines.join("\n");
}
