/**
 * What a node says of itself (NUCLEUS STATUS), read from its JSON into checked types. A server that speaks RESP
 * but is not Nucleus, or says something else than it should, is an error "EREPORT" that names the field.
 */
import { fromUtf8 } from "../base/bytes.ts";
import { NucleusError } from "../base/errors.ts";
import type { Reply } from "../wire/resp_client_parse.ts";
import { Fields } from "./json_fields.ts";

export type ReplicaReport = {
  readonly node: string;
  readonly role: string;
  /** Entries it lacks; only the shard's leader knows. */
  readonly lag: number | null;
};

export type ShardReport = {
  readonly id: string;
  /** What this node is in the shard. */
  readonly role: string;
  /** Whom this node takes for the leader. */
  readonly leader: string | null;
  readonly term: number;
  readonly commit: number;
  readonly replicas: readonly ReplicaReport[];
  readonly slots: number;
  readonly keys: number;
  readonly bytes: number;
};

export type KnownNode = {
  readonly id: string;
  readonly addr: string;
  /** Null: it serves none, or nobody says where. */
  readonly http: string | null;
};

export type NodeReport = {
  readonly node: string;
  readonly cluster: string;
  readonly addr: string;
  /** Where it serves HTTP; null if it does not. */
  readonly http: string | null;
  readonly pid: number;
  readonly version: string;
  /** Why it holds no replica; null if it does. */
  readonly waits: string | null;
  /** All nodes of the cluster, this one too. */
  readonly nodes: readonly KnownNode[];
  readonly shards: readonly ShardReport[];
};

/** The report in a reply to NUCLEUS STATUS. */
export function readReport(reply: Reply): NodeReport {
  if (reply.kind === "error") throw bad(`it answers: ${reply.text}`);
  if (reply.kind !== "bulk" && reply.kind !== "verbatim") throw bad(`it answers with a ${reply.kind}`);
  return parseReport(fromUtf8(reply.bytes));
}

export function parseReport(text: string): NodeReport {
  let root: unknown;
  try {
    root = JSON.parse(text);
  } catch {
    throw bad("it is not JSON");
  }
  const from = new Fields(root, unusable);
  return {
    node: from.text("node"),
    cluster: from.text("cluster"),
    addr: from.text("addr"),
    http: from.textOrNull("http"),
    pid: from.number("pid"),
    version: from.text("version"),
    waits: from.textOrNull("waits"),
    nodes: from.list("nodes").map((node) => ({
      id: node.text("id"),
      addr: node.text("addr"),
      http: node.has("http") ? node.textOrNull("http") : null,
    })),
    shards: from.list("shards").map(readShard),
  };
}

function readShard(from: Fields): ShardReport {
  return {
    id: from.text("id"),
    role: from.text("role"),
    leader: from.textOrNull("leader"),
    term: from.number("term"),
    commit: from.number("commit"),
    replicas: from.list("replicas").map((replica) => ({
      node: replica.text("node"),
      role: replica.text("role"),
      lag: replica.numberOrNull("lag"),
    })),
    slots: from.number("slots"),
    keys: from.number("keys"),
    bytes: from.number("bytes"),
  };
}

function unusable(why: string): never {
  throw bad(why);
}

function bad(why: string): NucleusError {
  return new NucleusError("EREPORT", `its answer to NUCLEUS STATUS cannot be used: ${why}`);
}
