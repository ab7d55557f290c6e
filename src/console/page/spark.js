/**
 * A line of the last minutes, ending now; its scale begins at 0 and reaches a little beyond the highest value. Until so
 * much was heard it is of what was heard, but never of less than a minute.
 */
import { prepare, styleColor } from "./dom.js";

const SPAN_MS_MIN = 60_000;

/** @param {HTMLCanvasElement} canvas @param {import("./model.js").History} history @param {number} now */
export function drawSpark(canvas, history, now) {
  const made = prepare(canvas);
  if (made === null) return;
  const { draw, width, height } = made;
  const [line, color] = [styleColor("--line"), styleColor("--accent")];
  draw.fillStyle = line;
  draw.fillRect(0, height - 1, width, 1);
  const { samples, spanMs } = history;
  const first = samples[0];
  if (first === undefined) return;
  const shownMs = Math.min(spanMs, Math.max(SPAN_MS_MIN, now - first.at));
  const top = Math.max(1, history.max) * 1.08;
  /** @param {number} at */
  const x = (at) => width - 2 - ((width - 4) * (now - at)) / shownMs;
  /** @param {number} value */
  const y = (value) => height - 2 - ((height - 4) * value) / top;
  draw.beginPath();
  draw.moveTo(x(first.at), y(first.value));
  for (const { at, value } of samples) draw.lineTo(x(at), y(value));
  draw.strokeStyle = color;
  draw.lineWidth = 1.5;
  draw.lineJoin = "round";
  draw.stroke();
  const last = samples.at(-1) ?? first;
  draw.lineTo(x(last.at), height - 1);
  draw.lineTo(x(first.at), height - 1);
  draw.closePath();
  draw.globalAlpha = 0.13;
  draw.fillStyle = color;
  draw.fill();
  draw.globalAlpha = 1;
  draw.beginPath();
  draw.arc(Math.max(2, x(last.at)), y(last.value), 2, 0, 2 * Math.PI);
  draw.fill();
}
