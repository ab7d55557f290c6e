/**
 * Commands about the connection and the node, answered by the RESP door itself, here and now. Shapes and texts
 * are those that client libraries check (Redis 7.4; ../../docs/protocol.md lists what they read).
 */
import { type Args, argBytes, argIs, argText } from "../wire/args.ts";
import {
  arityError,
  COMMANDS,
  type CommandInfo,
  findCommand,
  unknownCommandError,
} from "../wire/command_table.ts";
import type { RespEncoder } from "../wire/resp_reply.ts";
import type { Client, ClientHost, ControlCall } from "./client.ts";
import { infoText } from "./info.ts";

/** What a door command may see of the connection it came over. */
export type DoorClient = Client & { readonly encoder: RespEncoder; readOnly: boolean };

type Door = (args: Args, client: DoorClient, reply: RespEncoder, host: ClientHost) => void;

const REDIS_VERSION = "7.4.0";

const DOORS: Readonly<Record<string, Door>> = {
  auth: (_args, _client, reply) => reply.error(NO_PASSWORD),
  ping: (args, _client, reply) => {
    if (args.argCount > 2) reply.error(arityError("ping"));
    else if (args.argCount === 2) word(args, 1, reply);
    else reply.simple("PONG");
  },
  echo: (args, _client, reply) => word(args, 1, reply),
  hello,
  asking: (_args, _client, reply) => reply.simple("OK"),
  client: clientCommand,
  cluster: (args, _client, reply, host) => host.cluster.run(args, reply),
  command,
  config,
  info: (args, _client, reply, host) => {
    const sections: string[] = [];
    for (let i = 1; i < args.argCount; i++) sections.push(argText(args, i).toLowerCase());
    reply.verbatim(infoText(host.info, sections));
  },
  nucleus: nucleusCommand,
  quit: (_args, client, reply) => {
    reply.simple("OK");
    client.closing = true;
  },
  readonly: (_args, client, reply) => readOnly(client, true, reply),
  readwrite: (_args, client, reply) => readOnly(client, false, reply),
  reset: (_args, client, reply) => {
    client.name = "";
    client.readOnly = false;
    reply.protocol = 2;
    reply.simple("RESET");
  },
  select: (args, _client, reply, host) => {
    const index = argText(args, 1);
    if (index === "0") reply.simple("OK");
    else if (host.redisMode === "cluster") reply.error("ERR SELECT is not allowed in cluster mode");
    else if (/^-?\d+$/.test(index)) reply.error("ERR DB index is out of range");
    else reply.error("ERR value is not an integer or out of range");
  },
  time: (_args, _client, reply, host) => {
    const nowMs = host.clock.wallMs();
    reply.array(2);
    reply.text(String(Math.floor(nowMs / 1000)));
    reply.text(String(Math.floor((nowMs % 1000) * 1000)));
  },
  wait: (_args, _client, reply) => reply.error(WAIT_REFUSED),
};

function readOnly(client: DoorClient, isOn: boolean, reply: RespEncoder): void {
  client.readOnly = isOn;
  reply.simple("OK");
}

export function runDoorCommand(
  spec: CommandInfo,
  args: Args,
  client: DoorClient,
  reply: RespEncoder,
  host: ClientHost,
): void {
  const door = DOORS[spec.name];
  if (door === undefined) reply.error(unknownCommandError(args));
  else door(args, client, reply, host);
}

/** NUCLEUS CONTROL method path [body]: a call of the control plane; null if the command is none. */
export function controlCall(args: Args): ControlCall | null {
  if ((args.argCount !== 4 && args.argCount !== 5) || !argIs(args, 1, "control")) return null;
  const body = args.argCount === 4 ? new Uint8Array(0) : argBytes(args, 4);
  return { method: argText(args, 2), path: argText(args, 3), body };
}

/** NUCLEUS STATUS | NUCLEUS LEADER node [shard] | NUCLEUS REPLACE node by */
function nucleusCommand(args: Args, _client: DoorClient, reply: RespEncoder, host: ClientHost): void {
  if (args.argCount === 2 && argIs(args, 1, "status")) return reply.text(host.info.json());
  let problem: string | null;
  if ((args.argCount === 3 || args.argCount === 4) && argIs(args, 1, "leader")) {
    problem = host.moveLeader(argText(args, 2), args.argCount === 4 ? argText(args, 3) : null);
  } else if (args.argCount === 4 && argIs(args, 1, "replace")) {
    problem = host.replaceNode(argText(args, 2), argText(args, 3));
  } else {
    return reply.error(
      `ERR unknown subcommand or wrong number of words '${argText(args, 1, 128)}'. ` +
        "Try NUCLEUS STATUS, NUCLEUS LEADER node [shard], NUCLEUS REPLACE node by or NUCLEUS CONTROL method path body.",
    );
  }
  if (problem === null) reply.simple("OK");
  else reply.error(problem);
}

function word(args: Args, i: number, reply: RespEncoder): void {
  reply.blob(args.bytes, args.bounds[2 * i] as number, args.bounds[2 * i + 1] as number);
}

/** HELLO [protover [AUTH user password] [SETNAME name]] */
function hello(args: Args, client: DoorClient, reply: RespEncoder, host: ClientHost): void {
  let protocol: 2 | 3 = reply.protocol;
  let name: string | null = null;
  if (args.argCount > 1) {
    const version = argText(args, 1);
    if (!/^\d+$/.test(version)) return reply.error("ERR Protocol version is not an integer or out of range");
    if (version !== "2" && version !== "3") return reply.error("NOPROTO unsupported protocol version");
    protocol = version === "3" ? 3 : 2;
  }
  for (let i = 2; i < args.argCount; i++) {
    if (argIs(args, i, "setname") && i + 1 < args.argCount) {
      name = argText(args, ++i);
      if (!isName(name)) return reply.error(BAD_NAME);
    } else if (argIs(args, i, "auth") && i + 2 < args.argCount) {
      return reply.error(NO_PASSWORD);
    } else {
      return reply.error(`ERR Syntax error in HELLO option '${argText(args, i)}'`);
    }
  }
  if (name !== null) client.name = name;
  reply.protocol = protocol;
  reply.map(7);
  pairText(reply, "server", "redis");
  pairText(reply, "version", REDIS_VERSION);
  reply.text("proto");
  reply.integer(protocol);
  reply.text("id");
  reply.integer(client.id);
  pairText(reply, "mode", host.redisMode === "cluster" ? "cluster" : "standalone");
  pairText(reply, "role", host.info.isLeader() ? "master" : "replica");
  reply.text("modules");
  reply.array(0);
}

const BAD_NAME = "ERR Client names cannot contain spaces, newlines or special characters.";
/** A number of replicas would promise what nobody counted: how many have it by then, beyond the majority. */
const WAIT_REFUSED =
  "ERR WAIT is not supported, and not needed: whatever was acknowledged is on the disks of a majority already";
const NO_PASSWORD =
  "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?";

function pairText(reply: RespEncoder, key: string, value: string): void {
  reply.text(key);
  reply.text(value);
}

function isName(text: string): boolean {
  return /^[!-~]*$/.test(text);
}

function clientCommand(args: Args, client: DoorClient, reply: RespEncoder, host: ClientHost): void {
  const sub = argText(args, 1).toLowerCase();
  const takes = (words: number): boolean => {
    if (args.argCount === words) return true;
    reply.error(arityError(`client|${sub}`));
    return false;
  };
  switch (sub) {
    case "id":
      if (takes(2)) reply.integer(client.id);
      return;
    case "getname":
      if (!takes(2)) return;
      if (client.name === "") reply.nil();
      else reply.text(client.name);
      return;
    case "setname":
      if (!takes(3)) return;
      if (!isName(argText(args, 2))) return reply.error(BAD_NAME);
      client.name = argText(args, 2);
      return reply.simple("OK");
    case "setinfo":
      if (takes(4)) setInfo(args, client, reply);
      return;
    case "list":
      return reply.verbatim([...host.clients()].map((other) => clientLine(other, host)).join(""));
    case "info":
      if (takes(2)) reply.verbatim(clientLine(client, host));
      return;
    case "no-evict":
    case "no-touch":
      if (takes(3)) reply.simple("OK");
      return;
    default:
      reply.error(`ERR unknown subcommand '${argText(args, 1, 128)}'. Try CLIENT HELP.`);
  }
}

function setInfo(args: Args, client: DoorClient, reply: RespEncoder): void {
  const value = argText(args, 3);
  if (argIs(args, 2, "lib-name")) {
    if (!isName(value)) {
      return reply.error("ERR lib-name cannot contain spaces, newlines or special characters.");
    }
    client.libName = value;
  } else if (argIs(args, 2, "lib-ver")) {
    if (!isName(value)) {
      return reply.error("ERR lib-ver cannot contain spaces, newlines or special characters.");
    }
    client.libVersion = value;
  } else {
    return reply.error(`ERR Unrecognized option '${argText(args, 2, 128)}'`);
  }
  reply.simple("OK");
}

/** One line of CLIENT LIST: k=v, split by single blanks. */
function clientLine(client: Client, host: ClientHost): string {
  const nowMs = host.clock.monotonicMs();
  const facts: readonly (readonly [string, string | number])[] = [
    ["id", client.id],
    ["addr", client.connection.remote],
    ["laddr", host.info.address],
    ["fd", client.id],
    ["name", client.name],
    ["age", Math.floor((nowMs - client.sinceMs) / 1000)],
    ["idle", Math.floor((nowMs - client.lastMs) / 1000)],
    ["flags", "N"],
    ["db", 0],
    ["sub", 0],
    ["psub", 0],
    ["ssub", 0],
    ["multi", -1],
    ["obl", client.outputBytes],
    ["cmd", client.lastCommand === "" ? "NULL" : client.lastCommand],
    ["user", "default"],
    ["redir", -1],
    ["lib-name", client.libName],
    ["lib-ver", client.libVersion],
  ];
  return `${facts.map(([key, value]) => `${key}=${value}`).join(" ")}\n`;
}

function command(args: Args, _client: DoorClient, reply: RespEncoder): void {
  if (args.argCount === 1) return commandList(reply, COMMANDS);
  const sub = argText(args, 1).toLowerCase();
  switch (sub) {
    case "count":
      return reply.integer(COMMANDS.length);
    case "list":
      reply.array(COMMANDS.length);
      for (const info of COMMANDS) reply.text(info.name);
      return;
    case "info":
      return commandList(reply, args.argCount === 2 ? COMMANDS : wanted(args));
    case "docs":
      return commandDocs(reply, args.argCount === 2 ? COMMANDS : wanted(args));
    default:
      reply.error(`ERR unknown subcommand '${argText(args, 1, 128)}'. Try COMMAND HELP.`);
  }
}

function wanted(args: Args): (CommandInfo | null)[] {
  const list: (CommandInfo | null)[] = [];
  for (let i = 2; i < args.argCount; i++) {
    list.push(findCommand(args.bytes, args.bounds[2 * i] as number, args.bounds[2 * i + 1] as number));
  }
  return list;
}

/** Each entry has ten elements; some clients accept nothing else. */
function commandList(reply: RespEncoder, list: readonly (CommandInfo | null)[]): void {
  reply.array(list.length);
  for (const info of list) {
    if (info === null) {
      reply.nil();
      continue;
    }
    reply.array(10);
    reply.text(info.name);
    reply.integer(info.arity);
    reply.set(info.flags.length);
    for (const flag of info.flags) reply.simple(flag);
    reply.integer(info.firstKey);
    reply.integer(info.lastKey);
    reply.integer(info.keyStep);
    reply.set(0);
    reply.set(info.tips.length);
    for (const tip of info.tips) reply.text(tip);
    reply.set(0);
    reply.array(0);
  }
}

/** Summary, since and group for all of them, or redis-cli trips (redis#10250). */
function commandDocs(reply: RespEncoder, list: readonly (CommandInfo | null)[]): void {
  const known = list.filter((info) => info !== null);
  reply.map(known.length);
  for (const info of known) {
    reply.text(info.name);
    reply.map(3);
    pairText(reply, "summary", info.summary);
    pairText(reply, "since", info.since);
    pairText(reply, "group", info.group);
  }
}

/** Names that tools ask for and expect an answer to. */
const CONFIG_FIXED: Readonly<Record<string, string>> = {
  appendonly: "yes",
  databases: "1",
  "io-threads": "1",
  maxmemory: "0",
  "maxmemory-policy": "noeviction",
  "proto-max-bulk-len": "1048576",
  save: "",
  "slowlog-log-slower-than": "-1",
  "slowlog-max-len": "0",
  timeout: "0",
};

function config(args: Args, _client: DoorClient, reply: RespEncoder): void {
  const sub = argText(args, 1).toLowerCase();
  if (sub === "get" && args.argCount > 2) {
    const found: string[] = [];
    for (const name of Object.keys(CONFIG_FIXED)) {
      for (let i = 2; i < args.argCount; i++) {
        if (matches(argText(args, i).toLowerCase(), name) && !found.includes(name)) found.push(name);
      }
    }
    reply.map(found.length);
    for (const name of found) pairText(reply, name, CONFIG_FIXED[name] as string);
  } else if (sub === "resetstat" && args.argCount === 2) {
    reply.simple("OK");
  } else if (sub === "set" && args.argCount > 3) {
    reply.error(`ERR Unknown option or number of arguments for CONFIG SET - '${argText(args, 2, 128)}'`);
  } else if (sub === "get" || sub === "set" || sub === "resetstat") {
    reply.error(arityError(`config|${sub}`));
  } else {
    reply.error(`ERR unknown subcommand '${argText(args, 1, 128)}'. Try CONFIG HELP.`);
  }
}

/** A glob of stars only: what is asked of CONFIG GET in practice. */
function matches(pattern: string, name: string): boolean {
  const parts = pattern.split("*");
  if (parts.length === 1) return pattern === name;
  if (!name.startsWith(parts[0] as string) || !name.endsWith(parts.at(-1) as string)) return false;
  let at = (parts[0] as string).length;
  for (const part of parts.slice(1, -1)) {
    const found = name.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return at <= name.length - (parts.at(-1) as string).length;
}
