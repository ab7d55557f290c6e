/**
 * Commands of one connection that wait at the door for others of the same connection: for reads of their slot that are
 * not answered, for a slot's earlier commands that went another way (lane.ts), for room in their group's router. Each
 * slot's stand in one row, in the order in which they came; other slots' commands pass.
 *
 *     rows    slot -> commands, oldest first                  the first of a row may go when its lane lets it
 *     rest    a command that goes alone, and all behind it    the first may go when the rows are empty and all is answered
 *
 * The lane has one such object while any waits (`Lane.held`); admission.ts fills it, looks through it whenever something
 * of the lane was answered, and gives up what has waited as long as a command may.
 *
 * Bounds: HELD_BYTES_MAX a connection and HELD_NODE_BYTES_MAX for all of a node; what finds no room stays with its door,
 * which does not read from the connection until there is some.
 */
import { MiB } from "../base/units.ts";
import type { Origin } from "./bundle.ts";

/** A command of the largest size; and as much as a connection may have of replies that were not taken. */
export const HELD_BYTES_MAX = MiB;
/** 64 connections that hold all they may, or 300,000 small commands: 16 of each of 10,000 connections are half of it. */
export const HELD_NODE_BYTES_MAX = 64 * MiB;
/** What a held command takes beside its frame: about two objects, and its places in lists. */
const OVERHEAD_BYTES = 160;

/** In the place of a slot: it goes alone; it has keys in several slots and is taken apart. */
export const ALONE = -1;
export const IN_PARTS = -2;

export type HeldCommand = {
  readonly frame: Uint8Array;
  /** Or ALONE, or IN_PARTS. */
  readonly place: number;
  readonly origin: Origin;
  readonly tag: number;
  /** When it came: its deadline is counted from there. */
  readonly sinceTick: number;
};

/** Bytes that all connections of a node hold. */
export type HeldBudget = { bytes: number };

function sizeOf(frameBytes: number): number {
  return frameBytes + OVERHEAD_BYTES;
}

export class Held {
  readonly #budget: HeldBudget;
  readonly #rows = new Map<number, HeldCommand[]>();
  readonly #rest: HeldCommand[] = [];
  count = 0;
  #bytes = 0;
  /** None came before this tick; it may be too low. */
  sinceTick = 0;
  /** How many answers the lane had given when this was last looked through. */
  leftSeen = -1;
  /** One waits for room in its group, which no answer of this lane tells. */
  waitsForRoom = false;

  constructor(budget: HeldBudget) {
    this.#budget = budget;
  }

  static hasRoom(held: Held | null, budget: HeldBudget, frameBytes: number): boolean {
    const bytes = sizeOf(frameBytes);
    return (
      budget.bytes + bytes <= HELD_NODE_BYTES_MAX && (held === null || held.#bytes + bytes <= HELD_BYTES_MAX)
    );
  }

  /** Something that a command of this place must not overtake waits. */
  stands(place: number): boolean {
    return this.#rest.length > 0 || this.isBehindRow(place);
  }

  add(command: HeldCommand): void {
    if (this.#rest.length === 0 && command.place >= 0) return this.addPart(command);
    this.#take(command);
    this.#rest.push(command);
  }

  /** A part of a command that has come to its turn: it stands in the row of its slot, before all of the rest. */
  addPart(command: HeldCommand): void {
    this.#take(command);
    this.#line(command);
  }

  #take(command: HeldCommand): void {
    if (this.count === 0) this.sinceTick = command.sinceTick;
    this.sinceTick = Math.min(this.sinceTick, command.sinceTick);
    this.#count(command, 1);
  }

  #line(command: HeldCommand): void {
    const row = this.#rows.get(command.place);
    if (row === undefined) this.#rows.set(command.place, [command]);
    else row.push(command);
  }

  /** Offers what is first of its row to `admit`, until that says no. It may add others meanwhile. */
  release(admit: (command: HeldCommand) => boolean): void {
    for (const place of [...this.#rows.keys()]) {
      const row = this.#rows.get(place) as HeldCommand[];
      while (row.length > 0 && admit(row[0] as HeldCommand)) this.#count(row.shift() as HeldCommand, -1);
      if (row.length === 0) this.#rows.delete(place);
    }
    for (let next = this.#rest[0]; next !== undefined; next = this.#rest[0]) {
      const isTaken = !this.isBehindRow(next.place) && admit(next);
      if (!isTaken && next.place < 0) return;
      this.#rest.shift();
      if (isTaken) this.#count(next, -1);
      else this.#line(next);
    }
  }

  /** As `stands`, but for the rest: of what has come to its turn in it. */
  isBehindRow(place: number): boolean {
    return place === ALONE ? this.#rows.size > 0 : this.#rows.has(place);
  }

  /** Takes out what came before `tick`. */
  takeBefore(tick: number): HeldCommand[] {
    if (this.sinceTick >= tick) return [];
    const late: HeldCommand[] = [];
    for (const [place, row] of this.#rows) {
      takeLate(row, tick, late);
      if (row.length === 0) this.#rows.delete(place);
    }
    takeLate(this.#rest, tick, late);
    for (const command of late) this.#count(command, -1);
    this.sinceTick = Number.POSITIVE_INFINITY;
    for (const [first] of [...this.#rows.values(), this.#rest])
      this.sinceTick = Math.min(this.sinceTick, first?.sinceTick ?? Number.POSITIVE_INFINITY);
    this.leftSeen = -1; // what was behind them may go
    return late;
  }

  #count({ frame }: HeldCommand, by: 1 | -1): void {
    const bytes = by * sizeOf(frame.length);
    this.count += by;
    this.#bytes += bytes;
    this.#budget.bytes += bytes;
  }
}

function takeLate(row: HeldCommand[], tick: number, late: HeldCommand[]): void {
  const first = row.findIndex(({ sinceTick }) => sinceTick >= tick);
  late.push(...row.splice(0, first < 0 ? row.length : first));
}
