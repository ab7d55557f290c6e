/**
 * The ring as a circle. Outer band: the fact, an arc for each stretch of slots with one owner. Inner ticks: the wish, a
 * tick for each point. And around one slot the same as a straight line, enlarged, with the way from slot to point.
 */
import { prepare, styleColor } from "./dom.js";
import { PLACES_PER_SLOT, pointAfter } from "./ring_points.js";
import { SLOT_COUNT } from "./slot.js";

/** Slots that the enlarged line shows. */
const LENS_SLOTS = 64;
const TURN = 2 * Math.PI;
const TOP = -Math.PI / 2;

/** @typedef {import("./scene.js").Scene} Scene */

/** @param {number} slot */
const angleOf = (slot) => TOP + (TURN * slot) / SLOT_COUNT;

/** @param {HTMLCanvasElement} canvas @param {Scene} scene */
export function drawRing(canvas, scene) {
  const made = prepare(canvas);
  if (made === null) return;
  const { draw, width } = made;
  const middle = width / 2;
  const radius = middle - 14;
  const band = Math.max(14, radius * 0.13);
  draw.translate(middle, middle);
  drawBand(draw, scene, radius, band);
  drawTicks(draw, scene, radius - band - 5, radius - band - 5 - band * 0.9);
  drawFocus(draw, scene, radius, band);
  drawMiddle(draw, scene, radius);
}

/** @param {CanvasRenderingContext2D} draw @param {Scene} scene @param {number} radius @param {number} band */
function drawBand(draw, scene, radius, band) {
  const { owner } = scene.owners;
  for (let first = 0; first < SLOT_COUNT; ) {
    let end = first + 1;
    while (end < SLOT_COUNT && owner[end] === owner[first] && scene.moving[end] === scene.moving[first])
      end++;
    const shard = scene.ownerOf(first);
    const move = scene.moveOf(first);
    // A hair more than the arc: no background shines through between neighbours.
    arc(draw, radius - band / 2, band, first, end + 0.6, scene.colorOf(shard), scene.strengthOf(shard));
    if (move !== undefined)
      arc(
        draw,
        radius - band * 0.25,
        band / 2,
        first,
        end,
        scene.colorOf(move.to),
        scene.strengthOf(move.to),
      );
    first = end;
  }
  draw.globalAlpha = 1;
}

/**
 * @param {CanvasRenderingContext2D} draw @param {number} radius @param {number} wide
 * @param {number} first @param {number} end @param {string} color @param {number} strength
 */
function arc(draw, radius, wide, first, end, color, strength) {
  draw.globalAlpha = strength;
  draw.strokeStyle = color;
  draw.lineWidth = wide;
  draw.beginPath();
  draw.arc(0, 0, radius, angleOf(first), angleOf(end));
  draw.stroke();
}

/** @param {CanvasRenderingContext2D} draw @param {Scene} scene @param {number} outer @param {number} inner */
function drawTicks(draw, scene, outer, inner) {
  const { points } = scene;
  if (points === null) return;
  draw.lineWidth = 1;
  for (const [number, shard] of points.shards.entries()) {
    draw.strokeStyle = scene.colorOf(shard);
    draw.globalAlpha = scene.strengthOf(shard);
    draw.beginPath();
    for (let i = 0; i < points.place.length; i++) {
      if (points.shard[i] !== number + 1) continue;
      const angle = angleOf((points.place[i] ?? 0) / PLACES_PER_SLOT);
      draw.moveTo(Math.cos(angle) * outer, Math.sin(angle) * outer);
      draw.lineTo(Math.cos(angle) * inner, Math.sin(angle) * inner);
    }
    draw.stroke();
  }
  draw.globalAlpha = 1;
}

/** @param {CanvasRenderingContext2D} draw @param {Scene} scene @param {number} radius @param {number} band */
function drawFocus(draw, scene, radius, band) {
  const ink = styleColor("--ink");
  for (const [slot, isFull] of /** @type {const} */ ([
    [scene.pinned, false],
    [scene.focus, true],
  ])) {
    const angle = angleOf(slot + 0.5);
    draw.save();
    draw.rotate(angle);
    draw.fillStyle = ink;
    draw.strokeStyle = ink;
    draw.lineWidth = 1.5;
    draw.beginPath();
    draw.moveTo(radius + 2, 0);
    draw.lineTo(radius + 12, -5.5);
    draw.lineTo(radius + 12, 5.5);
    draw.closePath();
    if (isFull) draw.fill();
    draw.stroke();
    if (isFull) {
      draw.beginPath();
      draw.moveTo(radius, 0);
      draw.lineTo(radius - band, 0);
      draw.stroke();
    }
    draw.restore();
  }
}

/** @param {CanvasRenderingContext2D} draw @param {Scene} scene @param {number} radius */
function drawMiddle(draw, scene, radius) {
  const shard = scene.ownerOf(scene.focus);
  draw.textAlign = "center";
  draw.textBaseline = "middle";
  draw.fillStyle = styleColor("--dim");
  draw.font = `${Math.round(radius * 0.075)}px system-ui, sans-serif`;
  draw.fillText(`slot ${scene.focus}`, 0, -radius * 0.2);
  draw.fillText(
    shard === undefined ? "no owner known" : `epoch ${scene.owners.epoch[scene.focus]}`,
    0,
    radius * 0.2,
  );
  if (shard === undefined) return;
  const size = shard.length <= 6 ? radius * 0.24 : (radius * 1.6) / shard.length;
  draw.font = `700 ${Math.round(size)}px system-ui, sans-serif`;
  draw.fillStyle = styleColor("--ink");
  draw.fillText(shard, 0, 0);
  draw.fillStyle = scene.colorOf(shard);
  draw.fillRect(-radius * 0.2, radius * 0.105, radius * 0.4, 4);
}

/** The slot under a place on the canvas; null: inside or outside of the ring.
 * @param {HTMLCanvasElement} canvas @param {number} x @param {number} y */
export function slotOnRing(canvas, x, y) {
  const middle = canvas.getBoundingClientRect().width / 2;
  const [right, down] = [x - middle, y - middle];
  const distance = Math.hypot(right, down) / middle;
  if (distance < 0.6 || distance > 1.05) return null;
  const turned = (Math.atan2(down, right) - TOP + TURN) % TURN;
  return Math.min(SLOT_COUNT - 1, Math.floor((turned / TURN) * SLOT_COUNT));
}

/** @param {HTMLCanvasElement} canvas @param {Scene} scene */
export function drawLens(canvas, scene) {
  const made = prepare(canvas);
  if (made === null) return;
  const { draw, width } = made;
  const wide = width / LENS_SLOTS;
  const first = scene.focus - LENS_SLOTS / 4;
  /** @param {number} place */
  const across = (place) => (place - first) * wide;
  const ink = styleColor("--ink");
  for (let i = 0; i < LENS_SLOTS; i++) {
    const slot = (first + i + SLOT_COUNT) % SLOT_COUNT;
    const shard = scene.ownerOf(slot);
    draw.globalAlpha = scene.strengthOf(shard);
    draw.fillStyle = scene.colorOf(shard);
    draw.fillRect(i * wide, 8, wide - 1, 18);
    const move = scene.moveOf(slot);
    if (move !== undefined) {
      draw.fillStyle = scene.colorOf(move.to);
      draw.fillRect(i * wide, 17, wide - 1, 9);
    }
  }
  draw.globalAlpha = 1;
  draw.strokeStyle = ink;
  draw.lineWidth = 2;
  draw.strokeRect(across(scene.focus) - 0.5, 6, wide, 22);
  drawLensPoints(draw, scene, first, across, width);
}

/**
 * @param {CanvasRenderingContext2D} draw @param {Scene} scene @param {number} first
 * @param {(place: number) => number} across @param {number} width
 */
function drawLensPoints(draw, scene, first, across, width) {
  const { points } = scene;
  if (points === null || points.place.length === 0) return;
  const [ink, dim] = [styleColor("--ink"), styleColor("--dim")];
  const start = ((first + SLOT_COUNT) % SLOT_COUNT) * PLACES_PER_SLOT;
  const goal = pointAfter(points, scene.focus * PLACES_PER_SLOT);
  let i = pointAfter(points, start);
  let textEnd = -Infinity;
  draw.textAlign = "left";
  draw.textBaseline = "alphabetic";
  for (let n = 0; n < points.place.length; n++, i = (i + 1) % points.place.length) {
    const place = points.place[i] ?? 0;
    const x = across(first + ((place - start + 2 ** 32) % 2 ** 32) / PLACES_PER_SLOT);
    if (x > width) break;
    const shard = points.shards[(points.shard[i] ?? 0) - 1];
    draw.fillStyle = scene.colorOf(shard);
    draw.strokeStyle = i === goal ? ink : scene.colorOf(shard);
    draw.lineWidth = i === goal ? 2 : 1;
    draw.beginPath();
    draw.arc(x, 42, 5, 0, TURN);
    draw.fill();
    draw.stroke();
    const name = `${shard}#${points.index[i]}`;
    draw.font = i === goal ? "600 12px system-ui, sans-serif" : "12px system-ui, sans-serif";
    const long = draw.measureText(name).width;
    const left = Math.min(x - 4, width - long - 2);
    if (i === goal) drawWay(draw, across(scene.focus), x, ink);
    // The goal's name goes before others': those before it leave it room.
    if (left < textEnd || (i !== goal && isNear(points, i, goal, long / (width / LENS_SLOTS)))) continue;
    draw.fillStyle = i === goal ? ink : dim;
    draw.fillText(name, left, 66);
    textEnd = left + long + 8;
  }
}

/** Whether the goal comes within so many slots after point `i`.
 * @param {import("./types.d.ts").Points} points @param {number} i @param {number} goal @param {number} slots */
function isNear(points, i, goal, slots) {
  const gap = ((points.place[goal] ?? 0) - (points.place[i] ?? 0) + 2 ** 32) % 2 ** 32;
  return gap / PLACES_PER_SLOT < slots + 2;
}

/** @param {CanvasRenderingContext2D} draw @param {number} from @param {number} to @param {string} ink */
function drawWay(draw, from, to, ink) {
  draw.strokeStyle = ink;
  draw.lineWidth = 1.5;
  draw.beginPath();
  draw.moveTo(from + 1, 29);
  draw.lineTo(from + 1, 42);
  draw.lineTo(Math.max(from + 1, to - 7), 42);
  draw.stroke();
}
