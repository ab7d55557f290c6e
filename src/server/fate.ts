/**
 * What is said of commands that could not be carried out as asked. The first word is an interface: clients retry
 * CLUSTERDOWN, TRYAGAIN and LOADING by themselves, so these are said only if nothing was done by any attempt; nobody
 * retries UNCERTAIN or MISCONF.
 */
export const UNCERTAIN =
  "UNCERTAIN the write was sent but its outcome is not known; read the key before repeating it";
export const NO_LEADER =
  "CLUSTERDOWN No leader: a majority of the shard's nodes does not answer; nothing was done";
export const NO_ANSWER = "CLUSTERDOWN The shard's leader did not answer in time; nothing was done";
/** Of a door whose node knows no map yet, and has no replica. */
export const NO_REPLICA = "LOADING this node has no replica of the shard yet; ask another node";
/** Nobody is known to serve this slot: the map has a hole. */
export const SLOT_NOT_SERVED = "CLUSTERDOWN Hash slot not served; nothing was done";
/** It waited for the slot's next owner as long as a door waits for that. */
export const SLOT_MOVING = "TRYAGAIN The slot is being moved; nothing was done";
/** Of a write over several slots. */
export const PARTLY =
  "UNCERTAIN some of the keys were written, and others were not; read them before repeating it";
/** Two shards serve the slots of a command that must take effect as one. */
export const CROSS_SLOT = "CROSSSLOT Keys in request don't hash to the same slot";
/** Of a door whose node had a replica: it was removed, or its log is damaged. */
export const REPLICA_GONE =
  "CLUSTERDOWN This node no longer has a replica of the shard; nothing was done, ask another node";
export const DISK_FULL =
  "MISCONF The log found no free disk space, so writes are refused until there is some; nothing was done";
/** Of a command that was carried out; only its reply is lost. */
export const TOO_LARGE = "ERR the reply is larger than a frame may be; ask for less at a time (SCAN)";
