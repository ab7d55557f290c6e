/** Error texts that come out of apply: Redis's own wherever it has one, word for word. */
import { ERROR, expireTimeError } from "../wire/error_text.ts";

export const STORE_ERROR = {
  syntax: ERROR.syntax,
  argCount: "ERR wrong number of arguments in command frame",
  argSize: "ERR argument of command frame has the wrong size",
  malformed: "ERR malformed command frame",
  keySize: ERROR.keySize,
  notInteger: ERROR.notInteger,
  overflow: "ERR increment or decrement would overflow",
  notFloat: ERROR.notFloat,
  nanOrInfinity: ERROR.nanOrInfinity,
  offsetRange: ERROR.offsetRange,
  valueSize: "ERR string exceeds maximum allowed size (proto-max-bulk-len)",
  replySize: "ERR the reply would be larger than 48 MiB; ask for less at a time",
  noSuchKey: "ERR no such key",
  sameObject: ERROR.sameObject,
  expireNx: ERROR.expireNx,
  expireGtLt: ERROR.expireGtLt,
  setTime: expireTimeError("set"),
  getExTime: expireTimeError("getex"),
  expireTime: expireTimeError("expire"),
  sessionSlots: "ERR a session write must touch exactly one slot",
  sessionsFull: "TRYAGAIN not proposed: the shard remembers as many replies of session writes as it may",
  sessionRepliesFull:
    "TRYAGAIN not proposed: too many replies of this client are unacknowledged, raise its floor",
  memory: "OOM command not allowed when used memory > 'maxmemory'.",
} as const;
