/**
 * One read that a follower of this node is asked for on behalf of a connection. If the follower cannot answer it after
 * all - it leads by now, or the slot has moved - it goes to who serves the slot, as a command of its own: in its lane it
 * keeps its place, so what came behind it on the same slot still waits for it.
 */
import { CommandView } from "../wire/command.ts";
import type { NotServed } from "../wire/peer_encode.ts";
import type { ReplySink } from "../wire/reply.ts";
import type { Origin } from "./bundle.ts";
import type { Engine } from "./engine.ts";
import { SLOT_NOT_SERVED } from "./fate.ts";
import type { Lane } from "./lane.ts";
import type { ReadOrigin } from "./node_reads.ts";
import {
  BY_LEADER,
  type LocalOutcome,
  type LocalRead,
  type ReadBy,
  type ReplicaMode,
} from "./replica_reads.ts";

export class ReadHere implements LocalRead, Origin {
  readonly frame: Uint8Array;
  readonly slot: number;
  readonly mode: ReplicaMode["mode"];
  readonly stalenessMsMax: number;
  readonly #origin: ReadOrigin;
  readonly #tag: number;
  readonly #lane: Lane;
  readonly #mark: number;
  readonly #engine: Engine;
  readonly #sinceTick: number;
  #hasBegun = false;

  constructor(
    frame: Uint8Array,
    slot: number,
    { mode, stalenessMsMax }: ReplicaMode,
    origin: ReadOrigin,
    tag: number,
    lane: Lane,
    engine: Engine,
  ) {
    this.frame = frame;
    this.slot = slot;
    this.mode = mode;
    this.stalenessMsMax = stalenessMsMax;
    this.#origin = origin;
    this.#tag = tag;
    this.#lane = lane;
    this.#mark = lane.enterHere(slot, frame.length);
    this.#engine = engine;
    this.#sinceTick = engine.routing.now;
  }

  /** Of a follower's answer, or, as an origin, of the leader's. */
  begin(by: ReadBy | number): ReplySink {
    this.#hasBegun = true;
    this.#origin.onRead?.(this.#tag, typeof by === "number" ? BY_LEADER : by);
    return this.#origin.begin(this.#tag);
  }

  hasRoom(): boolean {
    return this.#origin.hasRoom(this.#tag);
  }

  done(outcome: LocalOutcome): void {
    this.#lane.leaveHere(this.frame.length);
    if (outcome.kind === "served") return this.end();
    if (outcome.kind === "refused") return this.fail(0, 0, outcome.text);
    if (this.#hasBegun) this.undo();
    const router = this.#engine.routing.routerAt(this.slot);
    if (router === null) return this.fail(0, 0, SLOT_NOT_SERVED);
    const view = new CommandView();
    view.readGood(this.frame, 0, this.frame.length);
    router.enlist(view, 0, this, 0, this.#sinceTick);
    this.#engine.wake();
  }

  undo(): void {
    this.#origin.undo(this.#tag);
  }

  end(): void {
    this.#origin.end(this.#tag, this.#mark);
  }

  fail(_tag: number, _mark: number, text: string): void {
    this.#origin.onRead?.(this.#tag, BY_LEADER);
    this.#origin.fail(this.#tag, this.#mark, text);
  }

  takeBack(_tag: number, _untouched: boolean, _refusal?: NotServed): boolean {
    return false;
  }
}
