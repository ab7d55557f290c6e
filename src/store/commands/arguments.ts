/**
 * What the arguments of a frame must be before it is executed. Doors have checked much more (wire/validate.ts);
 * this is what apply needs to be total: counts, sizes of numbers, sizes of keys. Everything else an executor
 * answers for itself, whatever the bytes are.
 */
import { type CommandView, KEY_BYTES_MAX, OP, type Op, SLOT_SET_BYTES } from "../../wire/command.ts";
import { STORE_ERROR } from "../errors.ts";

/** Which arguments are keys. */
const NO_KEY = 0;
const FIRST = 1;
const FIRST_TWO = 2;
const ALL = 3;
const EVERY_SECOND = 4;

type Shape = {
  readonly countMin: number;
  readonly countMax: number;
  /** The count is a multiple of this. */
  readonly step: number;
  /** Bit i: argument i is a number of 8 bytes. */
  readonly numbers: number;
  readonly keys: number;
  /** The argument that may hold a set of slots (wire/command.ts); -1 = none. */
  readonly slotSet: number;
};

const MANY = 65_535;

function exactly(count: number, numbers: number, keys: number): Shape {
  return { countMin: count, countMax: count, step: 1, numbers, keys, slotSet: -1 };
}

/** A command on the whole key space: `count` arguments, and a set of slots behind them or not. */
function wholeSpace(count: number, numbers: number): Shape {
  return { countMin: count, countMax: count + 1, step: 1, numbers, keys: NO_KEY, slotSet: count };
}

const KEYS: Shape = { countMin: 1, countMax: MANY, step: 1, numbers: 0, keys: ALL, slotSet: -1 };
const PAIRS: Shape = { ...KEYS, countMin: 2, step: 2, keys: EVERY_SECOND };

const SHAPES_BY_OP: Readonly<Record<Op, Shape>> = {
  [OP.get]: exactly(1, 0, FIRST),
  [OP.strlen]: exactly(1, 0, FIRST),
  [OP.getRange]: exactly(3, 0b110, FIRST),
  [OP.mget]: KEYS,
  [OP.exists]: KEYS,
  [OP.touch]: KEYS,
  [OP.ttl]: exactly(3, 0b110, FIRST),
  [OP.type]: exactly(1, 0, FIRST),
  [OP.dbSize]: wholeSpace(0, 0),
  [OP.keys]: wholeSpace(1, 0),
  [OP.scan]: exactly(4, 0b11, NO_KEY),
  [OP.randomKey]: wholeSpace(1, 0b1),
  [OP.getRecord]: exactly(1, 0, FIRST),
  [OP.keysInSlot]: exactly(2, 0b11, NO_KEY),
  [OP.set]: { countMin: 4, countMax: 5, step: 1, numbers: 0b1100, keys: FIRST, slotSet: -1 },
  [OP.getDel]: exactly(1, 0, FIRST),
  [OP.getEx]: exactly(3, 0b110, FIRST),
  [OP.getSet]: exactly(2, 0, FIRST),
  [OP.append]: exactly(2, 0, FIRST),
  [OP.setRange]: exactly(3, 0b010, FIRST),
  [OP.incrBy]: exactly(2, 0b10, FIRST),
  [OP.incrByFloat]: exactly(2, 0, FIRST),
  [OP.mset]: PAIRS,
  [OP.msetNx]: PAIRS,
  [OP.del]: KEYS,
  [OP.expire]: exactly(3, 0b110, FIRST),
  [OP.persist]: exactly(1, 0, FIRST),
  [OP.rename]: exactly(3, 0b100, FIRST_TWO),
  [OP.copy]: exactly(3, 0b100, FIRST_TWO),
  [OP.flushAll]: wholeSpace(0, 0),
  [OP.delIf]: exactly(3, 0b010, FIRST),
};

const SHAPES: readonly Shape[] = byOp();

function byOp(): Shape[] {
  const nothing = exactly(0, 0, NO_KEY);
  const shapes = new Array<Shape>(256).fill(nothing);
  for (const op of Object.values(OP)) shapes[op] = SHAPES_BY_OP[op];
  return shapes;
}

/** The error to answer instead of executing the command, or null. */
export function argumentError(command: CommandView): string | null {
  const shape = SHAPES[command.op] as Shape;
  const count = command.argCount;
  if (count < shape.countMin || count > shape.countMax || count % shape.step !== 0)
    return STORE_ERROR.argCount;
  for (let i = 0, numbers = shape.numbers; numbers !== 0; i++, numbers >>>= 1) {
    if ((numbers & 1) !== 0 && command.argSize(i) !== 8) return STORE_ERROR.argSize;
  }
  if (slotSetOf(command) >= 0 && command.argSize(shape.slotSet) !== SLOT_SET_BYTES)
    return STORE_ERROR.argSize;
  const keyCount = keyCountOf(command);
  const keyStep = shape.keys === EVERY_SECOND ? 2 : 1;
  for (let i = 0; i < keyCount; i++) {
    if (command.argSize(i * keyStep) > KEY_BYTES_MAX) return STORE_ERROR.keySize;
  }
  return null;
}

/** Where the command's set of slots starts in its bytes; -1 = it has none. */
export function slotSetOf(command: CommandView): number {
  const { slotSet } = SHAPES[command.op] as Shape;
  return slotSet >= 0 && command.argCount > slotSet ? command.argStart(slotSet) : -1;
}

/** Whether the command names one key, its first argument. */
export function namesOneKey(command: CommandView): boolean {
  return (SHAPES[command.op] as Shape).keys === FIRST && command.argCount > 0;
}

/** How many keys a command names whose count of arguments was checked. */
export function keyCountOf(command: CommandView): number {
  const keys = (SHAPES[command.op] as Shape).keys;
  if (keys <= FIRST_TWO) return keys;
  return keys === ALL ? command.argCount : command.argCount / 2;
}

/** The argument that holds key `i`. */
export function keyArgumentOf(command: CommandView, i: number): number {
  return (SHAPES[command.op] as Shape).keys === EVERY_SECOND ? 2 * i : i;
}
