/**
 * How far a plan is (GET /reshard/status), for people: a table, or a watch that ends with the plan.
 *
 *     [#########............]  43 %  7,050 of 16,384 slots  12,345 keys  3,200 keys/s  about 4 s left
 *
 * How much is done is measured in slots: of a move under way, the share of its keys that were copied. Keys of moves that
 * have not begun are not counted by anyone yet.
 */
import { formatBytes, formatCount, formatDuration } from "../base/units.ts";
import type { Fields } from "./json_fields.ts";
import { type Cell, counted, type Paint, type Style, table } from "./output.ts";

export type MoveStatus = {
  readonly from: string;
  readonly to: string;
  readonly slotCount: number;
  readonly state: string;
  readonly epoch: number;
  readonly tries: number;
  readonly keys: number;
  readonly keysTotal: number;
  readonly bytes: number;
  /** How long writes to its slots were held; null: it is not over. */
  readonly pauseMs: number | null;
};

export type ReshardStatus = {
  readonly active: boolean;
  readonly epoch: number;
  readonly manual: boolean;
  readonly cutover: boolean;
  readonly cancelled: boolean;
  readonly keysMoved: number;
  /** Of the moves that have begun. */
  readonly keysTotal: number;
  readonly moves: readonly MoveStatus[];
  /** The last plan that is over. */
  readonly last: PlanEnd | null;
};

export type PlanEnd = {
  readonly number: number;
  readonly cancelled: boolean;
  readonly done: number;
  readonly moves: number;
  readonly keys: number;
  readonly bytes: number;
  /** The longest that writes to some slots were held. */
  readonly pauseMsMax: number;
};

export function readReshard(from: Fields): ReshardStatus {
  const last = from.childOrNull("last");
  return {
    active: from.flag("active"),
    epoch: from.number("epoch"),
    manual: from.flag("manual"),
    cutover: from.flag("cutover"),
    cancelled: from.flag("cancelled"),
    keysMoved: from.number("keysMoved"),
    keysTotal: from.number("keysTotal"),
    moves: from.list("moves").map(readMove),
    last: last === null ? null : readEnd(last, from.list("finished")),
  };
}

/** With the sums of its moves, as far as their records are kept. */
function readEnd(last: Fields, finished: readonly Fields[]): PlanEnd {
  const number = last.number("number");
  const records = finished
    .filter((move) => move.number("plan") === number)
    .map((move) => move.child("record"));
  const sum = (key: string): number => records.reduce((total, record) => total + record.number(key), 0);
  return {
    number,
    cancelled: last.flag("cancelled"),
    done: last.number("done"),
    moves: last.number("moves"),
    keys: sum("keys"),
    bytes: sum("bytes"),
    pauseMsMax: Math.max(0, ...records.map((record) => record.number("pauseMs"))),
  };
}

function readMove(from: Fields): MoveStatus {
  return {
    from: from.text("from"),
    to: from.text("to"),
    slotCount: from.number("slotCount"),
    state: from.text("state"),
    epoch: from.number("epoch"),
    tries: from.number("tries"),
    keys: from.number("keys"),
    keysTotal: from.number("keysTotal"),
    bytes: from.number("bytes"),
    pauseMs: from.childOrNull("record")?.number("pauseMs") ?? null,
  };
}

/** Slots of the plan that are where they should be, copies under way counted in part; and all of them. */
export function slotsDone(moves: readonly MoveStatus[]): { readonly done: number; readonly all: number } {
  let done = 0;
  let all = 0;
  for (const { state, slotCount, keys, keysTotal } of moves) {
    if (state === "cancelled") continue;
    all += slotCount;
    if (state === "done" || state === "owned") done += slotCount;
    else if (state === "running" && keysTotal > 0) done += slotCount * Math.min(1, keys / keysTotal);
  }
  return { done, all };
}

const STYLES: Readonly<Record<string, Style>> = {
  done: "green",
  running: "cyan",
  owned: "cyan",
  aborted: "red",
};

export function headText(status: ReshardStatus): string {
  const { active, epoch, manual, cutover, cancelled, last } = status;
  if (!active) return endText(last);
  if (cancelled) return `Plan ${epoch} is being cancelled.`;
  if (!manual || cutover) return `Plan ${epoch} is under way.`;
  return `Plan ${epoch} is under way. When it has copied everything it waits for: nucleus reshard cutover`;
}

export function endText(last: PlanEnd | null): string {
  if (last === null) return "No slots have ever been moved.";
  const { number, cancelled, done, moves, keys, bytes, pauseMsMax } = last;
  const what = cancelled
    ? `was cancelled after ${done} of ${counted(moves, "move")}`
    : `is done: ${counted(moves, "move")}`;
  const held = `, ${counted(keys, "key")}, ${formatBytes(bytes)}; writes to a slot were held for at most ${formatDuration(pauseMsMax)}`;
  return `No plan is under way. Plan ${number} ${what}${done === 0 ? "" : held}.`;
}

export function reshardText(status: ReshardStatus, paint: Paint): string {
  const head = headText(status);
  if (!status.active) return head;
  return `${head}\n${progressText(status)}\n\n${movesTable(status.moves, paint)}`;
}

function movesTable(moves: readonly MoveStatus[], paint: Paint): string {
  const number = { numbers: true as const };
  const columns = [
    { title: "FROM" },
    { title: "TO" },
    { title: "SLOTS", ...number },
    { title: "STATE" },
    { title: "EPOCH", ...number },
    { title: "KEYS", ...number },
    { title: "DATA", ...number },
    { title: "PAUSE", ...number },
  ];
  const rows = moves.map(({ from, to, slotCount, state, epoch, keys, keysTotal, bytes, pauseMs }): Cell[] => {
    const style = STYLES[state];
    const whole = keysTotal > keys ? `/${formatCount(keysTotal)}` : "";
    return [
      from,
      to,
      formatCount(slotCount),
      style === undefined ? state : { text: state, style },
      epoch === 0 ? "-" : String(epoch),
      epoch === 0 ? "-" : `${formatCount(keys)}${whole}`,
      epoch === 0 ? "-" : formatBytes(bytes),
      pauseMs === null ? "-" : formatDuration(pauseMs),
    ];
  });
  return table(columns, rows, paint);
}

const BAR_LETTERS = 30;

/** `rate`: what was seen so far; left out before there is anything. */
export function progressText({ moves, keysMoved }: ReshardStatus, rate: Rate | null = null): string {
  const { done, all } = slotsDone(moves);
  const share = all === 0 ? 1 : done / all;
  const full = Math.floor(share * BAR_LETTERS);
  const parts = [
    `[${"#".repeat(full)}${".".repeat(BAR_LETTERS - full)}] ${String(Math.floor(share * 100)).padStart(3)} %`,
    `${formatCount(Math.floor(done))} of ${formatCount(all)} slots`,
    `${formatCount(keysMoved)} keys`,
  ];
  if (rate !== null) {
    parts.push(`${formatCount(Math.round(rate.keysPerSecond))} keys/s`);
    if (rate.leftMs !== null) parts.push(`about ${formatDuration(Math.max(1000, rate.leftMs))} left`);
  }
  return parts.join("  ");
}

export type Rate = { readonly keysPerSecond: number; readonly leftMs: number | null };
type Sample = { readonly ms: number; readonly keys: number; readonly slots: number };

/** Over the last few seconds: what a plan did at its start says little about its end. */
const WINDOW_MS = 10_000;

/** Rate and time left, from what was seen of one plan. */
export class RateMeter {
  readonly #samples: Sample[] = [];

  add(nowMs: number, status: ReshardStatus): Rate | null {
    const { done, all } = slotsDone(status.moves);
    this.#samples.push({ ms: nowMs, keys: status.keysMoved, slots: done });
    while ((this.#samples[1]?.ms ?? nowMs) < nowMs - WINDOW_MS) this.#samples.shift();
    const first = this.#samples[0] as Sample;
    const spanMs = nowMs - first.ms;
    if (spanMs < 500) return null;
    const slotsPerMs = (done - first.slots) / spanMs;
    return {
      keysPerSecond: Math.max(0, (1000 * (status.keysMoved - first.keys)) / spanMs),
      leftMs: slotsPerMs > 0 ? (all - done) / slotsPerMs : null,
    };
  }
}

/** What became of moves since `before`: a line each, for those who read a log of it. */
export function changeLines(before: ReshardStatus | null, now: ReshardStatus): string[] {
  const isSame = before !== null && before.epoch === now.epoch && before.active;
  const lines = now.moves.flatMap((move, i): string[] => {
    const old = isSame ? before.moves[i] : undefined;
    if (old === undefined ? move.state === "waiting" : old.state === move.state && old.tries === move.tries)
      return [];
    const what = `${move.from} -> ${move.to}, ${counted(move.slotCount, "slot")}`;
    const held = move.pauseMs === null ? "" : `, writes held for ${formatDuration(move.pauseMs)}`;
    const keys = move.keys > 0 ? `, ${counted(move.keys, "key")}` : "";
    return [`${what}: ${move.state}${keys}${held}`];
  });
  const { done, all } = slotsDone(now.moves);
  const sum = `${formatCount(Math.floor(done))} of ${formatCount(all)} slots`;
  return lines.map((line) => `${line} (${sum})`);
}
