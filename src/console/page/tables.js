/** The tables of shards and nodes, and the legend. */
import { inkOn } from "./colors.js";
import { byIdOf, cell, element, keyed, setAttribute, setText } from "./dom.js";
import { formatBytes, formatCount, formatDuration, formatShare } from "./format.js";
import { HISTORY_MS, History, replicaText } from "./model.js";
import { SLOT_COUNT } from "./slot.js";
import { drawSpark } from "./spark.js";

/** More nodes than this have no columns of their own: the replicas stand in one. */
const COLUMNS_MAX = 9;
/** Rows that are shown; who has more looks at `nucleus shard list`. */
export const ROWS_MAX = 256;

/** @typedef {import("./types.d.ts").LiveShard} LiveShard */
/** @typedef {import("./types.d.ts").LiveNode} LiveNode */
/** @typedef {import("./scene.js").Scene} Scene */

/** @param {string} color */
export function swatch(color) {
  const made = element("span", { class: "swatch" });
  made.style.background = color;
  return made;
}

/** @param {Scene} scene @param {readonly LiveShard[]} shards @param {(shard: string) => void} onChoose */
export function showLegend(scene, shards, onChoose) {
  keyed(
    byIdOf("legend"),
    shards.slice(0, ROWS_MAX),
    ({ id }) => id,
    ({ id }) => {
      const button = element(
        "button",
        { type: "button", "aria-pressed": "false" },
        swatch(scene.colorOf(id)),
        id,
        " ",
      );
      button.append(element("span", { class: "small" }));
      button.addEventListener("click", () => onChoose(id));
      return element("li", {}, button);
    },
    (item, { id, slots }) => {
      const button = /** @type {HTMLElement} */ (item.firstElementChild);
      setAttribute(button, "aria-pressed", String(scene.chosen === id));
      cell(button, 0).style.background = scene.colorOf(id);
      setText(cell(button, 1), formatShare(slots, SLOT_COUNT));
    },
  );
}

const SHARD_TITLES = ["Shard", "Leader", "Term", "Slots", "Keys", "Data"];
const NUMBER_PLACES = [2, 3, 4, 5];

/** @param {Scene} scene @param {readonly LiveShard[]} shards @param {readonly LiveNode[]} nodes */
export function showShards(scene, shards, nodes) {
  const columns = nodes.length <= COLUMNS_MAX ? nodes.map(({ id }) => id) : [];
  showShardTitles(nodes, columns);
  const width = SHARD_TITLES.length + Math.max(1, columns.length);
  const body = /** @type {Element} */ (byIdOf("shards").querySelector("tbody"));
  keyed(
    body,
    shards.slice(0, ROWS_MAX),
    ({ id }) => `${id} ${width}`,
    (shard) => newShardRow(shard, scene, width),
    (row, shard) => showShard(row, shard, scene, columns),
  );
  const blocked = shards.filter(
    ({ voters, wanted, blocked }) => blocked !== null && voters.join() !== wanted.join(),
  );
  const notes = blocked.slice(0, 3).map(({ id, blocked: why }) => `${id} waits: ${why}.`);
  if (shards.length > ROWS_MAX) notes.push(`${shards.length - ROWS_MAX} more shards are not shown.`);
  const lag = "Lag is in log entries, as of the nodes' last words, which come once a second.";
  setText(byIdOf("shards-note"), notes.length > 0 ? notes.join(" ") : lag);
}

/** @param {readonly LiveNode[]} nodes @param {readonly string[]} columns */
function showShardTitles(nodes, columns) {
  const head = /** @type {Element} */ (byIdOf("shards").querySelector("thead"));
  const titles = [...SHARD_TITLES, ...(columns.length > 0 || nodes.length === 0 ? columns : ["Replicas"])];
  keyed(
    head,
    [titles],
    (all) => all.join(" "),
    (all) =>
      element(
        "tr",
        {},
        ...all.map((title, i) =>
          element(
            "th",
            { scope: "col", class: NUMBER_PLACES.includes(i) ? "number" : i >= 6 ? "replica" : "" },
            title,
          ),
        ),
      ),
    () => {},
  );
}

/** @param {LiveShard} shard @param {Scene} scene @param {number} width */
function newShardRow({ id }, scene, width) {
  const name = element("span", { class: "name" }, swatch(scene.colorOf(id)), id);
  const row = element("tr", {}, element("th", { scope: "row" }, name));
  for (let i = 1; i < width; i++) {
    const kind = NUMBER_PLACES.includes(i) ? "number" : i >= SHARD_TITLES.length ? "replica" : "";
    row.append(element("td", { class: kind }));
  }
  return row;
}

/** @param {HTMLElement} row @param {LiveShard} shard @param {Scene} scene @param {readonly string[]} columns */
function showShard(row, shard, scene, columns) {
  const color = scene.colorOf(shard.id);
  const mark = /** @type {HTMLElement} */ (row.querySelector(".swatch"));
  mark.style.background = color;
  const isLed = shard.leader !== null;
  setText(
    cell(row, 1),
    isLed ? String(shard.leader) : shard.hint === null ? "none" : `none (was ${shard.hint})`,
  );
  setAttribute(cell(row, 1), "class", isLed ? "" : "bad");
  setText(cell(row, 2), formatCount(shard.term));
  setText(cell(row, 3), `${formatCount(shard.slots)} (${formatShare(shard.slots, SLOT_COUNT)})`);
  setText(cell(row, 4), formatCount(shard.keys));
  setText(cell(row, 5), formatBytes(shard.bytes));
  if (columns.length === 0) {
    const replicas = shard.replicas.map(
      ({ node, role, lag }) => `${node} ${role === "leader" ? "leader" : `(${lag ?? "?"})`}`,
    );
    setText(cell(row, 6), replicas.join(", "));
    return;
  }
  for (const [i, node] of columns.entries())
    showReplica(cell(row, SHARD_TITLES.length + i), shard, node, color);
}

/** @param {HTMLElement} at @param {LiveShard} shard @param {string} node @param {string} color */
function showReplica(at, shard, node, color) {
  const { role, text, notes = "" } = replicaText(shard, node);
  setAttribute(at, "data-role", role);
  if (at.childElementCount === 0) at.append(element("b"), element("span"));
  const [word, note] = [cell(at, 0), cell(at, 1)];
  word.hidden = text === "";
  if (word.textContent !== text) word.textContent = text;
  if (note.textContent !== notes) note.textContent = notes;
  word.style.background = role === "leader" ? color : "";
  word.style.color = role === "leader" ? inkOn(color) : "";
}

/** @type {Record<string, string>} */
const LEVELS = { alive: "good", suspect: "warn", dead: "bad", excluded: "warn" };

/** The operations of each node, as long as the page is open. */
export class NodeTable {
  constructor() {
    /** @type {Map<string, History>} */
    this.histories = new Map();
  }

  /** @param {readonly LiveNode[]} nodes @param {number} now */
  show(nodes, now) {
    for (const id of this.histories.keys())
      if (!nodes.some((node) => node.id === id)) this.histories.delete(id);
    const body = /** @type {Element} */ (byIdOf("nodes").querySelector("tbody"));
    keyed(
      body,
      nodes.slice(0, ROWS_MAX),
      ({ id }) => id,
      ({ id }) => {
        const kinds = ["", "", "mono", "mono", "number", "number", "number", "", "number", "number"];
        const row = element(
          "tr",
          {},
          element("th", { scope: "row" }, id),
          ...kinds.map((kind) => element("td", { class: kind })),
        );
        cell(row, 1).append(element("span", { class: "chip" }));
        const canvas = element("canvas", { role: "img", "aria-label": `Operations per second of ${id}` });
        cell(row, 8).append(canvas);
        return row;
      },
      (row, node) => this.showNode(row, node, now),
    );
  }

  /** @param {HTMLElement} row @param {LiveNode} node @param {number} now */
  showNode(row, { id, state, silentMs, draining, zone, addr, http, replicas, leads, load }, now) {
    const history = this.histories.get(id) ?? new History(HISTORY_MS);
    this.histories.set(id, history);
    const isHeard = state === "alive";
    history.add(now, isHeard ? load.commandsPerSecond : 0);
    const chip = cell(cell(row, 1), 0);
    const silence = state === "suspect" || state === "dead" ? `, silent for ${formatDuration(silentMs)}` : "";
    setText(chip, `${state}${silence}${draining ? ", draining" : ""}`);
    setAttribute(chip, "data-level", draining && isHeard ? "warn" : (LEVELS[state] ?? "warn"));
    setText(cell(row, 2), zone === "" ? "\u2013" : zone);
    setText(cell(row, 3), addr);
    setText(cell(row, 4), http);
    setText(cell(row, 5), formatCount(replicas));
    setText(cell(row, 6), formatCount(leads));
    setText(cell(row, 7), isHeard ? formatCount(load.commandsPerSecond) : "\u2013");
    drawSpark(/** @type {HTMLCanvasElement} */ (cell(cell(row, 8), 0)), history, now);
    setText(cell(row, 9), formatBytes(load.bytes));
    setText(cell(row, 10), load.diskFreeBytes > 0 ? formatBytes(load.diskFreeBytes) : "\u2013");
  }
}
