/**
 * A backup of the control plane: its state at one log position, as a file that a person can look into.
 *
 *     { "nucleus": "control plane backup", "format": 1, "cluster": "<32 hex>", "version": {restore, index}, "epoch", "plan",
 *       "nodes": <count>, "shards": <count>, "checksum": "<16 hex>", "image": "<base64>" }
 *
 * The image is that of a snapshot (image.ts), and has the last word; the fields before it are for people, and must agree
 * with it. Whoever takes the file may add "takenAt".
 *
 * A control plane is made from it by `restorePart` commands (commands.ts), so all its processes have the same state,
 * whoever of them was given the file.
 *
 * Errors: NucleusError "EREQUEST", saying what is wrong with the file.
 */
import { concat } from "../base/bytes.ts";
import { NucleusError } from "../base/errors.ts";
import { type BodyOf, RESTORE_PART_BYTES, RESTORE_PARTS_MAX } from "./commands.ts";
import { imageFrames, StateHash } from "./image.ts";
import { ImageReader } from "./image_reader.ts";
import { parseJson } from "./requests.ts";
import type { MetaState } from "./state.ts";

const WHAT = "control plane backup";
const FORMAT = 1;

export type Backup = {
  readonly cluster: string;
  /** Names this very file's content. */
  readonly token: string;
  readonly image: Uint8Array;
  readonly state: MetaState;
};

export function backupOf(state: MetaState): object {
  const { index } = state.version;
  const image = concat([...imageFrames({ place: { index, term: 0, logTimeMs: 0, revision: 0 }, state })]);
  return { ...headOf(state), checksum: checksumOf(image), image: base64Of(image) };
}

function headOf({ cluster, version, epoch, planNumber: plan, nodes, shards }: MetaState): object {
  const counts = { nodes: nodes.size, shards: shards.size };
  return { nucleus: WHAT, format: FORMAT, cluster, version, epoch, plan, ...counts };
}

export function parseBackup(text: string): Backup {
  const root = parseJson(text);
  const fields = typeof root === "object" && root !== null ? (root as Record<string, unknown>) : {};
  const { nucleus, format, checksum, image: encoded, takenAt: _, ...head } = fields;
  if (nucleus !== WHAT) throw bad("it is no backup of a control plane (nucleus cluster backup makes them)");
  if (format !== FORMAT)
    throw bad(`it has format ${String(format)}, this program reads ${FORMAT}: use the version that wrote it`);
  const image = typeof encoded === "string" ? bytesOf(encoded) : null;
  if (image === null || checksumOf(image) !== checksum) throw bad("it is damaged: its checksum is wrong");
  const state = readImage(image);
  if (typeof state === "string") throw bad(`it is damaged: ${state}`);
  const { nucleus: __, format: ___, ...said } = headOf(state) as Record<string, unknown>;
  if (JSON.stringify(said) !== JSON.stringify(head))
    throw bad("it was changed: its head and its image differ");
  if (partsOf(image.length) > RESTORE_PARTS_MAX) throw bad("it is larger than a state can be");
  return { cluster: state.cluster, token: tokenOf(image), image, state };
}

/** The state of an image, or what is wrong with it. */
export function readImage(image: Uint8Array): MetaState | string {
  const states: MetaState[] = [];
  const reader = new ImageReader(({ state }) => void states.push(state));
  const problem = reader.write(image) ?? reader.finish();
  return problem ?? states[0] ?? "it holds no state";
}

export function partsOf(size: number): number {
  return Math.ceil(size / RESTORE_PART_BYTES);
}

export function partOf({ token, image }: Backup, part: number): BodyOf<"restorePart"> {
  const at = part * RESTORE_PART_BYTES;
  const bytes = image.subarray(at, at + RESTORE_PART_BYTES);
  return { kind: "restorePart", token, part, parts: partsOf(image.length), bytes };
}

function checksumOf(image: Uint8Array): string {
  const hash = new StateHash();
  hash.add(image);
  return hash.hex;
}

function tokenOf(image: Uint8Array): string {
  return checksumOf(image) + image.length.toString(16).padStart(16, "0");
}

/** `btoa` takes a letter a byte; so many at once as arguments of a call may have. */
const LETTERS_AT_ONCE = 4096;

function base64Of(bytes: Uint8Array): string {
  const letters: string[] = [];
  for (let at = 0; at < bytes.length; at += LETTERS_AT_ONCE)
    letters.push(String.fromCharCode(...bytes.subarray(at, at + LETTERS_AT_ONCE)));
  return btoa(letters.join(""));
}

function bytesOf(text: string): Uint8Array | null {
  try {
    return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  } catch {
    return null;
  }
}

function bad(why: string): NucleusError {
  return new NucleusError("EREQUEST", why);
}
