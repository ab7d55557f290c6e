/**
 * CLUSTER, answered by the RESP door: the cluster in the forms that cluster clients and tools of Redis read. Both modes
 * answer it truthfully; in proxy mode any node takes any command all the same, so a client that goes by it saves a hop.
 *
 *     SLOTS SHARDS NODES INFO REPLICAS     from the view of this node (cluster_view.ts); SLOTS encoded once for each
 *     MYID MYSHARDID KEYSLOT LINKS ..      here and now
 *     COUNTKEYSINSLOT GETKEYSINSLOT        data commands: they go where the slot is served (resp_client.ts)
 *
 * What would change the cluster is refused: that is the control plane's work.
 */
import { Writer } from "../base/bytes.ts";
import { SLOT_COUNT, slotOf } from "../ring/slot.ts";
import { type Args, argIs, argText } from "../wire/args.ts";
import { OP, SLOT_SET_BYTES } from "../wire/command.ts";
import type { CommandEncoder } from "../wire/command_encode.ts";
import { arityError } from "../wire/command_table.ts";
import { RespEncoder } from "../wire/resp_reply.ts";
import { type ClusterView, nodeHex, type ViewNode } from "./cluster_view.ts";

const BAD_SLOT = "ERR Invalid or out of range slot";
const BAD_COUNT = "ERR Invalid number of keys";
const MANAGED =
  "ERR the cluster's topology is the control plane's; use 'nucleus reshard', 'nucleus shard' or 'nucleus node'";
const CHANGES: ReadonlySet<string> = new Set(
  "addslots addslotsrange bumpepoch delslots delslotsrange failover flushslots forget meet replicate reset saveconfig set-config-epoch setslot".split(
    " ",
  ),
);
const HELP = [
  "CLUSTER <subcommand> [<arg> ...]. Subcommands are:",
  "COUNTKEYSINSLOT slot, GETKEYSINSLOT slot count, INFO, KEYSLOT key, LINKS, MYID, MYSHARDID, NODES, REPLICAS id,",
  "SHARDS, SLOTS, COUNT-FAILURE-REPORTS id, HELP",
];

export class ClusterDoor {
  readonly view: ClusterView;
  readonly #node: string;
  readonly #cluster: () => string;
  /** CLUSTER SLOTS in RESP2 and RESP3, and what they were made from. */
  readonly #slots: (Uint8Array | null)[] = [null, null];
  #topology = -1;

  constructor(view: ClusterView, node: string, cluster: () => string) {
    this.view = view;
    this.#node = node;
    this.#cluster = cluster;
  }

  /** This node's name among Redis's. */
  get myId(): string {
    return nodeHex(this.#cluster(), this.#node);
  }

  isSelf(node: ViewNode): boolean {
    return node.id === this.#node;
  }

  /** The slots that this node leads, as a set. */
  get ownSlots(): Uint8Array {
    const slots = new Uint8Array(SLOT_SET_BYTES);
    const self = this.view.view.nodes.find((node) => this.isSelf(node));
    for (const [first, last] of self?.ranges ?? [])
      for (let slot = first; slot <= last; slot++)
        slots[slot >>> 3] = (slots[slot >>> 3] as number) | (1 << (slot & 7));
    return slots;
  }

  run(args: Args, reply: RespEncoder): void {
    const sub = argText(args, 1).toLowerCase();
    const takes = (words: number): boolean => {
      if (args.argCount === words) return true;
      reply.error(arityError(`cluster|${sub}`));
      return false;
    };
    switch (sub) {
      case "slots":
        if (takes(2)) reply.writer.raw(this.#slotsIn(reply.protocol));
        return;
      case "shards":
        if (takes(2)) this.#shards(reply);
        return;
      case "nodes":
        if (takes(2)) reply.verbatim(this.#nodes().join(""));
        return;
      case "info":
        if (takes(2)) reply.verbatim(this.#info());
        return;
      case "replicas":
      case "slaves":
        if (takes(3)) this.#replicas(argText(args, 2), reply);
        return;
      case "myid":
        if (takes(2)) reply.text(this.myId);
        return;
      case "myshardid": {
        const self = this.view.view.nodes.find((node) => this.isSelf(node));
        if (takes(2)) reply.text(self === undefined || self.master === "" ? this.myId : self.master);
        return;
      }
      case "keyslot":
        if (takes(3)) reply.integer(slotOf(args.bytes, args.bounds[4] as number, args.bounds[5] as number));
        return;
      case "links":
        if (takes(2)) reply.array(0);
        return;
      case "count-failure-reports":
        if (takes(3)) reply.integer(0);
        return;
      case "help":
        reply.array(HELP.length);
        for (const line of HELP) reply.simple(line);
        return;
      default:
        if (CHANGES.has(sub)) reply.error(MANAGED);
        else if (sub === "countkeysinslot" || sub === "getkeysinslot")
          reply.error(arityError(`cluster|${sub}`));
        else reply.error(`ERR unknown subcommand '${argText(args, 1, 128)}'. Try CLUSTER HELP.`);
    }
  }

  #slotsIn(protocol: 2 | 3): Uint8Array {
    if (this.#topology !== this.view.topology) {
      this.#topology = this.view.topology;
      this.#slots.fill(null);
    }
    this.#slots[protocol - 2] ??= this.#encodeSlots(protocol);
    return this.#slots[protocol - 2] as Uint8Array;
  }

  #encodeSlots(protocol: 2 | 3): Uint8Array {
    const { ranges } = this.view.view;
    const reply = new RespEncoder(new Writer(64 + 256 * ranges.length));
    reply.protocol = protocol;
    reply.array(ranges.length);
    for (const { first, last, nodes } of ranges) {
      reply.array(2 + nodes.length);
      reply.integer(first);
      reply.integer(last);
      for (const { host, port, hex } of nodes) {
        reply.array(4);
        reply.text(host);
        reply.integer(port);
        reply.text(hex);
        reply.map(0);
      }
    }
    return reply.writer.copy();
  }

  /** One entry to each master: some clients keep the first one that names a node. */
  #shards(reply: RespEncoder): void {
    const { nodes } = this.view.view;
    const masters = nodes.filter(({ ranges }) => ranges.length > 0);
    reply.array(masters.length);
    for (const master of masters) {
      const all = [master, ...nodes.filter((node) => node.master === master.hex)];
      reply.map(2);
      reply.text("slots");
      reply.array(2 * master.ranges.length);
      for (const range of master.ranges) for (const slot of range) reply.integer(slot);
      reply.text("nodes");
      reply.array(all.length);
      for (const node of all) writeShardNode(reply, node, node === master);
    }
  }

  /** Lines as CLUSTER NODES has them. */
  #nodes(): string[] {
    const { nodes, epoch } = this.view.view;
    return nodes.map((node) => this.#line(node, epoch));
  }

  #line(node: ViewNode, epoch: number): string {
    const { hex, host, port, master, ranges } = node;
    const flags = `${this.isSelf(node) ? "myself," : ""}${master === "" ? "master" : "slave"}`;
    const slots = ranges
      .map(([first, last]) => (first === last ? ` ${first}` : ` ${first}-${last}`))
      .join("");
    return `${hex} ${host}:${port}@${port} ${flags} ${master === "" ? "-" : master} 0 0 ${epoch} connected${slots}\n`;
  }

  #replicas(id: string, reply: RespEncoder): void {
    const { nodes, epoch } = this.view.view;
    const master = nodes.find(({ hex }) => hex === id.toLowerCase());
    if (master === undefined) return reply.error(`ERR Unknown node ${id.slice(0, 40)}`);
    if (master.master !== "") return reply.error("ERR The specified node is not a master");
    const replicas = nodes.filter((node) => node.master === master.hex);
    reply.array(replicas.length);
    for (const node of replicas) reply.text(this.#line(node, epoch).trimEnd());
  }

  #info(): string {
    const { nodes, epoch, served } = this.view.view;
    const facts: readonly (readonly [string, string | number])[] = [
      ["cluster_state", served === SLOT_COUNT ? "ok" : "fail"],
      ["cluster_slots_assigned", served],
      ["cluster_slots_ok", served],
      ["cluster_slots_pfail", 0],
      ["cluster_slots_fail", 0],
      ["cluster_known_nodes", nodes.length],
      ["cluster_size", nodes.filter(({ ranges }) => ranges.length > 0).length],
      ["cluster_current_epoch", epoch],
      ["cluster_my_epoch", epoch],
      ["cluster_stats_messages_sent", 0],
      ["cluster_stats_messages_received", 0],
      ["total_cluster_links_buffer_limit_exceeded", 0],
    ];
    return facts.map(([name, value]) => `${name}:${value}\r\n`).join("");
  }
}

function writeShardNode(reply: RespEncoder, { hex, host, port }: ViewNode, isMaster: boolean): void {
  reply.map(7);
  for (const [name, value] of [
    ["id", hex],
    ["port", port],
    ["ip", host],
    ["endpoint", host],
    ["role", isMaster ? "master" : "replica"],
    ["replication-offset", 0],
    ["health", "online"],
  ] as const) {
    reply.text(name);
    if (typeof value === "number") reply.integer(value);
    else reply.text(value);
  }
}

/**
 * COUNTKEYSINSLOT and GETKEYSINSLOT as data commands: true, and the frame is in `out`; or an error text. False: the
 * words ask for something else.
 */
export function translateClusterData(args: Args, out: CommandEncoder): boolean | string {
  const counts = args.argCount === 3 && argIs(args, 1, "countkeysinslot");
  const lists = args.argCount === 4 && argIs(args, 1, "getkeysinslot");
  if (!counts && !lists) return false;
  const slot = wholeNumber(argText(args, 2));
  if (slot === null || slot >= SLOT_COUNT) return BAD_SLOT;
  if (counts) {
    const slots = new Uint8Array(SLOT_SET_BYTES);
    slots[slot >>> 3] = 1 << (slot & 7);
    out.begin(OP.dbSize);
    out.arg(slots);
  } else {
    const count = wholeNumber(argText(args, 3));
    if (count === null) return BAD_COUNT;
    out.begin(OP.keysInSlot);
    out.argI64(slot);
    out.argI64(count);
  }
  out.end();
  return true;
}

function wholeNumber(text: string): number | null {
  return /^\d{1,15}$/.test(text) ? Number(text) : null;
}
