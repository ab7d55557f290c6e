/** The page's modules, as the browser has them, for tests in TypeScript: what they export is said here once more. */
import { pathToFileURL } from "node:url";
import type {
  ClusterEvent,
  Live,
  LiveShard,
  MapJson,
  Owners,
  Points,
  Reshard,
  Snapshot,
  WishJson,
} from "../../src/console/page/types.d.ts";

export type { Live, LiveNode, LiveShard, Move, Reshard, Snapshot } from "../../src/console/page/types.d.ts";

async function load<T>(name: string): Promise<T> {
  return (await import(pathToFileURL(`src/console/page/${name}.js`).href)) as T;
}

export const slot = await load<{
  crc16(bytes: Uint8Array): number;
  hashedPart(key: string): string;
  slotOf(key: string): number;
}>("slot");

export const ring = await load<{
  POINTS_MAX: number;
  xxh64(text: string): bigint;
  pointsOf(wish: WishJson): Points | null;
  pointAfter(points: Points, place: number): number;
}>("ring_points");

export const format = await load<{
  formatCount(count: number): string;
  formatBytes(bytes: number): string;
  formatDuration(ms: number): string;
  formatShare(part: number, whole: number): string;
  formatMany(count: number, what: string): string;
  formatRanges(ranges: readonly (readonly [number, number])[], most?: number): string;
}>("format");

export const colors = await load<{
  PALETTE: readonly string[];
  colorAt(number: number): string;
  inkOn(color: string): string;
  assignColors(shards: readonly string[], known?: ReadonlyMap<string, number>): Map<string, number>;
}>("colors");

export const events = await load<{ eventsBetween(before: Snapshot, after: Snapshot): ClusterEvent[] }>(
  "events",
);

type History = {
  add(at: number, value: number): void;
  readonly samples: readonly { at: number; value: number }[];
  readonly rate: number;
  readonly max: number;
};

export const model = await load<{
  ownersOf(map: MapJson): Owners;
  movingSlots(reshard: Reshard): Uint16Array;
  totalsOf(live: Live): { commands: number; keys: number; alive: number; nodes: number; led: number };
  verdictOf(live: Live): { level: string; word: string; text: string };
  nextStep(live: Live): { text: string; command: string };
  progressOf(reshard: Reshard): number;
  replicaText(shard: LiveShard, node: string): { role: string; text: string; notes?: string };
  History: new (spanMs: number) => History;
}>("model");
