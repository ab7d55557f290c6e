/** Commands on keys, whatever their values are: existence, names, deadlines. */
import { SLOT_COUNT } from "../../ring/slot.ts";
import { EXPIRE_OPTION, EXPIRY_MS_MAX } from "../../wire/command.ts";
import { STORE_ERROR } from "../errors.ts";
import type { Execution } from "../execution.ts";
import { RECORD_TYPE_NAMES } from "../records.ts";
import { Scope } from "./served.ts";

/** Also TOUCH: there is no clock of last uses to move. */
export function exists(x: Execution): void {
  let count = 0;
  for (let i = 0; i < x.command.argCount; i++) if (x.lookup(i) !== 0) count++;
  x.reply.integer(count);
}

export function type(x: Execution): void {
  const ref = x.lookup(0);
  x.reply.simple(RECORD_TYPE_NAMES[ref === 0 ? 0 : x.keyspace.records.type(ref)] as string);
}

/** TTL, PTTL, EXPIRETIME, PEXPIRETIME: -2 = no key, -1 = no deadline; seconds are rounded half up. */
export function ttl(x: Execution): void {
  const ref = x.lookup(0);
  if (ref === 0) {
    x.reply.integer(-2);
    return;
  }
  const deadline = x.keyspace.records.deadline(ref);
  if (deadline === 0) {
    x.reply.integer(-1);
    return;
  }
  const ms = x.command.number(2) === 0 ? Math.max(0, deadline - x.nowMs) : deadline;
  x.reply.integer(x.command.number(1) === 1 ? ms : Math.floor((ms + 500) / 1000));
}

export function del(x: Execution): void {
  let count = 0;
  for (let i = 0; i < x.command.argCount; i++) {
    if (x.lookup(i) === 0) continue;
    x.keyspace.remove(x.probe);
    count++;
  }
  x.reply.integer(count);
}

export function expire(x: Execution): void {
  const options = x.command.number(2) | 0;
  const error = expireError(x.command.number(1), options);
  if (error !== null) {
    x.reply.error(error);
    return;
  }
  const time = x.command.number(1);
  const deadline = (options & EXPIRE_OPTION.relative) !== 0 ? x.logTimeMs + time : time;
  const ref = x.lookup(0);
  if (ref === 0 || !expireConditionsHold(options, x.keyspace.records.deadline(ref), deadline)) {
    x.reply.integer(0);
    return;
  }
  if (deadline > x.logTimeMs) x.keyspace.setDeadline(x.probe, deadline);
  else x.keyspace.remove(x.probe);
  x.reply.integer(1);
}

function expireError(time: number, options: number): string | null {
  const later = (options & EXPIRE_OPTION.onlyIfLater) !== 0;
  const sooner = (options & EXPIRE_OPTION.onlyIfSooner) !== 0;
  const any = (options & EXPIRE_OPTION.onlyIfAny) !== 0;
  if ((options & EXPIRE_OPTION.onlyIfNone) !== 0 && (later || sooner || any)) return STORE_ERROR.expireNx;
  if (later && sooner) return STORE_ERROR.expireGtLt;
  return Math.abs(time) <= EXPIRY_MS_MAX ? null : STORE_ERROR.expireTime;
}

/** A key without a deadline counts as one that ends never. */
function expireConditionsHold(options: number, current: number, deadline: number): boolean {
  if ((options & EXPIRE_OPTION.onlyIfNone) !== 0 && current !== 0) return false;
  if ((options & EXPIRE_OPTION.onlyIfAny) !== 0 && current === 0) return false;
  if ((options & EXPIRE_OPTION.onlyIfLater) !== 0 && (current === 0 || deadline <= current)) return false;
  return (options & EXPIRE_OPTION.onlyIfSooner) === 0 || current === 0 || deadline < current;
}

export function persist(x: Execution): void {
  const ref = x.lookup(0);
  const had = ref !== 0 && x.keyspace.records.deadline(ref) !== 0;
  if (had) x.keyspace.setDeadline(x.probe, 0);
  x.reply.integer(had ? 1 : 0);
}

/** RENAME replies OK, RENAMENX 1 or 0. The deadline goes with the value. */
export function rename(x: Execution): void {
  const onlyIfAbsent = x.command.number(2) !== 0;
  const from = x.lookup(0);
  if (from === 0) {
    x.reply.error(STORE_ERROR.noSuchKey);
    return;
  }
  if (sameNames(x)) {
    if (onlyIfAbsent) x.reply.integer(0);
    else x.reply.simple("OK");
    return;
  }
  if (x.lookup(1) !== 0 && onlyIfAbsent) {
    x.reply.integer(0);
    return;
  }
  putCopy(x, from);
  x.lookup(0);
  x.keyspace.remove(x.probe);
  if (onlyIfAbsent) x.reply.integer(1);
  else x.reply.simple("OK");
}

export function copy(x: Execution): void {
  if (sameNames(x)) {
    x.reply.error(STORE_ERROR.sameObject);
    return;
  }
  const from = x.lookup(0);
  if (from === 0 || (x.lookup(1) !== 0 && x.command.number(2) === 0)) {
    x.reply.integer(0);
    return;
  }
  putCopy(x, from);
  x.reply.integer(1);
}

function sameNames(x: Execution): boolean {
  const { bytes } = x.command;
  const size = x.command.argSize(0);
  if (x.command.argSize(1) !== size) return false;
  const from = x.command.argStart(0);
  const to = x.command.argStart(1);
  for (let i = 0; i < size; i++) if (bytes[from + i] !== bytes[to + i]) return false;
  return true;
}

/** The key looked up last gets value and deadline of `from`, which is another record. */
function putCopy(x: Execution, from: number): void {
  const records = x.keyspace.records;
  const at = records.valueAt(from);
  x.keyspace.put(x.probe, records.valueBytes(from), at, at + records.valueSize(from), records.deadline(from));
}

/**
 * Empties the slots of its scope, which is one change. If no other slot has a key, a new keyspace takes the place of
 * the old one; else they are emptied one by one (Keyspace.empty). Either way memory goes bit by bit.
 */
export function flushAll(x: Execution): void {
  const scope = new Scope(x);
  let count = 0;
  for (let slot = 0; slot < SLOT_COUNT; slot++) count += scope.keys(slot);
  if (count > 0 && count === x.keyspace.keyCount) {
    x.garbage.add(x.keyspace);
    x.keyspace = x.keyspace.successor(x.keyspace.revision + 1);
  } else if (count > 0) {
    x.keyspace.revision++;
    for (let slot = 0; slot < SLOT_COUNT; slot++) if (scope.has(slot)) x.keyspace.empty(slot);
  }
  x.reply.simple("OK");
}
