/** Reads that this node's followers answer, for all doors: which replica is asked, and when it is looked at. */
import type { CommandView } from "../wire/command.ts";
import type { Origin } from "./bundle.ts";
import type { GroupReplica } from "./group.ts";
import { NOT_OPEN } from "./http_door.ts";
import { slotOfCommand } from "./keys.ts";
import type { Lane } from "./lane.ts";
import { LocalReads } from "./local_reads.ts";
import type { NucleusNode } from "./node.ts";
import { ReadHere } from "./read_here.ts";
import type { LocalRead, ReadBy, ReplicaMode, ReplicaReads } from "./replica_reads.ts";

/** The route of reads that are answered here (lane.ts): no router has it. */
const ROUTE_HERE = -1;

/** An origin that is told how a read was made safe, before the reply begins. */
export type ReadOrigin = Origin & { onRead?(tag: number, by: ReadBy): void };

export class NodeReads implements ReplicaReads {
  readonly #node: NucleusNode;
  readonly #replicas = new Map<GroupReplica, LocalReads>();

  constructor(node: NucleusNode) {
    this.#node = node;
  }

  read(read: LocalRead): void {
    const group = groupOf(this.#node, read.slot);
    if (group === null || group.isLeader) read.done({ kind: "elsewhere" });
    else this.#readAt(group, read);
  }

  #readAt(group: GroupReplica, read: LocalRead): void {
    let reads = this.#replicas.get(group);
    if (reads === undefined) {
      const { clock, random } = this.#node.platform;
      reads = new LocalReads(group.core, group.store, clock, random);
      this.#replicas.set(group, reads);
    }
    reads.read(read);
    this.#node.engine.touch(group.group); // what it asks the leader leaves in this turn: a group at rest has no ticks
  }

  /** The follower here that may answer the command: a read of one slot, and nothing of its connection stands before it. */
  followerFor(view: CommandView, lane: Lane): GroupReplica | null {
    const slot = slotOfCommand(view);
    if (slot < 0 || view.isWrite || view.hasSession) return null;
    if (lane.held?.stands(slot) === true || lane.readRides(slot)) return null;
    const group = groupOf(this.#node, slot);
    return group !== null && !group.isLeader && lane.take(slot, ROUTE_HERE) ? group : null;
  }

  /** By `followerFor`'s. Who waits for it in the lane waits until it is answered, by this node or by the leader. */
  readHere(
    follower: GroupReplica,
    view: CommandView,
    frameAt: number,
    lane: Lane,
    origin: ReadOrigin,
    tag: number,
    mode: ReplicaMode,
  ): void {
    const slot = slotOfCommand(view);
    const frame = view.bytes.slice(frameAt, view.end);
    const read = new ReadHere(frame, slot, mode, origin, tag, lane, this.#node.engine);
    this.#readAt(follower, read);
  }

  /** The end of a turn. */
  serve(): void {
    for (const [group, reads] of this.#replicas) {
      if (this.#node.engine.group(group.group) !== group) {
        this.#replicas.delete(group); // the replica is closed
        reads.giveBack();
        continue;
      }
      reads.serve();
      if (group.core.hasWork) this.#node.engine.touch(group.group); // it asks again
    }
  }

  end(): void {
    for (const reads of this.#replicas.values()) reads.refuse(NOT_OPEN);
  }
}

/** The replica here that serves the slot; null as well if nobody is known to serve it, or others are. */
export function groupOf({ routing, engine }: NucleusNode, slot: number): GroupReplica | null {
  const router = routing.routerAt(slot);
  const group = router === null ? null : engine.group(router.group);
  return group?.store.isServed(slot) === true ? group : null;
}
