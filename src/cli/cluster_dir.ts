/**
 * The directory of a local cluster, as `up` makes and finds it:
 *
 *     DIR/layout.json    the cluster's id and its nodes; the same file for all of them (server/layout.ts)
 *     DIR/birth          there until every node has started once: only then may a node be begun anew (--init)
 *     DIR/nucleus.pid    the `up` that watches it
 *     DIR/n1/ ..         a node's own directory; its log file is DIR/n1/log
 *
 * Writing `birth` first and removing it last makes an interrupted first start harmless: the next one goes on with
 * it. Once it is gone, a node whose directory is empty has lost its disk, and is not begun anew behind anybody's
 * back. Errors are CliErrors.
 */
import { randomBytes } from "node:crypto";
import * as fs from "node:fs";
import { join, resolve } from "node:path";
import { messageOf } from "../base/errors.ts";
import { type Layout, type NodeAddress, parseLayout } from "../server/layout.ts";
import { showAddress } from "./address.ts";
import { EXIT } from "./exit_codes.ts";
import { CliError } from "./output.ts";
import { shortPath } from "./own_command.ts";

export type ClusterTree = {
  /** Absolute. */
  readonly dir: string;
  readonly layoutPath: string;
  readonly layout: Layout;
  /** Nothing is there yet: `makeTree` makes it. */
  readonly isNew: boolean;
};

/** What the command line asks for; undefined = not said. */
export type TreeWish = { readonly nodes: number | undefined; readonly basePort: number | undefined };

export const NODES_DEFAULT = 3;
export const BASE_PORT_DEFAULT = 7000;
const LAYOUT = "layout.json";
const BIRTH = "birth";
const BIRTH_TEXT =
  "The nodes of this cluster have not all started yet. `nucleus up` removes this file when they have.\n";
/** What may lie in a directory that a cluster is made in. */
const HARMLESS = [BIRTH, "nucleus.pid", "lost+found", `${LAYOUT}.tmp`];

/** A node's HTTP port lies this far above its own (design: base + 1000 + i). */
export const HTTP_PORTS_ABOVE = 1000;

/** Where a node of a local cluster serves HTTP. Layouts of earlier versions do not say. */
export function httpOf({ host, port, http }: NodeAddress): string {
  return http ?? showAddress({ host, port: port + HTTP_PORTS_ABOVE });
}

/** Finds the cluster in `path`, or plans one if nothing is there. Nothing is written. */
export function openTree(path: string, wish: TreeWish): ClusterTree {
  const dir = resolve(path);
  const layoutPath = join(dir, LAYOUT);
  try {
    const names = fs.existsSync(dir) ? fs.readdirSync(dir) : [];
    if (names.includes(LAYOUT)) {
      const layout = checked(parseLayout(fs.readFileSync(layoutPath, "utf8")), dir, wish);
      return { dir, layoutPath, layout, isNew: false };
    }
    const foreign = names.find((name) => !HARMLESS.includes(name));
    if (foreign !== undefined) throw foreignError(dir, foreign);
    return { dir, layoutPath, layout: newLayout(wish), isNew: true };
  } catch (error) {
    throw error instanceof CliError ? error : unusable(dir, error);
  }
}

function newLayout({ nodes, basePort }: TreeWish): Layout {
  const base = basePort ?? BASE_PORT_DEFAULT;
  const list = Array.from({ length: nodes ?? NODES_DEFAULT }, (_, i) => ({
    id: `n${i + 1}`,
    addr: `127.0.0.1:${base + i + 1}`,
    http: `127.0.0.1:${base + HTTP_PORTS_ABOVE + i + 1}`,
  }));
  return parseLayout(JSON.stringify({ cluster: randomBytes(16).toString("hex"), nodes: list }));
}

/** Writes a new tree to the disk; the nodes' directories come with their first start. */
export function makeTree({ dir, layoutPath, layout }: ClusterTree): void {
  const nodes = layout.nodes.map((node) => ({ id: node.id, addr: showAddress(node), http: httpOf(node) }));
  fs.mkdirSync(dir, { recursive: true, mode: 0o700 });
  writeSynced(join(dir, BIRTH), BIRTH_TEXT);
  writeSynced(`${layoutPath}.tmp`, `${JSON.stringify({ cluster: layout.cluster, nodes }, null, 2)}\n`);
  fs.renameSync(`${layoutPath}.tmp`, layoutPath);
  syncDirectory(dir);
}

function writeSynced(path: string, text: string): void {
  const file = fs.openSync(path, "w", 0o600);
  try {
    fs.writeSync(file, text);
    fs.fsyncSync(file);
  } finally {
    fs.closeSync(file);
  }
}

function syncDirectory(dir: string): void {
  const file = fs.openSync(dir, "r");
  try {
    fs.fsyncSync(file);
  } finally {
    fs.closeSync(file);
  }
}

/** A cluster that exists is what its layout says; a command line that says otherwise is a mistake. */
function checked(layout: Layout, dir: string, { nodes, basePort }: TreeWish): Layout {
  const count = layout.nodes.length;
  const where = shortPath(dir);
  if (nodes !== undefined && nodes !== count) {
    throw new CliError(
      EXIT.usage,
      `--nodes ${nodes} does not fit: the cluster in ${where} has ${count}.`,
      `Its layout file says so (${where}/${LAYOUT}).`,
      "Leave --nodes out to go on with it, or make another cluster with --dir.",
    );
  }
  const elsewhere = layout.nodes.find(({ host }) => !isLoopback(host));
  if (elsewhere !== undefined) {
    throw new CliError(
      EXIT.usage,
      `The cluster in ${where} is not a local one: ${elsewhere.id} is at ${elsewhere.host}:${elsewhere.port}.`,
      "`up` runs all nodes on this machine.",
      "Run `nucleus node` on each machine instead.",
    );
  }
  if (basePort !== undefined && layout.nodes.some(({ port }, i) => port !== basePort + i + 1)) {
    throw new CliError(
      EXIT.usage,
      `--base-port ${basePort} does not fit: the cluster in ${where} has its own ports.`,
      `They are ${layout.nodes.map(({ port }) => port).join(", ")} (${where}/${LAYOUT}).`,
      "Leave --base-port out to go on with it, or make another cluster with --dir.",
    );
  }
  return layout;
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || host.startsWith("127.");
}

export function unusable(dir: string, error: unknown): CliError {
  const next = "Look at it, or give another directory with --dir.";
  return new CliError(EXIT.failed, `The directory ${shortPath(dir)} cannot be used.`, messageOf(error), next);
}

function foreignError(dir: string, found: string): CliError {
  return new CliError(
    EXIT.usage,
    `${shortPath(dir)} is not a cluster's directory.`,
    `It holds "${found}", but no ${LAYOUT}.`,
    "Give an empty directory, or one that does not exist yet, with --dir.",
  );
}

export function nodeDir(tree: ClusterTree, node: NodeAddress): string {
  return join(tree.dir, node.id);
}

export function logPath(tree: ClusterTree, node: NodeAddress): string {
  return join(nodeDir(tree, node), "log");
}

/** This node never ran, and the cluster has never run whole: it may be begun anew. */
export function isUnborn(tree: ClusterTree, node: NodeAddress): boolean {
  return fs.existsSync(join(tree.dir, BIRTH)) && !fs.existsSync(join(nodeDir(tree, node), "node.json"));
}

/** Every node has started: from now on an empty directory means a lost disk. */
export function endBirth(tree: ClusterTree): void {
  fs.rmSync(join(tree.dir, BIRTH), { force: true });
  syncDirectory(tree.dir);
}
