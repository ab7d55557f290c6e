/**
 * Assertions: the first of the three kinds of failure. A false assertion is a bug in this program;
 * it crashes the process, because state that broke a rule must not be written, sent or served.
 * They stay on in production. One fact to each call; `rule` states what should have been true.
 */

/** A broken rule of this program. Nothing catches it except the outermost crash handler. */
export class AssertionError extends Error {
  override readonly name = "AssertionError";
}

export function assert(holds: boolean, rule: string): asserts holds {
  if (!holds) throw new AssertionError(`assertion failed: ${rule}`);
}

/** For the default branch of a switch over a union: the compiler proves that it cannot be reached. */
export function unreachable(value: never): never {
  throw new AssertionError(`assertion failed: unexpected value ${JSON.stringify(value)}`);
}

/** The value, which the caller knows to be there. */
export function present<T>(value: T | undefined | null, rule: string): T {
  if (value === undefined || value === null) throw new AssertionError(`assertion failed: ${rule}`);
  return value;
}
