/**
 * A group's first entry, index 1, term 0: who its founders are, the limits of its state machine, and what the shard
 * begins with. Sealed without a clock, so its bytes are the same on every founder.
 */
import { Writer } from "../base/bytes.ts";
import { encodeConfig } from "../raft/config.ts";
import { ENTRY_KIND, type Entry, type GroupConfig } from "../raft/types.ts";
import { STATE_VERSION } from "../store/types.ts";
import type { GroupId } from "../wal/types.ts";
import { BATCH_HEADER_BYTES, COMMAND_ENCODING, sealBatch } from "../wire/batch.ts";

/** `state` is what the group's state machine reads behind the config. */
export function sealBootstrap(group: GroupId, config: GroupConfig, state: Uint8Array): Entry {
  const body = new Writer();
  body.zeros(BATCH_HEADER_BYTES);
  body.raw(encodeConfig(config)); // its own u32 size first
  body.raw(state);
  const bytes = body.copy();
  sealBatch(bytes, 0, {
    bodySize: bytes.length - BATCH_HEADER_BYTES,
    group,
    term: 0,
    index: 1,
    timeMs: 0,
    count: 0,
    kind: ENTRY_KIND.bootstrap,
    encoding: COMMAND_ENCODING,
    stateVersion: STATE_VERSION,
  });
  return { index: 1, term: 0, kind: ENTRY_KIND.bootstrap, bytes };
}

/** The config of a group that begins with these nodes: replica i + 1 on the i-th. */
export function foundingConfig(nodes: readonly string[]): GroupConfig {
  return {
    version: 1,
    voters: nodes.map((node, i) => ({ replica: i + 1, node })),
    outgoing: [],
    learners: [],
    nextReplica: nodes.length + 1,
  };
}
