/** Orders that only a shard's leader carries out: which shard, who leads it, and its answer. */
import { readAddress } from "./address.ts";
import type { ClusterView, ShardView } from "./cluster_view.ts";
import { EXIT, exitCodeOfReply } from "./exit_codes.ts";
import { CliError, listed } from "./output.ts";
import { RespConnection } from "./resp_connection.ts";
import { notReached } from "./status_command.ts";

/** It is answered in a turn of the loop. */
const ANSWER_MS_MAX = 3000;

export function onlyShard(view: ClusterView): ShardView {
  const [shard] = view.shards;
  if (shard === undefined) throw new CliError(EXIT.unavailable, "The cluster reports no shard.");
  return shard;
}

/** The shard that is named; without a name the only one there is. */
export function shardNamed(view: ClusterView, id: string | undefined): ShardView {
  const names = view.shards.map((shard) => shard.id);
  if (id === undefined) {
    if (names.length < 2) return onlyShard(view);
    throw new CliError(
      EXIT.usage,
      "There are several shards.",
      "",
      `Say which: --shard ${names.slice(0, 8).join(" | ")}`,
    );
  }
  const shard = view.shards.find((one) => one.id === id);
  if (shard !== undefined) return shard;
  throw new CliError(EXIT.notFound, `There is no shard ${id}.`, "", `There are: ${listed(names)}.`);
}

/** Sends NUCLEUS with `words` to the leader of `shard`. Throws its refusal. */
export async function askLeader(
  view: ClusterView,
  shard: ShardView,
  words: readonly string[],
): Promise<void> {
  const leader = view.nodes.find(({ id }) => id === shard.leader);
  const address = leader === undefined ? null : readAddress(leader.addr);
  if (address === null) {
    throw new CliError(
      EXIT.unavailable,
      `${shard.id} has no leader that could do it.`,
      "",
      "See: nucleus status",
    );
  }
  const connection = await RespConnection.open(address).catch((error: unknown) => {
    throw notReached(error);
  });
  try {
    const reply = await connection.call(["NUCLEUS", ...words], ANSWER_MS_MAX);
    if (reply.kind === "error") throw new CliError(exitCodeOfReply(reply.text), reply.text);
  } finally {
    connection.close();
  }
}
