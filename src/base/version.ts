/**
 * The numbers by which two builds of this program recognise each other.
 *
 * They change only when bytes change meaning: a node refuses a peer whose wire version it does not
 * know, and refuses a directory whose storage version it cannot read. The product's own version
 * (package.json) says nothing about either.
 */

/** Layout of frames on sockets: the `vv` of the native preamble and of every peer hello. */
export const WIRE_VERSION = 1;

/** Layout of segments, checkpoints and snapshots on disk. */
export const STORAGE_VERSION = 1;
