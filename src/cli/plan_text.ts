/** What a plan would do or does, as people read it: the report of a dry run, or of a plan that was taken. */
import { formatBytes, formatCount, formatDuration } from "../base/units.ts";
import type { Fields } from "./json_fields.ts";
import { type Cell, counted, listed, type Paint, table } from "./output.ts";
import { namesText } from "./view_text.ts";

export function planText(report: Fields, paint: Paint): string {
  return [sumText(report), shardTable(report, paint), balanceText(report), ...refusedLines(report)].join(
    "\n\n",
  );
}

/** "22 moves of 5,461 slots: about 1,234 keys, 5 MiB; 1 s at the rate limit." */
export function sumText(report: Fields): string {
  const [moves, slots] = [report.number("moves"), report.number("slots")];
  if (moves === 0) return "Nothing has to move.";
  const keys = formatCount(report.number("keys"));
  const bytes = formatBytes(report.number("bytes"));
  const time = formatDuration(1000 * Math.max(1, report.number("seconds")));
  return `${counted(moves, "move")} of ${formatCount(slots)} slots: about ${keys} keys, ${bytes}; ${time} or more at the rate limit.${emptyText(report)}`;
}

/** What lost shards had. */
function emptyText(report: Fields): string {
  if (!report.has("empty")) return "";
  const empty = report.child("empty");
  const names = listed(empty.texts("shards"));
  return ` ${formatCount(empty.number("slots"))} of them are of ${names}, lost for good: they begin empty.`;
}

function shardTable(report: Fields, paint: Paint): string {
  const number = { numbers: true as const };
  const columns = [
    { title: "SHARD" },
    { title: "WEIGHT", ...number },
    { title: "SLOTS", ...number },
    { title: "AFTER", ...number },
    { title: "CHANGE", ...number },
    { title: "NODES" },
  ];
  const rows = report.list("shards").map((shard): Cell[] => {
    const [before, after] = [shard.number("slotsBefore"), shard.number("slotsAfter")];
    const weight = shard.number("weight");
    return [
      shard.text("id"),
      weight === 0 ? { text: "goes", style: "yellow" } : String(weight),
      formatCount(before),
      formatCount(after),
      changeCell(after - before),
      namesText(shard.texts("nodes")),
    ];
  });
  return table(columns, rows, paint);
}

function changeCell(change: number): Cell {
  if (change === 0) return "-";
  return { text: `${change > 0 ? "+" : "-"}${formatCount(Math.abs(change))}`, style: "cyan" };
}

function balanceText(report: Fields): string {
  const span = (key: string): string => {
    const balance = report.child(key);
    return `${balance.number("min").toFixed(2)} to ${balance.number("max").toFixed(2)}`;
  };
  return `Balance (slots of a shard as a share of fair): now ${span("balanceBefore")}, after ${span("balanceAfter")}`;
}

/** Replicas that the same request wished elsewhere, and may not have. */
function refusedLines(report: Fields): string[] {
  return report.has("refused") ? report.texts("refused").map((why) => `Refused: ${why}`) : [];
}
