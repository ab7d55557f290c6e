/** Puts it together: what the feed brings is kept, and the page is made to show it; a second later again. */
import { assignColors } from "./colors.js";
import { byIdOf, canvasOf, element, keyed, setAttribute, setText } from "./dom.js";
import { EVENTS_MAX, eventsBetween } from "./events.js";
import { Feed } from "./feed.js";
import { formatBytes, formatCount, formatMany, formatTime } from "./format.js";
import {
  HISTORY_MS,
  History,
  MoveRates,
  movingSlots,
  nextStep,
  ownersOf,
  totalsOf,
  verdictOf,
} from "./model.js";
import { showPlan } from "./plan_view.js";
import { drawLens, drawRing, slotOnRing } from "./ring.js";
import { PLACES_PER_SLOT, pointAfter, pointsOf } from "./ring_points.js";
import { Scene } from "./scene.js";
import { hashedPart, SLOT_COUNT, slotOf } from "./slot.js";
import { drawSlotMap, SLOTS_IN_ROW, slotOnMap } from "./slot_map.js";
import { drawSpark } from "./spark.js";
import { NodeTable, showLegend, showShards } from "./tables.js";

const scene = new Scene();
const nodeTable = new NodeTable();
const rates = new MoveRates();
const operations = new History(HISTORY_MS);
/** @type {import("./types.d.ts").Snapshot | null} */
let latest = null;
/** @type {import("./types.d.ts").DatedEvent[]} */
let events = [];
let eventCount = 0;

const feed = new Feed(
  (snapshot) => {
    const now = Date.now();
    for (const event of latest === null ? [] : eventsBetween(latest, snapshot))
      events.unshift({ ...event, key: ++eventCount, at: now });
    events = events.slice(0, EVENTS_MAX);
    latest = snapshot;
    rates.add(now, snapshot.reshard);
    operations.add(now, totalsOf(snapshot.live).commands);
    show(snapshot, now);
  },
  (map, wish) => {
    scene.owners = ownersOf(map);
    scene.points = pointsOf(wish);
    draw();
  },
);

/** @param {import("./types.d.ts").Snapshot} snapshot @param {number} now */
function show({ live, reshard }, now) {
  scene.colors = assignColors(
    live.shards.map(({ id }) => id),
    scene.colors,
  );
  scene.moves = reshard.moves;
  scene.moving = movingSlots(reshard);
  if (scene.chosen !== null && !scene.colors.has(scene.chosen)) scene.chosen = null;
  showTiles(live, now);
  showEmpty(live);
  showLegend(scene, live.shards, choose);
  showShards(scene, live.shards, live.nodes);
  nodeTable.show(live.nodes, now);
  showPlan(scene, reshard, rates);
  showEvents();
  draw();
}

/** @param {import("./types.d.ts").Live} live @param {number} now */
function showTiles(live, now) {
  const { version } = live;
  const restore = version.restore > 0 ? `, restore ${version.restore}` : "";
  setText(
    byIdOf("facts"),
    `cluster ${live.cluster.slice(0, 8)}, map ${version.index}${restore}, control term ${live.term}`,
  );
  setAttribute(byIdOf("facts"), "title", `cluster ${live.cluster}`);
  const verdict = verdictOf(live);
  setAttribute(byIdOf("verdict"), "data-level", verdict.level);
  setText(byIdOf("verdict-word"), verdict.word);
  setText(byIdOf("verdict-text"), verdict.text);
  setAttribute(byIdOf("verdict-text"), "title", verdict.text);
  document.title = `${verdict.word} \u2013 Nucleus-DB`;
  const totals = totalsOf(live);
  setText(byIdOf("ops"), formatCount(totals.commands));
  setText(byIdOf("ops-text"), `highest of the last minutes: ${formatCount(operations.max)}`);
  drawSpark(canvasOf("ops-spark"), operations, now);
  setText(byIdOf("keys"), formatCount(totals.keys));
  setText(byIdOf("keys-text"), formatBytes(totals.bytes));
  setText(byIdOf("nodes-alive"), `${totals.alive} of ${totals.nodes}`);
  const zones = new Set(live.nodes.map(({ zone }) => zone).filter((zone) => zone !== ""));
  setText(byIdOf("nodes-text"), zones.size > 0 ? formatMany(zones.size, "zone") : "no zones");
  setText(byIdOf("shards-led"), `${totals.led} of ${totals.shards}`);
  setText(
    byIdOf("shards-text"),
    `${formatCount(live.shards.reduce((sum, { slots }) => sum + slots, 0))} slots owned`,
  );
}

/** @param {import("./types.d.ts").Live} live */
function showEmpty(live) {
  const isEmpty = live.shards.length === 0;
  byIdOf("empty").hidden = !isEmpty;
  byIdOf("ring-card").hidden = isEmpty;
  byIdOf("plan-card").hidden = isEmpty;
  byIdOf("shards-card").hidden = isEmpty;
  if (!isEmpty) return;
  const { text, command } = nextStep(live);
  setText(byIdOf("empty-text"), text);
  setText(byIdOf("empty-command"), command);
}

function showEvents() {
  /** @type {readonly import("./types.d.ts").DatedEvent[]} */
  const shown = events.length > 0 ? events : [{ key: 0, at: Date.now(), level: "info", text: "nothing yet" }];
  keyed(
    byIdOf("events"),
    shown,
    ({ key }) => String(key),
    ({ at, level, text }) =>
      element(
        "li",
        { "data-level": level },
        element("time", {}, formatTime(at)),
        element("i"),
        element("span", {}, text),
      ),
    () => {},
  );
}

// ------------------------------------------------------------------------------------------- the slot looked at

function draw() {
  drawRing(canvasOf("ring"), scene);
  drawSlotMap(canvasOf("slots"), scene);
  drawLens(canvasOf("lens"), scene);
  setText(byIdOf("focus-text"), focusText());
}

function focusText() {
  const slot = scene.focus;
  const shard = scene.ownerOf(slot);
  if (shard === undefined) return `Slot ${slot}: nobody is known to own it`;
  const parts = [`Slot ${slot} is served by ${shard} since epoch ${scene.owners.epoch[slot]}`];
  const move = scene.moveOf(slot);
  if (move !== undefined) parts.push(`it is on its way to ${move.to} (epoch ${move.epoch})`);
  const { points } = scene;
  const next = points === null ? -1 : pointAfter(points, slot * PLACES_PER_SLOT);
  if (points === null) parts.push("there are too many points to draw");
  else if (next >= 0) {
    const wished = points.shards[(points.shard[next] ?? 0) - 1];
    const still = wished === shard || move !== undefined ? "" : ", where it is to go";
    parts.push(`the next point is ${wished}#${points.index[next]}${still}`);
  }
  return `${parts.join("; ")}.`;
}

/** @param {string} shard */
function choose(shard) {
  scene.chosen = scene.chosen === shard ? null : shard;
  if (latest !== null) showLegend(scene, latest.live.shards, choose);
  draw();
}

/** @param {number | null} slot */
function hover(slot) {
  if (scene.hovered === slot) return;
  scene.hovered = slot;
  draw();
}

/** @param {number} slot */
function pin(slot) {
  scene.pinned = (slot + SLOT_COUNT) % SLOT_COUNT;
  scene.hovered = null;
  draw();
}

const key = /** @type {HTMLInputElement} */ (byIdOf("key"));

function findKey() {
  const slot = slotOf(key.value);
  const part = hashedPart(key.value);
  setText(byIdOf("key-text"), part === key.value ? `slot ${slot}` : `slot ${slot}, by its tag "${part}"`);
  pin(slot);
}

/**
 * @param {HTMLCanvasElement} canvas @param {number} down Slots that an arrow down goes on.
 * @param {(canvas: HTMLCanvasElement, x: number, y: number) => number | null} slotAt
 */
function watchCanvas(canvas, down, slotAt) {
  /** @param {MouseEvent} event */
  const at = ({ clientX, clientY }) => {
    const { left, top } = canvas.getBoundingClientRect();
    return slotAt(canvas, clientX - left, clientY - top);
  };
  canvas.addEventListener("pointermove", (event) => hover(at(event)));
  canvas.addEventListener("pointerleave", () => hover(null));
  canvas.addEventListener("click", (event) => pin(at(event) ?? scene.pinned));
  /** @type {Record<string, () => number>} */
  const steps = {
    ArrowLeft: () => scene.focus - 1,
    ArrowRight: () => scene.focus + 1,
    ArrowUp: () => scene.focus - down,
    ArrowDown: () => scene.focus + down,
    PageUp: () => scene.focus - 1024,
    PageDown: () => scene.focus + 1024,
    Home: () => 0,
    End: () => SLOT_COUNT - 1,
  };
  canvas.addEventListener("keydown", (event) => {
    const step = steps[event.key];
    if (step === undefined) return;
    event.preventDefault();
    pin(step());
  });
}

// ------------------------------------------------------------------------------------------- the connection

function showLink() {
  const { state, text } = feed.look(Date.now());
  setAttribute(byIdOf("link"), "data-state", state);
  setText(byIdOf("link"), state === "lost" ? "connection lost" : text);
  const lost = byIdOf("lost");
  lost.hidden = state !== "lost";
  document.body.classList.toggle("stale", state === "lost" && latest !== null);
  if (state !== "lost") return;
  const since = latest === null ? "" : ` What is shown is as of ${formatTime(feed.heardAt)}.`;
  setText(lost, `No news of the cluster${text === "" ? "" : `: ${text}`}.${since} Trying again by itself.`);
}

key.addEventListener("input", findKey);
byIdOf("key-form").addEventListener("submit", (event) => event.preventDefault());
watchCanvas(canvasOf("slots"), SLOTS_IN_ROW, slotOnMap);
watchCanvas(canvasOf("ring"), 16, slotOnRing);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && scene.chosen !== null) choose(scene.chosen);
});
window.addEventListener("resize", draw);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  if (latest !== null) show(latest, Date.now());
});
findKey();
showEvents();
showLink();
setInterval(showLink, 500);
feed.open();
