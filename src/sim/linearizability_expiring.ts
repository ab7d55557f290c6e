/**
 * Keys whose values go by themselves: sets with a time to live, and gets; every value is written once.
 *
 * When a value goes is for log time to say, which no client sees, so absence is judged by what it does to the
 * values around it. Without the gets that found nothing what is left is a plain register (its reads see their own
 * writes, expired or not), which zones decide. And what was seen gone is gone: a value that was surely written
 * before somebody found nothing is seen by nobody who asks later (hazards G3, and "nothing seen gone comes back").
 */
import { describeOp, type HistoryOp } from "./history.ts";
import { checkZones } from "./linearizability.ts";

/** Why these gets and sets of one key, in order of invocation, have no explanation; or null. */
export function checkExpiring(ops: readonly HistoryOp[]): string | null {
  const isAbsence = ({ op, result }: HistoryOp): boolean => op.kind === "get" && result === null;
  return checkZones(ops.filter((op) => !isAbsence(op))) ?? cameBack(ops, ops.filter(isAbsence));
}

function cameBack(ops: readonly HistoryOp[], absences: readonly HistoryOp[]): string | null {
  // Of the absences found before a moment, the one that was asked last rules out the most.
  const ended = [...absences].sort((a, b) => a.returned - b.returned);
  const writes = new Map(ops.flatMap((op) => (op.op.kind === "set" ? [[op.op.value, op] as const] : [])));
  let next = 0;
  let last: HistoryOp | null = null;
  for (const read of ops) {
    for (let absence = ended[next]; absence !== undefined && absence.returned < read.invoked; ) {
      if (last === null || absence.invoked > last.invoked) last = absence;
      absence = ended[++next];
    }
    if (last === null || read.op.kind !== "get" || typeof read.result !== "string") continue;
    const write = writes.get(read.result);
    if (write === undefined || write.returned >= last.invoked) continue;
    return `a value that was seen gone came back:\n  ${[write, last, read].map(describeOp).join("\n  ")}`;
  }
  return null;
}
