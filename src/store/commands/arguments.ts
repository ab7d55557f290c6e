/**
 * What the arguments of a frame must be before it is executed. Doors have checked much more (wire/validate.ts);
 * this is what apply needs to be total: counts, sizes of numbers, sizes of keys. Everything else an executor
 * answers for itself, whatever the bytes are.
 */
import { type CommandView, KEY_BYTES_MAX, OP, type Op } from "../../wire/command.ts";
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
};

const MANY = 65_535;

function exactly(count: number, numbers: number, keys: number): Shape {
  return { countMin: count, countMax: count, step: 1, numbers, keys };
}

const KEYS: Shape = { countMin: 1, countMax: MANY, step: 1, numbers: 0, keys: ALL };
const PAIRS: Shape = { countMin: 2, countMax: MANY, step: 2, numbers: 0, keys: EVERY_SECOND };

const SHAPES_BY_OP: Readonly<Record<Op, Shape>> = {
  [OP.get]: exactly(1, 0, FIRST),
  [OP.strlen]: exactly(1, 0, FIRST),
  [OP.getRange]: exactly(3, 0b110, FIRST),
  [OP.mget]: KEYS,
  [OP.exists]: KEYS,
  [OP.touch]: KEYS,
  [OP.ttl]: exactly(3, 0b110, FIRST),
  [OP.type]: exactly(1, 0, FIRST),
  [OP.dbSize]: exactly(0, 0, NO_KEY),
  [OP.keys]: exactly(1, 0, NO_KEY),
  [OP.scan]: exactly(4, 0b11, NO_KEY),
  [OP.randomKey]: exactly(1, 0b1, NO_KEY),
  [OP.getRecord]: exactly(1, 0, FIRST),
  [OP.set]: { countMin: 4, countMax: 5, step: 1, numbers: 0b1100, keys: FIRST },
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
  [OP.flushAll]: exactly(0, 0, NO_KEY),
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
  const keyCount = keyCountOf(command);
  const keyStep = shape.keys === EVERY_SECOND ? 2 : 1;
  for (let i = 0; i < keyCount; i++) {
    if (command.argSize(i * keyStep) > KEY_BYTES_MAX) return STORE_ERROR.keySize;
  }
  return null;
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
