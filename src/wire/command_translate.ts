/**
 * From the words of a Redis-shaped command to the one command frame that means it, or to the error that Redis
 * would answer. Each handler checks all its words first and only then begins the frame, so an error leaves
 * nothing behind.
 *
 * What Redis finds out only after it looked at the key (GETEX with a bad time on a missing key) is found here
 * before, because the door cannot see the key.
 */
import type { Args } from "./args.ts";
import { ARGS_MAX, COMMAND_BYTES_MAX, KEY_BYTES_MAX, OP } from "./command.ts";
import type { CommandEncoder } from "./command_encode.ts";
import { COMMANDS, type CommandInfo } from "./command_table.ts";
import { ERROR } from "./error_text.ts";
import { copy, del, delEx, expire, flush, keys, randomKey, rename, scan } from "./handle_key.ts";
import { getEx, set, setNx, setWithTime } from "./handle_set.ts";
import { getRange, incrBy, incrByFloat, setRange } from "./handle_string.ts";
import {
  type Handler,
  keyAndNumbers,
  pairs,
  type RandomSource,
  SECOND_MS,
  sizeOf,
  verbatim,
} from "./handler.ts";

export type { RandomSource } from "./handler.ts";

/**
 * Appends the frame of `args`, a command of the table with an `op` and words in the right number
 * (`resolveCommand`), and gives null; or leaves `out` as it was and gives an error text.
 */
export function translate(
  command: CommandInfo,
  args: Args,
  out: CommandEncoder,
  random: RandomSource,
): string | null {
  if (args.argCount > ARGS_MAX + 1) return ERROR.argCount;
  if (command.firstKey > 0) {
    const last = command.lastKey < 0 ? args.argCount - 1 : command.lastKey;
    for (let i = command.firstKey; i <= last; i += command.keyStep) {
      if (sizeOf(args, i) > KEY_BYTES_MAX) return ERROR.keySize;
    }
  }
  const error = (HANDLERS[command.id] as Handler)(args, out, command, random);
  if (error !== null) return error;
  if (out.end() <= COMMAND_BYTES_MAX) return null;
  out.abort();
  return ERROR.commandSize;
}

const BY_NAME: Readonly<Record<string, Handler>> = {
  append: verbatim(OP.append),
  decr: keyAndNumbers(OP.incrBy, -1),
  decrby: incrBy(-1),
  delex: delEx,
  get: verbatim(OP.get),
  getdel: verbatim(OP.getDel),
  getex: getEx,
  getrange: getRange,
  getset: verbatim(OP.getSet),
  incr: keyAndNumbers(OP.incrBy, 1),
  incrby: incrBy(1),
  incrbyfloat: incrByFloat,
  mget: verbatim(OP.mget),
  mset: pairs(OP.mset),
  msetnx: pairs(OP.msetNx),
  psetex: setWithTime(1),
  set,
  setex: setWithTime(SECOND_MS),
  setnx: setNx,
  setrange: setRange,
  strlen: verbatim(OP.strlen),
  substr: getRange,

  copy,
  del,
  exists: verbatim(OP.exists),
  expire: expire(SECOND_MS, true),
  expireat: expire(SECOND_MS, false),
  expiretime: keyAndNumbers(OP.ttl, SECOND_MS, 1),
  keys,
  persist: verbatim(OP.persist),
  pexpire: expire(1, true),
  pexpireat: expire(1, false),
  pexpiretime: keyAndNumbers(OP.ttl, 1, 1),
  pttl: keyAndNumbers(OP.ttl, 1, 0),
  randomkey: randomKey,
  rename: rename(0),
  renamenx: rename(1),
  scan,
  touch: verbatim(OP.touch),
  ttl: keyAndNumbers(OP.ttl, SECOND_MS, 0),
  type: verbatim(OP.type),
  unlink: del,

  dbsize: verbatim(OP.dbSize),
  flushall: flush,
  flushdb: flush,
};

/** By `CommandInfo.id`; a hole for each command that its door answers. */
const HANDLERS: readonly (Handler | undefined)[] = COMMANDS.map(({ name }) => BY_NAME[name]);
