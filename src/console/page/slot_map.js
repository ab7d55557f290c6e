/**
 * The map of all slots: 128 x 128 squares of whole pixels, row by row. Neighbours of one shard are not parted, so runs of
 * slots show as bars. A slot that moves shows both shards, cut across.
 */
import { rgbOf } from "./colors.js";
import { styleColor } from "./dom.js";
import { SLOT_COUNT } from "./slot.js";

export const SLOTS_IN_ROW = 128;
/** In CSS pixels: four to a slot. */
const WIDTH_MAX = 512;

/** @typedef {import("./scene.js").Scene} Scene */

/** @param {HTMLCanvasElement} canvas @param {Scene} scene */
export function drawSlotMap(canvas, scene) {
  const room = Math.min(WIDTH_MAX, canvas.parentElement?.clientWidth ?? 0);
  if (room < 1) return;
  // A whole number of the screen's pixels to each slot, and so many pixels wide the canvas is: nothing is blurred.
  const ratio = window.devicePixelRatio || 1;
  const size = Math.max(1, Math.floor((room * ratio) / SLOTS_IN_ROW));
  const side = size * SLOTS_IN_ROW;
  if (canvas.width !== side || canvas.height !== side) {
    canvas.width = side;
    canvas.height = side;
  }
  canvas.style.width = `${side / ratio}px`;
  const draw = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const image = draw.createImageData(side, side);
  paint(new Uint32Array(image.data.buffer), size, scene);
  draw.putImageData(image, 0, 0);
  mark(draw, scene.pinned, size, 1);
  mark(draw, scene.focus, size, 2);
}

/** @param {Uint32Array} pixels @param {number} size @param {Scene} scene */
function paint(pixels, size, scene) {
  const back = rgbOf(styleColor("--card"));
  /** @type {Map<string | undefined, number>} */
  const known = new Map();
  /** @param {string | undefined} shard */
  const pixelOf = (shard) => {
    const pixel = known.get(shard) ?? blended(scene.colorOf(shard), back, scene.strengthOf(shard));
    known.set(shard, pixel);
    return pixel;
  };
  const line = size >= 4 ? 1 : 0;
  const side = size * SLOTS_IN_ROW;
  const edge = blended("#000000", back, 0);
  for (let slot = 0; slot < SLOT_COUNT; slot++) {
    const here = pixelOf(scene.ownerOf(slot));
    const move = scene.moveOf(slot);
    const there = move === undefined ? here : pixelOf(move.to);
    const isParted =
      scene.owners.owner[slot] !== scene.owners.owner[slot + 1] || move !== scene.moveOf(slot + 1);
    const left = (slot % SLOTS_IN_ROW) * size;
    const top = Math.floor(slot / SLOTS_IN_ROW) * size;
    for (let y = 0; y < size; y++) {
      for (let x = 0; x < size; x++) {
        const isEdge = y >= size - line || (x >= size - line && isParted);
        pixels[(top + y) * side + left + x] = isEdge ? edge : x + y < size - line ? here : there;
      }
    }
  }
}

/** Little-endian RGBA, as every browser's machine has it.
 * @param {string} color @param {readonly number[]} back @param {number} strength */
function blended(color, back, strength) {
  const [red, green, blue] = rgbOf(color).map((part, i) =>
    Math.round(part * strength + (back[i] ?? 0) * (1 - strength)),
  );
  return ((255 << 24) | ((blue ?? 0) << 16) | ((green ?? 0) << 8) | (red ?? 0)) >>> 0;
}

/** @param {CanvasRenderingContext2D} draw @param {number} slot @param {number} size @param {number} wide */
function mark(draw, slot, size, wide) {
  const left = (slot % SLOTS_IN_ROW) * size;
  const top = Math.floor(slot / SLOTS_IN_ROW) * size;
  const out = wide * 2;
  for (const [color, grow, line] of /** @type {const} */ ([
    [styleColor("--card"), out, wide * 2 + 2],
    [styleColor("--ink"), out, wide],
  ])) {
    draw.strokeStyle = color;
    draw.lineWidth = line;
    draw.strokeRect(left - grow, top - grow, size - 1 + 2 * grow, size - 1 + 2 * grow);
  }
}

/** The slot under a place on the canvas.
 * @param {HTMLCanvasElement} canvas @param {number} x @param {number} y */
export function slotOnMap(canvas, x, y) {
  const { width } = canvas.getBoundingClientRect();
  const column = Math.floor((x / width) * SLOTS_IN_ROW);
  const row = Math.floor((y / width) * SLOTS_IN_ROW);
  if (column < 0 || row < 0 || column >= SLOTS_IN_ROW || row >= SLOTS_IN_ROW) return null;
  return row * SLOTS_IN_ROW + column;
}
