/**
 * Error texts that clients and their tests match word for word: Redis's own wherever it has one. What the
 * prefixes let a client do is in docs/protocol.md; texts of routing and fate are made by the server.
 */
import { ARGS_MAX, COMMAND_BYTES_MAX, KEY_BYTES_MAX } from "./command.ts";

export const ERROR = {
  syntax: "ERR syntax error",
  notInteger: "ERR value is not an integer or out of range",
  notFloat: "ERR value is not a valid float",
  nanOrInfinity: "ERR increment would produce NaN or Infinity",
  decrementOverflow: "ERR decrement would overflow",
  offsetRange: "ERR offset is out of range",
  cursor: "ERR invalid cursor",
  databaseRange: "ERR DB index is out of range",
  sameObject: "ERR source and destination objects are the same",
  expireNx: "ERR NX and XX, GT or LT options at the same time are not compatible",
  expireGtLt: "ERR GT and LT options at the same time are not compatible",
  // Limits of this server, which Redis does not have.
  keySize: `ERR key is larger than ${KEY_BYTES_MAX} bytes`,
  patternSize: `ERR pattern is larger than ${KEY_BYTES_MAX} bytes`,
  commandSize: `ERR command is larger than ${COMMAND_BYTES_MAX} bytes`,
  argCount: `ERR command has more than ${ARGS_MAX} arguments`,
} as const;

export function expireTimeError(name: string): string {
  return `ERR invalid expire time in '${name}' command`;
}
