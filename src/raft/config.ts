/**
 * A group's configuration: its layout in bytes, and what a change makes of it.
 *
 *     u32  size            of all that follows
 *     u64  version
 *     u64  nextReplica
 *     3 x  list            voters, outgoing, learners:
 *            u32 count, then count x (u64 replica, u32 size + node name in UTF-8), replicas strictly ascending
 *
 * The body of every config and bootstrap entry begins with this. A change of voters goes through a joint config
 * (thesis 4.3), any number of replicas at once; learners do not vote, so they come and go in one entry.
 *
 * Errors: bytes of a peer or a disk may be anything, so reading gives null and never throws.
 */
import { assert } from "../base/assert.ts";
import { Reader, utf8, Writer } from "../base/bytes.ts";
import type { Entry, GroupConfig, Member, ReplicaId } from "./types.ts";

/** Where a sealed batch's body begins: BATCH_HEADER_BYTES of wire/batch.ts, which this room may not import. */
export const ENTRY_BODY_OFFSET = 48;
/** Most members of a group, in each role: quorums, progress and config entries stay small. */
export const MEMBERS_MAX = 64;
/** Most bytes of a node's name. A whole config is then at most 3 x 64 x (12 + 256) + 32 bytes, about 50 KiB. */
export const NODE_NAME_BYTES_MAX = 256;

export const EMPTY_CONFIG: GroupConfig = {
  version: 0,
  voters: [],
  outgoing: [],
  learners: [],
  nextReplica: 1,
};

/** Writes the layout above. */
export function writeConfig(to: Writer, config: GroupConfig): void {
  assert(isConsistent(config), "a config that is written is consistent");
  const sizeAt = to.length;
  to.u32(0);
  to.u64(config.version);
  to.u64(config.nextReplica);
  for (const list of [config.voters, config.outgoing, config.learners]) {
    to.u32(list.length);
    for (const member of list) {
      to.u64(member.replica);
      to.text(member.node);
    }
  }
  to.patchU32(sizeAt, to.length - sizeAt - 4);
}

export function encodeConfig(config: GroupConfig): Uint8Array {
  const writer = new Writer();
  writeConfig(writer, config);
  return writer.copy();
}

/** Reads one config and leaves `from` behind it; null (and `from` failed) if it is not a consistent one. */
export function readConfig(from: Reader): GroupConfig | null {
  const body = from.blob();
  const reader = new Reader(body);
  const version = reader.u64();
  const nextReplica = reader.u64();
  const voters = readMembers(reader);
  const outgoing = readMembers(reader);
  const learners = readMembers(reader);
  const config: GroupConfig = { version, voters, outgoing, learners, nextReplica };
  if (!from.failed && reader.done() && isConsistent(config)) return config;
  from.fail();
  return null;
}

/** The config that a config or bootstrap entry brings; null if its body does not begin with one. */
export function configOfEntry(entry: Entry): GroupConfig | null {
  if (entry.bytes.length < ENTRY_BODY_OFFSET) return null;
  return readConfig(new Reader(entry.bytes, ENTRY_BODY_OFFSET));
}

function readMembers(reader: Reader): Member[] {
  const count = reader.u32();
  if (count > MEMBERS_MAX) reader.fail();
  const members: Member[] = [];
  for (let i = 0; i < count && !reader.failed; i++)
    members.push({ replica: reader.u64(), node: reader.text() });
  return members;
}

/** Every list ascending and within limits, ids handed out before, one role and one node to each replica. */
function isConsistent(config: GroupConfig): boolean {
  const { voters, outgoing, learners, nextReplica } = config;
  for (const list of [voters, outgoing, learners]) {
    if (list.length > MEMBERS_MAX) return false;
    let previous = 0;
    for (const { replica, node } of list) {
      if (replica <= previous || replica >= nextReplica) return false;
      if (utf8(node).length > NODE_NAME_BYTES_MAX) return false;
      previous = replica;
    }
  }
  if (learners.some(({ replica }) => isVoter(config, replica))) return false;
  return outgoing.every((old) => voters.every((now) => now.replica !== old.replica || now.node === old.node));
}

/** True if `replica` has a vote, in the old set or the new one. */
export function isVoter(config: GroupConfig, replica: ReplicaId): boolean {
  return includes(config.voters, replica) || includes(config.outgoing, replica);
}

export function includes(members: readonly Member[], replica: ReplicaId): boolean {
  for (const member of members) if (member.replica === replica) return true;
  return false;
}

/** In the joint phase of a change. */
export function isJoint(config: GroupConfig): boolean {
  return config.outgoing.length > 0;
}

/** A change asked of a group, made for one version of its config. */
export type ConfigChange = {
  /** The config it was made for; refused if another one is in force. */
  readonly version: number;
  /** Nodes that get a new replica each, as learners; their ids are handed out in this order. */
  readonly addLearners?: readonly string[];
  /** Learners that become voters. */
  readonly promote?: readonly ReplicaId[];
  /** Members that leave, voters or learners. */
  readonly remove?: readonly ReplicaId[];
};

/** What is wrong with a change in itself. */
export type ConfigProblem =
  | "version_conflict"
  | "unknown_member"
  | "no_voters"
  | "too_many_members"
  | "node_name"
  | "no_change";

/** The config that follows when `change` is made: joint if it touches voters. */
export function changeConfig(config: GroupConfig, change: ConfigChange): GroupConfig | ConfigProblem {
  const { version, addLearners = [], promote = [], remove = [] } = change;
  assert(!isJoint(config), "a change begins outside of a joint phase");
  if (version !== config.version) return "version_conflict";
  const all = [...config.voters, ...config.learners];
  if (!remove.every((replica) => includes(all, replica))) return "unknown_member";
  if (!promote.every((replica) => includes(config.learners, replica))) return "unknown_member";
  if (promote.some((replica) => remove.includes(replica))) return "unknown_member";
  if (addLearners.some((node) => utf8(node).length > NODE_NAME_BYTES_MAX)) return "node_name";
  if (addLearners.length + promote.length + remove.length === 0) return "no_change";
  const promoted = config.learners.filter(({ replica }) => promote.includes(replica));
  const voters = [...config.voters.filter(({ replica }) => !remove.includes(replica)), ...promoted];
  voters.sort((a, b) => a.replica - b.replica);
  const learners = config.learners.filter(
    ({ replica }) => !remove.includes(replica) && !promote.includes(replica),
  );
  for (const [i, node] of addLearners.entries()) learners.push({ replica: config.nextReplica + i, node });
  if (voters.length === 0) return "no_voters";
  if (voters.length > MEMBERS_MAX || learners.length > MEMBERS_MAX) return "too_many_members";
  const votersChange = promoted.length > 0 || voters.length !== config.voters.length;
  return {
    version: config.version + 1,
    voters,
    outgoing: votersChange ? config.voters : [],
    learners,
    nextReplica: config.nextReplica + addLearners.length,
  };
}

/** The config that ends the joint phase of `config`. */
export function leaveJoint(config: GroupConfig): GroupConfig {
  assert(isJoint(config), "only a joint config is left");
  return { ...config, version: config.version + 1, outgoing: [] };
}
