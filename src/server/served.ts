/** Which slots a shard serves, as far as its replica here has applied, and what a command on another one is told. */
import type { Store } from "../store/types.ts";
import type { CommandView } from "../wire/command.ts";
import type { NotServed } from "../wire/peer_encode.ts";
import { slotsOf } from "./keys.ts";

/** The first slot of the command that is not served; -1: all are. `slot`: the only one that it touches, or -1. */
export function unservedSlot(store: Store, view: CommandView, slot: number): number {
  if (slot >= 0) return store.isServed(slot) ? -1 : slot;
  return slotsOf(view).find((one) => !store.isServed(one)) ?? -1;
}

/** `store` null: no replica is here any more. */
export function refusalOf(store: Store | null, slot: number): NotServed {
  const fate = store?.slotFate(slot);
  const to = fate?.movedTo;
  return { slot, epoch: fate?.epoch ?? 0, group: to?.group ?? 0, shard: to?.shard ?? "" };
}
