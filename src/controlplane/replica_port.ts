/**
 * The control plane's group (meta_group.ts) as this process has it: a replica under the same driver as any shard's.
 *
 * A command is admitted like a client's and may outlive this leadership; then its fate is found out, or said to be open.
 * A read is a round of the group, answered only if this replica leads in the same term throughout: its applied state
 * has all that was acknowledged before.
 */
import { Writer } from "../base/bytes.ts";
import { KiB } from "../base/units.ts";
import { Bundle, type Origin } from "../server/bundle.ts";
import type { Engine } from "../server/engine.ts";
import { UNCERTAIN } from "../server/fate.ts";
import type { GroupReplica } from "../server/group.ts";
import { Lane } from "../server/lane.ts";
import { CommandView, OP } from "../wire/command.ts";
import { CommandEncoder } from "../wire/command_encode.ts";
import { DISCARD, type ReplySink } from "../wire/reply.ts";
import { type ControlCommand, writeCommand } from "./commands.ts";
import type { MetaGroup } from "./meta_group.ts";
import { MetaStore } from "./meta_store.ts";
import { emptyState, type MetaState, type Reply } from "./state.ts";

/** All commands of the control plane have one key, so it does not matter which slot they are said to be in. */
const SLOT = 0;
const NO_STATE = emptyState("0".repeat(32));

export class ReplicaPort implements MetaGroup {
  readonly #engine: Engine;
  readonly #addressOf: (node: string) => string | null;
  readonly #view = new CommandView();

  constructor(engine: Engine, addressOf: (node: string) => string | null) {
    this.#engine = engine;
    this.#addressOf = addressOf;
  }

  /**
   * None before the directory is open, nor while this process waits to be given one. Two, if the control plane was made anew
   * from a backup while this process was away with its disk: the newer one counts; of two restores that have the same number,
   * because no node ever heard of the first, the one that somebody leads.
   */
  get #replica(): GroupReplica | null {
    const groups = this.#engine.isOpen ? this.#engine.groups : [];
    if (groups.length < 2) return groups[0] ?? null;
    return groups.reduce((a, b) => (isNewer(b, a) ? b : a));
  }

  get isLeader(): boolean {
    return this.#engine.isOpen && this.#replica?.isLeader === true;
  }

  get term(): number {
    return this.#replica?.core.term ?? 0;
  }

  get state(): MetaState {
    const store = this.#replica?.store;
    return store instanceof MetaStore ? store.state : NO_STATE;
  }

  leaderAddress(): string | null {
    const replica = this.#replica;
    const node = replica === null ? null : this.#engine.nodeOf(replica, replica.core.leader);
    return node === null ? null : this.#addressOf(node);
  }

  propose(command: ControlCommand, done: (reply: Reply | null) => void): void {
    const group = this.#replica?.group ?? null;
    const router = group === null ? null : this.#engine.routing.routerOf(group);
    if (router === null || !this.isLeader) return done(null);
    const writer = new Writer(KiB);
    if (writeCommand(new CommandEncoder(writer), command) === 0)
      return done({
        ok: false,
        error: "LIMIT the command is larger than an entry may be: ask for less at once",
      });
    const view = this.#view;
    view.readGood(writer.bytes, 0, writer.length);
    // No other command of this lane: nothing that it would have to wait for.
    const lane = new Lane();
    const isTaken = router.admit(view, 0, SLOT, lane, new Proposer(lane, done), 0);
    if (!isTaken) return done({ ok: false, error: "TRYAGAIN too many commands wait for the log" });
    this.#engine.wake();
  }

  read(done: (state: MetaState | null) => void): void {
    const replica = this.#replica;
    if (replica === null || !this.isLeader) return done(null);
    const { term } = replica.core;
    const bundle = new Bundle();
    bundle.sinceTick = this.#engine.routing.now;
    const start = bundle.writer.length;
    const encoder = new CommandEncoder(bundle.writer);
    encoder.begin(OP.get); // of no key: the state is looked at, not sent
    encoder.arg(new Uint8Array(0));
    encoder.end();
    const answer = (isGood: boolean): void => {
      const isSame = replica === this.#replica && replica.isLeader && replica.core.term === term;
      done(isGood && isSame ? this.state : null);
    };
    bundle.add(start, new Reader(answer), 0, 0);
    if (!replica.read(bundle)) return done(null);
    this.#engine.wake();
  }
}

function isNewer(one: GroupReplica, other: GroupReplica): boolean {
  const rises = restoreOf(one) - restoreOf(other);
  return rises > 0 || (rises === 0 && other.core.leader === 0);
}

function restoreOf({ store }: GroupReplica): number {
  return store instanceof MetaStore ? store.state.version.restore : -1;
}

/** What a proposer hears: the reply of the state machine, or what is known of the command's fate. */
class Proposer implements Origin {
  readonly #lane: Lane;
  readonly #done: (reply: Reply | null) => void;
  #reply: Reply | null = null;

  constructor(lane: Lane, done: (reply: Reply | null) => void) {
    this.#lane = lane;
    this.#done = done;
  }

  begin(): ReplySink {
    const put = (reply: Reply): void => {
      this.#reply = reply;
    };
    const other = (): void => put({ ok: false, error: "INVALID the state machine gave another reply" });
    return {
      integer: (number) => put({ ok: true, number: Number(number) }),
      error: (error) => put({ ok: false, error }),
      nil: other,
      simple: other,
      blob: other,
      array: other,
      map: other,
    };
  }

  undo(): void {
    this.#reply = null;
  }

  end(_tag: number, mark: number): void {
    this.#lane.leave(mark);
    this.#done(this.#reply);
  }

  fail(_tag: number, mark: number, text: string): void {
    this.#lane.leave(mark);
    this.#done(text === UNCERTAIN ? null : { ok: false, error: text });
  }

  hasRoom(): boolean {
    return true;
  }

  takeBack(): boolean {
    return false;
  }
}

class Reader implements Origin {
  readonly #done: (isGood: boolean) => void;

  constructor(done: (isGood: boolean) => void) {
    this.#done = done;
  }

  begin(): ReplySink {
    return DISCARD;
  }

  undo(): void {}

  end(): void {
    this.#done(true);
  }

  fail(): void {
    this.#done(false);
  }

  hasRoom(): boolean {
    return true;
  }

  takeBack(): boolean {
    return false;
  }
}
