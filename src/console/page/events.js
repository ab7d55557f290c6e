/**
 * What happened, from two snapshots of the cluster a second apart: the control plane tells how things are, and what came
 * between is read off here. What began and ended between two snapshots is not seen, but for finished moves, of which
 * there are records.
 */
import { formatCount, formatDuration, formatMany } from "./format.js";

/** Events that are kept; older ones are forgotten. */
export const EVENTS_MAX = 200;

/** @typedef {import("./types.d.ts").Snapshot} Snapshot */
/** @typedef {import("./types.d.ts").ClusterEvent} ClusterEvent */

/**
 * Oldest first.
 * @param {Snapshot} before @param {Snapshot} after
 * @returns {ClusterEvent[]}
 */
export function eventsBetween(before, after) {
  if (before.live.cluster !== after.live.cluster)
    return [{ level: "bad", text: `this is another cluster now: ${after.live.cluster}` }];
  return [
    ...controlEvents(before.live, after.live),
    ...nodeEvents(before.live.nodes, after.live.nodes),
    ...shardEvents(before.live.shards, after.live.shards),
    ...planEvents(before.reshard, after.reshard),
  ];
}

/** @param {import("./types.d.ts").Live} before @param {import("./types.d.ts").Live} after @returns {ClusterEvent[]} */
function controlEvents(before, after) {
  /** @type {ClusterEvent[]} */
  const events = [];
  if (before.term !== after.term)
    events.push({ level: "info", text: `the control plane has a new leader, in term ${after.term}` });
  if (before.version.restore !== after.version.restore)
    events.push({ level: "warn", text: `the control plane was restored (${after.version.restore})` });
  if (before.shards.length === 0 && after.shards.length > 0)
    events.push({
      level: "good",
      text: `the cluster has its first layout: ${formatMany(after.shards.length, "shard")}`,
    });
  return events;
}

/** @type {Record<string, readonly [import("./types.d.ts").Level, string]>} */
const STANDING = {
  alive: ["good", "is back"],
  suspect: ["warn", "is silent"],
  dead: ["bad", "counts as dead"],
  excluded: ["warn", "was excluded"],
};

/**
 * @param {readonly import("./types.d.ts").LiveNode[]} before
 * @param {readonly import("./types.d.ts").LiveNode[]} after
 * @returns {ClusterEvent[]}
 */
function nodeEvents(before, after) {
  const known = byId(before);
  /** @type {ClusterEvent[]} */
  const events = [];
  for (const node of after) {
    const was = known.get(node.id);
    known.delete(node.id);
    if (was === undefined) {
      events.push({ level: "good", text: `node ${node.id} has registered, at ${node.addr}` });
      continue;
    }
    const [level, what] = STANDING[node.state] ?? ["info", `is ${node.state}`];
    if (was.state !== node.state) events.push({ level, text: `node ${node.id} ${what}` });
    if (was.draining !== node.draining)
      events.push({
        level: "info",
        text: `node ${node.id} ${node.draining ? "is being drained" : "takes replicas again"}`,
      });
  }
  for (const id of known.keys()) events.push({ level: "info", text: `node ${id} was removed` });
  return events;
}

/**
 * @param {readonly import("./types.d.ts").LiveShard[]} before
 * @param {readonly import("./types.d.ts").LiveShard[]} after
 * @returns {ClusterEvent[]}
 */
function shardEvents(before, after) {
  const known = byId(before);
  /** @type {ClusterEvent[]} */
  const events = [];
  for (const shard of after) {
    const was = known.get(shard.id);
    known.delete(shard.id);
    if (was === undefined) {
      if (before.length > 0) events.push({ level: "info", text: `shard ${shard.id} was added` });
      continue;
    }
    events.push(...leaderEvents(was, shard));
    if (was.state !== shard.state)
      events.push({
        level: shard.state === "lost" ? "bad" : "info",
        text: `shard ${shard.id} is ${shard.state}`,
      });
    const [had, has] = [was.voters.join(" "), shard.voters.join(" ")];
    if (had !== has && had !== "" && has !== "")
      events.push({ level: "info", text: `shard ${shard.id}: voters ${had} -> ${has}` });
  }
  for (const id of known.keys()) events.push({ level: "info", text: `shard ${id} is gone` });
  return events;
}

/**
 * @param {import("./types.d.ts").LiveShard} was @param {import("./types.d.ts").LiveShard} is
 * @returns {ClusterEvent[]}
 */
function leaderEvents(was, is) {
  if (was.leader === is.leader)
    return was.term < is.term && is.leader !== null
      ? [{ level: "info", text: `shard ${is.id}: ${is.leader} leads again, in term ${is.term}` }]
      : [];
  if (is.leader === null)
    return [{ level: "bad", text: `shard ${is.id} has no leader (it was ${was.leader})` }];
  const from = was.leader === null ? "" : `, after ${was.leader}`;
  return [
    {
      level: was.leader === null ? "good" : "info",
      text: `shard ${is.id}: ${is.leader} leads${from}, in term ${is.term}`,
    },
  ];
}

/**
 * @param {import("./types.d.ts").Reshard} before @param {import("./types.d.ts").Reshard} after
 * @returns {ClusterEvent[]}
 */
function planEvents(before, after) {
  /** @type {ClusterEvent[]} */
  const events = [];
  const isSame = before.active && after.active && before.epoch === after.epoch;
  if (after.active && !isSame)
    events.push({
      level: "info",
      text: `plan ${after.epoch} has begun: ${formatMany(after.moves.length, "move")}`,
    });
  if (isSame && !before.cutover && after.cutover)
    events.push({ level: "info", text: `plan ${after.epoch}: cut over` });
  if (isSame && !before.cancelled && after.cancelled)
    events.push({ level: "warn", text: `plan ${after.epoch} is being cancelled` });
  for (const [i, move] of after.moves.entries()) {
    const was = isSame ? before.moves[i] : undefined;
    events.push(...moveEvents(was?.state ?? "waiting", was?.epoch ?? 0, move));
  }
  const recorded = before.finished.at(-1)?.epoch ?? 0;
  for (const { epoch, from, to, slotCount, record } of after.finished.filter((one) => one.epoch > recorded)) {
    const what = `${formatMany(slotCount, "slot")}, ${formatMany(record.keys, "key")}`;
    events.push({
      level: "good",
      text: `${from} -> ${to} is done: ${what}, writes held for ${formatDuration(record.pauseMs)} (epoch ${epoch})`,
    });
  }
  const { last } = after;
  if (before.active && !isSame && last !== null && last.number === before.epoch) {
    const how = last.cancelled ? "was cancelled" : "is done";
    const done = `${formatCount(last.done)} of ${formatMany(last.moves, "move")}`;
    events.push({ level: last.cancelled ? "warn" : "good", text: `plan ${last.number} ${how}: ${done}` });
  }
  return events;
}

/**
 * @param {string} was @param {number} wasEpoch @param {import("./types.d.ts").Move} move
 * @returns {ClusterEvent[]}
 */
function moveEvents(was, wasEpoch, { from, to, slotCount, state, epoch, tries }) {
  if (was === state && wasEpoch === epoch) return [];
  const what = `${from} -> ${to}`;
  const number = `(epoch ${epoch})`;
  if (state === "running") {
    const again = tries > 1 ? `, try ${tries}` : "";
    return [{ level: "info", text: `${what} has begun: ${formatMany(slotCount, "slot")}${again} ${number}` }];
  }
  if (was === state) return [];
  if (state === "owned") return [{ level: "info", text: `${what}: ${to} owns the slots ${number}` }];
  if (state === "aborted") return [{ level: "warn", text: `${what} was aborted ${number}` }];
  return [];
}

/** @template {{ readonly id: string }} T @param {readonly T[]} all @returns {Map<string, T>} */
function byId(all) {
  return new Map(all.map((one) => [one.id, one]));
}
