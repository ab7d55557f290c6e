/** What both soaks (soak.ts, rest_soak.ts) draw and ask for. */
import type { Prng } from "../../src/base/prng.ts";
import type { ConfigChange } from "../../src/raft/config.ts";
import type { GroupConfig, ReplicaId } from "../../src/raft/types.ts";
import type { Replica } from "./cluster.ts";
import { membersOf } from "./oracle.ts";

/** Chances out of 1000. */
export type Mix<What extends string> = Readonly<Record<What, number>>;

/** A cluster that begins with so many voters. */
export function configOf(size: number): GroupConfig {
  const voters = Array.from({ length: size }, (_, i) => ({ replica: i + 1, node: `n${i + 1}` }));
  return { version: 1, voters, outgoing: [], learners: [], nextReplica: size + 1 };
}

/** Some members go, and one may come. */
export function changeOf(
  random: Prng,
  { core: { config } }: Replica,
  members: readonly ReplicaId[],
  hasRoom: boolean,
  promotes: () => boolean,
): ConfigChange {
  return {
    version: config.version,
    addLearners: hasRoom && random.chance(1, 2) ? [`n${config.nextReplica}`] : [],
    promote: config.learners.map(({ replica }) => replica).filter(promotes),
    remove: members.filter(() => random.chance(1, 6)),
  };
}

/** Of the replicas that a leader's committed config names; null: it has none, or does not lead. */
export function namedBy(replica: Replica): ReadonlySet<ReplicaId> | null {
  const { configIndex, commitIndex, role } = replica.core;
  return role !== "leader" || configIndex > commitIndex ? null : new Set(membersOf(replica));
}

/** Somewhere from its snapshot on to what it has applied. */
export function snapshotIndexOf(random: Prng, { core, applied }: Replica): number {
  return random.between(core.snapshotIndex, Math.max(core.snapshotIndex, applied.meta.index));
}

/** What somebody writes; each time another. */
export function textOf(random: Prng, number: number): string {
  return `${number}`.padEnd(random.between(4, 60), ".");
}
