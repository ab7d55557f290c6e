/**
 * What a log must give back, kept by an independent and slow model: every append since the beginning, one by
 * one. After a crash the log must equal the state after some number of appends, and that number must cover
 * everything that `onSynced` has vouched for.
 */
import type { Lsn } from "../../src/raft/types.ts";
import type { RecoveredGroup } from "../../src/wal/types.ts";

export type Append =
  | { kind: "entry"; replica: number; group: number; index: number; term: number; size: number }
  | { kind: "hardState"; replica: number; group: number; term: number; vote: number; commit: number }
  | { kind: "snapshot"; replica: number; group: number; index: number; term: number }
  | { kind: "tombstone"; replica: number; group: number };

type ModelEntry = { term: number; size: number };
type ModelGroup = {
  replica: number;
  term: number;
  vote: number;
  commit: number;
  snapshotIndex: number;
  snapshotTerm: number;
  /** entries[i] has index snapshotIndex + 1 + i. */
  entries: ModelEntry[];
};

export class Model {
  groups = new Map<number, ModelGroup>();
  closed = new Map<number, number>();

  clone(): Model {
    const copy = new Model();
    for (const [id, group] of this.groups) copy.groups.set(id, { ...group, entries: [...group.entries] });
    copy.closed = new Map(this.closed);
    return copy;
  }

  group(id: number, replica: number): ModelGroup {
    let group = this.groups.get(id);
    if (group === undefined) {
      group = { replica, term: 0, vote: 0, commit: 0, snapshotIndex: 0, snapshotTerm: 0, entries: [] };
      this.groups.set(id, group);
    }
    return group;
  }

  apply(append: Append): void {
    if (append.kind === "tombstone") {
      this.groups.delete(append.group);
      this.closed.set(append.group, append.replica);
      return;
    }
    const group = this.group(append.group, append.replica);
    if (append.kind === "hardState") {
      group.term = append.term;
      group.vote = append.vote;
      group.commit = append.commit;
    } else if (append.kind === "entry") {
      group.entries.length = append.index - group.snapshotIndex - 1;
      group.entries.push({ term: append.term, size: append.size });
    } else if (append.index > group.snapshotIndex) {
      const at = append.index - group.snapshotIndex - 1;
      const continues = group.entries[at]?.term === append.term;
      group.entries = continues ? group.entries.slice(at + 1) : [];
      group.snapshotIndex = append.index;
      group.snapshotTerm = append.term;
    }
  }

  /** One line a group: equal texts, equal states. */
  text(): string {
    const lines = [...this.groups].map(([id, group]) => {
      const entries = group.entries.map(({ term, size }) => `${term}:${size}`).join(" ");
      const hard = `${group.term}/${group.vote}/${group.commit}`;
      return `${id} r${group.replica} ${hard} snapshot ${group.snapshotIndex}/${group.snapshotTerm} [${entries}]`;
    });
    const closed = [...this.closed].map(([id, replica]) => `${id} closed up to r${replica}`);
    return [...lines.sort(), ...closed.sort()].join("\n");
  }
}

export function textOf(
  groups: readonly RecoveredGroup[],
  tombstones: readonly { group: number; replica: number }[],
): string {
  const lines = groups.map(({ group, replica, hardState, snapshotIndex, snapshotTerm, entries }) => {
    const shapes = entries.map(({ term, size }) => `${term}:${size}`).join(" ");
    const hard = `${hardState.term}/${hardState.vote}/${hardState.commit}`;
    return `${group} r${replica} ${hard} snapshot ${snapshotIndex}/${snapshotTerm} [${shapes}]`;
  });
  const closed = tombstones.map(({ group, replica }) => `${group} closed up to r${replica}`);
  return [...lines.sort(), ...closed.sort()].join("\n");
}

export class Oracle {
  /** The state before `#pending`: all of it was vouched for. */
  #acknowledged = new Model();
  /** Restarts that lost something which nobody had vouched for. */
  shortened = 0;
  #pending: { append: Append; end: Lsn }[] = [];

  /** The state with everything appended so far. */
  readonly newest = (): Model => {
    const model = this.#acknowledged.clone();
    for (const { append } of this.#pending) model.apply(append);
    return model;
  };

  appended(append: Append, end: Lsn): void {
    this.#pending.push({ append, end });
  }

  synced(lsn: Lsn): void {
    while (this.#pending.length > 0 && (this.#pending[0]?.end as number) <= lsn) {
      this.#acknowledged.apply((this.#pending.shift() as { append: Append }).append);
    }
  }

  get pending(): number {
    return this.#pending.length;
  }

  /** The recovered text must be that of some prefix; the log goes on from there. Null, or what is wrong. */
  recovered(text: string): string | null {
    const model = this.#prefixOf(text);
    if (model === null) return this.check(text);
    if (model.text() !== this.newest().text()) this.shortened++;
    this.#acknowledged = model;
    this.#pending = [];
    return null;
  }

  /** As `recovered`, but the oracle stays where it is. */
  check(text: string): string | null {
    if (this.#prefixOf(text) !== null) return null;
    const expected = this.#acknowledged.text();
    return `acknowledged, and ${this.#pending.length} more appended:\n${expected}\nrecovered:\n${text}`;
  }

  #prefixOf(text: string): Model | null {
    const model = this.#acknowledged.clone();
    for (const { append } of this.#pending) {
      if (model.text() === text) return model;
      model.apply(append);
    }
    return model.text() === text ? model : null;
  }
}
