/**
 * Whether this shard serves what a command touches: judged when it is applied, or in the state that answers a read,
 * and all or nothing. A command whose arguments make no sense touches nothing; it is answered with an error.
 */
import { SLOT_COUNT, slotOf } from "../../ring/slot.ts";
import { type CommandView, OP } from "../../wire/command.ts";
import type { Execution } from "../execution.ts";
import { argumentError, keyArgumentOf, keyCountOf, namesOneKey, slotSetOf } from "./arguments.ts";

/** Entries of a cursor's hash (walks.ts). */
const TWO_32 = 2n ** 32n;

/** The first slot that the command of `x` touches and that is not served here, or -1. */
export function refusedSlot(x: Execution): number {
  const { command } = x;
  x.aimedAt = -1;
  if (namesOneKey(command)) {
    const slot = x.aimFirst();
    return x.keyspace.slots.isServed(slot) ? -1 : slot;
  }
  if (argumentError(command) !== null) return -1;
  const keyCount = keyCountOf(command);
  for (let i = 0; i < keyCount; i++) {
    const argument = keyArgumentOf(command, i);
    const slot = slotOf(command.bytes, command.argStart(argument), command.argEnd(argument));
    if (!x.keyspace.slots.isServed(slot)) return slot;
  }
  return keyCount > 0 ? -1 : refusedOfSpace(x);
}

/** The same of a command that names no keys. */
function refusedOfSpace(x: Execution): number {
  const { command } = x;
  const { slots } = x.keyspace;
  if (command.op === OP.scan || command.op === OP.keysInSlot) {
    const slot = command.op === OP.scan ? cursorSlot(command) : slotArgument(command);
    return slot < SLOT_COUNT && !slots.isServed(slot) ? slot : -1;
  }
  const setAt = slotSetOf(command);
  if (setAt < 0) return -1;
  for (let slot = 0; slot < SLOT_COUNT; slot++) {
    if (isInSet(command, setAt, slot) && !slots.isServed(slot)) return slot;
  }
  return -1;
}

/** Slot of SCAN's cursor; SLOT_COUNT if there is none such. */
function cursorSlot(command: CommandView): number {
  const slot = BigInt.asUintN(64, command.bigint(0)) / TWO_32;
  return slot < BigInt(SLOT_COUNT) ? Number(slot) : SLOT_COUNT;
}

/** The slot in the first argument; SLOT_COUNT if there is none such. */
export function slotArgument(command: CommandView): number {
  const slot = command.number(0);
  return slot >= 0 && slot < SLOT_COUNT ? slot : SLOT_COUNT;
}

function isInSet(command: CommandView, setAt: number, slot: number): boolean {
  return (((command.bytes[setAt + (slot >>> 3)] as number) >>> (slot & 7)) & 1) === 1;
}

/** The slots that a command on the whole key space runs on: those of its set, else all that are served. */
export class Scope {
  readonly #x: Execution;
  readonly #setAt: number;

  constructor(x: Execution) {
    this.#x = x;
    this.#setAt = slotSetOf(x.command);
  }

  has(slot: number): boolean {
    if (this.#setAt >= 0) return isInSet(this.#x.command, this.#setAt, slot);
    return this.#x.keyspace.slots.isServed(slot);
  }

  /** Keys of the slot, if it belongs to this. */
  keys(slot: number): number {
    const count = this.#x.keyspace.slots.keys(slot);
    return count > 0 && this.has(slot) ? count : 0;
  }
}
