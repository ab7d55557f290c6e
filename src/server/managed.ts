/**
 * A node of a cluster with a control plane: what it reports, and what it does as ordered (agent.ts).
 *
 * The map is the control plane's; who leads and who owns which slots the shards know better. So this node tells the
 * control plane what its replicas say, and takes from anybody whatever carries the higher term or epoch.
 */
import type { Done } from "../base/task.ts";
import { ENTRY_KIND, type Entry } from "../raft/types.ts";
import { readBatchHeader } from "../wire/batch.ts";
import type { ClusterMap } from "../wire/cluster_map.ts";
import type { SlotClaim } from "../wire/control.ts";
import type { Heard, Heartbeat, Order, Registration } from "../wire/control_plane.ts";
import type { ControlReply } from "../wire/control_request.ts";
import type { MoveMessage } from "../wire/move_message.ts";
import { Agent } from "./agent.ts";
import type { GroupReplica } from "./group.ts";
import { addressText, type NodeAddress } from "./layout.ts";
import { Load } from "./load.ts";
import type { KeptMap } from "./map_file.ts";
import { Movers } from "./movers.ts";
import { addressesOf, type NucleusNode } from "./node.ts";
import { heartbeatOf } from "./reports.ts";

export type ManagedOptions = {
  /** The control processes' --listen addresses. */
  readonly control: readonly Omit<NodeAddress, "id">[];
  readonly zone: string;
  readonly capacity: number;
  readonly electionMs: number;
  readonly segmentBytes: number;
};

export class Managed {
  readonly #node: NucleusNode;
  readonly #options: ManagedOptions;
  readonly #agent: Agent;
  readonly #load: Load;
  readonly #movers: Movers;

  constructor(node: NucleusNode, options: ManagedOptions, kept: KeptMap) {
    this.#node = node;
    this.#options = options;
    const { engine, platform, config } = node;
    this.#load = new Load(platform, config.dir);
    if (kept.map !== null) node.routing.setMap(kept.map);
    this.#agent = new Agent(kept, {
      platform,
      dir: config.dir,
      addresses: options.control,
      cluster: () => node.cluster,
      registration: (heard) => this.#registration(heard),
      beat: (heard) => heartbeatOf(node, heard, this.#readLoad()),
      joinCluster: (cluster, done) => engine.joinCluster(cluster, done as Done<void>),
      onMap: (map) => this.#onMap(map),
      obey: (order) => this.#obey(order),
    });
    this.#movers = new Movers({
      node: config.id,
      nowMs: () => platform.clock.monotonicMs(),
      group: (id) => engine.group(id),
      groupOf: (shard) => node.routing.map?.shards.find(({ id }) => id === shard)?.group ?? 0,
      leaderOf: (group) => node.routing.leaderOf(group),
      holdersOf: (group) => holdersOf(node, group),
      send: (to, message) => engine.peers.sendMove(to, message),
      flush: () => engine.peers.flushMoves(),
      tellAll: (claim) => engine.peers.tellAll({ kind: "claim", claim }),
      claim: (claim) => this.onClaim(claim),
      noteNews: () => this.#agent.noteNews(),
      noteEpoch: (epoch) => this.#agent.noteEpoch(epoch),
      wake: () => engine.wake(),
      log: (text, facts) => platform.log.write("info", text, facts),
    });
    if (node.cluster !== "") engine.setNodes(addressesOf(node.routing));
  }

  get agent(): Agent {
    return this.#agent;
  }

  tick(): void {
    this.#agent.tick();
    this.#movers.tick();
  }

  /** The end of a turn. */
  endTurn(): void {
    this.#movers.endTurn();
  }

  close(): void {
    this.#agent.close();
    this.#movers.close();
  }

  onLeader(group: GroupReplica): void {
    this.#movers.onLeader(group);
    this.#agent.noteNews();
  }

  onApplied(group: GroupReplica, entry: Entry): void {
    this.#movers.onApplied(group, entry);
    if (entry.kind === ENTRY_KIND.config) this.#agent.noteNews();
  }

  onMove(from: string, message: MoveMessage): void {
    this.#movers.hear(from, message);
  }

  get movers(): Movers {
    return this.#movers;
  }

  onClaim({ group, epoch, slots }: SlotClaim): void {
    this.#node.routing.claim(
      group,
      slots.map(([first, last]) => ({ first, last, epoch })),
    );
    this.#agent.noteEpoch(epoch);
  }

  /** One call of the control plane's HTTP surface, for an operator at this node. */
  control(
    method: string,
    path: string,
    body: Uint8Array,
    answer: (reply: ControlReply | null) => void,
  ): void {
    this.#agent.http(method, path, body, answer);
  }

  #readLoad(): Heartbeat["load"] {
    const bytes = this.#node.groups.reduce((sum, { store }) => sum + store.allocatedBytes, 0);
    return this.#load.read(this.#node.commandsTotal, bytes);
  }

  #registration(heard: Heard): Registration {
    const { config, engine } = this.#node;
    return {
      node: config.id,
      incarnation: engine.home.identity.incarnation,
      address: addressText(config.host, config.port),
      http: this.#node.httpAddress,
      zone: this.#options.zone,
      capacity: this.#options.capacity,
      heard,
    };
  }

  #onMap(map: ClusterMap): void {
    const { routing, engine } = this.#node;
    routing.setMap(map);
    engine.setNodes(addressesOf(routing));
  }

  #obey(order: Order): void {
    const { engine } = this.#node;
    switch (order.kind) {
      case "create":
        return this.#create(order);
      case "close":
        return engine.close(order.group, order.replica);
      case "want":
        return engine.seats.get(order.group)?.replacement?.want(order.version, order.voters);
      case "lead":
        return this.#lead(order);
      default:
        return this.#movers.obey(order);
    }
  }

  #create({ group, replica, incarnation, bootstrap: bytes }: Extract<Order, { kind: "create" }>): void {
    const header = readBatchHeader(bytes, 0);
    const isBirth =
      typeof header !== "string" &&
      header.kind === ENTRY_KIND.bootstrap &&
      header.group === group &&
      header.index === 1 &&
      header.term === 0;
    if (!isBirth) {
      this.#node.platform.log.write("error", "an order names no bootstrap of the group", { group });
      return;
    }
    const bootstrap: Entry = { index: 1, term: 0, kind: ENTRY_KIND.bootstrap, bytes: bytes.slice() };
    this.#node.engine.create("the control plane", incarnation, { group, replica, bootstrap });
  }

  #lead({ group: id, term, to }: Extract<Order, { kind: "lead" }>): void {
    const group = this.#node.engine.group(id);
    if (group === null || !group.isLeader || group.core.term !== term) return;
    const target = group.core.config.voters.find(({ node }) => node === to);
    if (target === undefined || target.replica === group.replica) return;
    group.core.transfer(target.replica); // if it cannot be now, it will be ordered again
    this.#node.engine.touch(id);
  }
}

/**
 * The nodes with a replica of a group, by the map; all nodes if the map is of before the group was: it may be what was saved
 * last before a crash, and nobody may be there to hand out another.
 */
function holdersOf({ routing }: NucleusNode, group: number): string[] {
  const { shards, nodes } = routing.map ?? { shards: [], nodes: [] };
  const shard = shards.find((one) => one.group === group);
  if (shard === undefined) return nodes.map(({ id }) => id);
  return shard.replicas.flatMap((place) => nodes[place]?.id ?? []);
}
