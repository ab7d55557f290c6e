/**
 * Admission: commands that came in at the doors go to the router of the group that serves their slot, or wait for others
 * of their connection first (lane.ts says when, held.ts keeps them).
 *
 *     one slot                                          to its router
 *     several slots, of an op that is taken apart       parts, each like a command on its slot (scatter.ts)
 *     several slots in one step, the whole key space    alone: all before it answered, nothing beside it
 *
 * A command's time runs from here: what waits takes its tick along, and is given up with the others of that tick.
 */
import { CommandView, OP } from "../wire/command.ts";
import { keyCount } from "../wire/command_keys.ts";
import type { Origin } from "./bundle.ts";
import { CROSS_SLOT, NO_ANSWER, NO_REPLICA, SLOT_NOT_SERVED } from "./fate.ts";
import { ALONE, Held, type HeldBudget, type HeldCommand, IN_PARTS } from "./held.ts";
import { slotOfCommand, slotsOf } from "./keys.ts";
import type { Lane } from "./lane.ts";
import type { Router } from "./router.ts";
import { SpaceScan } from "./scan.ts";
import { isSplit, type ScatterHost, SpaceScatter, scatterKeys } from "./scatter.ts";

export type AdmissionHost = ScatterHost & {
  /** Some map is known. */
  hasMap(): boolean;
};

export class Admission {
  readonly #host: AdmissionHost;
  readonly #budget: HeldBudget = { bytes: 0 };
  /** Lanes with commands that wait. */
  readonly #holding = new Set<Lane>();
  /** The router that was asked last had no room: no answer of the lane says when it has. */
  #sawFull = false;
  readonly #view = new CommandView();

  constructor(host: AdmissionHost) {
    this.#host = host;
  }

  /**
   * Takes the command in `view`, of connection `lane`. False: it would have to wait, and there is no room for it; nothing
   * was taken, the door stops reading that connection and asks again after a turn.
   */
  admit(view: CommandView, frameAt: number, lane: Lane, origin: Origin, tag: number): boolean {
    const place = placeOf(view);
    const now = this.#host.now();
    const { held } = lane;
    this.#sawFull = false;
    if (held === null || !held.stands(place)) {
      // The parts of a command that is taken apart may all have to wait: beyond the bound by this one command.
      if (place === IN_PARTS && !Held.hasRoom(held, this.#budget, 0)) return false;
      if (this.#offer(view, frameAt, place, lane, origin, tag, now)) return true;
    }
    if (!Held.hasRoom(held, this.#budget, view.end - frameAt)) return false;
    this.#hold(view, frameAt, place, lane, origin, tag, now);
    return true;
  }

  /** Brings a command to its shard. False: not now, and nothing was taken. */
  #offer(
    view: CommandView,
    frameAt: number,
    place: number,
    lane: Lane,
    origin: Origin,
    tag: number,
    sinceTick: number,
  ): boolean {
    if (place >= 0) {
      const router = this.#host.routerOf(place);
      if (router !== null) return this.#give(router, view, frameAt, place, lane, origin, tag, sinceTick);
      return refuse(view, lane, origin, tag, this.#host.hasMap() ? SLOT_NOT_SERVED : NO_REPLICA);
    }
    if (!this.#host.hasMap()) return refuse(view, lane, origin, tag, NO_REPLICA);
    if (place === IN_PARTS) this.#offerParts(view, lane, origin, tag, sinceTick);
    else if (isWhole(view)) return this.#offerWhole(view, frameAt, lane, origin, tag, sinceTick);
    else if (lane.outstanding > 0) return false;
    else if (view.op === OP.scan) new SpaceScan(view, lane, origin, tag, sinceTick, this.#host);
    else new SpaceScatter(view, lane, origin, tag, sinceTick, this.#host);
    return true;
  }

  #give(
    router: Router,
    view: CommandView,
    frameAt: number,
    slot: number,
    lane: Lane,
    origin: Origin,
    tag: number,
    sinceTick: number,
  ): boolean {
    const isTaken = router.admit(view, frameAt, slot, lane, origin, tag, sinceTick);
    this.#sawFull = !isTaken && router.isFull;
    return isTaken;
  }

  #offerParts(view: CommandView, lane: Lane, origin: Origin, tag: number, sinceTick: number): void {
    scatterKeys(view, lane, origin, tag, (part, slot, gather, number) => {
      if (
        lane.held?.isBehindRow(slot) === true ||
        !this.#offer(part, 0, slot, lane, gather, number, sinceTick)
      )
        this.#hold(part, 0, slot, lane, gather, number, sinceTick, true);
    });
  }

  /** It must take effect as one: one shard has to serve all its slots. */
  #offerWhole(
    view: CommandView,
    frameAt: number,
    lane: Lane,
    origin: Origin,
    tag: number,
    sinceTick: number,
  ): boolean {
    const named = slotNamed(view);
    const slots = named >= 0 ? [named] : slotsOf(view);
    const routers = new Set(slots.map((slot) => this.#host.routerOf(slot)));
    if (routers.size > 1) return refuse(view, lane, origin, tag, CROSS_SLOT);
    const [router = null] = routers;
    if (router === null) return refuse(view, lane, origin, tag, SLOT_NOT_SERVED);
    return this.#give(router, view, frameAt, -1, lane, origin, tag, sinceTick);
  }

  // ------------------------------------------------------------------------------------------- what waits

  #hold(
    view: CommandView,
    frameAt: number,
    place: number,
    lane: Lane,
    origin: Origin,
    tag: number,
    sinceTick: number,
    isPart = false,
  ): void {
    lane.held ??= new Held(this.#budget);
    const command = { frame: view.bytes.slice(frameAt, view.end), place, origin, tag, sinceTick };
    if (isPart) lane.held.addPart(command);
    else lane.held.add(command);
    lane.held.waitsForRoom ||= this.#sawFull;
    this.#sawFull = false;
    this.#holding.add(lane);
  }

  /**
   * Sends on what need not wait any more: something of its connection was answered, or its group may have room. At the
   * beginning of a turn, for what was answered before it, and at its end.
   */
  release(): void {
    for (const lane of this.#holding) {
      const held = lane.held as Held;
      if (held.leftSeen === lane.left && !held.waitsForRoom) continue;
      held.leftSeen = lane.left;
      held.waitsForRoom = false;
      held.release((command) => this.#offerAgain(command, lane, held));
      this.#drop(lane, held);
    }
  }

  #offerAgain({ frame, place, origin, tag, sinceTick }: HeldCommand, lane: Lane, held: Held): boolean {
    this.#view.readGood(frame, 0, frame.length);
    this.#sawFull = false;
    const isTaken = this.#offer(this.#view, 0, place, lane, origin, tag, sinceTick);
    if (!isTaken) held.waitsForRoom ||= this.#sawFull;
    return isTaken;
  }

  #drop(lane: Lane, held: Held): void {
    if (held.count > 0) return;
    lane.held = null;
    this.#holding.delete(lane);
  }

  /** Nobody is made to wait longer for what came before `tick`: it was sent nowhere. */
  giveUpBefore(tick: number): void {
    for (const lane of this.#holding) {
      const held = lane.held as Held;
      for (const { frame, origin, tag } of held.takeBefore(tick)) {
        this.#view.readGood(frame, 0, frame.length);
        refuse(this.#view, lane, origin, tag, NO_ANSWER);
      }
      this.#drop(lane, held);
    }
  }

  /** Nobody is served any more. */
  end(): void {
    this.giveUpBefore(Number.POSITIVE_INFINITY);
  }
}

function refuse(view: CommandView, lane: Lane, origin: Origin, tag: number, text: string): true {
  origin.fail(tag, lane.enter(-1, !view.isWrite), text); // counted in and out again
  return true;
}

/** Its slot, or how it goes. */
function placeOf(view: CommandView): number {
  const slot = slotOfCommand(view);
  if (slot >= 0) return slot;
  return keyCount(view) > 0 && !isWhole(view) ? IN_PARTS : ALONE;
}

/** A command on several slots that is not taken apart. */
function isWhole(view: CommandView): boolean {
  return (!isSplit(view.op) && view.op !== OP.scan) || view.hasSession;
}

/** The slot that a command without keys names. -1: it names none. */
function slotNamed(view: CommandView): number {
  return view.op === OP.keysInSlot ? view.number(0) : -1;
}
