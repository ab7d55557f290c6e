/**
 * The Nucleus-DB client.
 *
 *     import { connect } from "nucleus-db";
 *     await using db = connect("nucleus://n1:7001,n2:7001,n3:7001");
 *     await db.set("user:1", "Ada", { ttlMs: 600_000, ifAbsent: true });
 *     await db.get("user:1");                                              // "Ada", or undefined
 *
 * Calls may begin at once: they wait for the first node that answers. This file alone builds the real platform.
 */
import { createPlatform } from "../platform/node.ts";
import type { Log } from "../platform/platform.ts";
import { parseAddresses } from "./address.ts";
import { NucleusClient, UsageError } from "./client.ts";
import { ClientCore, TIMEOUT_MS_MAX } from "./core.ts";
import { asBytes, asText } from "./replies.ts";
import { CLIENT_VERSION } from "./version.ts";

export type { CallOptions } from "./call.ts";
export {
  type Entry,
  NucleusClient,
  type ReadOptions,
  type ReadReport,
  type ScanOptions,
  type SetOptions,
  UsageError,
} from "./client.ts";
export {
  AbortedError,
  ClientError,
  CommandError,
  ConflictError,
  OutcomeUnknownError,
  ProtocolError,
  TimeoutError,
  UnavailableError,
} from "./errors.ts";
export type { Data } from "./text.ts";

export type ConnectOptions = {
  /** What values and keys come out as; "text" if absent. */
  readonly values?: "text" | "bytes";
  /** Time limit of calls that name none; 5000 if absent. */
  readonly timeoutMs?: number;
  /** For CLIENT LIST: printable, without blanks. */
  readonly name?: string;
};

const TIMEOUT_MS = 5000;
const SILENT: Log = { write() {} };

/** A client of the cluster at `address` (address.ts says how it is written). */
export function connect(
  address: string,
  options: ConnectOptions & { readonly values: "bytes" },
): NucleusClient<Uint8Array>;
export function connect(address: string, options?: ConnectOptions): NucleusClient<string>;
export function connect(
  address: string,
  options: ConnectOptions = {},
): NucleusClient<Uint8Array> | NucleusClient<string> {
  const { timeoutMs = TIMEOUT_MS, name = "", values = "text" } = options;
  if (!(timeoutMs > 0 && timeoutMs <= TIMEOUT_MS_MAX))
    throw new UsageError(`timeoutMs is above 0 and at most ${TIMEOUT_MS_MAX}`);
  if (!/^[!-~]{0,256}$/.test(name)) throw new UsageError("name is printable and has no blanks");
  const core = new ClientCore(createPlatform(SILENT), {
    addresses: parseAddresses(address),
    name,
    version: CLIENT_VERSION,
    timeoutMs,
  });
  return values === "bytes" ? new NucleusClient(core, asBytes) : new NucleusClient(core, asText);
}
