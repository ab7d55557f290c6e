/**
 * What the page makes of the snapshots, without showing any of it: owners of slots, totals, the verdict, and rates, which
 * are the differences of what was moved between two snapshots.
 */
import { formatCount, formatMany } from "./format.js";
import { SLOT_COUNT } from "./slot.js";

/** Five minutes, one snapshot a second. */
export const HISTORY_MS = 5 * 60 * 1000;
/** A rate is taken over so long: one second alone jumps about. */
const RATE_MS = 5000;

/** @typedef {import("./types.d.ts").Live} Live */
/** @typedef {import("./types.d.ts").Reshard} Reshard */

/**
 * @param {import("./types.d.ts").MapJson} map
 * @returns {import("./types.d.ts").Owners}
 */
export function ownersOf({ ranges }) {
  const shards = [...new Set(ranges.map(([, , shard]) => shard))].sort();
  const numbers = new Map(shards.map((id, i) => [id, i + 1]));
  const owner = new Uint16Array(SLOT_COUNT);
  const epoch = new Float64Array(SLOT_COUNT);
  for (const [first, last, shard, number] of ranges) {
    owner.fill(numbers.get(shard) ?? 0, first, last + 1);
    epoch.fill(number, first, last + 1);
  }
  return { shards, owner, epoch };
}

/** Slots on their way: of each, the place of its move in the plan, from 1; 0: it stays.
 * @param {Reshard} reshard */
export function movingSlots({ moves }) {
  const moving = new Uint16Array(SLOT_COUNT);
  for (const [i, { state, slots }] of moves.entries())
    if (state === "running") for (const [first, last] of slots) moving.fill(i + 1, first, last + 1);
  return moving;
}

/** @param {Live} live */
export function totalsOf({ nodes, shards }) {
  /** @type {(values: readonly number[]) => number} */
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  const present = nodes.filter(({ state }) => state !== "excluded");
  return {
    commands: sum(present.filter(({ state }) => state === "alive").map(({ load }) => load.commandsPerSecond)),
    keys: sum(shards.map(({ keys }) => keys)),
    bytes: sum(shards.map(({ bytes }) => bytes)),
    nodes: present.length,
    alive: present.filter(({ state }) => state === "alive").length,
    shards: shards.length,
    led: shards.filter(({ leader }) => leader !== null).length,
  };
}

/**
 * How the cluster is, in a word and a sentence.
 * @param {Live} live
 * @returns {{ level: import("./types.d.ts").Level, word: string, text: string }}
 */
export function verdictOf(live) {
  const { nodes, shards, waitingFor } = live;
  if (shards.length === 0) return { level: "info", word: "Empty", text: "no layout yet" };
  const leaderless = shards.filter(({ leader }) => leader === null).map(({ id }) => id);
  if (leaderless.length > 0)
    return { level: "bad", word: "Unavailable", text: `no leader: ${listed(leaderless)}` };
  const away = nodes.filter(({ state }) => state === "suspect" || state === "dead").map(({ id }) => id);
  if (away.length > 0) return { level: "warn", word: "Degraded", text: `not heard: ${listed(away)}` };
  if (waitingFor.length > 0)
    return { level: "warn", word: "Restored", text: `waits for ${listed(waitingFor)}` };
  const changing = shards.filter(({ voters, wanted }) => !isSameSet(voters, wanted)).map(({ id }) => id);
  if (changing.length > 0)
    return { level: "info", word: "Changing", text: `replicas of ${listed(changing)}` };
  return { level: "good", word: "Healthy", text: "all nodes and leaders are there" };
}

/** @param {readonly string[]} ids */
function listed(ids) {
  return ids.length <= 4 ? ids.join(", ") : `${ids.slice(0, 3).join(", ")} and ${ids.length - 3} more`;
}

/** @param {readonly string[]} a @param {readonly string[]} b */
function isSameSet(a, b) {
  return a.length === b.length && a.every((id) => b.includes(id));
}

/**
 * What to do when there are no shards yet.
 * @param {Live} live
 * @returns {{ text: string, command: string }}
 */
export function nextStep({ nodes, firstLayout }) {
  const waits = firstLayout === null ? "" : ` The layout it was started with waits: ${firstLayout}.`;
  if (nodes.length === 0)
    return {
      text: `The control plane runs, and no node has registered.${waits} Start nodes, each with a directory of its own:`,
      command:
        "nucleus node --id n1 --listen 127.0.0.1:7001 --http 127.0.0.1:8001 --dir ./n1 --control HOST:PORT",
    };
  const replicas = Math.min(3, nodes.length);
  return {
    text: `${formatMany(nodes.length, "node")} registered, and no shards yet.${waits} Make the first layout:`,
    command: `nucleus cluster init --shards ${Math.max(2, nodes.length)} --replicas ${replicas}`,
  };
}

/**
 * Values in the order of time, for so long.
 * @typedef {{ at: number, value: number }} Sample
 */
export class History {
  /** @param {number} spanMs */
  constructor(spanMs) {
    this.spanMs = spanMs;
    /** @type {Sample[]} */
    this.samples = [];
  }

  /** @param {number} at @param {number} value */
  add(at, value) {
    this.samples.push({ at, value });
    while (this.samples.length > 2 && /** @type {Sample} */ (this.samples[0]).at < at - this.spanMs)
      this.samples.shift();
  }

  /** How fast the value rises, a second; 0 with one sample, and after it fell. */
  get rate() {
    const [first, last] = [this.samples[0], this.samples.at(-1)];
    if (first === undefined || last === undefined || last.at <= first.at) return 0;
    return Math.max(0, (1000 * (last.value - first.value)) / (last.at - first.at));
  }

  get max() {
    return this.samples.reduce((max, { value }) => Math.max(max, value), 0);
  }
}

/** How fast each running move goes, by its epoch: a new attempt begins anew. */
export class MoveRates {
  constructor() {
    /** @type {Map<number, { keys: History, bytes: History }>} */
    this.byEpoch = new Map();
  }

  /** @param {number} at @param {Reshard} reshard */
  add(at, { moves }) {
    const running = moves.filter(({ state }) => state === "running");
    for (const epoch of this.byEpoch.keys())
      if (!running.some((move) => move.epoch === epoch)) this.byEpoch.delete(epoch);
    for (const { epoch, keys, bytes } of running) {
      const known = this.byEpoch.get(epoch) ?? { keys: new History(RATE_MS), bytes: new History(RATE_MS) };
      this.byEpoch.set(epoch, known);
      known.keys.add(at, keys);
      known.bytes.add(at, bytes);
    }
  }

  /** @param {import("./types.d.ts").Move} move */
  of({ epoch, keys, keysTotal }) {
    const known = this.byEpoch.get(epoch);
    const keysRate = known?.keys.rate ?? 0;
    const leftMs = keysRate > 0 ? (1000 * (keysTotal - keys)) / keysRate : null;
    return { keys: keysRate, bytes: known?.bytes.rate ?? 0, leftMs };
  }
}

/** How much of a plan is done, from 0 to 1: by slots, as keys are known only of moves that run.
 * @param {Reshard} reshard */
export function progressOf({ moves }) {
  let slots = 0;
  let done = 0;
  for (const move of moves) {
    slots += move.slotCount;
    if (move.state === "done" || move.state === "owned") done += move.slotCount;
    else if (move.state === "running" && move.keysTotal > 0)
      done += (move.slotCount * Math.min(move.keys, move.keysTotal)) / move.keysTotal;
  }
  return slots === 0 ? 0 : done / slots;
}

/** How a replica stands, in few words.
 * @param {import("./types.d.ts").LiveShard} shard @param {string} node */
export function replicaText(shard, node) {
  const replica = shard.replicas.find((one) => one.node === node);
  const isWanted = shard.wanted.includes(node);
  if (replica === undefined) {
    if (shard.voters.includes(node)) return { role: "silent", text: "voter, silent" };
    return isWanted ? { role: "coming", text: "to come" } : { role: "none", text: "" };
  }
  const lag = replica.lag === null || replica.role === "leader" ? "" : `lag ${formatCount(replica.lag)}`;
  const leaves = isWanted || replica.role === "leader" ? "" : "leaves";
  const notes = [lag, leaves].filter((note) => note !== "").join(", ");
  return { role: replica.role, text: replica.role === "unknown" ? "replica" : replica.role, notes };
}
