/** Sealing: what a leader proposes becomes a batch (wire/batch.ts), the bytes that go to every log as they are. */
import { ENTRY_KIND, type EntryKind, type Index, type Term } from "../raft/types.ts";
import { STATE_VERSION } from "../store/types.ts";
import type { GroupId } from "../wal/types.ts";
import { BATCH_HEADER_BYTES, COMMAND_ENCODING, sealBatch } from "../wire/batch.ts";
import type { Bundle } from "./bundle.ts";

export type SealedPlace = {
  readonly group: GroupId;
  readonly term: Term;
  readonly index: Index;
  /** The leader's time. */
  readonly timeMs: number;
};

/** Commands, in the buffer they were copied into. */
export function sealBundle({ writer, count }: Bundle, place: SealedPlace): Uint8Array {
  seal(writer.bytes, writer.length - BATCH_HEADER_BYTES, count, ENTRY_KIND.commands, place);
  // The cache would keep the unused end of the buffer alive with it.
  return writer.length * 4 < writer.bytes.length * 3 ? writer.copy() : writer.view();
}

/** An entry of another kind, which no door can produce. */
export function sealBody(kind: EntryKind, body: Uint8Array, place: SealedPlace): Uint8Array {
  const bytes = new Uint8Array(BATCH_HEADER_BYTES + body.length);
  bytes.set(body, BATCH_HEADER_BYTES);
  seal(bytes, body.length, 0, kind, place);
  return bytes;
}

function seal(bytes: Uint8Array, bodySize: number, count: number, kind: EntryKind, place: SealedPlace): void {
  sealBatch(bytes, 0, {
    ...place,
    bodySize,
    count,
    kind,
    encoding: COMMAND_ENCODING,
    stateVersion: STATE_VERSION,
  });
}
