/** What runs on the machines of a simulated cluster: the product's own programs, as their command lines start them. */
import { assert } from "../base/assert.ts";
import { ControlProcess } from "../controlplane/process.ts";
import type { FirstLayout } from "../controlplane/requests.ts";
import type { Platform } from "../platform/platform.ts";
import type { NodeAddress } from "../server/layout.ts";
import { type NodeObserver, NucleusNode } from "../server/node.ts";
import { type Cluster, NODE_DIR, NODE_PORT, type SimNode } from "./cluster.ts";
import type { Plan } from "./plan.ts";

export type SimServer = NucleusNode | ControlProcess;

/** `init`: the operator starts it for the first time. */
export function programOf(
  cluster: Cluster,
  node: SimNode,
  platform: Platform,
  init: boolean,
  fatal: (error: Error) => void,
  observer: NodeObserver,
): SimServer {
  if (node.isControl) return controlProcess(cluster, node, platform, init, fatal, observer);
  const { plan, layout } = cluster;
  const managed = {
    kind: "managed",
    control: controlsOf(plan),
    zone: "",
    capacity: 100,
    ...plan.settings,
  } as const;
  const config = {
    id: node.id,
    dir: NODE_DIR,
    host: node.id,
    port: NODE_PORT,
    cluster: plan.managed === undefined ? ({ kind: "fixed", layout, init } as const) : managed,
    version: "sim",
    pid: 1000 + node.index,
  };
  return new NucleusNode(platform, config, fatal, observer);
}

function controlProcess(
  { plan, layout, h64, restored }: Cluster,
  { id, diskDamaged }: SimNode,
  platform: Platform,
  init: boolean,
  fatal: (error: Error) => void,
  observer: NodeObserver,
): ControlProcess {
  assert(h64 !== null, "a ring needs its hash");
  const config = {
    id,
    dir: NODE_DIR,
    peers: controlsOf(plan),
    http: null,
    cluster: layout.cluster,
    init,
    // The words of always, but for one whose disk was lost since.
    firstLayout: restored === null ? firstLayoutOf(plan) : null,
    backup: null,
    ...(diskDamaged ? {} : restored),
    ...plan.settings,
  };
  return new ControlProcess(platform, config, h64, fatal, observer);
}

function controlsOf({ managed }: Plan): NodeAddress[] {
  return Array.from({ length: managed?.controls ?? 0 }, (_, i) => {
    const id = `c${i + 1}`;
    return { id, host: id, port: NODE_PORT };
  });
}

/** All nodes are named: nobody waits whether more come. */
function firstLayoutOf({ managed, nodes }: Plan): FirstLayout | null {
  if (managed === undefined) return null;
  const replicas = Math.min(3, nodes);
  // One shard can be lost, and not all, if they do not share their nodes.
  const apart = managed.loss === undefined ? 1 : replicas;
  const shards = Array.from({ length: managed.shards }, (_, i) => ({
    id: `s${i + 1}`,
    weight: 1,
    nodes: Array.from({ length: replicas }, (_, k) => `n${((apart * i + k) % nodes) + 1}`),
  }));
  return { replicas, vnodes: managed.vnodes, shards };
}
