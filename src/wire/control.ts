/**
 * The messages that are MessagePack: greetings between clients, nodes and peers, orders, status. Shapes and
 * their checks are those of msgpack.ts; a message's type is what its shape says.
 *
 * The greetings are open (a newer build may say more); everything after them is closed: unknown fields are
 * refused, and a new field comes with a new version that both sides named in their greeting.
 */
import { KiB, MiB } from "../base/units.ts";
import { BATCH_BYTES_MAX } from "./batch.ts";
import { GROUPS_MAX } from "./control_plane.ts";
import { moveMessage } from "./move_message.ts";
import { bytes, choice, flag, hex, integer, list, nullable, record, text, type ValueOf } from "./msgpack.ts";
import { name, oneOf, slots } from "./shapes.ts";

/** Most bytes of a control message: a greeting that lists 16384 replicas has about 400 KiB. */
export const CONTROL_BYTES_MAX = 2 * MiB;
const NODE_ID_BYTES_MAX = 64;
/** A host name has at most 253 bytes; a port six more. */
const ADDRESS_BYTES_MAX = 260;
const ID_BYTES = 16;
const VERSIONS_MAX = 16;
const U32_MAX = 0xffffffff;

const nodeId = text(NODE_ID_BYTES_MAX);
const address = text(ADDRESS_BYTES_MAX);
const groupId = integer(0);
const replicaId = integer(1, U32_MAX);
const leader = record({ group: groupId, term: integer(0), node: nodeId, address });

/** The first frame of a client. */
export const clientHello = record(
  { name: text(256), version: text(64), wireVersions: list(integer(1, 127), VERSIONS_MAX) },
  true,
);
export type ClientHello = ValueOf<typeof clientHello>;

export const helloReply = record(
  {
    cluster: hex(ID_BYTES),
    node: nodeId,
    version: text(64),
    wireVersion: integer(1, 127),
    /** The leader's time as this node knows it, milliseconds since 1970: where `notAfter` is counted from. */
    leaderTimeMs: integer(0),
    /** Who leads which group, as far as known: hints, ordered by term. */
    leaders: list(leader, GROUPS_MAX),
    frameBytesMax: integer(1 * KiB, U32_MAX),
  },
  true,
);
export type HelloReply = ValueOf<typeof helloReply>;

/** Appends and heartbeats; snapshots and moves; commands that a door forwards. */
const CONNECTION_CLASSES = ["control", "bulk", "forward"] as const;
export type ConnectionClass = (typeof CONNECTION_CLASSES)[number];

const held = record({ group: groupId, replica: replicaId, quarantined: flag() });

/** The first frame in each direction between two nodes. */
export const peerHello = record(
  {
    cluster: hex(ID_BYTES),
    node: nodeId,
    /** Random, new with every empty directory: a wiped node is another one. */
    incarnation: hex(ID_BYTES),
    class: choice(...CONNECTION_CLASSES),
    wireVersions: list(integer(1, 127), VERSIONS_MAX),
    /** State versions that this build can apply, lowest and highest. */
    stateVersionMin: integer(1, 0xffff),
    stateVersionMax: integer(1, 0xffff),
    /** Every replica on this node, quarantined ones too. */
    held: list(held, GROUPS_MAX),
  },
  true,
);
export type PeerHello = ValueOf<typeof peerHello>;

/** The order that alone brings a replica into being; refused by any other incarnation. */
export const createReplica = record({
  group: groupId,
  replica: replicaId,
  incarnation: hex(ID_BYTES),
  /** The sealed bootstrap batch, index 1, of a group that begins; null: the group's leader will send its log. */
  bootstrap: nullable(bytes(BATCH_BYTES_MAX)),
});
export type CreateReplica = ValueOf<typeof createReplica>;

/** The group goes on without this replica, for good: its node closes it. */
const closeReplica = record({ group: groupId, replica: replicaId });
export type CloseReplica = ValueOf<typeof closeReplica>;

/** What a replica's state was when it had applied `index`: equal on all of them. */
export const stateHash = record({ group: groupId, replica: replicaId, index: integer(1), hash: hex(8) });
export type StateHash = ValueOf<typeof stateHash>;

/** Who serves these slots since `epoch`: its own leader says so, and the higher epoch wins (hazard F9). */
const slotClaim = record({
  shard: name(),
  group: integer(1),
  epoch: integer(1),
  slots: slots(16_384),
});
export type SlotClaim = ValueOf<typeof slotClaim>;

/** What nodes tell each other beside the traffic of their replicas. */
export const peerNote = oneOf({
  create: { create: createReplica },
  close: { close: closeReplica },
  hash: { hash: stateHash },
  /** Every replica on this node, as in its hello: it changed. */
  held: { held: list(held, GROUPS_MAX) },
  /** Slots moved. */
  claim: { claim: slotClaim },
  /** Between the leaders of a move's two shards; on the bulk connection. */
  move: { move: moveMessage },
});
export type PeerNote = ValueOf<typeof peerNote>;

const groupStatus = record({
  group: groupId,
  shard: text(NODE_ID_BYTES_MAX),
  replica: replicaId,
  role: choice("follower", "precandidate", "candidate", "leader", "learner", "quarantined"),
  term: integer(0),
  /** The leader's node and address, if known. */
  leader: nullable(leader),
  configVersion: integer(0),
  commit: integer(0),
  applied: integer(0),
  slots: integer(0, 16384),
  keys: integer(0),
  bytes: integer(0),
  /** Of the leader: how far each replica's log is behind; null elsewhere. */
  followers: nullable(
    list(record({ replica: replicaId, node: nodeId, voter: flag(), match: integer(0), lag: integer(0) }), 64),
  ),
});

export const nodeStatus = record({
  cluster: hex(ID_BYTES),
  node: nodeId,
  incarnation: hex(ID_BYTES),
  address,
  http: address,
  version: text(64),
  pid: integer(0),
  uptimeMs: integer(0),
  groups: list(groupStatus, GROUPS_MAX),
});
export type NodeStatus = ValueOf<typeof nodeStatus>;
