/**
 * The Redis-shaped commands this version supports, as data: COMMAND, its documentation, the REPL's hints and the
 * doors all read it here.
 *
 * `arity` counts the name; negative = at least that many. Keys are the words firstKey..lastKey in steps of
 * keyStep, a negative lastKey counting from the end, 0 = no keys. `op` is what the command becomes (wire/
 * command_translate.ts); null = its door answers it. There are tips only where a client may act on them: every
 * node answers for the whole cluster, so commands without keys must *not* be sent to all nodes and summed.
 */
import type { Args } from "./args.ts";
import { argEcho } from "./args.ts";
import { OP, type Op } from "./command.ts";

export type CommandFlag =
  | "readonly"
  | "write"
  | "denyoom"
  | "fast"
  | "admin"
  | "loading"
  | "stale"
  | "noscript";
export type CommandGroup = "string" | "generic" | "connection" | "server";

export type CommandInfo = {
  readonly name: string;
  /** Place in COMMANDS. */
  readonly id: number;
  readonly arity: number;
  readonly flags: readonly CommandFlag[];
  readonly firstKey: number;
  readonly lastKey: number;
  readonly keyStep: number;
  readonly group: CommandGroup;
  /** The Redis version that first had it. */
  readonly since: string;
  readonly summary: string;
  /** What follows the name, for people. */
  readonly usage: string;
  readonly tips: readonly string[];
  readonly op: Op | null;
};

type Keys = "none" | "first" | "two" | "all" | "pairs";
const KEYS: Readonly<Record<Keys, readonly [number, number, number]>> = {
  none: [0, 0, 0],
  first: [1, 1, 1],
  two: [1, 2, 1],
  all: [1, -1, 1],
  pairs: [1, -1, 2],
};
const FLAGS: Readonly<Record<string, CommandFlag>> = {
  r: "readonly",
  w: "write",
  m: "denyoom",
  f: "fast",
  a: "admin",
  l: "loading",
  t: "stale",
  s: "noscript",
};
const SPLIT = ["request_policy:multi_shard"];
const SPLIT_SUM = [...SPLIT, "response_policy:agg_sum"];
const SPLIT_ALL = [...SPLIT, "response_policy:all_succeeded"];
const UNORDERED = ["nondeterministic_output_order"];
const RANDOM = ["nondeterministic_output"];

type Row = readonly [
  name: string,
  arity: number,
  flags: string,
  keys: Keys,
  op: Op | null,
  since: string,
  usage: string,
  summary: string,
  tips?: readonly string[],
];

const EXPIRY = "[EX seconds | PX milliseconds | EXAT unix-seconds | PXAT unix-milliseconds";

// biome-ignore format: a table is read by its columns
const STRING: readonly Row[] = [
  ["append", 3, "wmf", "first", OP.append, "2.0.0", "key value", "Adds to the end of a value, making the key if needed"],
  ["decr", 2, "wmf", "first", OP.incrBy, "1.0.0", "key", "Takes one from a whole number"],
  ["decrby", 3, "wmf", "first", OP.incrBy, "1.0.0", "key decrement", "Takes an amount from a whole number"],
  ["delex", -2, "wf", "first", OP.delIf, "8.4.0", "key [IFEQ value]", "Removes a key, if its value is the expected one"],
  ["get", 2, "rf", "first", OP.get, "1.0.0", "key", "Gives the value of a key"],
  ["getdel", 2, "wf", "first", OP.getDel, "6.2.0", "key", "Gives the value of a key and removes the key"],
  ["getex", -2, "wf", "first", OP.getEx, "6.2.0", `key ${EXPIRY} | PERSIST]`, "Gives the value of a key and sets or clears its deadline"],
  ["getrange", 4, "r", "first", OP.getRange, "2.4.0", "key start end", "Gives a part of a value"],
  ["getset", 3, "wmf", "first", OP.getSet, "1.0.0", "key value", "Sets a key and gives its former value"],
  ["incr", 2, "wmf", "first", OP.incrBy, "1.0.0", "key", "Adds one to a whole number"],
  ["incrby", 3, "wmf", "first", OP.incrBy, "1.0.0", "key increment", "Adds an amount to a whole number"],
  ["incrbyfloat", 3, "wmf", "first", OP.incrByFloat, "2.6.0", "key increment", "Adds an amount to a number with fractions"],
  ["mget", -2, "rf", "all", OP.mget, "1.0.0", "key [key ...]", "Gives the values of several keys", SPLIT],
  ["mset", -3, "wm", "pairs", OP.mset, "1.0.1", "key value [key value ...]", "Sets several keys", SPLIT_ALL],
  ["msetnx", -3, "wm", "pairs", OP.msetNx, "1.0.1", "key value [key value ...]", "Sets several keys if none of them exists"],
  ["psetex", 4, "wm", "first", OP.set, "2.6.0", "key milliseconds value", "Sets a key with a time to live in milliseconds"],
  ["set", -3, "wm", "first", OP.set, "1.0.0", `key value [NX | XX | IFEQ value] [GET] ${EXPIRY} | KEEPTTL]`, "Sets a key, perhaps under a condition or with a deadline"],
  ["setex", 4, "wm", "first", OP.set, "2.0.0", "key seconds value", "Sets a key with a time to live in seconds"],
  ["setnx", 3, "wmf", "first", OP.set, "1.0.0", "key value", "Sets a key that does not exist"],
  ["setrange", 4, "wm", "first", OP.setRange, "2.2.0", "key offset value", "Overwrites a part of a value"],
  ["strlen", 2, "rf", "first", OP.strlen, "2.2.0", "key", "Gives the size of a value in bytes"],
  ["substr", 4, "r", "first", OP.getRange, "1.0.0", "key start end", "Gives a part of a value; the old name of GETRANGE"],
];

const CONDITION = "[NX | XX | GT | LT]";

// biome-ignore format: a table is read by its columns
const GENERIC: readonly Row[] = [
  ["copy", -3, "wm", "two", OP.copy, "6.2.0", "source destination [DB 0] [REPLACE]", "Copies a value and its deadline to another key"],
  ["del", -2, "w", "all", OP.del, "1.0.0", "key [key ...]", "Removes keys", SPLIT_SUM],
  ["exists", -2, "rf", "all", OP.exists, "1.0.0", "key [key ...]", "Counts how many of the keys exist", SPLIT_SUM],
  ["expire", -3, "wf", "first", OP.expire, "1.0.0", `key seconds ${CONDITION}`, "Sets a time to live in seconds"],
  ["expireat", -3, "wf", "first", OP.expire, "1.2.0", `key unix-seconds ${CONDITION}`, "Sets a deadline in Unix seconds"],
  ["expiretime", 2, "rf", "first", OP.ttl, "7.0.0", "key", "Gives the deadline in Unix seconds"],
  ["keys", 2, "r", "none", OP.keys, "1.0.0", "pattern", "Lists all keys that match a pattern", UNORDERED],
  ["persist", 2, "wf", "first", OP.persist, "2.2.0", "key", "Clears the deadline of a key"],
  ["pexpire", -3, "wf", "first", OP.expire, "2.6.0", `key milliseconds ${CONDITION}`, "Sets a time to live in milliseconds"],
  ["pexpireat", -3, "wf", "first", OP.expire, "2.6.0", `key unix-milliseconds ${CONDITION}`, "Sets a deadline in Unix milliseconds"],
  ["pexpiretime", 2, "rf", "first", OP.ttl, "7.0.0", "key", "Gives the deadline in Unix milliseconds"],
  ["pttl", 2, "rf", "first", OP.ttl, "2.6.0", "key", "Gives the time to live in milliseconds", RANDOM],
  ["randomkey", 1, "r", "none", OP.randomKey, "1.0.0", "", "Gives some key", RANDOM],
  ["rename", 3, "w", "two", OP.rename, "1.0.0", "key newkey", "Gives a key another name, replacing what is there"],
  ["renamenx", 3, "wf", "two", OP.rename, "1.0.0", "key newkey", "Gives a key another name that is free"],
  ["scan", -2, "r", "none", OP.scan, "2.8.0", "cursor [MATCH pattern] [COUNT count] [TYPE type]", "Walks over the keys in steps", RANDOM],
  ["touch", -2, "rf", "all", OP.touch, "3.2.1", "key [key ...]", "Counts how many of the keys exist, and marks them used", SPLIT_SUM],
  ["ttl", 2, "rf", "first", OP.ttl, "1.0.0", "key", "Gives the time to live in seconds", RANDOM],
  ["type", 2, "rf", "first", OP.type, "1.0.0", "key", "Names the type of a value"],
  ["unlink", -2, "wf", "all", OP.del, "4.0.0", "key [key ...]", "Removes keys", SPLIT_SUM],
  ["wait", 3, "s", "none", null, "3.0.0", "numreplicas timeout", "Refused: what was acknowledged is on a majority's disks already"],
];

// biome-ignore format: a table is read by its columns
const CONNECTION: readonly Row[] = [
  ["auth", -2, "flts", "none", null, "1.0.0", "[username] password", "Logs in; this version knows no users and takes no password"],
  ["asking", 1, "f", "none", null, "3.0.0", "", "Does nothing: a slot has one owner at any time, and nobody is sent to another one for once"],
  ["client", -2, "", "none", null, "2.4.0", "subcommand [argument ...]", "Looks at and manages client connections"],
  ["echo", 2, "flt", "none", null, "1.0.0", "message", "Gives the message back"],
  ["hello", -1, "flts", "none", null, "6.0.0", "[protover [AUTH username password] [SETNAME name]]", "Greets the server and chooses the protocol"],
  ["ping", -1, "f", "none", null, "1.0.0", "[message]", "Asks whether the server answers"],
  ["quit", -1, "flts", "none", null, "1.0.0", "", "Closes the connection"],
  ["readonly", 1, "flt", "none", null, "3.0.0", "", "Lets this node's replica answer reads, which still see the latest state"],
  ["readwrite", 1, "flt", "none", null, "3.0.0", "", "Takes READONLY back: the leader answers"],
  ["reset", 1, "flts", "none", null, "6.2.0", "", "Makes the connection as new"],
  ["select", 2, "flt", "none", null, "1.0.0", "index", "Chooses the database; there is only 0"],
];

// biome-ignore format: a table is read by its columns
const SERVER: readonly Row[] = [
  ["cluster", -2, "", "none", null, "3.0.0", "SLOTS | SHARDS | NODES | INFO | MYID | KEYSLOT key | ...", "Describes the cluster as cluster clients read it"],
  ["command", -1, "lt", "none", null, "2.8.13", "[COUNT | INFO | DOCS | LIST | GETKEYS ...]", "Describes the commands of this server"],
  ["config", -2, "", "none", null, "2.0.0", "GET pattern [pattern ...] | SET name value | ...", "Reads and changes settings"],
  ["dbsize", 1, "rf", "none", OP.dbSize, "1.0.0", "", "Counts all keys"],
  ["flushall", -1, "w", "none", OP.flushAll, "1.0.0", "[ASYNC | SYNC]", "Removes all keys"],
  ["flushdb", -1, "w", "none", OP.flushAll, "1.0.0", "[ASYNC | SYNC]", "Removes all keys"],
  ["nucleus", -2, "alts", "none", null, "7.4.0", "STATUS | LEADER node | REPLACE node by", "Tells what this node holds and who leads, as JSON; hands leadership over; puts one node in the place of another"],
  ["info", -1, "lt", "none", null, "1.0.0", "[section ...]", "Tells about the server's state", RANDOM],
  ["time", 1, "flt", "none", null, "2.6.0", "", "Gives the clock of the node that answers, in seconds and microseconds", RANDOM],
];

const rows: readonly (readonly [CommandGroup, Row])[] = [
  ...STRING.map((row) => ["string", row] as const),
  ...GENERIC.map((row) => ["generic", row] as const),
  ...CONNECTION.map((row) => ["connection", row] as const),
  ...SERVER.map((row) => ["server", row] as const),
];

/** All commands, by name. */
export const COMMANDS: readonly CommandInfo[] = rows
  .toSorted(([, a], [, b]) => (a[0] < b[0] ? -1 : 1))
  .map(([group, row], id) => {
    const [name, arity, flags, keys, op, since, usage, summary, tips = []] = row;
    const [firstKey, lastKey, keyStep] = KEYS[keys];
    const names = [...flags].map((flag) => FLAGS[flag] as CommandFlag);
    return {
      name,
      id,
      arity,
      flags: names,
      firstKey,
      lastKey,
      keyStep,
      group,
      since,
      summary,
      usage,
      tips,
      op,
    };
  });

/**
 * Looking a command up costs no string: the name's bytes are hashed with their letters made small and compared
 * in place. Slots: a power of two, several times the commands, so a chain is rarely longer than one.
 */
const SLOT_COUNT = 512;
const NAME_BYTES_MAX = Math.max(...COMMANDS.map(({ name }) => name.length));
const SLOTS: (readonly CommandInfo[])[] = buildSlots();

function buildSlots(): (readonly CommandInfo[])[] {
  const slots: CommandInfo[][] = Array.from({ length: SLOT_COUNT }, () => []);
  for (const command of COMMANDS) {
    const bytes = Uint8Array.from(command.name, (letter) => letter.charCodeAt(0));
    (slots[hashName(bytes, 0, bytes.length)] as CommandInfo[]).push(command);
  }
  return slots;
}

function hashName(bytes: Uint8Array, start: number, end: number): number {
  let hash = end - start;
  for (let at = start; at < end; at++) hash = (Math.imul(hash, 31) + ((bytes[at] as number) | 0x20)) | 0;
  return (hash ^ (hash >>> 7)) & (SLOT_COUNT - 1);
}

/** The command that `bytes[start, end)` names, in any mix of capital and small letters; null if there is none. */
export function findCommand(bytes: Uint8Array, start: number, end: number): CommandInfo | null {
  if (end - start > NAME_BYTES_MAX) return null;
  const slot = SLOTS[hashName(bytes, start, end)] as readonly CommandInfo[];
  for (const command of slot) if (isName(command.name, bytes, start, end)) return command;
  return null;
}

/** Names are small letters only, which bit 5 alone tells from capitals. */
function isName(name: string, bytes: Uint8Array, start: number, end: number): boolean {
  if (name.length !== end - start) return false;
  for (let i = 0; i < name.length; i++) {
    if (((bytes[start + i] as number) | 0x20) !== name.charCodeAt(i)) return false;
  }
  return true;
}

/** The command that these words ask for, if their number is right; else the error to answer. */
export function resolveCommand(args: Args): CommandInfo | string {
  const command = findCommand(args.bytes, args.bounds[0] as number, args.bounds[1] as number);
  if (command === null) return unknownCommandError(args);
  const fits = command.arity < 0 ? args.argCount >= -command.arity : args.argCount === command.arity;
  return fits ? command : arityError(command.name);
}

/** `name` as in the table; "client|kill" for a subcommand. */
export function arityError(name: string): string {
  return `ERR wrong number of arguments for '${name}' command`;
}

/** Most bytes of a command's name, and of all its arguments together, that an error repeats. */
const ECHO_BYTES_MAX = 128;

export function unknownCommandError(args: Args): string {
  let echo = "";
  for (let i = 1; i < args.argCount && echo.length < ECHO_BYTES_MAX; i++) {
    echo += `'${argEcho(args, i, ECHO_BYTES_MAX - echo.length)}' `;
  }
  return `ERR unknown command '${argEcho(args, 0, ECHO_BYTES_MAX)}', with args beginning with: ${echo}`;
}
