/** Commands on string values. Semantics and replies are those of Redis, except where a comment says why not. */
import { EXPIRY_MS_MAX, SET_OPTION } from "../../wire/command.ts";
import { STORE_ERROR } from "../errors.ts";
import { type Execution, REPLY_BYTES_MAX, VALUE_BYTES_MAX } from "../execution.ts";

export function get(x: Execution): void {
  const ref = x.lookup(0);
  if (ref === 0) x.reply.nil();
  else x.keyspace.records.replyValue(ref, x.reply);
}

/** [value, revision, deadline in ms or -1], or nil. */
export function getRecord(x: Execution): void {
  const ref = x.lookup(0);
  if (ref === 0) {
    x.reply.nil();
    return;
  }
  const records = x.keyspace.records;
  const deadline = records.deadline(ref);
  x.reply.array(3);
  records.replyValue(ref, x.reply);
  x.reply.integer(records.revision(ref));
  x.reply.integer(deadline === 0 ? -1 : deadline);
}

export function strlen(x: Execution): void {
  const ref = x.lookup(0);
  x.reply.integer(ref === 0 ? 0 : x.keyspace.records.valueSize(ref));
}

export function mget(x: Execution): void {
  const count = x.command.argCount;
  if (count * VALUE_BYTES_MAX > REPLY_BYTES_MAX && valueBytes(x) > REPLY_BYTES_MAX)
    return x.reply.error(STORE_ERROR.replySize);
  x.reply.array(count);
  for (let i = 0; i < count; i++) {
    const ref = x.lookup(i);
    if (ref === 0) x.reply.nil();
    else x.keyspace.records.replyValue(ref, x.reply);
  }
}

/** Of all values that the command names, as often as it names them. */
function valueBytes(x: Execution): number {
  let bytes = 0;
  for (let i = 0; i < x.command.argCount; i++) {
    const ref = x.lookup(i);
    if (ref !== 0) bytes += x.keyspace.records.valueSize(ref);
  }
  return bytes;
}

/** Bytes `start` to `end`, both included; negative ones count from the end. */
export function getRange(x: Execution): void {
  const ref = x.lookup(0);
  const size = ref === 0 ? 0 : x.keyspace.records.valueSize(ref);
  let start = x.command.number(1);
  let end = x.command.number(2);
  if (start < 0) start = Math.max(0, start + size);
  if (end < 0) end = Math.max(0, end + size);
  // Redis finds nothing if both count from the end and stand the wrong way round, even when both are cut to 0.
  const crossed =
    x.command.number(1) < 0 && x.command.number(2) < 0 && x.command.number(1) > x.command.number(2);
  end = Math.min(end, size - 1);
  if (size === 0 || crossed || start > end) {
    x.reply.blob(x.command.bytes, 0, 0);
    return;
  }
  const at = x.keyspace.records.valueAt(ref);
  x.reply.blob(x.keyspace.records.valueBytes(ref), at + start, at + end + 1);
}

/** The deadline that `expiry` means by the bits of SET_OPTION; 0 = none was asked for, -1 = no valid time. */
function deadlineOf(x: Execution, options: number, expiry: number): number {
  if ((options & (SET_OPTION.expiryRelative | SET_OPTION.expiryAbsolute)) === 0) return 0;
  if (!(expiry > 0 && expiry <= EXPIRY_MS_MAX)) return -1;
  return (options & SET_OPTION.expiryRelative) !== 0 ? x.logTimeMs + expiry : expiry;
}

const COMPARE = SET_OPTION.ifRevision | SET_OPTION.ifValue;

/** Whether the conditions in `options` hold for `ref`, the live record or 0; `expected` is an argument's number. */
function conditionsHold(x: Execution, options: number, ref: number, expected: number): boolean {
  if ((options & SET_OPTION.onlyIfAbsent) !== 0 && ref !== 0) return false;
  if ((options & SET_OPTION.onlyIfPresent) !== 0 && ref === 0) return false;
  if ((options & SET_OPTION.ifRevision) !== 0) {
    return x.command.number(expected) === (ref === 0 ? 0 : x.keyspace.records.revision(ref));
  }
  if ((options & SET_OPTION.ifValue) !== 0) return ref !== 0 && x.valueIs(ref, expected);
  return true;
}

/** What is wrong with the argument that COMPARE bits ask for, or null. */
function expectedError(x: Execution, options: number, expected: number): string | null {
  if ((options & COMPARE) === 0) return null;
  if (x.command.argCount <= expected) return STORE_ERROR.syntax;
  if ((options & SET_OPTION.ifRevision) !== 0 && x.command.argSize(expected) !== 8)
    return STORE_ERROR.argSize;
  return null;
}

export function set(x: Execution): void {
  const options = x.command.number(2) | 0;
  let deadline = deadlineOf(x, options, x.command.number(3));
  const error = deadline < 0 ? STORE_ERROR.setTime : expectedError(x, options, 4);
  if (error !== null || x.command.argSize(1) > VALUE_BYTES_MAX) {
    x.reply.error(error ?? STORE_ERROR.valueSize);
    return;
  }
  const ref = x.lookup(0);
  const holds = options === 0 || conditionsHold(x, options, ref, 4);
  if ((options & SET_OPTION.returnOld) !== 0) {
    if (ref === 0) x.reply.nil();
    else x.keyspace.records.replyValue(ref, x.reply);
  }
  if (holds) {
    if ((options & SET_OPTION.keepDeadline) !== 0 && ref !== 0) deadline = x.keyspace.records.deadline(ref);
    // A time that has passed already: the key is gone at once.
    if (deadline === 0 || deadline > x.logTimeMs) x.putArgument(1, deadline);
    else if (ref !== 0) x.keyspace.remove(x.probe);
  }
  replySet(x, options, holds);
}

function replySet(x: Execution, options: number, holds: boolean): void {
  if ((options & SET_OPTION.returnOld) !== 0) return;
  if ((options & SET_OPTION.returnRevision) !== 0) {
    const found = x.keyspace.found;
    x.reply.array(2);
    x.reply.integer(holds ? 1 : 0);
    x.reply.integer(found !== 0 && x.isLive(found) ? x.keyspace.records.revision(found) : 0);
  } else if ((options & SET_OPTION.replyInteger) !== 0) x.reply.integer(holds ? 1 : 0);
  else if (holds) x.reply.simple("OK");
  else x.reply.nil();
}

export function getSet(x: Execution): void {
  if (x.command.argSize(1) > VALUE_BYTES_MAX) {
    x.reply.error(STORE_ERROR.valueSize);
    return;
  }
  get(x);
  x.putArgument(1, 0);
}

export function getDel(x: Execution): void {
  const ref = x.lookup(0);
  if (ref === 0) {
    x.reply.nil();
    return;
  }
  x.keyspace.records.replyValue(ref, x.reply);
  x.keyspace.remove(x.probe);
}

export function getEx(x: Execution): void {
  const options = x.command.number(1) | 0;
  const deadline = deadlineOf(x, options, x.command.number(2));
  if (deadline < 0) {
    x.reply.error(STORE_ERROR.getExTime);
    return;
  }
  const ref = x.lookup(0);
  if (ref === 0) {
    x.reply.nil();
    return;
  }
  x.keyspace.records.replyValue(ref, x.reply);
  if (deadline === 0) {
    const hasDeadline = x.keyspace.records.deadline(ref) !== 0;
    if ((options & SET_OPTION.persist) !== 0 && hasDeadline) x.keyspace.setDeadline(x.probe, 0);
  } else if (deadline > x.logTimeMs) x.keyspace.setDeadline(x.probe, deadline);
  else x.keyspace.remove(x.probe);
}

/** Replies with the new size. Nothing appended to something is no change. */
export function append(x: Execution): void {
  const command = x.command;
  const added = command.argSize(1);
  const ref = x.lookup(0);
  const size = ref === 0 ? 0 : x.keyspace.records.valueSize(ref);
  if (size + added > VALUE_BYTES_MAX) {
    x.reply.error(STORE_ERROR.valueSize);
    return;
  }
  if (ref === 0) {
    x.putArgument(1, 0);
  } else if (added > 0) {
    const scratch = x.keyspace.scratch(size + added);
    x.keyspace.copyValue(ref, 0);
    scratch.set(command.arg(1), size);
    x.keyspace.put(x.probe, scratch, 0, size + added, x.keyspace.records.deadline(ref));
  }
  x.reply.integer(size + added);
}

/** Overwrites from an offset on; what lies between the old end and the offset becomes zero. */
export function setRange(x: Execution): void {
  const command = x.command;
  const offset = command.number(1);
  const written = command.argSize(2);
  if (offset < 0) {
    x.reply.error(STORE_ERROR.offsetRange);
    return;
  }
  const ref = x.lookup(0);
  const size = ref === 0 ? 0 : x.keyspace.records.valueSize(ref);
  if (written === 0) {
    x.reply.integer(size);
    return;
  }
  if (offset + written > VALUE_BYTES_MAX) {
    x.reply.error(STORE_ERROR.valueSize);
    return;
  }
  const newSize = Math.max(size, offset + written);
  const scratch = x.keyspace.scratch(newSize);
  if (ref !== 0) x.keyspace.copyValue(ref, 0);
  if (offset > size) scratch.fill(0, size, offset);
  scratch.set(command.arg(2), offset);
  x.keyspace.put(x.probe, scratch, 0, newSize, ref === 0 ? 0 : x.keyspace.records.deadline(ref));
  x.reply.integer(newSize);
}

function pairsError(x: Execution): string | null {
  for (let i = 1; i < x.command.argCount; i += 2) {
    if (x.command.argSize(i) > VALUE_BYTES_MAX) return STORE_ERROR.valueSize;
  }
  return null;
}

function putPairs(x: Execution): void {
  for (let i = 0; i < x.command.argCount; i += 2) {
    x.lookup(i);
    x.putArgument(i + 1, 0);
  }
}

export function mset(x: Execution): void {
  const error = pairsError(x);
  if (error !== null) {
    x.reply.error(error);
    return;
  }
  putPairs(x);
  x.reply.simple("OK");
}

export function msetNx(x: Execution): void {
  const error = pairsError(x);
  if (error !== null) {
    x.reply.error(error);
    return;
  }
  for (let i = 0; i < x.command.argCount; i += 2) {
    if (x.lookup(i) !== 0) {
      x.reply.integer(0);
      return;
    }
  }
  putPairs(x);
  x.reply.integer(1);
}

/** Deletes if the record has this value or revision: 1 or 0. */
export function delIf(x: Execution): void {
  const options = x.command.number(1) & COMPARE;
  const error = options === 0 ? STORE_ERROR.syntax : expectedError(x, options, 2);
  if (error !== null) {
    x.reply.error(error);
    return;
  }
  const ref = x.lookup(0);
  const holds = ref !== 0 && conditionsHold(x, options, ref, 2);
  if (holds) x.keyspace.remove(x.probe);
  x.reply.integer(holds ? 1 : 0);
}
