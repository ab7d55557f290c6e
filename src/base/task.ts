/**
 * Tasks: straight-line code over completion callbacks.
 *
 * Recovery, segment creation and snapshots are sequences of disk operations. As promises their order would
 * belong to each runtime's job queue; as generators they run on inside the very callback that completes an
 * operation, so the simulator decides every interleaving and a seed replays anywhere.
 *
 *     function* readHeader(file: File): Task<Uint8Array> {
 *       const bytes = new Uint8Array(512);
 *       yield* wait((done) => file.pread(bytes, 0, done));
 *       return bytes;
 *     }
 *     runTask(readHeader(file), (error, bytes) => ...);
 *
 * An operation that fails throws its error at the `yield*`, where it can be caught as usual.
 */
import { AssertionError } from "./assert.ts";

/** Completion of an operation: an error, or a value. */
export type Done<T> = (error: Error | null, value: T) => void;
/** Starts one operation and promises to call `done` exactly once. */
export type Operation = (done: Done<unknown>) => void;
export type Task<T> = Generator<Operation, T, unknown>;

/** Waits, inside a task, for the operation that `start` begins. */
export function* wait<T>(start: (done: Done<T>) => void): Task<T> {
  return (yield start as Operation) as T;
}

/** Runs `task` to its end and reports its value, or the error that ended it. */
export function runTask<T>(task: Task<T>, done: Done<T>): void {
  let running = false;
  let pending: { error: Error | null; value: unknown } | null = null;

  // Operations may complete at once; a loop instead of recursion keeps the stack flat.
  const advance = (error: Error | null, value: unknown): void => {
    if (running) {
      pending = { error, value };
      return;
    }
    running = true;
    let outcome: { error: Error | null; value: unknown } | null = { error, value };
    while (outcome !== null) {
      let step: IteratorResult<Operation, T>;
      try {
        step = outcome.error === null ? task.next(outcome.value) : task.throw(outcome.error);
      } catch (thrown) {
        if (thrown instanceof AssertionError) throw thrown; // a bug is nobody's result
        done(thrown as Error, undefined as T);
        return;
      }
      if (step.done === true) {
        done(null, step.value);
        return;
      }
      pending = null;
      step.value(advance);
      outcome = pending;
    }
    running = false;
  };
  advance(null, undefined);
}
