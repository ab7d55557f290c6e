/** Numbers as people read them. No locale: what two people see of one cluster is the same. */

/** 1234567 -> "1,234,567"; from ten million on "12.3 M".
 * @param {number} count */
export function formatCount(count) {
  if (count >= 1e10) return `${trimZero((count / 1e9).toFixed(1))} G`;
  if (count >= 1e7) return `${trimZero((count / 1e6).toFixed(1))} M`;
  return String(Math.round(count)).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}

/** "512 B", "1.5 KiB", "64 MiB".
 * @param {number} bytes */
export function formatBytes(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let size = bytes;
  let unit = 0;
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024;
    unit++;
  }
  return `${unit === 0 ? Math.round(size) : trimZero(size.toFixed(1))} ${units[unit]}`;
}

/** "12 ms", "3.4 s", "2 min", "3 h": a duration.
 * @param {number} ms */
export function formatDuration(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${trimZero((ms / 1000).toFixed(1))} s`;
  if (ms < 2 * 3_600_000) return `${Math.round(ms / 60_000)} min`;
  if (ms < 2 * 86_400_000) return `${Math.round(ms / 3_600_000)} h`;
  return `${Math.round(ms / 86_400_000)} d`;
}

/** "17 %"; a little is never 0, and not all never 100.
 * @param {number} part @param {number} whole */
export function formatShare(part, whole) {
  if (whole <= 0) return "0 %";
  const percent = Math.round((100 * part) / whole);
  if (part > 0 && percent === 0) return "< 1 %";
  return `${part < whole ? Math.min(percent, 99) : percent} %`;
}

/** "14:03:59" of the reader's own clock.
 * @param {number} at */
export function formatTime(at) {
  const date = new Date(at);
  return [date.getHours(), date.getMinutes(), date.getSeconds()]
    .map((part) => String(part).padStart(2, "0"))
    .join(":");
}

/** "1 node", "2 nodes".
 * @param {number} count @param {string} what */
export function formatMany(count, what) {
  return `${formatCount(count)} ${what}${count === 1 ? "" : "s"}`;
}

/** "[0-99] [200]", shortened.
 * @param {readonly (readonly [number, number])[]} ranges @param {number} [most] */
export function formatRanges(ranges, most = 3) {
  const shown = ranges
    .slice(0, most)
    .map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`));
  const left = ranges.length - shown.length;
  return `${shown.join(", ")}${left > 0 ? ` and ${formatMany(left, "range")} more` : ""}`;
}

/** @param {string} text */
function trimZero(text) {
  return text.endsWith(".0") ? text.slice(0, -2) : text;
}
