/**
 * Heartbeats (control_request.ts `beat`) as bytes. Of a node's hundreds of rows nearly all are as they were a second ago,
 * and hundreds of small maps are slow to write and to read. So rows are kept on both sides:
 *
 *     encodeBeat   a row that is the same object is the same bytes: they are copied
 *     BeatReader   a row whose bytes are those of the last heartbeat is the same object: it is given again
 *
 * On the wire nothing shows of it. Every heartbeat says everything, so none depends on whether another one came, was
 * believed, or was lost with a leader.
 *
 * Memory: of each connection the rows of one heartbeat, at most a client's frame of them, and only of a node that is known
 * (`keep`): those are kept for as long as it is alive anyway (controlplane/liveness.ts).
 */
import { assert } from "../base/assert.ts";
import { concat, utf8 } from "../base/bytes.ts";
import { GROUPS_MAX, type GroupReport, groupReport, type Heartbeat } from "./control_plane.ts";
import { type ControlRequest, controlRequest } from "./control_request.ts";
import { decodeShape, encodeShape, ShapeError, valueEnd } from "./msgpack.ts";

/** MessagePack's lists: none in it, below 16, below 65536. */
const LIST_EMPTY = 0x90;
const LIST_SHORT_MAX = 15;
const LIST_U16 = 0xdc;

/** `kind`, the kind, `heartbeat`, and a map of five fields, the last of which are the rows. */
const BEGIN = concat([text(0x82, "kind"), text(null, "beat"), text(null, "heartbeat"), Uint8Array.of(0x85)]);
const FIELDS_BEFORE = 4;
const GROUPS = text(null, "groups");

function text(before: number | null, word: string): Uint8Array {
  const bytes = Uint8Array.of(0xa0 | word.length, ...utf8(word));
  return before === null ? bytes : concat([Uint8Array.of(before), bytes]);
}

const encoded = new WeakMap<GroupReport, Uint8Array>();

/** Rows that were sent once must not change. */
export function encodeBeat(heartbeat: Heartbeat): Uint8Array {
  const head = encodeShape(controlRequest, { kind: "beat", heartbeat: { ...heartbeat, groups: [] } });
  assert(head.at(-1) === LIST_EMPTY, "the rows stand last");
  const { length } = heartbeat.groups;
  assert(length <= GROUPS_MAX, "a heartbeat has no more rows than a list may have");
  const count = length <= LIST_SHORT_MAX ? [LIST_EMPTY | length] : [LIST_U16, length >>> 8, length & 0xff];
  return concat([head.subarray(0, -1), Uint8Array.from(count), ...heartbeat.groups.map(rowBytes)]);
}

function rowBytes(row: GroupReport): Uint8Array {
  const known = encoded.get(row);
  if (known !== undefined) return known;
  const bytes = encodeShape(groupReport, row);
  encoded.set(row, bytes);
  return bytes;
}

type Row = { readonly bytes: Uint8Array; readonly row: GroupReport };

export class BeatReader {
  /** Of the last heartbeat that was kept, and of the one that was read last. */
  #kept: readonly Row[] = [];
  #read: readonly Row[] = [];

  /** As decodeShape would; bytes in it are borrowed. */
  read(body: Uint8Array): ControlRequest | ShapeError {
    this.#read = [];
    const at = rowsAt(body);
    const rows = at < 0 ? null : this.#rows(body, at);
    if (rows === null) return decodeShape(controlRequest, body, "request");
    const head = concat([body.subarray(0, at), Uint8Array.of(LIST_EMPTY)]);
    const request = decodeShape(controlRequest, head, "request");
    if (request instanceof ShapeError || request.kind !== "beat") return request;
    this.#read = rows;
    return { kind: "beat", heartbeat: { ...request.heartbeat, groups: rows.map(({ row }) => row) } };
  }

  /** What was read last came from a node that is known: its next heartbeat will be much like it. */
  keep(): void {
    this.#kept = this.#read;
  }

  /** Null: they are not as they must be, and are to be read in the ordinary way, which says why. */
  #rows(body: Uint8Array, at: number): Row[] | null {
    const [count, first] = countAt(body, at);
    const rows: Row[] = [];
    let place = first;
    for (let i = 0; i < count; i++) {
      const row = this.#row(body, place, this.#kept[i]);
      if (row === null) return null;
      rows.push(row);
      place += row.bytes.length;
    }
    return count >= 0 && place === body.length ? rows : null;
  }

  /** No value begins with the whole of another one: if the bytes are there, the row is. */
  #row(body: Uint8Array, at: number, known: Row | undefined): Row | null {
    if (known !== undefined && isAt(body, at, known.bytes)) return known;
    const end = valueEnd(body, at);
    if (end < 0) return null;
    const bytes = body.slice(at, end);
    const row = decodeShape(groupReport, bytes, "row");
    return row instanceof ShapeError ? null : { bytes, row };
  }
}

/** Where the list of rows begins; -1: the body is no heartbeat with its fields in order. */
function rowsAt(body: Uint8Array): number {
  if (!isAt(body, 0, BEGIN)) return -1;
  let at = BEGIN.length;
  for (let i = 0; i < 2 * FIELDS_BEFORE && at >= 0; i++) at = valueEnd(body, at);
  return at >= 0 && isAt(body, at, GROUPS) ? at + GROUPS.length : -1;
}

/** How many rows, and where the first one is; a count of -1: no list that a heartbeat may have. */
function countAt(body: Uint8Array, at: number): [count: number, first: number] {
  const type = body[at] ?? 0;
  if (type >= LIST_EMPTY && type <= LIST_EMPTY + LIST_SHORT_MAX) return [type - LIST_EMPTY, at + 1];
  if (type !== LIST_U16 || at + 3 > body.length) return [-1, at];
  const count = ((body[at + 1] as number) << 8) | (body[at + 2] as number);
  return [count <= GROUPS_MAX ? count : -1, at + 3];
}

function isAt(body: Uint8Array, at: number, bytes: Uint8Array): boolean {
  if (at + bytes.length > body.length) return false;
  for (let i = 0; i < bytes.length; i++) if (body[at + i] !== bytes[i]) return false;
  return true;
}
