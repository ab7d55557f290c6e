/**
 * Moves of slots as this shard's log has them: at most one that comes (target), one that goes (source), and notes of
 * those that are closed. Every step checks state and epoch where it is applied; one that comes twice, late or from a
 * deposed leader changes nothing.
 *
 *     target   import -> importing    begin -> copying, chunks    own -> owned      abort -> aborted
 *     source   seal   -> sealed                                   release -> released    unseal, decline -> unsealed
 *
 * The target's log alone decides: the first of own and abort that is applied is the epoch's outcome. An abort is noted
 * for any epoch without one, also for one that was never heard of, and an unseal on the source alike, so that what comes
 * late for it is refused. A decline does only that: who proposed it knows how the move ended, and perhaps not yet that it
 * has begun here; a sealed move is ended only by who has read its outcome.
 *
 * Notes are bounded by count, the lowest epochs go first, and what went leaves a floor: nothing begins at or below it.
 * So a forgotten epoch never has another outcome than it had; it only cannot be asked for any more. The control plane
 * never reuses epochs, and 64 moves carry the whole key space, so that takes a source which stays sealed and unreachable
 * for many moves of everything there is.
 *
 * Slots keep the epoch that they are served under, until they are owned (target) or released (source) under the move's.
 */
import { SLOT_COUNT } from "../ring/slot.ts";
import { KEY_BYTES_MAX } from "../wire/command.ts";
import {
  ChunkRows,
  decodeMoveStep,
  type MoveFinal,
  type MoveNote,
  type MoveStep,
  type MoveStepOf,
  ROW,
  readChunk,
} from "../wire/move_entry.ts";
import { isSameMove, type MoveName } from "../wire/move_identity.ts";
import { VALUE_BYTES_MAX } from "./execution.ts";
import { Probe } from "./hash.ts";
import type { Keyspace } from "./keyspace.ts";
import { REPLY_KEPT_BYTES_MAX, REPLY_NOT_KEPT } from "./session_cells.ts";
import { Sessions } from "./sessions.ts";
import { SLOT, type SlotCode } from "./slots.ts";

/** Notes of closed moves: at most 1.5 KiB each, if all their slots lie apart. */
export const CLOSED_MOVES_MAX = 1024;

/** What of the store a step changes, beside slots and notes. */
export type MoveScene = {
  readonly index: number;
  readonly keyspace: Keyspace;
  readonly sessions: Sessions;
  logTimeMs: number;
};

export class Moves {
  incoming: MoveNote | null = null;
  outgoing: MoveNote | null = null;
  readonly closed = new Map<number, MoveNote>();
  /** Epochs up to this may have been closed and forgotten. */
  floor = 0;
  /** Sessions that came with the incoming move: nobody sees them before it is owned. */
  staged = new Sessions();
  readonly #probe = new Probe();

  /** Applies the body of a move entry; null = done, or done before; else why it changed nothing. */
  apply(body: Uint8Array, scene: MoveScene): string | null {
    const step = decodeMoveStep(body);
    if (step === null) return this.#chunk(body, scene);
    switch (step.kind) {
      case "import":
        return this.#import(step, scene);
      case "begin":
        return this.#begin(step, scene);
      case "own":
        return this.#own(step, scene);
      case "abort":
        return this.#abort(step, scene);
      case "seal":
        return this.#seal(step, scene);
      case "release":
        return this.#release(step, scene);
      case "unseal":
        return this.#unseal(step, scene);
      case "decline":
        return this.#noteUnheard(step.epoch, "source", "unsealed", scene.index);
    }
  }

  /** All that is known, open moves first, then closed ones from the newest on. */
  notes(): MoveNote[] {
    const notes = [...this.closed.values()].sort((a, b) => b.epoch - a.epoch);
    if (this.outgoing !== null) notes.unshift(this.outgoing);
    if (this.incoming !== null) notes.unshift(this.incoming);
    return notes;
  }

  /** Takes in a note of an image; false if it says what another one has said. */
  adopt(note: MoveNote): boolean {
    if (note.phase === "importing" || note.phase === "copying") {
      if (this.incoming !== null) return false;
      this.incoming = note;
    } else if (note.phase === "sealed") {
      if (this.outgoing !== null) return false;
      this.outgoing = note;
    } else {
      if (this.closed.has(note.epoch)) return false;
      this.closed.set(note.epoch, note);
    }
    return true;
  }

  // ---- target -------------------------------------------------------------------------------------------------

  #import(step: MoveStepOf<"import">, { index, keyspace }: MoveScene): string | null {
    if (this.incoming?.epoch === step.epoch) return twinRefusal(this.incoming, step);
    const refusal = this.#beginRefusal(step, keyspace, this.incoming, SLOT.absent);
    if (refusal !== null) return refusal;
    this.incoming = { ...opened("target", "importing", step, index), hold: step.hold };
    this.staged = new Sessions();
    eachSlot(step.slots, (slot) => keyspace.slots.own(slot, SLOT.importing, keyspace.slots.epoch(slot)));
    keyspace.beginImport();
    return null;
  }

  #begin({ epoch, term, n }: MoveStepOf<"begin">, { keyspace }: MoveScene): string | null {
    const move = this.incoming;
    if (move === null || move.epoch !== epoch) return this.#notOpen(epoch);
    const { attempt } = move;
    if (attempt !== null && attempt.term === term && attempt.n === n) return null;
    const isNewer = attempt === null || term > attempt.term || (term === attempt.term && n > attempt.n);
    if (!isNewer) return "a newer attempt has begun";
    this.#emptyStaging(move, keyspace);
    this.incoming = { ...move, phase: "copying", attempt: { term, n }, nextChunk: 0 };
    return null;
  }

  #chunk(body: Uint8Array, { keyspace }: MoveScene): string | null {
    const chunk = readChunk(body);
    if (chunk === null) return "no step of a move";
    const { header } = chunk;
    const move = this.incoming;
    if (move === null || move.epoch !== header.epoch) return this.#notOpen(header.epoch);
    const { attempt } = move;
    if (attempt === null || attempt.term !== header.term || attempt.n !== header.n)
      return "the chunk is of another attempt";
    if (header.number !== move.nextChunk) return `chunk ${move.nextChunk} is the next`;
    this.incoming = { ...move, nextChunk: move.nextChunk + 1 };
    const rows = new ChunkRows(chunk.rows, header.rows);
    while (rows.next() && this.#row(rows, keyspace));
    return null;
  }

  /** False: the row makes no sense here. What follows it is not looked at, and the hashes will not agree. */
  #row(row: ChunkRows, keyspace: Keyspace): boolean {
    if (row.kind === ROW.client) {
      if (row.isGone) this.staged.dropClient(row.client, 0);
      else this.staged.takeClient(row.client, 0, row.floor, row.notAfter);
      return true;
    }
    if (row.kind === ROW.reply) {
      if (row.slot >= SLOT_COUNT || row.value.length > REPLY_KEPT_BYTES_MAX) return false;
      const size = row.isKept ? row.value.length : REPLY_NOT_KEPT;
      return this.staged.takeReply(row.client, 0, row.seq, row.slot, row.value, 0, size);
    }
    if (row.key.length > KEY_BYTES_MAX || row.value.length > VALUE_BYTES_MAX) return false;
    this.#probe.aim(row.key, 0, row.key.length);
    if (keyspace.slots.state(this.#probe.slot) !== SLOT.importing) return false;
    const found = keyspace.find(this.#probe);
    if (row.kind === ROW.record) {
      if (row.revision > REVISION_LIMIT) return false;
      keyspace.putImported(this.#probe, row.revision, row.value, 0, row.value.length, row.deadline);
    } else if (found !== 0) {
      keyspace.removeImported(this.#probe);
    }
    return true;
  }

  #own(step: MoveStepOf<"own">, scene: MoveScene): string | null {
    const move = this.incoming;
    if (move === null || move.epoch !== step.epoch) {
      return this.closed.get(step.epoch)?.phase === "owned" ? null : this.#notOpen(step.epoch);
    }
    const { attempt } = move;
    if (attempt === null || attempt.term !== step.term || attempt.n !== step.n)
      return "another attempt is copied";
    const { kind: _, epoch: __, term: ___, n: ____, ...final } = step;
    const refusal = this.#difference(move, final, scene.keyspace);
    if (refusal !== null) return refusal;
    const { keyspace, sessions } = scene;
    scene.logTimeMs = Math.max(scene.logTimeMs, final.timeMs);
    keyspace.revision = Math.max(keyspace.revision, final.revision);
    eachSlot(move.slots, (slot) => keyspace.slots.own(slot, SLOT.serving, move.epoch));
    keyspace.endImport();
    sessions.merge(this.staged, scene.logTimeMs);
    this.#closeIncoming({ ...move, phase: "owned", endIndex: scene.index, final });
    return null;
  }

  /** How what came differs from what the source says it sent, or null. */
  #difference(move: MoveNote, final: MoveFinal, keyspace: Keyspace): string | null {
    if (move.nextChunk !== final.chunks) return "chunks are missing";
    const has = slotSet(move.slots);
    const records = recordsDigest(move.slots, keyspace);
    if (records.keys !== final.keys || records.bytes !== final.bytes || records.hash !== final.recordsHash)
      return "the records are not those of the source";
    const sessions = this.staged.digest(final.timeMs, has);
    const isSame =
      sessions.clients === final.clients &&
      sessions.replies === final.replies &&
      hex64(sessions.hashA, sessions.hashB) === final.sessionsHash;
    return isSame ? null : "the sessions are not those of the source";
  }

  #abort({ epoch }: MoveStepOf<"abort">, { index, keyspace }: MoveScene): string | null {
    const move = this.incoming;
    if (move?.epoch === epoch) {
      this.#emptyStaging(move, keyspace);
      eachSlot(move.slots, (slot) => keyspace.slots.own(slot, SLOT.absent, keyspace.slots.epoch(slot)));
      keyspace.endImport();
      this.#closeIncoming({ ...move, phase: "aborted", endIndex: index });
      return null;
    }
    return this.#noteUnheard(epoch, "target", "aborted", index);
  }

  #emptyStaging(move: MoveNote, keyspace: Keyspace): void {
    eachSlot(move.slots, (slot) => keyspace.empty(slot));
    this.staged = new Sessions();
  }

  #closeIncoming(note: MoveNote): void {
    this.incoming = null;
    this.staged = new Sessions();
    this.#note(note);
  }

  // ---- source -------------------------------------------------------------------------------------------------

  #seal(step: MoveStepOf<"seal">, { index, keyspace }: MoveScene): string | null {
    if (this.outgoing?.epoch === step.epoch) return twinRefusal(this.outgoing, step);
    const refusal = this.#beginRefusal(step, keyspace, this.outgoing, SLOT.serving);
    if (refusal !== null) return refusal;
    this.outgoing = opened("source", "sealed", step, index);
    eachSlot(step.slots, (slot) => keyspace.slots.own(slot, SLOT.sealed, keyspace.slots.epoch(slot)));
    keyspace.beginSeal();
    return null;
  }

  #release({ epoch }: MoveStepOf<"release">, { index, keyspace }: MoveScene): string | null {
    const move = this.outgoing;
    if (move?.epoch !== epoch)
      return this.closed.get(epoch)?.phase === "released" ? null : this.#notOpen(epoch);
    eachSlot(move.slots, (slot) => {
      keyspace.empty(slot);
      keyspace.slots.own(slot, SLOT.absent, epoch);
    });
    keyspace.endSeal();
    this.outgoing = null;
    this.#note({ ...move, phase: "released", endIndex: index });
    return null;
  }

  #unseal({ epoch }: MoveStepOf<"unseal">, { index, keyspace }: MoveScene): string | null {
    const move = this.outgoing;
    if (move?.epoch !== epoch) return this.#noteUnheard(epoch, "source", "unsealed", index);
    eachSlot(move.slots, (slot) => keyspace.slots.own(slot, SLOT.serving, keyspace.slots.epoch(slot)));
    keyspace.endSeal();
    this.outgoing = null;
    this.#note({ ...move, phase: "unsealed", endIndex: index });
    return null;
  }

  // ---- notes --------------------------------------------------------------------------------------------------

  /** Why a move cannot begin here, or null. */
  #beginRefusal(
    { epoch, slots }: { epoch: number; slots: MoveNote["slots"] },
    keyspace: Keyspace,
    open: MoveNote | null,
    wanted: SlotCode,
  ): string | null {
    const closed = this.closed.get(epoch);
    if (closed !== undefined) return `epoch ${epoch} is closed: ${closed.phase}`;
    if (epoch <= this.floor) return `epoch ${epoch} was closed long ago`;
    if (open !== null) return `the move of epoch ${open.epoch} is open`;
    if (this.incoming?.epoch === epoch || this.outgoing?.epoch === epoch) return "a shard moves to another";
    let count = 0;
    let refusal: string | null = null;
    eachSlot(slots, (slot) => {
      count++;
      if (keyspace.slots.state(slot) !== wanted)
        refusal ??= `slot ${slot} is ${keyspace.slots.stateName(slot)}`;
      else if (keyspace.slots.epoch(slot) >= epoch) refusal ??= `slot ${slot} is at a later epoch`;
    });
    if (count === 0 || count > MOVE_SLOTS_MAX) return `a move has 1 to ${MOVE_SLOTS_MAX} slots`;
    return refusal;
  }

  #notOpen(epoch: number): string {
    const closed = this.closed.get(epoch);
    if (closed !== undefined) return `epoch ${epoch} is closed: ${closed.phase}`;
    return epoch <= this.floor ? `epoch ${epoch} was closed long ago` : `epoch ${epoch} is not known`;
  }

  /** Closes an epoch that this shard has never heard of; one that is closed keeps its outcome. */
  #noteUnheard(
    epoch: number,
    side: MoveNote["side"],
    phase: "aborted" | "unsealed",
    index: number,
  ): string | null {
    const closed = this.closed.get(epoch);
    if (closed !== undefined) return closed.phase === phase ? null : this.#notOpen(epoch);
    if (epoch <= this.floor || this.incoming?.epoch === epoch || this.outgoing?.epoch === epoch)
      return this.#notOpen(epoch);
    const nobody = {
      shard: "",
      group: 0,
      slots: [],
      beginIndex: 0,
      hold: false,
      attempt: null,
      nextChunk: 0,
      final: null,
    };
    this.#note({ ...nobody, epoch, side, phase, endIndex: index });
    return null;
  }

  #note(note: MoveNote): void {
    this.closed.set(note.epoch, note);
    if (this.closed.size <= CLOSED_MOVES_MAX) return;
    const lowest = Math.min(...this.closed.keys());
    this.closed.delete(lowest);
    this.floor = Math.max(this.floor, lowest);
  }
}

/** Slots of one move (design section 11; the codec has the same bound for ranges). */
const MOVE_SLOTS_MAX = 256;
/** Revisions have 48 bits (records.ts). */
const REVISION_LIMIT = 2 ** 48 - 1;

function opened(
  side: MoveNote["side"],
  phase: "importing" | "sealed",
  { epoch, slots, shard, group }: Extract<MoveStep, { kind: "import" | "seal" }>,
  index: number,
): MoveNote {
  const nothing = { endIndex: 0, hold: false, attempt: null, nextChunk: 0, final: null };
  return { epoch, side, phase, slots, shard, group, beginIndex: index, ...nothing };
}

/** Null: the step is the one that opened the move, once more; else it is of another move under its epoch. */
function twinRefusal(move: MoveNote, step: MoveName): string | null {
  return isSameMove(move, step) ? null : `epoch ${move.epoch} is another move's`;
}

export function eachSlot(slots: MoveNote["slots"], visit: (slot: number) => void): void {
  for (const [first, last] of slots) for (let slot = first; slot <= last; slot++) visit(slot);
}

export function slotSet(slots: MoveNote["slots"]): (slot: number) => boolean {
  const set = new Uint8Array(SLOT_COUNT);
  eachSlot(slots, (slot) => {
    set[slot] = 1;
  });
  return (slot) => set[slot] === 1;
}

export type RecordsDigest = { readonly keys: number; readonly bytes: number; readonly hash: string };

/** Counts and hash of all records in these slots. */
export function recordsDigest(slots: MoveNote["slots"], keyspace: Keyspace): RecordsDigest {
  let [keys, bytes, a, b] = [0, 0, 0, 0];
  eachSlot(slots, (slot) => {
    keys += keyspace.slots.keys(slot);
    bytes += keyspace.slots.bytes(slot);
    a = (a + keyspace.slots.hashA(slot)) | 0;
    b = (b + keyspace.slots.hashB(slot)) | 0;
  });
  return { keys, bytes, hash: hex64(a, b) };
}

export function hex64(a: number, b: number): string {
  return hex32(a) + hex32(b);
}

function hex32(value: number): string {
  return (value >>> 0).toString(16).padStart(8, "0");
}
