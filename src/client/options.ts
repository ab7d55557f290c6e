/** What calls can be told beside their keys and values, and what of it cannot be meant. */
import { EXPIRY_MS_MAX, SET_OPTION } from "../wire/command.ts";
import type { CallOptions } from "./call.ts";
import { TIMEOUT_MS_MAX } from "./core.ts";
import { ClientError } from "./errors.ts";
import type { ReadReport, ReplicaRead } from "./request.ts";

export type SetOptions = CallOptions & {
  /** The key ends after so many milliseconds. */
  readonly ttlMs?: number;
  /** The key ends at this time, milliseconds since 1970. */
  readonly expiresAtMs?: number;
  /** The key ends when it would have ended without this call. */
  readonly keepTtl?: boolean;
  /** At most one of these conditions. */
  readonly ifAbsent?: boolean;
  readonly ifPresent?: boolean;
  /** The revision that the key must have; 0 = it must be absent. Else the call fails with a ConflictError. */
  readonly ifRevision?: number;
};

/** What reads of keys can be told. */
export type ReadOptions = CallOptions & {
  /**
   * leader: its leader answers, the default. follower: a replica that is connected answers, as of the leader's read index: it
   * sees what the leader would. stale: a replica answers from what it has.
   */
  readonly consistency?: "leader" | "follower" | "stale";
  /** With `stale`: what the answer may lack at most, in ms; of any age if absent. */
  readonly maxStalenessMs?: number;
  /** Is told how the answer was made safe, and how old its state may be; once for each shard that was asked. */
  readonly onRead?: (report: ReadReport) => void;
};

export type ScanOptions = CallOptions & {
  /** Only keys that begin so. */
  readonly prefix?: string;
  /** Only keys that match this glob, as Redis has it. Not together with `prefix`. */
  readonly match?: string;
  /** About how many keys are looked at in one request. */
  readonly count?: number;
};

/** The call was wrong, and was not made. */
export class UsageError extends ClientError {
  override readonly name = "UsageError";

  constructor(message: string) {
    super("USAGE", message, false);
  }
}

export function optionsProblem(options: CallOptions | undefined): UsageError | null {
  const timeoutMs = options?.timeoutMs;
  if (timeoutMs === undefined || (timeoutMs > 0 && timeoutMs <= TIMEOUT_MS_MAX)) return null;
  return new UsageError(`timeoutMs is above 0 and at most ${TIMEOUT_MS_MAX}`);
}

export function readProblem(options: ReadOptions): UsageError | null {
  const { consistency = "leader", maxStalenessMs } = options;
  if (!["leader", "follower", "stale"].includes(consistency))
    return new UsageError("consistency is leader, follower or stale");
  if (maxStalenessMs === undefined) return null;
  if (consistency !== "stale") return new UsageError("maxStalenessMs goes with consistency: stale");
  return isRevision(maxStalenessMs) ? null : new UsageError("maxStalenessMs is a whole number from 0");
}

/** How the core is to ask; null: the leader. */
export function replicaRead({ consistency, maxStalenessMs, onRead }: ReadOptions): ReplicaRead | null {
  if (consistency === undefined || consistency === "leader") return null;
  return { mode: consistency, stalenessMsMax: maxStalenessMs ?? null, onRead: (report) => onRead?.(report) };
}

export function setProblem(options: SetOptions & { readonly returnOld?: boolean }): string | null {
  const { ttlMs, expiresAtMs, keepTtl, ifAbsent, ifPresent, ifRevision, returnOld } = options;
  if (count(ttlMs !== undefined, expiresAtMs !== undefined, keepTtl === true) > 1)
    return "one of ttlMs, expiresAtMs and keepTtl can be given";
  if (count(ifAbsent === true, ifPresent === true, ifRevision !== undefined) > 1)
    return "one of ifAbsent, ifPresent and ifRevision can be given";
  if (ttlMs !== undefined && !isDuration(ttlMs)) return "ttlMs is a whole number above 0";
  if (expiresAtMs !== undefined && !isDuration(expiresAtMs)) return "expiresAtMs is a whole number above 0";
  if (ifRevision !== undefined && !isRevision(ifRevision)) return "ifRevision is a whole number from 0";
  if (ifRevision !== undefined && returnOld === true) return "returnOld does not go with ifRevision";
  return null;
}

function count(...facts: readonly boolean[]): number {
  return facts.filter(Boolean).length;
}

export function setBits(options: SetOptions & { readonly returnOld?: boolean }): number {
  let bits: number = options.returnOld === true ? SET_OPTION.returnOld : SET_OPTION.returnRevision;
  if (options.ttlMs !== undefined) bits |= SET_OPTION.expiryRelative;
  if (options.expiresAtMs !== undefined) bits |= SET_OPTION.expiryAbsolute;
  if (options.keepTtl === true) bits |= SET_OPTION.keepDeadline;
  if (options.ifAbsent === true) bits |= SET_OPTION.onlyIfAbsent;
  if (options.ifPresent === true) bits |= SET_OPTION.onlyIfPresent;
  if (options.ifRevision !== undefined) bits |= SET_OPTION.ifRevision;
  return bits;
}

export function isDuration(ms: number): boolean {
  return Number.isSafeInteger(ms) && ms > 0 && ms <= EXPIRY_MS_MAX;
}

export function isRevision(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}
