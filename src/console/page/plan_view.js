/** The plan under way, and records of the moves that are over. */
import { byIdOf, cell, element, keyed, setAttribute, setText } from "./dom.js";
import { formatBytes, formatCount, formatDuration, formatMany, formatRanges } from "./format.js";
import { progressOf } from "./model.js";
import { swatch } from "./tables.js";

/** Rows of moves: first those that run, then what waits, then the newest records. All in all always the same number. */
const OPEN_SHOWN_MAX = 8;
const ROWS_SHOWN_MAX = 12;

/** @typedef {import("./types.d.ts").Reshard} Reshard */
/** @typedef {import("./types.d.ts").Move} Move */
/** @typedef {import("./scene.js").Scene} Scene */
/**
 * @typedef {object} Row
 * @property {string} key
 * @property {string} from
 * @property {string} to
 * @property {string} state
 * @property {string} slots
 * @property {string} where
 * @property {number} share
 * @property {string} keys
 * @property {string} rate
 * @property {string} pause
 * @property {string} epoch
 */

/** @param {Reshard} reshard @param {import("./model.js").MoveRates} rates @returns {Row[]} */
function rowsOf({ moves, finished }, rates) {
  const open = [...moves.entries()].filter(([, { state }]) => state !== "done" && state !== "cancelled");
  open.sort(([i, a], [k, b]) => rankOf(a) - rankOf(b) || i - k);
  open.length = Math.min(open.length, OPEN_SHOWN_MAX);
  const records = finished.slice(open.length - ROWS_SHOWN_MAX).reverse();
  return [
    ...open.map(([i, move]) => openRow(i, move, rates)),
    ...records.map(({ epoch, from, to, slotCount, record }) => ({
      key: `done ${epoch}`,
      from,
      to,
      state: "done",
      slots: formatCount(slotCount),
      where: "",
      share: 1,
      keys: formatCount(record.keys),
      rate: formatBytes(record.bytes),
      pause: formatDuration(record.pauseMs),
      epoch: formatCount(epoch),
    })),
  ];
}

/** @param {Move} move */
function rankOf({ state }) {
  return state === "waiting" ? 1 : 0;
}

/** @param {number} i @param {Move} move @param {import("./model.js").MoveRates} rates @returns {Row} */
function openRow(i, move, rates) {
  const { from, to, state, slots, slotCount, keys, keysTotal, epoch, tries, record } = move;
  const rate = rates.of(move);
  const isRunning = state === "running";
  const left = rate.leftMs === null || !isRunning ? "" : `, ${formatDuration(rate.leftMs)} left`;
  return {
    key: `move ${i}`,
    from,
    to,
    state: tries > 1 ? `${state}, try ${tries}` : state,
    slots: formatCount(slotCount),
    where: formatRanges(slots, 6),
    share: state === "owned" ? 1 : isRunning && keysTotal > 0 ? Math.min(1, keys / keysTotal) : 0,
    keys: isRunning || state === "owned" ? `${formatCount(keys)} of ${formatCount(keysTotal)}` : "\u2013",
    rate: isRunning ? `${formatBytes(rate.bytes)}/s${left}` : "\u2013",
    pause: record === null ? "\u2013" : formatDuration(record.pauseMs),
    epoch: epoch === 0 ? "\u2013" : formatCount(epoch),
  };
}

/** @param {Scene} scene @param {Reshard} reshard @param {import("./model.js").MoveRates} rates */
export function showPlan(scene, reshard, rates) {
  setText(byIdOf("plan-state"), planText(reshard));
  const percent = String(
    Math.round(100 * (reshard.active ? progressOf(reshard) : reshard.finished.length > 0 ? 1 : 0)),
  );
  const bar = byIdOf("plan-bar");
  bar.hidden = !reshard.active;
  setAttribute(bar, "aria-valuenow", percent);
  cell(bar, 0).style.width = `${percent}%`;
  const rows = rowsOf(reshard, rates);
  keyed(
    /** @type {Element} */ (byIdOf("moves").querySelector("tbody")),
    rows,
    ({ key }) => key,
    () => newRow(),
    (row, item) => showRow(row, item, scene),
  );
  const waiting = reshard.moves.filter(({ state }) => state === "waiting").length;
  const note = reshard.active
    ? `${formatMany(waiting, "move")} wait. A shard gives in one move at a time, and takes in one.`
    : "";
  setText(
    byIdOf("moves-note"),
    rows.length === 0 ? "No slots are moving. A shard that is added gets its share: nucleus shard add" : note,
  );
}

/** @param {Reshard} reshard */
export function planText(reshard) {
  const { active, epoch, manual, cutover, cancelled, moves, last } = reshard;
  if (active) {
    const done = moves.filter(({ state }) => state === "done" || state === "owned").length;
    const held = manual && !cutover ? ", waits for nucleus reshard cutover" : "";
    return `Plan ${epoch}${cancelled ? " is being cancelled" : ""}: ${done} of ${formatMany(moves.length, "move")} done${held}`;
  }
  if (last === null) return "There was no plan yet";
  const how = last.cancelled ? "was cancelled" : "is done";
  return `Plan ${last.number} ${how}: ${last.done} of ${formatMany(last.moves, "move")}`;
}

function newRow() {
  const bar = element("div", { class: "bar" }, element("i"));
  const kinds = ["", "number", "progress", "number", "number", "number", "number"];
  const row = element(
    "tr",
    {},
    element("th", { scope: "row" }),
    ...kinds.map((kind) => element("td", { class: kind })),
  );
  cell(row, 0).append(
    element("span", { class: "name" }, swatch(""), element("span"), "\u2192", swatch(""), element("span")),
  );
  cell(row, 3).append(bar);
  return row;
}

/** @param {HTMLElement} row @param {Row} item @param {Scene} scene */
function showRow(row, item, scene) {
  const name = cell(cell(row, 0), 0);
  setAttribute(row, "title", item.where === "" ? "" : `slots ${item.where}`);
  cell(name, 0).style.background = scene.colorOf(item.from);
  setText(cell(name, 1), item.from);
  cell(name, 2).style.background = scene.colorOf(item.to);
  setText(cell(name, 3), item.to);
  setText(cell(row, 1), item.state);
  setText(cell(row, 2), item.slots);
  cell(cell(cell(row, 3), 0), 0).style.width = `${(100 * item.share).toFixed(1)}%`;
  setText(cell(row, 4), item.keys);
  setText(cell(row, 5), item.rate);
  setText(cell(row, 6), item.pause);
  setText(cell(row, 7), item.epoch);
}
