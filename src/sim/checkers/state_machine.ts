/**
 * State-machine safety: every replica applies the same entries in the same order and comes to the same state.
 *
 *     order        an incarnation applies index after index; it skips only what others applied (a snapshot)
 *     same entry   at one index, one term and one checksum, on every node and after every restart (hazard B7)
 *     same state   equal indexes have equal log time and equal state hash (G1, G4, G5), after a snapshot too
 *     log time     never falls, and one wrong clock does not carry it ahead of the true time (G2)
 */
import { getU32 } from "../../base/bytes.ts";
import { ENTRY_KIND, type Entry, type Index } from "../../raft/types.ts";
import type { GroupReplica } from "../../server/group.ts";
import { WALL_START_MS } from "../clock.ts";
import type { SimNode } from "../cluster.ts";
import type { World } from "../world.ts";
import type { Checker } from "./checker.ts";

const BATCH_CHECKSUM_AT = 4;
/** Where slots move, to hash a state is to look at all of them: it is done at every so many entries. */
const HASHED_EVERY = 8;
/** Drift of 500 ppm over two minutes, and the age of what a clock said. */
const TIME_AHEAD_MS_MAX = 200;

type Applied = {
  readonly term: number;
  readonly checksum: number;
  readonly logTimeMs: number;
  readonly hash: string;
  readonly node: string;
};

export class StateMachineChecker implements Checker {
  readonly name = "state machine";
  judged = 0;
  readonly #world: World;
  readonly #nodes: readonly SimNode[];
  /** How far the clocks were ahead before anybody touched them; faults step fewer than half of them. */
  readonly #aheadMsMax: number;
  #oracle = new Map<number, Map<Index, Applied>>();
  /** The last index that the present incarnation of a node applied, per group and replica id. */
  #last = new Map<string, Index>();

  readonly #hashedEvery: number;

  constructor(world: World, nodes: readonly SimNode[], movesSlots: boolean) {
    this.#world = world;
    this.#hashedEvery = movesSlots ? HASHED_EVERY : 1;
    this.#nodes = nodes;
    this.#aheadMsMax =
      Math.max(0, ...nodes.map(({ machine }) => machine.clock.wallOffsetMs)) + TIME_AHEAD_MS_MAX;
  }

  onStart(node: SimNode): void {
    for (const key of this.#last.keys()) if (key.startsWith(`${node.id}/`)) this.#last.delete(key);
  }

  onApplied(node: SimNode, replica: GroupReplica, entry: Entry): void {
    this.judged++;
    const applied: Applied = {
      term: entry.term,
      checksum: getU32(entry.bytes, BATCH_CHECKSUM_AT),
      logTimeMs: replica.store.logTimeMs,
      hash: this.#isHashed(entry) ? replica.store.stateHash() : "",
      node: node.id,
    };
    let log = this.#oracle.get(replica.group);
    if (log === undefined) {
      log = new Map();
      this.#oracle.set(replica.group, log);
    }
    this.#inOrder(node, `${node.id}/${replica.group}/${replica.replica}`, entry.index, log);
    const known = log.get(entry.index);
    if (known === undefined) {
      log.set(entry.index, applied);
      this.#time(node, log.get(entry.index - 1), applied);
    } else {
      this.#same(entry.index, known, applied);
    }
  }

  #isHashed({ index, kind }: Entry): boolean {
    return kind === ENTRY_KIND.move || index % this.#hashedEvery === 0;
  }

  #inOrder(node: SimNode, key: string, index: Index, log: ReadonlyMap<Index, Applied>): void {
    const last = this.#last.get(key);
    const next = last !== undefined && index === last + 1;
    const skips = (last === undefined || index > last) && (index === 1 || log.has(index - 1));
    if (!next && !skips)
      this.#world.fail("state machine", `${node.id} applied index ${index} after ${last ?? "a start"}`);
    this.#last.set(key, index);
  }

  #same(index: Index, known: Applied, applied: Applied): void {
    const both = `${known.node} and ${applied.node}`;
    if (known.term !== applied.term || known.checksum !== applied.checksum) {
      const terms = `terms ${known.term} and ${applied.term}`;
      this.#world.fail("state machine", `${both} applied different entries at index ${index} (${terms})`);
    } else if (known.logTimeMs !== applied.logTimeMs) {
      const times = `${known.logTimeMs} and ${applied.logTimeMs} ms`;
      this.#world.fail("state machine", `${both} have different log times after index ${index}: ${times}`);
    } else if (known.hash !== applied.hash) {
      const hashes = `${known.hash} and ${applied.hash}`;
      this.#world.fail("state machine", `${both} have different states after index ${index}: ${hashes}`);
    }
  }

  #time(node: SimNode, before: Applied | undefined, now: Applied): void {
    if (before !== undefined && now.logTimeMs < before.logTimeMs) {
      this.#world.fail(
        "log time",
        `${node.id}: log time fell from ${before.logTimeMs} to ${now.logTimeMs} ms`,
      );
    }
    const ahead = now.logTimeMs - WALL_START_MS - this.#world.nowUs / 1000;
    if (this.#nodes.length > 1 && ahead > this.#aheadMsMax) {
      this.#world.fail("log time", `${node.id}: log time is ${Math.round(ahead)} ms ahead of the true time`);
    }
  }
}
