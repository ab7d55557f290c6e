/**
 * Parking: commands that no shard took because it does not serve their slot - a move is cutting over, or the map at hand
 * is behind. They wait for the slot's next owner, each slot's in one row, in the order in which they were refused.
 *
 *     refused --add--> row of its slot --release--> router of whoever has the slot by now
 *                                      --deadline--> TRYAGAIN, or UNCERTAIN if an earlier attempt was lost
 *
 * A row is released when somebody else is known to have the slot, and every RETRY_TICKS: an unsealed slot changes no
 * epoch. While there is a row, whatever comes for its slot goes behind it, or it would overtake.
 *
 * Bounds: PARKED_BYTES_MAX in all; what finds no room is answered at once. Nothing is parked for longer than
 * PARKED_TICKS_MAX from its first refusal, however often it is refused again; what has an open fate has all the time
 * that any command has (router.ts), for only another attempt can tell.
 */
import type { GroupId } from "../wal/types.ts";
import type { Bundle } from "./bundle.ts";
import { SLOT_MOVING } from "./fate.ts";
import type { Numbering } from "./numbering.ts";
import { COMMAND_TICKS_MAX, type Router } from "./router.ts";

/** One second: a move holds its slots for some milliseconds, an election in between costs some hundred. */
export const PARKED_TICKS_MAX = 100;
export const RETRY_TICKS = 5;
/** As much as one router holds. */
const PARKED_BYTES_MAX = 8 * 1024 * 1024;

type Row = { dueTick: number; readonly waiting: { readonly bundle: Bundle; readonly rides: boolean }[] };

export class Parking {
  readonly #numbering: Numbering;
  readonly #routerOf: (slot: number) => Router | null;
  readonly #rows = new Map<number, Row>();
  #bytes = 0;

  constructor(numbering: Numbering, routerOf: (slot: number) => Router | null) {
    this.#numbering = numbering;
    this.#routerOf = routerOf;
  }

  holds(slot: number): boolean {
    return this.#rows.size > 0 && this.#rows.has(slot);
  }

  /** `group` does not serve the slot. */
  add(bundle: Bundle, rides: boolean, slot: number, group: GroupId): void {
    const now = this.#numbering.tick;
    if (bundle.refusedTick < 0) bundle.refusedTick = now;
    if (this.#bytes + bundle.bytes > PARKED_BYTES_MAX) return giveUp(bundle);
    let row = this.#rows.get(slot);
    if (row === undefined) {
      const router = this.#routerOf(slot);
      const isElsewhere = router !== null && router.group !== group;
      row = { dueTick: isElsewhere ? now : now + RETRY_TICKS, waiting: [] };
      this.#rows.set(slot, row);
    }
    row.waiting.push({ bundle, rides });
    this.#bytes += bundle.bytes;
  }

  /** Somebody else has the slot. */
  news(slot: number): void {
    const row = this.#rows.get(slot);
    if (row !== undefined) row.dueTick = 0;
  }

  /** Sends on what is due. Once a turn, before the routers' own work. */
  release(): void {
    if (this.#rows.size === 0) return;
    const now = this.#numbering.tick;
    for (const [slot, row] of this.#rows) {
      if (row.dueTick > now) continue;
      this.#rows.delete(slot);
      for (const { bundle, rides } of row.waiting) {
        this.#bytes -= bundle.bytes;
        const router = this.#routerOf(slot);
        if (router === null || this.#isLate(bundle)) giveUp(bundle);
        else router.takeOver(bundle, rides);
      }
    }
  }

  #isLate({ sent, sinceTick, refusedTick }: Bundle): boolean {
    const now = this.#numbering.tick;
    return now - sinceTick > COMMAND_TICKS_MAX || (!sent && now - refusedTick > PARKED_TICKS_MAX);
  }

  end(): void {
    for (const { waiting } of this.#rows.values()) for (const { bundle } of waiting) bundle.endAll(false);
    this.#rows.clear();
    this.#bytes = 0;
  }
}

function giveUp(bundle: Bundle): void {
  if (bundle.sent) bundle.failAllUnknown();
  else bundle.failAll(SLOT_MOVING);
}
