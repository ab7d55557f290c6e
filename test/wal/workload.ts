/**
 * A node's life as its log sees it, drawn from a seed: a few groups that vote, append, overwrite, take and install
 * snapshots, close and come back under a new replica id; with the oracle beside it.
 */
import type { Prng } from "../../src/base/prng.ts";
import { type Append, Oracle, textOf } from "./oracle.ts";
import { entryOf, type World } from "./world.ts";

const GROUPS = [11, 12, 13, 14];

export class Workload {
  readonly oracle = new Oracle();
  readonly world: World;
  readonly #random: Prng;
  /** Replica id of each group's present life. */
  #replicas = new Map<number, number>();
  bodyBytesMax = 3000;

  constructor(world: World, random: Prng) {
    this.world = world;
    this.#random = random;
    world.onSynced = (lsn) => this.oracle.synced(lsn);
  }

  /** Draws and appends one record, if its group's state allows it. */
  step(): void {
    const random = this.#random;
    const group = random.pick(GROUPS);
    const replica = this.#replicas.get(group) ?? 1;
    const state = this.oracle.newest().group(group, replica);
    const draw = random.below(100);
    const last = state.snapshotIndex + state.entries.length;
    if (draw < 75) {
      // Mostly the next entry; sometimes a new leader overwrites what was not committed.
      const low = Math.max(state.snapshotIndex, state.commit) + 1;
      const index = random.chance(1, 8) && low <= last ? random.between(low, last) : last + 1;
      const term = Math.max(1, state.term, state.entries.at(-1)?.term ?? state.snapshotTerm);
      this.#entry(replica, group, index, index <= last ? term + 1 : term);
    } else if (draw < 88) {
      const newTerm = state.vote === 0 || random.chance(1, 2);
      const term = Math.max(state.term, 1) + (newTerm && state.vote !== 0 ? 1 : 0);
      const vote = term === state.term && state.vote !== 0 ? state.vote : random.between(1, 5);
      const commit = Math.max(state.commit, random.between(Math.min(state.commit, last), last));
      this.#hardState(replica, group, term, vote, commit);
    } else if (draw < 96) this.#snapshot(replica, group, state.snapshotIndex, last, state.entries);
    else if (draw < 98 && this.oracle.newest().groups.has(group)) this.#close(replica, group);
  }

  /** After a start: what came back must be a prefix that covers all that was vouched for. Null, or what is wrong. */
  judge(): string | null {
    const { recovered } = this.world;
    const wrong = this.oracle.recovered(textOf(recovered.groups, recovered.tombstones));
    if (wrong !== null) return wrong;
    this.#replicas = new Map(recovered.tombstones.map(({ group, replica }) => [group, replica + 1]));
    return this.#judgeBytes();
  }

  /** Reads every entry back and compares it with what was appended under that term and index. */
  #judgeBytes(): string | null {
    for (const { group, snapshotIndex, entries } of this.world.recovered.groups) {
      let index = snapshotIndex + 1;
      const last = snapshotIndex + entries.length;
      while (index <= last) {
        const read = this.world.read(group, index, last);
        for (const entry of read) {
          const shape = entries[entry.index - snapshotIndex - 1];
          const expected = entryOf(group, entry.index, shape?.term ?? -1, (shape?.size ?? 0) - 48);
          if (Buffer.compare(expected.bytes, entry.bytes) !== 0)
            return `group ${group} entry ${entry.index} differs`;
        }
        index += read.length;
      }
    }
    return null;
  }

  #entry(replica: number, group: number, index: number, term: number): void {
    const bodySize = this.#random.below(this.#random.chance(1, 10) ? this.bodyBytesMax : 200);
    const entry = entryOf(group, index, term, bodySize);
    if (!this.world.wal.hasRoom(entry.bytes.length)) return;
    const end = this.world.wal.appendEntry(replica, group, entry);
    this.#note({ kind: "entry", replica, group, index, term, size: entry.bytes.length }, end);
  }

  #hardState(replica: number, group: number, term: number, vote: number, commit: number): void {
    const end = this.world.wal.appendHardState(replica, group, { term, vote, commit });
    this.#note({ kind: "hardState", replica, group, term, vote, commit }, end);
  }

  #snapshot(
    replica: number,
    group: number,
    snapshotIndex: number,
    last: number,
    entries: readonly { term: number }[],
  ): void {
    const random = this.#random;
    const own = last > snapshotIndex && !random.chance(1, 5);
    // One's own covers entries that are here; a leader's may lie beyond them, or be of another history.
    const index = own ? random.between(snapshotIndex + 1, last) : last + random.between(1, 3);
    const term = own
      ? (entries[index - snapshotIndex - 1]?.term ?? 1) + (random.chance(1, 10) ? 1 : 0)
      : (entries.at(-1)?.term ?? 1) + 1;
    const end = this.world.wal.appendSnapshotMark(replica, group, index, term);
    this.#note({ kind: "snapshot", replica, group, index, term }, end);
  }

  #close(replica: number, group: number): void {
    const end = this.world.wal.appendTombstone(replica, group);
    this.#replicas.set(group, replica + 1);
    this.#note({ kind: "tombstone", replica, group }, end);
  }

  #note(append: Append, end: number): void {
    this.oracle.appended(append, end);
  }
}
