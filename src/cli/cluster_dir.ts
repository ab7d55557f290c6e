/**
 * The directory of a local cluster, as `up` makes and finds it:
 *
 *     DIR/up.json        its id and its processes: nodes and control processes, each with its addresses
 *     DIR/cluster.json   the first layout, for the control plane's first start (controlplane/requests.ts)
 *     DIR/layout.json    instead of both, in a cluster without a control plane: its id and nodes (server/layout.ts)
 *     DIR/birth          there until everything has started once: only then may anything be begun anew (--init)
 *     DIR/nucleus.pid    the `up` that watches it
 *     DIR/n1/ ..         a process's own directory; its log file is DIR/n1/log
 *
 * Writing `birth` first and removing it last makes an interrupted first start harmless: the next one goes on with
 * it. Once it is gone, a process whose directory is empty has lost its disk, and is not begun anew behind anybody's
 * back. Errors are CliErrors.
 */
import { randomBytes } from "node:crypto";
import * as fs from "node:fs";
import { join, resolve } from "node:path";
import { messageOf } from "../base/errors.ts";
import { type Layout, parseLayout } from "../server/layout.ts";
import { showAddress } from "./address.ts";
import { checkFixed, checkManaged } from "./cluster_dir_check.ts";
import { EXIT } from "./exit_codes.ts";
import {
  type FirstWish,
  firstLayoutOf,
  grownMembers,
  membersText,
  newMembers,
  parseMembers,
} from "./local_members.ts";
import { CliError } from "./output.ts";
import { shortPath } from "./own_command.ts";
import { replaceSynced, syncDirectory, writeSynced } from "./synced_files.ts";

/** A process of the cluster. */
export type Member = {
  readonly id: string;
  readonly kind: "node" | "control";
  readonly host: string;
  readonly port: number;
  /** HOST:PORT; null: it serves none. */
  readonly http: string | null;
};

export type ClusterTree = {
  /** Absolute. */
  readonly dir: string;
  /** 32 hex digits. */
  readonly cluster: string;
  /** Nodes first. */
  readonly members: readonly Member[];
  /** Without a control plane: the layout file that all nodes get. */
  readonly fixed: Layout | null;
  /** What the first layout is, or was, to be; null without a control plane. */
  readonly first: FirstWish | null;
  /** Nothing is there yet: `makeTree` makes it. */
  readonly isNew: boolean;
  /** There are more nodes than before: `makeTree` writes them down. */
  readonly isGrown: boolean;
};

/** What the command line asks for; undefined = not said. */
export type TreeWish = {
  readonly nodes: number | undefined;
  readonly basePort: number | undefined;
  readonly shards?: number | undefined;
  readonly replicas?: number | undefined;
  readonly control?: number | undefined;
};

export const NODES_DEFAULT = 3;
export const CONTROL_DEFAULT = 1;
const UP_FILE = "up.json";
export const LAYOUT_FILE = "layout.json";
export const CLUSTER_FILE = "cluster.json";
const BIRTH = "birth";
const BIRTH_TEXT =
  "The processes of this cluster have not all started yet. `nucleus up` removes this file when they have.\n";
/** What may lie in a directory that a cluster is made in. */
const HARMLESS = [BIRTH, "nucleus.pid", "lost+found", `${LAYOUT_FILE}.tmp`, `${UP_FILE}.tmp`, CLUSTER_FILE];

/** Finds the cluster in `path`, or plans one if nothing is there. Nothing is written. */
export function openTree(path: string, wish: TreeWish): ClusterTree {
  const dir = resolve(path);
  try {
    const names = fs.existsSync(dir) ? fs.readdirSync(dir) : [];
    if (names.includes(LAYOUT_FILE)) return openFixed(dir, wish);
    if (names.includes(UP_FILE)) return openManaged(dir, wish);
    const foreign = names.find((name) => !HARMLESS.includes(name));
    if (foreign !== undefined) throw foreignError(dir, foreign);
    return (wish.control ?? CONTROL_DEFAULT) === 0 ? newFixed(dir, wish) : newManaged(dir, wish);
  } catch (error) {
    throw error instanceof CliError ? error : unusable(dir, error);
  }
}

function openFixed(dir: string, wish: TreeWish): ClusterTree {
  const layout = parseLayout(fs.readFileSync(join(dir, LAYOUT_FILE), "utf8"));
  checkFixed(shortPath(dir), layout, wish);
  return fixedTree(dir, layout, false);
}

function newFixed(dir: string, wish: TreeWish): ClusterTree {
  const members = newMembers(wish.nodes ?? NODES_DEFAULT, 0, wish.basePort);
  const nodes = members.map((node) => ({ id: node.id, addr: showAddress(node), http: node.http }));
  const layout = parseLayout(JSON.stringify({ cluster: newId(), nodes }));
  checkFixed(shortPath(dir), layout, wish);
  return fixedTree(dir, layout, true);
}

function newId(): string {
  return randomBytes(16).toString("hex");
}

function fixedTree(dir: string, layout: Layout, isNew: boolean): ClusterTree {
  const members = layout.nodes.map(({ id, host, port, http = null }): Member => {
    return { id, kind: "node", host, port, http };
  });
  return { dir, cluster: layout.cluster, members, fixed: layout, first: null, isNew, isGrown: false };
}

function openManaged(dir: string, wish: TreeWish): ClusterTree {
  const { cluster, members } = parseMembers(fs.readFileSync(join(dir, UP_FILE), "utf8"));
  const first = readFirst(dir);
  checkManaged(shortPath(dir), members, first, wish);
  const count = members.filter(({ kind }) => kind === "node").length;
  const all = grownMembers(members, wish.nodes ?? count);
  const isGrown = all.length > members.length;
  return { dir, cluster, members: all, fixed: null, first, isNew: false, isGrown };
}

/** After the birth nobody needs the file any more. */
function readFirst(dir: string): FirstWish | null {
  const path = join(dir, CLUSTER_FILE);
  if (!fs.existsSync(path)) return null;
  const root = JSON.parse(fs.readFileSync(path, "utf8")) as { shards?: unknown; replicas?: unknown };
  const { shards, replicas } = root;
  const count = Array.isArray(shards) ? shards.length : Number(shards);
  return { shards: count, replicas: Number(replicas ?? 0) };
}

function newManaged(dir: string, wish: TreeWish): ClusterTree {
  const nodes = wish.nodes ?? NODES_DEFAULT;
  const members = newMembers(nodes, wish.control ?? CONTROL_DEFAULT, wish.basePort);
  const replicas = wish.replicas ?? Math.min(REPLICAS_DEFAULT, nodes);
  const first = { shards: wish.shards ?? SHARDS_DEFAULT, replicas };
  checkManaged(shortPath(dir), members, first, wish);
  return { dir, cluster: newId(), members, fixed: null, first, isNew: true, isGrown: false };
}

export const SHARDS_DEFAULT = 4;
const REPLICAS_DEFAULT = 3;

/** Writes a new tree, or new nodes, to the disk; the processes' directories come with their first start. */
export function makeTree({ dir, cluster, members, fixed, first, isNew }: ClusterTree): void {
  fs.mkdirSync(dir, { recursive: true, mode: 0o700 });
  if (isNew) writeSynced(join(dir, BIRTH), BIRTH_TEXT);
  if (isNew && first !== null) writeSynced(join(dir, CLUSTER_FILE), jsonText(firstLayoutOf(members, first)));
  const [name, text] =
    fixed === null ? [UP_FILE, membersText(cluster, members)] : [LAYOUT_FILE, layoutText(fixed)];
  replaceSynced(join(dir, name), text);
}

function jsonText(value: object): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

function layoutText({ cluster, nodes }: Layout): string {
  const list = nodes.map(({ id, host, port, http }) => {
    const addr = showAddress({ host, port });
    return http === undefined ? { id, addr } : { id, addr, http };
  });
  return jsonText({ cluster, nodes: list });
}

export function unusable(dir: string, error: unknown): CliError {
  const next = "Look at it, or give another directory with --dir.";
  return new CliError(EXIT.failed, `The directory ${shortPath(dir)} cannot be used.`, messageOf(error), next);
}

function foreignError(dir: string, found: string): CliError {
  return new CliError(
    EXIT.usage,
    `${shortPath(dir)} is not a cluster's directory.`,
    `It holds "${found}", but no ${UP_FILE} or ${LAYOUT_FILE}.`,
    "Give an empty directory, or one that does not exist yet, with --dir.",
  );
}

export function nodesOf({ members }: ClusterTree): readonly Member[] {
  return members.filter(({ kind }) => kind === "node");
}

export function controlsOf({ members }: ClusterTree): readonly Member[] {
  return members.filter(({ kind }) => kind === "control");
}

export function memberDir(tree: ClusterTree, { id }: { readonly id: string }): string {
  return join(tree.dir, id);
}

export function logPath(tree: ClusterTree, member: { readonly id: string }): string {
  return join(memberDir(tree, member), "log");
}

/** Something of this cluster has never started. */
export function isInBirth({ dir }: ClusterTree): boolean {
  return fs.existsSync(join(dir, BIRTH));
}

/** What it writes down of itself at its first start. */
const IDENTITY = "node.json";

export function hasStarted(tree: ClusterTree, member: { readonly id: string }): boolean {
  return fs.existsSync(join(memberDir(tree, member), IDENTITY));
}

/** It never ran, and the cluster has never run whole: it may be begun anew. */
export function isUnborn(tree: ClusterTree, member: { readonly id: string }): boolean {
  return isInBirth(tree) && !hasStarted(tree, member);
}

/** Everything has started: from now on an empty directory means a lost disk. */
export function endBirth(tree: ClusterTree): void {
  fs.rmSync(join(tree.dir, BIRTH), { force: true });
  syncDirectory(tree.dir);
}
