/**
 * What a node says of itself (NUCLEUS STATUS), read from its JSON into checked types. A server that speaks RESP
 * but is not Nucleus, or says something else than it should, is an error "EREPORT" that names the field.
 */
import { fromUtf8 } from "../base/bytes.ts";
import { NucleusError } from "../base/errors.ts";
import type { Reply } from "../wire/resp_client_parse.ts";

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
  readonly nodes: readonly { readonly id: string; readonly addr: string }[];
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
  const from = new Fields(root, "");
  return {
    node: from.text("node"),
    cluster: from.text("cluster"),
    addr: from.text("addr"),
    http: from.textOrNull("http"),
    pid: from.number("pid"),
    version: from.text("version"),
    waits: from.textOrNull("waits"),
    nodes: from.list("nodes").map((node) => ({ id: node.text("id"), addr: node.text("addr") })),
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

/** The fields of a JSON object, each taken as the type it must have. */
class Fields {
  readonly #values: Readonly<Record<string, unknown>>;
  readonly #where: string;

  constructor(value: unknown, where: string) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw bad(`${where || "it"} is not an object`);
    }
    this.#values = value as Record<string, unknown>;
    this.#where = where === "" ? "" : `${where}.`;
  }

  text(key: string): string {
    return this.textOrNull(key) ?? this.#wrong(key, "a text");
  }

  textOrNull(key: string): string | null {
    const value = this.#values[key];
    return value === null || typeof value === "string" ? value : this.#wrong(key, "a text");
  }

  number(key: string): number {
    return this.numberOrNull(key) ?? this.#wrong(key, "a number");
  }

  numberOrNull(key: string): number | null {
    const value = this.#values[key];
    return value === null || typeof value === "number" ? value : this.#wrong(key, "a number");
  }

  list(key: string): readonly Fields[] {
    const value = this.#values[key];
    if (!Array.isArray(value)) return this.#wrong(key, "a list");
    return value.map((item, i) => new Fields(item, `${this.#where}${key}[${i}]`));
  }

  #wrong(key: string, wanted: string): never {
    throw bad(`${this.#where}${key} is not ${wanted}`);
  }
}

function bad(why: string): NucleusError {
  return new NucleusError("EREPORT", `its answer to NUCLEUS STATUS cannot be used: ${why}`);
}
