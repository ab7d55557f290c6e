/**
 * Changes of members, from what leaders send and what disks hold (thesis 4.3; hazards D11, E1, E2).
 *
 *     one change at a time    when a leader first sends a config of its own making, the config before it in its log was
 *                             applied somewhere, or majorities of all its voters have it on their disks
 *     members of a snapshot   a snapshot names the members as of its index, and not those that came after
 *
 * The configs of a group are kept as they were sent and applied; what a snapshot says is read from the file.
 */
import { getU32, Reader } from "../../base/bytes.ts";
import { configOfEntry, encodeConfig, readConfig } from "../../raft/config.ts";
import {
  type AppendRequest,
  ENTRY_KIND,
  type Entry,
  type GroupConfig,
  type Index,
  type Message,
  type Term,
} from "../../raft/types.ts";
import type { GroupReplica } from "../../server/group.ts";
import { NODE_DIR, type SimNode } from "../cluster.ts";
import type { SimFile } from "../disk_file.ts";
import type { World } from "../world.ts";
import type { Checker } from "./checker.ts";
import type { DurabilityChecker } from "./durability.ts";
import type { LeaderChecker } from "./leaders.ts";

type Placed = { readonly index: Index; readonly term: Term; readonly config: GroupConfig };

/** Where the head of a snapshot's file has its body's size (src/server/snapshot_file.ts). */
const HEAD_SIZE_AT = 16;
const HEAD_BODY_AT = 20;

export class MembersChecker implements Checker {
  readonly name = "members";
  judged = 0;
  /** Snapshots among that. */
  snapshots = 0;
  readonly #world: World;
  readonly #leaders: LeaderChecker;
  readonly #durability: DurabilityChecker;
  /** By group: every config that a leader sent as its own, by "index/term". */
  readonly #sent = new Map<number, Map<string, Placed>>();
  /** By group: the highest index that was applied anywhere. */
  readonly #highest = new Map<number, Index>();
  /** By group, in order of index: those that were applied. */
  readonly #applied = new Map<number, Placed[]>();
  readonly #read = new WeakSet<SimFile>();

  constructor(world: World, leaders: LeaderChecker, durability: DurabilityChecker) {
    this.#world = world;
    this.#leaders = leaders;
    this.#durability = durability;
  }

  onMessage(node: SimNode, group: number, message: Message): void {
    if (message.kind !== "append" || node.diskDamaged) return; // what is in its log, its disk does not tell
    for (const entry of message.entries)
      if (entry.kind === ENTRY_KIND.config && entry.term === message.term)
        this.#onSent(node, group, message, entry);
  }

  onApplied(_node: SimNode, { group }: GroupReplica, entry: Entry): void {
    this.#highest.set(group, Math.max(this.#highest.get(group) ?? 0, entry.index));
    if (entry.kind !== ENTRY_KIND.config && entry.kind !== ENTRY_KIND.bootstrap) return;
    const applied = this.#applied.get(group) ?? [];
    this.#applied.set(group, applied);
    const config = configOfEntry(entry);
    if (config === null || entry.index <= (applied.at(-1)?.index ?? 0)) return;
    applied.push({ index: entry.index, term: entry.term, config });
  }

  #onSent(node: SimNode, group: number, { term }: AppendRequest, entry: Entry): void {
    const sent = this.#sent.get(group) ?? new Map<string, Placed>();
    this.#sent.set(group, sent);
    const name = `${entry.index}/${entry.term}`;
    const config = configOfEntry(entry);
    if (config === null || sent.has(name)) return;
    sent.set(name, { index: entry.index, term: entry.term, config });
    const before = this.#before(node, group, term, entry.index);
    if (before === null) return;
    this.judged++;
    if ((this.#highest.get(group) ?? 0) >= before.index) return;
    for (const members of [before.config.voters, before.config.outgoing]) {
      const holders = members.filter((one) => this.#durability.holds(one.node, group, before));
      if (members.length === 0 || 2 * holders.length > members.length) continue;
      const names = holders.map((one) => one.node).join(", ");
      this.#world.fail(
        "one change at a time",
        `${node.id} changes members at index ${entry.index}; the change before, at index ${before.index} ` +
          `of term ${before.term}, is held by these disks only: ${names || "none"}`,
      );
    }
  }

  /** The config before that index in the log of the leader of `term`, if it was sent. */
  #before(node: SimNode, group: number, term: Term, index: Index): Placed | null {
    let best: Placed | null = null;
    for (const placed of this.#sent.get(group)?.values() ?? []) {
      if (placed.index >= index || placed.index <= (best?.index ?? 0)) continue;
      const isInLog =
        this.#leaders.termAt(group, term, placed.index) === placed.term ||
        this.#durability.holds(node.id, group, placed);
      if (isInLog) best = placed;
    }
    return best;
  }

  /** `node` has a new snapshot. */
  onSnapshot(node: SimNode): void {
    const { tree } = node.machine.disk;
    for (const { path, file } of tree.durableFiles()) {
      if (!path.startsWith(`${NODE_DIR}/snapshots/`) || !path.endsWith(".snap") || this.#read.has(file))
        continue;
      this.#read.add(file);
      this.#onFile(node, file.durable.view());
    }
  }

  #onFile(node: SimNode, bytes: Uint8Array): void {
    const body = bytes.subarray(HEAD_BODY_AT, HEAD_BODY_AT + getU32(bytes, HEAD_SIZE_AT));
    const reader = new Reader(body);
    const [group, index] = [reader.u64(), reader.u64()];
    reader.u64(); // its term
    const config = readConfig(reader);
    const applied = this.#applied.get(group) ?? [];
    const placed = applied.findLast((one) => one.index <= index);
    if (config === null || placed === undefined) return;
    this.judged++;
    this.snapshots++;
    if (textOf(config) === textOf(placed.config)) return;
    this.#world.fail(
      "members of a snapshot",
      `${node.id}: its snapshot at index ${index} names config ${config.version}, and config ` +
        `${placed.config.version} is in force there since index ${placed.index}`,
    );
  }
}

function textOf(config: GroupConfig): string {
  return encodeConfig(config).join();
}
