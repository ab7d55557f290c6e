/** What the node knows of a client's connection, and what a connection may ask of its node. */
import type { Clock, Connection, ConnectionEvents, Random } from "../platform/platform.ts";
import type { CommandView } from "../wire/command.ts";
import type { Origin } from "./bundle.ts";
import type { ClusterDoor } from "./cluster_commands.ts";
import type { NodeInfo } from "./info.ts";
import type { Lane } from "./lane.ts";
import type { NodeReads } from "./node_reads.ts";

export interface Client extends ConnectionEvents {
  readonly id: number;
  readonly connection: Connection;
  readonly protocolName: string;
  readonly sinceMs: number;
  readonly lastMs: number;
  readonly lastCommand: string;
  readonly outputBytes: number;
  name: string;
  libName: string;
  libVersion: string;
  closing: boolean;
  /** Sends what was answered. Once a turn, for each touched client. */
  flush(): void;
  /** Tries again what was held back. */
  retry(): void;
  /** The map is another one: who has asked for it once hears of it. */
  onTopology?(): void;
}

export type ControlCall = { readonly method: string; readonly path: string; readonly body: Uint8Array };
export type ControlAnswer = { readonly status: number; readonly type: string; readonly body: Uint8Array };

/** `proxy`: any node takes any command. `cluster`: it sends clients to the leader's node, as Redis Cluster does. */
export type RedisMode = "proxy" | "cluster";

export type DoorReads = Pick<NodeReads, "followerFor" | "readHere">;

export type ClientHost = {
  readonly redisMode: RedisMode;
  readonly cluster: ClusterDoor;
  readonly clock: Clock;
  readonly random: Random;
  readonly info: NodeInfo;
  /** Begins to hand a shard's leadership to `node`; why not, as an error text, or null. `shard` null: the only one here. */
  moveLeader(node: string, shard: string | null): string | null;
  /** Begins to put `node` in the place of `old` in the shard; why not, as an error text, or null. */
  replaceNode(old: string, node: string): string | null;
  /**
   * One call of the control plane's HTTP surface, by way of this node: its status and body, or an error text that says
   * why there is none.
   */
  control(call: ControlCall, answer: (reply: ControlAnswer | string) => void): void;
  /** Clients connected now. */
  clients(): Iterable<Client>;
  /** Hands a checked command to its router; false: ask again after a turn (`waitForRoom`). */
  admit(view: CommandView, frameAt: number, lane: Lane, origin: Origin, tag: number): boolean;
  /** Reads that this node's followers answer. */
  readonly reads: DoorReads;
  /** The client has something to flush at the end of the turn. */
  touch(client: Client): void;
  /** Calls `retry` after the next turn. */
  waitForRoom(client: Client): void;
  /** Calls `retry` with the next tick: its reader is slow, and nobody says when it has read. */
  waitForDrain(client: Client): void;
  onGone(client: Client): void;
};
