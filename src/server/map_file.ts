/**
 * What a node keeps of the control plane: `DIR/map`, replaced as a whole. With it a node starts, and serves, while every
 * control process is dead; and it obeys no order of a control plane older than one it has heard (hazard F10).
 *
 *     0  u32 CRC-32 of the rest       4  MessagePack: { fence, epoch, plan, map }
 *
 * Errors: NucleusError "EDAMAGED" for a file that is not whole; it may be removed, then the node waits for the map.
 */
import { concat, getU32, setU32 } from "../base/bytes.ts";
import { crc32 } from "../base/checksum.ts";
import { NucleusError } from "../base/errors.ts";
import { type Task, wait } from "../base/task.ts";
import { MiB } from "../base/units.ts";
import { readFile, replaceFile } from "../platform/files.ts";
import type { Disk } from "../platform/platform.ts";
import { clusterMap } from "../wire/cluster_map.ts";
import { fence } from "../wire/control_plane.ts";
import {
  decodeShape,
  encodeShape,
  integer,
  nullable,
  record,
  ShapeError,
  type ValueOf,
} from "../wire/msgpack.ts";
import { MAP_FILE } from "./identity.ts";

const BYTES_MAX = 16 * MiB;

const kept = record({
  fence,
  /** The highest move epoch and plan number that this node has seen: nobody may issue them again. */
  epoch: integer(0),
  plan: integer(0),
  map: nullable(clusterMap),
});
export type KeptMap = ValueOf<typeof kept>;

export const NOTHING_KEPT: KeptMap = { fence: { restore: 0, term: 0 }, epoch: 0, plan: 0, map: null };

export function* loadMap(disk: Disk, dir: string): Task<KeptMap> {
  const names = yield* wait<string[]>((done) => disk.list(dir, done));
  if (!names.includes(MAP_FILE)) return NOTHING_KEPT;
  const bytes = yield* readFile(disk, `${dir}/${MAP_FILE}`, BYTES_MAX);
  const rest = bytes.subarray(4);
  const value = bytes.length < 4 || getU32(bytes, 0) !== crc32(rest) ? null : decodeShape(kept, rest, "map");
  if (value !== null && !(value instanceof ShapeError)) return value;
  throw new NucleusError(
    "EDAMAGED",
    `${dir}/${MAP_FILE} is damaged; remove it: the control plane gives this node the map again`,
  );
}

export function saveMap(disk: Disk, dir: string, value: KeptMap): Task<void> {
  const rest = encodeShape(kept, value);
  const head = new Uint8Array(4);
  setU32(head, 0, crc32(rest));
  return replaceFile(disk, dir, MAP_FILE, concat([head, rest]));
}
