/**
 * What a call can fail with. Each class says what is certain about the call's effect; `retryable` says whether
 * asking again is safe and may succeed.
 *
 *     UnavailableError      certainly not executed: no leader, no node in reach, no room, client closed
 *     TimeoutError          a read that was not answered in time; nothing was changed
 *     AbortedError          its signal fired, and nothing was changed
 *     OutcomeUnknownError   a write that may have taken effect, or may yet for a while: read before repeating it
 *     ConflictError         executed, and changed nothing: the key was not at the expected revision
 *     CommandError          executed, and answered with an error; `code` is the server's first word ("ERR")
 *     ProtocolError         the answer is none that the call can have; of a write nothing else is known
 */
import { NucleusError } from "../base/errors.ts";

export class ClientError extends NucleusError {
  override readonly name: string = "ClientError";
  readonly retryable: boolean;

  constructor(code: string, message: string, retryable: boolean, options?: { cause?: unknown }) {
    super(code, message, options);
    this.retryable = retryable;
  }
}

export type UnavailableCode = "UNAVAILABLE" | "DISK_FULL" | "OUT_OF_MEMORY" | "OVERLOADED" | "CLOSED";

export class UnavailableError extends ClientError {
  override readonly name = "UnavailableError";

  constructor(code: UnavailableCode, message: string) {
    super(code, message, code !== "CLOSED");
  }
}

export class TimeoutError extends ClientError {
  override readonly name = "TimeoutError";

  constructor(message: string) {
    super("TIMEOUT", message, true);
  }
}

export class AbortedError extends ClientError {
  override readonly name = "AbortedError";

  constructor(cause: unknown) {
    super("ABORTED", "the call was aborted by its signal; nothing was changed", false, { cause });
  }
}

export class OutcomeUnknownError extends ClientError {
  override readonly name = "OutcomeUnknownError";

  constructor(why: string, options?: { cause?: unknown }) {
    super(
      "OUTCOME_UNKNOWN",
      `${why}; the write may have taken effect: read before repeating it`,
      false,
      options,
    );
  }
}

export class ConflictError extends ClientError {
  override readonly name = "ConflictError";
  /** Where the key is instead; 0 = absent, undefined = the server did not say. */
  readonly revision: number | undefined;

  constructor(expected: number, revision: number | undefined) {
    const is =
      revision === undefined ? "not" : revision === 0 ? "absent, not" : `at revision ${revision}, not`;
    super("CONFLICT", `nothing was changed: the key is ${is} at revision ${expected}`, false);
    this.revision = revision;
  }
}

export class CommandError extends ClientError {
  override readonly name = "CommandError";

  /** `text` as the server said it: its first word is the code. */
  constructor(text: string) {
    super(text.split(" ", 1)[0] as string, text, false);
  }
}

export class ProtocolError extends ClientError {
  override readonly name = "ProtocolError";

  constructor(message: string) {
    super("PROTOCOL", message, false);
  }
}
