/**
 * What a checker may watch. Most of it is derived from the simulated wire and disks; only what happens inside a
 * node alone (it applied an entry) comes from the server's own observer.
 */
import type { Entry, Message } from "../../raft/types.ts";
import type { GroupReplica } from "../../server/group.ts";
import type { SimNode } from "../cluster.ts";

export interface Checker {
  /** For reports: "election safety", "acknowledged is durable" .. */
  readonly name: string;
  /** `node` hands this message to the network. */
  onMessage?(node: SimNode, group: number, message: Message): void;
  /** `node` applied `entry`; the store shows the state after it. */
  onApplied?(node: SimNode, replica: GroupReplica, entry: Entry): void;
  /** `node` may have become leader, stepped down, or seen another leader or term. */
  onLeader?(node: SimNode, replica: GroupReplica): void;
  /** A new process of `node` begins: it knows what its disk says and nothing else. */
  onStart?(node: SimNode): void;
  /** It has read its disk; nobody has sent it anything yet. */
  onUp?(node: SimNode): void;
  /** Its disk, whole and without power, is about to be harmed. */
  onDamage?(node: SimNode, how: "flip_bit" | "wipe"): void;
  /** A snapshot of one of its groups lasts on its disk. */
  onSnapshot?(node: SimNode): void;
  /** How often the checker had something to judge: a checker that never had proves nothing. */
  readonly judged: number;
}
