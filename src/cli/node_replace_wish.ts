/**
 * `nucleus node replace` in a cluster with a control plane: in each shard that the one node has a replica of, the other
 * one is wished in its place. The control plane remembers that, so it goes on whatever happens to this program.
 */
import { performance } from "node:perf_hooks";
import type { Address } from "./address.ts";
import { EXIT } from "./exit_codes.ts";
import type { Fields } from "./json_fields.ts";
import { untilAsWished, wish } from "./node_members.ts";
import { CliError, listed } from "./output.ts";

export type Exchange = {
  readonly old: string;
  readonly by: string | undefined;
  readonly shard: string | undefined;
  readonly json: boolean;
};

/** `live` is the reply to GET /cluster/live. */
export async function replaceByWish(address: Address, live: Fields, exchange: Exchange): Promise<void> {
  const { old, by, shard, json } = exchange;
  const shards = heldBy(live, old).filter((id) => shard === undefined || id === shard);
  if (by === undefined) throw nobodyNamed(old, shards);
  if (shards.length === 0) {
    const what = shard === undefined ? "no replicas" : `no replica of ${shard}`;
    throw new CliError(EXIT.notFound, `${old} has ${what}.`, "", "See: nucleus shard list");
  }
  const startMs = performance.now();
  for (const id of shards) {
    const add = heldBy(live, by).includes(id) ? {} : { add: [by] };
    await wish(address, { shard: id, ...add, remove: [old] });
  }
  for (const id of shards) await untilAsWished(address, id);
  const ms = performance.now() - startMs;
  if (json) return console.log(JSON.stringify({ shards, removed: old, added: by, ms: Math.round(ms) }));
  console.log(`${by} took ${old}'s place in ${listed(shards)} after ${(ms / 1000).toFixed(1)} s.`);
  console.log(`${old} can be stopped if it has nothing else: nucleus node list`);
}

/** Shards that the node has a replica of, or is to have one of. */
export function heldBy(live: Fields, node: string): string[] {
  return live
    .list("shards")
    .filter((shard) => shard.texts("wanted").includes(node))
    .map((shard) => shard.text("id"));
}

function nobodyNamed(old: string, shards: readonly string[]): CliError {
  const has = shards.length === 0 ? "has no replicas" : `has replicas of ${listed(shards)}`;
  const next = `To put another node in its place: --with NODE\nTo spread its replicas over the others: nucleus node drain ${old}`;
  const lost = "If it lost its directory it gets new replicas by itself, as soon as it runs.";
  return new CliError(EXIT.usage, `${old} ${has}: by what is it to be replaced?`, lost, next);
}
