/**
 * A request of the client's core, and what may be said of it.
 *
 *     maybe  state      a write that fails now
 *     no     queued     certainly was not executed
 *     no     refused    certainly was not executed: every attempt was answered so
 *     no     sent       may take effect
 *     yes    any        may have taken effect, or may yet
 */
import type { Chunk } from "./chunks.ts";
import { type ClientError, OutcomeUnknownError, TimeoutError, UnavailableError } from "./errors.ts";
import type { Outlet } from "./outlet.ts";
import type { Session } from "./session.ts";

/** Who waits for a request. One of the two is called, once; from inside `end` only if nothing was queued. */
export interface Caller {
  /** One whole native reply (or the body of a pong or of an admin reply), borrowed. */
  onReply(bytes: Uint8Array, start: number, end: number): void;
  onError(error: ClientError): void;
}

/** read: changes nothing. session: executed once, however often sent. once: sent once. */
export type Kind = "read" | "session" | "once";
/** queued: in an outlet, or held back until it may go into one. */
export type State = "queued" | "sent" | "refused" | "done";

/** How a read was made safe, and how old its state may be; undefined: nothing is known. */
export type ReadReport = {
  readonly by: "leader" | "read-index" | "stale";
  readonly stalenessMs: number | undefined;
};

/** A read that a follower may answer. */
export type ReplicaRead = {
  readonly mode: "follower" | "stale";
  /** null: of any age. */
  readonly stalenessMsMax: number | null;
  onRead(report: ReadReport): void;
};

export class Request {
  /** Which answer is its own: numbers rise with the calls. */
  id = 0;
  /** Of a session write: its number, and whose. */
  seq = 0;
  session: Session | null = null;
  readonly kind: Kind;
  readonly caller: Caller;
  readonly slot: number;
  /** A follower may answer it: no order ties it to others of its slot. */
  readonly replica: ReplicaRead | null;
  readonly deadlineTick: number;
  state: State = "queued";
  /** Where it is to be sent, or was; null = nowhere now. */
  outlet: Outlet | null = null;
  /** How often it was sent. */
  attempts = 0;
  /** An attempt may have taken effect. */
  maybe = false;
  /** Its notAfter is set. */
  stamped = false;
  /** What the last attempt was answered with, if that was no answer. */
  refusal = "";
  /** Of a session write: its neighbours among the unanswered writes of its slot. */
  before: Request | null = null;
  behind: Request | null = null;
  chunk: Chunk | null = null;
  start = 0;
  end = 0;

  constructor(
    kind: Kind,
    caller: Caller,
    slot: number,
    deadlineTick: number,
    replica: ReplicaRead | null = null,
  ) {
    this.replica = replica;
    this.kind = kind;
    this.caller = caller;
    this.slot = slot;
    this.deadlineTick = deadlineTick;
  }
}

/** Whether an attempt of this write took effect, or may. */
export function mayTakeEffect(request: Request): boolean {
  return request.kind !== "read" && (request.maybe || request.state === "sent");
}

/** Its time is up; `problem` is why nothing can be sent, if that is so. */
export function lateError(request: Request, problem: string): ClientError {
  const last = request.refusal === "" ? "" : ` (last: ${request.refusal})`;
  if (mayTakeEffect(request)) return new OutcomeUnknownError(`no answer in time${last}`);
  if (request.state === "sent") return new TimeoutError(`no answer in time${last}`);
  if (request.refusal !== "") return new UnavailableError("UNAVAILABLE", request.refusal);
  return new UnavailableError("UNAVAILABLE", `not sent in time: ${problem}`);
}
