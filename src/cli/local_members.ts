/**
 * The processes of a local cluster, and where they listen. With base port B node i (from 1) serves clients on B + i and
 * HTTP on B + 1000 + i, control process j on B + 100 + j and HTTP on B + 1100 + j. In DIR/up.json:
 *
 *     { "cluster": "<32 hex digits>",
 *       "nodes":   [ {"id": "n1", "addr": "127.0.0.1:7001", "http": "127.0.0.1:8001"}, .. ],
 *       "control": [ {"id": "c1", "addr": "127.0.0.1:7101", "http": "127.0.0.1:8101"} ] }
 */
import { NucleusError } from "../base/errors.ts";
import { isName } from "../base/names.ts";
import { readAddress, showAddress } from "./address.ts";
import type { Member } from "./cluster_dir.ts";
import { Fields } from "./json_fields.ts";

export const BASE_PORT_DEFAULT = 7000;
export const NODES_MAX = 15;
export const CONTROL_MAX = 5;
const CONTROL_ABOVE = 100;
const HTTP_ABOVE = 1000;
/** The highest port is that of the last control process's HTTP. */
export const BASE_PORT_MAX = 65_535 - HTTP_ABOVE - CONTROL_ABOVE - CONTROL_MAX;
const HOST = "127.0.0.1";

export function newMembers(nodes: number, control: number, basePort = BASE_PORT_DEFAULT): Member[] {
  return [
    ...Array.from({ length: nodes }, (_, i) => nodeAt(i + 1, basePort)),
    ...Array.from({ length: control }, (_, i) => controlAt(i + 1, basePort)),
  ];
}

function nodeAt(number: number, base: number): Member {
  const port = base + number;
  return { id: `n${number}`, kind: "node", host: HOST, port, http: `${HOST}:${port + HTTP_ABOVE}` };
}

function controlAt(number: number, base: number): Member {
  const port = base + CONTROL_ABOVE + number;
  return { id: `c${number}`, kind: "control", host: HOST, port, http: `${HOST}:${port + HTTP_ABOVE}` };
}

/** With more nodes: the next ones, above the ports of the first. */
export function grownMembers(members: readonly Member[], count: number): readonly Member[] {
  const nodes = members.filter(({ kind }) => kind === "node");
  const base = (nodes[0]?.port ?? BASE_PORT_DEFAULT + 1) - 1;
  const more = Array.from({ length: Math.max(0, count - nodes.length) }, (_, i) =>
    nodeAt(nodes.length + i + 1, base),
  );
  return [...nodes, ...more, ...members.filter(({ kind }) => kind === "control")];
}

export function membersText(cluster: string, members: readonly Member[]): string {
  const list = (wanted: Member["kind"]): object[] =>
    members
      .filter(({ kind }) => kind === wanted)
      .map((member) => ({ id: member.id, addr: showAddress(member), http: member.http }));
  return `${JSON.stringify({ cluster, nodes: list("node"), control: list("control") }, null, 2)}\n`;
}

/** Errors: NucleusError "EUPFILE". */
export function parseMembers(text: string): {
  readonly cluster: string;
  readonly members: readonly Member[];
} {
  const fail = (why: string): never => {
    throw new NucleusError("EUPFILE", `up.json cannot be used: ${why}`);
  };
  let root: unknown;
  try {
    root = JSON.parse(text);
  } catch {
    fail("it is not JSON");
  }
  const from = new Fields(root, fail);
  const read = (kind: Member["kind"], key: string): Member[] =>
    from.list(key).map((one): Member => {
      const address = readAddress(one.text("addr")) ?? fail(`${one.text("addr")} is not HOST:PORT`);
      const id = isName(one.text("id")) ? one.text("id") : fail(`${one.text("id")} is no name`);
      return { id, kind, ...address, http: one.textOrNull("http") };
    });
  const members = [...read("node", "nodes"), ...read("control", "control")];
  const twin = members.find(({ id }, i) => members.findIndex((other) => other.id === id) < i);
  if (twin !== undefined) fail(`two processes are called ${twin.id}`);
  if (members[0]?.kind !== "node") fail("it names no node");
  const cluster = from.text("cluster");
  if (!/^[0-9a-f]{32}$/.test(cluster)) fail("cluster is not 32 hex digits");
  return { cluster, members };
}

export type FirstWish = { readonly shards: number; readonly replicas: number };

/**
 * Every shard's nodes are named, each shard's one further than the last one's: so replicas are spread evenly, and the
 * control plane need not wait whether more nodes come.
 */
export function firstLayoutOf(members: readonly Member[], { shards, replicas }: FirstWish): object {
  const nodes = members.filter(({ kind }) => kind === "node").map(({ id }) => id);
  const on = (shard: number): string[] =>
    Array.from({ length: replicas }, (_, i) => nodes[(shard + i) % nodes.length] as string);
  return {
    replicas,
    shards: Array.from({ length: shards }, (_, i) => ({ id: `s${i + 1}`, nodes: on(i) })),
  };
}
