/** What a router needs of its node (router.ts). */
import type { GroupId } from "../wal/types.ts";
import type { NotServed } from "../wire/peer_encode.ts";
import type { Bundle } from "./bundle.ts";
import type { GroupReplica } from "./group.ts";
import type { SearchHost } from "./leader_search.ts";
import type { Numbering } from "./numbering.ts";
import type { Router } from "./router.ts";

export type RouterHost = SearchHost & {
  readonly numbering: Numbering;
  /** True while the log has a sync under way. */
  syncing(): boolean;
  /** The node of the replica that leads here, as far as known. */
  leaderNode(group: GroupReplica): string | null;
  /** Commands on this slot wait for its next owner: what comes now goes behind them. */
  isHeld(slot: number): boolean;
  /** Holds commands that `group` does not take because it does not serve their slot, or sends them to who does. */
  turnAway(bundle: Bundle, rides: boolean, group: GroupId, refusal: NotServed): void;
  /** Flushes the router in the next turn. */
  touch(router: Router): void;
  wake(): void;
};
