/**
 * Commands that walk over slots: DBSIZE, KEYS, SCAN, RANDOMKEY. Each first collects what it will give and looks
 * for keys that the read rule cannot decide yet; only then does it reply.
 *
 * SCAN's cursor is slot (14 bits) | key hash (32 bits): the first record that was not visited has at least that
 * hash. It says nothing about this replica's memory, so it holds on every replica and across moves, and every key
 * that stays is met at least once, since hashes never change. 0 begins a scan and says that it has ended. It stops
 * at a slot that is not served here: that slot's beginning is then the next cursor, for whoever serves it.
 */
import { SLOT_COUNT } from "../../ring/slot.ts";
import { STORE_ERROR } from "../errors.ts";
import { type Execution, REPLY_BYTES_MAX } from "../execution.ts";
import { Glob } from "../glob.ts";
import { RECORD_TYPE_NAMES } from "../records.ts";
import { Scope, slotArgument } from "./served.ts";

const TWO_32 = 2 ** 32;
const CURSOR_END = SLOT_COUNT * TWO_32;
/** Names that are types though no record here has them yet: a scan for them finds nothing. */
const TYPE_NAMES: readonly string[] = ["string", "list", "set", "zset", "hash", "stream"];
const TYPE_NAME_BYTES_MAX = 64;

/** Counts expired keys until apply has removed them, as Redis does. */
export function dbSize(x: Execution): void {
  const scope = new Scope(x);
  let count = 0;
  for (let slot = 0; slot < SLOT_COUNT; slot++) count += scope.keys(slot);
  x.reply.integer(count);
}

export function keys(x: Execution): void {
  const pattern = new Glob(x.command.bytes, x.command.argStart(0), x.command.argEnd(0));
  const scope = new Scope(x);
  x.refs.clear();
  for (let slot = 0; slot < SLOT_COUNT; slot++) {
    if (scope.keys(slot) > 0) {
      x.keyspace.index.collect(slot, 0, Number.POSITIVE_INFINITY, x.refs);
    }
  }
  filter(x, pattern, 0);
  if (x.undecided) return;
  if (keyBytes(x) > REPLY_BYTES_MAX) x.reply.error(STORE_ERROR.replySize);
  else replyKeys(x);
}

export function scan(x: Execution): void {
  const typeName = textOf(x, 3);
  if (typeName !== "" && !TYPE_NAMES.includes(typeName)) {
    x.reply.error(`ERR unknown type name '${typeName}'`);
    return;
  }
  const count = x.command.number(1);
  x.refs.clear();
  const next = walk(x, x.command.bigint(0), Number.isFinite(count) && count >= 1 ? count : 1);
  const anyName = x.command.argSize(2) === 0;
  const pattern = anyName ? null : new Glob(x.command.bytes, x.command.argStart(2), x.command.argEnd(2));
  filter(x, pattern, typeName === "" ? 0 : Math.max(-1, RECORD_TYPE_NAMES.indexOf(typeName)));
  if (x.undecided) return;
  if (keyBytes(x) > REPLY_BYTES_MAX) return x.reply.error(STORE_ERROR.replySize);
  const cursor = asciiOf(String(next));
  x.reply.array(2);
  x.reply.blob(cursor, 0, cursor.length);
  replyKeys(x);
}

/** Collects about `count` records from the cursor on; gives the next cursor. */
function walk(x: Execution, from: bigint, count: number): number {
  const cursor = BigInt.asUintN(64, from);
  if (cursor >= BigInt(CURSOR_END)) return 0;
  let slot = Math.floor(Number(cursor) / TWO_32);
  let hash = Number(cursor) % TWO_32;
  for (; slot < SLOT_COUNT; slot++, hash = 0) {
    if (!x.keyspace.slots.isServed(slot)) return slot * TWO_32;
    if (x.keyspace.slots.keys(slot) === 0) continue;
    if (x.refs.length >= count) return slot * TWO_32 + hash;
    x.keyspace.index.collect(slot, hash, count, x.refs);
    if (x.keyspace.index.nextHash >= 0) return slot * TWO_32 + x.keyspace.index.nextHash;
  }
  return 0;
}

/** Leaves in the list what is live, matches, and has the type (0 = any, -1 = none has it). */
function filter(x: Execution, pattern: Glob | null, typeNumber: number): void {
  const records = x.keyspace.records;
  const any = pattern === null || pattern.isAny;
  const { refs } = x;
  let kept = 0;
  for (let i = 0; i < refs.length; i++) {
    const ref = refs.at(i);
    if (!x.isLive(ref)) continue;
    const at = records.keyAt(ref);
    if (!any && !pattern.matches(records.slab.bytesOf(ref), at, at + records.keySize(ref))) continue;
    if (typeNumber !== 0 && records.type(ref) !== typeNumber) continue;
    if (x.isUndecided(ref)) x.undecided = true;
    refs.refs[kept++] = ref;
  }
  refs.length = kept;
}

/** Bytes of the keys that were collected. */
function keyBytes(x: Execution): number {
  let bytes = 0;
  for (let i = 0; i < x.refs.length; i++) bytes += x.keyspace.records.keySize(x.refs.at(i));
  return bytes;
}

function replyKeys(x: Execution): void {
  x.reply.array(x.refs.length);
  for (let i = 0; i < x.refs.length; i++) x.keyspace.records.replyKey(x.refs.at(i), x.reply);
}

/** The key that the seed names among all, or the next live one after it; every key has the same chance. */
export function randomKey(x: Execution): void {
  const scope = new Scope(x);
  let total = 0;
  for (let slot = 0; slot < SLOT_COUNT; slot++) total += scope.keys(slot);
  if (total === 0) {
    x.reply.nil();
    return;
  }
  let skip = Number(BigInt.asUintN(64, x.command.bigint(0)) % BigInt(total));
  let slot = 0;
  for (; skip >= scope.keys(slot); slot++) skip -= scope.keys(slot);
  // Once around: the first slot is looked at a second time for what stands before `skip`.
  for (let i = 0; i <= SLOT_COUNT; i++, slot = (slot + 1) % SLOT_COUNT, skip = 0) {
    if (scope.keys(slot) === 0) continue;
    x.refs.clear();
    x.keyspace.index.collect(slot, 0, Number.POSITIVE_INFINITY, x.refs);
    for (let k = skip; k < x.refs.length; k++) {
      const ref = x.refs.at(k);
      if (x.isUndecided(ref)) {
        x.undecided = true;
        return;
      }
      if (!x.isLive(ref)) continue;
      x.keyspace.records.replyKey(ref, x.reply);
      return;
    }
  }
  x.reply.nil();
}

/** Up to so many keys of one slot, in hash order: CLUSTER GETKEYSINSLOT. */
export function keysInSlot(x: Execution): void {
  const slot = slotArgument(x.command);
  const count = Math.max(0, x.command.number(1));
  x.refs.clear();
  if (slot < SLOT_COUNT) x.keyspace.index.collect(slot, 0, Number.POSITIVE_INFINITY, x.refs);
  filter(x, null, 0);
  if (x.undecided) return;
  x.refs.length = Math.min(x.refs.length, count);
  if (keyBytes(x) > REPLY_BYTES_MAX) x.reply.error(STORE_ERROR.replySize);
  else replyKeys(x);
}

function textOf(x: Execution, i: number): string {
  let text = "";
  const end = Math.min(x.command.argEnd(i), x.command.argStart(i) + TYPE_NAME_BYTES_MAX);
  for (let at = x.command.argStart(i); at < end; at++) {
    const byte = x.command.bytes[at] as number;
    text += byte > 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "?"; // replies hold no line ends
  }
  return text;
}

function asciiOf(text: string): Uint8Array {
  return Uint8Array.from(text, (letter) => letter.charCodeAt(0));
}
