/**
 * Which colour a shard has. The first fourteen differ to people of every colour vision (a test measures that); the next
 * ones are darker and lighter turns of them, and there the outline of the chosen shard and the words tell.
 *
 * A shard keeps its colour while others come and go: "s7" begins at the seventh, and takes the next free one.
 */
export const PALETTE = [
  "#3d7fd6",
  "#f6ad3c",
  "#0d5c46",
  "#84dcfb",
  "#d86f92",
  "#6a3d9e",
  "#f5e88a",
  "#3c821d",
  "#60abeb",
  "#eba0a2",
  "#b44c87",
  "#c49139",
  "#98e8c9",
  "#97271b",
];
/** Slots that nobody is known to own. */
export const NOBODY = "#8a8f98";
const TURNS = [1, 0.72, 1.28, 0.5, 1.5];

/** @param {string} color @returns {[number, number, number]} */
export function rgbOf(color) {
  const value = Number.parseInt(color.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

/** The colour of a number, from 0.
 * @param {number} number */
export function colorAt(number) {
  const color = /** @type {string} */ (PALETTE[number % PALETTE.length]);
  const turn = /** @type {number} */ (TURNS[Math.floor(number / PALETTE.length) % TURNS.length]);
  const parts = rgbOf(color).map((part) =>
    Math.round(turn <= 1 ? part * turn : 255 - (255 - part) * (2 - turn)),
  );
  return `#${parts.map((part) => part.toString(16).padStart(2, "0")).join("")}`;
}

/** Black or white, whichever is read better on the colour.
 * @param {string} color */
export function inkOn(color) {
  const [red, green, blue] = rgbOf(color);
  return 0.299 * red + 0.587 * green + 0.114 * blue > 140 ? "#111318" : "#ffffff";
}

/**
 * The numbers of the shards' colours; those in `known` stay as they are.
 * @param {readonly string[]} shards
 * @param {ReadonlyMap<string, number>} [known]
 * @returns {Map<string, number>}
 */
export function assignColors(shards, known = new Map()) {
  const numbers = new Map([...known].filter(([id]) => shards.includes(id)));
  const taken = new Set(numbers.values());
  for (const id of shards) {
    if (numbers.has(id)) continue;
    let number = Math.max(0, Number(/(\d{1,4})$/.exec(id)?.[1] ?? 1) - 1);
    while (taken.has(number)) number++;
    numbers.set(id, number);
    taken.add(number);
  }
  return numbers;
}
