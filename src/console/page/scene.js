/** What the drawings have in common: whose the slots are, in which colours, which slot and which shard are looked at. */
import { colorAt, NOBODY } from "./colors.js";
import { SLOT_COUNT } from "./slot.js";

/** How much of its colour a shard keeps that is not the chosen one. */
export const FADED = 0.16;

export class Scene {
  constructor() {
    /** @type {import("./types.d.ts").Owners} */
    this.owners = { shards: [], owner: new Uint16Array(SLOT_COUNT), epoch: new Float64Array(SLOT_COUNT) };
    /** @type {import("./types.d.ts").Points | null} */
    this.points = null;
    /** @type {Uint16Array} */
    this.moving = new Uint16Array(SLOT_COUNT);
    /** @type {readonly import("./types.d.ts").Move[]} */
    this.moves = [];
    /** @type {Map<string, number>} */
    this.colors = new Map();
    /** The slot of the key, or the one last chosen. */
    this.pinned = 0;
    /** @type {number | null} */
    this.hovered = null;
    /** @type {string | null} */
    this.chosen = null;
  }

  get focus() {
    return this.hovered ?? this.pinned;
  }

  /** @param {string | undefined} shard */
  colorOf(shard) {
    const number = shard === undefined ? undefined : this.colors.get(shard);
    return number === undefined ? NOBODY : colorAt(number);
  }

  /** @param {number} slot @returns {string | undefined} */
  ownerOf(slot) {
    return this.owners.shards[(this.owners.owner[slot] ?? 0) - 1];
  }

  /** Where a slot goes, while it does.
   * @param {number} slot */
  moveOf(slot) {
    return this.moves[(this.moving[slot] ?? 0) - 1];
  }

  /** @param {string | undefined} shard */
  strengthOf(shard) {
    return this.chosen === null || this.chosen === shard ? 1 : FADED;
  }
}
