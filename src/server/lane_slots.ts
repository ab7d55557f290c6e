/**
 * The slots on which one connection has commands under way: how many reads and writes each, and by which route they went
 * (lane.ts). A hash table whose size follows the commands under way, and in which no two slots share anything: a deep
 * pipeline has more commands under way than any small table has places, so with shared ones each would wait for others.
 *
 *     place:  slot + 1, or 0 if it is free | reads | writes | route        the next place, if another slot has this one
 *
 * A slot that has none under way any more keeps its place until half of all are taken: then the table is made anew of those
 * that have some, with four times as many places, so that this happens once for as many new slots as it has to look at.
 *
 * Bounds: 2 x SLOT_COUNT places of 14 bytes, 448 KiB to a connection with commands on all slots; 224 bytes for the first.
 */
import { assert } from "../base/assert.ts";
import { SLOT_COUNT } from "../ring/slot.ts";

const PLACES_MIN = 16;
const PLACES_MAX = 2 * SLOT_COUNT;
/** A table that grew beyond this (7 KiB) is not kept when nothing is under way. */
const PLACES_KEPT_MAX = 512;
/** 2^32 divided by the golden ratio, odd: neighbours come to lie far apart. */
const SPREAD = 0x9e3779b1;

export class LaneSlots {
  #slots = new Uint16Array(PLACES_MIN);
  #reads = new Uint16Array(PLACES_MIN);
  #writes = new Uint16Array(PLACES_MIN);
  #routes = new Float64Array(PLACES_MIN);
  /** What is left of a hash of 32 bits when it is shifted by so much is a place. */
  #shift = Math.clz32(PLACES_MIN - 1);
  /** Places that are not free. */
  #taken = 0;

  /** It grew, and is not worth its memory while nothing is under way. */
  get isLarge(): boolean {
    return this.#slots.length > PLACES_KEPT_MAX;
  }

  reads(slot: number): number {
    const place = this.#find(slot);
    return this.#slots[place] === 0 ? 0 : (this.#reads[place] as number);
  }

  writes(slot: number): number {
    const place = this.#find(slot);
    return this.#slots[place] === 0 ? 0 : (this.#writes[place] as number);
  }

  /** False: commands on this slot are under way by another route. Else it is noted that one goes by this. */
  take(slot: number, route: number): boolean {
    const place = this.#placeOf(slot);
    if ((this.#reads[place] as number) + (this.#writes[place] as number) > 0)
      return this.#routes[place] === route;
    this.#routes[place] = route;
    return true;
  }

  count(slot: number, isRead: boolean, by: 1 | -1): void {
    const place = this.#placeOf(slot); // may make other tables
    const counts = isRead ? this.#reads : this.#writes;
    const next = (counts[place] as number) + by;
    assert(next >= 0, "every command leaves once");
    counts[place] = next;
  }

  /** The slot's place, or the free one that it would get. */
  #find(slot: number): number {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let place = Math.imul(slot, SPREAD) >>> this.#shift;
    while (slots[place] !== 0 && slots[place] !== slot + 1) place = (place + 1) & mask;
    return place;
  }

  #placeOf(slot: number): number {
    const place = this.#find(slot);
    if (this.#slots[place] !== 0) return place;
    if (this.#taken >= this.#slots.length / 2) {
      this.#makeAnew();
      return this.#placeOf(slot);
    }
    this.#slots[place] = slot + 1;
    this.#taken++;
    return place;
  }

  #makeAnew(): void {
    const slots = this.#slots;
    const reads = this.#reads;
    const writes = this.#writes;
    const routes = this.#routes;
    let open = 1; // for whom room is made
    for (let i = 0; i < slots.length; i++) if ((reads[i] as number) + (writes[i] as number) > 0) open++;
    let places = PLACES_MIN;
    while (places < 4 * open && places < PLACES_MAX) places *= 2;
    this.#slots = new Uint16Array(places);
    this.#reads = new Uint16Array(places);
    this.#writes = new Uint16Array(places);
    this.#routes = new Float64Array(places);
    this.#shift = Math.clz32(places - 1);
    this.#taken = 0;
    for (let i = 0; i < slots.length; i++) {
      if ((reads[i] as number) + (writes[i] as number) === 0) continue;
      const place = this.#placeOf((slots[i] as number) - 1);
      this.#reads[place] = reads[i] as number;
      this.#writes[place] = writes[i] as number;
      this.#routes[place] = routes[i] as number;
    }
  }
}
