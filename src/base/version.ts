/**
 * The numbers by which two builds of this program recognise each other.
 *
 * They change only when bytes change meaning: a node refuses a peer whose wire version it does not
 * know, and refuses a directory whose storage version it cannot read. The product's own version
 * (package.json) says nothing about either.
 */

/** Layout of frames on sockets: the `vv` of the native preamble and of every peer hello. */
export const WIRE_VERSION = 1;

/**
 * Nodes say in their hellos that they know this as well: pulses, and heartbeats that propose rests (raft/rest.ts). To one
 * that does not nothing of it is sent, so both work together while a cluster is brought to a newer program node by node.
 */
export const WIRE_VERSION_RESTS = 2;

/**
 * Clients and nodes say in their hellos that they know this as well: reads that a follower may answer (wire/native.ts).
 * A node names it in its answer only to a client that did, and such a client asks nobody else for them.
 */
export const WIRE_VERSION_READS = 2;

/** Layout of segments, checkpoints and snapshots on disk. */
export const STORAGE_VERSION = 1;
