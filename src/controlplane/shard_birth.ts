/**
 * The first entry of a shard's group, sealed: the same bytes for every founder, whichever control process orders it and
 * whenever, since all of it was written down with the shard (state.ts).
 */
import { foundingConfig, sealBootstrap } from "../server/bootstrap.ts";
import { storeSettings } from "../server/layout.ts";
import { encodeBirth } from "../store/birth_entry.ts";
import type { ShardRecord } from "./state.ts";

export function bootstrapOf({ id, group, birth }: ShardRecord): Uint8Array {
  const { founders, slots, epoch, memoryBytesMax } = birth;
  const config = foundingConfig(founders.map(({ node }) => node)); // founder i is replica i + 1
  const state = encodeBirth({ settings: storeSettings(memoryBytesMax), shard: id, epoch, slots });
  return sealBootstrap(group, config, state).bytes;
}
