/**
 * Failures that are nobody's bug here: a disk, a peer, a caller or a user did something the program must
 * name and survive. Each carries a stable code (for programs) and a message that says what happened, why,
 * and what to do next (for people).
 */

export class NucleusError extends Error {
  override readonly name: string = "NucleusError";
  readonly code: string;

  constructor(code: string, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}

/** The message of anything that was thrown or handed to a callback. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The system's code of an I/O error (ENOSPC, EADDRINUSE ..) or our own; "" if it has none. */
export function codeOf(error: unknown): string {
  if (typeof error !== "object" || error === null || !("code" in error)) return "";
  return typeof error.code === "string" ? error.code : "";
}
